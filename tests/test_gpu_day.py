"""A day on a GPU, rehearsed without one: the order of its parts, what ends one and not the rest, and going on another day."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from repro.bench import gpu_day
from repro.bench.gpu_day import Part
from repro.core import places
from repro.core.spec import key
from repro.core.store import Store, load
from repro.errors import ReproError

TESTS = """
import pytest

def test_that_passes():
    pass

@pytest.mark.parametrize("way", ["", "a way, with spaces"])
def test_that_fails(way):
    assert not way

def test_of_bfloat16():
    pass
"""


@pytest.fixture
def few(tiny, monkeypatch):
    """Three cells of one notebook at two seeds, in the order of the plan."""
    cells = [tiny(epochs=1, seed=s, batch_size=b) for b in (64, 32, 16) for s in (0, 1)]
    monkeypatch.setattr(gpu_day, "planned", lambda slug, scale: sorted(cells, key=lambda s: s.seed))
    return cells


def test_all_cells_of_a_seed_come_before_the_next_seed():
    specs = gpu_day.planned("augmentations", "gpu")
    seeds = [s.seed for s in specs]
    assert seeds == sorted(seeds)
    assert set(seeds) == {0, 1, 2}
    assert len({key(s) for s in specs}) == len(specs)


def test_tests_that_fail_or_are_not_reached_are_reported(tmp_path):
    path = tmp_path / "test_them.py"
    path.write_text(TESTS)
    said = gpu_day.run_tests(tmp_path, 60.0, str(path), "not bfloat16")
    assert said == "2 passed, 1 failed (test_that_fails[a way, with spaces])"
    assert "assert not 'a way, with spaces'" in (tmp_path / "log.txt").read_text()
    path.write_text("import time\n\ndef test_that_hangs():\n    time.sleep(600)\n")
    assert gpu_day.run_tests(tmp_path, 8.0, str(path), "not bfloat16") == "none ran; stopped by the time limit"


def test_runs_go_on_on_another_machine(few, tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_STORE", str(tmp_path / "one"))
    gpu_day.measure_runs("augmentations", "gpu", tmp_path, 1e-9)  # no time at all
    assert not (gpu_day.file_of(tmp_path, "augmentations")).exists()
    stops = iter([True, True, False])
    real = gpu_day.sweep.measure

    def until(*given, **named):
        if not next(stops):
            raise KeyboardInterrupt
        return real(*given, **named)

    monkeypatch.setattr(gpu_day.sweep, "measure", until)
    with pytest.raises(KeyboardInterrupt):
        gpu_day.measure_runs("augmentations", "gpu", tmp_path, 10)
    first = load(gpu_day.file_of(tmp_path, "augmentations"))
    assert {r.key for r in first} == {key(s) for s in few if s.seed == 0 and s.batch_size > 16}

    monkeypatch.setattr(gpu_day.sweep, "measure", real)
    monkeypatch.setenv("REPRO_STORE", str(tmp_path / "another"))
    gpu_day.measure_runs("augmentations", "gpu", tmp_path, 10)
    found = {r.key: r for r in load(gpu_day.file_of(tmp_path, "augmentations"))}
    assert set(found) == {key(s) for s in few}
    assert all(found[r.key] == r for r in first)  # with the day it was measured on: it was not measured again
    assert set(Store(tmp_path / "another").keys()) == set(found)


def test_minutes_are_spent_in_the_order_of_value(tmp_path):
    done, said = [], []

    def part(name: str, left: str = "all", outcome: str = "well") -> Part:
        return Part(name, 10.0, lambda: left, lambda seconds: done.append((name, seconds)) or outcome)

    todo = [part("first", outcome="ended with code 1: broken"), part("second", ""), part("third")]
    gpu_day.spend(todo, 100.0, tmp_path, said.append)
    assert [name for name, _ in done] == ["first", "third"]
    assert all(0 < seconds <= 100 for _, seconds in done)
    days = json.loads((tmp_path / "day.json").read_text())
    assert [(d["part"], d["outcome"]) for d in days] == [("first", "ended with code 1: broken"), ("third", "well")]
    assert {"when", "commit", "hardware", "device", "versions"} <= set(days[0])
    gpu_day.spend(todo, 5.0, tmp_path, said.append)
    assert said[-1] == "5 s are left: the next parts wait for another day"
    assert len(done) == 2
    plan = gpu_day.lines(todo, 100.0)
    assert plan[1].endswith("done")
    assert "ends at     20 of 100 s" in plan[2]


def test_more_views_more_looks_and_targets_take_longer(tiny):
    plain = tiny(epochs=10)
    rate = 1e12
    looked = replace(plain, probes=replace(plain.probes, every=1))
    assert gpu_day.seconds(looked, rate) > gpu_day.seconds(plain, rate)
    assert gpu_day.seconds(tiny(epochs=20), rate) > gpu_day.seconds(plain, rate)
    assert gpu_day.seconds(object(), rate) == gpu_day.START


def test_a_day_is_rehearsed_on_a_cpu(tmp_path, capsys, monkeypatch):
    """Every part in its own process, on the embedded data; the engine's speed alone is given, as of a day before."""
    monkeypatch.setattr(gpu_day, "LEAST", 0.5)
    tests = tmp_path / "test_them.py"
    tests.write_text(TESTS)
    for name in ("engine.json", "engine-compiled.json"):
        (tmp_path / name).write_text('{"summary": {"views_s": 4000.0}}')
    given = ["start_here", "--profile", "smoke", "--minutes", "4", "--out", str(tmp_path), "--tests", str(tests)]
    assert gpu_day.main(given) == 0
    text = capsys.readouterr().out
    runs = len(gpu_day.planned("start_here", "smoke"))
    for part in (
        "tests: 2 passed, 1 failed",
        "precision: 1 passed",
        f"start_here: {runs} of {runs} runs",
        "long: 1 epochs",
    ):
        assert part in text
    assert "engine:" not in text
    assert len(load(tmp_path / "long.jsonl")) == 1
    assert gpu_day.main(given) == 0  # nothing is left to do
    assert all(line.endswith("done") for line in capsys.readouterr().out.splitlines())


def test_a_wrong_call_is_one_sentence():
    with pytest.raises(ReproError, match="There is no notebook 'nosuch'"):
        gpu_day.main(["nosuch"])
    with pytest.raises(ReproError, match="minutes must be above 0"):
        gpu_day.main(["--minutes", "0"])


def test_the_readme_says_what_the_committed_days_found(tmp_path):
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    found = gpu_day.report(places.reference() / "gpu")
    assert f"{gpu_day.BEGIN}\n{found}\n{gpu_day.END}" in readme
    assert gpu_day.report(tmp_path).count("not yet") == 3
    with pytest.raises(ReproError, match="needs one line"):
        gpu_day.fill(Path(__file__), found)

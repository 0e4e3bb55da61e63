"""A day on a GPU, rehearsed without one: the order of its parts, what ends one and not the rest, and going on another day."""

import json
from pathlib import Path

import pytest

from repro.bench import gpu_day
from repro.bench.gpu_day import Part
from repro.core import places
from repro.core.store import load
from repro.errors import ReproError

TESTS = """
def test_that_passes():
    pass

def test_that_fails():
    assert not "a reason"

def test_of_bfloat16():
    pass
"""


def part(name: str, code: str, **more) -> Part:
    """A part that runs a line of shell."""
    made = Part(name, "all", [], **more)
    object.__setattr__(made, "command", lambda seconds: ["sh", "-c", code])
    return made


def test_a_part_that_fails_or_hangs_ends_by_itself(tmp_path):
    log = tmp_path / "log.txt"
    assert gpu_day.run(part("bad", "echo almost; exit 3"), 10, log) == "almost; ended with code 3"
    assert gpu_day.run(part("unfinished", "echo more; exit 75"), 10, log) == "more"
    assert gpu_day.run(part("slow", "echo begun; sleep 60", most=1.0), 10, log) == ("begun; stopped by the time limit")
    assert log.read_text().splitlines() == ["almost", "more", "begun"]
    tests = part("tests", "echo '[gw0] [ 50%] PASSED tests/x.py::test_a'; echo; echo more; sleep 60", most=1.0)
    assert gpu_day.run(tests, 10, log) == "1 passed; stopped by the time limit"


def test_minutes_are_spent_in_the_order_of_value(tmp_path, capsys):
    todo = [part("first", "exit 1"), Part("second", "", []), part("third", "echo well")]
    gpu_day.spend(todo, 100.0, tmp_path)
    days = json.loads((tmp_path / "day.json").read_text())
    assert [(d["part"], d["outcome"]) for d in days] == [
        ("first", "it printed nothing; ended with code 1"), ("third", "well")
    ]  # fmt: skip
    assert {"when", "commit", "hardware", "device", "versions"} <= set(days[0])
    capsys.readouterr()
    gpu_day.spend(todo, 5.0, tmp_path)
    assert capsys.readouterr().out == "5 s are left: the next parts wait for another day\n"
    assert len(gpu_day.days(tmp_path)) == 2


def test_a_day_is_rehearsed_on_a_cpu(tmp_path, capsys, monkeypatch):
    """Every part in its own process, on the embedded data; the engine's speed alone is given, as of a day before."""
    monkeypatch.setattr(gpu_day, "LEAST", 0.5)
    tests, out = tmp_path / "test_them.py", tmp_path / "smoke"
    tests.write_text(TESTS)
    out.mkdir()
    for name in ("engine.json", "engine-compiled.json"):
        (out / name).write_text('{"summary": {"views_s": 4000.0}}')
    given = ["start_here", "--profile", "smoke", "--minutes", "4", "--out", str(tmp_path), "--tests", str(tests)]
    assert gpu_day.main(given) == 0
    text = capsys.readouterr().out
    runs = len(gpu_day.planned("start_here", "smoke"))
    assert "tests: 1 failed, 1 passed" in text
    assert "precision: 1 passed" in text
    assert len(load(out / "start_here" / "runs.jsonl")) == runs
    assert "engine:" not in text
    assert len(load(out / "long.jsonl")) == 1
    assert gpu_day.main(given) == 0  # nothing is left to do
    assert all(line.endswith("done") for line in capsys.readouterr().out.splitlines())


def test_what_the_folder_holds_is_not_to_do():
    held = gpu_day.measured(places.reference() / "gpu", "augmentations")
    todo = {p.name: p.left for p in gpu_day.parts(places.reference() / "gpu", gpu_day.NOTEBOOKS, "gpu", "", [])}
    planned = gpu_day.planned("augmentations", "gpu")
    assert todo["augmentations"] == f"{len(planned.keys() - held)} runs"
    assert list(todo) == [
        "tests",
        "engine",
        "engine, compiled",
        "augmentations",
        "precision",
        *gpu_day.NOTEBOOKS[1:],
        "long",
    ]


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

"""The long runs of a GPU: what is planned, stored and read off."""

import math

import pytest

from repro.bench import long
from repro.core import sweep
from repro.core.profiles import profile
from repro.core.store import load
from repro.errors import ReproError


def test_a_long_run_is_stored_and_read_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("REPRO_STORE", str(tmp_path))
    out = tmp_path / "runs.jsonl"
    ask = f"--profile smoke --epochs 2 --methods simclr --out {out}".split()
    assert long.main(ask) == 0
    first = capsys.readouterr().out
    assert "SimCLR" in first
    assert "not reached" in first  # nobody reads 90 % after two epochs of a tiny set
    monkeypatch.setattr(sweep, "_measure", lambda *_: pytest.fail("it was stored"))
    assert long.main(ask) == 0
    assert capsys.readouterr().out == first
    assert [r.spec["epochs"] for r in load(tmp_path / "runs.jsonl")] == [2]


def test_the_minutes_to_a_mark_are_those_of_its_epoch():
    seconds = [60.0, 120.0, 180.0, 240.0]
    assert long.minutes_to(85, [2, 4], [80.0, 86.0], seconds) == 4
    assert long.minutes_to(80, [2, 4], [80.0, 86.0], seconds) == 2
    assert math.isnan(long.minutes_to(90, [2, 4], [80.0, 86.0], seconds))


def test_long_runs_at_gpu_are_the_papers_length():
    runs = long.plan(profile("gpu"), 200, list(long.METHODS))
    assert [type(r.method).__name__ for r in runs] == ["SimCLR", "BYOL", "MSR", *["BarlowMultiView"] * 2]
    assert [r.epochs for r in runs] == [200] * 4 + [50]  # of eight views a quarter
    with pytest.raises(ReproError, match="no long run of 'moco'"):
        long.plan(profile("gpu"), 200, ["moco"])

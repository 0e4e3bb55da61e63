"""Results as tables: one row a run, and two cells compared over seeds."""

from __future__ import annotations

import importlib.util

import numpy as np
import pandas as pd
import pytest

from repro import stats
from repro.cli import main
from repro.core import places
from repro.core.store import load
from repro.pages import notebook, results


@pytest.fixture(scope="module")
def runs():
    return results.table(notebook.study("augmentations", "quick"))


def test_a_row_a_run_with_flat_columns(runs, tmp_path, capsys):
    stored = {r.key: r for r in load(places.reference() / "quick" / "augmentations" / "runs.jsonl")}
    assert set(runs["key"]) == set(stored)
    assert runs["key"].is_unique
    assert {"A8", "A9", "A8 A9"} >= set(runs["claims"])
    row = runs[runs["stack"] == "crop+gray"].iloc[0]
    assert row["linear_test_class"] == stored[row["key"]].metrics["linear_test_class"]
    assert not any(isinstance(v, (list, tuple, dict)) for v in runs.to_numpy().ravel())
    file = tmp_path / "new" / "a.csv"
    file.parent.mkdir()
    assert main(["results", "augmentations", "--csv", str(file)]) == 0
    assert len(pd.read_csv(file)) == len(stored)
    assert f"{len(stored)} runs" in capsys.readouterr().out


def test_without_a_file_it_prints(capsys):
    assert main(["results", "augmentations"]) == 0
    assert capsys.readouterr().out.startswith("notebook,profile,claims,cell,stack,key,kind,")


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="here pandas can write Parquet")
def test_parquet_without_pyarrow_is_one_sentence(capsys, tmp_path):
    assert main(["results", "augmentations", "--parquet", str(tmp_path / "a.parquet")]) == 2
    assert "Parquet needs pyarrow" in capsys.readouterr().err


def test_two_cells_are_compared_over_their_seeds():
    runs = results.table(notebook.study("augmentations", "cpu"))
    gray, crop = "stack=crop+gray,method=SimCLR,lr=1.2", "stack=crop,method=SimCLR,lr=1.2"
    told = results.compare(runs, gray, crop)
    mine = runs[(runs["method"] == "SimCLR") & (runs["lr"] == 1.2)].sort_values("seed")
    a, b = (mine[mine["stack"] == s]["linear_test_class"].to_numpy() for s in ("crop+gray", "crop"))
    assert told.endswith(f"linear_test_class, difference, 5 seeds: {stats.paired(a, b).text(2)}")
    assert f"{gray}: {np.mean(a):.2f}\n{crop}: {np.mean(b):.2f}" in told
    keys = [mine[mine["stack"] == s]["key"].iloc[0] for s in ("crop+gray", "crop")]
    assert "1 seed: " in results.compare(runs, *keys)


def test_curves_of_two_cells_are_drawn(tmp_path, capsys):
    cells = ["stack=crop+gray,method=SimCLR,lr=1.2", "stack=crop,method=SimCLR,lr=1.2"]
    file = tmp_path / "curves.svg"
    assert main(["compare", "augmentations", *cells, "--figure", str(file)]) == 0
    assert "<svg" in file.read_text()
    runs = results.table(notebook.study("augmentations", "quick"), curves=True)
    with pytest.raises(results.ReproError, match="One of the two has no curves"):
        results.draw(runs, cells[0], "method=Untrained,backbone=pixels", file)


@pytest.mark.parametrize(
    ("filter_", "said"),
    [
        ("method=SimCLR", r"leaves 6 cells: say also stack"),
        ("stack=none", "No run has stack=none"),
        ("heap=crop", "There is no column 'heap'"),
        ("zzzz", "No run has zzzz"),
    ],
)
def test_a_filter_that_leaves_none_or_too_much_says_so(runs, filter_, said):
    with pytest.raises(results.ReproError, match=said):
        results.compare(runs, filter_, "stack=crop,method=SimCLR,lr=1.2")


def test_nothing_stored_is_one_sentence(capsys):
    assert main(["results", "augmentations", "--profile", "paper"]) == 2
    assert "No run is stored at profile paper" in capsys.readouterr().err

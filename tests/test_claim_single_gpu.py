"""The verdicts on the single-GPU grids, on frames made up to hold or to break each claim."""

from __future__ import annotations

import pytest
from studies import made_up

from repro import figures
from repro.claims import registry, single_gpu
from repro.core.profiles import profile
from repro.pages import notebook

GPU = notebook.study("single_gpu", profile="quick")
GRIDS = {g.claim: g for g in single_gpu.GRIDS}
CLAIMS = {c.id: c for c in single_gpu.CLAIMS}


def untrained(spec) -> bool:
    return type(spec.method).__name__ == "Untrained"


def frame(claim: str, accuracy, study=GPU, broken=lambda spec: False):
    """The plan's runs with made-up numbers: accuracy(spec) for trained ones."""
    return made_up(CLAIMS[claim], study, lambda spec, task: accuracy(spec), broken=broken)


def level(spec) -> tuple[float, float]:
    """(loss parameter, rate), in steps of their grid from its middle."""
    g = next(g for g in single_gpu.GRIDS if g.method == type(spec.method).__name__)
    across, along = single_gpu.levels(g, GPU.profile)
    at = next(a for a in across if g.make(a, True) == spec.method)
    return across.index(at) - 1, along.index(spec.optimiser.lr) - 1


def hill(spec) -> float:
    return 60 - 4 * sum(abs(x) for x in level(spec))


@pytest.mark.parametrize("claim", GRIDS)
def test_a_hill_inside_the_grid_reproduces(claim):
    found = CLAIMS[claim].judge(frame(claim, hill))
    assert found.verdict == "reproduced"
    assert found.effect > 7
    slope = CLAIMS[claim].judge(frame(claim, lambda s: 50 + 3 * level(s)[0]))
    assert slope.verdict == "partly"  # spread enough, but the best cell is on the edge
    assert f"the highest {GRIDS[claim].symbol}" in slope.sentence
    assert CLAIMS[claim].judge(frame(claim, lambda s: 50.0)).effect < 1.5


@pytest.mark.parametrize("claim", GRIDS)
def test_diverged_cells_close_the_grid_and_are_drawn(claim):
    runs = frame(claim, lambda s: 60 - 5 * abs(level(s)[0]) + level(s)[1], broken=lambda s: (
        s.optimiser.lr == max(single_gpu.levels(GRIDS[claim], GPU.profile)[1])
    ))  # fmt: skip
    found = CLAIMS[claim].judge(runs)
    assert found.verdict == "reproduced"
    assert "cells diverged" in found.sentence
    with figures.theme("light"):
        drawn = CLAIMS[claim].draw(runs)
    assert "cross" in drawn.alt
    assert drawn.table["diverged"].sum() > 0


def test_methods_are_close_or_not():
    assert CLAIMS["A17"].judge(frame("A17", hill)).verdict == "reproduced"

    def ahead(spec):
        return hill(spec) + (6 if type(spec.method).__name__ == "BYOL" else 0)

    found = CLAIMS["A17"].judge(frame("A17", ahead))
    assert found.verdict == "partly"  # three of the six pairs are within two points
    assert abs(found.effect) > 5

    def weak(spec):
        return hill(spec) - (38 if type(spec.method).__name__ == "BarlowTwins" else 0)

    found = CLAIMS["A17"].judge(frame("A17", weak))
    assert found.verdict == "not judged"
    assert found.sentence.startswith("Not judged: Barlow Twins: tuned SSL reaches")


@pytest.mark.parametrize("claim", [c.id for c in single_gpu.CLAIMS])
@pytest.mark.parametrize("changes", [
    {"profile": "smoke"}, {"data": "digits"}, {"seeds": 1}, {"profile": "gpu"},
], ids=["smoke", "one task", "one seed", "gpu"])  # fmt: skip
def test_every_frame_gives_a_figure_and_a_verdict(claim, changes):
    study = notebook.study("single_gpu", **({"profile": "quick"} | changes))
    runs = frame(claim, lambda s: 50.0, study)
    with figures.theme("dark"):
        drawn = CLAIMS[claim].draw(runs)
    assert len(drawn.table) == len(runs)
    assert "20.0 %" in drawn.alt or "floors" in drawn.alt
    assert CLAIMS[claim].judge(runs).data == "made up (stand-in)"


def test_at_paper_the_grids_are_the_papers():
    paper = profile("paper")
    for g in single_gpu.GRIDS:
        own = registry.numbers(g.claim)
        runs = [s for s in CLAIMS[g.claim].plan(paper) if not untrained(s)]
        assert len(runs) == paper.seeds * len(own["grid"][g.parameter]) * len(own["grid"]["lr"])
        assert {s.batch_size for s in runs} == {own["batch"]}
        assert {s.optimiser.lr for s in runs} == set(own["grid"]["lr"])
        assert {s.optimiser.weight_decay for s in runs} == {own.get("weight_decay", 1e-4)}
        assert g.make(own["best"][g.parameter], False) in {s.method for s in runs}


# --------------------------------------------------------------------------------------------------------- takeaways


def test_takeaways_are_filled_from_stored_verdicts(monkeypatch, tmp_path, capsys):
    import json

    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw=False: shown.append(data))
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path))
    verdict = {"verdict": "partly", "effect": 1.5, "low": 1.0, "high": 2.0, "unit": "points", "seeds": 5, "data": "d",
               "backbone": "b", "sentence": "Made up & measured."}  # fmt: skip
    (tmp_path / "quick" / "single_gpu").mkdir(parents=True)
    (tmp_path / "quick" / "single_gpu" / "verdicts.json").write_text(json.dumps({"A17": verdict}))
    notebook.takeaways(GPU)
    text, page = shown[0]["text/plain"], shown[0]["text/html"]
    assert "A17: partly. Made up & measured." in text
    assert "Made up &amp; measured." in page
    assert page.count("<tr>") == 1 + sum(len(t.claims) for t in registry.load().takeaways)
    notebook.takeaways(notebook.study("single_gpu", profile="paper"))
    assert "not yet. Not measured yet: run notebook 01_batch_size." in shown[1]["text/plain"]

"""The verdicts on the single-GPU grids, on frames made up to hold or to break each claim."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from studies import made_up

from repro import figures
from repro.claims import registry, single_gpu
from repro.core.profiles import profile
from repro.pages import notebook

GPU = notebook.study("single_gpu", profile="gpu")
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
    at = next(a for a in across if g.make(a, GPU.profile) == spec.method)
    return across.index(at) - 1, along.index(spec.optimiser.lr) - 1


def hill(spec) -> float:
    return 60 - 4 * sum(abs(x) for x in level(spec))


@pytest.mark.parametrize("claim", GRIDS)
def test_the_spread_is_that_of_a_neighbourhood(claim):
    found = CLAIMS[claim].judge(frame(claim, hill))
    assert found.verdict == "reproduced"
    assert 7 < found.effect < 13, "two steps of four points, and never the far corners"
    flat = CLAIMS[claim].judge(frame(claim, lambda s: 50.0))
    assert flat.effect < 0.5, "chosen on the other seeds, the best of equals gains nothing"


@pytest.mark.parametrize("claim", ["A12", "A15"])
def test_on_the_edge_a_small_spread_says_nothing(claim):
    flat, middle = ({"A12": (0.1, 0.3), "A15": (0.94, 0.3)}[claim], {"A12": (0.2, 0.9), "A15": (0.98, 0.9)}[claim])

    def judged(best):
        g = GRIDS[claim]
        at = g.make(best[0], GPU.profile)
        runs = frame(claim, lambda s: 50.0 + 0.6 * (s.method == at and s.optimiser.lr == best[1]))
        return CLAIMS[claim].judge(runs)

    assert judged(middle).verdict == "contradicted"
    assert judged(flat).verdict == "inconclusive"
    assert "on the edge" in judged(flat).sentence
    assert "would decide" not in judged(flat).sentence, "a lower bound below the margin stays one with more seeds"


def test_a_grid_without_neighbours_is_not_judged():
    wide = replace(GRIDS["A13"], levels={"gpu": (5.0, 25.0, 125.0)})
    claim = replace(CLAIMS["A13"], plan=partial(single_gpu.plan_grids, grids=[wide]))
    runs = made_up(claim, GPU, lambda spec, task: 50.0 + (spec.method.invariance == 25))
    found = single_gpu.judge_grid(runs, wide)
    assert found.verdict == "not judged"
    assert "no second coefficient within a factor of three" in found.sentence


@pytest.mark.parametrize("profile_", single_gpu.STARS)
@pytest.mark.parametrize("claim", GRIDS)
def test_in_a_star_the_neighbours_are_judged(claim, profile_):
    study = notebook.study("single_gpu", profile=profile_)
    g = GRIDS[claim]
    across, along = single_gpu.levels(g, study.profile)
    at = {g.make(x, study.profile): i for i, x in enumerate(across)}

    def star(spec):
        return 60 - 4 * abs(at[spec.method] - 1) - 4 * abs(along.index(spec.optimiser.lr) - 1)

    runs = frame(claim, star, study)
    assert len(runs) == 5 * (3 + 4 - 1) + 6
    found = CLAIMS[claim].judge(runs)
    assert found.verdict == "reproduced"
    assert found.effect == pytest.approx(4, abs=0.5)
    assert "on the edge" not in found.sentence
    with figures.theme("light"):
        assert "cross" not in CLAIMS[claim].draw(runs).alt  # a cell that is not in the plan did not diverge


@pytest.mark.parametrize("claim", GRIDS)
def test_diverged_cells_close_the_grid_and_are_drawn(claim):
    runs = frame(claim, lambda s: 60 - 5 * abs(level(s)[0]) + level(s)[1], broken=lambda s: (
        s.optimiser.lr == max(single_gpu.levels(GRIDS[claim], GPU.profile)[1])
    ))  # fmt: skip
    assert "on the edge" not in CLAIMS[claim].judge(runs).sentence
    with figures.theme("light"):
        drawn = CLAIMS[claim].draw(runs)
    assert "cross" in drawn.alt
    assert drawn.table["diverged"].sum() > 0


def test_methods_are_close_or_not():
    found = CLAIMS["A17"].judge(frame("A17", hill))
    assert found.verdict == "reproduced"
    assert [part.paper for part in found.parts] == [-1.82, -1.22, 3.38, 0.6, 5.2, 4.6]

    def ahead(spec):
        return hill(spec) + (6 if type(spec.method).__name__ == "BYOL" else 0)

    found = CLAIMS["A17"].judge(frame("A17", ahead))
    assert found.verdict == "mixed"  # three of the six pairs are within two points
    assert abs(found.effect) > 5
    edge = CLAIMS["A17"].judge(frame("A17", lambda s: 50 + 3 * level(s)[0]))
    assert edge.verdict == "not judged"
    assert "not bracketed: SimCLR's best has the highest temperature" in edge.sentence

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
        assert g.make(own["best"][g.parameter], paper) in {s.method for s in runs}


# --------------------------------------------------------------------------------------------------------- takeaways


def test_takeaways_are_filled_from_stored_verdicts(monkeypatch, tmp_path, capsys):
    import json

    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw=False: shown.append(data))
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path))
    verdict = {"verdict": "mixed", "effect": 1.5, "low": 1.0, "high": 2.0, "unit": "points", "seeds": 5, "data": "d",
               "backbone": "b", "sentence": "Made up & measured."}  # fmt: skip
    (tmp_path / "quick" / "single_gpu").mkdir(parents=True)
    (tmp_path / "quick" / "single_gpu" / "verdicts.json").write_text(json.dumps({"A17": verdict}))
    notebook.takeaways(notebook.study("single_gpu", profile="quick"))
    assert "| ◐ mixed | Made up & measured. |" in shown[0].data
    assert shown[0].data.count("\n") == 1 + sum(len(t.claims) for t in registry.load().takeaways)
    notebook.takeaways(notebook.study("single_gpu", profile="paper"))
    assert "not yet | Not measured yet: run notebook 01_batch_size. |" in shown[1].data

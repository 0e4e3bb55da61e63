"""What every claim is made of: labels of runs, grids, cells and verdicts, on frames made up to break them."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from studies import made_up

from repro import claims, stats
from repro.claims import kit
from repro.core.methods import BYOL, BarlowTwins
from repro.core.profiles import base, profile
from repro.core.spec import DetectSpec, key
from repro.pages import notebook

QUICK = profile("quick")
SPEC = base(QUICK)
PEAK = {0.4: 50.0, 1.2: 60.0, 4.0: 55.0}


def frame(plan: kit.Plan, accuracy=lambda spec, task: PEAK[spec.optimiser.lr], **changes):
    """The frame of a plan's runs, as a claim would see it."""
    claim = SimpleNamespace(id="Z1", plan=lambda profile: plan)
    return made_up(claim, SimpleNamespace(profile=plan.profile, plan=lambda c: plan), accuracy, **changes)


def test_a_spec_is_varied_by_the_names_of_a_frames_columns():
    varied = SPEC.but(lr=0.3, temperature=0.5, layers=3, mlp=True, batch_size=16, optimiser="adamw", size=32)
    assert (varied.optimiser.lr, varied.optimiser.name, varied.method.temperature) == (0.3, "adamw", 0.5)
    assert (varied.projector.layers, varied.probes.mlp, varied.batch_size, varied.data.size) == (3, True, 16, 32)
    assert varied.but(method=SPEC.method).method == SPEC.method
    with pytest.raises(ValueError, match="momentun"):
        SPEC.but(momentun=0.9)
    cells = SPEC.grid(batch_size=(16, 64), lr=(0.4, 1.2))
    assert [(c.batch_size, c.optimiser.lr) for c in cells] == [(16, 0.4), (16, 1.2), (64, 0.4), (64, 1.2)]


def test_labels_are_columns_and_a_cell_is_a_spec_less_its_seed():
    slow, fast = SPEC.grid(lr=(0.4, 1.2))
    runs = frame(kit.Plan(QUICK).add(slow, variant="slow").add(fast, variant="fast", share=0.5).floors())
    assert sorted(runs["cell"].value_counts()) == [1, 5, 5, 5]
    assert runs.attrs["profile"] == "quick"
    scores = kit.by(runs, "variant")
    assert list(scores) == ["slow", "fast"]
    assert scores["fast"] == pytest.approx(np.full(5, 60.0), abs=1)
    assert list(kit.by(runs, "share")) == [0.5]
    assert list(kit.runs_by(runs, "variant", "lr")) == [("slow", 0.4), ("fast", 1.2)]


def test_a_run_is_planned_once_and_under_one_name():
    plan = kit.Plan(QUICK).add(SPEC, variant="a").add(SPEC, variant="a")
    assert len(plan) == len({key(s) for s in plan}) == 5
    with pytest.raises(ValueError, match="two labels"):
        plan.add(SPEC, variant="b")
    with pytest.raises(ValueError, match="'lr' is already a column"):
        frame(kit.Plan(QUICK).add(SPEC, lr=0.4))


def test_every_study_can_be_repeated_with_seeds_that_it_has_not_seen():
    again = replace(QUICK, first=5)
    for claim in (c for slug in claims.notebooks() for c in claims.of(slug)):
        seeds, repeated = ({getattr(s, "seed", None) for s in claim.plan(p)} - {None} for p in (QUICK, again))
        assert repeated == {seed + 5 for seed in seeds}


def test_rows_are_in_the_plans_order_and_lack_what_is_not_planned():
    plan = kit.Plan(QUICK).add(*SPEC.grid(lr=(1.2, 0.4))).floors()
    runs = frame(kit.Plan(QUICK).floors().add(*SPEC.grid(lr=(0.4, 4.0, 1.2))))
    assert plan.rows(runs.drop(columns="cell"))["key"].tolist() == [key(s) for s in plan]


def test_a_grid_is_tuned_on_validation_where_no_seed_diverged():
    plan = kit.Plan(QUICK).add(*SPEC.grid(batch_size=(16, 64), lr=(0.4, 1.2, 4.0))).floors()
    runs = frame(plan, broken=lambda s: s.optimiser.lr == 1.2 and s.batch_size == 64 and s.seed == 0)
    got = kit.read(runs, "batch_size", "lr")
    assert got.levels == [[16, 64], [0.4, 1.2, 4.0]]
    assert got.test.shape == (5, 2, 3)
    assert got.best.tolist() == got.peaks.tolist() == [1, 2]
    assert got.tuned().mean(0) == pytest.approx([60, 55], abs=0.5)
    with pytest.raises(ValueError, match="several runs"):
        kit.read(runs, "lr")


def test_the_levels_of_a_grid_rise_and_names_keep_the_plans_order():
    plan = kit.Plan(QUICK)
    for stack in ("plain", "all"):
        plan.add(*SPEC.but(epochs=len(stack)).grid(lr=(1.2, 0.4)), stack=stack)
    assert kit.read(frame(plan), "stack", "lr").levels == [["plain", "all"], [0.4, 1.2]]


def test_each_method_must_beat_the_floors():
    plan = kit.Plan(QUICK).add(SPEC, SPEC.but(method=BYOL())).floors()
    runs = frame(plan, lambda spec, task: 25.0 if isinstance(spec.method, BYOL) else 60.0)
    titles = {"SimCLR": "SimCLR", "BYOL": "BYOL"}
    assert kit.cannot_carry_each(runs, titles).startswith("BYOL: tuned SSL reaches 2")
    assert kit.cannot_carry_each(runs, {"SimCLR": "SimCLR"}) == kit.cannot_carry(runs) == ""


def test_a_knob_that_no_one_named_is_not_averaged_over():
    plan = kit.Plan(QUICK).add(*SPEC.grid(width=(32, 64, 128))).floors()
    runs = frame(plan, lambda spec, task: 45.0 if spec.projector.width == 32 else 20.0)
    assert kit.cannot_carry(runs) == ""
    assert "tuned SSL reaches 2" in kit.cannot_carry(runs[runs["width"] > 32])


@pytest.mark.parametrize(
    ("seeds", "height", "word"), [(5, 60.0, stats.REPRODUCED), (4, 60.0, stats.NOT_JUDGED), (5, 25.0, stats.NOT_JUDGED)]
)
def test_a_verdict_wants_seeds_and_data_that_carry_it(seeds, height, word):
    plan = kit.Plan(profile("quick", seeds=seeds)).add(*SPEC.grid(lr=(0.4, 1.2))).floors()
    runs = frame(plan, lambda spec, task: height + spec.optimiser.lr)
    got = kit.read(runs, "lr")
    gain = stats.paired(got.test[:, 1], got.test[:, 0])
    found = kit.verdict(runs, [stats.sup("high over low", gain, 0.5, paper=4.0)], "So it is.")
    assert (found.verdict, found.seeds, found.backbone, found.evidence) == (word, seeds, "convnet-thin", "stand-in")
    part = found.parts[0]
    assert (part.word, part.mean, part.paper, part.rule) == (stats.SUPPORTED, found.effect, 4.0, "SUP(0.5)")
    assert ("above the floor" in found.sentence) == (height < 30)
    assert kit.verdict(runs, [], "").verdict == stats.NOT_JUDGED


def test_a_part_that_cannot_be_judged_leaves_the_claim_not_judged():
    runs = frame(kit.Plan(QUICK).add(SPEC).floors(), lambda spec, task: 60.0)
    part = replace(stats.sup("best over default", stats.paired([2.0, 2.1, 2.2, 2.0, 2.1]), 1.0), cannot="on the edge")
    found = kit.verdict(runs, [part], "It gains 2 points.")
    assert found.verdict == stats.NOT_JUDGED
    assert found.sentence == "Not judged: best over default: on the edge. It gains 2 points."


def test_an_inconclusive_verdict_says_how_many_seeds_would_decide():
    runs = frame(kit.Plan(QUICK).add(SPEC).floors(), lambda spec, task: 60.0)
    part = stats.sup("a over b", stats.paired([1.0, -1.0, 2.0, 0.0, 3.0]), 1.0)
    found = kit.verdict(runs, [part], "It gains 1 point.")
    assert found.verdict == stats.INCONCLUSIVE
    assert found.sentence == f"It gains 1 point. About {part.needed} seeds would decide it."
    assert found.parts[0].needed == part.needed > 5


def test_a_compared_cell_at_the_floor_is_named():
    runs = frame(kit.Plan(QUICK).add(SPEC).floors(), lambda spec, task: 60.0)
    floor = kit.floor_levels(runs)["random encoder"]
    cells = {"crop": np.full(5, floor + 4.9), "all": np.full(5, floor + 5.1)}
    assert kit.at_floor(runs, cells).startswith("crop (")
    assert kit.at_floor(runs, {"all": cells["all"]}) == ""


def test_data_carry_a_claim_by_the_best_cell_of_the_whole_grid():
    """A loss parameter is a part of the cell: its other values must not pull the best one below the floors."""
    plan = kit.Plan(QUICK).add(*SPEC.but(method=BarlowTwins()).grid(lambda_=(0.001, 0.08))).floors()
    assert kit.cannot_carry(frame(plan, lambda spec, task: 40.0 if spec.method.lambda_ == 0.001 else 20.0)) == ""


def test_a_verdict_on_other_measurements_names_what_they_are_of():
    runs = frame(kit.Plan(QUICK).add(SPEC), lambda spec, task: 60.0)
    part = stats.holds("identity", True, stats.Interval(math.nan, math.nan, math.nan, 5), "", "ratio")
    found = kit.verdict(runs, [part], "", on="generated projections", backbone="no network", evidence="toy")
    assert (found.verdict, found.effect, found.evidence) == (stats.REPRODUCED, None, "toy")
    assert (found.data, found.backbone) == ("generated projections", "no network")


def test_a_run_starts_from_one_of_its_own_seed():
    detector = DetectSpec(start=SPEC)
    runs = kit.Plan(QUICK).add(detector)
    assert [(s.seed, s.start.seed) for s in runs] == [(seed, seed) for seed in range(QUICK.seeds)]
    assert len({labels["cell"] for labels in runs.labels.values()}) == 1


def test_a_notebooks_rows_have_the_labels():
    study = notebook.study("batch_size", profile="quick", results="stored")
    claim = next(c for c in study.claims if c.id == "A4")
    runs = notebook.rows(study, notebook.measure(study), claim)
    assert set(kit.trained(runs)["equal"]) == {"epochs"}

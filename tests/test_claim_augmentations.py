"""The verdicts on augmentations, on frames made up to hold or to break each claim; their figures; the benchmark of views."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from studies import check_finished, every_study, made_up

from repro import figures
from repro.bench import views as bench
from repro.claims import augmentations
from repro.core.profiles import profile
from repro.core.spec import DataSpec, key
from repro.errors import ReproError
from repro.pages import notebook
from repro.views.recipe import STACKS, View, preset

STUDY = notebook.study("augmentations", profile="quick")
CLAIMS = {c.id: c for c in augmentations.CLAIMS}
PAPERS = dict(zip(STACKS, (45.0, 47.0, 54.0, 48.0, 50.0, 55.0)))  # what holds both claims


def frame(claim: str, accuracy, study=STUDY, broken=lambda spec: False):
    """The plan's runs with made-up numbers: accuracy(stack, method, task) in percent, three points less at the rate 4;
    costs 1, 2, ... by stack."""
    labels = CLAIMS[claim].plan(study.profile).labels

    def read(spec, task):
        value = accuracy(labels[key(spec)]["stack"], type(spec.method).__name__, task)
        return value - 3 * (spec.optimiser.lr == 4.0)

    def more(spec):
        if isinstance(spec, bench.ViewsSpec):
            costs = {f"cost_{stack}": 1.0 + i for i, stack in enumerate(STACKS)}
            return {}, {}, costs | {f"us_{stack}": 3.0 + i for i, stack in enumerate(STACKS)}
        clock = [1.0, 1.0 + STACKS.index(labels[key(spec)].get("stack", "crop"))]
        return {}, {}, {"epoch_cpu_seconds": clock, "epoch_seconds": clock}

    return made_up(CLAIMS[claim], study, read, more, broken)


def papers(stack: str, method: str, task: str) -> float:
    return PAPERS[stack]


def verdict(claim: str, accuracy, **kwargs):
    return CLAIMS[claim].judge(frame(claim, accuracy, **kwargs))


def test_the_stacks_are_the_papers():
    """Figs. 6 and 7: solarize .2, gray .2, blur 1, jitter .8, each alone on cropping, then all."""
    first = {name: preset(name).views[0] for name in STACKS}
    plain = first["crop"]
    assert plain == View()
    assert first["crop+solarize"] == replace(plain, solarize=0.2)
    assert first["crop+gray"] == replace(plain, gray=0.2)
    assert first["crop+blur"] == replace(plain, blur=1.0)
    assert first["crop+jitter"] == replace(plain, jitter=0.8)
    assert first["all"] == replace(plain, solarize=0.2, gray=0.2, blur=1.0, jitter=0.8)


def test_a8_holds_when_crop_and_gray_are_as_good_as_all():
    found = verdict("A8", papers)
    assert found.verdict == "reproduced"
    assert found.effect == pytest.approx(1, abs=0.5)

    def far(stack, method, task):
        return PAPERS[stack] + 6 * (stack == "all")

    assert verdict("A8", far).verdict == "mixed"  # gray helps, and all is far from it
    no_gray = {**PAPERS, "crop+gray": 44.0, "all": 60.0}
    assert verdict("A8", lambda stack, *_: no_gray[stack]).verdict == "contradicted"


def test_a9_asks_for_gray_first_by_both_methods():
    found = verdict("A9", papers)
    assert found.verdict == "reproduced"
    assert found.effect == pytest.approx(PAPERS["crop+gray"] - PAPERS["crop+jitter"], abs=0.5)

    def only_simclr(stack, method, task):
        return PAPERS[stack] + 8 * (method == "BarlowTwins" and stack == "crop+jitter")

    found = verdict("A9", only_simclr)
    assert found.verdict == "mixed"
    assert "SimCLR: gray, with 9.0 points" in found.finding
    assert "Barlow Twins: jitter, with 13.2 points" in found.finding
    harmful = {**PAPERS, "crop+gray": 40.0}
    assert verdict("A9", lambda stack, *_: harmful[stack]).verdict == "contradicted"


def test_a_stack_at_the_random_encoders_level_leaves_the_claims_not_judged():
    """Where cropping alone learns nothing, what a stack gains over it says nothing."""
    low = {**PAPERS, "crop": 22.0}
    for claim in CLAIMS:
        found = verdict(claim, lambda stack, *_: low[stack])
        assert found.verdict == "not judged"
        assert found.sentence.startswith("Not judged: ")
        assert "SimCLR, crop (2" in found.sentence


def test_each_stack_has_its_own_rate_from_the_validation_split(monkeypatch):
    monkeypatch.setitem(augmentations.RATES["quick"], "SimCLR", (1.2, 4.0))
    runs = frame("A8", papers)
    got = augmentations.by_stack(runs, "SimCLR")
    assert got.levels == [list(STACKS), [1.2, 4.0]]
    assert got.best.tolist() == [0] * 6  # the other one is three points worse
    np.testing.assert_allclose(got.tuned().mean(0), list(PAPERS.values()), atol=0.4)


@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_data_on_which_a_method_learns_nothing_carry_no_claim(claim):
    found = verdict(claim, lambda stack, method, task: 25.0)
    assert found.verdict == "not judged"
    assert "less than 10 points above" in found.sentence
    weak = verdict("A9", lambda stack, method, task: papers(stack, method, task) - 30 * (method == "BarlowTwins"))
    assert weak.verdict == "not judged"
    assert weak.sentence.startswith("Not judged: Barlow Twins: tuned SSL reaches")


@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_gray_digits_carry_no_claim_about_colour(claim):
    study = notebook.study("augmentations", profile="quick", data="digits")
    found = verdict(claim, papers, study=study)
    assert found.verdict == "not judged"
    assert "digits are gray" in found.sentence


@pytest.mark.parametrize("claim", sorted(CLAIMS))
@every_study("augmentations")
def test_every_frame_gives_a_figure_and_a_verdict(claim, study):
    runs = frame(claim, lambda stack, method, task: papers(stack, method, task), study)
    check_finished(CLAIMS[claim], runs, (runs["kind"] == "RunSpec").sum())


@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_diverged_runs_are_drawn_and_never_chosen(claim, monkeypatch):
    monkeypatch.setitem(augmentations.RATES["quick"], "SimCLR", (1.2, 4.0))

    def broken(spec):
        return spec.optimiser.lr == 1.2 and type(spec.method).__name__ == "SimCLR"

    runs = frame(claim, papers, broken=broken)
    with figures.theme("light"):
        drawn = CLAIMS[claim].draw(runs)
    assert drawn.table["diverged"].sum() == 30
    assert CLAIMS[claim].judge(runs).verdict == "reproduced"


def test_costs_are_ratios_to_cropping_alone():
    found = augmentations.costs(frame("A9", papers)).set_index("stack")
    assert found.loc["crop", "views, ratio to crop"] == 1
    assert found.loc["all", "views, ratio to crop"] == 6
    assert found.loc["crop+blur", "training, ratio to crop"] == pytest.approx(4)


def test_the_paper_profile_tunes_on_its_own_data():
    plan = CLAIMS["A9"].plan(profile("paper"))
    trained = [s for s in plan if "stack" in plan.labels[key(s)]]
    assert {s.backbone for s in trained} == {"resnet50"}
    assert {s.recipe.views[0].crop for s in trained} == {(0.08, 1.0)}
    assert {s.recipe.name.split(",")[0] for s in trained} == set(STACKS)


def test_the_benchmark_of_views_times_every_stack_in_turn(capsys):
    spec = bench.ViewsSpec(DataSpec("objects", 16, options=(("images", 64),)), (0.5, 1.0), count=64, repeats=3)
    timing = bench.run(spec).timing
    assert timing["cost_crop"] == 1
    assert all(timing[f"us_{s}"] > 0 for s in STACKS)
    assert timing["cost_all"] > timing["cost_crop+solarize"] > 0
    with pytest.raises(ReproError, match="repeats must be a whole number from 1 on"):
        bench.ViewsSpec(DataSpec("objects"), repeats=0)
    assert bench.main(["--size", "16", "--images", "32", "--repeats", "1"]) == 0
    assert "crop+jitter" in capsys.readouterr().out

"""The verdicts on MSR, on frames made up to hold or to break each claim, and figures of whatever was run; the watched
pairs; the benchmark of a step."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from studies import made_up

from repro import data, figures
from repro.bench import step
from repro.claims import msr_beta_decay as msr
from repro.core.spec import key
from repro.pages import notebook
from repro.ssl import pairs, train
from repro.ssl.methods import BYOL, MSR, SimCLR, SimSiam, SimSiamMSR, Untrained
from repro.views.recipe import preset

STUDY = notebook.study("msr_beta_decay", profile="quick")
CLAIMS = {c.id: c for c in msr.CLAIMS}


def curves(clean_half=0.2, lost_half=0.6, steps=12):
    share = np.arange(steps + 1) / steps
    rise = {k: 0.8 / (1 + np.exp(-20 * (share - h))) for k, h in (("clean", clean_half), ("lost", lost_half))}
    found = {f"pair_{k}": [float(x) for x in v] for k, v in rise.items()}
    return found | {"pair_step": list(range(steps + 1)), "pair_lost_share": [0.1], "pair_known": [1.0]}


def frame(claim, accuracy, study=STUDY, made=curves, ratio=1.02):
    """The plan's runs with made-up numbers: accuracy(spec) in percent for trained runs, made() for the watched pairs."""

    def more(spec):
        if not isinstance(spec, step.StepSpec):
            return {}, made() if spec.probes.pairs else {}, {}
        noise = np.random.default_rng(int(key(spec), 16) % 2**32).normal(0, 0.15)
        times = {f"{k}{w}_ms": 10.0 for k in ("", "views_") for w in step.ways()}
        times |= {"msr_ratio": ratio + 0.05 * noise, "independent_ratio": 1.3, "staged_ratio": 0.6}
        return {"parameters": 1.0}, {}, times

    return made_up(CLAIMS[claim], study, lambda spec, task: accuracy(spec), more, noise=0.15)


def verdict(claim, accuracy=lambda spec: 50.0, **kwargs):
    return CLAIMS[claim].judge(frame(claim, accuracy, **kwargs))


def table_1(spec, steps=(2.0, 3.0, 2.0), by_shift=8.0):
    """Accuracy that rises from AA to AW, fixed and decaying beta, and with the shift."""
    shift = dict(spec.data.options).get("fragile", 0.0)
    if isinstance(spec.method, BYOL):
        return 40 + (steps[0] if spec.recipe.name.startswith("AW") else 0.0) - by_shift * shift
    return 40 + (steps[1] if spec.method.decay == "fixed" else sum(steps[1:]))


def test_b1_wants_every_step_and_growth_with_the_shift():
    found = verdict("B1", table_1)
    assert found.verdict == "reproduced"
    assert found.effect > 1.5
    assert verdict("B1", lambda s: table_1(s, steps=(2.0, 3.0, 0.0))).verdict == "partly"
    assert verdict("B1", lambda s: table_1(s, by_shift=-8.0)).verdict == "partly"
    assert verdict("B1", lambda s: table_1(s, (-2.0, -3.0, -2.0), -8.0)).verdict == "not reproduced"


def test_b2_wants_a_gap_that_shrinks():
    def gap(short, long):
        def accuracy(spec):
            first = spec.epochs == min(msr.lengths(STUDY.profile))
            return (40 if first else 50) + (short if first else long) * isinstance(spec.method, MSR)

        return accuracy

    assert verdict("B2", gap(4, 2)).verdict == "reproduced"
    assert verdict("B2", gap(4, 6)).verdict == "partly"
    assert verdict("B2", gap(-4, -2)).verdict == "not reproduced"


def test_b6_is_about_the_ratio_alone():
    assert verdict("B6").verdict == "reproduced"
    slower = verdict("B6", ratio=1.4)
    assert slower.verdict == "not reproduced"
    assert slower.unit == "ratio"
    assert slower.effect > 1.3
    assert "random images" in slower.data


def test_b7_wants_a_flat_top_and_zero_below():
    def arch(spec):
        return 50 - 8 * max(0.0, abs(spec.method.beta - 0.4) - 0.15)

    assert verdict("B7", arch).verdict == "reproduced"
    assert verdict("B7", lambda s: 50 - 20 * abs(s.method.beta - 0.3)).verdict == "partly"  # too steep on the range
    falls = verdict("B7", lambda s: 50 - 20 * s.method.beta)
    assert falls.verdict == "not reproduced"


def test_b8_and_b10_compare_two_methods():
    assert verdict("B8", lambda s: 45.0 + 3 * isinstance(s.method, SimSiamMSR)).verdict == "reproduced"
    assert verdict("B8", lambda s: 45.0 - 3 * isinstance(s.method, SimSiamMSR)).verdict == "not reproduced"
    assert verdict("B10").verdict == "reproduced"
    assert verdict("B10", lambda s: 45.0 + 4 * s.method.stop).verdict == "not reproduced"


def test_b9_wants_the_order_and_the_gain():
    def timing(gain):
        return lambda s: 45.0 + gain * (isinstance(s.method, MSR) and s.method.decay == "cosine")

    found = verdict("B9", timing(3.0))
    assert found.verdict == "reproduced"
    assert "40 % of the run" in found.sentence
    assert verdict("B9", timing(0.0)).verdict == "partly"
    backwards = verdict("B9", timing(-3.0), made=lambda: curves(0.6, 0.2))
    assert backwards.verdict != "reproduced"
    assert "half aligned -40 % of the run" in backwards.sentence
    never = verdict("B9", timing(3.0), made=lambda: curves() | {"pair_lost": [0.3] * 13})
    assert never.verdict == "partly"


def test_half_way_is_between_two_readings():
    share = np.array([0.0, 0.25, 0.5, 1.0])
    assert msr.half_way(share, np.array([0.0, 0.1, 0.5, 1.0])) == pytest.approx(0.5)
    assert msr.half_way(share, np.array([0.2, 0.6, 0.7, 0.8])) == pytest.approx(0.1875)
    assert math.isnan(msr.half_way(share, np.array([0.5, 0.4, 0.4, 0.3])))


LEARNED = sorted(set(CLAIMS) - {"B6"})


@pytest.mark.parametrize("claim", LEARNED)
def test_data_on_which_nothing_is_learned_carry_no_claim(claim):
    found = verdict(claim, lambda spec: 25.0)
    assert found.verdict == "not judged"
    assert "above the floor" in found.sentence


@pytest.mark.parametrize("claim", sorted(CLAIMS))
@pytest.mark.parametrize(
    "study",
    [
        notebook.study("msr_beta_decay", profile="smoke", seeds=1),
        notebook.study("msr_beta_decay", profile="quick", data="digits"),
        notebook.study("msr_beta_decay", profile="paper", seeds=2),
    ],
    ids=["smoke", "digits", "paper"],
)
def test_every_frame_gives_a_figure_and_a_verdict(claim, study):
    runs = frame(claim, lambda spec: 50.0 + spec.seed, study)
    with figures.theme("light"):
        drawn = CLAIMS[claim].draw(runs)
    assert drawn.alt
    assert len(drawn.table) == len(runs)
    assert CLAIMS[claim].judge(runs).sentence


@pytest.mark.parametrize("claim", LEARNED)
def test_a_run_that_diverged_breaks_neither_figure_nor_verdict(claim):
    runs = frame(claim, lambda spec: math.nan if spec.seed == 0 else 50.0)
    with figures.theme("light"):
        CLAIMS[claim].draw(runs)
    assert CLAIMS[claim].judge(runs).sentence


def test_claims_share_their_runs():
    plans = {c: {key(s) for s in CLAIMS[c].plan(STUDY.profile)} for c in LEARNED}
    methods = {c: [s for s in CLAIMS[c].plan(STUDY.profile) if not isinstance(s.method, Untrained)] for c in LEARNED}
    assert all(plans["B1"] & plans[c] for c in LEARNED)
    everything = {key(s) for c in LEARNED for s in methods[c]}
    assert len(everything) < 0.8 * sum(len(m) for m in methods.values())
    assert {type(s.method) for m in methods.values() for s in m} >= {BYOL, MSR, SimCLR, SimSiam, SimSiamMSR}


# --------------------------------------------------------------------------------------------------- watched pairs


def test_gray_views_of_fragile_scenes_have_lost_their_object(tiny):
    options = (("fragile", 1.0), ("images", 256), ("texture", msr.TEXTURE))
    lost = {}
    for gray in (0.0, 1.0):
        recipe = preset("msr", crop=(0.5, 1.0), jitter=0.0, blur=0.0)
        views = tuple(v if v.parent < 0 else type(v)(**{**vars(v), "gray": gray}) for v in recipe.views)
        views = tuple(type(v)(**{**vars(v), "gray": 0.0}) if v.parent < 0 else v for v in views)
        spec = tiny(
            method=MSR(), recipe=type(recipe)("made up", views), data=data_spec(tiny, options), probes={"pairs": 1}
        )
        lost[gray] = pairs.make(spec, data.load("scenes", 16, options)).share
    assert lost[0.0] == 0
    assert lost[1.0] > 0.6
    steady = tiny(method=MSR(), recipe=preset("msr"))
    assert pairs.make(steady, data.load("scenes", 16, steady.data.options)).share < 0.1


def data_spec(tiny, options):
    spec = tiny().data
    return type(spec)(spec.name, spec.size, 1.0, options)


def test_watching_changes_nothing_and_is_read_where_it_should(tiny, tmp_path):
    spec = tiny(method=MSR(), recipe=preset("msr"), epochs=2)
    plain, found = train.run(spec), train.run(tiny(method=MSR(), recipe=preset("msr"), epochs=2, probes={"pairs": 3}))
    assert plain.metrics == found.metrics
    assert plain.curves["loss"] == found.curves["loss"]
    assert found.curves["pair_step"] == [0, 3, 6, 8]
    assert all(-2 <= v <= 2 for v in found.curves["pair_clean"])
    assert torch.isfinite(torch.tensor(found.curves["pair_clean"])).all()

    class Enough(Exception):
        pass

    def tick(step, steps, loss):
        if step == 5:
            raise Enough

    watched = tiny(method=MSR(), recipe=preset("msr"), epochs=2, probes={"pairs": 3})
    with pytest.raises(Enough):
        train.run(watched, tmp_path, tick)
    assert repr(train.run(watched, tmp_path).curves) == repr(found.curves)


def test_the_picture_marks_destroyed_views():
    with figures.theme("light"):
        fig = msr.pictures(STUDY.profile)
    said = [ax.get_xlabel() for ax in fig.axes]
    assert sum("destroyed" in s for s in said) == 4
    with figures.theme("light"):
        digits = msr.pictures(notebook.study("msr_beta_decay", profile="quick", data="digits").profile)
    assert sum("contrast" in ax.get_xlabel() for ax in digits.axes) == 4


def test_a_step_is_timed_whole_and_in_turn():
    found = step.run(step.StepSpec(batch_size=16, repeats=1))
    assert found.metrics["parameters"] > 10_000
    assert all(v > 0 for v in found.timing.values())
    assert {f"{w}_ms" for w in step.ways()} | {"msr_ratio", "staged_ratio"} <= set(found.timing)
    # staged views are made from two crops, not four
    assert found.timing["staged_ratio"] < 1

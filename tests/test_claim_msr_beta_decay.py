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
from repro.core.methods import BYOL, MSR, MoCo, SimCLR, SimSiam, SimSiamMSR, Untrained
from repro.core.spec import Projector, key
from repro.pages import notebook
from repro.ssl import methods, pairs, train
from repro.views.recipe import preset

STUDY = notebook.study("msr_beta_decay", profile="quick")
CLAIMS = {c.id: c for c in msr.CLAIMS}


def curves(clean_half=0.2, lost_half=0.6, steps=12):
    """Alignments that rise steeply when that share of the run is done."""
    share = np.arange(steps + 1) / steps
    rise = {k: 0.8 / (1 + np.exp(-20 * (share - h))) for k, h in (("clean", clean_half), ("lost", lost_half))}
    found = {f"pair_{k}": [float(x) for x in v] for k, v in rise.items()}
    return found | {"pair_step": list(range(steps + 1)), "pair_lost_share": [0.1], "pair_known": [1.0]}


def frame(claim, accuracy, study=STUDY, made=curves, ratio=1.02):
    """The plan's runs with made-up numbers: accuracy(spec) in percent for trained runs, made() for the watched pairs."""

    def more(spec):
        if not isinstance(spec, step.StepSpec):
            read = made() if spec.probes.pairs else {}
            jitter = 1 + 0.01 * np.random.default_rng(spec.seed).normal()
            read = read | {
                k: [x * jitter if i < 6 else x for i, x in enumerate(v)] for k, v in read.items() if k == "pair_lost"
            }
            return {}, read, {}
        noise = np.random.default_rng(int(key(spec), 16) % 2**32).normal(0, 0.15)
        times = {f"{k}{w}_ms": 10.0 for k in ("", "views_") for w in step.ways()}
        times |= {"msr_ratio": ratio + 0.05 * noise, "independent_ratio": 1.3, "staged_ratio": 0.6}
        return {"parameters": 1.0}, {}, times

    return made_up(CLAIMS[claim], study, lambda spec, task: accuracy(spec), more, noise=0.15)


def verdict(claim, accuracy=lambda spec: 50.0, **kwargs):
    return CLAIMS[claim].judge(frame(claim, accuracy, **kwargs))


def words(found):
    return [part.word for part in found.parts]


def table_1(spec, steps=(2.0, 3.0, 2.0)):
    """Accuracy that rises from AA to AW, and from AA to a fixed and a decaying beta."""
    if isinstance(spec.method, BYOL):
        return 40 + steps[0] * spec.recipe.name.startswith("AW")
    return 40 + (steps[1] if spec.method.decay == "fixed" else sum(steps[1:]))


def test_b1_wants_every_step():
    found = verdict("B1", table_1)
    assert found.verdict == "reproduced"
    assert found.effect == pytest.approx(2, abs=0.3)
    assert [p.paper for p in found.parts] == [0.4, 1.2, 0.7]
    assert words(verdict("B1", lambda s: table_1(s, (2.0, 3.0, 0.0)))) == ["supported", "supported", "too small"]
    assert verdict("B1", lambda s: table_1(s, (2.0, 3.0, -2.0))).verdict == "mixed"
    assert verdict("B1", lambda s: table_1(s, (-2.0, -3.0, -2.0))).verdict == "contradicted"


def test_b1_says_nothing_where_weak_targets_alone_teach_nothing():
    found = verdict("B1", lambda s: 22.0 if getattr(s.method, "beta", 1) == 0 else table_1(s))
    assert found.verdict == "not judged"
    assert found.sentence.startswith("Not judged: MSR, β 0 (2")
    assert words(found) == ["supported"] * 3  # beside it, what the numbers alone would say


def test_b2_is_against_all_four():
    def gain(long, short=5.0, best=0.0):
        def accuracy(spec):
            first = spec.epochs == min(msr.lengths(STUDY.profile))
            return (40 if first else 50) + (short if first else long) * isinstance(spec.method, MSR) + best * isinstance(
                spec.method, SimCLR)  # fmt: skip

        return accuracy

    found = verdict("B2", gain(2))
    assert found.verdict == "reproduced"
    assert [p.name.removeprefix("MSR over ") for p in found.parts][:4] == ["SimCLR", "MoCo v2", "SimSiam", "BYOL"]
    assert [p.paper for p in found.parts] == [2.6, 3.1, 2.3, 1.4, 0.7]
    assert words(verdict("B2", gain(2, best=9))) == ["contradicted", *["supported"] * 4]
    assert words(verdict("B2", gain(2, short=-2)))[-1] == "contradicted"
    assert verdict("B2", gain(-2, short=-4)).verdict == "contradicted"


def test_b6_is_about_the_ratio_alone():
    assert verdict("B6").verdict == "reproduced"
    slower = verdict("B6", ratio=1.4)
    assert slower.verdict == "contradicted"
    assert slower.unit == "ratio"
    assert slower.effect > 1.3
    assert "random images" in slower.data


def test_b7_wants_a_flat_top_and_zero_below():
    def arch(spec):
        return 50 - 8 * max(0.0, abs(spec.method.beta - 0.4) - 0.15)

    assert verdict("B7", arch).verdict == "reproduced"
    steep = verdict("B7", lambda s: 50 - 20 * abs(s.method.beta - 0.3))
    assert words(steep) == ["supported", "contradicted"]
    assert "β_base 0.3 gains" in steep.sentence
    assert words(verdict("B7", lambda s: 50 - 20 * s.method.beta)) == ["contradicted"] * 2


def test_b8_compares_two_methods():
    assert verdict("B8", lambda s: 45.0 + 3 * isinstance(s.method, SimSiamMSR)).verdict == "reproduced"
    assert verdict("B8", lambda s: 45.0 - 3 * isinstance(s.method, SimSiamMSR)).verdict == "contradicted"


def timing(gain):
    return lambda s: 45.0 + gain * (isinstance(s.method, MSR) and s.method.decay == "cosine")


def test_b9_wants_late_destroyed_pairs_and_the_gain():
    assert verdict("B9", timing(3.0)).verdict == "reproduced"
    assert words(verdict("B9", timing(-3.0))) == ["contradicted", "supported", "supported"]
    early = verdict("B9", timing(3.0), made=lambda: curves(0.6, 0.2))
    assert words(early)[:2] == ["supported", "contradicted"]
    guessed = verdict("B9", timing(3.0), made=lambda: curves() | {"pair_known": [0.0]})
    assert words(guessed) == ["supported", "inconclusive"]
    assert guessed.verdict == "inconclusive"
    assert "is not known" in guessed.sentence


def test_b9_on_photographs_asks_for_falling_over_rising_as_well():
    study = notebook.study("msr_beta_decay", profile="cpu", data="cifar10")
    found = verdict("B9", timing(3.0), study=study)
    assert words(found) == ["supported", "supported", "inconclusive"]
    assert verdict("B9", timing(-3.0), study=study).verdict == "contradicted"


def test_the_late_share_is_of_the_final_alignment():
    steps = np.array([0.0, 2.0, 4.0])
    assert msr.late(steps, np.array([0.1, 0.6, 0.8])) == pytest.approx(25)
    assert msr.late(np.array([0.0, 1.0, 4.0]), np.array([0.0, 0.5, 0.8])) == pytest.approx(25)
    assert msr.late(steps, np.array([0.1, 0.9, 0.6])) == pytest.approx(-50)
    assert msr.late(steps, np.array([0.1, 0.0, 0.0])) == 0


def gradient(learner, views, **changes):
    learner.method = MSR(decay="fixed", **changes)
    learner.zero_grad()
    methods.loss(learner, views)[0].backward()
    return torch.cat([p.grad.flatten() for p in learner.trained()])


@pytest.mark.parametrize("beta", [0.1, 0.5, 0.8])
def test_without_the_stop_beta_is_only_another_beta(beta):
    """Why there is no B10: grad(no stop, beta) = (1 + beta) grad(stop, 2 beta / (1 + beta))."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(48, 16), torch.nn.Tanh())
    learner, views = methods.Learner(net, 16, Projector(2, 16, 8), MSR()), torch.randn(4, 8, 3, 4, 4)
    free = gradient(learner, views, beta=beta, stop=False)
    stopped = gradient(learner, views, beta=2 * beta / (1 + beta))
    assert torch.cosine_similarity(free, stopped, dim=0).item() == pytest.approx(1, abs=1e-5)
    assert (free.norm() / stopped.norm()).item() == pytest.approx(1 + beta, rel=1e-4)
    same = gradient(learner, views, beta=beta)
    assert torch.cosine_similarity(free, same, dim=0).item() < 1 - 1e-4


def test_the_plan_on_photographs():
    """Authors' blur, twice the profile's images, long runs of four times the short ones; about five hours of a core."""
    study = notebook.study("msr_beta_decay", profile="cpu", data="cifar10")
    runs = [s for s in study.specs.values() if not isinstance(s, step.StepSpec)]
    learned = [s for s in runs if not isinstance(s.method, Untrained)]
    assert {v.kernel for s in learned for v in s.recipe.views if v.blur} == {13}
    assert {round(45_000 * s.data.fraction) for s in learned} == {20_000}
    short, long = msr.lengths(study.profile)
    assert long == 4 * short
    assert sum(2 * 20_000 * s.epochs for s in learned) / 2_900 < 5 * 3600
    assert {s.method.decay for s in learned if isinstance(s.method, MSR)} == {"cosine", "fixed", "rising"}
    assert len({key(msr.standard(study.profile, m, "AA")) for m in (BYOL(), SimCLR(), MoCo(), SimSiam())}) == 4


LEARNED = sorted(set(CLAIMS) - {"B6"})


@pytest.mark.parametrize("claim", LEARNED)
def test_data_on_which_nothing_is_learned_carry_no_claim(claim):
    found = verdict(claim, lambda spec: 24.0)
    assert found.verdict == "not judged"
    assert "less than 5 points above a random encoder" in found.sentence


@pytest.mark.parametrize("claim", sorted(CLAIMS))
@pytest.mark.parametrize(
    "study",
    [
        notebook.study("msr_beta_decay", profile="smoke", seeds=1),
        notebook.study("msr_beta_decay", profile="quick", data="digits"),
        notebook.study("msr_beta_decay", profile="cpu", data="cifar10"),
        notebook.study("msr_beta_decay", profile="paper", seeds=2),
    ],
    ids=["smoke", "digits", "cpu", "paper"],
)
def test_every_frame_gives_a_figure_and_a_verdict(claim, study):
    runs = frame(claim, lambda spec: 50.0 + spec.seed, study)
    with figures.theme("light"):
        drawn = CLAIMS[claim].draw(runs)
    assert drawn.alt
    assert len(drawn.table) == len(runs)
    found = CLAIMS[claim].judge(runs)
    assert found.parts
    assert len(found.finding.split()) <= (20 if study.profile.name != "paper" else 30)  # there, with the set's name


@pytest.mark.parametrize("claim", LEARNED)
def test_a_run_that_diverged_breaks_neither_figure_nor_verdict(claim):
    runs = frame(claim, lambda spec: math.nan if spec.seed == 0 else 50.0)
    with figures.theme("light"):
        CLAIMS[claim].draw(runs)
    assert CLAIMS[claim].judge(runs).verdict == "not judged"  # four seeds are left


def test_claims_share_their_runs():
    plans = {c: {key(s) for s in CLAIMS[c].plan(STUDY.profile)} for c in LEARNED}
    methods = {c: [s for s in CLAIMS[c].plan(STUDY.profile) if not isinstance(s.method, Untrained)] for c in LEARNED}
    assert all(plans["B1"] & plans[c] for c in LEARNED)
    everything = {key(s) for c in LEARNED for s in methods[c]}
    assert len(everything) < 0.8 * sum(len(m) for m in methods.values())
    assert {type(s.method) for m in methods.values() for s in m} >= {BYOL, MSR, SimCLR, SimSiam, SimSiamMSR}


# --------------------------------------------------------------------------------------------------- watched pairs


def test_gray_views_of_fragile_objects_have_lost_their_object(tiny):
    options = (("fragile", 1.0), ("images", 256))
    lost = {}
    for gray in (0.0, 1.0):
        recipe = preset("msr", crop=(0.5, 1.0), jitter=0.0, blur=0.0)
        views = tuple(v if v.parent < 0 else type(v)(**{**vars(v), "gray": gray}) for v in recipe.views)
        views = tuple(type(v)(**{**vars(v), "gray": 0.0}) if v.parent < 0 else v for v in views)
        spec = tiny(
            method=MSR(), recipe=type(recipe)("made up", views), data=data_spec(tiny, options), probes={"pairs": 1}
        )
        lost[gray] = pairs.make(spec, data.load("objects", 16, options)).share
    assert lost[0.0] == 0
    assert lost[1.0] > 0.6
    steady = tiny(method=MSR(), recipe=preset("msr"))
    assert pairs.make(steady, data.load("objects", 16, steady.data.options)).share < 0.1


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

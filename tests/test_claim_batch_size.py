"""The verdicts on batch size, on frames made up to hold or to break each claim, and figures of whatever was run."""

from __future__ import annotations

import math

import pytest
from studies import check_finished, every_study, made_up

from repro import figures
from repro.claims import batch_size
from repro.claims.kit import read, trained
from repro.core.spec import key
from repro.pages import notebook

STUDY = notebook.study("batch_size", profile="quick")
CLAIMS = {c.id: c for c in batch_size.CLAIMS}


def frame(claim: str, accuracy, study=STUDY, broken=lambda spec: False):
    """The plan's runs with made-up numbers: accuracy(spec, task) in percent for trained runs."""
    return made_up(CLAIMS[claim], study, accuracy, broken=broken, probes=("linear", "mlp"))


def verdict(claim: str, accuracy, **kwargs):
    return CLAIMS[claim].judge(frame(claim, accuracy, **kwargs))


def peak(x: float, at: float, height: float = 60.0) -> float:
    """An accuracy that is best where x is `at`, five points less a factor e away."""
    return height - 5 * abs(math.log(x / at))


def words(found) -> list[str]:
    return [part.word for part in found.parts]


def test_a3_holds_when_the_tasks_want_different_batches():
    def by_task(spec, task):
        if task == "ground":
            return 21.0  # what no network reads is left out
        return 50 + (3 if task == "class" else -3) * math.log(spec.batch_size / 64)

    found = verdict("A3", by_task)
    assert found.verdict == "reproduced"
    assert found.effect > 5
    assert "ground" not in found.sentence
    alike = verdict("A3", lambda spec, task: 50 + math.log(spec.batch_size))
    assert words(alike) == ["inconclusive", "supported", "contradicted"]
    assert alike.verdict == "mixed"


def test_a3_needs_several_tasks():
    study = notebook.study("batch_size", profile="quick", data="digits")
    assert verdict("A3", lambda spec, task: 50.0, study=study).verdict == "not judged"


def test_a3_s_tasks_at_cpu_are_those_of_other_sets():
    study, seen = notebook.study("batch_size", profile="cpu"), []

    def by_task(spec, task):
        seen.append(task)
        return 50 + (3 if task == "class" else -3) * math.log(spec.batch_size / 64)

    found = verdict("A3", by_task, study=study)
    made_up = [f"objects_{task}" for task in ("class", "hue", "quadrant", "ground")]
    assert list(dict.fromkeys(seen)) == ["class", "tiny_imagenet", "digits", *made_up]
    assert (found.verdict, found.evidence) == ("reproduced", "stand-in")
    assert found.data == "made up (stand-in), probed on other sets, too"
    assert "points on class, -" in found.sentence
    assert all(task in found.sentence for task in seen[1:])
    assert verdict("A5", by_task, study=study).evidence == "photographs"  # it reads the semantic task alone


def test_a4_holds_when_each_batch_has_its_own_temperature():
    def own(spec, task):
        if spec.steps:
            return 20.0  # at equal steps nothing is judged
        return peak(spec.method.temperature, {16: 0.2, 64: 0.2, 128: 0.1}[spec.batch_size])

    found = verdict("A4", own)
    assert found.verdict == "reproduced"
    assert found.effect == pytest.approx(5 * math.log(2), abs=0.5)
    assert found.parts[0].paper == 4

    def mirrored(spec, task):  # the gap at the other end of the paper's range, and none at its temperature
        return peak(spec.method.temperature, 0.2) - (
            5 if spec.batch_size == 16 and spec.method.temperature == 0.5 else 0
        )

    got = verdict("A4", mirrored)
    assert words(got)[:3] == ["too small", "supported", "supported"]
    assert got.verdict == "mixed"


def test_a4_is_contradicted_when_the_gap_stays_as_wide():
    def same(spec, task):
        return peak(spec.method.temperature, 0.2, 60 if spec.batch_size < 128 else 66)

    assert words(verdict("A4", same)) == ["supported", "contradicted", "too small", "inconclusive"]
    low = verdict("A4", lambda spec, task: 60.0 if spec.batch_size > 16 else 22.0)
    assert low.verdict == "not judged"
    assert "batch 16 tuned (22" in low.sentence


def test_a5_holds_when_the_best_rate_depends_on_the_batch():
    def own(spec, task):
        return peak(spec.optimiser.lr, {16: 4.0, 64: 4.0, 128: 1.2}[spec.batch_size])

    assert verdict("A5", own).verdict == "reproduced"

    def small_wins(spec, task):  # a gap that changes its sign has shrunk by all of it
        return own(spec, task) + 3 * (spec.batch_size == 16 and spec.optimiser.lr > 1)

    found = verdict("A5", small_wins)
    assert found.verdict == "reproduced"
    assert found.effect == pytest.approx(5 * math.log(4 / 1.2) + 3, abs=0.5)
    assert "by -3" in found.finding

    def wider(spec, task):
        return peak(spec.optimiser.lr, 1.2) + math.log(spec.batch_size) * math.log(spec.optimiser.lr / 0.12)

    assert words(verdict("A5", wider))[:3] == ["supported", "contradicted", "contradicted"]


@pytest.mark.parametrize("claim", ["A4", "A5"])
def test_a_batch_that_is_best_at_the_end_of_its_grid_is_not_tuned(claim):
    def rising(spec, task):
        return peak(spec.method.temperature if claim == "A4" else spec.optimiser.lr, 100.0, 70.0)

    found = verdict(claim, rising)
    assert found.verdict == "not judged"
    assert "not bracketed: batch 16 is best at" in found.sentence


def test_a6_asks_for_its_own_rate_and_for_large_batches_that_diverge():
    def own(spec, task):
        return peak(spec.optimiser.lr, 4.0 if spec.batch_size < 128 else 1.2)

    def unstable(spec):
        return type(spec.method).__name__ != "Untrained" and spec.batch_size == 128 and spec.optimiser.lr > 4

    found = verdict("A6", own, broken=unstable)
    assert found.verdict == "reproduced"
    assert found.parts[1].mean == 1
    assert words(verdict("A6", own)) == ["supported", "too small"]


def test_a7_asks_for_depth_a_narrower_gap_and_saturation():
    def deeper(spec, task):
        layers, large = spec.projector.layers, spec.batch_size == 128
        return 50 + 8 * min(layers, 2) + (4 - layers if large else 0)

    found = verdict("A7", deeper)
    assert found.verdict == "reproduced"
    assert [part.paper for part in found.parts] == [8.35, 0.5, 0.4]

    def worse(spec, task):
        return 50 + spec.projector.layers * (1 if spec.batch_size == 128 else -3)

    assert words(verdict("A7", worse))[:2] == ["contradicted", "contradicted"]
    at_cpu = verdict("A7", deeper, study=notebook.study("batch_size", profile="cpu"))
    assert at_cpu.parts[3].name == "two layers over no projector"


def test_a16_asks_for_a_gain_by_each_method():
    def tuned(spec, task):
        rate, adam = spec.optimiser.lr, spec.optimiser.name == "adamw"
        return peak(rate, 0.01 if adam else 4.0)

    found = verdict("A16", tuned)
    assert found.verdict == "reproduced"
    assert 5 < found.effect < 8, "the least of the three"

    def defaults_are_best(spec, task):
        return peak(spec.optimiser.lr, 1e-3 if spec.optimiser.name == "adamw" else 1.2)

    found = verdict("A16", defaults_are_best)
    assert words(found) == ["too small", "too small", "inconclusive"], "AdamW's default lies on the edge of its grid"


def test_notebook_06_shares_the_runs_of_a16_at_cpu():
    both = [set(notebook.study(slug, profile="cpu").specs) for slug in ("batch_size", "single_gpu")]
    cpu = notebook.study("batch_size", profile="cpu").profile
    assert {key(spec) for spec in CLAIMS["A16"].plan(cpu)} <= both[1]
    assert len(both[1] - both[0]) == 30  # two more levels of the three methods but SimCLR


@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_data_on_which_nothing_is_learned_carry_no_claim(claim):
    found = verdict(claim, lambda spec, task: 25.0)
    assert found.verdict == "not judged"
    assert ("several tasks that are read" if claim == "A3" else "above the floor") in found.sentence
    assert len(found.finding.split()) <= 20


@pytest.mark.parametrize("claim", sorted(CLAIMS))
@every_study("batch_size")
def test_every_frame_gives_a_figure_and_a_verdict(claim, study):
    check_finished(CLAIMS[claim], frame(claim, lambda spec, task: 50.0 + spec.seed, study))


@pytest.mark.parametrize("claim", ["A5", "A6", "A16"])
def test_diverged_runs_are_drawn_and_never_chosen(claim):
    def broken(spec):
        return spec.optimiser.lr >= 4 and type(spec.method).__name__ != "Untrained"

    runs = frame(claim, lambda spec, task: peak(spec.optimiser.lr, 4.0), broken=broken)
    with figures.theme("light"):
        drawn = CLAIMS[claim].draw(runs)
    assert drawn.table["diverged"].sum() > 0
    got = read(trained(runs), "method", "batch_size", "lr")
    assert max(got.levels[-1][i] for i in got.best.flat) < 4

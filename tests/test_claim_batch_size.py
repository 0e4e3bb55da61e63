"""The verdicts on batch size, on frames made up to hold or to break each claim, and figures of whatever was run."""

from __future__ import annotations

import math

import pytest
from studies import check_finished, every_study, made_up

from repro import figures
from repro.claims import batch_size
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


def test_a3_holds_when_the_tasks_want_different_batches():
    def by_task(spec, task):
        return 50 + (3 if task == "shape" else -3) * math.log(spec.batch_size / 64)

    found = verdict("A3", by_task)
    assert found.verdict == "reproduced"
    assert found.effect > 5
    assert verdict("A3", lambda spec, task: 50 + math.log(spec.batch_size)).verdict == "not reproduced"


def test_a4_holds_when_each_batch_has_its_own_temperature():
    def own(spec, task):
        return peak(spec.method.temperature, {16: 0.1, 64: 0.2, 256: 0.5}[spec.batch_size])

    found = verdict("A4", own)
    assert found.verdict == "reproduced"
    assert found.seeds == 5


def test_a4_is_judged_at_equal_epochs_and_at_equal_steps():
    def own(spec, task):
        at = {16: 0.1, 64: 0.2, 256: 0.5}[spec.batch_size]
        return peak(spec.method.temperature, 0.5 if spec.steps else at)  # at equal steps all batches want the same

    found = verdict("A4", own)
    assert found.verdict == "partly"
    assert found.effect > 1, "the effect is that of equal epochs"
    assert "At equal steps: The gap" in found.sentence


def test_a4_is_not_reproduced_when_tuning_widens_the_gap():
    def wider(spec, task):
        at = {16: 0.1, 64: 0.2, 256: 0.2}[spec.batch_size]
        return peak(spec.method.temperature, at, 60 if spec.batch_size < 256 else 63.5)

    found = verdict("A4", wider)
    assert found.high < 0
    assert found.verdict == "not reproduced"


@pytest.mark.parametrize("claim", ["A5", "A6"])
def test_a5_a6_hold_when_the_best_rate_depends_on_the_batch(claim):
    def own(spec, task):
        return peak(spec.optimiser.lr, {16: 4.0, 64: 4.0, 256: 1.2}[spec.batch_size])

    assert verdict(claim, own).verdict == "reproduced"

    def wider(spec, task):
        return peak(spec.optimiser.lr, 1.2) + math.log(spec.batch_size) * math.log(spec.optimiser.lr / 0.12)

    assert verdict(claim, wider).verdict == "not reproduced"


@pytest.mark.parametrize("claim", ["A5", "A6"])
def test_a5_a6_hold_when_only_the_largest_stable_rate_depends_on_the_batch(claim):
    def gap(spec, task):  # a gap at the lowest rate that tuning closes, and the same best rate for every batch
        lr, batch = spec.optimiser.lr, spec.batch_size
        return 60 - 2 * math.log(256 / batch) if lr < 1 else peak(lr, 1.2)

    def broken(spec):
        return type(spec.method).__name__ != "Untrained" and spec.batch_size == 256 and spec.optimiser.lr > 4

    assert verdict(claim, gap, broken=broken).verdict == "reproduced"
    everywhere = verdict(claim, gap, broken=lambda s: s.optimiser.lr > 4 and type(s.method).__name__ != "Untrained")
    assert "depends on the batch for most" not in everywhere.sentence


def test_a7_asks_for_depth_and_for_a_narrower_gap():
    def deeper(spec, task):
        layers, large = spec.projector.layers, spec.batch_size == 256
        return 50 + 3 * min(layers, 2) + (4 - layers if large else 0)

    assert verdict("A7", deeper).verdict == "reproduced"

    def worse(spec, task):
        return 50 + spec.projector.layers * (1 if spec.batch_size == 256 else -3)

    assert verdict("A7", worse).verdict == "not reproduced"


def test_a16_takes_the_least_of_the_three_gains():
    def tuned(spec, task):
        rate, adam = spec.optimiser.lr, spec.optimiser.name == "adamw"
        return peak(rate, 0.01 if adam else 4.0)

    found = verdict("A16", tuned)
    assert found.verdict == "reproduced"
    assert 5 < found.effect < 8
    assert verdict("A16", lambda spec, task: 50.0).verdict != "reproduced"


@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_data_on_which_nothing_is_learned_carry_no_claim(claim):
    found = verdict(claim, lambda spec, task: 25.0)
    assert found.verdict == "not judged"
    assert "above the floor" in found.sentence


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
    assert "is 4 for" not in CLAIMS[claim].judge(runs).sentence

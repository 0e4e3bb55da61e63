"""The verdict on claim D1, on frames made up to hold or to break it, and a figure of whatever was run."""

import math

import pytest
from studies import check_finished, every_study, made_up

from repro.claims.your_own_method import CLAIMS
from repro.core.methods import named
from repro.pages import notebook

(CLAIM,) = CLAIMS
STUDY = notebook.study("your_own_method", profile="quick")


def frame(mine: float, simclr: float, best: float = 1.2, **more):
    """Accuracies at the rate `best`; three points less at every other."""

    def accuracy(spec, task):
        return (simclr if named(spec.method) == "SimCLR" else mine) - 3 * (spec.optimiser.lr != best)

    return made_up(CLAIM, STUDY, accuracy, **more)


@pytest.mark.parametrize(
    ("mine", "simclr", "word"),
    [(54, 50, "reproduced"), (46, 50, "contradicted"), (50.3, 50, "contradicted"), (15, 50, "contradicted"),
     (26, 22, "not judged")],
)  # fmt: skip
def test_the_word_follows_the_gain_at_each_ones_best_rate(mine, simclr, word):
    found = CLAIM.judge(frame(mine, simclr))
    assert found.verdict == word, found
    assert found.effect == pytest.approx(mine - simclr, abs=0.5)


def test_both_get_the_same_budget():
    runs = frame(50, 50)
    kept = ("lr", "batch_size", "epochs", "recipe", "backbone", "dim", "seed", "optimiser")
    each = [runs[runs["who"] == who][list(kept)].reset_index(drop=True) for who in ("own", "SimCLR")]
    assert each[0].equals(each[1])


def test_a_rate_at_which_one_diverges_is_left_out():
    runs = frame(54, 50, broken=lambda spec: named(spec.method) == "SIGReg" and spec.optimiser.lr > 1.2)
    assert CLAIM.judge(runs).verdict == "reproduced"
    assert math.isnan(runs.loc[runs["diverged"] == 1, "linear_test_class"].iloc[0])


@every_study("your_own_method")
def test_any_study_is_judged_and_drawn(study):
    check_finished(CLAIM, made_up(CLAIM, study, lambda spec, task: 50.0))

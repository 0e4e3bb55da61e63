"""Whether data may carry claims: the verdict of the first notebook, on frames made up to hold or to break it."""

from __future__ import annotations

import pytest
from studies import check_finished, every_study, made_up

from repro.claims import start_here
from repro.core.profiles import base, profile
from repro.core.spec import key
from repro.pages import notebook

CLAIM, CHECKS = start_here.CLAIMS
STUDY = notebook.study("start_here", profile="quick")


@pytest.mark.parametrize(
    ("accuracy", "noise", "word"),
    [(60.0, 0.2, "reproduced"), (35.0, 0.2, "contradicted"), (40.5, 6.0, "inconclusive"), (20.0, 0.2, "contradicted")],
)
def test_ten_points_above_the_higher_floor_are_asked_for(accuracy, noise, word):
    found = CLAIM.judge(made_up(CLAIM, STUDY, lambda spec, task: accuracy, noise=noise, floors=(20.0, 30.0)))
    assert found.verdict == word
    assert found.parts[0].name == "SimCLR over raw pixels"


@every_study("start_here")
def test_every_frame_gives_a_figure_and_a_verdict(study):
    def more(spec):
        at = list(range(1, spec.epochs + 1))
        probes = {f"{p}_{s}_{t}": 50.0 for p in start_here.PROBES for s in ("val", "test") for t in spec.probes.tasks}
        return {}, {"epoch": at, "loss": at, "probe_epoch": at} | {k: at for k in probes if "_val_" in k}, {}

    check_finished(CLAIM, made_up(CLAIM, study, lambda spec, task: 50.0, more))


PASSING = {"crop": 30.0, "all": 45.0, "instance": 25.0, "noise": 35.0, "SimCLR": 45.0, "supervised": 70.0, "BYOL": 40.0}


def checked(study=STUDY, **what):
    """A frame of the checks, on which photographs' order holds but for what is said otherwise; `rank` is BYOL's."""
    plan, values = CHECKS.plan(study.profile), PASSING | {"SimSiam": 40.0, "rank": 20.0} | what

    def named(spec):
        return plan.labels[key(spec)].get("what", "")

    def more(spec):
        return ({"rankme": values["rank"] if named(spec) == "BYOL" else 40.0 + int(key(spec), 16) % 5 / 10},)

    return made_up(
        CHECKS, study, lambda spec, task: values[named(spec)], more, floors=(20.0, 30.0), probes=("linear", "mlp")
    )


@pytest.mark.parametrize(
    ("what", "passed"),
    [
        ({}, 8),
        ({"crop": 23.0}, 7),  # crops teach too little
        ({"instance": 50.0}, 7),
        ({"noise": 46.0, "instance": 46.0}, 6),
        ({"supervised": 60.0}, 7),
        ({"SimCLR": 29.0}, 7),  # an MLP on pixels reads more
        ({"rank": 5.0}, 7),
    ],
)
def test_the_checks_that_photographs_pass_are_counted(what, passed):
    assert (
        CHECKS.judge(checked(**what)).finding == f"The data pass {passed} of 8 checks that any photographs should pass."
    )


@every_study("start_here")
def test_the_checks_are_drawn(study):
    check_finished(CHECKS, checked(study))


def test_at_cpu_it_is_trained_on_all_images():
    runs = [s for s in CLAIM.plan(profile("cpu")) if s.method == base(profile("cpu")).method]
    assert len(runs) == 5
    assert {s.data.fraction for s in runs} == {1.0}

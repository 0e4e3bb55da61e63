"""Whether data may carry claims: the verdict of the first notebook, on frames made up to hold or to break it."""

from __future__ import annotations

import pandas as pd
import pytest
from studies import check_finished, every_study, made_up

from repro.claims import start_here
from repro.core.methods import MSR
from repro.core.profiles import base, profile
from repro.core.spec import key
from repro.pages import notebook

CLAIM, CHECKS, LONG = start_here.CLAIMS
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


def long_frame(study, broken=lambda spec: False):
    """The long runs, each of whose readings is 50 % and whose epochs take ten seconds."""

    def more(spec):
        read = list(range(spec.probes.every, spec.epochs + 1, spec.probes.every))
        curves = {"probe_epoch": read, "linear_val_class": [50.0] * len(read)}
        seconds = [10.0 * epoch for epoch in range(1, spec.epochs + 1)]
        about = {"epoch_seconds": seconds, "epoch_cpu_seconds": seconds, "train_seconds": seconds[-1]}
        return {"knn_val_class": 45.0, "knn_test_class": 45.0}, {} if broken(spec) else curves, about

    return made_up(LONG, study, lambda spec, task: 50.0, more, broken=broken, noise=0.0)


@pytest.mark.parametrize("scale", start_here.LENGTHS)
def test_long_runs_see_the_same_images_and_about_as_many_views(scale):
    runs, whole = start_here.long_runs(profile(scale)), base(profile(scale)).but(fraction=1.0).data
    assert {run.data for run in runs.values()} == {whole}
    two, eight = (runs[name] for name in (start_here.TWO, start_here.EIGHT))
    assert 8 * eight.epochs in range(2 * two.epochs - 8, 2 * two.epochs + 8)


def test_the_long_runs_are_drawn_and_rank_nothing():
    study = notebook.study("start_here", profile="smoke")
    found = LONG.judge(long_frame(study))
    assert found.verdict == "not judged"
    assert "SimCLR 50.0 % in 0.2 min; BYOL 50.0 % in 0.2 min" in found.finding
    check_finished(LONG, long_frame(study))


def test_a_long_run_that_diverged_is_left_out():
    frame = long_frame(notebook.study("start_here", profile="smoke"), lambda spec: isinstance(spec.method, MSR))
    assert "MSR" not in LONG.judge(frame).finding
    check_finished(LONG, frame)


def test_no_long_run_is_planned_at_paper():
    assert LONG.plan(profile("paper")) == []
    assert LONG.judge(pd.DataFrame()).verdict == "not judged"
    assert "nothing is planned" in LONG.draw(pd.DataFrame()).alt

"""Whether data may carry claims: the verdict of the first notebook, on frames made up to hold or to break it."""

from __future__ import annotations

import pytest
from studies import check_finished, every_study, made_up

from repro.claims import start_here
from repro.core.profiles import base, profile
from repro.pages import notebook

(CLAIM,) = start_here.CLAIMS
STUDY = notebook.study("start_here", profile="quick")


@pytest.mark.parametrize(
    ("accuracy", "noise", "word"),
    [(60.0, 0.2, "reproduced"), (35.0, 0.2, "contradicted"), (40.5, 3.0, "inconclusive"), (20.0, 0.2, "contradicted")],
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


def test_at_cpu_it_is_trained_on_all_images():
    runs = [s for s in CLAIM.plan(profile("cpu")) if s.method == base(profile("cpu")).method]
    assert len(runs) == 5
    assert {s.data.fraction for s in runs} == {1.0}

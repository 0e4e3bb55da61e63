"""The verdict on the instance method, on frames made up to hold or to break it, and figures of whatever was run."""

from __future__ import annotations

import pytest
from studies import check_finished, every_study, made_up

from repro import figures
from repro.claims import batch_size, instance_simclr
from repro.core.profiles import profile
from repro.core.spec import key
from repro.pages import notebook
from repro.ssl.methods import InstanceSimCLR

STUDY = notebook.study("instance_simclr", profile="quick")
(CLAIM,) = instance_simclr.CLAIMS


def frame(accuracy, study=STUDY, broken=lambda spec: False):
    """The plan's runs with made-up numbers: accuracy(variant, task, spec) in percent."""
    labels = CLAIM.plan(study.profile).labels

    def read(spec, task):
        return accuracy(labels[key(spec)]["variant"], task, spec)

    return made_up(CLAIM, study, read, broken=broken)


def reach(instance: dict[str, float], full: float = 45.0):
    """Full SimCLR at `full` everywhere, noise with batch negatives at 30, the instance method as told, else at 20."""
    return lambda variant, task, spec: {"full": full, "noise": 30.0}.get(variant, instance.get(task, 20.0))


def test_it_holds_when_one_task_keeps_the_gain():
    found = CLAIM.judge(frame(reach({"texture": 42.0})))
    assert found.verdict == "reproduced"
    assert found.effect == pytest.approx(22, abs=0.5)
    assert found.sentence.startswith("On texture, ")
    assert "Both conditions hold on: texture." in found.sentence
    assert "gains 10." in found.sentence or "gains 9." in found.sentence  # noise with batch negatives


def test_above_the_random_encoder_only_is_partly():
    found = CLAIM.judge(frame(reach({"texture": 32.0})))
    assert found.verdict == "partly"
    assert "Both conditions hold on: no task." in found.sentence
    assert CLAIM.judge(frame(reach({"texture": 22.0}))).verdict == "partly"
    assert CLAIM.judge(frame(reach({}))).verdict in ("partly", "not reproduced")
    assert (
        CLAIM.judge(frame(lambda v, task, spec: {"full": 45.0, "noise": 30.0}.get(v, 12.0))).verdict == "not reproduced"
    )


def test_a_task_on_which_full_simclr_gains_nothing_does_not_count():
    def accuracy(variant, task, spec):
        if task == "hue":
            return 19.0 if variant == "full" else 60.0
        return 45.0 if variant == "full" else 20.0

    found = CLAIM.judge(frame(accuracy))
    assert found.verdict != "reproduced"
    assert not found.sentence.startswith("On hue")


def test_the_setting_is_chosen_on_the_validation_split_and_read_on_the_test_split():
    def accuracy(variant, task, spec):
        good = isinstance(spec.method, InstanceSimCLR) and spec.method.temperature == 0.5
        return 45.0 if variant == "full" or good else 25.0

    runs = frame(accuracy)
    runs.loc[(runs["method"] == "InstanceSimCLR") & (runs["temperature"] == 0.1), "linear_test_shape"] = 99.0
    chosen = instance_simclr.best(runs, "instance")
    assert chosen["temperature"].unique().tolist() == [0.5]
    assert chosen["seed"].tolist() == list(range(5))
    assert chosen["linear_test_shape"].max() < 50


def test_data_on_which_full_simclr_learns_nothing_carry_no_claim():
    found = CLAIM.judge(frame(reach({"texture": 60.0}, full=25.0)))
    assert found.verdict == "not judged"
    assert "above the floor" in found.sentence


@every_study("instance_simclr")
def test_every_frame_gives_a_figure_and_a_verdict(study):
    check_finished(CLAIM, frame(lambda variant, task, spec: 50.0 + spec.seed, study))


def test_diverged_runs_are_drawn_and_never_chosen():
    def broken(spec):
        return isinstance(spec.method, InstanceSimCLR) and spec.method.temperature != 0.5

    runs = frame(lambda variant, task, spec: 45.0, broken=broken)
    with figures.theme("light"):
        drawn = CLAIM.draw(runs)
    assert drawn.table["diverged"].sum() > 0
    assert CLAIM.judge(runs).verdict == "reproduced"
    everything = frame(lambda variant, task, spec: 45.0, broken=lambda s: isinstance(s.method, InstanceSimCLR))
    assert CLAIM.judge(everything).verdict != "reproduced"
    with figures.theme("light"):
        assert CLAIM.draw(everything).alt


def test_each_knob_is_swept_about_the_centre_within_the_image():
    knobs = ("patch", "noise", "temperature", "lr", "everywhere")
    for name, size in (("quick", 16), ("gpu", 32), ("paper", 224)):
        found = instance_simclr.settings(profile(name))
        assert len(found) == len(set(found)) == 9
        assert all(0 < s.patch < size for s in found)
        centre = found[0]
        for other in found[1:]:
            changed = [k for k in knobs if getattr(other, k) != getattr(centre, k)]
            assert len(changed) == 1
    assert {s.patch for s in instance_simclr.settings(profile("gpu"))} == {8, 12, 16}


def test_full_simclr_is_measured_once_for_two_notebooks():
    ours = {key(s) for s in CLAIM.plan(profile("quick")) if type(s.method).__name__ == "SimCLR"}
    theirs = {key(s) for c in batch_size.CLAIMS for s in c.plan(profile("quick"))}
    assert len(ours & theirs) == 10

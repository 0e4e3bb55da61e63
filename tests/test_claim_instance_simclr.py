"""The verdict on the instance method, on frames made up to hold or to break it, and figures of whatever was run."""

from __future__ import annotations

import pytest
from studies import check_finished, every_study, made_up

from repro import figures
from repro.claims import batch_size, instance_simclr
from repro.core.methods import InstanceSimCLR
from repro.core.profiles import profile
from repro.core.spec import key
from repro.pages import notebook

STUDY = notebook.study("instance_simclr", profile="quick")
(CLAIM,) = instance_simclr.CLAIMS
GPU = notebook.study("instance_simclr", profile="gpu")
STUDY_TASKS = ("class", "hue", "quadrant", "ground")


def frame(accuracy, study=STUDY, broken=lambda spec: False):
    """The plan's runs with made-up numbers: accuracy(variant, task, spec) in percent."""
    labels = CLAIM.plan(study.profile).labels

    def read(spec, task):
        return accuracy(labels[key(spec)]["variant"], task, spec)

    return made_up(CLAIM, study, read, broken=broken)


def reach(instance: dict[str, float], full: dict[str, float] | None = None):
    """Full SimCLR at 45, noise with batch negatives at 30, the instance method at 42 and 33 on class, but as told."""
    told = {"instance": {"class": 33.0} | instance, "full": full or {}, "noise": {}}
    least = {"instance": 42.0, "full": 45.0, "noise": 30.0}
    return lambda variant, task, spec: told[variant].get(task, least[variant])


def words(found) -> dict[str, str]:
    return {part.name: part.word for part in found.parts}


def test_far_on_the_semantic_task_and_close_on_the_others_is_reproduced():
    found = CLAIM.judge(frame(reach({})))
    assert found.verdict == "reproduced", found.sentence
    assert len(found.parts) == 8
    assert found.effect == pytest.approx(13, abs=0.5)
    assert len(found.finding.split()) <= 20
    assert "full SimCLR 25." in found.finding or "full SimCLR 24." in found.finding


@pytest.mark.parametrize(
    ("instance", "part", "word"),
    [
        ({"ground": 25.5}, "ground: instance's gain over 75% of full SimCLR's", "contradicted"),  # 5.5 of 25
        ({"ground": 22.0}, "ground: instance over random encoder", "too small"),
        ({"class": 12.0}, "class: instance over random encoder", "contradicted"),
    ],
)
def test_what_breaks_one_task(instance, part, word):
    found = CLAIM.judge(frame(reach(instance)))
    assert found.verdict == "mixed"
    assert words(found)[part] == word
    assert words(found)["class: full SimCLR over instance"] == "supported"


def test_useful_nowhere_is_far_everywhere():
    found = CLAIM.judge(frame(reach(dict.fromkeys(STUDY_TASKS, 12.0))))
    assert [name for name, word in words(found).items() if word == "supported"] == ["class: full SimCLR over instance"]


def test_a_task_on_which_full_simclr_gains_nothing_does_not_count():
    found = CLAIM.judge(frame(reach({"hue": 60.0}, full={"hue": 19.0})))
    assert not [name for name in words(found) if name.startswith("hue")]
    assert found.verdict == "reproduced"


def test_a_stand_in_on_which_full_simclr_is_not_far_carries_no_claim():
    found = CLAIM.judge(frame(reach({"class": 44.0})))
    assert found.verdict == "not judged"
    assert "points over the instance method on class" in found.sentence


def test_one_task_of_photographs_is_judged_by_itself():
    study = notebook.study("instance_simclr", profile="cpu")
    found = CLAIM.judge(frame(reach({"class": 42.0}, full={}), study))
    assert list(words(found)) == ["class: instance over random encoder", "class: full SimCLR over instance"]
    assert found.evidence == "photographs"
    assert words(found)["class: full SimCLR over instance"] == "too small"  # 45 against 42: judged, not waved away
    assert found.verdict == "mixed"


def test_the_setting_is_chosen_on_the_validation_split_and_read_on_the_test_split():
    def accuracy(variant, task, spec):
        good = isinstance(spec.method, InstanceSimCLR) and spec.method.temperature == 0.5
        return 45.0 if variant == "full" or good else 25.0

    runs = frame(accuracy, GPU)
    runs.loc[(runs["method"] == "InstanceSimCLR") & (runs["temperature"] == 0.1), "linear_test_class"] = 99.0
    chosen = instance_simclr.best(runs, "instance")
    assert chosen["temperature"].unique().tolist() == [0.5]
    assert chosen["seed"].tolist() == list(range(3))
    assert chosen["linear_test_class"].max() < 50


def test_data_on_which_full_simclr_learns_nothing_carry_no_claim():
    found = CLAIM.judge(frame(reach({}, full=dict.fromkeys(STUDY_TASKS, 25.0))))
    assert found.verdict == "not judged"
    assert "above the floor" in found.sentence


@every_study("instance_simclr")
def test_every_frame_gives_a_figure_and_a_verdict(study):
    check_finished(CLAIM, frame(lambda variant, task, spec: 50.0 + spec.seed, study))


def test_diverged_runs_are_drawn_and_never_chosen():
    def broken(spec):
        return isinstance(spec.method, InstanceSimCLR) and spec.method.temperature != 0.5

    runs = frame(reach({}), GPU, broken)
    with figures.theme("light"):
        drawn = CLAIM.draw(runs)
    assert drawn.table["diverged"].sum() > 0
    assert instance_simclr.best(runs, "instance")["temperature"].unique().tolist() == [0.5]
    everything = frame(reach({}), broken=lambda s: isinstance(s.method, InstanceSimCLR))
    assert CLAIM.judge(everything).verdict == "not judged"
    with figures.theme("light"):
        assert CLAIM.draw(everything).alt


def test_each_knob_is_swept_about_the_centre_within_the_image():
    knobs = ("patch", "noise", "temperature", "lr", "everywhere")
    for name, size in (("gpu", 32), ("paper", 224)):
        found = instance_simclr.settings(profile(name))
        assert len(found) == len(set(found)) == 9
        assert all(0 < s.patch < size for s in found)
        centre = found[0]
        for other in found[1:]:
            changed = [k for k in knobs if getattr(other, k) != getattr(centre, k)]
            assert len(changed) == 1
    assert {s.patch for s in instance_simclr.settings(profile("gpu"))} == {8, 12, 16}


def test_at_quick_and_cpu_patches_are_crossed_with_noise():
    assert len(instance_simclr.settings(profile("quick"))) == 7
    found = instance_simclr.settings(profile("cpu"))
    assert {(s.patch, s.noise) for s in found if not s.everywhere} == {(p, n) for p in (8, 12, 16) for n in (0.1, 0.3)}
    assert len(found) == 7
    assert len(CLAIM.plan(profile("cpu"))) == 5 * (7 + 1 + 1) + 6  # noise with batch negatives, full SimCLR, the floors


def test_full_simclr_is_measured_once_for_two_notebooks():
    ours = {key(s) for s in CLAIM.plan(profile("quick")) if type(s.method).__name__ == "SimCLR"}
    theirs = {key(s) for c in batch_size.CLAIMS for s in c.plan(profile("quick"))}
    assert len(ours & theirs) == 5

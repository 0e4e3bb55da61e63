"""The verdicts on transfer, on frames made up to hold or to break the claim; plans and figures at every profile."""

from __future__ import annotations

import pytest

from repro import figures
from repro.claims import msr_transfer, registry
from repro.core import store
from repro.core.provenance import machine
from repro.core.spec import DetectSpec, RunSpec, key, to_dict
from repro.core.store import Record
from repro.data import coco
from repro.pages import notebook

CLAIMS = {c.id: c for c in msr_transfer.CLAIMS}


def study(profile="quick", **changes):
    return notebook.study("msr_transfer", profile, **changes)


def frame(of, claim="B5", ap=None, accuracy=None):
    """The plan's runs with made-up numbers: ap(start) for detectors, accuracy(start, epochs) for their backbones."""
    ap = ap or {"Untrained": 5.0, "Supervised": 9.0, "MSR": 10.0}.get
    accuracy = accuracy or (lambda start, epochs: {"Untrained": 20.0, "MSR": 45.0}.get(start, 70.0))
    records, plan = [], CLAIMS[claim].plan(of.profile)
    for spec in plan:
        run = spec if isinstance(spec, RunSpec) else spec.start
        name, noise, curves = type(run.method).__name__, 0.1 * run.seed, {}
        metrics = {"diverged": 0.0}
        if isinstance(spec, DetectSpec):
            kinds = ("bbox", "segm") if spec.task == "mask" else ("bbox", "keypoints")
            metrics |= {f"{k}_{n}": max(0.0, ap(name) + noise * (name == "MSR")) for k in kinds for n in ("AP", "AP50")}
            shown = [{"image": 0, "name": "disc", "score": 0.9, "box": [5.0, 5.0, 20.0, 20.0]}]
            curves = {"step": [1, 2], "loss": [3.0, 2.0], "shown": shown}
        else:
            value = 15.0 if run.backbone == "pixels" else accuracy(name, run.epochs) + noise
            names = [f"linear_{s}" for s in ("val", "test")] + ["sgd_test", "sgd_test_best"] * bool(run.probes.sgd)
            metrics |= {f"{n}_{task}": value for n in names for task in run.probes.tasks}
        provenance = {**machine(), "commit": "abc", "wall_seconds": 1.0, "data_title": "made up (stand-in)"}
        records.append(Record(key(spec), type(spec).__name__, to_dict(spec), metrics, curves, provenance))
    return plan.rows(store.frame(records))


def words(found):
    return [part.word for part in found.parts]


def test_b5_holds_when_msr_beats_random_and_supervised_weights_at_everything():
    found = CLAIMS["B5"].judge(frame(study()))
    assert found.verdict == "reproduced"
    assert found.effect == pytest.approx(5.2)
    assert (found.seeds, found.backbone, found.unit, found.evidence) == (5, "convnet-thin", "AP", "stand-in")
    assert [p.paper for p in found.parts] == [8.3, 7.4, 2.6, 1.4, 1.4, 0.7]


def test_b5_does_not_hold_when_others_do_as_well():
    worse = {"Untrained": 12.0, "Supervised": 11.0, "MSR": 10.0}.get
    assert CLAIMS["B5"].judge(frame(study(), ap=worse)).verdict == "contradicted"
    supervised = {"Untrained": 5.0, "Supervised": 12.0, "MSR": 10.0}.get
    found = CLAIMS["B5"].judge(frame(study(), ap=supervised))
    assert words(found) == ["supported"] * 3 + ["contradicted"] * 3
    assert found.verdict == "mixed"


def test_detectors_that_find_nothing_carry_no_claim():
    found = CLAIMS["B5"].judge(frame(study(), ap={"Untrained": 0.0, "Supervised": 0.1, "MSR": 0.2}.get))
    assert found.verdict == "not judged"
    assert "hardly find anything" in found.sentence


def test_a_backbone_that_learned_nothing_carries_no_claim():
    found = CLAIMS["B5"].judge(frame(study(), accuracy=lambda start, epochs: {"Supervised": 80.0}.get(start, 25.0)))
    assert found.verdict == "not judged"
    assert "above the floor" in found.sentence


@pytest.mark.parametrize("claim", ["B3", "B4"])
def test_large_data_are_planned_at_paper_and_cited_elsewhere(claim):
    epochs = registry.numbers(claim)["epochs"]
    for profile in ("smoke", "quick", "cpu", "gpu"):
        of = study(profile)
        assert CLAIMS[claim].plan(of.profile) == []
        empty = frame(study("quick")).iloc[:0]
        assert CLAIMS[claim].judge(empty).verdict == "not judged"
        with figures.theme("light"):
            drawn = CLAIMS[claim].draw(empty)
        assert "as cited" in drawn.alt
        assert set(drawn.table["epochs"]) == set(epochs)
        assert figures.caption(empty, profile).startswith("The paper's numbers, as cited")
    of = study("paper")
    found = CLAIMS[claim].judge(
        frame(of, claim, accuracy=lambda start, e: {"MSR": 75.0 + e / 100}.get(start, 70 + e / 50))
    )
    assert found.verdict == "reproduced"
    assert [p.paper for p in found.parts] == {"B3": [3.1, 1.6, 2.9, 1.9], "B4": [0.8, 2.5]}[claim]
    late = CLAIMS[claim].judge(frame(of, claim, accuracy=lambda start, e: {"MSR": 70.0 + e / 50}.get(start, 73.5)))
    assert words(late) == {"B3": ["supported"] * 4, "B4": ["contradicted", "supported"]}[claim]
    worse = CLAIMS[claim].judge(frame(of, claim, accuracy=lambda start, e: {"MSR": 69.0}.get(start, 70.0)))
    assert worse.verdict == "contradicted"


def test_at_cpu_nothing_is_planned_and_the_papers_numbers_are_shown():
    of = study("cpu")
    assert of.specs == {}
    runs = notebook.rows(of, store.frame([]), CLAIMS["B5"])
    assert CLAIMS["B5"].judge(runs).verdict == "not judged"
    with figures.theme("light"):
        assert "as the paper gives it" in CLAIMS["B5"].draw(runs).alt
        assert msr_transfer.pictures(runs).alt == "No detector is measured here."


@pytest.mark.parametrize("profile", ["smoke", "quick", "gpu", "paper"])
def test_every_profile_gives_a_plan_a_figure_and_a_verdict(profile):
    of = study(profile)
    runs = frame(of)
    with figures.theme("dark"):
        drawn = CLAIMS["B5"].draw(runs)
    assert "random 5.0, supervised 9.0" in drawn.alt
    assert CLAIMS["B5"].judge(runs).seeds == of.profile.seeds
    starts = {s.start for s in CLAIMS["B5"].plan(of.profile) if isinstance(s, DetectSpec)}
    assert starts <= set(CLAIMS["B5"].plan(of.profile)), "the backbones' own runs are among the plan's"


def test_the_paper_profile_has_the_papers_rates_and_lengths():
    known = registry.numbers("B5")["lr"]
    detectors = [s for s in CLAIMS["B5"].plan(study("paper").profile) if isinstance(s, DetectSpec)]
    rates = {(s.task, s.schedule): s.lr for s in detectors}
    assert rates == {
        ("mask", 1.0): known["schedule_1x"], ("mask", 2.0): known["schedule_2x"], ("keypoint", 1.0): known["keypoint"],
    }  # fmt: skip
    assert {(s.data.name, s.steps, s.batch_size, s.heads) for s in detectors} == {("coco", 90_000, 16, "full")}


def test_a_reader_s_coco_folder_is_fine_tuned_on_and_its_images_are_drawn(tmp_path):
    coco.write_scenes(tmp_path, 4, 4, 64)
    of = study(data=str(tmp_path), seeds=1)
    plan = CLAIMS["B5"].plan(of.profile)
    assert {s.data.name for s in plan if isinstance(s, DetectSpec)} == {str(tmp_path)}
    assert {(s.data.name, s.data.size) for s in plan if isinstance(s, RunSpec)} == {("objects", 16)}
    with figures.theme("light"):
        drawn = msr_transfer.pictures(frame(of))
    assert len(drawn.axes) == 4 * 4  # annotated and three starts, four images each
    other = CLAIMS["B5"].plan(study(data="digits", seeds=1).profile)
    assert {s.start.data.name for s in other if isinstance(s, DetectSpec)} == {"digits"}
    assert {s.data.name for s in other if isinstance(s, DetectSpec)} == {coco.SCENES}

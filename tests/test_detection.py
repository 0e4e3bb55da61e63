"""COCO-format data, broken in every way, and detectors fine-tuned on it: learning, scoring, resuming, other shapes."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from repro import detection
from repro.core import sweep
from repro.core.methods import MSR, Supervised, Untrained
from repro.core.profiles import PROFILES, base
from repro.core.spec import DataSpec, DetectSpec, Probes, Projector, key
from repro.core.store import frame
from repro.data import coco
from repro.errors import ReproError
from repro.ssl import probes, train
from repro.ssl.step import build
from repro.views.recipe import preset

SCENES = DataSpec(coco.SCENES, 64, options=(("images", 8),))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("coco")
    coco.write_scenes(path, 6, 6, 64)
    return path


@pytest.fixture
def broken(folder, tmp_path):
    """broken(change, kind): a folder whose train annotations are what `change` makes of them."""

    def make(change, kind="mask"):
        name = f"{coco.KINDS[kind]}_train2017.json"
        content = json.loads((folder / "annotations" / name).read_text())
        change(content)
        (tmp_path / "annotations").mkdir()
        (tmp_path / "annotations" / name).write_text(json.dumps(content))
        (tmp_path / "train2017").symlink_to(folder / "train2017")
        return tmp_path

    return make


def start(method=None, **changes):
    spec = base(PROFILES["smoke"], method=method or Untrained())
    return replace(spec, probes=replace(spec.probes, linear=False), **changes)


def small(task="mask", steps=2, **changes):
    return DetectSpec(start(), SCENES, task, steps=steps, batch_size=2, lr=0.05, heads="small", **changes)


# --- data -------------------------------------------------------------------------------------------------------------


def test_scenes_are_deterministic_and_their_masks_and_keypoints_lie_in_their_boxes(folder, tmp_path):
    coco.write_scenes(tmp_path, 6, 6, 64)
    name = "annotations/instances_train2017.json"
    assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()
    masks, points = (coco.read(folder, "train", kind) for kind in ("mask", "keypoint"))
    assert points.keypoints == coco.POINTS
    for n in range(len(masks)):
        target = masks.target(n)
        for box, mask in zip(target["boxes"], target["masks"]):
            rows, cols = np.nonzero(mask.numpy())
            found = np.array([cols.min(), rows.min(), cols.max() + 1, rows.max() + 1])
            assert np.abs(found - box.numpy()).max() <= 2.5  # a tip is thinner than a pixel
        target = points.target(n)
        for box, at in zip(target["boxes"], target["keypoints"]):
            assert ((at[:, :2] >= box[:2] - 0.1) & (at[:, :2] <= box[2:] + 0.1)).all()


def _things(content):
    return content["annotations"]


BROKEN = {
    "unknown category": (lambda c: _things(c)[0].update(category_id=99), "annotation 1 must name"),
    "unknown image": (lambda c: _things(c)[0].update(image_id=99), "annotation 1 must name"),
    "mask outside": (lambda c: _things(c)[0].update(segmentation=[[0, 0, 90, 0, 90, 9]]), "annotation 1 must name"),
    "box outside": (lambda c: _things(c)[0].update(bbox=[50, 0, 30, 4]), "annotation 1 must name"),
    "no box": (lambda c: _things(c)[0].pop("bbox"), "annotation 1 must name"),
    "box of words": (lambda c: _things(c)[0].update(bbox=["a", 0, 1, 1]), "annotation 1 must name"),
    "negative box": (lambda c: _things(c)[0].update(bbox=[5, 5, -3, 4]), "annotation 1 must name"),
    "no mask": (lambda c: _things(c)[0].pop("segmentation"), "annotation 1 must name"),
    "half a polygon": (lambda c: _things(c)[0].update(segmentation=[[1, 2, 3]]), "annotation 1 must name"),
    "a mask of another size": (
        lambda c: _things(c)[0].update(segmentation={"size": [9, 9], "counts": "0"}), "annotation 1 must name"
    ),
    "no images": (lambda c: c.update(images=[]), "lists no images"),
    "no objects": (lambda c: c.update(annotations=[]), "lists no objects"),
    "no categories": (lambda c: c.update(categories=[]), "lists no categories"),
    "a missing image": (lambda c: c["images"][0].update(file_name="gone.png"), "gone.png first: complete the download"),
    "no width": (lambda c: c["images"][0].pop("width"), "is not an annotation file"),
    "another file": (lambda c: c.clear(), "lists no images"),
    "two points": (lambda c: _things(c)[0].update(segmentation=[[1, 2, 3, 4]]), "annotation 1 must name"),
    "an empty mask": (lambda c: _things(c)[0].update(segmentation=[]), "annotation 1 must name"),
    "no number": (lambda c: _things(c)[0].update(bbox=[float("nan"), 0, 3, 4]), "annotation 1 must name"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_annotations_are_told_in_one_sentence(broken, case):
    change, sentence = BROKEN[case]
    with pytest.raises(ReproError) as error:
        coco.read(broken(change), "train", "mask")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)


def test_broken_keypoints_are_told_in_one_sentence(broken):
    with pytest.raises(ReproError, match="have a box and keypoints that lie on the image"):
        coco.read(broken(lambda c: _things(c)[0].update(keypoints=[1, 2, 2]), "keypoint"), "train", "keypoint")


def test_masks_have_no_keypoints(broken):
    with pytest.raises(ReproError, match="needs one list of keypoints"):
        coco.read(broken(lambda c: [k.pop("keypoints") for k in c["categories"]], "keypoint"), "train", "keypoint")


def test_partial_folders_are_told_in_one_sentence(folder, tmp_path):
    with pytest.raises(ReproError, match="is not a folder in COCO's format"):
        coco.read(tmp_path, "train", "mask")
    (tmp_path / "annotations").mkdir()
    with pytest.raises(ReproError, match=r"lacks instances_train2017\.json"):
        coco.read(tmp_path, "train", "mask")
    (tmp_path / "annotations/instances_train2017.json").write_text("{")
    with pytest.raises(ReproError, match="lacks the folder train2017 of the images"):
        coco.read(tmp_path, "train", "mask")
    (tmp_path / "train2017").mkdir()
    with pytest.raises(ReproError, match="is not an annotation file"):
        coco.read(tmp_path, "train", "mask")


def test_an_image_of_another_size_is_told(broken):
    found = coco.read(broken(lambda c: c["images"][0].update(width=66)), "train", "mask")
    with pytest.raises(ReproError, match=r"has 64 x 64 pixels, but .* says 66 x 64"):
        found.picture(0)


def test_run_length_codes_and_crowds(broken):
    from pycocotools import mask

    whole = mask.encode(np.asfortranarray(np.ones((64, 64), np.uint8)))
    code = {"size": [64, 64], "counts": whole["counts"].decode()}

    def change(content):
        first = _things(content)[0]
        content["annotations"] = [
            {**first, "segmentation": code, "bbox": [0, 0, 64, 64]}, {**first, "id": 2, "iscrowd": 1},
        ]  # fmt: skip

    found = coco.read(broken(change), "train", "mask")
    target = found.target(0)
    assert target["masks"].shape == (1, 64, 64)
    assert target["masks"].all()


def test_a_mirrored_arrow_has_its_barbs_exchanged(folder):
    split = coco.read(folder, "train", "keypoint")
    number = next(n for n in range(len(split)) if len(split.target(n)["labels"]))
    swap = detection.mirrored(split.keypoints)
    assert [coco.POINTS[i] for i in swap] == ["tip", "left_barb", "tail", "right_barb"]
    image, target = torch.from_numpy(split.picture(number)).permute(2, 0, 1).float() / 255, split.target(number)
    mirror, other = detection.mirror(image, target, swap)
    assert torch.equal(mirror.flip(-1), image)
    assert torch.allclose(64 - other["keypoints"][:, 1, 0], target["keypoints"][:, 3, 0])
    assert torch.allclose(64 - other["boxes"][:, 2], target["boxes"][:, 0])


# --- scoring ----------------------------------------------------------------------------------------------------------


def test_the_annotations_themselves_score_one_hundred(folder):
    for kind, task in (("bbox", "mask"), ("segm", "mask"), ("keypoints", "keypoint")):
        split = coco.read(folder, "val", task)
        found = [
            {**{k: t[k] for k in ("image_id", "category_id", "bbox")}, "score": 0.9}
            | ({"segmentation": _code(t, split)} if kind == "segm" else {})
            | ({"keypoints": t["keypoints"]} if kind == "keypoints" else {})
            for things in split.objects.values()
            for t in things
        ]
        assert detection.score(split, found, kind) == pytest.approx({"AP": 100, "AP50": 100, "AP75": 100})
        assert detection.score(split, [], kind) == {"AP": 0, "AP50": 0, "AP75": 0}
        if kind == "bbox":  # a box of half the width has an overlap of one half
            for entry in found:
                entry["bbox"] = [*entry["bbox"][:2], 0.7 * entry["bbox"][2], entry["bbox"][3]]
            scores = detection.score(split, found, kind)
            assert scores["AP50"] == pytest.approx(100)
            assert scores["AP75"] == 0
            assert scores["AP"] == pytest.approx(50)  # .5, .55 to .7 (rounded) of ten thresholds


def _code(thing, split):
    from pycocotools import mask

    code = mask.merge(mask.frPyObjects(thing["segmentation"], 64, 64))
    return {"size": [64, 64], "counts": code["counts"].decode()}


# --- training ---------------------------------------------------------------------------------------------------------


def test_a_detector_learns_one_image_by_heart(monkeypatch, folder):
    one = coco.read(folder, "train", "mask")
    number = next(n for n in range(len(one)) if len(one.target(n)["labels"]) == 1)
    one = replace(one, images=[one.images[number]] * 2)
    monkeypatch.setattr(coco, "load", lambda *_: one)
    found = detection.run(replace(small(steps=50), lr=0.02))
    assert found.metrics["bbox_AP50"] > 90
    assert found.metrics["segm_AP50"] > 90
    assert found.curves["loss"][-1] < found.curves["loss"][0] / 3
    assert found.curves["shown"][0]["name"] == one.categories[one.objects[one.images[0]["id"]][0]["category_id"]]


def test_from_a_trained_backbone_through_the_store(store):
    begun = start(MSR(ema=0.9), recipe=preset("msr"))
    specs = [
        replace(small("keypoint"), start=begun),
        replace(small(), start=start(Supervised(), projector=Projector(1, 1, 8))),
    ]
    records = sweep.measure(specs, store, workers=1, quiet=True)
    assert [r.provenance["data_title"] for r in records] == ["scenes in COCO's format (stand-in)"] * 2
    assert store.weights(key(begun)).exists()
    runs = frame(records)
    assert set(runs["start"]) == {"MSR", "Supervised"}
    assert {"keypoints_AP", "bbox_AP50", "segm_AP75"} <= set(runs)
    trunk = detection.trunk(begun, store.weights(key(begun)))
    assert not torch.equal(trunk[0].weight, build(begun, 16).backbone[0].weight)
    # a run that is stored without its weights is trained again for them, to the same numbers
    before = store.get(key(begun))
    store.weights(key(begun)).unlink()
    sweep.measure([replace(specs[0], lr=0.04)], store, workers=1, quiet=True)
    assert store.weights(key(begun)).exists()
    assert store.get(key(begun)) == before


def test_a_resumed_fine_tuning_goes_on_exactly(tmp_path):
    spec = small(steps=6)
    whole = detection.run(spec)

    def stop(step, steps, loss):
        if step == 3:
            raise sweep.Stopped

    with pytest.raises(sweep.Stopped):
        detection.run(spec, scratch=tmp_path, tick=stop)
    again = detection.run(spec, scratch=tmp_path)
    assert again.metrics == pytest.approx(whole.metrics, nan_ok=True)
    assert again.curves == whole.curves


def test_a_run_draws_nothing_from_the_global_random_numbers():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    detection.run(small(steps=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_start_that_diverged_gives_a_diverged_detector(tmp_path):
    spec = replace(small(), start=start(MSR()))
    assert detection.run(spec, tmp_path / "weights.pt").metrics == {"diverged": 1.0}


@pytest.mark.parametrize("task", ["mask", "keypoint"])
@pytest.mark.parametrize("backbone", ["resnet18", "convnet"])
def test_full_heads_are_the_published_ones(task, backbone):
    spec = replace(small(task), heads="full", start=start(backbone=backbone), data=DataSpec("coco", 800))
    net = detection.build(spec, 80, 17 if task == "keypoint" else 0)
    assert net.backbone.out_channels == 256
    assert net.roi_heads.box_predictor.cls_score.in_features == 1024
    assert net.transform.min_size == (640, 672, 704, 736, 768, 800)
    assert net.transform.max_size == 1333
    sizes = [s[0] for s in net.rpn.anchor_generator.sizes]
    assert sizes == [32, 64, 128] if backbone == "resnet18" else [32, 64, 128]


def test_the_pyramid_of_a_large_resnet_has_the_published_strides():
    spec = start(backbone="resnet50", data=DataSpec("imagenet", 224))
    pyramid = detection.Pyramid(detection.trunk(spec), 256)
    assert list(pyramid.strides.values()) == [4, 8, 16, 32]


def test_the_schedule_is_warmed_up_and_lowered_twice():
    rates = [detection.rate(s, 90_000) for s in (0, 999, 1000, 59_999, 60_000, 79_999, 80_000)]
    assert rates[0] < 0.002
    assert rates[1:] == pytest.approx([1000 / 1001, 1, 1, 0.1, 0.1, 0.01])
    assert [detection.rate(s, 2) for s in (0, 1)] == [1.0, 1.0]


def test_nonsense_is_told_in_a_sentence():
    for changes in ({"task": "pose"}, {"batch_size": 0}, {"schedule": 0}, {"heads": "wide"}, {"optimiser": "lars"}):
        with pytest.raises(ReproError):
            replace(small(), **changes)
    with pytest.raises(ReproError, match="needs a convolutional backbone, not 'pixels'"):
        detection.run(replace(small(), start=start(backbone="pixels")))
    with pytest.raises(ReproError, match="have no option 'blue'"):
        coco.load(coco.SCENES, "train", "mask", (("blue", 1),))
    with pytest.raises(ReproError, match="need 48 pixels a side"):
        coco.load(coco.SCENES, "train", "mask", (), 32)


def test_supervised_training_needs_an_output_a_class():
    with pytest.raises(ReproError, match="Supervised training on class needs 8 outputs of the projector, not 4"):
        train.run(start(Supervised(), projector=Projector(1, 1, 4)))


def test_supervised_training_learns_the_labels():
    spec = start(Supervised(), projector=Projector(1, 1, 8), epochs=3)
    found = train.run(spec)
    assert found.curves["loss"][-1] < math.log(8) < found.curves["loss"][0] + 0.5


def test_published_probes_report_the_last_epoch_and_the_best(tiny):
    for name in ("moco", "mean-shift"):
        found = train.run(tiny(method=Untrained(), probes={"sgd": name, "linear": False})).metrics
        assert found["sgd_test_class"] <= found["sgd_test_best_class"]
        assert set(found) == {"diverged", "sgd_val_class", "sgd_test_class", "sgd_test_best_class"}
    with pytest.raises(ReproError, match="choose from moco, mean-shift"):
        Probes(sgd="mocha")


def test_an_sgd_probe_lowers_its_rate_at_the_published_epochs(monkeypatch):

    seen = []

    class Watched(torch.optim.SGD):
        def step(self, *args):
            seen.append(self.param_groups[0]["lr"])
            return super().step(*args)

    monkeypatch.setattr(torch.optim, "SGD", Watched)
    x, y = torch.randn(300, 4), torch.arange(300) % 3
    probes.sgd(lambda epoch: x, [x] * 3, [y] * 3, 3, 0, probes.SGD_RECIPES["moco"])
    assert len(seen) == 200  # two batches an epoch
    assert [seen[2 * e] for e in (0, 59, 60, 79, 80, 99)] == pytest.approx([30, 30, 3, 3, 0.3, 0.3])


def test_batches_do_not_depend_on_where_they_start():
    spec, split = small(), coco.load(coco.SCENES, "train", "mask", SCENES.options, 64)
    whole = {step: images for step, images, _ in detection.batches(spec, split, 0, 9)}
    later = {step: images for step, images, _ in detection.batches(copy.copy(spec), split, 5, 9)}
    for step, images in later.items():
        assert all(torch.equal(a, b) for a, b in zip(images, whole[step]))

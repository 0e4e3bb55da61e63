"""Fine-tuning detectors on data in COCO's format: torchvision's Mask R-CNN and Keypoint R-CNN with a feature pyramid on
any backbone of the house, scored by COCO's own metric.

The same code takes the small scenes that `repro.data.coco` makes and COCO itself. On a CPU a run that was stopped and
goes on from its checkpoint gives the same bits as one never stopped.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from repro import data
from repro.core.methods import Untrained
from repro.core.spec import DetectSpec, RunSpec
from repro.core.store import Result
from repro.data import coco
from repro.errors import ReproError
from repro.ssl import networks, train
from repro.views.draw import permutation, stream, uniform

METRICS = {"mask": ("bbox", "segm"), "keypoint": ("bbox", "keypoints")}
SHOWN = 6  # validation images whose detections are kept, for pictures
SURE = 0.5  # score from which a detection is kept for them
IN_MEMORY = 30_000_000  # pixels of a split up to which it is decoded once
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # of its train images, which are too many to read for this


def run(
    spec: DetectSpec,
    weights: Path | None = None,
    scratch: Path | None = None,
    tick: Callable[[int, int, float], None] = lambda step, steps, loss: None,
    checkpoint_seconds: float = 30.0,
) -> Result:
    """Fine-tune and score. Returns metrics `<bbox|segm|keypoints>_<AP|AP50|AP75>` in percent, the loss along the way, and
    what was detected on a few validation images.

    weights: those of `spec.start`, as a run stores them; none are needed if it is untrained. scratch and tick: as
    `repro.ssl.train.run` has them. Raises ReproError for data or a backbone that cannot be used.
    """
    trained = not isinstance(spec.start.method, Untrained)
    if trained and (weights is None or not weights.exists()):
        return Result({"diverged": 1.0})  # the run it starts from did
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    train_split, val_split = (coco.load(spec.data.name, s, spec.task, spec.data.options, spec.data.size)
                              for s in coco.SPLITS)  # fmt: skip
    steps = max(1, round(spec.steps * spec.schedule))
    with torch.random.fork_rng(devices=[0] if device.type == "cuda" else []):
        torch.manual_seed(spec.seed)
        net = build(spec, len(train_split.categories), len(train_split.keypoints), weights).to(device)
        groups = _groups(net, spec.weight_decay)
        if spec.optimiser == "sgd":
            optimiser = torch.optim.SGD(groups, lr=spec.lr, momentum=0.9, foreach=True)
        else:
            optimiser = torch.optim.AdamW(groups, lr=spec.lr, foreach=True)
        state = {"step": 0, "loss": 0.0, "curves": {"step": [], "loss": []}, "seconds": 0.0}
        checkpoint = scratch / "checkpoint.pt" if scratch else None
        parts = {"net": net, "optimiser": optimiser}
        if checkpoint and checkpoint.exists():
            state |= train.resume_checkpoint(checkpoint, parts)
            torch.set_rng_state(state["random"])
            if "random_cuda" in state:
                torch.cuda.set_rng_state(state["random_cuda"])
        if not _fit(spec, net, optimiser, train_split, state, steps, tick, checkpoint, parts, checkpoint_seconds):
            return Result({"diverged": 1.0, "steps_done": float(state["step"])}, state["curves"])
        found = detect(net, val_split, spec.batch_size)
    metrics = {"diverged": 0.0, "steps_done": float(steps), "loss": state["curves"]["loss"][-1]}
    for kind in METRICS[spec.task]:
        metrics |= {f"{kind}_{name}": value for name, value in score(val_split, found, kind).items()}
    curves = state["curves"] | {"shown": _shown(val_split, found)}
    return Result(metrics, curves, {"train_seconds": state["seconds"]})


def _fit(spec, net, optimiser, split, state, steps, tick, checkpoint, parts, checkpoint_seconds) -> bool:
    """Train `net` from `state` on; False if its loss is no number any more."""
    device = next(net.parameters()).device
    every, saved, began = max(1, steps // 20), time.monotonic(), time.monotonic()
    loss_sum, curves = state["loss"], state["curves"]
    net.train()
    for step, images, targets in batches(spec, split, state["step"], steps):
        for group in optimiser.param_groups:
            group["lr"] = spec.lr * rate(step, steps)
        targets = [{k: v.to(device) for k, v in t.items()} for t in targets]
        loss = sum(net([i.to(device) for i in images], targets).values())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 10.0, foreach=True)
        optimiser.step()
        loss_sum = loss_sum + loss.detach()
        state["step"] = step + 1
        if (step + 1) % every == 0 or step + 1 == steps:
            curves["step"].append(step + 1)
            curves["loss"].append(float(loss_sum) / ((step % every) + 1))
            loss_sum = 0.0
            if not math.isfinite(curves["loss"][-1]):
                return False
        due = time.monotonic() - saved >= checkpoint_seconds
        try:
            tick(step + 1, steps, curves["loss"][-1] if curves["loss"] else math.nan)
        except Exception:
            due = True
            raise
        finally:
            if checkpoint and due:
                seconds = state["seconds"] + time.monotonic() - began
                now = state | {"loss": float(loss_sum), "seconds": seconds, "random": torch.get_rng_state()}
                if device.type == "cuda":  # where boxes are sampled
                    now["random_cuda"] = torch.cuda.get_rng_state()
                train.save_checkpoint(checkpoint, parts, now)
                saved = time.monotonic()
    state["seconds"] += time.monotonic() - began
    return True


def rate(step: int, steps: int) -> float:
    """The factor of the learning rate: warm-up over a tenth of the run or 1000 steps, tenfold lower after 2/3 and 8/9."""
    warmup = min(1000, steps // 10)
    warm = min(1.0, (step + 1) / (warmup + 1))
    return warm * 0.1 ** ((step >= 2 * steps / 3) + (step >= 8 * steps / 9))


def _groups(net: nn.Module, weight_decay: float) -> list[dict]:
    """Biases and batch norm get no weight decay."""
    params = [p for p in net.parameters() if p.requires_grad]
    return [
        {"params": [p for p in params if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]


# --- the networks -----------------------------------------------------------------------------------------------------


def build(spec: DetectSpec, categories: int, keypoints: int, weights: Path | None = None) -> nn.Module:
    """The detector of a spec for `categories` kinds of object, with so many keypoints each. Its numbers are drawn from
    the global generator, those of the backbone from the seed of `spec.start`."""
    from torchvision.models import detection
    from torchvision.models.detection import faster_rcnn, keypoint_rcnn, mask_rcnn
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.ops import MultiScaleRoIAlign

    small = spec.heads == "small"
    channels = 32 if small else 256
    backbone = Pyramid(trunk(spec.start, weights), channels)
    names = list(backbone.strides)
    scale = 4 if small else 8  # of an anchor to its level's stride: the published ones are 8
    sides = [(scale * s,) for s in (*backbone.strides.values(), 2 * max(backbone.strides.values()))]
    mean, std = statistics(spec.start)
    side = spec.data.size or 800
    options: dict[str, Any] = {
        "rpn_anchor_generator": AnchorGenerator(tuple(sides), ((0.5, 1.0, 2.0),) * len(sides)),
        "image_mean": mean,
        "image_std": std,
        "min_size": (side,) if small else tuple(range(side - side // 5, side + 1, max(1, side // 25))),
        "max_size": side * 5 // 3,
    }
    if small:
        options |= {
            "rpn_pre_nms_top_n_train": 200, "rpn_pre_nms_top_n_test": 100, "rpn_post_nms_top_n_train": 64,
            "rpn_post_nms_top_n_test": 24, "rpn_batch_size_per_image": 64, "box_batch_size_per_image": 16,
            "box_detections_per_img": 8,
        }  # fmt: skip
    options |= {
        "box_roi_pool": MultiScaleRoIAlign(names, 5 if small else 7, 1 if small else 2),
        "box_head": faster_rcnn.TwoMLPHead(channels * (25 if small else 49), 128 if small else 1024),
        "box_predictor": faster_rcnn.FastRCNNPredictor(128 if small else 1024, categories + 1),
    }
    pool = MultiScaleRoIAlign(names, 10 if small else 14, 1 if small else 2)
    if spec.task == "mask":
        layers = (channels,) * (1 if small else 4)
        options |= {
            "mask_roi_pool": pool,
            "mask_head": mask_rcnn.MaskRCNNHeads(channels, layers, 1),
            "mask_predictor": mask_rcnn.MaskRCNNPredictor(channels, channels, categories + 1),
        }
        return detection.MaskRCNN(backbone, **options)
    layers = (channels,) * 2 if small else (512,) * 8
    options |= {
        "keypoint_roi_pool": pool,
        "keypoint_head": keypoint_rcnn.KeypointRCNNHeads(channels, layers),
        "keypoint_predictor": keypoint_rcnn.KeypointRCNNPredictor(layers[-1], keypoints),
    }
    return detection.KeypointRCNN(backbone, **options)


class Pyramid(nn.Module):
    """A trunk's levels of stride 4 and more, the feature pyramid on them, and one level more by pooling. strides: by the
    level's name."""

    def __init__(self, body: nn.Module, channels: int):
        super().__init__()
        from torchvision.models._utils import IntermediateLayerGetter
        from torchvision.ops import FeaturePyramidNetwork
        from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

        stages = [n for n, m in body.named_children() if n.startswith("layer") or isinstance(m, nn.ReLU)]
        mode = body.training
        with torch.no_grad():  # a look at what each stage gives
            levels = IntermediateLayerGetter(body.eval(), {s: s for s in stages})(torch.zeros(1, 3, 64, 64))
        body.train(mode)
        strides = {name: 64 // level.shape[-1] for name, level in levels.items()}
        found = {stride: name for name, stride in strides.items()}  # of several of one stride, the last
        kept = {name: stride for stride, name in found.items() if stride >= 4}
        self.body = IntermediateLayerGetter(body, {s: s for s in kept})
        self.strides, self.out_channels = kept, channels
        widths = [levels[s].shape[1] for s in kept]
        self.fpn = FeaturePyramidNetwork(widths, channels, LastLevelMaxPool(), norm_layer=nn.BatchNorm2d)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.fpn(self.body(x))


def trunk(start: RunSpec, weights: Path | None = None) -> nn.Module:
    """The backbone of a run, with its trained weights unless it is untrained. Raises ReproError where there are none, or
    for a backbone that a detector cannot stand on."""
    if start.backbone not in networks.BACKBONES or start.backbone == "pixels":
        raise ReproError(f"A detector needs a convolutional backbone, not {start.backbone!r}: choose another.")
    learner = train.build(start, start.data.size or 224)
    if not isinstance(start.method, Untrained):
        try:
            learner.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except Exception as e:  # torch raises many types
            raise ReproError(
                f"The weights {weights} are damaged or of another version: delete the folder {Path(weights).parent} "
                "and measure again."
            ) from e
    return learner.backbone


def statistics(start: RunSpec) -> tuple[list[float], list[float]]:
    """Mean and deviation by channel of the images on which a backbone was trained: it expects them so."""
    if start.data.name.startswith("imagenet"):
        return list(IMAGENET[0]), list(IMAGENET[1])
    found = data.load(start.data.name, start.data.size, start.data.options)
    return found.mean.tolist(), found.std.tolist()


# --- the data ---------------------------------------------------------------------------------------------------------


def batches(
    spec: DetectSpec, split: coco.Annotated, first: int, steps: int
) -> Iterator[tuple[int, list[Tensor], list[dict[str, Tensor]]]]:
    """Yields (step, images, targets) from step `first` on; order and flips are functions of (seed, epoch, image)."""
    # images without an object teach nothing, as in the published code
    usable = [
        n for n in range(len(split)) if any(not t.get("iscrowd") for t in split.objects.get(split.images[n]["id"], ()))
    ]
    batch = min(spec.batch_size, len(usable))
    per_epoch = len(usable) // batch
    swap = mirrored(split.keypoints)
    flips = {"epoch": -1}

    def plan(step: int) -> list[tuple[int, bool]]:
        epoch, position = divmod(step, per_epoch)
        if flips["epoch"] != epoch:
            order = permutation(spec.seed, epoch, len(usable))
            flip = uniform(stream(spec.seed, epoch, 5), order, torch.zeros(1, dtype=torch.int64))[:, 0] < 0.5
            flips.update(epoch=epoch, order=order.tolist(), flip=flip.tolist())
        part = slice(position * batch, (position + 1) * batch)
        return [(usable[n], f) for n, f in zip(flips["order"][part], flips["flip"][part])]

    pixels = sum(i["width"] * i["height"] for i in split.images)
    known: dict[int, tuple] | None = {} if pixels <= IN_MEMORY else None
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(8)) if known is None else None

        def load(chosen: list[tuple[int, bool]]) -> Any:
            return pool.map(lambda c: _example(split, *c, swap, known), chosen) if pool else (
                _example(split, *c, swap, known) for c in chosen)  # fmt: skip

        ahead = load(plan(first)) if first < steps else ()
        for step in range(first, steps):
            now, ahead = ahead, load(plan(step + 1)) if step + 1 < steps else ()
            pairs = list(now)
            yield step, [p[0] for p in pairs], [p[1] for p in pairs]


def mirrored(keypoints: tuple[str, ...]) -> list[int]:
    """Where each keypoint is found in a mirrored image: what is left is right."""
    other = [k.replace("left", "\0").replace("right", "left").replace("\0", "right") for k in keypoints]
    return [keypoints.index(k) if k in keypoints else i for i, k in enumerate(other)]


def _example(
    split: coco.Annotated, number: int, flip: bool, swap: list[int], known: dict | None
) -> tuple[Tensor, dict]:
    found = known.get(number) if known is not None else None
    if found is None:
        image = torch.from_numpy(split.picture(number)).permute(2, 0, 1).float() / 255
        found = (image, split.target(number))
        if known is not None:
            known[number] = found
    image, target = found[0], dict(found[1])
    if not flip:
        return image, target
    width = image.shape[-1]
    boxes = target["boxes"]
    target["boxes"] = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    if "masks" in target:
        target["masks"] = target["masks"].flip(-1)
    else:
        points = target["keypoints"][:, swap].clone()
        points[..., 0] = width - points[..., 0]
        points[points[..., 2] == 0] = 0
        target["keypoints"] = points
    return image.flip(-1), target


# --- scoring ----------------------------------------------------------------------------------------------------------


@torch.no_grad()
def detect(net: nn.Module, split: coco.Annotated, batch: int) -> list[dict]:
    """What a detector finds, as COCO's result entries: image_id, category_id, bbox, score, segmentation or keypoints."""
    mask = coco.masks()
    device, names, out = next(net.parameters()).device, sorted(split.categories), []
    net.eval()
    for part in torch.arange(len(split)).split(batch):
        images = [torch.from_numpy(split.picture(int(n))).permute(2, 0, 1).float().to(device) / 255 for n in part]
        for number, found in zip(part.tolist(), net(images)):
            found = {k: v.cpu().numpy() for k, v in found.items()}
            for i, (x0, y0, x1, y1) in enumerate(found["boxes"].tolist()):
                entry = {
                    "image_id": split.images[number]["id"],
                    "category_id": names[found["labels"][i] - 1],
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "score": float(found["scores"][i]),
                }
                if "masks" in found:
                    code = mask.encode(np.asfortranarray(found["masks"][i, 0] > 0.5, dtype=np.uint8))
                    entry["segmentation"] = {"size": list(code["size"]), "counts": code["counts"].decode()}
                if "keypoints" in found:
                    entry["keypoints"] = found["keypoints"][i].ravel().tolist()
                out.append(entry)
    return out


def score(split: coco.Annotated, found: list[dict], kind: str) -> dict[str, float]:
    """COCO's average precision of results as `detect` gives them, by pycocotools: AP, AP50 and AP75 in percent. kind:
    "bbox", "segm" or "keypoints". NaN where nothing is annotated."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not found:
        return {"AP": 0.0, "AP50": 0.0, "AP75": 0.0}
    coco.masks()
    with coco.quiet():
        truth = COCO()
        truth.dataset = {
            "images": split.images,
            "annotations": [_complete(t, kind, n) for n, t in enumerate(_things(split), 1)],
            "categories": [{"id": c, "name": name} for c, name in split.categories.items()],
        }
        truth.createIndex()
        results = [
            {k: v for k, v in f.items() if k in ("image_id", "category_id", "score", _FIELD[kind])} for f in found
        ]
        judge = COCOeval(truth, truth.loadRes(results), kind)
        if kind == "keypoints" and split.sigmas:
            judge.params.kpt_oks_sigmas = np.asarray(split.sigmas)
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    values = dict(zip(("AP", "AP50", "AP75"), judge.stats[:3]))
    return {name: 100.0 * float(v) if v >= 0 else math.nan for name, v in values.items()}


_FIELD = {"bbox": "bbox", "segm": "segmentation", "keypoints": "keypoints"}


def _things(split: coco.Annotated) -> list[dict]:
    return [t for i in split.images for t in split.objects.get(i["id"], ())]


def _complete(thing: dict, kind: str, number: int) -> dict:
    """What pycocotools expects of an annotation, whatever the file left out."""
    thing = {"iscrowd": 0, "area": thing["bbox"][2] * thing["bbox"][3], **thing, "id": number}
    if kind == "keypoints":
        thing.setdefault("num_keypoints", sum(v > 0 for v in thing["keypoints"][2::3]))
    return thing


def _shown(split: coco.Annotated, found: list[dict]) -> list[dict]:
    """The surer detections on the first validation images, rounded: for pictures, and small enough to keep."""
    numbers = {image["id"]: n for n, image in enumerate(split.images[:SHOWN])}
    out = []
    for entry in found:
        if entry["image_id"] in numbers and entry["score"] >= SURE:
            kept = {
                "image": numbers[entry["image_id"]],
                "name": split.categories[entry["category_id"]],
                "score": round(entry["score"], 3),
                "box": [round(v, 1) for v in entry["bbox"]],
            }
            if "segmentation" in entry:
                kept["mask"] = entry["segmentation"]["counts"]
            if "keypoints" in entry:
                kept["points"] = [round(v, 1) for v in entry["keypoints"]]
            out.append(kept)
    return out


def dry_run(spec: DetectSpec) -> int:
    """Build a spec's detector for COCO's 80 categories or its person and train it for one step on fake images; the
    number of its parameters."""
    import dataclasses

    start = dataclasses.replace(spec.start, method=Untrained())
    spec = dataclasses.replace(spec, start=start, data=dataclasses.replace(spec.data, size=128))
    points = 17 if spec.task == "keypoint" else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build(spec, 1 if points else 80, points).train()
        target = {"boxes": torch.tensor([[20.0, 20.0, 90.0, 90.0]]), "labels": torch.tensor([1])}
        if points:
            target["keypoints"] = torch.cat([torch.full((1, points, 2), 50.0), torch.ones(1, points, 1)], -1)
        else:
            target["masks"] = torch.ones(1, 128, 128, dtype=torch.uint8)
        loss = sum(net([torch.rand(3, 128, 128)] * 2, [target] * 2).values())
        loss.backward()
    if not math.isfinite(loss.item()):
        raise ReproError("The dry run of a detector gave a loss that is not finite: check its hyper-parameters.")
    return sum(p.numel() for p in net.parameters())

"""Data sets by name: images, labels by task, splits that never overlap.

Every data set has a train, a validation and a test split. Pretraining sees train's images without labels; probes are fitted
on train's labels, chosen on validation, and read on test once.

objects.py, coco.py         made-up images: coloured shapes; the same as detection data (which reads COCO itself, too)
folder.py, prepared.py      a reader's folder of images; sets that `data_prep/` made ready
content.py                  which images a name stands for now
disk.py                     training images read from files, where memory would be short

May import views, loader and core. A first reader needs this file alone.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from repro.core import datasets
from repro.core.datasets import DATASETS, EMBEDDED, PREPARED, root
from repro.core.datasets import in_files as in_files
from repro.core.datasets import tasks as tasks
from repro.data import content, folder, objects
from repro.errors import ReproError
from repro.views.draw import GOLDEN, mix, stream, uniform

if TYPE_CHECKING:
    from repro.loader.loader import Images


MEMORY = 8 * 2**30  # bytes of a prepared set's images, all splits together, that are held in memory
CENTRAL = 0.875  # of the shorter side of what does not fit: how the field crops for evaluation (256 px to 224)


@dataclass(frozen=True)
class Split:
    """images: (N, 3, H, W) uint8, or what decodes them when they are asked for, where memory would be short; labels: (N,)
    int64 by task; numbers: (N,), of a prepared set, which samples of their `.beton` file they are."""

    images: Tensor | Images
    labels: dict[str, Tensor]
    numbers: Tensor | None = None


@dataclass(frozen=True)
class Dataset:
    """title: its name in figures and verdicts, which says when it is a stand-in. tasks: number of classes by task, the
    semantic task first. mean, std: (3,) of the train images, of 1."""

    title: str
    stand_in: bool
    train: Split
    val: Split
    test: Split
    tasks: dict[str, int]
    mean: Tensor
    std: Tensor


def title(name: str) -> str:
    """A data set's name as figures print it, without loading it."""
    from repro.data import prepared

    if name in EMBEDDED:
        return DATASETS[name].title
    if own := prepared.title(name) or folder.given_title(root() / name):  # what its owner calls it: it may be a copy
        return own
    return (
        DATASETS[name].title if name in DATASETS else datasets.COCO_TITLES.get(name) or folder.title(Path(name)) or name
    )


def fingerprint(name: str) -> str:
    """`repro.data.content.fingerprint`; what was loaded of other images of this name is forgotten."""
    from repro.data import coco  # with pycocotools, which loading images does not need

    now = content.fingerprint(name)
    if _seen.setdefault(name, now) != now:
        load.cache_clear()
        coco.load.cache_clear()
        _seen[name] = now
    return now


_seen: dict[str, str] = {}


def _task(name: str) -> str:
    """What a prepared set calls "label" is the class, as in a folder of class folders."""
    return "class" if name == "label" else name


@functools.lru_cache(maxsize=8)
def load(name: str, size: int = 0, options: tuple[tuple[str, float], ...] = ()) -> Dataset:
    """A data set by name, or by the path of a folder of class folders, at `size` pixels a side (0: its own).

    A name is an embedded set, one that a script in data_prep/ prepared, or a folder of class folders in `root()`.
    options: objects' knobs; for all but digits "images", how many train images at most (digits-placed: of each split).
    A prepared set of more than MEMORY bytes stays in its files: its images are decoded when they are asked for, as
    CENTRAL of their middle square.
    Raises ReproError for an unknown name, a missing folder, an unknown option or a broken image.
    """
    knobs = dict(options)
    if name == "objects":
        return _objects(size or 16, knobs)
    limit = int(knobs.pop("images", 0))
    if knobs:
        raise ReproError(
            f"The data set {name!r} has no option {next(iter(knobs))!r}: only made-up objects have such knobs."
        )
    if name in ("digits", "digits-placed"):
        return _digits(size or 16, name, limit if name == "digits-placed" else 0)
    if datasets.is_prepared(name):
        return _from_prepared(name, size, limit)
    require(name)
    if name in DATASETS:
        return _from_folder(root() / name, size, title(name), limit)
    return _from_folder(Path(name), size, folder.title(Path(name)), limit)


def require(name: str) -> None:
    """Raise ReproError that says what to do if a data set is not there, or not whole."""
    from repro.data import prepared

    if name in (*EMBEDDED, datasets.COCO_SCENES) or datasets.is_prepared(name):
        return
    if datasets.records(name):
        prepared.load(name)  # which says what is missing
    if name in PREPARED and not (root() / name).is_dir():
        raise ReproError(
            f"The data set {name} is missing: prepare it with `{prepared.command(name)}`, or put a folder of class "
            f"folders in {root() / name}."
        )
    if name not in DATASETS and not Path(name).is_dir():
        known = ", ".join(DATASETS)
        raise ReproError(
            f"There is no data set {name!r}: choose one of {known}, or give the path of a folder of class folders."
        )


def tell(name: str) -> None:
    """Say once what a reader should know of a folder of images before it is measured on."""
    own = root() / name if name in DATASETS else Path(name)
    if own.is_dir() and not datasets.is_prepared(name) and not datasets.is_coco(own):
        folder.tell(own)


def subset(split: Split, fraction: float, seed: int, draw: int = 2) -> Tensor:
    """Indices of a class-balanced share of a split, (n,) int64, sorted; smaller shares of one seed and draw are inside
    larger ones."""
    labels = next(iter(split.labels.values()))
    if fraction == 1:
        return torch.arange(len(labels))
    order = torch.argsort(mix(stream(seed, 0, draw) + torch.arange(len(labels)) * GOLDEN), stable=True)
    members = order[torch.argsort(labels[order], stable=True)].split(labels.unique(return_counts=True)[1].tolist())
    kept = [m[: max(1, round(fraction * len(m)))] for m in members]
    return torch.cat(kept).sort().values


def _dataset(title: str, stand_in: bool, splits: list[Split], tasks: dict[str, int]) -> Dataset:
    every = 1 if stand_in else max(1, len(splits[0].images) // 2000)  # folders hold one class after the other
    pixels = splits[0].images[::every][:2000].to("cpu").double() / 255
    mean, std = pixels.mean((0, 2, 3)).float(), pixels.std((0, 2, 3)).float()
    return Dataset(title, stand_in, *splits, tasks, mean, std)


def _objects(size: int, knobs: dict[str, float]) -> Dataset:
    images = int(knobs.pop("images", 2048))
    unknown = set(knobs) - set(objects.KNOBS)
    if unknown:
        raise ReproError(f"Objects have no knob {min(unknown)!r}: choose from {', '.join(('images', *objects.KNOBS))}.")
    splits = []
    for seed, n in enumerate((images, max(256, images // 2), max(256, images))):
        pixels, labels = objects.render(n, size, seed, **knobs)
        splits.append(Split(torch.from_numpy(pixels), {k: torch.from_numpy(v) for k, v in labels.items()}))
    return _dataset(DATASETS["objects"].title, True, splits, dict(objects.TASKS))


def _digits(size: int, name: str, limit: int) -> Dataset:
    """digits: scikit-learn's scans, scaled to the frame. digits-placed: each drawn smaller, at a place, size and angle of
    its own, so that neither pixels nor a random encoder know much; each held-out scan at several places. limit: at most
    so many images a split."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = torch.from_numpy(bunch.images).float()[:, None] / 16
    labels = torch.from_numpy(bunch.target).long()
    order = torch.argsort(mix(stream(0, 0, 3) + torch.arange(len(labels)) * GOLDEN), stable=True)
    splits = []
    for index, places in zip(order.split([1000, 297, 500]), (1, 3, 4)):
        if name == "digits":
            x = F.interpolate(pixels[index], (size, size), mode="bilinear", align_corners=False)
        else:
            index = index.repeat_interleave(places)
            x = _placed(pixels[index], size, index * 4 + torch.arange(len(index)) % places)
        x = (x * 255).round().to(torch.uint8).expand(-1, 3, -1, -1).contiguous()
        keep = limit or len(x)
        splits.append(Split(x[:keep], {"digit": labels[index][:keep]}))
    return _dataset(DATASETS[name].title, True, splits, {"digit": 10})


def _placed(pixels: Tensor, size: int, number: Tensor) -> Tensor:
    """Each image (N, 1, 8, 8) on a black frame of `size` pixels, .55 to .8 of it wide, turned by up to a quarter of a
    radian; a function of the images' numbers (N,)."""
    u = uniform(stream(0, 0, 4), number, torch.arange(4))
    scale, angle = 0.55 + 0.25 * u[:, 0], 0.5 * u[:, 1] - 0.25
    x, y = ((2 * u[:, i] - 1) * (1 - scale) for i in (2, 3))
    c, s = torch.cos(angle) / scale, torch.sin(angle) / scale
    back = torch.stack([torch.stack([c, s, -c * x - s * y], 1), torch.stack([-s, c, s * x - c * y], 1)], 1)
    grid = F.affine_grid(back, [len(pixels), 1, size, size], align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False)


def _from_prepared(name: str, size: int, limit: int) -> Dataset:
    from repro.data import prepared

    parts, classes, title = prepared.load(name, size)
    splits = [Split(images, {_task(k): v for k, v in labels.items()}) for images, labels in parts]
    if limit:
        splits = [_at_most(s, n) for s, n in zip(splits, (limit, limit // 2, limit // 2))]
    small = sum(math.prod(s.images.shape) for s in splits) <= MEMORY
    splits = [
        Split(s.images.to("cpu") if small else replace(s.images, central=CENTRAL), s.labels, s.images.numbers)
        for s in splits
    ]
    return _dataset(title, False, splits, {_task(k): len(names) for k, names in classes.items()})


def _at_most(split: Split, count: int) -> Split:
    """A class-balanced part of a split, of `count` images or so."""
    kept = subset(split, min(1.0, count / len(split.images)), 0)
    return Split(split.images[kept], {k: v[kept] for k, v in split.labels.items()})


def _from_folder(path: Path, size: int, title: str, limit: int) -> Dataset:
    parts, classes = folder.read(path, size or 32, limit)
    splits = [Split(images, {"class": labels}) for images, labels in parts]
    return _dataset(title, False, splits, {"class": len(classes)})

"""Data sets prepared as `.beton` files by the scripts in data_prep/: what is there, and opening it.

A prepared set is a folder `<root>/<name>/` with `train.beton`, `val.beton` or `test.beton`, and beside each a `.json`
that records what is in it.
"""

from __future__ import annotations

import functools
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repro.core import datasets
from repro.core.datasets import DATASETS, PREPARED, root
from repro.data import tree
from repro.errors import ReproError
from repro.loader import beton
from repro.loader.loader import Images
from repro.views.draw import GOLDEN, mix, stream


def fake(out: Path, side: int, count: int = 8) -> Path:
    """A `.beton` file of made-up JPEGs, `side` pixels a side, as a prepared set has it for train: for dry runs."""
    rng = np.random.default_rng(0)
    coarse = [Image.fromarray(c) for c in rng.integers(0, 256, (count, 4, 4, 3), np.uint8)]

    def encode(i: int) -> beton.Encoded:
        return beton.as_jpeg(coarse[i].resize((side, side), Image.Resampling.BICUBIC))

    beton.write(out / "train.beton", encode, {"label": [i % 2 for i in range(count)]})
    return out / "train.beton"


def title(name: str) -> str:
    """The title in a prepared set's record; "" if there is none."""
    return next((r["title"] for r in datasets.records(name).values() if "title" in r), "")


def command(name: str) -> str:
    """What prepares a known set."""
    return f"python data_prep/{DATASETS[name].script}"


def table() -> list[tuple[str, str, str]]:
    """(name, title, state) of every data set that can be prepared or is: what is there, or the command that makes it."""
    rows, folders = [], root().iterdir() if root().is_dir() else ()
    for name in dict.fromkeys((*PREPARED, *sorted(p.name for p in folders if p.is_dir()))):
        there = datasets.records(name)
        if name == "coco" and datasets.is_coco(root() / name):
            rows.append((name, DATASETS[name].title, f"there: {(root() / name).resolve()}"))
        elif there:
            parts = [
                f"{s} {r['images']:,}, sha256 {r['sha256'][:8]}" if "sha256" in r else f"{s} without a record"
                for s, r in there.items()
            ]
            rows.append((name, title(name) or name, f"prepared: {'; '.join(parts)}"))
        elif name in PREPARED:
            rows.append((name, DATASETS[name].title, f"missing: {command(name)}"))
    return rows


def load(name: str, size: int = 0) -> tuple[list[tuple[Images, dict[str, Tensor]]], dict[str, list[str]], str]:
    """A prepared set: train, validation and test as images (N, 3, size, size), not decoded yet, with labels (N,) by task;
    the classes by task; its title.

    Images are resized with antialiasing to the middle square; size 0 keeps their own, if they are squares of one size.
    A set that has train and one other split gives a tenth of train's labelled images to validation. Raises ReproError for
    a set that is not prepared, or whose images need a size.
    """
    folder = root() / name
    there = datasets.records(name)
    if "train" not in there or len(there) < 2 or datasets.lacking(there):
        how = command(name) if name in PREPARED else "a script in data_prep/"
        what = " and ".join(datasets.lacking(there)) or "train and test or val"
        raise ReproError(f"{folder} holds no prepared {what}: prepare them with {how}, which goes on where it stopped.")
    if "classes" not in there["train"]:  # FFCV's own files have none, and do not say what their numbers mean
        raise ReproError(
            f"{folder} holds .beton files without a whole record of their classes (train.json; FFCV writes none): prepare the "
            "images with data_prep/class_folder.py, or another script in data_prep/."
        )
    files = {split: beton.read(folder / f"{split}.beton") for split in there}
    for file in files.values():
        for task, names in there["train"]["classes"].items():
            if task not in file.labels or file.labels[task].max(initial=-1) >= len(names):
                raise ReproError(
                    f"{file.path} has labels of other classes than train.json says: prepare the set again."
                )
    _tell_changed(folder, there["train"].get("source", ""), there["train"].get("state", ""))
    parts = {
        split: (_images(file, size), {task: torch.from_numpy(values) for task, values in file.labels.items()})
        for split, file in files.items()
    }
    if len(there) == 2:
        last = next(s for s in there if s != "train")
        images, labels = parts["train"]
        held = mix(stream(0, 0, 4) + torch.arange(len(images)) * GOLDEN).remainder(10) == 0
        held &= next(iter(labels.values())) >= 0  # those without a label can be pretrained on, but not probed
        cut = [(images[m], {k: v[m] for k, v in labels.items()}) for m in (~held, held)]
        out = [*cut, parts[last]]
    else:
        out = [parts[s] for s in datasets.SPLITS]
    return out, there["train"]["classes"], title(name) or name


@functools.cache
def _tell_changed(folder: Path, source: str, state: str) -> None:
    """Say where the images that a set was prepared from are others now."""
    if state and Path(source).is_dir() and tree.state(Path(source)) != state:
        said = f"repro: The images of {source} have changed since {folder} was made of them: prepare it again."
        print(said, file=sys.stderr, flush=True)


def _images(file: beton.Beton, size: int) -> Images:
    sides = np.unique(np.concatenate((file.heights, file.widths)))
    if not size and len(sides) > 1:
        raise ReproError(f"The images of {file.path} are of several sizes: say which size they shall have.")
    return Images(file, size or int(sides[0]), torch.arange(len(file)))

"""Any folder of class folders as a data set: `PATH/<class>/<image>`, or `PATH/train/...` with `PATH/test` or `PATH/val`."""

from __future__ import annotations

import codecs
import functools
import sys
import unicodedata
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repro.core.datasets import SPLITS
from repro.data import content, tree
from repro.errors import ReproError
from repro.loader.pictures import readable, rgb


def given_title(path: Path) -> str:
    """The first line of a folder's NAME.txt, in UTF-8, UTF-16 or Latin-1; "" if there is none."""
    name = path / "NAME.txt"
    said = _text(name.read_bytes()).strip().splitlines() if name.is_file() else []
    return said[0].strip() if said else ""


def _text(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", errors="replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("latin-1")


def title(path: Path) -> str:
    """What to call a folder's images in figures: what its NAME.txt says, else its own name."""
    return given_title(path) or tree.shown(path.name)


def read(path: Path, size: int, limit: int = 0) -> tuple[list[tuple[Tensor, Tensor]], list[str]]:
    """Train, validation and test images (N, 3, size, size) uint8 with labels (N,), and the class names.

    `repro.data.tree.find` says how the folder is understood. A folder without a test or validation split is split by a
    hash of each file's name, 70 / 10 / 20; one that has train and one of them gives a tenth of train to validation.
    Images are resized with antialiasing, the shorter side first, and cut to the middle square. limit: at most so many
    train images, half as many for validation and test each, the same number of every class as far as there are, chosen by
    their names; 0 for all. Raises ReproError that names a missing folder or a broken file.
    """
    if not path.is_dir():
        raise ReproError(
            f"The data folder {tree.shown(path)} is missing: put the images there, one sub-folder a class, or set "
            "REPRO_DATA to the folder that holds it."
        )
    layout = tree.find(path)
    parts = splits(layout)
    for name, group in parts.items():
        if not group:
            raise ReproError(f"The data folder {tree.shown(path)} leaves no image for {name}: add images.")
    groups = list(parts.values())
    if limit:
        step = -(-len(layout.classes) // limit)  # of more classes than images, every so manyth
        groups = [[item for item in group if item[1] % step == 0] for group in groups]
        groups = [_balanced(group, count) for group, count in zip(groups, (limit, limit // 2, limit // 2))]
    with ThreadPoolExecutor(4) as pool:
        read = [(_images(group, size, pool), torch.tensor([c for _, c in group])) for group in groups]
    return read, [tree.shown(name) for name in layout.classes]


def splits(layout: tree.Layout) -> dict[str, list[tuple[Path, int]]]:
    """The images of train, val and test."""
    if not layout.splits:
        return tree.divide(layout.files[""])
    if set(layout.splits) == set(SPLITS):
        return {split: layout.files[split] for split in SPLITS}
    last = "test" if "test" in layout.splits else "val"
    return {**tree.divide(layout.files["train"], held=0.1), "test": layout.files[last]}


def remarks(path: Path, layout: tree.Layout, parts: dict[str, list[tuple[Path, int]]]) -> list[str]:
    """What a reader should know of a folder before a night of measuring, a sentence each: what was passed over, classes
    that a split lacks or that are written in two ways, exact copies."""
    out = []
    if layout.passed:
        out.append(f"passed over: {tree.said(layout.passed)}")
    for split, group in parts.items():
        there = {c for _, c in group}
        lacking = [n for i, n in enumerate(layout.classes) if i not in there]
        if lacking:
            more = f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            out.append(f"{split} has no image of the class {tree.shown(lacking[0])!r}{more}")
    written = {unicodedata.normalize("NFKC", name).casefold(): name for name in layout.classes}
    if len(written) < len(layout.classes):
        twin = next(n for n in layout.classes if n not in written.values())
        out.append(f"{tree.shown(twin)!r} is the name of two classes but for how it is written")
    known, same = content.hashes(path), defaultdict(set)
    for split, group in parts.items():
        for image, number in group:
            same[known[image]].add((split, number))
    for where, place in (("splits", 0), ("classes", 1)):
        if count := sum(len({at[place] for at in found}) > 1 for found in same.values()):
            out.append(f"{count} images lie in two {where} or more, byte for byte")
    return out


@functools.cache
def tell(path: Path) -> None:
    """Say `remarks` once, of a folder that `read` takes."""
    layout = tree.find(path)
    parts = splits(layout)
    for sentence in remarks(path, layout, parts) if all(parts.values()) else ():
        print(f"repro: {tree.shown(path)}: {sentence}.", file=sys.stderr, flush=True)


def _balanced(group: list[tuple[Path, int]], count: int) -> list[tuple[Path, int]]:
    by_class: dict[int, list[tuple[Path, int]]] = {}
    for item in sorted(group, key=lambda item: tree.share(item[0])):
        by_class.setdefault(item[1], []).append(item)
    each = max(1, count // len(by_class))
    return sorted(item for members in by_class.values() for item in members[:each])


def _images(group: list[tuple[Path, int]], size: int, pool: ThreadPoolExecutor) -> Tensor:
    out = torch.empty(len(group), 3, size, size, dtype=torch.uint8)
    for i, image in enumerate(pool.map(lambda item: _image(item[0], size), group)):
        out[i] = torch.from_numpy(image).permute(2, 0, 1)
    return out


def _image(path: Path, size: int) -> np.ndarray:
    with readable(path), Image.open(path) as image:
        image = rgb(image)
        if image.size != (size, size):
            scale = size / min(image.size)
            image = image.resize([max(size, round(s * scale)) for s in image.size], Image.Resampling.BILINEAR)
            left, top = (image.width - size) // 2, (image.height - size) // 2
            image = image.crop((left, top, left + size, top + size))
        return np.asarray(image).copy()

"""Any folder of class folders as a data set: `PATH/<class>/<image>`, or `PATH/train/...` with `PATH/test` or `PATH/val`."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from repro.errors import ReproError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"}


def given_title(path: Path) -> str:
    """The first line of a folder's NAME.txt; "" if there is none."""
    name = path / "NAME.txt"
    said = name.read_text().strip().splitlines() if name.is_file() else []
    return said[0].strip() if said else ""


def title(path: Path) -> str:
    """What to call a folder's images in figures: what its NAME.txt says, else its own name."""
    return given_title(path) or path.name


def read(path: Path, size: int, limit: int = 0) -> tuple[list[tuple[Tensor, Tensor]], list[str]]:
    """Train, validation and test images (N, 3, size, size) uint8 with labels (N,), and the class names.

    A folder without test/ or val/ is split by a hash of each file's name, 70 / 10 / 20, be it in train/ or not; else a
    tenth of train/ is for validation, and test/ or val/ is the test split. Images are resized with antialiasing, the
    shorter side first, and cut to the middle square. limit: at most so many train images, half as many for validation and
    test each, the same number of every class as far as there are, chosen by their names; 0 for all. Raises ReproError
    that names a missing folder or a broken file.
    """
    if not path.is_dir():
        raise ReproError(
            f"The data folder {path} is missing: put the images there, one sub-folder a class, or set REPRO_DATA "
            "to the folder that holds it."
        )
    train = path / "train"
    test = next((path / name for name in ("test", "val") if (path / name).is_dir()), None)
    if test is not None and _folders(path) <= {"test", "val"}:
        raise ReproError(f"{path} holds {test.name}/ but no train/: add train/, with the same sub-folder a class.")
    if train.is_dir() and test is not None:
        classes = _classes(train)
        rest = _files(train, classes)
        strange = sorted(_folders(test) - set(classes))
        if strange:
            raise ReproError(f"{test} holds the class {strange[0]!r}, which {train} does not: add or remove it.")
        groups = [[], [], _files(test, classes)]
        for item in rest:
            groups[_share(item[0]) < 0.1].append(item)
    else:
        whole = train if _folders(path) == {"train"} else path
        classes = _classes(whole)
        groups = [[], [], []]
        for item in _files(whole, classes):
            share = _share(item[0])
            groups[0 if share < 0.7 else 1 if share < 0.8 else 2].append(item)
    for name, group in zip(("train", "validation", "test"), groups):
        if not group:
            raise ReproError(f"The data folder {path} leaves no image for {name}: add images.")
    if limit:
        groups = [_balanced(group, count) for group, count in zip(groups, (limit, limit // 2, limit // 2))]
    with ThreadPoolExecutor(4) as pool:
        return [(_images(group, size, pool), torch.tensor([c for _, c in group])) for group in groups], classes


def _folders(path: Path) -> set[str]:
    return {p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")}


def _classes(path: Path) -> list[str]:
    classes = sorted(_folders(path))
    if len(classes) < 2:
        raise ReproError(f"{path} holds {len(classes)} class folders and needs two or more: one sub-folder a class.")
    return classes


def _files(path: Path, classes: list[str]) -> list[tuple[Path, int]]:
    out = []
    for number, name in enumerate(classes):
        found = sorted(p for p in (path / name).rglob("[!.]*") if p.suffix.lower() in SUFFIXES)
        if not found:
            raise ReproError(f"The class folder {path / name} holds no images: add some, or remove the folder.")
        out += [(p, number) for p in found]
    return out


def _balanced(group: list[tuple[Path, int]], count: int) -> list[tuple[Path, int]]:
    by_class: dict[int, list[tuple[Path, int]]] = {}
    for item in sorted(group, key=lambda item: _share(item[0])):
        by_class.setdefault(item[1], []).append(item)
    each = max(1, count // len(by_class))
    return sorted(item for members in by_class.values() for item in members[:each])


def _share(path: Path) -> float:
    """A number in [0, 1) from a file's class and name: the same on every machine and whatever else the folder holds."""
    digest = hashlib.sha256(f"{path.parent.name}/{path.name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _images(group: list[tuple[Path, int]], size: int, pool: ThreadPoolExecutor) -> Tensor:
    out = torch.empty(len(group), 3, size, size, dtype=torch.uint8)
    for i, image in enumerate(pool.map(lambda item: _image(item[0], size), group)):
        out[i] = torch.from_numpy(image).permute(2, 0, 1)
    return out


def rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB; 16 bits a pixel by their upper 8, which Pillow would cut off at 255 instead."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if "transparency" in image.info:  # a palette's, of which Pillow warns
        image = image.convert("RGBA")
    return image.convert("RGB")


def _image(path: Path, size: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            image = rgb(image)
            if image.size != (size, size):
                scale = size / min(image.size)
                image = image.resize([max(size, round(s * scale)) for s in image.size], Image.Resampling.BILINEAR)
                left, top = (image.width - size) // 2, (image.height - size) // 2
                image = image.crop((left, top, left + size, top + size))
            return np.asarray(image).copy()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        raise ReproError(f"The image {path} cannot be read ({e}): replace it or delete it.") from e

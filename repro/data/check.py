"""What a reader wants to know of a folder of images before a night of measuring: `repro data check FOLDER`."""

from __future__ import annotations

import statistics
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from repro.core.profiles import base, profile
from repro.data import folder, tree
from repro.errors import ReproError
from repro.loader.pictures import readable, rgb

THUMBNAIL = 16  # pixels a side of the gray picture by which images are compared
ALIKE = 0.998  # correlation of two such pictures from which on they count as one image
ORIENTATION = 0x0112  # the EXIF tag


@dataclass(frozen=True)
class Seen:
    """One file: its size in pixels and mode, whether its EXIF data turn it, its thumbnail (256,) of zero mean and length
    one; or why it cannot be read."""

    size: tuple[int, int] = (0, 0)
    mode: str = ""
    turned: bool = False
    thumbnail: np.ndarray | None = None
    broken: str = ""


def lines(path: Path) -> list[str]:
    """The report, a line each: how the folder is understood, its classes, what was passed over, files that cannot be
    read, sizes and modes, copies. Raises ReproError where the folder cannot be understood."""
    if not path.is_dir():
        raise ReproError(f"There is no folder {tree.shown(path)}: give one that holds class folders.")
    layout = tree.find(path)
    parts = folder.splits(layout)
    out = [f"{folder.title(path)}: {len(layout.classes)} classes, {sum(map(len, parts.values()))} images"]
    for split, group in parts.items():
        where = f"from {tree.shown(layout.splits[split].name)}/" if split in layout.splits else _origin(layout, split)
        counts = Counter(number for _, number in group)
        extent = f", {min(counts.values())} to {max(counts.values())} a class" if counts else ""
        out.append(f"{split}: {len(group)} images {where}{extent}")
    out += folder.remarks(path, layout, parts)
    items = [(split, p, number) for split, group in parts.items() for p, number in group]
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda item: look(item[1]), items))
    broken = [s.broken for s in seen if s.broken]
    whole = [(item, s) for item, s in zip(items, seen) if not s.broken]
    return [*out, *broken, *_pictures([s for _, s in whole]), *_alike(whole), *_plans(path, len(parts["train"]))]


def _origin(layout: tree.Layout, split: str) -> str:
    if not layout.splits:
        return "by a hash of each file's name (70, 10 and 20 %)"
    if split == "test":
        return f"from {tree.shown(layout.splits['val'].name)}/"
    return "from a tenth of train, by a hash of each file's name"


def look(path: Path) -> Seen:
    """Read one file whole."""
    try:
        with readable(path), Image.open(path) as image:
            size, mode = image.size, image.mode
            turned = image.getexif().get(ORIENTATION, 1) not in (0, 1)
            small = rgb(image).convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    except ReproError as e:
        return Seen(broken=str(e))
    thumbnail = np.asarray(small, np.float32).ravel()
    thumbnail -= thumbnail.mean()
    return Seen(size, mode, turned, thumbnail / max(float(np.linalg.norm(thumbnail)), 1e-6))


def _pictures(seen: list[Seen]) -> list[str]:
    if not seen:
        return []
    short = [min(s.size) for s in seen]
    modes = ", ".join(f"{count} {mode}" for mode, count in Counter(s.mode for s in seen).most_common())
    out = [f"shorter side: {min(short)} to {max(short)} pixels, median {statistics.median(short):g}; modes: {modes}"]
    turned = sum(s.turned for s in seen)
    if turned:
        out.append(f"{turned} images carry an EXIF orientation, which no loader here applies: turn them, if it matters")
    return out


def _alike(whole: list[tuple[tuple[str, Path, int], Seen]]) -> list[str]:
    """A sentence on test images that look like one of train."""
    known = [s for (split, _, _), s in whole if split == "train"]
    asked = [s for (split, _, _), s in whole if split == "test" and np.any(s.thumbnail)]
    if known and asked:
        bank = np.stack([s.thumbnail for s in known])
        alike = 0
        for start in range(0, len(asked), 256):
            near = np.stack([s.thumbnail for s in asked[start : start + 256]]) @ bank.T
            alike += int((near.max(1) > ALIKE).sum())
        if alike:
            return [f"{alike} of {len(asked)} test images look like an image of train (exact copies included)"]
    return []


def _plans(path: Path, count: int) -> list[str]:
    """What the profiles make of a folder that has `count` images to train on."""
    out = []
    for name in ("quick", "cpu", "gpu"):
        spec = base(profile(name, data=str(path)))
        used, side = min(count, dict(spec.data.options).get("images", count)), spec.data.size
        steps = f"{n} steps a run" if (n := used // spec.batch_size * spec.epochs) else "which is too few to train on"
        out.append(
            f"{name}: {used} of {count} train images as {side} x {side} pixels, of each the middle square, in memory; "
            f"{spec.backbone}, {spec.epochs} epochs in batches of {spec.batch_size}, {steps}"
        )
    return out

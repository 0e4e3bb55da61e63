"""Data in COCO's format: boxes, masks and keypoints, read from COCO's own folder or any other of its layout, checked, or
made: small scenes that stand in for COCO.

    FOLDER/annotations/instances_train2017.json, person_keypoints_train2017.json, and the same for val2017
    FOLDER/train2017/<image>, FOLDER/val2017/<image>

The year may be another or missing. Reading needs pycocotools, importing this does not.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import os
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from repro.core.datasets import COCO_SCENES as SCENES
from repro.core.datasets import root
from repro.core.io import disk_error
from repro.data import objects
from repro.errors import ReproError
from repro.loader.pictures import readable, rgb

KINDS = {"mask": "instances", "keypoint": "person_keypoints"}  # the files' names, as COCO has them
SPLITS = ("train", "val")
SLACK = 2.0  # pixels by which an annotation may lie over the image's edge: COCO's own are rounded

# The generated set: its categories' outlines, of radius 1, and the arrow's keypoints.
OUTLINES = {
    "disc": [(0.85 * math.cos(k * math.pi / 12), 0.85 * math.sin(k * math.pi / 12)) for k in range(24)],
    "square": [(-0.72, -0.72), (0.72, -0.72), (0.72, 0.72), (-0.72, 0.72)],
    "arrow": [(0.0, -1.0), (0.75, 0.75), (0.0, 0.3), (-0.75, 0.75)],
}
POINTS = ("tip", "right_barb", "tail", "left_barb")


@dataclass(frozen=True)
class Annotated:
    """One split with the annotations of one kind, checked. images: COCO's entries with at least their id, file_name,
    width and height; objects: by image id; categories: names by id; keypoints: their names, () for masks; sigmas: how
    far each may be off in COCO's metric, () for COCO's own."""

    file: Path
    folder: Path
    images: list[dict]
    objects: dict[int, list[dict]]
    categories: dict[int, str]
    keypoints: tuple[str, ...] = ()
    sigmas: tuple[float, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def picture(self, number: int) -> np.ndarray:
        """An image (H, W, 3) uint8. Raises ReproError for one that is broken or not of the size it is said to be."""
        entry = self.images[number]
        path = self.folder / entry["file_name"]
        with readable(path), Image.open(path) as image:
            pixels = np.asarray(rgb(image)).copy()
        if pixels.shape[:2] != (entry["height"], entry["width"]):
            raise ReproError(
                f"The image {path} has {pixels.shape[1]} x {pixels.shape[0]} pixels, but {self.file.name} says "
                f"{entry['width']} x {entry['height']}: it is not the image that was annotated."
            )
        return pixels

    def target(self, number: int) -> dict[str, Tensor]:
        """What torchvision's detectors learn from: boxes (N, 4) as corners, labels (N,) from 1 on in the order of the
        categories' ids, and masks (N, H, W) or keypoints (N, K, 3). Crowds are left out, as are objects without area
        or without a visible keypoint."""
        entry = self.images[number]
        label = {c: i for i, c in enumerate(sorted(self.categories), 1)}
        boxes, labels, masks, points = [], [], [], []
        for thing in self.objects.get(entry["id"], ()):
            x, y, w, h = thing["bbox"]
            box = (max(x, 0.0), max(y, 0.0), min(x + w, entry["width"]), min(y + h, entry["height"]))
            if thing.get("iscrowd") or box[2] - box[0] < 1 or box[3] - box[1] < 1:
                continue
            if self.keypoints:
                point = np.asarray(thing["keypoints"], np.float32).reshape(-1, 3)
                if not (point[:, 2] > 0).any():
                    continue
                points.append(point)
            else:
                masks.append(decode(thing["segmentation"], entry["height"], entry["width"]))
            boxes.append(box)
            labels.append(label[thing["category_id"]])
        shape = (0, entry["height"], entry["width"])
        out = {
            "boxes": torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
        }
        if self.keypoints:
            visible = np.stack(points) if points else np.empty((0, len(self.keypoints), 3), np.float32)
            return out | {"keypoints": torch.from_numpy(visible)}
        return out | {"masks": torch.from_numpy(np.stack(masks) if masks else np.empty(shape, np.uint8))}


def decode(segmentation: list | dict, height: int, width: int) -> np.ndarray:
    """A mask (height, width) uint8 of 0 and 1 from polygons or a run-length code."""
    mask, code = masks(), segmentation
    if isinstance(segmentation, list):
        code = mask.merge(mask.frPyObjects(segmentation, height, width))
    elif isinstance(segmentation["counts"], list):
        code = mask.frPyObjects(segmentation, height, width)
    return mask.decode(code)


def masks() -> ModuleType:
    """pycocotools' code of masks; its warning about NumPy 2 is none of the user's."""
    from pycocotools import mask

    warnings.filterwarnings("ignore", "__array__ implementation doesn't accept a copy", DeprecationWarning)
    return mask


def read(folder: Path, split: str, kind: str) -> Annotated:
    """A split ("train", "val") of a COCO-format folder with its "mask" or "keypoint" annotations.

    Raises ReproError, one sentence that names the file and what is wrong in it: a missing folder, file or image, no
    images, no objects, an unknown category or image, a box, mask or keypoints outside the image.
    """
    notes = folder / "annotations"
    if not notes.is_dir():
        raise ReproError(
            f"{folder} is not a folder in COCO's format: it needs annotations/ with {KINDS[kind]}_{split}2017.json, and "
            f"the images in {split}2017/."
        )
    files = sorted(notes.glob(f"{KINDS[kind]}_{split}*.json"))
    if not files:
        raise ReproError(f"{notes} lacks {KINDS[kind]}_{split}2017.json: complete the download.")
    file = files[0]
    named = file.stem.removeprefix(f"{KINDS[kind]}_")
    pictures = next((p for p in (folder / named, folder / "images" / named, folder / split) if p.is_dir()), None)
    if pictures is None:
        raise ReproError(f"{folder} lacks the folder {named} of the images of {file.name}: complete the download.")
    try:
        from pycocotools.coco import COCO

        with quiet():
            content = COCO(file)
        objects = [t for t in content.anns.values() if not t.get("iscrowd")]
        categories = {number: str(c["name"]) for number, c in content.cats.items()}
        sizes = {number: (i["width"], i["height"]) for number, i in content.imgs.items()}
        missing = [i["file_name"] for i in content.imgs.values() if not (pictures / i["file_name"]).is_file()]
    except OSError as e:
        raise ReproError(f"{file} cannot be read ({e.strerror}): check its permissions.") from e
    except (ValueError, KeyError, TypeError, AssertionError) as e:
        raise ReproError(f"{file} is not an annotation file of COCO's format ({e!r}): download it again.") from e
    for what, listed in (("images", sizes), ("categories", categories), ("objects", objects)):
        if not listed:
            raise ReproError(f"{file} lists no {what}: give one that does.")
    if missing:
        raise ReproError(
            f"{file.name} names {len(missing)} image{'s' * (len(missing) > 1)} that {pictures} lacks, {missing[0]} "
            "first: complete the download."
        )
    points, sigmas = _points(file, list(content.cats.values())) if kind == "keypoint" else ((), ())
    for thing in content.anns.values():
        if not _fits(thing, sizes, categories, len(points)):
            raise ReproError(
                f"{file}: annotation {thing['id']} must name a category and an image of this file, and have a box and "
                f"{'keypoints' if points else 'a mask'} that lie on the image: correct it."
            )
    images = list(content.imgs.values())
    return Annotated(file, pictures, images, dict(content.imgToAnns), categories, points, sigmas)


def _points(file: Path, categories: list[dict]) -> tuple[tuple[str, ...], tuple[float, ...]]:
    lists = {tuple(c.get("keypoints", ())) for c in categories}
    if len(lists) != 1 or not next(iter(lists)):
        raise ReproError(f"{file} needs one list of keypoints for all its categories and has {len(lists - {()})}.")
    (points,) = lists
    own = 17  # COCO's person, whose tolerances its metric knows
    return points, () if len(points) == own else tuple(categories[0].get("sigmas", (0.05,) * len(points)))


def _fits(thing: dict, sizes: dict[int, tuple[int, int]], categories: dict[int, str], points: int) -> bool:
    """Whether an object's category and image are known, and its box and its mask or `points` keypoints lie on the image.
    sizes: (width, height) by image."""
    try:
        size, whole = sizes[thing["image_id"]], thing["category_id"] in categories
        x, y, w, h = thing["bbox"]
        places, outline = [np.array([(x, y), (x + w, y + h)], float)], [] if points else thing["segmentation"]
        if points:
            given = np.array(thing["keypoints"], float).reshape(points, 3)
            places.append(given[given[:, 2] > 0, :2])
        elif isinstance(outline, dict):
            whole &= "counts" in outline and tuple(outline["size"]) == size[::-1]
        else:
            places += [np.array(polygon, float).reshape(-1, 2) for polygon in outline]
            whole &= len(places) > 1 and all(len(polygon) > 2 for polygon in places[1:])
    except (KeyError, TypeError, ValueError):
        return False
    # no comparison with NaN is true
    inside = all((p >= -SLACK).all() and (p <= np.add(size, SLACK)).all() for p in places)
    return whole and inside and w >= 0 and h >= 0


@functools.lru_cache(maxsize=4)
def load(name: str, split: str, kind: str, options: tuple[tuple[str, float], ...] = (), size: int = 0) -> Annotated:
    """A split by the data set's name: "coco-scenes" (made anew, of `size` pixels), "coco" (below the folder of prepared
    sets) or a folder's path. options: "images", how many train images at most; half as many for val."""
    if unknown := set(dict(options)) - {"images"}:
        raise ReproError(f"Data in COCO's format have no option {min(unknown)!r}: only images, how many at most.")
    limit = int(dict(options).get("images", 0))
    if name == SCENES:
        return read(Path(_made(size or 64, limit or 256).name), split, kind)
    whole = read(root() / "coco" if name == "coco" else Path(name), split, kind)
    if not limit:
        return whole
    with_objects = [i for i in whole.images if whole.objects.get(i["id"])]
    kept = with_objects[: limit if split == "train" else max(1, limit // 2)]
    return replace(whole, images=kept, objects={i["id"]: whole.objects[i["id"]] for i in kept})


@functools.cache
def _made(size: int, images: int) -> tempfile.TemporaryDirectory:
    """The generated set, in a folder that goes with this process."""
    folder = tempfile.TemporaryDirectory(prefix="coco-scenes-")
    try:
        write_scenes(Path(folder.name), images, max(16, images // 2), size)
    except ReproError:
        folder.cleanup()
        raise
    return folder


def write_scenes(folder: Path, train: int = 256, val: int = 128, size: int = 64) -> None:
    """Write small scenes in COCO's format: one to three shapes on a textured ground, with boxes, masks and, for the
    arrows, keypoints. Deterministic in its arguments. Raises ReproError where they are too small or cannot be written."""
    if size < 48 or train < 1 or val < 1:
        raise ReproError(f"Scenes with objects need 48 pixels a side and an image a split, not {size}, {train}, {val}.")
    try:
        (folder / "annotations").mkdir(parents=True, exist_ok=True)
        for number, (split, count) in enumerate((("train", train), ("val", val))):
            (folder / f"{split}2017").mkdir(exist_ok=True)
            _write_split(folder, split, count, size, number)
    except OSError as e:
        raise disk_error(e, folder) from e


def _write_split(folder: Path, split: str, count: int, size: int, seed: int) -> None:
    rng = np.random.Generator(np.random.PCG64([seed, 78]))
    grounds, colours = _grounds(count, size, rng)
    names = list(OUTLINES)
    images, things, arrows = [], [], []
    for number in range(count):
        entry = {"id": number + 1, "file_name": f"{number + 1:012}.png", "width": size, "height": size}
        images.append(entry)
        picture, fine = Image.fromarray(grounds[number]), 4
        picture = picture.resize((fine * size, fine * size), Image.Resampling.BICUBIC)
        pen = ImageDraw.Draw(picture)
        for cx, cy, radius in _places(size, rng):
            name = names[rng.choice(len(names), p=(0.25, 0.25, 0.5))]
            angle = rng.uniform(-0.5, 0.5)
            turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
            outline = np.array(OUTLINES[name]) @ turn * radius + (cx, cy)
            pen.polygon([(fine * float(px), fine * float(py)) for px, py in outline], fill=colours(number))
            low, high = outline.min(0), outline.max(0)
            x, y = outline[:, 0], outline[:, 1]
            area = 0.5 * abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1)))
            thing = {
                "id": len(things) + 1, "image_id": entry["id"], "category_id": names.index(name) + 1, "iscrowd": 0,
                "bbox": [round(float(v), 2) for v in (*low, *(high - low))], "area": round(area, 2),
            }  # fmt: skip
            things.append(thing | {"segmentation": [[round(float(v), 2) for v in outline.ravel()]]})
            if name == "arrow":
                points = [v for px, py in outline for v in (round(float(px), 2), round(float(py), 2), 2)]
                arrows.append(thing | {"keypoints": points, "num_keypoints": len(POINTS)})
        picture = picture.resize((size, size), Image.Resampling.BOX)
        noisy = np.asarray(picture, np.float32) + rng.normal(0, 5, (size, size, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(
            folder / f"{split}2017" / entry["file_name"], compress_level=1
        )
    categories = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
    arrow = categories[names.index("arrow")] | {"keypoints": list(POINTS), "sigmas": [0.1] * len(POINTS)}
    for kind, found, known in (("instances", things, categories), ("person_keypoints", arrows, [arrow])):
        content = {"images": images, "annotations": found, "categories": known}
        (folder / "annotations" / f"{kind}_{split}2017.json").write_text(json.dumps(content))


def _grounds(count: int, size: int, rng: np.random.Generator):
    """Textured grounds (count, size, size, 3) uint8 as the made-up objects have them, and each image's object colours,
    bright on dark or dark on bright."""
    axis = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")

    def draw(low, high):
        return rng.uniform(low, high, count).astype(np.float32)[:, None, None]

    bright = rng.uniform(size=count) < 0.5
    light, dark = rng.uniform(0.75, 1.0, count), rng.uniform(0.15, 0.4, count)
    ground = objects.hsv(rng.uniform(size=count), rng.uniform(0.2, 0.8, count), np.where(bright, dark, light))
    kinds = rng.integers(0, len(objects.TEXTURES), count)
    pattern = objects.textures(kinds, x, y, objects.waves(count, draw, rng))
    pixels = ground[:, None, None] * (1 + 0.3 * pattern[..., None])

    def colour(number: int) -> tuple[int, int, int]:
        value = rng.uniform(0.75, 1.0) if bright[number] else rng.uniform(0.15, 0.4)
        rgb = objects.hsv(np.array([rng.uniform()]), rng.uniform(0.5, 1.0, 1), np.array([value]))[0]
        return tuple(int(255 * v) for v in rgb)

    return (pixels.clip(0, 1) * 255).astype(np.uint8), colour


def _places(size: int, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """One to three discs (x, y, radius) that lie in the image and apart from each other."""
    placed: list[tuple[float, float, float]] = []
    for _ in range(rng.integers(1, 4)):
        for _ in range(20):
            radius = rng.uniform(0.15, 0.25) * size
            x, y = rng.uniform(radius, size - radius, 2)
            if all(math.hypot(x - a, y - b) > radius + r for a, b, r in placed):
                placed.append((float(x), float(y), float(radius)))
                break
    yield from placed


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """pycocotools tells its progress on standard output; nobody asked."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        yield

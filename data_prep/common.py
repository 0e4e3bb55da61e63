"""What the scripts of data_prep/ share: storing images as `.beton` files with a record of what is in them.

A prepared set is a folder `<root>/<name>/` with `train.beton`, `val.beton` or `test.beton`, and beside each a `.json`
that records what is in it: counts per class, how the images are stored, and the file's SHA-256. `repro.data.prepared`
reads it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import shutil
import socket
import sys
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from repro.core.datasets import DATASETS, record, root
from repro.core.io import write_atomic
from repro.cores import cores
from repro.data import tree as layout
from repro.errors import ReproError
from repro.loader import beton, jpeg
from repro.loader.pictures import readable, rgb

PATIENCE = 60.0  # seconds for a host that sends nothing


@dataclass(frozen=True)
class Items:
    """One split: image files, or pixels (N, H, W, 3) uint8; labels by task, one number each."""

    images: Sequence[Path] | np.ndarray
    labels: Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Storage:
    """How images are stored. resolution: the longer side is at most so many pixels, 0 as it is. quality: of the JPEGs
    that are made; those that need no change are kept byte for byte unless reencode. raw: share stored as plain pixels,
    which cost no decoding and about ten times the bytes."""

    resolution: int = 0
    quality: int = 90
    raw: float = 0.0
    reencode: bool = False

    def __post_init__(self) -> None:
        if self.resolution < 0 or not 1 <= self.quality <= 100 or not 0 <= self.raw <= 1:
            raise ReproError(
                "Storage takes a resolution of 0 or more, a quality from 1 to 100 and a raw share from 0 to 1: correct it."
            )


def encode(image: Path | np.ndarray, number: int, storage: Storage) -> beton.Encoded:
    """An image as it is stored. Raises ReproError that names a file which cannot be read."""
    raw = _share(number) < storage.raw
    if isinstance(image, np.ndarray):
        picture, data = Image.fromarray(image), b""
    else:
        # Pillow warns of metadata
        with warnings.catch_warnings(action="ignore"), readable(image), Image.open(image) as found:
            kind, mode = found.format, found.mode
            picture, data = rgb(found), image.read_bytes()
        if kind != "JPEG" or mode not in ("RGB", "L"):
            data = b""
    if storage.resolution and max(picture.size) > storage.resolution:
        scale = storage.resolution / max(picture.size)
        picture = picture.resize([max(1, round(s * scale)) for s in picture.size], Image.Resampling.BICUBIC)
        data = b""
    if raw:
        return beton.Encoded(picture.tobytes(), picture.height, picture.width, raw=True)
    if storage.reencode or not data or not jpeg.decodes(data, picture.width, picture.height):
        return beton.as_jpeg(picture, storage.quality)
    return beton.Encoded(data, picture.height, picture.width, raw=False)


def _share(number: int) -> float:
    """A number in [0, 1) for a sample, the same in every run."""
    return int(hashlib.sha256(str(number).encode()).hexdigest()[:12], 16) / 16**12


def prepare(
    out: Path,
    title: str,
    splits: Mapping[str, Items],
    classes: Mapping[str, Sequence[str]],
    storage: Storage,
    workers: int = 1,
    expect: Mapping[str, int] | None = None,
    quiet: bool = False,
    source: str = "",
) -> None:
    """Write each split of a data set as `<out>/<split>.beton` with its record; what is there and the same stays.

    classes: their names by task. expect: how many images each split must have, and "" all of them together. source: the
    folder that a reader may change, so that it is told. Raises
    ReproError for counts that do not fit, a class without images in train, an unreadable image, or a full disk.
    """
    state = layout.state(Path(source)) if source and Path(source).is_dir() else ""
    whole = sum(len(items.images) for items in splits.values())
    if expect and expect.get("", whole) != whole:
        raise ReproError(f"{title} has {expect['']} images, but {whole} were found: complete the download.")
    for split, items in splits.items():
        count = len(items.images)
        if expect and expect.get(split, count) != count:
            raise ReproError(
                f"{title} has {expect[split]} images in {split}, but {count} were found: complete the download, or delete "
                "what is too much."
            )
        counts = _counts(title, split, items, classes)
        identity = _identity(items, storage)
        file, about = out / f"{split}.beton", out / f"{split}.json"
        known = record(about) if file.exists() else {}
        if known.get("identity") != identity:
            with tqdm(total=count, unit="image", desc=f"{title}, {split}", disable=quiet, file=sys.stderr) as bar:
                beton.write(
                    file,
                    lambda i, items=items: encode(items.images[i], i, storage),
                    items.labels,
                    identity,
                    workers,
                    page=_page(items, storage),
                    tick=lambda done, bar=bar: bar.update(done - bar.n),
                )
            # reading a large file for its checksum takes minutes: stopped there, the next start goes on from here
            write_atomic(about, json.dumps({"identity": identity}))
        elif "sha256" in known:
            if known.get("state", "") != state:  # of images that are in another split
                write_atomic(about, json.dumps({**known, "state": state}, indent=1, ensure_ascii=False) + "\n")
            continue
        content = {
            "title": title,
            "split": split,
            "splits": list(splits),
            **({"source": source, "state": state} if source else {}),
            "images": count,
            "classes": {task: list(names) for task, names in classes.items()},
            "counts": counts,
            "resolution": storage.resolution,
            "quality": storage.quality,
            "raw": int((beton.read(file).kinds == beton.RAW).sum()),
            "bytes": file.stat().st_size,
            "sha256": checksum(file),
            "identity": identity,
        }
        write_atomic(about, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _counts(title: str, split: str, items: Items, classes: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Images of each class by task. Raises ReproError for an unknown class, and a class that train lacks."""
    out = {}
    for task, names in classes.items():
        labels = np.asarray(items.labels[task])
        out[task] = np.bincount(labels[labels >= 0], minlength=len(names)).tolist()
        if len(out[task]) > len(names):
            raise ReproError(f"{title}, {split}: a label of {task!r} lies beyond its {len(names)} classes.")
        if split == "train" and task == next(iter(classes)) and 0 in out[task]:
            missing = names[out[task].index(0)]
            raise ReproError(f"{title} has no image of class {missing!r} in train: complete the download.")
    return out


def _identity(items: Items, storage: Storage) -> str:
    digest = hashlib.sha256(repr((storage, sorted(items.labels))).encode())
    for labels in items.labels.values():
        digest.update(np.asarray(labels).tobytes())
    if isinstance(items.images, np.ndarray):
        some = items.images[:: max(1, len(items.images) // 64)]
        digest.update(str(items.images.shape).encode() + np.ascontiguousarray(some).tobytes())
    else:
        for path in items.images:
            status = path.stat()
            digest.update(os.fsencode(f"{path.name} {status.st_size} {status.st_mtime_ns}\n"))
    return digest.hexdigest()


def _page(items: Items, storage: Storage) -> int:
    """Pages of 8 MiB, FFCV's default; larger ones where a raw image needs it."""
    largest = 0
    if storage.raw and not isinstance(items.images, np.ndarray):
        for path in items.images:
            with contextlib.suppress(OSError), warnings.catch_warnings(action="ignore"), Image.open(path) as image:
                scale = min(1.0, storage.resolution / max(image.size)) if storage.resolution else 1.0
                largest = max(largest, 3 * math.prod(math.ceil(s * scale) for s in image.size))
    return max(1 << 23, 1 << math.ceil(math.log2(largest + 1)))


def checksum(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


# --- trees of files ---------------------------------------------------------------------------------------------------


def tree(folder: Path, classes: Sequence[str] = (), inner: str = "") -> tuple[Items, list[str]]:
    """`<folder>/<class>/[<inner>/]<image>`: the images in the order of their names, the label is the class's number.

    classes: which ones, in their order; all, sorted, if none are named. Raises ReproError for what is missing or empty.
    """
    if not folder.is_dir():
        raise ReproError(f"The folder {folder} is missing: give the folder that holds the images with --folder.")
    names = list(classes) or layout.folders(folder)
    if len(names) < 2:
        raise ReproError(f"{folder} has {len(names)} class folders and needs two or more: one sub-folder a class.")
    return labelled(layout.labelled(folder, names, Counter(), inner=inner)), names


def labelled(files: Iterable[tuple[Path, int]]) -> Items:
    """Items of (path, class number) pairs."""
    files = list(files)
    return Items([p for p, _ in files], {"label": [number for _, number in files]})


def take(items: Items, keep: Sequence[int]) -> Items:
    """The items numbered `keep`."""
    images = items.images[list(keep)] if isinstance(items.images, np.ndarray) else [items.images[i] for i in keep]
    return Items(images, {task: [values[i] for i in keep] for task, values in items.labels.items()})


def divide(items: Items) -> dict[str, Items]:
    """Train, val and test, 70 / 10 / 20, by a hash of each file's name: for sets that come without splits."""
    labels = next(iter(items.labels.values()))
    index = {path: i for i, path in enumerate(items.images)}
    parts = layout.divide(zip(items.images, labels))
    for split, part in parts.items():
        if not part:
            raise ReproError(f"So few images leave none for {split}: add some, or bring train/ and test/ folders.")
    return {split: take(items, [index[path] for path, _ in part]) for split, part in parts.items()}


# --- the scripts ------------------------------------------------------------------------------------------------------


def script(name: str, make: Callable[[argparse.Namespace], None], download: bool = False, **more: str) -> None:
    """Run a script of data_prep/: its options, one sentence for a problem with exit code 2. more: further options by
    name, with their help; a "!" in front makes one required."""
    title = DATASETS[name].title if name else "Any folder of class folders"
    parser = argparse.ArgumentParser(description=f"{title}: write .beton files with a record of what is in them.")
    parser.add_argument("--folder", type=Path, help="where the images are" + " or are downloaded to" * download)
    if download:
        parser.add_argument("--download", action="store_true", help="download from the official source first")
    parser.add_argument("--out", type=Path, help="where to (default: a folder of its name in $REPRO_DATA, or in data/)")
    parser.add_argument("--resolution", type=int, default=0, help="longer side in pixels (default: as it is)")
    parser.add_argument("--quality", type=int, default=90, help="of the JPEGs that are made (default: 90)")
    parser.add_argument("--reencode", action="store_true", help="make JPEGs anew that could be kept byte for byte")
    parser.add_argument("--raw", type=float, help="share stored as plain pixels (default: 1 for CIFAR, else 0)")
    parser.add_argument("--workers", type=int, default=0, help="threads (default: one a core)")
    for option, text in more.items():
        parser.add_argument(f"--{option}", required=text.startswith("!"), type=Path, help=text.lstrip("!"))
    args = parser.parse_args()
    try:
        if args.folder is None and not (download and args.download):
            raise ReproError(
                f"Say where {title} is: --folder FOLDER" + ", or --download." * download + "." * (not download)
            )
        args.out = args.out or root() / (name or args.folder.resolve().name)
        args.folder = args.folder or args.out / "download"
        args.workers = args.workers or cores()
        make(args)
    except ReproError as e:
        print(f"{parser.prog}: {e}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{parser.prog}: stopped; the same command goes on from here.", file=sys.stderr)
        sys.exit(130)


def finish(
    args: argparse.Namespace,
    title: str,
    splits: Mapping[str, Items],
    classes: Mapping[str, Sequence[str]],
    expect: Mapping[str, int] | None = None,
    raw: float = 0.0,
    source: str = "",
) -> None:
    """Prepare what a script found, as its options say, and tell where it is. raw: the share if --raw is not given."""
    storage = Storage(args.resolution, args.quality, raw if args.raw is None else args.raw, args.reencode)
    prepare(args.out, title, splits, classes, storage, args.workers, expect, source=source)
    for split in splits:
        about = record(args.out / f"{split}.json")
        print(
            f"{args.out / split}.beton: {about['images']} images, {about['bytes'] / 2**20:.1f} MiB, {about['sha256'][:12]}"
        )


def unpack(archive: Path, to: Path, folder: str) -> None:
    """Unpack a zip file so that its `folder` lies in `to` whole or not at all; its own checksums are compared."""
    part = to / f".{folder}.part"
    shutil.rmtree(part, ignore_errors=True)
    try:
        with zipfile.ZipFile(archive) as found:
            found.extractall(part)
        (part / folder).rename(to / folder)
    except FileNotFoundError:
        raise ReproError(f"{archive} does not hold the folder {folder}: it is another archive.") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as e:
        raise ReproError(f"{archive} cannot be unpacked ({e}): download it again, or free some space.") from e
    finally:
        shutil.rmtree(part, ignore_errors=True)


def packed(folder: Path, names: Sequence[str], archive: str, md5: str) -> bool:
    """Whether files `names` are still in their official archive, whose published MD5 is compared; False if all are
    there. Raises ReproError that names what is missing, or for another archive."""
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return False
    if not (folder / archive).is_file():
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise ReproError(
            f"{folder} lacks {missing[0]}{more}, and {archive} to unpack: add what is missing, or fetch all by --download."
        )
    with (folder / archive).open("rb") as f:
        if hashlib.file_digest(f, "md5").hexdigest() != md5:
            raise ReproError(f"{folder / archive} is not the official archive (its MD5 differs): download it again.")
    return True


def downloaded(get: Callable[[], object], what: str, url: str = "") -> object:
    """What a download gives. Raises ReproError where it fails, or where the host is silent for PATIENCE seconds."""
    socket.setdefaulttimeout(PATIENCE)
    try:
        return get()
    except (OSError, RuntimeError) as e:
        by_hand = f"fetch {url} by hand into a folder and give that" if url else "give a folder that has it"
        raise ReproError(f"{what} could not be downloaded ({e}): try again, or {by_hand} with --folder.") from e
    finally:
        socket.setdefaulttimeout(None)


def cifar(args: argparse.Namespace, dataset: type, title: str) -> None:
    """Prepare CIFAR-10 or -100 through torchvision's class `dataset`, losslessly; 50,000 train and 10,000 test images."""
    names = [dataset.meta["filename"], *(name for name, _ in dataset.train_list + dataset.test_list)]
    names = [f"{dataset.base_folder}/{name}" for name in names]
    fetch = args.download or packed(args.folder, names, dataset.filename, dataset.tgz_md5)
    sets = {
        split: downloaded(
            lambda train=split == "train": dataset(args.folder, train, download=fetch), title, dataset.url
        )
        for split in ("train", "test")
    }
    items = {split: Items(found.data, {"label": found.targets}) for split, found in sets.items()}
    expect = {"train": 50_000, "test": 10_000}
    finish(args, title, items, {"label": sets["train"].classes}, expect, raw=1.0)

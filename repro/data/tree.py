"""Folders of images as people lay them out: where the splits are, which folders are classes, which files are images.

What is no image is passed over and counted. What could be read in two ways is asked about, never guessed.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from repro.core.datasets import SPLITS
from repro.errors import ReproError
from repro.loader.pictures import shown as shown

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm"}
NAMES = {"training": "train", "trainval": "train", "testing": "test"}
NAMES |= dict.fromkeys(("valid", "validation", "validate", "dev"), "val")
SYSTEM = {"__macosx", "@eadir", "lost+found", "$recycle.bin", "system volume information", "#recycle", "thumbs.db"}
SYSTEM |= {"desktop.ini"}


@dataclass(frozen=True)
class Layout:
    """splits: the folder of each split that there is, () by name for none; classes: their names, sorted; files: (path,
    class number) of each split's images, "" for a folder without splits; passed: how many files were passed over, by
    reason."""

    splits: dict[str, Path]
    classes: list[str]
    files: dict[str, list[tuple[Path, int]]]
    passed: Counter = field(default_factory=Counter)


def find(path: Path) -> Layout:
    """The layout of a data folder: `PATH/<class>/...` or `PATH/<split>/<class>/...`, splits by their usual names in any
    case. Classes are those of train; images may lie at any depth below their class, behind links too. Raises ReproError
    that names what is missing, empty, or could be read in two ways."""
    splits, passed = _splits(path), Counter()
    if set(splits) == {"train"}:
        path, splits = splits["train"], {}
    whole = splits.get("train", path)
    names = folders(whole)
    if len(names) < 2:
        inside = (
            f"; give {whole / names[0]} if its folders are the classes" if names and folders(whole / names[0]) else ""
        )
        raise ReproError(
            f"{shown(whole)} holds {len(names)} class folders and needs two or more: one sub-folder a class{inside}."
        )
    if not splits:
        _not_splits_inside(whole, names)
    files = {}
    for split, where in (splits or {"": path}).items():
        strange = sorted(set(folders(where)) - set(names))
        if strange:
            raise ReproError(
                f"{shown(where)} holds the class {shown(strange[0])!r}, which {shown(whole)} does not: add or remove it."
            )
        files[split] = labelled(where, names, passed, complete=split in ("", "train"))
        if not files[split]:
            raise ReproError(f"{shown(where)} holds no images in class folders: sort them into the classes of train.")
    return Layout(splits, names, files, passed)


def labelled(
    folder: Path, names: Sequence[str], passed: Counter, complete: bool = True, inner: str = ""
) -> list[tuple[Path, int]]:
    """(path, class number) of the images in `folder/<class>/<inner>`, sorted by class and name. complete: raise
    ReproError for a class without images."""
    out = []
    for number, name in enumerate(names):
        where = folder / name / inner
        paths = images(where, passed)
        if not paths and complete:
            how = (
                "holds no images: add some, or remove the folder"
                if where.is_dir()
                else "is missing: complete the download"
            )
            raise ReproError(f"The class folder {shown(where)} {how}.")
        out += [(p, number) for p in paths]
    return out


def images(folder: Path, passed: Counter | None = None) -> list[Path]:
    """All images below a folder, sorted; links are followed, each folder once, and none back to what holds the folder."""
    out, seen = [], set(map(str, Path(os.path.realpath(folder)).parents))
    passed = Counter() if passed is None else passed
    for here, below, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(here)
        if real in seen:
            passed["links to folders that were seen"] += 1
            below.clear()
            continue
        seen.add(real)
        for name in [n for n in below if is_system(n)]:
            below.remove(name)
            passed["in hidden or system folders"] += sum(len(f) for _, _, f in os.walk(Path(here) / name))
        for name in files:
            path = Path(here) / name
            if is_system(name):
                passed["hidden or system files"] += 1
            elif path.suffix.lower() not in SUFFIXES:
                passed[f"of the ending {path.suffix.lower() or '(none)'}"] += 1
            elif not path.is_file():
                passed["broken links or no files"] += 1
            else:
                out.append(path)
    return sorted(out)


def state(folder: Path) -> str:
    """16 hex digits that are others when an image below a folder came, went, or was changed or replaced."""
    each = ((p, p.stat()) for p in images(folder))
    said = "".join(f"{p.relative_to(folder)} {s.st_size} {s.st_mtime_ns}\n" for p, s in each)
    return hashlib.sha256(os.fsencode(said)).hexdigest()[:16]


def folders(path: Path) -> list[str]:
    """The names of the folders in a folder, sorted, without hidden and system ones."""
    return sorted(p.name for p in _entries(path) if p.is_dir() and not is_system(p.name))


def _entries(path: Path) -> list[Path]:
    try:
        return list(path.iterdir())
    except OSError as e:
        return _refuse(e)


def _refuse(e: OSError) -> list[Path]:
    """[] for a folder that is not there; a folder that cannot be listed would be counted as empty."""
    if isinstance(e, (FileNotFoundError, NotADirectoryError)):
        return []
    raise ReproError(f"The folder {shown(e.filename)} cannot be read ({e.strerror}): check its permissions.") from e


def is_system(name: str) -> bool:
    """Whether a file or folder is an operating system's or a program's own."""
    return name.startswith(".") or name.lower() in SYSTEM


def split_of(name: str) -> str:
    """The split that a folder's name means, e.g. "val" for Validation or val_set; "" for none."""
    plain = re.sub(r"[ _.-]?(set|data|images|split)$", "", name.lower().strip())
    plain = re.sub(r"20\d\d$", "", plain)
    return NAMES.get(plain, plain if plain in SPLITS else "")


def _splits(path: Path) -> dict[str, Path]:
    """The folders of a data folder that are its splits: those named so that hold folders, and no images of their own."""
    there = folders(path)
    named = {name: split_of(name) for name in there if split_of(name) and not _holds_images(path / name)}
    if not named:
        return {}
    by_split: dict[str, Path] = {}
    for name, split in named.items():
        if split in by_split:
            raise ReproError(
                f"{shown(path)} holds {by_split[split].name}/ and {name}/, which both mean {split}: rename one of them."
            )
        by_split[split] = path / name
    if "train" not in by_split:
        if set(there) <= set(named):
            raise ReproError(
                f"{shown(path)} holds {there[0]}/ but no train/: add train/, with the same sub-folder a class."
            )
        return {}
    others = sorted(set(there) - set(named))
    if others:
        raise ReproError(
            f"{shown(path)} holds {by_split['train'].name}/ and beside it {shown(others[0])}/, which is no split of class "
            "folders: move it away, or rename it to val or test, with the same sub-folder a class."
        )
    return by_split


def _not_splits_inside(path: Path, names: list[str]) -> None:
    """Raise ReproError where the class folders' names look like splits', or all hold only folders, with names that are in
    each."""
    words = [next(filter(None, map(split_of, re.split("[^a-z]+", name.lower()))), "") for name in names]
    if len({split_of(name) for name in names} - {""}) > 1 or (all(words) and len(set(words)) > 1):
        raise ReproError(
            f"{shown(path)} holds {shown(names[0])}/ and {shown(names[1])}/, whose names are of splits and not of classes: "
            "give train/ and test/, with one sub-folder a class in each."
        )
    inner = [set(folders(path / name)) for name in names]
    same = sorted(set.intersection(*inner))
    if len(same) > 1 and not any(_holds_images(path / name) for name in names):
        raise ReproError(
            f"The folders of {shown(path)} hold only folders, {', '.join(map(shown, same[:3]))} in each of them, so that "
            "either could be the classes: give train/ and test/ with the class folders inside."
        )


def _holds_images(path: Path) -> bool:
    return any(p.suffix.lower() in SUFFIXES and not is_system(p.name) and p.is_file() for p in _entries(path))


def divide(files: Iterable[tuple[Path, int]], held: float = 0.0) -> dict[str, list[tuple[Path, int]]]:
    """Split images by a hash of each file's class and name, so that it is the same on every machine and whatever else the
    folder holds: 70 / 10 / 20 to train, val and test; with `held`, that share to val and the rest to train. A class that
    train would lack gives its first image to it."""
    limits = {"val": held, "train": 1.0} if held else {"train": 0.7, "val": 0.8, "test": 1.0}
    out: dict[str, list[tuple[Path, int]]] = {"train": [], "val": [], "test": []}
    missing: dict[int, tuple[Path, int]] = {}
    for item in files:
        chance = share(item[0])
        part = next(split for split, limit in limits.items() if chance < limit)
        out[part].append(item)
        if part != "train" and (item[1] not in missing or chance < share(missing[item[1]][0])):
            missing[item[1]] = item
    there = {number for _, number in out["train"]}
    moved = {number: item for number, item in missing.items() if number not in there}
    for part in ("val", "test"):
        out[part] = [item for item in out[part] if moved.get(item[1]) is not item]
    out["train"] += moved.values()
    out["train"].sort(key=lambda item: (item[1], item[0]))
    return out


def share(path: Path) -> float:
    """A number in [0, 1) from a file's class and name."""
    digest = hashlib.sha256(os.fsencode(f"{path.parent.name}/{path.name}")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def said(passed: Counter) -> str:
    """What was passed over, in words; "" for nothing."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(passed.items()))

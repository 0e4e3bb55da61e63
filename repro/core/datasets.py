"""The data sets that have a name, a row each, and what is prepared on this machine. No image is read here."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from repro.core import places

SPLITS = ("train", "val", "test")
FIELDS = {"title": str, "splits": list, "images": int, "classes": dict, "bytes": int, "sha256": str, "source": str}


@dataclass(frozen=True)
class Known:
    """title: its name in figures, which says when it is a stand-in. tasks: its label sets, the semantic one first, where
    they are not the classes alone. script: what prepares it, in data_prep/, with its arguments; an embedded set has none.
    images: to pretrain on, so that a plan can be counted without the set."""

    title: str
    tasks: tuple[str, ...] = ()
    script: str = ""
    images: int = 45_000  # CIFAR's, less its validation split

    @property
    def embedded(self) -> bool:
        return not self.script


DATASETS = {
    "objects": Known("made-up objects (stand-in)", ("class", "hue", "quadrant", "ground"), images=2_048),
    "digits": Known("scikit-learn digits (stand-in)", ("digit",), images=1_000),
    "digits-placed": Known("scikit-learn digits at random places (stand-in)", ("digit",)),
    "cifar10": Known("CIFAR-10", script="cifar10.py --download"),
    "cifar100": Known("CIFAR-100", script="cifar100.py --download"),
    "stl10": Known("STL-10", script="stl10.py --download", images=105_000),
    "tiny_imagenet": Known("Tiny ImageNet", script="tiny_imagenet.py --download", images=100_000),
    "imagenet100": Known("ImageNet-100", script="imagenet100.py --folder IMAGENET --classes LIST", images=126_689),
    "imagenet": Known("ImageNet-1k", script="imagenet.py --folder IMAGENET", images=1_281_167),
    "coco": Known("COCO", script="coco.py --folder COCO"),
    "eurosat": Known("EuroSAT", script="eurosat.py --download"),
    "clevr": Known("CLEVR (count and distance)", ("count", "distance"), "clevr.py --download"),
    "inaturalist": Known("iNaturalist", script="inaturalist.py --download"),
    "places365": Known("Places365", script="places365.py --download"),
}
COCO_SCENES = "coco-scenes"
COCO_TITLES = {COCO_SCENES: "scenes in COCO's format (stand-in)", "coco": "COCO"}
EMBEDDED = tuple(name for name, known in DATASETS.items() if known.embedded)
PREPARED = tuple(name for name, known in DATASETS.items() if not known.embedded)  # or can be


def root() -> Path:
    """The folder of prepared data sets: $REPRO_DATA, else ./data, else the checkout's data/."""
    if given := os.environ.get("REPRO_DATA"):
        return places.given(given)
    return Path("data").absolute() if Path("data").is_dir() else places.root() / "data"


def absolute(name: str) -> str:
    """A data set's name as it is; the path of a folder so that it means the same in every process."""
    known = name in DATASETS or is_prepared(name) or not (name and places.given(name).is_dir())
    return name if known else str(places.given(name))


def is_coco(path: str | Path) -> bool:
    """Whether a path is a folder of COCO's layout, and not one of class folders."""
    return bool(str(path)) and (Path(path) / "annotations").is_dir()


def records(name: str) -> dict[str, dict]:
    """What the records of a prepared set say, by split in the order train, val, test; {} for a file without a record,
    or with one that no script in data_prep/ wrote."""
    folder = root() / name
    found = {s: record(folder / f"{s}.json") for s in SPLITS if (folder / f"{s}.beton").is_file()}
    return {
        s: about if all(isinstance(about.get(k, t()), t) for k, t in FIELDS.items()) else {}
        for s, about in found.items()
    }


def record(path: Path) -> dict:
    """A record, or {} if it is missing or damaged."""
    try:
        known = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def is_prepared(name: str) -> bool:
    """Whether a prepared set of this name can be loaded: train and another split, and all that its records name."""
    there = records(name)
    return "train" in there and len(there) > 1 and not lacking(there)


def lacking(there: dict[str, dict]) -> list[str]:
    """The splits that the records of a set name and that are not there, as where preparing was stopped."""
    return sorted({split for about in there.values() for split in about.get("splits", ())} - there.keys())


def tasks(name: str) -> tuple[str, ...]:
    """The label sets of a data set, the semantic one first, without loading it. The single label set of a prepared set
    or of a folder is "class"."""
    if name in DATASETS and DATASETS[name].tasks:
        return DATASETS[name].tasks
    classes = next((r["classes"] for r in records(name).values() if "classes" in r), ("class",))
    return tuple("class" if task == "label" else task for task in classes) or ("class",)


def transferred(name: str) -> dict[str, str]:
    """What a run on other data calls the tasks of this set: "digits", but "objects_hue" where there are several."""
    own = tasks(name)
    return {name: own[0]} if len(own) == 1 else {f"{name}_{task}": task for task in own}


def in_files(name: str) -> bool:
    """Whether a data set is prepared as `.beton` files, or will be: no embedded one, and no folder of class folders."""
    coming = name in PREPARED and not (root() / name).is_dir()
    return name not in EMBEDDED and (coming or is_prepared(name))

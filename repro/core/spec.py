"""A training run as a value: frozen, hashable, equal to itself in every process.

A RunSpec says everything a run depends on, so that two runs with equal specs give equal numbers and a stored run can be
found again by its spec's `key`. Other experiments (the toys of `repro.theory`) bring their own frozen dataclass and use
the same `key`, `to_dict` and `flatten`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from repro.core.methods import Method, SimCLR, Untrained
from repro.core.own import Own, blamed
from repro.errors import ReproError
from repro.views.recipe import Recipe, preset


def whole(spec: Any, **least: int) -> None:
    """Raise ReproError for a field that is no whole number from its least value on."""
    for name, bound in least.items():
        value = getattr(spec, name)
        if not isinstance(value, int) or value < bound:
            raise ReproError(f"{name} must be a whole number from {bound} on, not {value!r}: correct it.")


def one_of(spec: Any, **choices: tuple[str, ...]) -> None:
    """Raise ReproError for a field that has none of its values."""
    for name, known in choices.items():
        if getattr(spec, name) not in known:
            kind, known = type(spec).__name__, ", ".join(filter(None, known))
            raise ReproError(f"{kind} has {name} {getattr(spec, name)!r}: choose from {known}.")


@dataclass(frozen=True)
class DataSpec:
    """A named data set, or the path of a folder of class folders.

    name: see `repro data list`; a path is taken as a folder with one sub-folder of images a class.
    size: pixels a side; 0 keeps the data set's own.
    fraction: share of the training images used for pretraining, class-balanced, nested over fractions. The probes
        always see all labels, whatever the fraction.
    options: knobs of a generated data set, as (name, value) pairs sorted by name.
    """

    name: str
    size: int = 0
    fraction: float = 1.0
    options: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Projector:
    """The MLP between backbone and loss: `layers` linear layers, hidden layers `width` wide, `dim` outputs."""

    layers: int = 2
    width: int = 128
    dim: int = 64


@dataclass(frozen=True)
class Optimiser:
    """name: "lars", "sgd" or "adamw". `lr` is the base rate: the run uses lr * batch / 256 with LARS and SGD, lr as it
    stands with AdamW (the convention of the papers' code). The schedule is linear warm-up, then cosine to `lr_end` of
    the peak, or "constant". One-dimensional parameters (biases, batch norm) get no weight decay and no LARS scaling.
    """

    name: str = "lars"
    lr: float = 1.0
    weight_decay: float = 1e-4
    momentum: float = 0.9
    eta: float = 0.001  # LARS's trust coefficient; 0.02 in common use for small images
    warmup: float = 0.1  # share of the run's steps
    schedule: str = "cosine"
    lr_end: float = 0.001


@dataclass(frozen=True)
class Probes:
    """What is read out of the frozen backbone, and how often.

    tasks: label sets to probe; () means all of the data set's.
    linear, mlp, knn: offline probes at the last epoch. every: also every so many epochs (0: at the end only).
    online: a linear probe trained along with the run, gradient cut, on the first task.
    spectrum: the features' eigenspectrum decay and RankMe, and at the end the projections' effective rank.
    labels: how many labelled train images the offline probes are fitted on, 0 for all; the same for every run, or with
        `redrawn` others for every seed, so that a spread over seeds has in it that of the labelled images.
    converged: the linear probe's penalties run from 1e-5 to 10, each solved to its minimum
        (`repro.ssl.probes.linear`), in place of 1e-3 to 0.1 at 40 iterations each, whose edge is often the best.
    averaged: at the last epoch also a linear probe on features averaged over so many views of each image, made by the
        run's own recipe (the small projectors paper's protocol, with 16); its numbers are named `averaged_...`.
    online_norm: the online probe sees features of zero mean and unit deviation by their running averages, as the offline
        probes do by the train features'.
    passes: at the last epoch also a linear and an MLP probe trained step by step for so many passes over the features;
        their validation accuracy after each pass goes to the curves `linear_pass_val_...` and `mlp_pass_val_...`.
    choices: at the last epoch also the linear probe by other protocols in use: `trainmode_...` on features with batch
        norm in train mode, `cropped_...` fitted on crops and flips of the images.
    depths: at the last epoch also a linear probe behind every layer of the projector: `layer1_...` and so on, as the
        FFCV-SSL authors' code has them.
    pairs: every so many steps, and before the first, the alignment of clean and of destroyed pairs (MSR's premise),
        among the curves; 0 for never.
    sgd: a published recipe of a linear probe by SGD, "moco" or "mean-shift" (`repro.ssl.probes.SGD_RECIPES`).
    lost: of a supervised run, by recipes of two views: how often it reads the first right and the second wrong.
    transfer: names of other data sets. At the last epoch also a linear probe on their labels, of their images at the
        run's own size and normalised as its own; the tasks are named by `repro.core.datasets.transferred`.
    """

    tasks: tuple[str, ...] = ()
    linear: bool = True
    mlp: bool = False
    knn: bool = False
    online: bool = False
    spectrum: bool = False
    every: int = 0
    labels: int = 0
    averaged: int = 0
    online_norm: bool = False
    passes: int = 0
    choices: bool = False
    depths: bool = False
    pairs: int = 0
    sgd: str = ""
    converged: bool = False
    redrawn: bool = False
    lost: tuple[Recipe, ...] = ()
    transfer: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        one_of(self, sgd=("moco", "mean-shift", ""))


@dataclass(frozen=True)
class Loading:
    """Where the training images come from.

    name: "memory" (decoded once, before the clock runs), or, at every step, from files through "ours" (the .beton
        loader) or "torchvision" (Pillow in worker processes), both with the same bytes.
    stored: pixels a side of the JPEG files, which are made of the data set once; 0 for its own size, and for the files of
        a prepared set as they are.
    ramp: () or (pixels, first, last): views of so many pixels up to epoch `first`, of the data's size from epoch `last`
        on, growing between them.
    fast: our loader's fast mode, whose colours differ a little.
    timed: from files, the run's time is what it is about: no other such run beside it on the machine.
    """

    name: str = "memory"
    stored: int = 0
    ramp: tuple[int, ...] = ()
    fast: bool = False
    timed: bool = True

    def __post_init__(self) -> None:
        one_of(self, name=("memory", "ours", "torchvision"))
        if len(self.ramp) not in (0, 3) or (self.ramp and self.name == "memory"):
            raise ReproError("A ramp has three numbers (pixels, first and last epoch), and needs loading from files.")
        if self.fast and self.name != "ours":
            raise ReproError(f"Only our loader has a fast mode, not {self.name}: leave it out.")


@dataclass(frozen=True)
class RunSpec:
    """One pretraining run and its probes. `steps`, if not 0, ends the run early at that many optimiser steps, with the
    schedule laid over them. joint: all views in one forward, so that batch norm sees them together."""

    data: DataSpec = DataSpec("objects")
    recipe: Recipe = field(default_factory=lambda: preset("simclr-small"))
    method: Method | Own = field(default_factory=SimCLR)
    backbone: str | Own = "convnet"
    projector: Projector = Projector()
    optimiser: Optimiser = Optimiser()
    batch_size: int = 256
    epochs: int = 15
    steps: int = 0
    seed: int = 0
    precision: str = "float32"
    joint: bool = True
    probes: Probes = Probes()
    loading: Loading = Loading()

    def __post_init__(self) -> None:
        whole(self, batch_size=2, epochs=1, steps=0)  # a batch of one has no negatives and no variance
        if not 0 < self.data.fraction <= 1:
            raise ReproError(f"The data's fraction must lie in (0, 1], not {self.data.fraction}: correct it.")
        one_of(self, precision=("float32", "bfloat16"))
        if isinstance(self.method, Own):
            with blamed(self.method.file):  # a knob with the name of a run's field
                flatten(self)

    @property
    def timed(self) -> bool:
        """Whether the run's time is what it is about, so that no other of that kind may run beside it."""
        return self.loading.name != "memory" and self.loading.timed

    def but(self, **values: Any) -> RunSpec:
        """The spec with other values, each named like its column in a frame: a field of the run or of one of its parts,
        as in but(batch_size=64, lr=0.4, temperature=0.2), or a part's name, as in but(optimiser="adamw")."""
        spec = self
        for name, value in values.items():
            part, inner = name, ""
            if name in PARTS and isinstance(value, str):
                inner = "name"
            elif not hasattr(spec, name):
                part, inner = next((p for p in PARTS if hasattr(getattr(spec, p), name)), ""), name
                if not part:
                    raise ValueError(f"neither a run nor one of its parts has a field {name!r}")
            spec = replace(spec, **{part: replace(getattr(spec, part), **{inner: value}) if inner else value})
        return spec

    def grid(self, **levels: Sequence[Any]) -> list[RunSpec]:
        """Every combination of levels, each axis named as for `but`; the last axis moves fastest."""
        return [self.but(**dict(zip(levels, values))) for values in itertools.product(*levels.values())]


def trains(spec: Any) -> bool:
    """Whether it is a run that trains, and so has weights and a cost."""
    return isinstance(spec, RunSpec) and not isinstance(spec.method, Untrained)


def data_names(spec: Any) -> list[str]:
    """The names of a spec's data, of those that it is probed on, too, and of those of the run that it starts from."""
    own = [s.data.name for s in (spec, getattr(spec, "start", None)) if hasattr(s, "data")]
    return [*own, *getattr(spec, "probes", Probes()).transfer]


PARTS = ("data", "method", "projector", "optimiser", "probes", "loading")


@dataclass(frozen=True)
class DetectSpec:
    """One fine-tuning of a detector with a feature pyramid on data in COCO's format, from the backbone that the run
    `start` trained (with the method Untrained: from random weights).

    task: "mask" (Mask R-CNN: boxes and masks) or "keypoint" (Keypoint R-CNN: boxes and keypoints). steps: of the 1x
    schedule; the rate is warmed up, then lowered tenfold after 2/3 and after 8/9 of steps * schedule. data.size: the
    images' shorter side. heads: "full" (as published) or "small" (for a CPU). batch_norm is trained, in the backbone
    and in the pyramid, as MoCo and its followers do. optimiser: "sgd" (momentum .9), or "adamw" for runs of few steps.
    """

    start: RunSpec = field(default_factory=RunSpec)
    data: DataSpec = DataSpec("coco-scenes", 64)
    task: str = "mask"
    schedule: float = 1.0
    steps: int = 90_000
    batch_size: int = 16
    optimiser: str = "sgd"
    lr: float = 0.02
    weight_decay: float = 1e-4
    heads: str = "full"
    seed: int = 0

    def __post_init__(self) -> None:
        whole(self, batch_size=1, steps=1)
        one_of(self, task=("mask", "keypoint"), optimiser=("sgd", "adamw"), heads=("small", "full"))
        if not (self.schedule > 0 and self.lr > 0):
            raise ReproError(f"Schedule and rate must be positive, not {self.schedule} and {self.lr}: correct them.")


def to_dict(spec: Any, defaults: bool = True) -> Any:
    """A spec as JSON-able values; each dataclass becomes a dict with its class name under "type".

    With `defaults=False` fields that hold their default are left out.
    """
    if dataclasses.is_dataclass(spec):
        out = {"type": type(spec).__name__}
        for f in dataclasses.fields(spec):
            value = getattr(spec, f.name)
            if not defaults and (value == _default(f) or not f.compare):
                continue
            if f.type in ("float", float) and type(value) is int:
                value = float(value)  # equal specs have one key: 1 and 1.0 are equal, and JSON tells them apart
            out[f.name] = to_dict(value, defaults)
        return out
    if isinstance(spec, (tuple, list)):
        return [to_dict(v, defaults) for v in spec]
    return spec


def _default(f: dataclasses.Field) -> Any:
    if f.default_factory is not dataclasses.MISSING:
        return f.default_factory()
    return f.default  # MISSING equals no value


def key(spec: Any) -> str:
    """16 hex digits that name a spec, the same in every process.

    Fields at their default are left out of the hash, so that a new option leaves the stored runs of old specs valid; so
    are those that do not count when specs are compared (where a reader's file lies).
    """
    text = json.dumps(to_dict(spec, defaults=False), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def flatten(spec: Any) -> dict[str, Any]:
    """A spec (or its `to_dict`) as plain columns for a frame.

    A nested dataclass gives one column of its own name (its `name` field, else its class name) and one for each of its
    other fields; (name, value) options become columns; lists of dataclasses (a recipe's views) are left out, since
    their recipe has a name. Of a run inside another spec only method, backbone and length are kept.
    """
    tree = spec if isinstance(spec, dict) else to_dict(spec)
    out: dict[str, Any] = {}

    def put(name: str, value: Any) -> None:
        if name in out:
            raise ValueError(f"two fields of {tree['type']} flatten to the column {name!r}")
        out[name] = value

    for name, value in tree.items():
        if name == "type":
            continue
        if isinstance(value, dict) and value["type"] == "RunSpec":
            put(name, value["method"]["type"])
            put("backbone", value["backbone"])
            put(f"{name}_epochs", value["epochs"])
        elif isinstance(value, dict):
            put(name, value.get("name", value["type"]))
            for inner, v in value.items():
                if inner in ("type", "name") or (isinstance(v, list) and v and isinstance(v[0], dict)):
                    continue
                if inner == "options":
                    for option, option_value in v:
                        put(option, option_value)
                elif value["type"] == "Own":  # a method's and a backbone's stand side by side
                    put(f"{name}_{inner}", v)
                elif isinstance(v, dict):
                    put(inner, json.dumps(v))
                else:
                    put(inner, tuple(v) if isinstance(v, list) else v)
        else:
            put(name, tuple(value) if isinstance(value, list) else value)
    return out

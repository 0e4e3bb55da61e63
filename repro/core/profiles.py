"""The five scales a claim can be measured at. A claim's plan reads the scale from here; its grid is its own.

| profile | data | who |
| --- | --- | --- |
| smoke | embedded, tiny | CI; mechanics only, never judged |
| quick | embedded, 5 seeds | anybody: minutes on a laptop's CPU |
| cpu | CIFAR-10, a fifth of it, 5 seeds or more | any computer, overnight |
| gpu | CIFAR-10 or any prepared set, 3 seeds | one GPU, about ten minutes a notebook |
| paper | the papers' own | a cluster |
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from repro.core import own
from repro.core.datasets import DATASETS, EMBEDDED, PREPARED, absolute, in_files, tasks
from repro.core.methods import SimCLR
from repro.core.spec import DataSpec, Loading, Optimiser, Probes, Projector, RunSpec
from repro.errors import ReproError
from repro.views.recipe import Recipe, preset


@dataclass(frozen=True)
class Profile:
    """data: the pretraining set. backbone: see `repro.ssl.networks.BACKBONES`. size: pixels a side. epochs: of a standard
    run. seeds: runs a cell, and first the first of them. precision: of the forward pass. looks: how often the seeds may be
    looked at and more be added. judged: whether a verdict may be given at all. method, recipe: a reader's own, where a plan
    has a place for them (`repro.core.own`); the recipe is that of the standard run."""

    name: str
    data: str
    size: int
    backbone: str | own.Own
    epochs: int
    seeds: int
    precision: str = "float32"
    looks: int = 1
    judged: bool = True
    method: own.Own | None = None
    recipe: Recipe | None = None
    first: int = 0

    @property
    def small(self) -> bool:
        """Whether its runs take seconds of a CPU: the networks are tiny, and rates and weights are their own."""
        return self.name in ("smoke", "quick")

    @property
    def made_up(self) -> bool:
        """Whether its images are the objects that this package draws, which have crops, labels and knobs of their own."""
        return self.data == "objects"


QUICK_IMAGES = 4096  # of a reader's own data set; enough for a look on a laptop
CPU_IMAGES = 10_000  # to pretrain on at cpu, and as many labels: a run takes a minute
PROFILES = {
    p.name: p
    for p in (
        Profile("smoke", data="objects", size=16, backbone="convnet", epochs=1, seeds=2, judged=False),
        Profile("quick", data="objects", size=16, backbone="convnet-thin", epochs=7, seeds=5),
        Profile("cpu", data="cifar10", size=32, backbone="convnet4", epochs=10, seeds=5, looks=2),
        Profile("gpu", data="cifar10", size=32, backbone="resnet18", epochs=50, seeds=3, precision="bfloat16"),
        Profile("paper", data="imagenet", size=224, backbone="resnet50", epochs=100, seeds=3, precision="bfloat16"),
    )
}


def profile(
    name: str, data: str = "", backbone: str = "", seeds: int = 0, method: str = "", recipe: str = ""
) -> Profile:
    """The profile `name`, with what a reader changed; "" and 0 keep the profile's own. backbone, method and recipe may name
    something in a file, as in "my_method.py:MyLoss"."""
    if name not in PROFILES:
        raise ReproError(f"Unknown profile {name!r}: choose one of {', '.join(PROFILES)}.")
    if seeds < 0:
        raise ReproError(
            f"seeds counts the runs of a cell and cannot be {seeds}: give 0 for the profile's own, or more."
        )
    changes = {
        k: v for k, v in {"data": absolute(data), "backbone": own.backbone(backbone), "seeds": seeds}.items() if v
    }
    changes |= {"method": own.method(method)} if method else {}
    changes |= {"recipe": own.recipe(recipe)} if recipe else {}
    if data and data not in EMBEDDED and PROFILES[name].size < 32:
        changes["size"] = 32  # a folder of images says little at 16 pixels
    return replace(PROFILES[name], **changes)


def _at_most(data: DataSpec, images: int) -> DataSpec:
    """A share of a known set of so many images, drawn by each run's seed; of a reader's own, so many at most."""
    if data.name in PREPARED:
        return replace(data, fraction=min(1.0, images / DATASETS[data.name].images))
    return data if data.name in EMBEDDED else replace(data, options=(("images", images),))


TRANSFER = {  # at paper Fig. 2's of the FFCV-SSL paper, but for iNaturalist, whose classes the probe's memory does not hold
    "cpu": ("tiny_imagenet", "digits", "objects"),
    "paper": ("cifar10", "clevr", "eurosat", "places365"),
}


def several(profile: Profile) -> dict[str, tuple[str, ...]]:
    """The probes of a claim about several tasks, for `RunSpec.but`: all tasks of the profile's data, and, unless these are a
    reader's own, those of the other sets in TRANSFER."""
    own = profile.data == PROFILES[profile.name].data
    return {"tasks": tasks(profile.data), "transfer": TRANSFER.get(profile.name, ()) if own else ()}


def base(profile: Profile, **changes: Any) -> RunSpec:
    """The profile's standard SimCLR run, from which a claim varies what it is about.

    smoke, quick: a small convolutional net on 16 px stand-ins, 512 labels for the probes, of made-up objects 2048 drawn by
    seed. Objects are cropped to half of their area at least, since a smaller crop cuts one to pieces; all else is cropped
    as the papers do. quick reads all tasks of a set.
    cpu: CPU_IMAGES photographs, drawn by seed, and as many labels; the rate of 0.4, 1.2 and 4 that validated best at a
    seed that is not used again.
    gpu: the common CIFAR recipe (solo-learn's LARS, projector 512-2048-256). paper: FFCV-SSL's ImageNet recipe; a
    prepared set is read from its own files at every step, so that views are cut from whole images.
    """
    named = tasks(profile.data)
    spec = RunSpec(
        data=DataSpec(profile.data, profile.size),
        recipe=preset("simclr-small", crop=(0.5, 1.0)) if profile.made_up else preset("simclr-small"),
        method=SimCLR(temperature=0.2),
        backbone=profile.backbone,
        epochs=profile.epochs,
        precision=profile.precision,
        probes=Probes(tasks=named if profile.name == "quick" else named[:1]),
    )
    if profile.small:
        images = 256 if profile.name == "smoke" else QUICK_IMAGES
        objects, embedded = profile.made_up, profile.data in EMBEDDED and profile.name == "quick"
        whole = profile.data == "digits" or (embedded and not objects)
        options = () if whole else (("images", images),)
        spec = replace(
            spec,
            data=replace(spec.data, options=options),
            projector=Projector(2, 128, 64),
            optimiser=Optimiser("lars", lr=1.2, eta=0.02),
            batch_size=64,
            probes=replace(spec.probes, labels=2048 if objects else 512, converged=objects, redrawn=objects),
        )
    elif profile.name == "cpu":
        spec = replace(
            spec,
            data=_at_most(spec.data, CPU_IMAGES),
            projector=Projector(2, 512, 128),
            optimiser=Optimiser("lars", lr=1.2, eta=0.02),
            batch_size=128,
            probes=replace(spec.probes, labels=CPU_IMAGES, converged=True, redrawn=True),
        )
    elif profile.name == "gpu":
        spec = replace(spec, projector=Projector(2, 2048, 256), optimiser=Optimiser("lars", lr=0.4, eta=0.02))
    else:
        spec = replace(
            spec,
            recipe=preset("ffcv-ssl"),
            projector=Projector(3, 2048, 256),
            optimiser=Optimiser("lars", lr=1.0, eta=0.001),
            loading=Loading("ours", timed=False) if in_files(profile.data) else Loading(),
        )
    return replace(spec, **({"recipe": profile.recipe} if profile.recipe else {}) | changes)

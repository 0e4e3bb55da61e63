"""The four scales a claim can be measured at. A claim's plan reads the scale from here; its grid is its own.

| profile | data | who |
| --- | --- | --- |
| smoke | embedded, tiny | CI; mechanics only, never judged |
| quick | embedded, 5 seeds | anybody: minutes on a laptop's CPU |
| gpu | CIFAR-10 or any prepared set, 3 seeds | one GPU, about ten minutes a notebook |
| paper | the papers' own | a cluster |
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from repro.errors import ReproError


@dataclass(frozen=True)
class Profile:
    """data: the pretraining set. backbone: see `repro.networks.BACKBONES`. size: pixels a side. epochs: of a standard
    run. seeds: runs a cell. precision: of the forward pass. judged: whether a verdict may be given at all."""

    name: str
    data: str
    size: int
    backbone: str
    epochs: int
    seeds: int
    precision: str = "float32"
    judged: bool = True


PROFILES = {
    p.name: p
    for p in (
        Profile("smoke", data="scenes", size=16, backbone="convnet", epochs=1, seeds=2, judged=False),
        Profile("quick", data="scenes", size=16, backbone="convnet", epochs=15, seeds=5),
        Profile("gpu", data="cifar10", size=32, backbone="resnet18", epochs=50, seeds=3, precision="bfloat16"),
        Profile("paper", data="imagenet", size=224, backbone="resnet50", epochs=100, seeds=3, precision="bfloat16"),
    )
}


def profile(name: str, **changes: object) -> Profile:
    """The profile `name`, with fields a reader changed (None and "" and 0 leave them as they are)."""
    if name not in PROFILES:
        raise ReproError(f"Unknown profile {name!r}: choose one of {', '.join(PROFILES)}.")
    return replace(PROFILES[name], **{k: v for k, v in changes.items() if v})

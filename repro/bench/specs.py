"""What the benchmarks measure, as values: claims about time plan them, and reading their results needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from repro.core.spec import DataSpec, whole

FORMS = ("invariance", "vicreg", "barlow")  # objectives of `repro.bench.loss`


@dataclass(frozen=True)
class LossSpec:
    """`views` views of `images` images, `dim`-dimensional projections; each way is timed `repeats` times.

    metrics: identity_error, the relative difference of the invariance against the mean and over all pairs, in float64;
    identity_error_single, in float32; vicreg_error, of VICReg as a whole, in float64; and for each of FORMS and each
    way, <form>_<way>_mb, the megabytes kept for the backward pass. In the provenance, as they differ from one
    measurement to the next: <form>_<way>_ms, the median, and <form>_ratio, the median ratio of pairs to mean.
    """

    views: int = 4
    images: int = 256
    dim: int = 256
    repeats: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        whole(self, views=2, images=2, dim=2, repeats=1)


@dataclass(frozen=True)
class StepSpec:
    """Steps on random images of `size` pixels, `repeats` turns of TURN steps each way.

    metrics: parameters, the number of the trained ones. In the provenance, as they differ from one measurement to the
    next: for each of WAYS <way>_ms, the median of a step, and views_<way>_ms, of its views alone; msr_ratio and
    independent_ratio, and the same of the views, are medians over turns of the time over BYOL's in the same turn;
    staged_ratio is staged views over four independent ones.
    """

    backbone: str = "convnet"
    size: int = 16
    batch_size: int = 64
    width: int = 128  # of the projector, and its outputs
    dim: int = 64
    precision: str = "float32"
    repeats: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        whole(self, size=8, batch_size=2, repeats=1)


@dataclass(frozen=True)
class ViewsSpec:
    """Two views of `count` images by each of the stacks of `repro.views.recipe.STACKS`, cropped to `crop` of the area;
    `repeats` times in turn.

    In the provenance, as times differ from one measurement to the next: for each stack us_<stack>, the median
    microseconds a view, and cost_<stack>, the median ratio to the first stack. On a CPU they are the process's own CPU
    time in one thread, which busy neighbours do not lengthen.
    """

    data: DataSpec
    crop: tuple[float, float] = (0.2, 1.0)
    count: int = 512
    repeats: int = 7
    seed: int = 0

    def __post_init__(self) -> None:
        whole(self, count=1, repeats=1)

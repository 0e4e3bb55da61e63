"""The methods' hyper-parameters as frozen values; what each does with them is in `repro.ssl.methods`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from repro.errors import ReproError


@dataclass(frozen=True)
class SimCLR:
    temperature: float = 0.2


@dataclass(frozen=True)
class BarlowTwins:
    lambda_: float = 0.0051
    scale: float = 0.1


@dataclass(frozen=True)
class VICReg:
    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0


@dataclass(frozen=True)
class BarlowMultiView:
    """Barlow Twins against the mean of any number of views, as the authors of the small projectors paper code it; beta
    of order 1 / projector dimension. against_mean: two views too, which the authors compare with each other."""

    beta: float = 0.02
    against_mean: bool = False


@dataclass(frozen=True)
class VICRegMultiView:
    """VICReg against the mean of the other views, as the same authors code it."""

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0


@dataclass(frozen=True)
class BYOL:
    """ema rises from its value to 1 by a cosine over the run (Grill et al. 2020)."""

    ema: float = 0.99


@dataclass(frozen=True)
class SimSiam:
    pass


@dataclass(frozen=True)
class MoCo:
    """MoCo v2: EMA keys without gradient, negatives from a queue of past keys; symmetric over the two views."""

    temperature: float = 0.2
    ema: float = 0.99
    queue: int = 4096


DECAYS = ("cosine", "fixed", "linear", "rising")  # linear and rising (the cosine backwards) are for comparison


@dataclass(frozen=True)
class MSR:
    """BYOL with aggressive views through the online network and weak ones through the target (MSR paper, Eqs. 3 to 6):
    views (weak 1, weak 2, aggressive 1, aggressive 2), the recipe "msr".

    beta: the weight of the pair of aggressive views at the start; 1 - beta is that of the aggressive and weak pairs.
    decay: how beta moves over the steps, one of DECAYS; "cosine" is Eq. 6, "fixed" keeps it.
    stop: whether the gradient stops at the other view's prediction, as in the authors' code; Eq. 5 does not say so.
    ema: as BYOL's.
    through_target: whether the aggressive views go through the target as well, whose projection is then in the place of the
        other view's prediction (Sec. 3.2).
    """

    beta: float = 0.4
    decay: str = "cosine"
    stop: bool = True
    ema: float = 0.99
    through_target: bool = False

    def __post_init__(self) -> None:
        _check_beta(self)


@dataclass(frozen=True)
class SimSiamMSR:
    """MSR on SimSiam (MSR paper, Table 8): the weak views go through the online network, without gradient."""

    beta: float = 0.4
    decay: str = "cosine"
    stop: bool = True

    def __post_init__(self) -> None:
        _check_beta(self)


def _check_beta(method: MSR | SimSiamMSR) -> None:
    if not 0 <= method.beta <= 1:
        raise ReproError(f"MSR's beta is a weight in [0, 1], not {method.beta}: correct it.")
    if method.decay not in DECAYS:
        raise ReproError(f"Unknown decay {method.decay!r}: choose one of {', '.join(DECAYS)}.")


@dataclass(frozen=True)
class InstanceSimCLR:
    """SimCLR on one image at a time (FFCV-SSL paper, Sec. 3.4): views are the image, its positive (the image under
    noise) and its only negative (a small patch of it); `repro.views.recipe.instance` makes them."""

    temperature: float = 0.2


@dataclass(frozen=True)
class Supervised:
    """Cross-entropy on the labels of the first probed task, of every view: what others are compared with. The projector
    is the classifier: one layer, with an output a class or more."""


@dataclass(frozen=True)
class Untrained:
    """No training at all: the random encoder, or raw pixels with the backbone "pixels". The floors of every figure."""


Trained = SimCLR | BarlowTwins | VICReg | BarlowMultiView | VICRegMultiView | BYOL | SimSiam | MoCo | InstanceSimCLR
Method = Trained | MSR | SimSiamMSR | Supervised | Untrained
METHODS = {m.__name__.lower(): m for m in get_args(Trained)}


def named(method: object) -> str:
    """A method's name: its class's, or that of a reader's own."""
    return getattr(method, "name", type(method).__name__)

"""The methods: their hyper-parameters as frozen values, and how each turns views into a loss.

`Learner` holds the networks a method trains; `loss` is the whole of a method, one branch each, readable side by side.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.errors import ReproError
from repro.ssl import losses, networks


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
    of order 1 / projector dimension."""

    beta: float = 0.02


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
    """

    beta: float = 0.4
    decay: str = "cosine"
    stop: bool = True
    ema: float = 0.99

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


def beta_at(method: MSR | SimSiamMSR, progress: float | Tensor) -> float | Tensor:
    """MSR's beta when the share `progress` in [0, 1] of the steps is done; a tensor from a tensor."""
    cos = torch.cos if isinstance(progress, Tensor) else math.cos
    down = (cos(math.pi * progress) + 1) / 2
    return method.beta * {"cosine": down, "fixed": 1.0, "linear": 1 - progress, "rising": 1 - down}[method.decay]


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
PREDICTOR = (BYOL, SimSiam, MSR, SimSiamMSR)
TARGET = (BYOL, MoCo, MSR)
RISING = (BYOL, MSR)  # their ema rises to 1
VIEWS = {BYOL: 2, SimSiam: 2, MoCo: 2, InstanceSimCLR: 3}  # the others of METHODS take two or more
STAGED = (MSR, SimSiamMSR)  # not among METHODS: they take two weak views and two made from them


class Learner(nn.Module):
    """backbone, projector and, where the method has them, predictor, EMA target and queue."""

    def __init__(self, backbone: nn.Module, features: int, projector, method: Method):
        super().__init__()
        self.method, self.features = method, features
        self.backbone = backbone
        # SimSiam needs the batch norm at its projector's output (Chen & He 2021, Table 3)
        self.projector = networks.mlp(features, projector, last_norm=isinstance(method, (SimSiam, SimSiamMSR)))
        dim = projector.dim if projector.layers else features
        if isinstance(method, PREDICTOR):
            self.predictor = networks.mlp(dim, type(projector)(2, projector.width, dim))
        if isinstance(method, TARGET):
            self.target = copy.deepcopy(nn.Sequential(backbone, self.projector)).requires_grad_(False)
        if isinstance(method, MoCo):
            self.register_buffer("queue", torch.randn(method.queue, dim))

    def trained(self) -> list[nn.Parameter]:
        return [p for p in self.parameters() if p.requires_grad]


def loss(
    learner: Learner,
    views: Tensor,
    joint: bool = True,
    progress: float | Tensor = 0.0,
    labels: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The method's loss on views (V, B, 3, H, W), and the backbone's features (V, B, F) without gradient, those of the
    aggressive views alone for the STAGED methods. progress: share of the steps done, in [0, 1]. labels (B,): seen by Supervised
    alone.

    joint: all views in one forward, so that batch norm sees them together; else one forward a view, as the authors of
    Barlow Twins, VICReg, BYOL and SimSiam do. Projections and losses are in float32 whatever the precision of the
    networks, under autocast as well.
    """
    method = learner.method
    wanted = VIEWS.get(type(method), len(views))
    if len(views) != wanted:
        word = {2: "two", 3: "three"}[wanted]
        raise ReproError(f"{type(method).__name__} takes {word} views, not {len(views)}: choose a recipe of {word}.")
    if len(views) < 2 and not isinstance(method, Supervised):
        raise ReproError(f"{type(method).__name__} compares views and needs two or more: choose another recipe.")
    if isinstance(method, STAGED):
        if len(views) != 4:
            raise ReproError(
                f"{type(method).__name__} takes two weak views and two made from them: choose recipe 'msr'."
            )
        weak, views = views[:2], views[2:]
    h = networks.each_view(learner.backbone, views, joint)
    z = networks.each_view(learner.projector, h, joint).float()
    if isinstance(method, PREDICTOR):
        q = networks.each_view(learner.predictor, z, joint).float()
    if isinstance(method, (*TARGET, SimSiamMSR)):
        target = learner.target if isinstance(method, TARGET) else nn.Sequential(learner.backbone, learner.projector)
        with torch.no_grad():
            t = networks.each_view(target, weak if isinstance(method, STAGED) else views, joint).float()
    # autocast would round the losses' products, too, to 8 bits
    with torch.autocast("cuda" if z.is_cuda else "cpu", enabled=False):
        if isinstance(method, Supervised):
            value = F.cross_entropy(z.flatten(0, 1), labels.repeat(len(views)), ignore_index=-1)
            value = torch.where((labels >= 0).any(), value, 0.0)  # of a batch without a label the mean is no number
        elif isinstance(method, SimCLR):
            value = losses.nt_xent(z, method.temperature)
        elif isinstance(method, InstanceSimCLR):
            value = losses.instance(z, method.temperature)
        elif isinstance(method, BarlowTwins):
            value = losses.barlow_twins(z, method.lambda_, method.scale)
        elif isinstance(method, VICReg):
            value = losses.vicreg(z, method.invariance, method.variance, method.covariance)
        elif isinstance(method, BarlowMultiView):
            value = losses.barlow_mean_target(z, method.beta)
        elif isinstance(method, VICRegMultiView):
            value = losses.vicreg_mean_target(z, method.invariance, method.variance, method.covariance)
        elif isinstance(method, BYOL):
            value = losses.cosine_distance(q, t.flip(0)) * 2  # both directions
        elif isinstance(method, SimSiam):
            value = losses.cosine_distance(q, z.detach().flip(0))
        elif isinstance(method, STAGED):
            other = (q.detach() if method.stop else q).flip(0)  # pairs always lie across the two crops
            value = losses.msr(q, other, t.flip(0), beta_at(method, progress))
            value = value * (2 if isinstance(method, MSR) else 1)  # both directions, scaled as BYOL's and SimSiam's
        elif isinstance(method, MoCo):
            value = (
                losses.info_nce(z[0], t[1], learner.queue, method.temperature)
                + losses.info_nce(z[1], t[0], learner.queue, method.temperature)
            ) / 2
            with torch.no_grad():  # newest keys first; the oldest fall out
                keys = F.normalize(t.flatten(0, 1), dim=1)
                learner.queue.copy_(torch.cat([keys, learner.queue])[: method.queue])
        else:
            raise ReproError(f"{type(method).__name__} is not a method that trains.")
    return value, h.detach()


@torch.no_grad()
def after_step(learner: Learner, progress: float) -> None:
    """What a method does after an optimiser step: move the EMA target. progress: share of the run done, in [0, 1]."""
    if isinstance(learner.method, TARGET):
        rate = learner.method.ema
        if isinstance(learner.method, RISING):
            rate = 1 - (1 - rate) * (math.cos(math.pi * progress) + 1) / 2
        online = [*learner.backbone.parameters(), *learner.projector.parameters()]
        torch._foreach_lerp_(list(learner.target.parameters()), online, 1 - rate)

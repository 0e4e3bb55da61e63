"""What the methods of `repro.core.methods` train, and how each turns views into a loss.

`Learner` holds the networks a method trains; `loss` is the whole of a method, one branch each, readable side by side.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.core.methods import (
    BYOL,
    MSR,
    BarlowMultiView,
    BarlowTwins,
    InstanceSimCLR,
    Method,
    MoCo,
    SimCLR,
    SimSiam,
    SimSiamMSR,
    Supervised,
    Untrained,
    VICReg,
    VICRegMultiView,
)  # fmt: skip
from repro.core.own import Own, blamed, made_of, wrong
from repro.errors import ReproError
from repro.ssl import losses, networks, ranks

PREDICTOR = (BYOL, SimSiam, MSR, SimSiamMSR)
TARGET = (BYOL, MoCo, MSR)
RISING = (BYOL, MSR)  # their ema rises to 1
VIEWS = {BYOL: 2, SimSiam: 2, MoCo: 2, InstanceSimCLR: 3}  # the others of METHODS take two or more
STAGED = (MSR, SimSiamMSR)  # not among METHODS: they take two weak views and two made from them


def beta_at(method: MSR | SimSiamMSR, progress: float | Tensor) -> float | Tensor:
    """MSR's beta when the share `progress` in [0, 1] of the steps is done; a tensor from a tensor."""
    cos = torch.cos if isinstance(progress, Tensor) else math.cos
    down = (cos(math.pi * progress) + 1) / 2
    return method.beta * {"cosine": down, "fixed": 1.0, "linear": 1 - progress, "rising": 1 - down}[method.decay]


def predicts(method: Method) -> bool:
    return isinstance(method, PREDICTOR) or getattr(method, "predictor", False)


def targets(method: Method) -> bool:
    return isinstance(method, TARGET) or getattr(method, "target", False)


class Learner(nn.Module):
    """backbone, projector and, where the method has them, predictor, EMA target and queue."""

    def __init__(self, backbone: nn.Module, features: int, projector, method: Method | Own):
        super().__init__()
        self.own, self.seed = (method if isinstance(method, Own) else None), torch.initial_seed()
        self.method, self.features = made_of(method), features
        self.backbone = backbone
        # SimSiam needs the batch norm at its projector's output (Chen & He 2021, Table 3)
        self.projector = networks.mlp(features, projector, last_norm=isinstance(method, (SimSiam, SimSiamMSR)))
        dim = projector.dim if projector.layers else features
        if predicts(self.method):
            self.predictor = networks.mlp(dim, type(projector)(2, projector.width, dim))
        if targets(self.method):
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
    networks, under autocast as well. On several ranks B is a rank's share; the loss is that of the whole batch. Raises
    ReproError for a number of views that the method does not take.
    """
    method = learner.method
    _check_views(method, len(views))
    weak, views = (views[:2], views[2:]) if isinstance(method, STAGED) else (views, views)
    h = networks.each_view(learner.backbone, views, joint)
    z = networks.wide(networks.each_view(learner.projector, h, joint))
    q = t = None
    if predicts(method):
        q = networks.wide(networks.each_view(learner.predictor, z, joint))
    if targets(method) or isinstance(method, SimSiamMSR):
        target = learner.target if targets(method) else nn.Sequential(learner.backbone, learner.projector)
        with torch.no_grad():
            t = networks.wide(networks.each_view(target, weak, joint))
            if isinstance(method, MSR) and method.through_target:
                t = torch.cat([t, networks.wide(networks.each_view(target, views, joint))])
    # autocast would round the losses' products, too, to 8 bits
    with torch.autocast("cuda" if z.is_cuda else "cpu", enabled=False):
        whole = [x if x is None else ranks.gather(x, 1) for x in (z, q, t)]
        if isinstance(method, Supervised):
            labels = ranks.gather(labels)
        value = _value(learner, *whole, progress, labels)
    return value, h.detach()


def _check_views(method: Method, views: int) -> None:
    name = type(method).__name__
    if isinstance(method, Untrained):
        raise ReproError(f"{name} is not a method that trains.")
    wanted = VIEWS.get(type(method), views)
    if views != wanted:
        word = {2: "two", 3: "three"}[wanted]
        raise ReproError(f"{name} takes {word} views, not {views}: choose a recipe of {word}.")
    if views < 2 and not isinstance(method, Supervised):
        raise ReproError(f"{name} compares views and needs two or more: choose another recipe.")
    if isinstance(method, STAGED) and views != 4:
        raise ReproError(f"{name} takes two weak views and two made from them: choose recipe 'msr'.")


def _value(
    learner: Learner,
    z: Tensor,
    q: Tensor | None,
    t: Tensor | None,
    progress: float | Tensor,
    labels: Tensor | None,
) -> Tensor:
    """The loss of projections z, predictions q and targets t, (V, B, D) each where the method has them."""
    method = learner.method
    if learner.own:
        return _own(learner, z, q, t, progress)
    if isinstance(method, Supervised):
        value = F.cross_entropy(z.flatten(0, 1), labels.repeat(len(z)), ignore_index=-1)
        return torch.where((labels >= 0).any(), value, 0.0)  # the mean over a batch without labels is not a number
    if isinstance(method, SimCLR):
        return losses.nt_xent(z, method.temperature)
    if isinstance(method, InstanceSimCLR):
        return losses.instance(z, method.temperature)
    if isinstance(method, BarlowTwins):
        return losses.barlow_twins(z, method.lambda_, method.scale)
    if isinstance(method, VICReg):
        return losses.vicreg(z, method.invariance, method.variance, method.covariance)
    if isinstance(method, BarlowMultiView):
        return losses.barlow_mean_target(z, method.beta, method.against_mean)
    if isinstance(method, VICRegMultiView):
        return losses.vicreg_mean_target(z, method.invariance, method.variance, method.covariance)
    if isinstance(method, BYOL):
        return losses.cosine_distance(q, t.flip(0)) * 2  # both directions
    if isinstance(method, SimSiam):
        return losses.cosine_distance(q, z.detach().flip(0))
    if isinstance(method, STAGED):
        t, *projections = t.split(2)
        other = (projections[0] if projections else q.detach() if method.stop else q).flip(0)  # across the two crops
        value = losses.msr(q, other, t.flip(0), beta_at(method, progress))
        return value * (2 if isinstance(method, MSR) else 1)  # both directions, scaled as BYOL's and SimSiam's
    assert isinstance(method, MoCo)
    directions = [losses.info_nce(z[i], t[1 - i], learner.queue, method.temperature) for i in (0, 1)]
    with torch.no_grad():  # newest keys first; the oldest fall out
        keys = F.normalize(t.flatten(0, 1), dim=1)
        learner.queue.copy_(torch.cat([keys, learner.queue])[: method.queue])
    return (directions[0] + directions[1]) / 2


def _own(learner: Learner, z: Tensor, q: Tensor | None, t: Tensor | None, progress: float | Tensor) -> Tensor:
    """A reader's loss, whose random numbers depend on the run's seed and the step alone. Raises ReproError, which names
    their line, for an exception, a loss that is no number of z, and one that is not finite at the first step."""
    own, method = learner.own, learner.method
    more = {name: value for name, value in (("q", q), ("t", t)) if value is not None}
    with blamed(own.file, method.loss), torch.random.fork_rng(devices=[z.device] if z.is_cuda else []):
        torch.manual_seed(learner.seed + int(float(progress) * 2**40))
        value = method.loss(z, progress, **more)
        if value.shape or not value.requires_grad:
            raise wrong(own, method.loss, f"has a loss of shape {tuple(value.shape)}, not one number with a gradient")
    if not progress and not math.isfinite(value.item()):
        raise wrong(own, method.loss, f"has a loss that is {value.item()} at the first step")
    return value


@torch.no_grad()
def after_step(learner: Learner, progress: float) -> None:
    """What a method does after an optimiser step: move the EMA target. progress: share of the run done, in [0, 1]."""
    if targets(learner.method):
        rate = getattr(learner.method, "ema", 0.99)
        if isinstance(learner.method, RISING):
            rate = 1 - (1 - rate) * (math.cos(math.pi * progress) + 1) / 2
        online = [*learner.backbone.parameters(), *learner.projector.parameters()]
        torch._foreach_lerp_(list(learner.target.parameters()), online, 1 - rate)

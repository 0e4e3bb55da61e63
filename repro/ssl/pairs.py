"""How well pairs of views are aligned along a run: clean ones, and those whose aggressive view lost its object.

MSR's premise is that a network fits the clean pairs first. A scene can be drawn without its object, and a view is a pure
function of its parameters, so what the object adds to a view is the difference of two pictures.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro import data
from repro.core.spec import RunSpec
from repro.data import objects
from repro.ssl import networks
from repro.ssl.methods import Learner
from repro.views import batched
from repro.views.recipe import staged

IMAGES = 256  # two pairs each; half of them chosen for having lost an object, which few have
CANDIDATES = 2048
EPOCH = 2**30 + 16  # an epoch that no run reaches: pictures of its own, the same along the run
LOST_BELOW = 0.25  # an aggressive view that keeps less of what the object adds to its weak view has lost the object
LOST_SHARE = 0.2  # of the pairs count as lost where nobody knows: those that keep least of their weak view's contrast


@dataclass(frozen=True)
class Pairs:
    """views: (4, N, 3, H, W), weak 1, weak 2, aggressive 1, aggressive 2, normalised. lost: (2, N), whether the aggressive
    view has lost its object. index: (N,), which train images they are of. known: whether the loss was seen, or only
    guessed by the contrast. share: of all candidates' pairs, those that are lost."""

    views: Tensor
    lost: Tensor
    index: Tensor
    known: bool
    share: float

    def to(self, device: torch.device) -> Pairs:
        return replace(self, views=self.views.to(device), lost=self.lost.to(device))


def make(spec: RunSpec, dataset: data.Dataset) -> Pairs:
    """The pairs that a run of this spec is watched on: of its first train images, under its recipe in stages."""
    known = spec.data.name == "objects"
    images = dataset.train.images[: CANDIDATES if known else IMAGES].to("cpu")
    views = _views(spec, images)
    if known:
        options = dict(spec.data.options)
        bare, _ = objects.render(int(options.pop("images", 2048)), images.shape[-1], 0, **options, bare=True)
        lost = kept(views, _views(spec, torch.from_numpy(bare[: len(images)]))) < LOST_BELOW
    else:
        contrast = views.std((2, 3, 4))
        kept_contrast = contrast[2:] / contrast[:2].clamp(min=1e-3)
        lost = kept_contrast <= kept_contrast.flatten().quantile(LOST_SHARE)
    some = lost.any(0)
    first = some.nonzero()[: IMAGES // 2, 0]
    index = torch.cat([first, (~some).nonzero()[: IMAGES - len(first), 0]])
    mean, std = dataset.mean.view(3, 1, 1), dataset.std.view(3, 1, 1)
    share = lost.double().mean().item()
    return Pairs((views[:, index] - mean) / std, lost[:, index], index, known, share)


def kept(views: Tensor, bare: Tensor) -> Tensor:
    """(2, N): how much of what the object adds to a weak view is still there in the aggressive one, from (4, N, 3, H, W)
    views with and without it. A crop without the object counts as keeping all of it."""
    added = (views - bare).abs().mean((2, 3, 4))
    return torch.where(added[:2] > 0.01, added[2:] / added[:2].clamp(min=0.01), 1.0)


def _views(spec: RunSpec, images: Tensor) -> Tensor:
    return batched.make(images, staged(spec.recipe), spec.seed, EPOCH, torch.arange(len(images)))


@torch.no_grad()
def alignment(learner: Learner, watched: Pairs) -> dict[str, float]:
    """The cosine of the projections of an aggressive view and the weak view of the other crop, less that of an aggressive
    view and another image's weak view; the means over clean pairs and over those that lost their object."""
    net = copy.deepcopy(nn.Sequential(learner.backbone, learner.projector)).train()  # whose batch norm sees these alone
    z = F.normalize(networks.each_view(net, watched.views, joint=True).float(), dim=2)
    aggressive, weak = z[2:], z[:2].flip(0)
    excess = (aggressive * weak).sum(2) - (aggressive * weak.roll(1, 1)).sum(2)
    return {name: excess[mask].mean().item() for name, mask in (("clean", ~watched.lost), ("lost", watched.lost))}


def read(learner: Learner, watched: Pairs, curves: dict, step: int) -> None:
    """Append the alignment at a step to a run's curves: pair_step, pair_clean and pair_lost; and pair_lost_share and
    pair_known, once."""
    if "pair_step" not in curves:
        curves |= {"pair_step": [], "pair_clean": [], "pair_lost": []}
        curves |= {"pair_lost_share": [watched.share], "pair_known": [float(watched.known)]}
    curves["pair_step"].append(step)
    for name, value in alignment(learner, watched).items():
        curves[f"pair_{name}"].append(value)

"""What a loss of many views costs: against the mean of the views, and over all pairs of them (claim C8).

    repro bench loss --views 2 4 8 16

Both ways are timed in turn, forward and backward, and compared as ratios within one run; on a CPU the process's own clock
counts. The memory is what autograd keeps for the backward pass, which is the same on every machine.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from repro.bench.common import in_turn, now, options, ratio, show
from repro.bench.specs import LossSpec
from repro.core.store import Result
from repro.ssl import losses


def _over_pairs(loss: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A loss of two views as the mean over all pairs of many, each pair worked out on its own."""

    def total(z: Tensor) -> Tensor:
        pairs = [(i, j) for i in range(len(z)) for j in range(i + 1, len(z))]
        return sum((loss(torch.stack((z[i], z[j]))) for i, j in pairs), z.new_zeros(())) / len(pairs)

    return total


def _vicreg(z: Tensor) -> Tensor:
    return losses.vicreg(z, 25.0, 25.0, 1.0)


WAYS: dict[str, dict[str, Callable[[Tensor], Tensor]]] = {
    "invariance": {"mean": losses.spread, "pairs": losses.spread_of_pairs},
    "vicreg": {"mean": _vicreg, "pairs": _over_pairs(_vicreg)},
    "barlow": {
        "mean": lambda z: losses.barlow_mean_target(z, 0.02),
        "pairs": lambda z: losses.barlow_twins(z, 0.02),
    },
}
"""Each objective's two ways. Both ways give the same number for invariance and VICReg. The authors' Barlow Twins against the
mean and Barlow Twins over all pairs are different objectives: only their costs are compared."""


def run(spec: LossSpec) -> Result:
    """Measure one spec. The numbers of `metrics` depend on the spec alone, those of `timing` on the machine."""
    generator = torch.Generator().manual_seed(spec.seed)
    image = torch.randn(spec.images, spec.dim, generator=generator, dtype=torch.float64)
    z = image + 0.5 * torch.randn(spec.views, spec.images, spec.dim, generator=generator, dtype=torch.float64)
    metrics = {
        "identity_error": _difference("invariance", z),
        "identity_error_single": _difference("invariance", z.float()),
        "vicreg_error": _difference("vicreg", z),
    }
    z = z.float().to("cuda" if torch.cuda.is_available() else "cpu")
    timing: dict[str, float] = {}
    for form, ways in WAYS.items():
        for way, loss in ways.items():
            metrics[f"{form}_{way}_mb"] = kept_bytes(loss, z) / 1e6
        taken = in_turn({way: functools.partial(_seconds, loss, z) for way, loss in ways.items()}, spec.repeats)
        timing |= {f"{form}_{way}_ms": 1000 * statistics.median(values) for way, values in taken.items()}
        timing[f"{form}_ratio"] = ratio(taken, "pairs", "mean")
    return Result(metrics, timing=timing)


def _difference(form: str, z: Tensor) -> float:
    mean, pairs = (WAYS[form][way](z).item() for way in ("mean", "pairs"))
    return abs(mean - pairs) / abs(pairs)


def kept_bytes(loss: Callable[[Tensor], Tensor], z: Tensor) -> int:
    """Bytes that autograd keeps between the forward and the backward pass of `loss`, z itself left out."""
    z = z.detach().requires_grad_(True)
    kept: dict[int, Tensor] = {}  # by address of the storage: a view of a kept tensor costs nothing more

    def keep(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss(z).backward()
    kept.pop(z.untyped_storage().data_ptr(), None)
    return sum(t.untyped_storage().nbytes() for t in kept.values())


def _seconds(loss: Callable[[Tensor], Tensor], z: Tensor) -> float:
    """Forward and backward, repeated until the clock can be trusted."""
    z = z.detach().requires_grad_(True)
    loss(z).backward()  # warm
    rounds, began, taken = 0, now(z.device), 0.0
    while taken <= 0.004 and rounds < 50:
        loss(z).backward()
        rounds, taken = rounds + 1, now(z.device) - began
    return taken / rounds


def main(argv: list[str]) -> int:
    """`repro bench loss`: a table of both ways by number of views."""
    args = options(argv, "loss", __doc__, views=[2, 4, 8, 16], images=256, dim=256, repeats=9)
    rows = []
    for views in args.views:
        measured = run(LossSpec(views, args.images, args.dim, args.repeats))
        for form in WAYS:
            ms = {f"{way} ms": measured.timing[f"{form}_{way}_ms"] for way in ("mean", "pairs")}
            mb = {f"{way} MB": measured.metrics[f"{form}_{way}_mb"] for way in ("mean", "pairs")}
            rows.append({"loss": form, "views": views, **ms, "ratio": measured.timing[f"{form}_ratio"], **mb})
    return show(f"forward and backward of {args.images} images, dimension {args.dim}", args.repeats, rows)

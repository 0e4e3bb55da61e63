"""Optimisers and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from repro.errors import ReproError


class LARS(torch.optim.Optimizer):
    """Layer-wise adaptive rate scaling (You et al. 2017) with momentum, by foreach: no loop over layers, no waiting for
    the device.

    Weights (two and more dimensions) are decayed and their gradient is scaled by eta |w| / |g|; biases and batch norm
    are neither (the `exclude_bias_n_norm` of Barlow Twins' and VICReg's code).
    """

    def __init__(
        self, params: Iterable, lr: float, momentum: float = 0.9, weight_decay: float = 0.0, eta: float = 0.001
    ):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "eta": eta})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            params = [p for p in group["params"] if p.grad is not None]
            grads = [p.grad for p in params]
            index = [i for i, p in enumerate(params) if p.ndim > 1]
            weights = [params[i] for i in index]
            if group["weight_decay"]:
                decayed = torch._foreach_add([grads[i] for i in index], weights, alpha=group["weight_decay"])
            else:
                decayed = [grads[i] for i in index]
            w_norm = torch.stack(torch._foreach_norm(weights))
            g_norm = torch.stack(torch._foreach_norm(decayed))
            usable = (w_norm > 0) & (g_norm > 0)
            trust = torch.where(usable, group["eta"] * w_norm / torch.where(usable, g_norm, 1.0), 1.0)
            for i, g in zip(index, torch._foreach_mul(decayed, list(trust.unbind()))):
                grads[i] = g
            for p in params:
                if "momentum" not in self.state[p]:
                    self.state[p]["momentum"] = torch.zeros_like(p)
            momenta = [self.state[p]["momentum"] for p in params]
            torch._foreach_mul_(momenta, group["momentum"])
            torch._foreach_add_(momenta, grads)
            torch._foreach_add_(params, momenta, alpha=-group["lr"])


def make(module: nn.Module, optimiser, batch_size: int) -> torch.optim.Optimizer:
    """The optimiser of a spec; each group's "peak" is the rate that `rate` scales over the run."""
    if optimiser.schedule not in ("cosine", "constant"):
        raise ReproError(f"Unknown schedule {optimiser.schedule!r}: choose cosine or constant.")
    weights = [p for p in module.parameters() if p.requires_grad and p.ndim > 1]
    others = [p for p in module.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": weights, "weight_decay": optimiser.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    peak = optimiser.lr if optimiser.name == "adamw" else optimiser.lr * batch_size / 256
    if optimiser.name == "lars":
        params = [p for p in module.parameters() if p.requires_grad]
        made = LARS(params, peak, optimiser.momentum, optimiser.weight_decay, optimiser.eta)
    elif optimiser.name == "sgd":
        made = torch.optim.SGD(groups, peak, momentum=optimiser.momentum, foreach=True)
    elif optimiser.name == "adamw":
        made = torch.optim.AdamW(groups, peak, foreach=True)
    else:
        raise ReproError(f"Unknown optimiser {optimiser.name!r}: choose lars, sgd or adamw.")
    for group in made.param_groups:
        group["peak"] = peak
    return made


def rate(optimiser, step: int, steps: int) -> float:
    """The share of the peak rate at `step` of `steps`: linear warm-up, then a cosine to `lr_end`, or constant."""
    warmup = optimiser.warmup * steps
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if optimiser.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1.0, steps - warmup)
    return optimiser.lr_end + (1 - optimiser.lr_end) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

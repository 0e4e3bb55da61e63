"""The networks of a run, and one training step of them: forward, backward, optimiser, and what the method does after it.

Training, trials and benchmarks all step by it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from repro.core.spec import RunSpec
from repro.ssl import engine, methods, networks, optim, ranks

Passes = Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]


def build(spec: RunSpec, size: int, device: torch.device | None = None) -> methods.Learner:
    """The networks of a spec for images of `size` pixels, initialised by its seed alone; the backbone comes first, so
    that runs of one seed start from the same backbone whatever their method and projector."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        backbone, features = networks.backbone(spec.backbone, size)
        learner = methods.Learner(backbone, features, spec.projector, spec.method)
    ranks.synchronise(learner)
    return learner.to(device, memory_format=torch.channels_last) if device else learner


class Step:
    """A training step of a spec.

    learner: the networks, which are put into train mode. mean, std: (3,), what views in [0, 1] are normalised by.
    ways: of the engine. An optimiser of the learner's parameters is made, `optimiser`.
    """

    def __init__(
        self,
        spec: RunSpec,
        learner: methods.Learner,
        mean: Tensor | None = None,
        std: Tensor | None = None,
        ways: tuple[str, ...] = (),
    ):
        device = next(learner.parameters()).device
        self.spec, self.learner, self.ways = spec, learner.train(), ways
        self.mean = (torch.full((3,), 0.5) if mean is None else mean).to(device).view(3, 1, 1)
        self.std = (torch.full((3,), 0.25) if std is None else std).to(device).view(3, 1, 1)
        self.optimiser = optim.make(learner, spec.optimiser, spec.batch_size)

    def __call__(self, views: Tensor, labels: Tensor, number: int, steps: int) -> tuple[Tensor, Tensor]:
        """Take step `number` of `steps` on views (V, B, 3, H, W) in [0, 1] of images with labels (B,). Returns the loss and
        the backbone's features (V, B, F), without gradient. The next step may overwrite both."""
        loss, features = self.gradients(views, labels, number / steps)
        self.update(number, steps)
        return loss, features

    @functools.cached_property
    def gradients(self) -> Passes:
        """gradients(views, labels, progress): the forward and backward pass, which leaves the gradients in the
        parameters. Returns what a step does; progress is the share of the steps done."""
        return self._passes(backward=True)

    @functools.cached_property
    def forward(self) -> Passes:
        """The same without the backward pass."""
        return self._passes(backward=False)

    def update(self, number: int, steps: int) -> None:
        """Change the parameters by their gradients at the rate of step `number`, then what the method moves by itself."""
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * optim.rate(self.spec.optimiser, number, steps)
        self.optimiser.step()
        methods.after_step(self.learner, number / steps)

    def _passes(self, backward: bool) -> Passes:
        # what is captured must not hold this object, which holds it: both would outlive the run, with its memory
        spec, learner, optimiser, mean, std = self.spec, self.learner, self.optimiser, self.mean, self.std
        method_loss = engine.compiled(methods.loss) if "compile" in self.ways else methods.loss

        def passes(views: Tensor, labels: Tensor, progress: float | Tensor) -> tuple[Tensor, Tensor]:
            with torch.autocast(views.device.type, torch.bfloat16, enabled=spec.precision == "bfloat16"):
                loss, features = method_loss(learner, (views - mean) / std, spec.joint, progress, labels)
            optimiser.zero_grad(set_to_none=True)
            if backward:
                loss.backward()
                ranks.sum_gradients(learner.trained())
            return loss.detach(), features

        if not {"graph", "compile"} & set(self.ways):
            return passes
        moving = torch.zeros((), device=mean.device)  # the only number that moves; as a tensor it is not compiled in
        run = engine.Captured(passes) if "graph" in self.ways else passes
        return lambda views, labels, progress: run(views, labels, moving.fill_(progress))

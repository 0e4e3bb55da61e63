"""How others train on small images, written with plain torch and torchvision: what `repro bench engine` compares with.

No line is of their code. A way is named after the library whose published CIFAR recipe works like that: where views are
made, how many forward passes a step takes, in which precision, by which optimiser. What each library does beside it,
such as logging and probing, is left out, in its favour.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from repro.core.spec import Optimiser, RunSpec
from repro.ssl import losses, methods, optim, train
from repro.views.recipe import View


@dataclass(frozen=True)
class Way:
    """joint: all views in one forward pass. optimiser: "sgd", "lars" (foreach) or "lars loop" (layer by layer, asking the
    device for every norm). workers: processes that make views by Pillow, 0 for one a core."""

    precision: str
    joint: bool
    channels_last: bool
    optimiser: str
    workers: int


WAYS = {
    "lightly's way": Way("float32", False, False, "sgd", 8),
    "solo-learn's way": Way("float16", False, True, "lars loop", 4),
    "the best peer arrangement": Way("bfloat16", True, True, "lars", 0),
}


class Pictures(Dataset):
    """Images (N, H, W, 3) uint8 in memory; an item is a tensor for each view, normalised."""

    def __init__(self, images: np.ndarray, views: tuple[View, ...]):
        self.images, self.branches = images, [_transforms(v, images.shape[1]) for v in views]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> list[Tensor]:
        image = Image.fromarray(self.images[number])
        return [branch(image) for branch in self.branches]


def _transforms(view: View, size: int) -> T.Compose:
    jitter = T.ColorJitter(view.brightness, view.contrast, view.saturation, view.hue)
    kernel = view.kernel or 2 * round(0.05 * size) + 1
    steps = [T.RandomResizedCrop(size, view.crop, view.ratio), T.RandomHorizontalFlip(view.flip)]
    steps += [T.RandomApply([jitter], view.jitter)] * (view.jitter > 0)
    steps += [T.RandomGrayscale(view.gray)] * (view.gray > 0)
    steps += [T.RandomApply([T.GaussianBlur(kernel, view.sigma)], view.blur)] * (view.blur > 0)
    steps += [T.RandomSolarize(round(255 * view.threshold), view.solarize)] * (view.solarize > 0)
    return T.Compose([*steps, T.ToTensor(), T.Normalize((0.5,) * 3, (0.25,) * 3)])


class Peer:
    """Trains a spec's SimCLR in one of the WAYS."""

    def __init__(self, spec: RunSpec, way: Way, images: Tensor, workers: int):
        self.spec, self.way, self.device, self.workers = spec, way, images.device, workers
        layout = torch.channels_last if way.channels_last else torch.contiguous_format
        self.learner = train.build(spec, images.shape[-1]).train().to(self.device, memory_format=layout)
        kind = "sgd" if way.optimiser == "sgd" else "lars"
        self.optimiser = optim.make(self.learner, Optimiser(kind, lr=0.1, weight_decay=1e-4), spec.batch_size)
        half = way.precision == "float16"
        self.precision = getattr(torch, "bfloat16" if half and self.device.type == "cpu" else way.precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        some = images[:4096].permute(0, 2, 3, 1).contiguous()  # each worker gets them through a pipe
        self.pictures = Pictures(some.cpu().numpy(), spec.recipe.views)
        # forked from a server that has no thread and no device, and has imported what the workers need
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["repro.bench.peers"])

    def steps(self, number: int) -> Iterator[None]:
        """Train; yields once when the workers run at their pace, then after every one of `number` steps."""
        ahead = 2 * self.workers  # batches asked for at the start, which come all at once
        wanted = [torch.randint(len(self.pictures), (self.spec.batch_size,)).tolist() for _ in range(ahead + number)]
        loader = DataLoader(
            self.pictures, batch_sampler=wanted, num_workers=self.workers, pin_memory=self.device.type == "cuda",
            prefetch_factor=2, multiprocessing_context=self.context,
        )  # fmt: skip
        for i, views in enumerate(loader):
            if i == ahead:
                yield
            self._step([v.to(self.device, non_blocking=True) for v in views])
            if i >= ahead:
                yield

    def _step(self, views: list[Tensor]) -> None:
        both, method = torch.stack(views), self.spec.method
        with torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32):
            if self.way.joint:
                loss, _ = methods.loss(self.learner, both)
            else:
                z = torch.stack([self.learner.projector(self.learner.backbone(v)) for v in views])
                loss = losses.nt_xent(z.float(), method.temperature)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        if self.way.optimiser == "lars loop":
            self.scaler.unscale_(self.optimiser)
            self._adapt()
        self.scaler.step(self.optimiser)
        self.scaler.update()

    @torch.no_grad()
    def _adapt(self) -> None:
        """The layers' rates as a loop finds them: two questions to the device a layer, to which it waits for the answer.
        The optimiser's own adaptation, which follows, costs a hundredth of it."""
        for p in self.learner.trained():
            if p.ndim > 1 and p.norm() != 0 and p.grad.norm() != 0:
                p.grad.mul_(1.0)

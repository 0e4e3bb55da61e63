"""How others train on small images: what `repro bench engine` compares with.

`lightly` runs the library itself, where it is installed. "plain torchvision" is the loop that a careful user of torch and
torchvision writes: views by torchvision in worker processes, one forward pass, in bfloat16 on a GPU, channels last, LARS.
What libraries do beside it, such as logging and probing, is left out, in their favour.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from repro.bench.contestants import augmentations
from repro.core.spec import Optimiser, RunSpec
from repro.ssl import methods, networks, optim
from repro.ssl.step import build

AHEAD = 2  # batches of each worker


class Pictures(Dataset):
    """Some of the images (N, 3, H, W) uint8, few enough that each worker can get them through a pipe; an item is the
    views that `transform` makes of one, and a label."""

    def __init__(self, images: Tensor, transform: Callable | None = None):
        self.images = images[:4096].permute(0, 2, 3, 1).contiguous().cpu().numpy()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[list[Tensor], int]:
        return self.transform(Image.fromarray(self.images[number])), 0


def _branches(branches: list[T.Compose], image: Image.Image) -> list[Tensor]:
    return [branch(image) for branch in branches]


@dataclass(frozen=True)
class Peer:
    """Networks that `step` trains by one batch of views, made by `workers` processes of `pictures`."""

    learner: nn.Module
    pictures: Dataset
    batch: int
    workers: int
    precision: torch.dtype
    step: Callable[[list[Tensor]], None]

    @property
    def ahead(self) -> int:
        """Batches that its workers make before they are asked for."""
        return AHEAD * self.workers

    def steps(self) -> Iterator[None]:
        """Train for as long as someone asks; yields after every step."""
        device = next(self.learner.parameters()).device
        # forked from a server that has no thread and no device, and has imported what the workers need
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["repro.bench.peers", *["lightly.transforms"] * has_lightly()])
        # without an end, so that the workers have work as long as the clock runs
        wanted = (torch.randint(len(self.pictures), (self.batch,)).tolist() for _ in itertools.count())
        loader = DataLoader(
            self.pictures, batch_sampler=wanted, num_workers=self.workers, pin_memory=device.type == "cuda",
            prefetch_factor=AHEAD, multiprocessing_context=context,
        )  # fmt: skip
        for views, *_ in loader:
            self.step([v.to(device, non_blocking=True) for v in views])
            yield


def has_lightly() -> bool:
    return importlib.util.find_spec("lightly") is not None


def lightly(spec: RunSpec, images: Tensor, workers: int) -> Peer:
    """lightly's own transform, data set, head and loss, as its example of SimCLR in plain PyTorch puts them together: two
    forward passes in float32, SGD, eight workers. Backbone, batch, projector and the strength of the augmentations are the
    spec's; its transform has no solarization, in its favour."""
    from lightly.data import LightlyDataset
    from lightly.loss import NTXentLoss
    from lightly.models.modules.heads import SimCLRProjectionHead
    from lightly.transforms import SimCLRTransform

    view, size = spec.recipe.views[0], images.shape[-1]
    transform = SimCLRTransform(
        size, view.jitter, 1.0, view.brightness, view.contrast, view.saturation, view.hue, view.crop[0], view.gray,
        view.blur, view.sigma, hf_prob=view.flip,
    )  # fmt: skip
    pictures = LightlyDataset.from_torch_dataset(Pictures(images), transform)
    backbone, features = networks.backbone(spec.backbone, size)
    head = SimCLRProjectionHead(features, spec.projector.width, spec.projector.dim, spec.projector.layers)
    learner = nn.Sequential(backbone, head).to(images.device)
    loss_of, optimiser = NTXentLoss(spec.method.temperature), torch.optim.SGD(learner.parameters(), lr=0.06)

    def step(views: list[Tensor]) -> None:
        loss_of(learner(views[0]), learner(views[1])).backward()
        optimiser.step()
        optimiser.zero_grad()

    return Peer(learner, pictures, spec.batch_size, workers or 8, torch.float32, step)


def plain(spec: RunSpec, images: Tensor, workers: int) -> Peer:
    """A peer that trains a spec's SimCLR in plain torch and torchvision."""
    size, device = images.shape[-1], images.device
    precision = torch.bfloat16 if device.type == "cuda" else getattr(torch, spec.precision)  # which few CPUs have
    learner = build(spec, size).train().to(device, memory_format=torch.channels_last)
    optimiser = optim.make(learner, Optimiser("lars", lr=0.1, weight_decay=1e-4), spec.batch_size)

    def step(views: list[Tensor]) -> None:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            loss, _ = methods.loss(learner, torch.stack(views))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()

    ready = [T.ToTensor(), T.Normalize((0.5,) * 3, (0.25,) * 3)]
    branches = [
        T.Compose([*augmentations(T, v, size, [v.kernel or 2 * round(0.05 * size) + 1] * 2), *ready])
        for v in spec.recipe.views
    ]
    pictures = Pictures(images, functools.partial(_branches, branches))
    return Peer(learner, pictures, spec.batch_size, workers, precision, step)


def contestants(spec: RunSpec, images: Tensor, workers: int, cores: int) -> dict[str, Peer]:
    """Every peer by name, lightly where it is installed. workers: of each, 0 for eight of lightly and one a core."""
    made = {"lightly": lightly(spec, images, workers)} if has_lightly() else {}
    return made | {"plain torchvision": plain(spec, images, workers or cores)}

"""How others train on small images: what `repro bench engine` compares with.

`lightly` runs the library itself, where it is installed. The WAYS are written with plain torch and torchvision, and no
line is of others' code: a way is named after the library whose published CIFAR recipe works like that: where views are
made, how many forward passes a step takes, in which precision, by which optimiser. What each library does beside it,
such as logging and probing, is left out, in its favour.
"""

from __future__ import annotations

import functools
import importlib.util
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
from repro.ssl import losses, methods, networks, optim
from repro.ssl.step import build


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

    def steps(self, number: int) -> Iterator[None]:
        """Train; yields once when the workers run at their pace, then after every one of `number` steps."""
        device = next(self.learner.parameters()).device
        # forked from a server that has no thread and no device, and has imported what the workers need
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["repro.bench.peers", *["lightly.transforms"] * has_lightly()])
        ahead = 2 * self.workers  # batches asked for at the start, which come all at once
        wanted = [torch.randint(len(self.pictures), (self.batch,)).tolist() for _ in range(ahead + number)]
        loader = DataLoader(
            self.pictures, batch_sampler=wanted, num_workers=self.workers, pin_memory=device.type == "cuda",
            prefetch_factor=2, multiprocessing_context=context,
        )  # fmt: skip
        for i, (views, *_) in enumerate(loader):
            if i == ahead:
                yield
            self.step([v.to(device, non_blocking=True) for v in views])
            if i >= ahead:
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
    head = SimCLRProjectionHead(features, spec.projector.width, spec.projector.dim)
    learner = nn.Sequential(backbone, head).to(images.device)
    loss_of, optimiser = NTXentLoss(spec.method.temperature), torch.optim.SGD(learner.parameters(), lr=0.06)

    def step(views: list[Tensor]) -> None:
        loss_of(learner(views[0]), learner(views[1])).backward()
        optimiser.step()
        optimiser.zero_grad()

    return Peer(learner, pictures, spec.batch_size, workers or 8, torch.float32, step)


def in_way(spec: RunSpec, way: Way, images: Tensor, workers: int) -> Peer:
    """A peer that trains a spec's SimCLR in one of the WAYS."""
    size, device = images.shape[-1], images.device
    layout = torch.channels_last if way.channels_last else torch.contiguous_format
    learner = build(spec, size).train().to(device, memory_format=layout)
    kind = "sgd" if way.optimiser == "sgd" else "lars"
    optimiser = optim.make(learner, Optimiser(kind, lr=0.1, weight_decay=1e-4), spec.batch_size)
    half = way.precision == "float16"
    precision = getattr(torch, "bfloat16" if half and device.type == "cpu" else way.precision)
    scaler = torch.amp.GradScaler(device.type, enabled=precision == torch.float16)

    def step(views: list[Tensor]) -> None:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            if way.joint:
                loss, _ = methods.loss(learner, torch.stack(views))
            else:
                z = torch.stack([learner.projector(learner.backbone(v)) for v in views])
                loss = losses.nt_xent(z.float(), spec.method.temperature)
        optimiser.zero_grad(set_to_none=True)
        scaler.scale(loss).backward()
        if way.optimiser == "lars loop":
            scaler.unscale_(optimiser)
            _ask_for_norms(learner)
        scaler.step(optimiser)
        scaler.update()

    ready = [T.ToTensor(), T.Normalize((0.5,) * 3, (0.25,) * 3)]
    branches = [
        T.Compose([*augmentations(T, v, size, [v.kernel or 2 * round(0.05 * size) + 1] * 2), *ready])
        for v in spec.recipe.views
    ]
    pictures = Pictures(images, functools.partial(_branches, branches))
    return Peer(learner, pictures, spec.batch_size, workers, precision, step)


@torch.no_grad()
def _ask_for_norms(learner: methods.Learner) -> None:
    """The layers' rates as a loop finds them: two questions to the device a layer, to which it waits for the answer. The
    optimiser's own adaptation, which follows, costs a hundredth of it."""
    for p in learner.trained():
        if p.ndim > 1 and p.norm() != 0 and p.grad.norm() != 0:
            p.grad.mul_(1.0)


def contestants(spec: RunSpec, images: Tensor, workers: int, cores: int) -> dict[str, Peer]:
    """Every peer by name: lightly itself in place of its way, where it is installed. workers: of each, 0 as its recipe
    has them."""
    peers = {name: in_way(spec, way, images, workers or way.workers or cores) for name, way in WAYS.items()}
    if has_lightly() and peers.pop("lightly's way", None):
        peers = {"lightly": lightly(spec, images, workers)} | peers
    return peers

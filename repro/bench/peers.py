"""How others train on small images: what `repro bench engine` compares with.

`Lightly` runs the library itself, where it is installed. The WAYS are written with plain torch and torchvision, and no
line is of others' code: a way is named after the library whose published CIFAR recipe works like that: where views are
made, how many forward passes a step takes, in which precision, by which optimiser. What each library does beside it,
such as logging and probing, is left out, in its favour.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as T

from repro.core.spec import Optimiser, RunSpec
from repro.ssl import losses, methods, networks, optim
from repro.ssl.step import build
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


class Labelled(Dataset):
    """Images (N, H, W, 3) uint8 with a label each, as torchvision's data sets give them; `transform` is lightly's to set."""

    transform: Callable | None = None

    def __init__(self, images: np.ndarray):
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[list[Tensor], int]:
        return self.transform(Image.fromarray(self.images[number])), 0


def _transforms(view: View, size: int) -> T.Compose:
    jitter = T.ColorJitter(view.brightness, view.contrast, view.saturation, view.hue)
    kernel = view.kernel or 2 * round(0.05 * size) + 1
    steps = [T.RandomResizedCrop(size, view.crop, view.ratio), T.RandomHorizontalFlip(view.flip)]
    steps += [T.RandomApply([jitter], view.jitter)] * (view.jitter > 0)
    steps += [T.RandomGrayscale(view.gray)] * (view.gray > 0)
    steps += [T.RandomApply([T.GaussianBlur(kernel, view.sigma)], view.blur)] * (view.blur > 0)
    steps += [T.RandomSolarize(round(255 * view.threshold), view.solarize)] * (view.solarize > 0)
    return T.Compose([*steps, T.ToTensor(), T.Normalize((0.5,) * 3, (0.25,) * 3)])


def _some(images: Tensor) -> np.ndarray:
    """Few enough images (N, H, W, 3) that each worker can get them through a pipe."""
    return images[:4096].permute(0, 2, 3, 1).contiguous().cpu().numpy()


def _feed(pictures: Dataset, batch: int, workers: int, number: int, step: Callable[[list], None]) -> Iterator[None]:
    """Take steps on batches that workers make; yields when the workers run at their pace, then after each of `number`."""
    # forked from a server that has no thread and no device, and has imported what the workers need
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["repro.bench.peers", *["lightly.transforms"] * has_lightly()])
    ahead = 2 * workers  # batches asked for at the start, which come all at once
    wanted = [torch.randint(len(pictures), (batch,)).tolist() for _ in range(ahead + number)]
    loader = DataLoader(
        pictures, batch_sampler=wanted, num_workers=workers, pin_memory=torch.cuda.is_available(),
        prefetch_factor=2, multiprocessing_context=context,
    )  # fmt: skip
    for i, made in enumerate(loader):
        if i == ahead:
            yield
        step(made)
        if i >= ahead:
            yield


def has_lightly() -> bool:
    return importlib.util.find_spec("lightly") is not None


class Lightly:
    """lightly's own transform, data set, head and loss, as its example of SimCLR in plain PyTorch puts them together: two
    forward passes in float32, SGD, eight workers. Backbone, batch, projector and the strength of the augmentations are the
    spec's; its transform has no solarization, in its favour."""

    precision = torch.float32

    def __init__(self, spec: RunSpec, images: Tensor, workers: int = 0):
        from lightly.data import LightlyDataset
        from lightly.loss import NTXentLoss
        from lightly.models.modules.heads import SimCLRProjectionHead
        from lightly.transforms import SimCLRTransform

        view, self.batch, self.workers, self.device = spec.recipe.views[0], spec.batch_size, workers or 8, images.device
        transform = SimCLRTransform(
            images.shape[-1], view.jitter, 1.0, view.brightness, view.contrast, view.saturation, view.hue, view.crop[0],
            view.gray, view.blur, view.sigma, hf_prob=view.flip,
        )  # fmt: skip
        self.pictures = LightlyDataset.from_torch_dataset(Labelled(_some(images)), transform)
        backbone, features = networks.backbone(spec.backbone, images.shape[-1])
        head = SimCLRProjectionHead(features, spec.projector.width, spec.projector.dim)
        self.learner = nn.Sequential(backbone, head).to(self.device)
        self.loss = NTXentLoss(spec.method.temperature)
        self.optimiser = torch.optim.SGD(self.learner.parameters(), lr=0.06)

    def steps(self, number: int) -> Iterator[None]:
        """As Peer.steps."""
        yield from _feed(self.pictures, self.batch, self.workers, number, self._batch)

    def _batch(self, made: list) -> None:
        first, second = (v.to(self.device, non_blocking=True) for v in made[0])
        loss = self.loss(self.learner(first), self.learner(second))
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()


class Peer:
    """Trains a spec's SimCLR in one of the WAYS."""

    def __init__(self, spec: RunSpec, way: Way, images: Tensor, workers: int):
        self.spec, self.way, self.device, self.workers = spec, way, images.device, workers
        layout = torch.channels_last if way.channels_last else torch.contiguous_format
        self.learner = build(spec, images.shape[-1]).train().to(self.device, memory_format=layout)
        kind = "sgd" if way.optimiser == "sgd" else "lars"
        self.optimiser = optim.make(self.learner, Optimiser(kind, lr=0.1, weight_decay=1e-4), spec.batch_size)
        half = way.precision == "float16"
        self.precision = getattr(torch, "bfloat16" if half and self.device.type == "cpu" else way.precision)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == torch.float16)
        self.pictures = Pictures(_some(images), spec.recipe.views)

    def steps(self, number: int) -> Iterator[None]:
        """Train; yields once when the workers run at their pace, then after every one of `number` steps."""
        yield from _feed(self.pictures, self.spec.batch_size, self.workers, number, self._batch)

    def _batch(self, views: list[Tensor]) -> None:
        self._step([v.to(self.device, non_blocking=True) for v in views])

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


def contestants(spec: RunSpec, images: Tensor, workers: int, cores: int) -> dict[str, Peer | Lightly]:
    """Every peer by name: lightly itself in place of its way, where it is installed. workers: of each, 0 as its recipe
    has them."""
    found: dict[str, Peer | Lightly] = {}
    for name, way in WAYS.items():
        if name == "lightly's way" and has_lightly():
            found["lightly"] = Lightly(spec, images, workers)
        else:
            found[name] = Peer(spec, way, images, workers or way.workers or cores)
    return found

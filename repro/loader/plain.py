"""The same batches from ordinary image files through Pillow and torchvision: needs no compiled package, and is slow."""

from __future__ import annotations

import gc
import multiprocessing
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import functional as F

from repro.core import places, stopping
from repro.cores import cores
from repro.errors import ReproError
from repro.loader import compiled
from repro.loader.loader import Batch, Order
from repro.loader.pictures import readable, rgb
from repro.views.draw import BRIGHTNESS, CONTRAST, SATURATION
from repro.views.recipe import Recipe

SHM = Path("/dev/shm")
LAST_SECONDS = 60  # of a worker after SIGTERM


class PlainLoader:
    """Batches of views of image files, made by torchvision in worker processes; arguments and batches as
    `repro.loader.loader.Loader`, which gives the same pictures up to Pillow's rounding to bytes after every step.

    files: the images, numbered in this order. They have no labels.
    """

    def __init__(
        self,
        files: Sequence[str | Path],
        recipe: Recipe,
        batch: int,
        size: int | Callable[[int], int] = 224,
        *,
        workers: int = 0,
        device: str | torch.device = "cpu",
        **order: Any,
    ):
        self.order = Order(len(files), "The list of files", batch, **order)
        self.files, self.recipe, self.workers = list(files), recipe, workers or cores()
        self.size = size if callable(size) else lambda epoch: size
        self.device = torch.device(device)
        self.wanted: list[list[tuple[int, int, int]]] = []  # what the workers are to load next
        self.loader: DataLoader | None = None

    def __len__(self) -> int:
        return len(self.order.batches(0))

    def epoch(self, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `first` on. Raises ReproError that names a file which cannot be read."""
        size = self.size(epoch)
        self.wanted[:] = [[(epoch, size, number) for number in batch] for batch in self.order.batches(epoch)[first:]]
        cuda = self.device.type == "cuda"
        if self.loader is None:
            self._check_memory(size)
            places.short_sockets()
            self.loader = DataLoader(
                _Views(self.files, self.recipe, self.order.seed),
                batch_sampler=self.wanted,
                num_workers=self.workers,
                collate_fn=_collate,
                pin_memory=cuda,
                # started once, and as in anybody's script: a process of `repro measure` was itself started otherwise,
                # and its children would import everything anew
                persistent_workers=True,
                multiprocessing_context=multiprocessing.get_all_start_methods()[0],
                worker_init_fn=_outlive_signals,
            )
        with stopping.held():
            batches = iter(self.loader)
        for views, number in batches:
            if isinstance(views, str):
                raise ReproError(views)
            if cuda:
                views, number = (t.to(self.device, non_blocking=True) for t in (views, number))
            yield Batch(views, number, {})

    def _check_memory(self, size: int) -> None:
        """The workers hand their batches over in shared memory; where it is short, they would hang or die."""
        views = self.order.batch * len(self.recipe.views)
        wanted = (2 * self.workers + 1) * views * 3 * size * size  # two are made ahead by each
        shm = shutil.disk_usage(SHM).free if SHM.is_dir() else wanted
        if shm < wanted:
            raise ReproError(
                f"{SHM} has {shm / 2**20:.0f} MiB free, and torchvision's loader needs {wanted / 2**20:.0f} for its "
                f"{self.workers} processes: give more (docker run --shm-size=8g), or use our loader, which needs none."
            )


def _outlive_signals(worker: int) -> None:
    """In a worker: Ctrl-C and a SIGTERM that reach the whole group are the main process's to heed, which trains to the next
    step and ends its workers. One that nobody ends does so by itself, a while after."""
    gc.freeze()  # an earlier loader's remains are the main process's to end, too
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(LAST_SECONDS))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping.STOPPING)


class _Views(Dataset):
    def __init__(self, files: list, recipe: Recipe, seed: int):
        self.files, self.recipe, self.seed = files, recipe, seed
        self.known = self.table = self.starts = None
        self._know(0, 32)
        # compiled here, since each worker would compile it anew, or fetch it from disk
        drawn = compiled.drawn(self.table[0], self.starts[0], 0, 8, 8)
        compiled.add_noise(np.zeros(1, np.float32), drawn.state, 0, 0.0)

    def _know(self, epoch: int, size: int) -> None:
        """What the views of an epoch are drawn from."""
        if self.known != (epoch, size):
            self.table = compiled.table(self.recipe, size)
            self.starts = compiled.starts(self.recipe, self.seed, epoch)
            self.known = epoch, size

    def __getitem__(self, which: tuple[int, int, int]) -> tuple[Tensor | str, int]:
        """The views (V, 3, S, S) of (epoch, S, sample), or a sentence on what is wrong with its file."""
        epoch, size, number = (int(n) for n in which)
        self._know(epoch, size)
        path = self.files[number]
        try:
            with warnings.catch_warnings(action="ignore"), readable(path), Image.open(path) as image:  # of metadata
                image = rgb(image)
        except ReproError as e:
            return str(e), number
        made: list[Image.Image] = []
        out = torch.empty((len(self.table), 3, size, size), dtype=torch.uint8)
        for v, (row, view) in enumerate(zip(self.table, self.recipe.views)):
            drawn = compiled.drawn(row, self.starts[v], number, image.height, image.width)
            source = made[view.parent] if view.parent >= 0 else _crop(image, drawn, size)
            made.append(_appearance(source, drawn, view, size))
            pixels = F.pil_to_tensor(made[-1])
            out[v] = _noise(pixels, view.noise, drawn.state) if view.noise else pixels
        return out, number


def _crop(image: Image.Image, drawn: compiled.Drawn, size: int) -> Image.Image:
    image = F.resized_crop(image, drawn.top, drawn.left, drawn.height, drawn.width, [size, size], antialias=True)
    return F.hflip(image) if drawn.flip else image


def _appearance(image: Image.Image, drawn: compiled.Drawn, view, size: int) -> Image.Image:
    if drawn.jitter:
        for op in drawn.order:
            factor = drawn.factors[op]
            if op == BRIGHTNESS:
                image = F.adjust_brightness(image, factor)
            elif op == CONTRAST:
                image = F.adjust_contrast(image, factor)
            elif op == SATURATION:
                image = F.adjust_saturation(image, factor)
            else:
                image = F.adjust_hue(image, factor)
    if drawn.gray:
        image = F.rgb_to_grayscale(image, num_output_channels=3)
    if drawn.sigma > 0:
        kernel = view.kernel or 2 * round(0.05 * size) + 1
        image = F.gaussian_blur(image, [kernel, kernel], [drawn.sigma] * 2)
    if drawn.solarize:
        image = F.solarize(image, 255 * view.threshold)
    return image


def _noise(pixels: Tensor, amount: float, state: int) -> Tensor:
    planes = (pixels / 255).numpy().reshape(3, -1)
    for c in range(3):
        compiled.add_noise(planes[c], state, c * planes.shape[1], amount)
    return torch.from_numpy(planes * 255).round().to(torch.uint8).view(pixels.shape)


def _collate(items: list[tuple[Tensor | str, int]]) -> tuple[Tensor | str, Tensor]:
    numbers = torch.tensor([number for _, number in items])
    wrong = [views for views, _ in items if isinstance(views, str)]
    return (wrong[0] if wrong else torch.stack([views for views, _ in items], 1)), numbers

"""Batches of views for training from files: our loader of `.beton` files, and torchvision's for those who have none.

Both give the same `Batch`es for the same recipe, seed and order. A view is a pure function of (seed, epoch, sample
number, view number), so the stream of batches depends on no worker count, and an epoch may begin at any of its batches.
"""

from __future__ import annotations

import functools
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from repro.cores import cores
from repro.errors import ReproError
from repro.loader import beton, compiled
from repro.loader.jpeg import Decoder
from repro.views.draw import permutation
from repro.views.recipe import Recipe

AHEAD = 2  # batches that are made before they are asked for


class Batch(NamedTuple):
    """views: (V, B, 3, S, S) uint8; index: (B,) int64, the samples' numbers in the data set; labels: (B,) by name."""

    views: Tensor
    index: Tensor
    labels: dict[str, Tensor]


def ramp(start: int, end: int, first: int, last: int, to: int = 32) -> Callable[[int], int]:
    """A resolution that grows with the epoch: `start` up to epoch `first`, `end` from epoch `last` on, between them in
    a straight line rounded to `to` pixels (FFCV-SSL's code: 160 to 192 over epochs 70 to 85; the paper's Fig. 1: 160 to
    224)."""

    def size(epoch: int) -> int:
        share = min(1.0, max(0.0, (epoch - first) / max(1, last - first)))
        return start if share == 0 else end if share == 1 else round((start + share * (end - start)) / to) * to

    return size


@dataclass(frozen=True, eq=False)
class Order:
    """Which samples each batch of an epoch has.

    count: of the samples in `what`. batch: samples in each. seed: of the order; shuffle: False takes the samples as they
    are numbered. drop_last: all batches are full. indices: a part of the data set. part: (i, n) for the i-th of n slices
    of each batch, as equal as they can be: of a short last batch some have a sample less, or none.
    """

    count: int
    what: str
    batch: int
    seed: int = 0
    shuffle: bool = True
    drop_last: bool = True
    indices: Sequence[int] | None = None
    part: tuple[int, int] = (0, 1)

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ReproError(f"A loader needs a batch of 1 or more, not {self.batch}: correct it.")
        if len(self.samples) and (self.samples.min() < 0 or self.samples.max() >= self.count):
            raise ReproError(f"{self.what} has {self.count} samples, numbered from 0: an index lies outside.")
        if not self.batches(0):
            raise ReproError(f"{self.what} leaves no full batch of {self.batch}: choose a smaller batch.")

    @functools.cached_property
    def samples(self) -> np.ndarray:
        return np.arange(self.count) if self.indices is None else np.asarray(self.indices, np.int64)

    def batches(self, epoch: int) -> list[np.ndarray]:
        """The sample numbers of each batch of an epoch."""
        chosen, (place, slices) = self.samples, self.part
        if self.shuffle:
            chosen = chosen[permutation(self.seed, epoch, len(chosen)).numpy()]
        stop = len(chosen) // self.batch * self.batch if self.drop_last else len(chosen)
        whole = (chosen[i : min(i + self.batch, stop)] for i in range(0, stop, self.batch))
        return [part for b in whole if len(part := np.array_split(b, slices)[place])]


class Loader:
    """Batches of views of a `.beton` file, made in threads without Python's lock.

    path: the file, or one that is open. recipe: the views; None gives one view for evaluation, the middle square
    (`central` of the shorter side), nothing random. size: pixels a side of the views, or a function of the epoch
    (`ramp`). workers: threads, 0 for one a core. fast: see `repro.loader.compiled.make_views`. device: where the batches
    are handed over; a GPU gets them from pinned memory, while the next ones are made. order: further options of `Order`,
    whose seed is that of the views, too.

    Raises ReproError for a missing, truncated or foreign file, and for options that cannot be.
    """

    def __init__(
        self,
        path: str | Path | beton.Beton,
        recipe: Recipe | None,
        batch: int,
        size: int | Callable[[int], int] = 224,
        *,
        workers: int = 0,
        fast: bool = False,
        device: str | torch.device = "cpu",
        central: float = 0.875,
        **order: Any,
    ):
        self.file = path if isinstance(path, beton.Beton) else beton.read(path)
        self.order = Order(len(self.file), str(self.file.path), batch, **order)
        self.recipe, self.central, self.workers = recipe, central, workers or cores()
        self.size = size if callable(size) else lambda epoch: size
        self.fast, self.device = fast, torch.device(device)
        self.labels = {name: torch.from_numpy(values) for name, values in self.file.labels.items()}
        self._memory = _Memory(self.device.type == "cuda", AHEAD + 4)
        self._decoders: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
        compressed = (self.file.kinds[self.order.samples] == beton.JPEG).any()
        self._keep = [Decoder(fast) for _ in range(self.workers)] if compressed else []
        for decoder in [d.address for d in self._keep] or [np.zeros(3, np.int64)] * self.workers:
            self._decoders.put(decoder)

    def __len__(self) -> int:
        return len(self.order.batches(0))

    def epoch(self, epoch: int = 0, first: int = 0) -> Iterator[Batch]:
        """The batches of one epoch, from batch `first` on.

        Raises ReproError that names a sample which cannot be decoded; any error in a worker ends the epoch.
        """
        size = self.size(epoch)
        if self.recipe is None:
            views = compiled.central(self.central), np.zeros(1, np.int64), size, self.fast
        else:
            starts = compiled.starts(self.recipe, self.order.seed, epoch)
            views = compiled.table(self.recipe, size), starts, size, self.fast
        compiled.warm_up()
        waiting: list[tuple[np.ndarray, np.ndarray, list[Future]]] = []
        pool = ThreadPoolExecutor(self.workers, "loader")
        try:
            for index in self.order.batches(epoch)[first:]:
                waiting.append((index, *self._begin(pool, index, views)))
                if len(waiting) > AHEAD:
                    yield self._hand_over(*waiting.pop(0))
            while waiting:
                yield self._hand_over(*waiting.pop(0))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _begin(self, pool: ThreadPoolExecutor, index: np.ndarray, views: tuple) -> tuple[np.ndarray, list[Future]]:
        """Where the views of the samples `index` will be, and the tasks that make them. views: the table, the starts, the
        size and the mode that `make_views` takes."""
        file, (table, _, size, _), count = self.file, views, len(index)
        file.check()
        out = self._memory.take((len(table), count, 3, size, size))
        rows, none = out.reshape(len(table) * count, 3 * size * size), np.empty((0, 1), np.float32)
        offsets, lengths, *rest = (
            a[index] for a in (file.offsets, file.lengths, file.heights, file.widths, file.kinds)
        )
        to = np.cumsum(lengths) - lengths  # where each lies in what is read

        def work(begin: int, end: int) -> None:
            first, size = to[begin], to[end - 1] + lengths[end - 1] - to[begin]
            data, part = np.empty(size, np.uint8), slice(begin, end)
            lost = compiled.read(compiled.PREAD, file.handle, offsets[part], lengths[part], data, to[part] - first)
            if lost >= 0:
                file.check()
                raise ReproError(f"Sample {index[begin + lost]} of {file.path} cannot be read: check the disk.")
            data.flags.writeable, decoder = False, self._decoders.get()
            try:
                bad = compiled.make_views(
                    data, to - first, lengths, *rest, index, begin, end, *views, decoder, rows, none, count, 1
                )
            finally:
                self._decoders.put(decoder)
            if bad >= 0:
                raise ReproError(
                    f"Sample {index[bad]} of {file.path} cannot be decoded (its JPEG is damaged, or not of the size that the "
                    "table says): prepare the file again, or leave the sample out with `indices`."
                )

        share = max(1, -(-count // (4 * self.workers)))  # small enough that no thread waits long for the last one
        return out, [pool.submit(work, a, min(count, a + share)) for a in range(0, count, share)]

    def _hand_over(self, index: np.ndarray, out: np.ndarray, tasks: list[Future]) -> Batch:
        for task in tasks:
            try:
                task.result()
            except CancelledError:  # another task of this batch has the reason
                continue
        views, number = torch.from_numpy(out), torch.from_numpy(index)
        labels = {name: values[number] for name, values in self.labels.items()}
        if self.device.type == "cuda":
            views = self._memory.send(out, views, self.device)
            number = number.to(self.device, non_blocking=True)
            labels = {name: values.to(self.device, non_blocking=True) for name, values in labels.items()}
        return Batch(views, number, labels)


@dataclass(frozen=True, eq=False)
class Images:
    """Images of a `.beton` file that are decoded when they are asked for, in place of a tensor (N, 3, size, size) uint8.

    A part, `images[index]`, decodes nothing; `split` and `to` give tensors of the middle squares (`central` of the
    shorter side), and `views` makes views of the whole images. numbers: (N,), which samples of the file they are.
    """

    file: beton.Beton
    size: int
    numbers: Tensor
    central: float = 1.0

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self), 3, self.size, self.size

    def __getitem__(self, index: slice | Tensor) -> Images:
        return replace(self, numbers=self.numbers[index])

    def split(self, count: int) -> Iterator[Tensor]:
        """Tensors of `count` images each, as of a tensor, but one after the other."""
        return (views[0] for views in self.views(None, count))

    def to(self, device: str | torch.device) -> Tensor:
        """All of them in memory."""
        out, done = torch.empty(self.shape, dtype=torch.uint8), 0
        for part in self.split(256):
            out[done : done + len(part)] = part
            done += len(part)
        return out.to(device)

    def views(self, recipe: Recipe | None, count: int, seed: int = 0, epoch: int = 0) -> Iterator[Tensor]:
        """Views (V, count, 3, size, size) uint8 of so many images at a time, in their order; see `Loader`."""
        if not len(self):
            return
        options = {"seed": seed, "shuffle": False, "drop_last": False, "central": self.central}
        options["workers"] = min(len(self), cores())
        for batch in Loader(self.file, recipe, count, self.size, indices=self.numbers.numpy(), **options).epoch(epoch):
            yield batch.views


class _Memory:
    """Arrays for batches, used again as soon as nobody holds a tensor made of them: fresh memory costs page faults, the
    more the more views. One for all epochs, since short ones would hardly use theirs again.

    most: arrays to remember, so that a user who once kept a whole epoch does not cost its memory for good.
    """

    def __init__(self, pinned: bool, most: int):
        self.pinned, self.most, self.arrays, self.stream = pinned, most, [], None
        self.taking = threading.Lock()  # two epochs may run in two threads
        self.sending: list[tuple[np.ndarray, torch.cuda.Event]] = []

    def take(self, shape: tuple[int, ...]) -> np.ndarray:
        with self.taking:
            self.sending = [(array, sent) for array, sent in self.sending if not sent.query()]
            for array in self.arrays:
                # three references: the list's, this loop's, and the one that asks
                if array.shape == shape and sys.getrefcount(array) == 3:
                    return array
            array = torch.empty(shape, dtype=torch.uint8, pin_memory=self.pinned).numpy()
            self.arrays = [*self.arrays, array][-self.most :]  # what leaves the list goes when its holder lets go
            return array

    def send(self, array: np.ndarray, host: Tensor, device: torch.device) -> Tensor:
        """Copy to the GPU beside what it computes; the array stays taken until the copy is done."""
        self.stream = self.stream or torch.cuda.Stream(device)
        with torch.cuda.stream(self.stream):
            there = host.to(device, non_blocking=True)
            sent = torch.cuda.Event()
            sent.record(self.stream)
        torch.cuda.current_stream(device).wait_event(sent)
        there.record_stream(torch.cuda.current_stream(device))
        self.sending.append((array, sent))
        return there

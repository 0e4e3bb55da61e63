"""Batches of views in the order of training: of images in memory, in chunks, or of files through a loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from repro import data
from repro.core.spec import RunSpec
from repro.errors import ReproError
from repro.loader import compiled
from repro.ssl import engine, ranks
from repro.views import batched
from repro.views.draw import Params, permutation
from repro.views.recipe import Recipe, View

CHUNK = 1024  # views are made for this many images at a time on a CPU, whatever the batch
GPU_CHUNK = 2**23  # pixels of views that are made at a time on a GPU: eight batches of 512 at 32 px, two views each

Colours = Callable[[Tensor, View, Params], Tensor]
Batches = Iterator[tuple[int, Tensor, Tensor]]


def make_views(
    images: Tensor, recipe: Recipe, seed: int, epoch: int, index: Tensor, colours: Colours | None = None
) -> Tensor:
    """Views (V, B, 3, H, W) of images (B, 3, H, W) uint8, where the images are; `repro.views.batched.make` says more."""
    if images.is_cuda:
        return batched.make(images, recipe, seed, epoch, index, colours=colours)
    return compiled.make(images, recipe, seed, epoch, index)


def of(
    spec: RunSpec,
    dataset: data.Dataset,
    chosen: Tensor,
    device: torch.device,
    first: int,
    steps: int,
    ways: tuple[str, ...] = (),
) -> Batches:
    """Yields (step, indices into `chosen` (B,), views (V, B, 3, size, size) float32 in [0, 1]) from step `first` on, as
    the spec's loading has it; on several ranks, of this rank's slice of each batch. chosen: the numbers of the train
    images in use, sorted. ways: of the engine. What must be compiled or written to files is before this returns. Raises
    ReproError if memory has no room for the images."""
    two = dataset.train.images[chosen[:2]].to(device)
    make_views(two, spec.recipe, spec.seed, 0, torch.arange(2, device=device))
    if spec.loading.name != "memory":
        return batches_from_files(spec, dataset.train, chosen, device, first, steps)
    images = dataset.train.images[chosen]
    if not isinstance(images, Tensor):
        raise ReproError(
            f'{dataset.title} at {images.shape[-1]} px is too large to train from memory: give loading=Loading("ours"), '
            "which reads its files at every step, or a smaller option `images`."
        )
    images, colours = images.to(device), engine.colours(ways)
    if colours:
        next(batches(spec, images, 0, 1, colours))
    return batches(spec, images, first, steps, colours)


def batches(spec: RunSpec, images: Tensor, first: int, steps: int, colours: Colours | None = None) -> Batches:
    """As `of`, of images in memory.

    The order of each epoch is a function of (seed, epoch). Views are made for whole chunks of the epoch, and a resumed
    run makes its chunk again from the start, so that not even rounding depends on where it was stopped. colours: what
    makes the views' colours on a GPU in place of `batched.appearance`.
    """
    n, batch = len(images), ranks.part(spec.batch_size)
    per_epoch = n // spec.batch_size
    many = GPU_CHUNK // (len(spec.recipe.views) * images[0, 0].numel()) if images.is_cuda else CHUNK
    chunk = max(1, many // batch) * batch
    order_of, start_of, views = -1, -1, None
    for step in range(first, steps):
        epoch, position = divmod(step, per_epoch)
        if epoch != order_of:
            order, order_of, start_of = permutation(spec.seed, epoch, n, images.device), epoch, -1
            order = order[: per_epoch * spec.batch_size].view(per_epoch, -1, batch)[:, ranks.place()].flatten()
        start = position * batch // chunk * chunk
        if images.is_cuda:  # the last chunk reaches back, so that all are of one shape and one compilation
            start = max(0, min(start, per_epoch * batch - chunk))
        if start != start_of:
            index = order[start : min(start + chunk, per_epoch * batch)]
            views, start_of = make_views(images[index], spec.recipe, spec.seed, epoch, index, colours), start
        offset = position * batch - start
        yield step, index[offset : offset + batch], views[:, offset : offset + batch]


def batches_from_files(
    spec: RunSpec, train: data.Split, chosen: Tensor, device: torch.device, first: int, steps: int
) -> Batches:
    """As `of`, from files through the spec's loader, at a size that may change with the epoch. The images of a prepared
    set are cut from its own files, whole, where the spec asks for no size of files."""
    from repro.data import disk

    way, size = spec.loading, disk.growing(train.images.shape[-1], spec.loading.ramp)
    samples = chosen if way.stored or train.numbers is None else train.numbers[chosen]
    file = disk.beton_of(spec.data.name, way.stored, spec.data.options)
    rest = (spec.recipe, spec.batch_size, size, spec.seed, samples.numpy(), device)
    source = disk.loader(file, way.name, *rest, way.fast, (ranks.place(), ranks.world()))
    samples = samples.to(device)
    compiled.warm_up()

    def stream() -> Batches:
        step = first
        while step < steps:
            epoch, position = divmod(step, len(source))
            for batch in source.epoch(epoch, position):
                yield step, torch.searchsorted(samples, batch.index), batch.views.float() / 255
                step += 1
                if step == steps:
                    return

    return stream()

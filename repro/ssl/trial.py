"""Steps of a spec on made-up images: whether they fit into memory, the search for fast convolutions, the dry run."""

from __future__ import annotations

import functools
import gc
import math
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from repro.core.methods import Untrained, named
from repro.core.spec import DataSpec, Loading, Optimiser, Probes, RunSpec, key
from repro.errors import ReproError
from repro.ssl import engine, feed, ranks
from repro.ssl.step import Step, build
from repro.views.recipe import Recipe, View


def trial(spec: RunSpec, steps: int, views: Tensor | None = None) -> tuple[Step, Tensor]:
    """Take steps of a spec on `views` (V, B, 3, H, W), or on those of as many made-up images as its batch has. Returns
    the step and its last loss."""
    device, size = engine.device(), spec.data.size or 224
    step = Step(spec, build(spec, size, device))
    generator = torch.Generator(device).manual_seed(ranks.place())
    shape, byte = (ranks.part(spec.batch_size), 3, size, size), torch.uint8
    images = torch.randint(0, 256, shape, dtype=byte, device=device, generator=generator) if views is None else None
    for number in range(steps):
        made = views
        if images is not None:
            made = feed.make_views(images, spec.recipe, spec.seed, 0, torch.arange(len(images), device=device))
        labels = torch.zeros(made.shape[1], dtype=torch.int64, device=device)
        loss, _ = step(made.to(device), labels, number, steps)
    return step, loss


def fits(spec: RunSpec) -> bool:
    """Whether two steps of a spec find room: the first makes the optimiser's state, beside which the second must fit."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        trial(spec, 2)
    except torch.OutOfMemoryError:
        return False
    return True


def what_fits(spec: RunSpec) -> str:
    """One sentence about a run that ran out of memory: the largest batch, halved again and again, that does fit."""
    batch, fitting = spec.batch_size, False
    name = f"{named(spec.method)} with {spec.backbone} at {spec.data.size} px"
    if isinstance(spec.method, Untrained):
        return f"{name} ran out of memory: free the device of other programs, or measure with fewer --workers."
    while batch >= 2 and not (fitting := fits(replace(spec, batch_size=batch))):
        batch //= 2
    if fitting and batch == spec.batch_size:
        return (
            f"{name} ran out of memory, though a step of its batch of {batch} fits alone: free the device of other "
            "programs, or measure with fewer --workers."
        )
    smaller = (
        f"a batch of {batch} does" if fitting else "nor does one of 2: choose a smaller backbone or smaller images"
    )
    return f"{name} does not fit into memory with a batch of {spec.batch_size}; {smaller}."


def find_convolutions(spec: RunSpec, size: int) -> None:
    """Let this process search for the fastest convolution of each shape, which takes seconds at a GPU's first step, before
    the clock runs. Runs that differ in what changes no shape share one search."""
    if engine.device().type != "cuda":
        return
    plain = tuple(View(parent=v.parent) for v in spec.recipe.views)
    _search(replace(
        spec, batch_size=ranks.part(spec.batch_size), seed=0, epochs=1, steps=0, data=DataSpec("objects", size),
        recipe=Recipe("plain", plain),
        optimiser=Optimiser(), probes=Probes(), loading=Loading(),
    ))  # fmt: skip


@functools.lru_cache(maxsize=64)
def _search(spec: RunSpec) -> None:
    with ranks.alone():
        trial(spec, 2)


# --- the dry run ------------------------------------------------------------------------------------------------------


def trials(specs: Iterable[RunSpec]) -> Iterator[str]:
    """Build every distinct kind of run of a plan and train it for one step, on views that its loader makes; a line
    each."""
    kinds: dict[tuple, RunSpec] = {}
    for spec in specs:
        kinds.setdefault((_describe(spec), spec.joint, spec.optimiser.name), spec)
    for (text, *_), spec in kinds.items():
        yield f"{text}: {parameters(spec) / 1e6:.1f} M parameters"


def parameters(spec: RunSpec) -> int:
    """The number of parameters of a spec's networks, which are tried on two images a rank. Raises ReproError if their loss
    is not finite."""
    learner = build(spec, spec.data.size or 224)
    if not isinstance(spec.method, Untrained):
        ranks.call(parameters, spec)
        views = None if spec.loading.name == "memory" else _from_file(spec)
        _, loss = trial(replace(spec, batch_size=2 * ranks.world()), 1, views)
        if not math.isfinite(loss.item()):
            raise ReproError(f"The trial of {key(spec)} gave a loss that is not finite: check its hyper-parameters.")
    return sum(p.numel() for p in learner.parameters())


def _from_file(spec: RunSpec) -> Tensor:
    """Views (V, 2, 3, H, W) that the spec's loader makes of a small made-up file, of this rank's images."""
    from repro.data import disk, prepared

    size, way, count = spec.data.size or 224, spec.loading, 2 * ranks.world()
    with tempfile.TemporaryDirectory() as folder:
        file = prepared.fake(Path(folder), size + size // 8, max(8, count))
        rest = (spec.recipe, count, disk.growing(size, way.ramp), spec.seed, range(max(8, count)), torch.device("cpu"))
        part = ranks.place(), ranks.world()
        return next(disk.loader(file, way.name, *rest, way.fast, part).epoch()).views.float() / 255


def _describe(spec: RunSpec) -> str:
    way, projector = spec.loading, spec.projector
    source = "from memory"
    if way.name != "memory":
        stored = f", stored at {way.stored} px" if way.stored else ""
        source = f"through {way.name}{stored}{', growing' if way.ramp else ''}{', fast' if way.fast else ''}"
    return (
        f"{named(spec.method)} {spec.backbone} {spec.recipe.name} {spec.data.size} px, images {source}, projector "
        f"{projector.layers} x {projector.width} to {projector.dim}"
    )

"""What the views of an image cost, by stack of augmentations (claims A8 and A9).

    repro bench views --data scenes --size 16

All stacks are timed in turn on the same images by the code that trains, and compared as ratios within one run.
"""

from __future__ import annotations

import torch
from torch import Tensor

from repro import data
from repro.bench import command
from repro.bench.clock import median, now
from repro.bench.specs import ViewsSpec
from repro.core.spec import DataSpec
from repro.core.store import Result
from repro.ssl import engine
from repro.ssl.feed import make_views
from repro.views.recipe import STACKS, Recipe, preset


def run(spec: ViewsSpec) -> Result:
    """Measure one spec; all that is measured is in `timing`."""
    dataset = data.load(spec.data.name, spec.data.size, spec.data.options)
    images = dataset.train.images[: spec.count].to("cuda" if torch.cuda.is_available() else "cpu")
    recipes = {name: preset(name, crop=spec.crop) for name in STACKS}
    seconds: dict[str, list[float]] = {name: [] for name in STACKS}
    for recipe in recipes.values():  # compiled before the clock runs
        _seconds(images, recipe, spec.seed, 0)
    for repeat in range(spec.repeats):
        for name, recipe in recipes.items():  # in turn, so that a slow moment of the machine meets all
            seconds[name].append(_seconds(images, recipe, spec.seed, repeat))
    timing = {f"us_{name}": 1e6 * median(s) / (2 * len(images)) for name, s in seconds.items()}
    first = seconds[STACKS[0]]
    timing |= {f"cost_{name}": median([a / b for a, b in zip(s, first)]) for name, s in seconds.items()}
    return Result({}, timing=timing)


def cost(spec: DataSpec, recipe: Recipe, plain: Recipe, images: int = 256, repeats: int = 5) -> float:
    """The median ratio of the time that one recipe's views take to that of another's, made in turn here and now."""
    pixels = data.load(spec.name, spec.size, spec.options).train.images[:images]
    for warm in (recipe, plain):
        _seconds(pixels, warm, 0, 0)
    return median([_seconds(pixels, recipe, 0, i) / _seconds(pixels, plain, 0, i) for i in range(repeats)])


def _seconds(images: Tensor, recipe: Recipe, seed: int, epoch: int) -> float:
    index, colours = torch.arange(len(images), device=images.device), engine.colours(engine.ways(images.device))
    began = now(images)
    make_views(images, recipe, seed, epoch, index, colours)
    return now(images) - began


def main(argv: list[str]) -> int:
    """`repro bench views`: a table of the stacks' costs."""
    args = command.options(argv, "views", __doc__, data="scenes", size=32, images=512, repeats=9)
    found = run(ViewsSpec(DataSpec(args.data, args.size), count=args.images, repeats=args.repeats)).timing
    rows = [{"stack": name, "µs a view": found[f"us_{name}"], "ratio": found[f"cost_{name}"]} for name in STACKS]
    return command.show(f"two views of {args.images} images of {args.size} pixels", args.repeats, rows)

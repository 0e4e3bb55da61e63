"""What the views of an image cost, by stack of augmentations (claims A8 and A9).

    repro bench views --data objects --size 16

All stacks are timed in turn on the same images by the code that trains, and compared as ratios within one run.
"""

from __future__ import annotations

import functools
import itertools
import statistics

import torch
from torch import Tensor

from repro import data
from repro.bench.common import in_turn, now, options, ratio, show
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
    taken = _in_turn(images, {name: preset(name, crop=spec.crop) for name in STACKS}, spec.repeats, spec.seed)
    timing = {f"us_{name}": 1e6 * statistics.median(s) / (2 * len(images)) for name, s in taken.items()}
    return Result({}, timing=timing | {f"cost_{name}": ratio(taken, name, STACKS[0]) for name in STACKS})


def cost(spec: DataSpec, recipe: Recipe, plain: Recipe) -> float:
    """The median ratio of the time that one recipe's views take to that of another's, made in turn here and now."""
    images = data.load(spec.name, spec.size, spec.options).train.images[:256]
    return ratio(_in_turn(images, {"recipe": recipe, "plain": plain}, 5), "recipe", "plain")


def _in_turn(images: Tensor, recipes: dict[str, Recipe], repeats: int, seed: int = 0) -> dict[str, list[float]]:
    """Seconds that the views of images (N, 3, H, W) take by recipe, new ones in every turn."""
    index, colours = torch.arange(len(images), device=images.device), engine.colours(engine.ways(images.device))
    epochs = itertools.count()

    def seconds(recipe: Recipe) -> float:
        began = now(images.device)
        make_views(images, recipe, seed, next(epochs), index, colours)
        return now(images.device) - began

    return in_turn({name: functools.partial(seconds, recipe) for name, recipe in recipes.items()}, repeats)


def main(argv: list[str]) -> int:
    """`repro bench views`: a table of the stacks' costs."""
    args = options(argv, "views", __doc__, data="objects", size=32, images=512, repeats=9)
    timing = run(ViewsSpec(DataSpec(args.data, args.size), count=args.images, repeats=args.repeats)).timing
    rows = [{"stack": name, "µs a view": timing[f"us_{name}"], "ratio": timing[f"cost_{name}"]} for name in STACKS]
    return show(f"two views of {args.images} images of {args.size} pixels", args.repeats, rows)

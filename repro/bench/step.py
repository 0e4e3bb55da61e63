"""What a training step of MSR costs beside one of BYOL, and what staged views save (claim B6).

    repro bench step --backbone resnet18 --size 32 --batch 256

All ways are timed in turn, whole steps as training makes them (on a GPU by $REPRO_ENGINE): views, forward, backward,
optimiser, target network. On a CPU the process's own clock counts, so that busy neighbours do not.
"""

from __future__ import annotations

import functools
import statistics
from dataclasses import replace

import torch

from repro.bench.common import in_turn, options, ratio, show
from repro.bench.engine import Ours
from repro.bench.specs import StepSpec
from repro.core.methods import BYOL, MSR, Method
from repro.core.spec import Optimiser, Projector, RunSpec
from repro.core.store import Result
from repro.views.recipe import Recipe, preset

KINDS = {"": "optimiser", "views_": "views"}  # what is timed: whole steps, and their views alone
TURN = 16  # steps in a turn; on a CPU views are made for as many small batches at once


def ways() -> dict[str, tuple[Method, Recipe]]:
    """BYOL on two aggressive views; MSR on staged views; MSR on four views that each have a crop of their own."""
    staged = preset("msr")
    single = tuple(replace(v, parent=-1) for v in staged.views)
    return {
        "byol": (BYOL(), Recipe("two aggressive", single[2:])),
        "msr": (MSR(), staged),
        "independent": (MSR(), Recipe("four independent", single)),
    }


def run(spec: StepSpec) -> Result:
    """Measure one spec. The numbers of `metrics` depend on the spec alone, those of `timing` on the machine."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(spec.seed)
    shape = (TURN * spec.batch_size, 3, spec.size, spec.size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)
    steps = {name: _step(spec, *way, images) for name, way in ways().items()}
    parts = {f"{kind}{name}": (steps[name], last) for kind, last in KINDS.items() for name in steps}
    taken = in_turn(
        {name: functools.partial(step.run, TURN, last) for name, (step, last) in parts.items()}, spec.repeats
    )
    timing = {f"{name}_ms": 1000 * statistics.median(values) / TURN for name, values in taken.items()}
    timing |= {
        f"{kind}{way}_ratio": ratio(taken, f"{kind}{way}", f"{kind}byol") for kind in KINDS for way in list(steps)[1:]
    }
    timing["staged_ratio"] = ratio(taken, "views_msr", "views_independent")
    parameters = sum(p.numel() for p in steps["msr"].step.learner.trained())
    return Result({"parameters": float(parameters)}, timing=timing)


def _step(spec: StepSpec, method: Method, recipe: Recipe, images: torch.Tensor) -> Ours:
    run = RunSpec(
        recipe=recipe, method=method, backbone=spec.backbone, projector=Projector(2, spec.width, spec.dim),
        optimiser=Optimiser("sgd", lr=0.1), batch_size=spec.batch_size, precision=spec.precision, seed=spec.seed,
    )  # fmt: skip
    return Ours(run, images)


def main(argv: list[str]) -> int:
    """`repro bench step`: milliseconds a step and of its views, and the ratios to BYOL in turn."""
    args = options(
        argv, "step", __doc__, backbone="convnet", size=16, batch=64, repeats=9, precision=("float32", "bfloat16")
    )
    timing = run(StepSpec(args.backbone, args.size, args.batch, precision=args.precision, repeats=args.repeats)).timing
    rows = []
    for name, (method, recipe) in ways().items():
        ms = {"step ms": timing[f"{name}_ms"], "views ms": timing[f"views_{name}_ms"]}
        ratios = {"step / BYOL": timing.get(f"{name}_ratio"), "views / BYOL": timing.get(f"views_{name}_ratio")}
        rows.append({"method": type(method).__name__, "views": recipe.name, **ms, **ratios})
    show(f"a step of {args.batch} images of {args.size} px, {args.backbone}", args.repeats, rows)
    print(f"staged views cost {timing['staged_ratio']:.2f} of four independent ones")
    return 0

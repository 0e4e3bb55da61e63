"""How fast a training step is, where its time goes, and how far it is from the machine's ceiling and from its peers.

    repro bench engine --backbone resnet18 --size 32 --batch 512
    repro bench engine --profile cpu
    repro bench engine --memory

SimCLR on two views of random images, whole steps as training makes them: views, forward, backward, optimiser; of a
profile's standard run, or of all augmentations on the backbone, size and batch given (where no precision is named, in
the profile's, else in bfloat16 on a GPU). The engine goes the ways that $REPRO_ENGINE names, on a CPU by a thread a core.
The ceiling is a large matrix product, measured in the same run; the peers are other libraries' ways of working
(`repro.bench.peers`) on the same model, batch and augmentations, in turn with ours. Times are of the wall; ratios are of
measurements of one turn, and medians are printed.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pandas as pd
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from repro.bench.common import in_turn, now, options, ratio
from repro.core.io import write_atomic
from repro.core.lock import alone
from repro.core.methods import METHODS, MSR, SimCLR
from repro.core.profiles import base, profile
from repro.core.provenance import commit, machine
from repro.core.spec import Optimiser, Projector, RunSpec
from repro.cores import cores
from repro.errors import ReproError
from repro.ssl import engine, feed, methods, trial
from repro.ssl.step import Step, build
from repro.views.recipe import preset

PARTS = ("views", "forward", "backward", "optimiser")
PLAIN = "as it is written"


def spec_of(backbone: str, batch: int, precision: str) -> RunSpec:
    return RunSpec(
        recipe=preset("all"), method=SimCLR(), backbone=backbone, projector=Projector(2, 2048, 256),
        optimiser=Optimiser("lars", lr=0.4, eta=0.02), batch_size=batch, precision=precision,
    )  # fmt: skip


def flops(spec: RunSpec, size: int) -> float:
    """Operations of a view's forward and backward pass, its share of the loss included; counted on networks without
    memory."""
    views = len(spec.recipe.views)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        loss, _ = methods.loss(build(spec, size).train(), torch.empty(views, spec.batch_size, 3, size, size))
        loss.backward()
    return counter.get_total_flops() / (views * spec.batch_size)


@contextlib.contextmanager
def _all_cores() -> Iterator[None]:
    """Compute on a thread a core. On a CPU a peer computes on one thread, since its workers need the cores: on two cores
    lightly was slower by two threads, and as fast by eight workers as by two."""
    before = torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_all_cores()
def ceiling(device: torch.device, precision: torch.dtype) -> float:
    """Operations a second of a square matrix product, large for the device, on random data."""
    side, seconds = 8192 if device.type == "cuda" else 1024, []
    a, b = (torch.randn(side, side, device=device).to(precision) for _ in range(2))
    for _ in range(11):
        began = now(device, wall=True)
        torch.matmul(a, b)
        seconds.append(now(device, wall=True) - began)
    return 2 * side**3 / min(seconds[2:])


class Ours:
    """The step that `repro.ssl.train` makes, up to any of its PARTS, on images (N, 3, H, W) uint8."""

    def __init__(self, spec: RunSpec, images: Tensor, ways: tuple[str, ...] | None = None):
        """ways: of the engine, those that $REPRO_ENGINE names if none are given."""
        ways = engine.ways(images.device) if ways is None else ways
        self.spec, self.images, self.done = spec, images, 0
        self.step = Step(spec, build(spec, images.shape[-1], images.device), ways=ways)
        self.colours = engine.colours(ways)
        self.labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def run(self, steps: int, last: str, wall: bool = False) -> float:
        """Seconds of some steps that end with the part `last`, by the clock of `repro.bench.common`."""
        device, first = self.images.device, self.done
        engine.prepare(device, self.spec.precision)  # a peer's turn may have come before
        began = now(device, wall)
        self.done += steps
        for _, index, views in feed.batches(self.spec, self.images, first, self.done, self.colours):
            if last == "forward":
                self.step.forward(views, self.labels[index], 0.5)
            elif last == "backward":
                self.step.gradients(views, self.labels[index], 0.5)
            elif last == "optimiser":
                self.step(views, self.labels[index], 1, 2)
        return now(device, wall) - began


def measure(
    spec: RunSpec,
    size: int,
    steps: int,
    repeats: int,
    workers: int = 0,
    with_peers: bool = True,
    against: tuple[tuple[str, ...], ...] = (),
    keep: Callable[[dict], None] = lambda measured: None,
) -> dict:
    """Seconds a step: for each of PARTS ours takes up to there, for each of the engine's ways `against` it, and for each
    peer; a list over turns each. And what else the report needs. A peer that cannot run here is left out, and that is said;
    `keep` gets what is there after each turn."""
    from repro.bench import peers  # torchvision's transforms take a second to import

    device = engine.device()
    generator = torch.Generator().manual_seed(0)
    shape = (steps * spec.batch_size, 3, size, size)
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator).to(device)
    number, ours = max(steps, engine.WARM + 1), Ours(spec, images)
    paces = {part: functools.partial(_own_pace, ours, number, part) for part in PARTS}
    for ways in against if device.type == "cuda" else ():
        name = f"ours, {', '.join(ways) or PLAIN}"
        paces[name] = functools.partial(_own_pace, Ours(spec, images, ways), number, "optimiser")
    others = peers.contestants(spec, images, workers, cores()) if with_peers else {}
    paces |= {name: functools.partial(_pace, peer, device) for name, peer in others.items()}
    about = {
        **machine(), "commit": commit(), "backbone": spec.backbone, "size": size, "batch": spec.batch_size,
        "views": len(spec.recipe.views), "recipe": spec.recipe.name, "precision": spec.precision,
        "ways": list(engine.ways(device)), "cores": cores(), "steps": steps, "flops": flops(spec, size),
        "ceiling": ceiling(device, getattr(torch, spec.precision)),
        "workers": {name: peer.workers for name, peer in others.items()},
        "precisions": {name: str(peer.precision).split(".")[-1] for name, peer in others.items()},
    }  # fmt: skip
    return about | {"seconds": in_turn(paces, repeats, lambda taken: keep(about | {"seconds": taken}), others)}


@_all_cores()
def _own_pace(ours: Ours, steps: int, last: str) -> float:
    return ours.run(steps, last, wall=True) / steps


def _pace(peer, device: torch.device) -> float:
    """Seconds a step of a peer at its pace: after the batches that its workers made before the clock runs, and over twice as
    many, since they come in bursts."""
    engine.prepare(device, "")  # float32 of convolutions as torch has it, unless told
    with contextlib.closing(peer.steps()) as walk:  # its end is the workers'
        for _ in itertools.islice(walk, peer.ahead):
            pass
        began, number = now(device, wall=True), 2 * peer.ahead
        for _ in itertools.islice(walk, number):
            pass
        return (now(device, wall=True) - began) / number


def summary(measured: dict) -> dict[str, float]:
    """Medians over turns: views_s and share (of the ceiling) of our whole step; <part>_ms; <peer>_views_s and _ratio."""
    seconds, count = measured["seconds"], measured["batch"] * measured["views"]
    whole = seconds["optimiser"]
    out = {"views_s": count / median(whole)}
    out["share"] = out["views_s"] * measured["flops"] / measured["ceiling"]
    before = [0.0] * len(whole)
    for part in PARTS:
        out[f"{part}_ms"] = 1000 * median(t - b for t, b in zip(seconds[part], before))
        before = seconds[part]
    for name in [name for name in seconds if name not in PARTS]:
        out[f"{name}_views_s"] = count / median(seconds[name])
        out[f"{name}_ratio"] = ratio(seconds, name, "optimiser")
    return out


def report(measured: dict) -> str:
    """What was measured in words, and a table: our step, each of its parts, and the peers."""
    numbers, seconds = summary(measured), measured["seconds"]
    whole = median(seconds["optimiser"])
    rows = [
        {"step": f"ours ({', '.join(measured['ways']) or PLAIN})", "ms": 1000 * whole, "views/s": numbers["views_s"]}
    ]
    rows += [{"step": p, "ms": numbers[f"{p}_ms"], "of ours": numbers[f"{p}_ms"] / whole / 1000} for p in PARTS]
    for name in [n for n in seconds if n not in PARTS]:
        workers = measured["workers"].get(name)
        how = f" ({measured['precisions'][name]}, {workers} workers)" if workers else ""
        rows.append({"step": name + how, "views/s": numbers[f"{name}_views_s"], "of ours": numbers[f"{name}_ratio"]})
    table = pd.DataFrame(rows).to_string(index=False, float_format="{:,.2f}".format, na_rep="")
    return (
        f"SimCLR, {measured['backbone']}, {measured['size']} px, batch {measured['batch']}, {measured['views']} views, "
        f"{measured['precision']}, on {measured['hardware']}; medians of {len(seconds['views'])} turns; "
        f"the time of each step as a share of ours\n"
        f"a view costs {measured['flops'] / 1e9:.3g} GFLOP forward and backward; a matrix product runs at "
        f"{measured['ceiling'] / 1e12:.3g} TFLOP/s, and ours at {numbers['share']:.1%} of it\n\n{table}"
    )


def sentences(measured: dict) -> list[str]:
    """One on our step, and one on each peer's."""
    numbers, whole = summary(measured), 1000 * median(measured["seconds"]["optimiser"])
    shares = ", ".join(f"{p} {numbers[f'{p}_ms'] / whole:.1%}" for p in PARTS)
    how = f"by the ways {', '.join(measured['ways'])}" if measured["ways"] else PLAIN
    ours = (
        f"SimCLR, {measured['backbone']}, {measured['size']} px, batch {measured['batch']}, {measured['precision']}, {how}: "
        f"{numbers['views_s']:,.0f} views/s, {numbers['share']:.1%} of a matrix product's rate; a step takes {whole:.1f} ms: "
        f"{shares} ({measured['hardware']}, commit {measured['commit']})."
    )
    line = "In the same run, {}: {:,.0f} views/s; ours is {:.2f} times as fast."
    peers = [name for name in measured["seconds"] if name not in PARTS]
    return [ours, *(line.format(n, numbers[f"{n}_views_s"], numbers[f"{n}_ratio"]) for n in peers)]


def memory(spec: RunSpec, batches: tuple[int, ...] = (256, 512, 1024, 2048, 4096, 8192)) -> str:
    """The peak memory of a step by method and batch, on a GPU."""
    if not torch.cuda.is_available():
        raise ReproError("There is no GPU here whose memory could be measured: run it on a machine that has one.")
    rows = []
    made = [*(make() for make in METHODS.values()), MSR()]
    for method in [m for m in made if methods.VIEWS.get(type(m), 2) == 2]:
        recipe, row = preset("msr" if isinstance(method, MSR) else "simclr-small"), {"method": type(method).__name__}
        for batch in batches:
            torch.cuda.reset_peak_memory_stats()
            fits = trial.fits(replace(spec, method=method, recipe=recipe, batch_size=batch))
            row[batch] = torch.cuda.max_memory_allocated() / 1e9 if fits else float("nan")
        rows.append(row)
    table = pd.DataFrame(rows).to_string(index=False, float_format="{:.1f}".format, na_rep="-")
    return (
        f"peak GB of a step by batch, {spec.backbone}, {spec.data.size} px, {spec.precision}; - does not fit\n{table}"
    )


def main(argv: list[str]) -> int:
    """`repro bench engine`: views a second, the parts of a step, and the ratios to the peers."""
    gpu = torch.cuda.is_available()
    args = options(
        argv, "engine", __doc__, profile="", backbone="resnet18", size=32, batch=512, steps=32 if gpu else 2,
        repeats=5 if gpu else 3, workers=0, against=[], no_peers=False, memory=False, out=Path,
        precision=("", "float32", "bfloat16"),
    )  # fmt: skip
    for name, least in (("size", 8), ("batch", 2), ("steps", 1), ("repeats", 1), ("workers", 0)):
        if getattr(args, name) < least:
            raise ReproError(f"{name} must be {least} or more, not {getattr(args, name)}: correct it.")
    spec, size = spec_of(args.backbone, args.batch, args.precision or ("bfloat16" if gpu else "float32")), args.size
    if args.profile:
        spec = base(profile(args.profile))
        spec, size = replace(spec, precision=args.precision or spec.precision), spec.data.size
    if args.memory:
        print(memory(replace(spec, data=replace(spec.data, size=size))))
        return 0

    def keep(measured: dict) -> None:
        if args.out:
            write_atomic(args.out, json.dumps(measured | {"summary": summary(measured)}, indent=1) + "\n")

    ways = tuple(engine.parse(text) for text in args.against)
    with alone():
        measured = measure(spec, size, args.steps, args.repeats, args.workers, not args.no_peers, ways, keep)
    print(report(measured))
    return 0

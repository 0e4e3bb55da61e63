"""How fast a training step is, where its time goes, and how far it is from the machine's ceiling and from its peers.

    repro bench engine --backbone resnet18 --size 32 --batch 512
    repro bench engine --memory

SimCLR on two views of random images, whole steps as training makes them: views, forward, backward, optimiser. The
engine goes the ways that $REPRO_ENGINE names. The ceiling is a large matrix product, measured in the same run; the peers
are other libraries' ways of working (`repro.bench.peers`) on the same model, batch and augmentations, in turn with ours.
Times are of the wall; ratios are of measurements of one turn, and medians are printed.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from repro.bench.clock import median
from repro.core.io import write_atomic
from repro.core.lock import alone
from repro.core.methods import METHODS, MSR, SimCLR
from repro.core.provenance import commit, machine
from repro.core.spec import Optimiser, Projector, RunSpec
from repro.cores import cores
from repro.errors import ReproError
from repro.ssl import engine, methods, optim, train
from repro.views.recipe import preset

PARTS = ("views", "forward", "backward", "optimiser")
PLAIN = "as it is written"


def spec_of(backbone: str, batch: int, precision: str) -> RunSpec:
    return RunSpec(
        recipe=preset("all"), method=SimCLR(), backbone=backbone, projector=Projector(2, 2048, 256),
        optimiser=Optimiser("lars", lr=0.4, eta=0.02), batch_size=batch, precision=precision,
    )  # fmt: skip


def flops(spec: RunSpec, size: int) -> tuple[float, float]:
    """Operations of a view's forward pass, and of forward and backward, its share of the loss included; counted on
    networks without memory."""
    views = len(spec.recipe.views)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        learner = train.build(spec, size).train()
        loss, _ = methods.loss(learner, torch.empty(views, spec.batch_size, 3, size, size))
        forward = counter.get_total_flops()
        loss.backward()
        both = counter.get_total_flops()
    return forward / (views * spec.batch_size), both / (views * spec.batch_size)


def ceiling(device: torch.device, precision: torch.dtype, side: int = 0, repeats: int = 9) -> float:
    """Operations a second of a square matrix product of `side` rows, on random data; side 0: large for the device."""
    side = side or (8192 if device.type == "cuda" else 1024)
    a, b = (torch.randn(side, side, device=device).to(precision) for _ in range(2))
    seconds = []
    for _ in range(repeats + 2):
        began = _now(device)
        torch.matmul(a, b)
        seconds.append(_now(device) - began)
    return 2 * side**3 / min(seconds[2:])


class Ours:
    """The step that `repro.ssl.train` makes, up to any of its PARTS."""

    def __init__(self, spec: RunSpec, images: Tensor, ways: tuple[str, ...] | None = None):
        """ways: of the engine, those that $REPRO_ENGINE names if none are given."""
        self.spec, self.images, self.step = spec, images, 0
        ways = engine.ways(images.device) if ways is None else ways
        engine.prepare(images.device, spec.precision)
        self.learner = train.build(spec, images.shape[-1]).train().to(images.device, memory_format=torch.channels_last)
        self.optimiser = optim.make(self.learner, spec.optimiser, spec.batch_size)
        half = torch.full((3, 1, 1), 0.5, device=images.device)
        given = (spec, self.learner, self.optimiser, half, half / 2, ways)
        self.forward, self.both = train.passes(*given, backward=False), train.passes(*given)
        self.colours = engine.colours(ways)
        self.labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)

    def run(self, steps: int, last: str, now: Callable[[Tensor], float] | None = None) -> float:
        """Seconds of some steps that end with the part `last`, by the clock `now` of the images (default: the wall's)."""
        now = now or (lambda images: _now(images.device))
        began, first = now(self.images), self.step
        self.step += steps
        for _, index, views in train.batches(self.spec, self.images, first, self.step, self.colours):
            if last == "views":
                continue
            passes = self.forward if last == "forward" else self.both
            passes(views, self.labels[index], 0.5)
            if last == "optimiser":
                self.optimiser.step()
                methods.after_step(self.learner, 0.5)
        return now(self.images) - began


def measure(
    spec: RunSpec,
    size: int,
    steps: int,
    repeats: int,
    workers: int = 0,
    say: Callable[[str], None] = lambda text: None,
    with_peers: bool = True,
    against: tuple[tuple[str, ...], ...] = (),
    keep: Callable[[dict], None] = lambda found: None,
) -> dict:
    """Seconds a step: for each of PARTS ours takes up to there, for each of the engine's ways `against` it, and for each
    peer; a list over turns each. And what else the report needs. `say` hears of a peer that cannot run here and is left
    out; `keep` gets what is there after each turn."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (steps * spec.batch_size, 3, size, size), dtype=torch.uint8, generator=generator)
    from repro.bench import peers  # torchvision's transforms take a second to import

    mine = Ours(spec, images.to(device))
    number = max(steps, engine.WARM + 1)
    paces = {part: functools.partial(_own_pace, mine, number, part) for part in PARTS}
    for ways in against if device.type == "cuda" else ():
        other = Ours(spec, images.to(device), ways)
        paces["ours, " + (", ".join(ways) or PLAIN)] = functools.partial(_own_pace, other, number, "optimiser")
    others = peers.contestants(spec, images.to(device), workers, cores()) if with_peers else {}
    paces |= {name: functools.partial(_pace, peer, device) for name, peer in others.items()}
    seconds: dict[str, list[float]] = {name: [] for name in paces}
    forward, both = flops(spec, size)
    precision = torch.bfloat16 if spec.precision == "bfloat16" else torch.float32
    found = {
        **machine(), "commit": commit(), "backbone": spec.backbone, "size": size, "batch": spec.batch_size,
        "views": len(spec.recipe.views), "recipe": spec.recipe.name, "precision": spec.precision,
        "ways": list(engine.ways(device)), "cores": cores(), "steps": steps, "seconds": seconds,
        "flops_forward": forward, "flops": both,
        "ceiling": ceiling(device, precision), "ceiling_float32": ceiling(device, torch.float32),
        "workers": {name: peer.workers for name, peer in others.items()},
        "precisions": {name: str(peer.precision).split(".")[-1] for name, peer in others.items()},
    }  # fmt: skip
    for turn in range(-1, repeats):  # the first warms up, compiles and captures, and is not counted
        say(f"turn {turn + 1} of {repeats}")
        for name, pace in list(paces.items()):
            try:
                if turn < 0 and name not in others:
                    pace()
                value = pace()
            except (RuntimeError, OSError) as e:  # a peer's workers may lack shared memory, say
                if name not in others:
                    raise
                say(f"{name} cannot run here and is left out: {e}")
                for known in (others, paces, seconds, found["workers"], found["precisions"]):
                    del known[name]
                continue
            if turn >= 0:
                seconds[name].append(value)
        if turn >= 0:
            keep(found)
    return found


def _own_pace(mine: Ours, steps: int, last: str) -> float:
    return mine.run(steps, last) / steps


def _pace(peer, device: torch.device) -> float:
    """Seconds a step of a peer whose workers are at their pace, over two steps a worker, since batches come in bursts."""
    number = 2 * peer.workers
    walk = peer.steps(number)
    next(walk)
    began = _now(device)
    for _ in walk:
        pass
    return (_now(device) - began) / number


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def summary(found: dict) -> dict[str, float]:
    """Medians over turns: views_s and share (of the ceiling) of our whole step; <part>_ms; <peer>_views_s and _ratio."""
    seconds, count = found["seconds"], found["batch"] * found["views"]
    whole = seconds["optimiser"]
    out = {"views_s": count / median(whole)}
    out["share"] = out["views_s"] * found["flops"] / found["ceiling"]
    before = [0.0] * len(whole)
    for part in PARTS:
        out[f"{part}_ms"] = 1000 * median([t - b for t, b in zip(seconds[part], before)])
        before = seconds[part]
    for name in seconds:
        if name not in PARTS:
            out[f"{name}_views_s"] = count / median(seconds[name])
            out[f"{name}_ratio"] = median([theirs / ours for theirs, ours in zip(seconds[name], whole)])
    return out


def report(found: dict) -> str:
    said = summary(found)
    whole = 1000 * median(found["seconds"]["optimiser"])
    ways = ", ".join(found["ways"]) or PLAIN
    lines = [
        f"SimCLR, {found['backbone']}, {found['size']} px, batch {found['batch']}, {found['views']} views, "
        f"{found['precision']}, on {found['hardware']}; medians of {len(found['seconds']['views'])} turns of "
        f"{found['steps']} steps",
        f"a view costs {found['flops'] / 1e9:.3g} GFLOP forward and backward ({found['flops_forward'] / 1e9:.3g} forward)",
        f"a matrix product runs at {found['ceiling'] / 1e12:.3g} TFLOP/s in {found['precision']}, at "
        f"{found['ceiling_float32'] / 1e12:.3g} in float32",
        "",
        f"ours ({ways}): {said['views_s']:,.0f} views/s, {said['share']:.1%} of the matrix product's rate",
        f"  a step takes {whole:.2f} ms:",
        *(f"  {p:10} {said[f'{p}_ms']:8.2f} ms {said[f'{p}_ms'] / whole:6.1%}" for p in PARTS),
        "",
    ]
    for name in [n for n in found["seconds"] if n not in PARTS]:
        ratios = [t / o for t, o in zip(found["seconds"][name], found["seconds"]["optimiser"])]
        how = f" ({found['precisions'][name]}, {found['workers'][name]} workers)" if name in found["workers"] else ""
        lines.append(
            f"{name}{how}: {said[f'{name}_views_s']:,.0f} views/s; ours is {said[f'{name}_ratio']:.2f} times as fast "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
    return "\n".join(lines)


def memory(spec: RunSpec, batches: tuple[int, ...] = (256, 512, 1024, 2048, 4096, 8192)) -> str:
    """The peak memory of a step by method and batch, on a GPU."""
    if not torch.cuda.is_available():
        raise ReproError("There is no GPU here whose memory could be measured: run it on a machine that has one.")
    lines = [f"peak GB of a step, {spec.backbone}, {spec.data.size} px, {spec.precision}; - does not fit"]
    lines += [f"{'batch':14}" + "".join(f"{b:>8}" for b in batches)]
    for method in (*(make() for make in METHODS.values()), MSR()):
        recipe = preset("msr") if isinstance(method, MSR) else preset("simclr-small")
        if methods.VIEWS.get(type(method), 2) != 2:
            continue
        cells = []
        for batch in batches:
            torch.cuda.reset_peak_memory_stats()
            fits = train.fits(replace(spec, method=method, recipe=recipe, batch_size=batch))
            cells.append(f"{torch.cuda.max_memory_allocated() / 1e9:8.1f}" if fits else f"{'-':>8}")
        lines.append(f"{type(method).__name__:14}" + "".join(cells))
    return "\n".join(lines)


def main(argv: list[str]) -> int:
    """`repro bench engine`: views a second, the parts of a step, and the ratios to the peers."""
    parser = argparse.ArgumentParser(prog="repro bench engine", description=__doc__.split("\n")[0])
    gpu = torch.cuda.is_available()
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=32 if gpu else 2, help="of one turn")
    parser.add_argument("--repeats", type=int, default=5 if gpu else 3, help="turns")
    parser.add_argument("--workers", type=int, default=0, help="of every peer (default: as its recipe has it)")
    parser.add_argument(
        "--against", action="append", default=[], metavar="WAYS", help="the engine's other ways, in turn"
    )
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="measure ours alone")
    parser.add_argument("--precision", default="bfloat16" if gpu else "float32", choices=["float32", "bfloat16"])
    parser.add_argument("--memory", action="store_true", help="the memory of a step by method and batch instead")
    parser.add_argument("--out", type=Path, help="also write what was measured, as JSON")
    args = parser.parse_args(argv)
    for name, least in (("size", 8), ("batch", 2), ("steps", 1), ("repeats", 1), ("workers", 0)):
        if getattr(args, name) < least:
            raise ReproError(f"{name} must be {least} or more, not {getattr(args, name)}: correct it.")
    if not gpu:
        torch.set_num_threads(1)
    spec = spec_of(args.backbone, args.batch, args.precision)
    if args.memory:
        print(memory(replace(spec, data=replace(spec.data, size=args.size))))
        return 0

    def keep(found: dict) -> None:
        if args.out:
            write_atomic(args.out, json.dumps(found | {"summary": summary(found)}, indent=1) + "\n")

    with alone():
        found = measure(
            spec, args.size, args.steps, args.repeats, args.workers,
            lambda text: print(text, file=sys.stderr, flush=True), args.peers,
            tuple(engine.parse(text) for text in args.against), keep,
        )  # fmt: skip
    print(report(found))
    return 0

"""What a run on several processes costs: its steps on one and on two of this machine, what they exchange, and a model.

    repro bench scale --backbone resnet18 --size 32 --batch 512 --gbps 200 --latency 20

Whole steps on made-up views, forward to optimiser, by the wall's clock, medians; on a CPU the two processes share its
cores. What is exchanged is counted where this package does it: on GPUs torch's batch norm adds its own. The model is no
measurement; ASSUMED says what it takes for granted.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Mapping

import torch

from repro.bench.common import options, show
from repro.bench.engine import spec_of
from repro.core.spec import RunSpec
from repro.errors import ReproError
from repro.ssl import engine, ranks
from repro.ssl.step import Step, build

WARM = 3  # steps that are not counted
ASSUMED = (
    "every GPU keeps the measured batch, so that the whole batch grows with their number; it computes for as long as one "
    "process does here (or --ms), and exchanges after that: sums go round a ring, a gather brings the slices of the N - 1 "
    "others, each exchange waits for the latency once; the loss of the larger batch and the slowest GPU cost nothing more"
)


def steps(spec: RunSpec, size: int, count: int) -> tuple[float, dict[str, float]]:
    """Seconds of a step, the median of `count`, of this rank's slice of the batch; and what it exchanges: calls, bytes
    reduced and bytes gathered, those that this rank gives."""
    device, part = engine.device(), ranks.part(spec.batch_size)
    step = Step(spec, build(spec, size, device), ways=engine.ways(device))
    views = torch.rand(len(spec.recipe.views), part, 3, size, size, device=device)
    labels, seconds = torch.zeros(part, dtype=torch.int64, device=device), []
    for number in range(WARM + count):
        if number == WARM:
            ranks.exchanged.clear()
        began = time.perf_counter()
        step(views, labels, number, WARM + count)[0].item()
        seconds.append(time.perf_counter() - began)
    each = {name: ranks.exchanged[name] / count for name in ("calls", "all_reduce", "all_gather")}
    return statistics.median(seconds[WARM:]), each


def on_two(spec: RunSpec, size: int, count: int) -> tuple[float, dict[str, float]]:
    """`steps` of this process and another one, which ends with it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(s.getsockname()[1]), "WORLD_SIZE": "2"}
    other = multiprocessing.get_context("spawn").Process(target=_follow, daemon=True)
    other.start()
    os.environ["RANK"] = "0"
    ranks.start()
    ranks.call(steps, spec, size, count)
    return steps(spec, size, count)


def _follow() -> None:
    os.environ |= {"RANK": "1", "LOCAL_RANK": "1"}
    ranks.start()
    ranks.follow()


def model(seconds: float, exchanged: Mapping[str, float], gpus: int, gbps: float, latency: float) -> float:
    """Seconds of a step of so many GPUs at `gbps` gigabits a second each and `latency` seconds an exchange, by the
    assumptions above. exchanged: as `steps` has it."""
    ring = 2 * (gpus - 1) / gpus * exchanged["all_reduce"] + (gpus - 1) * exchanged["all_gather"]
    return seconds + (gpus > 1) * exchanged["calls"] * latency + ring / (gbps * 1e9 / 8)


def main(argv: list[str]) -> int:
    """`repro bench scale`."""
    args = options(
        argv, "scale", __doc__, backbone="convnet", size=16, batch=64, steps=30, precision=("float32", "bfloat16"),
        gbps=200.0, latency=20.0, ms=0.0,
    )  # fmt: skip
    if torch.cuda.device_count() == 1:
        raise ReproError(
            "One GPU cannot be two: measure on a machine with two, or with CUDA_VISIBLE_DEVICES= on a CPU."
        )
    spec = spec_of(args.backbone, args.batch, args.precision)
    one, _ = steps(spec, args.size, args.steps)
    two, exchanged = on_two(spec, args.size, args.steps)
    rows = [{"processes": n, "steps/s": 1 / s, "over one": one / s} for n, s in ((1, one), (2, two))]
    show(f"SimCLR's steps of {args.batch} images of {args.size} px, {args.backbone}", args.steps, rows)
    reduced, gathered = (exchanged[name] / 1e6 for name in ("all_reduce", "all_gather"))
    print(f"a step exchanges {exchanged['calls']:.0f} times: {reduced:.2f} MB are summed, {gathered:.3f} MB gathered")
    alone = args.ms / 1000 or one
    whose = "given" if args.ms else "measured here, on one process"
    print(
        f"\nA model, not a measurement, from a step of {1000 * alone:.1f} ms ({whose}).\n"
        f"Assumed: {args.gbps:g} Gbit/s a GPU, {args.latency:g} us of latency; {ASSUMED}."
    )
    # half of the batch was on each of the two: a GPU with all of it gathers twice as much
    exchanged = exchanged | {"all_gather": 2 * exchanged["all_gather"]}
    for gpus in (1, 8, 64, 512):
        each = model(alone, exchanged, gpus, args.gbps, args.latency * 1e-6)
        print(f"{gpus:4} GPUs: {1000 * each:8.1f} ms a step, {gpus * args.batch / each:12,.0f} images/s, "
              f"{100 * alone / each:5.1f} % of a GPU's own rate each")  # fmt: skip
    return 0

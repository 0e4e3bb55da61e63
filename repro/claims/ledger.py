"""What a plan would cost on the paper's hardware: an estimate for runs that nobody here can make.

The FFCV-SSL paper says what its standard run takes on one and on eight A100s (claim A1 in the registry). A run takes the
share of that which its images seen, times views, times the forward pass of its backbone give, and a third more if a target
network looks at every view as well. Loading, probing and idle time count as if they scaled alike: it is a size, not a
promise.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from repro.claims import registry
from repro.core import datasets
from repro.core.datasets import DATASETS
from repro.core.spec import DataSpec, data_names, flatten, key, trains

TARGETS = ("BYOL", "MoCo", "MSR", "SimSiamMSR")
"""Methods with targets: as many views again, seen without a backward pass."""


def hours(spec: Any) -> tuple[float, float]:
    """Estimated hours of a RunSpec on one A100 and on eight. An untrained encoder costs none."""
    from repro.core.profiles import base, profile

    said = registry.numbers("A1")["hours"]
    share = work(spec) / work(base(profile("paper")))
    return said["one_gpu"] * share, said["eight_gpus"] * share


def images_of(data: DataSpec) -> int:
    """Pretraining images of the whole set, known without loading it; as many as CIFAR's of a set without a name."""
    known = DATASETS.get(data.name, DATASETS["cifar10"])
    return int(dict(data.options).get("images", known.images))


def work(spec: Any) -> float:
    """Operations of a RunSpec's training; an untrained encoder has none."""
    method = type(spec.method).__name__
    if method == "Untrained":
        return 0.0
    images = spec.data.fraction * images_of(spec.data)
    seen = spec.steps * spec.batch_size if spec.steps else spec.epochs * images
    each = forward(spec) * (4 if method in TARGETS else 3)
    weak = sum(v.parent >= 0 for v in spec.recipe.views)  # the views that others are made from are the targets'
    return seen * (len(spec.recipe.views) - weak) * each


FORWARD = {("resnet50", 224): 8_174_272_512, ("resnet18", 64): 4_443_340_800, ("resnet18", 32): 1_110_835_200}
"""What `count` finds for the networks that plans take, so that printing a plan need not import and build them."""


def forward(spec: Any) -> float:
    """Operations of a forward pass of one image through a spec's backbone."""
    shape = spec.backbone, spec.data.size or 32
    return FORWARD.get(shape) or count(*shape)


@functools.cache
def count(backbone: str, size: int) -> float:
    """Operations of one image's forward pass, counted on a network without memory."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from repro.ssl import networks

    with torch.device("meta"):
        net, _ = networks.backbone(backbone, size)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        net.eval()(torch.empty(1, 3, size, size))
    return float(counter.get_total_flops())


CPU_SHARE = 0.25
"""The share of a matrix product's rate at which whole runs of the profile `cpu` train on one core, views included: its
standard run, 1.2e12 operations, took 53 s of a core that multiplies matrices at 84e9 a second."""


def hours_here(specs: Iterable[Any], workers: int) -> float:
    """Estimated hours of RunSpecs on this machine's cores, one thread a worker, by the rate of a matrix product now."""
    import torch
    from torch.utils.benchmark import Timer

    product = Timer("a @ a", globals={"a": torch.ones(768, 768)}, num_threads=1)
    rate = 2 * 768**3 / min(product.timeit(1).mean for _ in range(20))  # the fastest: others waited for neighbours
    return sum(work(s) for s in specs if trains(s)) / (CPU_SHARE * rate * workers) / 3600


def total(specs: Iterable[Any]) -> str:
    """The sum of a plan's runs in words."""
    one, eight = (sum(h) for h in zip((0.0, 0.0), *(hours(s) for s in specs if trains(s))))
    if not one:
        return "to need no GPU"
    return f"{one:,.0f} h on one A100 or {eight:,.0f} h on eight"


def lines(specs: Iterable[Any]) -> list[str]:
    """Every run of a plan, a line for those that differ in their seed only: what sets it apart, and its estimated cost."""
    runs = [s for s in {key(s): s for s in specs}.values() if trains(s)]
    said = [
        {k: v for k, v in flatten(s).items() if k != "seed" and not isinstance(v, (list, tuple, dict))} for s in runs
    ]
    varying = [k for k in dict.fromkeys(k for d in said for k in d) if len({d.get(k) for d in said}) > 1]
    groups: dict[str, list[Any]] = {}
    for spec, values in zip(runs, said):
        name = ", ".join(f"{k} {values[k]}" for k in varying if k != "method" and values.get(k) is not None)
        groups.setdefault(", ".join(filter(None, (values["method"], name))), []).append(spec)
    out = []
    for name, same in groups.items():
        one, eight = hours(same[0])
        out.append(f"{name}: {len(same)} seeds, each about {one:,.1f} h on one A100, {eight:,.1f} h on eight")
    return [*out, f"estimated for the whole plan: {total(runs)}, scaled from the paper's standard run"] if runs else []


def outline(specs: Iterable[Any], at_once: int, gpus: int = 1) -> str:
    """A plan in a line: its runs, the hours of one A100 and of `at_once` runs at a time on `gpus` each, the disk that
    checkpoints take beside the data and the store, and what nothing here has checked."""
    from repro import data

    unique = list({key(s): s for s in specs}.values())
    runs = [s for s in unique if trains(s)]
    said = f"{len(unique)} runs"
    if each := [hours(s)[0] for s in runs]:
        array = max(sum(each) / at_once, *each) / gpus
        disk = sum(sorted(map(checkpoint_bytes, runs))[-at_once:])
        said += f", {sum(each):,.0f} h on one A100, {array:,.0f} h on {at_once} x {gpus}, {disk / 1e9:.1f} GB of checkpoints"
    names = dict.fromkeys(name for s in unique for name in data_names(s))
    missing = [data.title(n) for n in names if n not in datasets.EMBEDDED and not datasets.is_prepared(n)]
    unchecked = [f"{' and '.join(missing)}, not on this machine"] * bool(missing) + [
        "memory and hours of a GPU"
    ] * bool(runs)
    return f"{said}; not checked: {'; '.join(unchecked) or 'nothing'}"


def checkpoint_bytes(spec: Any) -> int:
    """Of a run's weights and its optimiser's state, counted on networks without memory."""
    return _checkpoint_bytes(spec.backbone, spec.data.size, spec.projector, spec.method, spec.optimiser.name)


@functools.cache
def _checkpoint_bytes(backbone: Any, size: int, projector: Any, method: Any, optimiser: str) -> int:
    import torch

    from repro.core.spec import RunSpec
    from repro.ssl.step import build

    with torch.device("meta"):
        learner = build(RunSpec(backbone=backbone, projector=projector, method=method), size or 224)
    state = sum(p.nbytes for p in learner.trained()) * (2 if optimiser == "adamw" else 1)
    return state + sum(t.nbytes for t in learner.state_dict().values())

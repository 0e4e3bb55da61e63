"""The one training loop: a RunSpec in, its numbers out.

Everything random is a function of (seed, epoch, sample, view), so a run that was stopped at any step and resumed from its
checkpoint gives, on a CPU, the same bits as one never stopped.
"""

from __future__ import annotations

import copy
import functools
import gc
import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro import data
from repro.core.io import write_atomic
from repro.core.spec import DataSpec, Loading, Optimiser, Probes, RunSpec, key
from repro.core.store import Result
from repro.errors import DoesNotFit, ReproError
from repro.loader import compiled
from repro.loader.loader import Images
from repro.ssl import engine, methods, networks, optim, pairs, probes, spectra
from repro.views import batched
from repro.views.draw import Params, permutation
from repro.views.recipe import Recipe, View, repeat

AT_THE_END = ("averaged", "trainmode", "cropped", "linear_pass", "mlp_pass")  # probes that no checkpoint has
CROPS = 4  # crops of each image that the probe "cropped" is fitted on
CHUNK = 1024  # views are made for this many images at a time on a CPU, whatever the batch
GPU_CHUNK = 2**23  # pixels of views that are made at a time on a GPU: eight batches of 512 at 32 px, two views each


def run(
    spec: RunSpec,
    scratch: Path | None = None,
    tick: Callable[[int, int, float], None] = lambda step, steps, loss: None,
    checkpoint_seconds: float = 30.0,
    keep_weights: bool = False,
) -> Result:
    """Pretrain and probe. Returns metrics `<probe>_<split>_<task>` in percent and, per epoch, the curves.

    scratch: a folder for checkpoints; a run found there goes on. tick(step, steps, loss) is called after every step and
    may raise to stop the run; the loss is that of the last finished epoch. keep_weights: leave weights.pt in scratch.
    Raises ReproError for a spec that cannot run, DoesNotFit where memory is short; a run whose loss is not finite returns
    with diverged = 1.
    """
    try:
        return _run(spec, scratch, tick, checkpoint_seconds, keep_weights)
    except torch.OutOfMemoryError:
        pass  # its traceback holds the run's tensors, and is gone behind this block
    raise DoesNotFit(_what_fits(spec))


def _run(spec, scratch, tick, checkpoint_seconds, keep_weights) -> Result:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ways = engine.ways(device)
    engine.prepare(device, spec.precision)
    dataset = data.load(spec.data.name, spec.data.size, spec.data.options)
    size = dataset.train.images.shape[-1]
    learner = build(spec, size).to(device, memory_format=torch.channels_last)
    tasks = spec.probes.tasks or tuple(dataset.tasks)
    unknown = set(tasks) - set(dataset.tasks)
    if unknown:
        raise ReproError(f"{dataset.title} has no task {min(unknown)!r}: choose from {', '.join(dataset.tasks)}.")
    if isinstance(spec.method, methods.Supervised) and spec.projector.dim < dataset.tasks[tasks[0]]:
        raise ReproError(
            f"Supervised training on {tasks[0]} needs {dataset.tasks[tasks[0]]} outputs of the projector, not "
            f"{spec.projector.dim}: set its dim."
        )
    if isinstance(spec.method, methods.Untrained):
        return Result({"diverged": 0.0, **probe(spec, learner.backbone, dataset, tasks, final=True)})

    chosen = data.subset(dataset.train, spec.data.fraction, spec.seed)
    labels = dataset.train.labels[tasks[0]][chosen].to(device)
    if spec.data.fraction < 1:  # a small share of a reader's small data set is one batch
        spec = replace(spec, batch_size=min(spec.batch_size, len(chosen)))
    per_epoch = len(chosen) // spec.batch_size
    if per_epoch == 0:
        raise ReproError(
            f"{dataset.title} has {len(chosen)} images to train on, fewer than a batch of {spec.batch_size}: give a data "
            "set with more; of a folder without train/ and test/, seven in ten are trained on."
        )
    steps = spec.steps or spec.epochs * per_epoch
    optimiser = optim.make(learner, spec.optimiser, spec.batch_size)
    online = nn.utils.skip_init(nn.Linear, learner.features, dataset.tasks[tasks[0]]).to(device)  # draws no numbers
    nn.init.zeros_(online.weight)
    nn.init.zeros_(online.bias)
    if spec.probes.online_norm:
        online = nn.Sequential(nn.BatchNorm1d(learner.features, affine=False, device=device), online)
    online_optimiser = torch.optim.AdamW(online.parameters(), lr=1e-2, weight_decay=0.0, foreach=True)

    parts = {"learner": learner, "optimiser": optimiser, "online": online, "online_optimiser": online_optimiser}
    state = {"step": 0, "loss": torch.zeros((), device=device), "curves": {"epoch": [], "loss": []}}
    # seconds of training and making views, probing apart; not among the curves, which are the same in every measurement
    state |= {"seconds": 0.0, "cpu_seconds": 0.0, "epoch_seconds": [], "epoch_cpu_seconds": []}
    checkpoint = scratch / "checkpoint.pt" if scratch else None
    if checkpoint and checkpoint.exists():
        state |= resume_checkpoint(checkpoint, parts)
        state["loss"] = state["loss"].to(device)
    curves, mean, std = state["curves"], *(x.to(device).view(3, 1, 1) for x in (dataset.mean, dataset.std))
    colours = engine.colours(ways)
    two = dataset.train.images[chosen[:2]].to(device)
    make_views(two, spec.recipe, spec.seed, 0, torch.arange(2, device=device))  # compiled before the clock runs

    if spec.loading.name == "memory":
        images = dataset.train.images[chosen]
        if not isinstance(images, Tensor):
            raise ReproError(
                f'{dataset.title} at {size} px is too large to train from memory: give loading=Loading("ours"), which '
                "reads its files at every step, or a smaller option `images`."
            )
        images = images.to(device)
        feed = batches(spec, images, state["step"], steps, colours)
        if colours:
            next(batches(spec, images, 0, 1, colours))  # compiled before the clock runs, too
    else:
        feed = batches_from_files(spec, dataset.train, chosen, device, state["step"], steps)
    both = passes(spec, learner, optimiser, mean, std, ways)
    learner.train()
    if device.type == "cuda":
        _find_convolutions(spec, size)

    def read(final: bool) -> dict[str, float]:
        scores = probe(spec, learner.backbone, dataset, tasks, final, curves)
        if spec.probes.online:
            splits = ("val", "test") if final else ("val",)
            scores |= _online(learner, online, dataset, tasks[0], splits, spec.precision)
        return scores

    watched = pairs.make(spec, dataset).to(device) if spec.probes.pairs else None
    if watched and not state["step"]:
        pairs.read(learner, watched, curves, 0)
    saved, began = time.monotonic(), _clocks()
    for step, index, views in feed:
        progress = step / steps
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * optim.rate(spec.optimiser, step, steps)
        seen = labels[index]
        loss, features = both(views, seen, progress)
        optimiser.step()
        methods.after_step(learner, progress)
        if spec.probes.online:
            guess = online(features.float().flatten(0, 1))
            online_loss = F.cross_entropy(guess, seen.repeat(len(features)), ignore_index=-1)
            online_optimiser.zero_grad(set_to_none=True)
            online_loss.backward()
            online_optimiser.step()
        state["loss"] += loss
        state["step"] = step + 1

        if (step + 1) % per_epoch == 0 or step + 1 == steps:  # the host waits for the device here, and to read pairs
            epoch = math.ceil((step + 1) / per_epoch)
            curves["epoch"].append(epoch)
            curves["loss"].append(state["loss"].item() / (step % per_epoch + 1))
            state["loss"] = torch.zeros((), device=device)
            state |= _elapsed(state, began)
            state["epoch_seconds"].append(round(state["seconds"], 4))
            state["epoch_cpu_seconds"].append(round(state["cpu_seconds"], 4))
            if not (math.isfinite(curves["loss"][-1]) and _finite(learner)):
                return Result({"diverged": 1.0, "steps_done": step + 1.0}, curves, _timing(state))
            if spec.probes.every and epoch % spec.probes.every == 0 and step + 1 < steps:
                _to_curves(curves, epoch, read(final=False))
            began = _clocks()
        if watched and ((step + 1) % spec.probes.pairs == 0 or step + 1 == steps):
            loss.item()  # waits for the device: what it still has to do is the run's, and not the reading's
            state |= _elapsed(state, began)
            pairs.read(learner, watched, curves, step + 1)
            began = _clocks()
        due = time.monotonic() - saved >= checkpoint_seconds
        try:
            tick(step + 1, steps, curves["loss"][-1] if curves["loss"] else math.nan)
        except Exception:
            due = True
            raise
        finally:
            if checkpoint and due:
                loss.item()  # as above: writing is no training, but what the device still has to do is
                state |= _elapsed(state, began)
                save_checkpoint(checkpoint, parts, state)
                saved, began = time.monotonic(), _clocks()

    scores = read(final=True)
    if spec.probes.every and curves["epoch"][-1] % spec.probes.every == 0:
        _to_curves(curves, curves["epoch"][-1], scores)
    metrics = {"diverged": 0.0, "steps_done": float(steps), "loss": curves["loss"][-1], **scores}
    if spec.probes.depths:
        metrics |= _by_layer(spec, learner, dataset, tasks)
    if spec.probes.spectrum:
        metrics["projection_rank"] = spectra.effective_rank(projections_of(learner, dataset).cpu().numpy())
    if keep_weights and scratch:
        _write(scratch / "weights.pt", learner.state_dict())
    return Result(metrics, curves, _timing(state) | _on_gpu(device, ways))


def passes(
    spec: RunSpec,
    learner: methods.Learner,
    optimiser: torch.optim.Optimizer,
    mean: Tensor,
    std: Tensor,
    ways: tuple[str, ...] = (),
    backward: bool = True,
) -> Callable[[Tensor, Tensor, float], tuple[Tensor, Tensor]]:
    """The forward and backward pass of a step by the engine's `ways`: a function of views (V, B, 3, H, W) in [0, 1],
    labels (B,) and progress that leaves the gradients in the parameters, and returns the loss and the backbone's
    features (V, B, F). The next call may overwrite both."""
    forward = engine.compiled(methods.loss) if "compile" in ways else methods.loss

    def both(views: Tensor, labels: Tensor, progress: float | Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(views.device.type, torch.bfloat16, enabled=spec.precision == "bfloat16"):
            loss, features = forward(learner, (views - mean) / std, spec.joint, progress, labels)
        optimiser.zero_grad(set_to_none=True)
        if backward:
            loss.backward()
        return loss.detach(), features

    if not {"graph", "compile"} & set(ways):
        return both
    moving = torch.zeros((), device=mean.device)  # the only number that moves: as a tensor it is no part of the program
    run = engine.Captured(both) if "graph" in ways else both
    return lambda views, labels, progress: run(views, labels, moving.fill_(progress))


def _on_gpu(device: torch.device, ways: tuple[str, ...]) -> dict:
    """The ways of the engine and the most memory that was in use; of a CPU nothing."""
    if device.type != "cuda":
        return {}
    return {"engine": list(ways), "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9}


def _what_fits(spec: RunSpec) -> str:
    """One sentence, after a run that ran out of memory: the largest batch that a trial step of it does fit."""
    batch, found = spec.batch_size, False
    name = f"{type(spec.method).__name__} with {spec.backbone} at {spec.data.size} px"
    if isinstance(spec.method, methods.Untrained):
        return f"{name} ran out of memory: free the device of other programs, or measure with fewer --workers."
    while batch >= 2 and not (found := fits(replace(spec, batch_size=batch))):
        batch //= 2
    if found and batch == spec.batch_size:
        return (
            f"{name} ran out of memory, though a step of its batch of {batch} fits alone: free the device of other "
            "programs, or measure with fewer --workers."
        )
    smaller = f"a batch of {batch} does" if found else "nor does one of 2: choose a smaller backbone or smaller images"
    return f"{name} does not fit into memory with a batch of {spec.batch_size}; {smaller}."


def fits(spec: RunSpec) -> bool:
    """Whether two steps of a spec on fake images find room: the first makes the optimiser's state, beside which the
    second must fit."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    try:
        _trial(spec)
    except torch.OutOfMemoryError:
        return False
    return True


def _trial(spec: RunSpec) -> None:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    size = spec.data.size or 224
    learner = build(spec, size).train().to(device, memory_format=torch.channels_last)
    optimiser = optim.make(learner, spec.optimiser, spec.batch_size)
    both = passes(spec, learner, optimiser, *torch.zeros((2, 3, 1, 1), device=device) + 0.5)
    images = torch.zeros((spec.batch_size, 3, size, size), dtype=torch.uint8, device=device)
    index = torch.arange(len(images), device=device)
    for _ in range(2):
        both(make_views(images, spec.recipe, spec.seed, 0, index), torch.zeros_like(index), 0.0)
        optimiser.step()


def _find_convolutions(spec: RunSpec, size: int) -> None:
    """A process searches for the fastest convolution of each shape at its first step, for seconds: before the clock runs.
    Cells of a grid that differ in what changes no shape share one search."""
    plain = tuple(View(parent=v.parent) for v in spec.recipe.views)
    _search(replace(
        spec, seed=0, epochs=1, steps=0, data=DataSpec("scenes", size), recipe=Recipe("plain", plain),
        optimiser=Optimiser(), probes=Probes(), loading=Loading(),
    ))  # fmt: skip


_search = functools.lru_cache(maxsize=64)(_trial)


def _clocks() -> tuple[float, float]:
    """The wall clock, and this process's own CPU time, which busy neighbours do not lengthen."""
    return time.monotonic(), time.process_time()


def _elapsed(state: dict, began: tuple[float, float]) -> dict[str, float]:
    now = _clocks()
    return {"seconds": state["seconds"] + now[0] - began[0], "cpu_seconds": state["cpu_seconds"] + now[1] - began[1]}


def _timing(state: dict) -> dict:
    """train_seconds, and the seconds of training (wall, CPU) up to the end of each epoch."""
    return {"train_seconds": state["seconds"], **{k: state[k] for k in ("epoch_seconds", "epoch_cpu_seconds")}}


def build(spec: RunSpec, size: int) -> methods.Learner:
    """The networks of a spec for images of `size` pixels, initialised by its seed alone; the backbone comes first, so
    that runs of one seed start from the same backbone whatever their method and projector."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        backbone, features = networks.backbone(spec.backbone, size)
        return methods.Learner(backbone, features, spec.projector, spec.method)


def batches(
    spec: RunSpec,
    images: Tensor,
    first: int,
    steps: int,
    colours: Callable[[Tensor, View, Params], Tensor] | None = None,
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yields (step, indices into images (B,), views (V, B, 3, size, size) float32) from step `first` on.

    The order of each epoch is a function of (seed, epoch). Views are made for whole chunks of the epoch, and a resumed
    run makes its chunk again from the start, so that not even rounding depends on where it was stopped. colours: what
    makes the views' colours on a GPU in place of `batched.appearance`.
    """
    n, batch = len(images), spec.batch_size
    per_epoch = n // batch
    many = GPU_CHUNK // (len(spec.recipe.views) * images[0, 0].numel()) if images.is_cuda else CHUNK
    chunk = max(1, many // batch) * batch
    order_of, start_of, views = -1, -1, None
    for step in range(first, steps):
        epoch, position = divmod(step, per_epoch)
        if epoch != order_of:
            order, order_of, start_of = permutation(spec.seed, epoch, n, images.device), epoch, -1
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
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """As `batches`, from files through the spec's loader, at a size that may change with the epoch. chosen: which images
    of `train`, sorted; those of a prepared set are cut from its own files, whole, where the spec asks for no size of
    files. Files that must be made are made here, before the first batch is asked for."""
    from repro.data import disk

    way, size = spec.loading, disk.growing(train.images.shape[-1], spec.loading.ramp)
    samples = chosen if way.stored or train.numbers is None else train.numbers[chosen]
    file = disk.beton_of(spec.data.name, way.stored, spec.data.options)
    rest = (spec.recipe, spec.batch_size, size, spec.seed, samples.numpy(), device)
    source = disk.loader(file, way.name, *rest, way.fast)
    samples = samples.to(device)
    compiled.warm_up()

    def stream() -> Iterator[tuple[int, Tensor, Tensor]]:
        step = first
        while step < steps:
            epoch, position = divmod(step, len(source))
            for batch in source.epoch(epoch, position):
                yield step, torch.searchsorted(samples, batch.index), batch.views.float() / 255
                step += 1
                if step == steps:
                    return

    return stream()


def make_views(
    images: Tensor,
    recipe: Recipe,
    seed: int,
    epoch: int,
    index: Tensor,
    colours: Callable[[Tensor, View, Params], Tensor] | None = None,
) -> Tensor:
    """Views (V, B, 3, H, W) of images (B, 3, H, W) uint8, where the images are; `repro.views.batched.make` says more."""
    if images.is_cuda:
        return batched.make(images, recipe, seed, epoch, index, colours=colours)
    return compiled.make(images, recipe, seed, epoch, index)


@torch.no_grad()
def features_of(
    backbone: nn.Module, images: Tensor | Images, mean: Tensor, std: Tensor, precision: str = "float32"
) -> Tensor:
    """Features (N, F) float32 of whole images (N, 3, H, W) uint8, in eval mode; the mode is put back. Those of a set that
    memory has no room for are decoded some at a time, each its middle square (`repro.data.CENTRAL`). precision: of the
    forward pass, a run's own."""
    mode = backbone.training
    backbone.eval()
    parts = images.split(2048 if _device(backbone).type == "cuda" else 512)
    out = [_forward(backbone, part, mean, std, precision) for part in parts]
    backbone.train(mode)
    return torch.cat(out)


@torch.no_grad()
def _forward(backbone: nn.Module, part: Tensor, mean: Tensor, std: Tensor, precision: str) -> Tensor:
    device = _device(backbone)
    x = (part.to(device).float() / 255 - mean.to(device).view(3, 1, 1)) / std.to(device).view(3, 1, 1)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        return backbone(x.contiguous(memory_format=torch.channels_last)).float()


def _device(module: nn.Module) -> torch.device:
    return next((p.device for p in module.parameters()), torch.device("cpu"))


@torch.no_grad()
def mean_features(
    spec: RunSpec, backbone: nn.Module, dataset: data.Dataset, images: Tensor | Images, number: int
) -> Tensor:
    """Features (N, F), each the mean over `spec.probes.averaged` views of the image made by the run's own recipe. `number`
    tells the splits apart, whose images are counted from 0 each."""
    one = Recipe("one", spec.recipe.views[:1])
    staged = any(v.parent >= 0 for v in spec.recipe.views)
    many = repeat(one if staged else spec.recipe, spec.probes.averaged)
    return torch.cat([part.mean(0) for part in _view_features(spec, backbone, dataset, images, many, number)])


def _view_features(spec, backbone, dataset, images: Tensor | Images, recipe: Recipe, number: int) -> Iterator[Tensor]:
    """Features (V, part, F) of the views of some images at a time."""
    device = _device(backbone)
    count = 1024 if device.type == "cuda" else 256
    # an epoch that no run reaches: the views are new, and the same at every checkpoint
    for views in _views_of(images, recipe, spec.seed, 2**30 + number, device, count):
        features = features_of(backbone, views.flatten(0, 1), dataset.mean, dataset.std, spec.precision)
        yield features.unflatten(0, views.shape[:2])


def _views_of(
    images: Tensor | Images, recipe: Recipe, seed: int, epoch: int, device: torch.device, count: int
) -> Iterator[Tensor]:
    """Views (V, count, 3, H, W) uint8 of so many images at a time: of images in files, of the whole image."""
    if not isinstance(images, Tensor):
        yield from images.views(recipe, count, seed, epoch)
        return
    for index in torch.arange(len(images)).split(count):
        views = make_views(images[index].to(device), recipe, seed, epoch, index.to(device))
        yield (views * 255).round().to(torch.uint8)


@torch.no_grad()
def projections_of(learner: methods.Learner, dataset: data.Dataset, count: int = 1000) -> Tensor:
    """Projections (N, D), each of length one, of the first `count` validation images, in eval mode and float32."""
    h = features_of(learner.backbone, dataset.val.images[:count], dataset.mean, dataset.std)
    mode = learner.training
    z = learner.eval().projector(h)
    learner.train(mode)
    return F.normalize(z.float(), dim=1)


def probe(
    spec: RunSpec,
    backbone: nn.Module,
    dataset: data.Dataset,
    tasks: tuple[str, ...],
    final: bool,
    curves: dict[str, list] | None = None,
) -> dict[str, float]:
    """Every probe the spec asks for; what has a value a pass goes to `curves`. Before the end (`final` false) the test
    split is not read."""
    wanted = spec.probes
    splits = (_labelled(dataset.train, wanted.labels), dataset.val, dataset.test if final else dataset.val)
    read = functools.partial(features_of, backbone, mean=dataset.mean, std=dataset.std, precision=spec.precision)
    features = [read(s.images) for s in splits[: 3 if final else 2]]
    features += features[1:2] * (3 - len(features))
    metrics: dict[str, float] = {}
    if wanted.spectrum:
        spectrum = spectra.eigenspectrum(features[1].cpu().numpy())
        metrics |= {"alpha": spectra.alpha(spectrum), "rankme": spectra.rankme(features[1].cpu().numpy())}
    features = probes.standardise(*features)
    averaged = []
    if wanted.averaged and final:
        averaged = [mean_features(spec, backbone, dataset, s.images, i) for i, s in enumerate(splits)]
        averaged = probes.standardise(*averaged)
    others = _other_protocols(spec, backbone, dataset, splits) if wanted.choices and final else {}
    for task in tasks:
        labels = [s.labels[task].to(features[0].device) for s in splits]
        found: dict[str, dict[str, float]] = {}
        if wanted.linear:
            found["linear"] = probes.linear(features, labels, dataset.tasks[task])
        if wanted.linear and averaged:
            found["averaged"] = probes.linear(averaged, labels, dataset.tasks[task])
        if wanted.mlp:
            found["mlp"] = probes.mlp(features, labels, dataset.tasks[task], spec.seed)
        if wanted.sgd:
            found["sgd"] = sgd_probe(spec, backbone, dataset, task)
        if wanted.knn:
            found["knn"] = probes.knn(features, labels, dataset.tasks[task])
        for name, (copies, other) in others.items():
            found[name] = probes.linear(other, [labels[0].repeat(copies), *labels[1:]], dataset.tasks[task])
        if wanted.passes and final:
            hidden = max(256, features[0].shape[1])  # 2048 for a ResNet-50, as in the FFCV-SSL paper
            for name, width, rate in (("linear_pass", 0, 1e-2), ("mlp_pass", hidden, 2e-3)):
                fitted = probes.by_pass(features, labels, dataset.tasks[task], spec.seed, wanted.passes, width, rate)
                found[name], by_pass = fitted
                if curves is not None:
                    curves[f"{name}_val_{task}"] = by_pass
        for name, scores in found.items():
            metrics |= {f"{name}_{s}_{task}": v for s, v in scores.items() if final or not s.startswith("test")}
    return metrics


def _other_protocols(spec, backbone, dataset, splits) -> dict[str, tuple[int, list[Tensor]]]:
    """Standardised features of train, val and test as others take them, and how often the train labels repeat."""
    mean, std = dataset.mean, dataset.std
    training = copy.deepcopy(backbone).train()  # a copy: reading in train mode moves batch norm's averages
    mode = [torch.cat([_forward(training, x, mean, std, spec.precision) for x in s.images.split(256)]) for s in splits]
    view = spec.recipe.views[0]
    crops = repeat(Recipe("crop", (View(crop=view.crop, ratio=view.ratio, flip=view.flip),)), CROPS)
    cropped = torch.cat([*_view_features(spec, backbone, dataset, splits[0].images, crops, 9)], 1).flatten(0, 1)
    clean = [features_of(backbone, s.images, mean, std, spec.precision) for s in splits[1:]]
    return {"trainmode": (1, probes.standardise(*mode)), "cropped": (CROPS, probes.standardise(cropped, *clean))}


@torch.no_grad()
def _by_layer(spec, learner: methods.Learner, dataset, tasks) -> dict[str, float]:
    """Linear probes behind each layer of the projector: `layer1_...` is the first."""
    splits = (_labelled(dataset.train, spec.probes.labels), dataset.val, dataset.test)
    read = functools.partial(
        features_of, learner.backbone, mean=dataset.mean, std=dataset.std, precision=spec.precision
    )
    features = [read(s.images) for s in splits]
    found, mode, number = {}, learner.training, 0
    learner.eval()
    for block in learner.projector if spec.projector.layers else ():
        number += isinstance(block, nn.Linear)
        features = [block(x) for x in features]
        if isinstance(block, nn.ReLU) or number == spec.projector.layers:
            given = probes.standardise(*features)
            for task in tasks:
                labels = [s.labels[task].to(given[0].device) for s in splits]
                with torch.enable_grad():
                    scores = probes.linear(given, labels, dataset.tasks[task])
                found |= {f"layer{number}_{s}_{task}": v for s, v in scores.items()}
    learner.train(mode)
    return found


def sgd_probe(spec: RunSpec, backbone: nn.Module, dataset: data.Dataset, task: str) -> dict[str, float]:
    """The published recipe `spec.probes.sgd`: each epoch on new crops of the labelled images, read on the clean ones."""
    recipe = probes.SGD_RECIPES[spec.probes.sgd]
    device = _device(backbone)
    seen = _labelled(dataset.train, spec.probes.labels)
    crop = Recipe("crop and flip", (View(),))
    images = seen.images.to(device) if isinstance(seen.images, Tensor) else seen.images
    read = functools.partial(features_of, backbone, mean=dataset.mean, std=dataset.std, precision=spec.precision)

    def features(epoch: int) -> Tensor:
        # epochs that no run reaches: the crops are new, and the same for every backbone
        parts = _views_of(images, crop, spec.seed, 2**29 + epoch, device, CHUNK)
        return torch.cat([read(views[0]) for views in parts])

    clean = [read(s.images) for s in (seen, dataset.val, dataset.test)]
    labels = [s.labels[task].to(device) for s in (seen, dataset.val, dataset.test)]
    return probes.sgd(features, clean, labels, dataset.tasks[task], spec.seed, recipe)


def _labelled(train: data.Split, count: int) -> data.Split:
    named = next(iter(train.labels.values())) >= 0  # STL-10 has images without a label
    if not named.all():
        train = data.Split(train.images[named], {k: v[named] for k, v in train.labels.items()})
    if count == 0 or count >= len(train.images):
        return train
    index = data.subset(train, count / len(train.images), seed=0)
    return data.Split(train.images[index], {k: v[index] for k, v in train.labels.items()})


def _to_curves(curves: dict[str, list], epoch: int, scores: dict[str, float]) -> None:
    """Adds what is read at every checkpoint; of the scores at the end, the rest is left out."""
    curves.setdefault("probe_epoch", []).append(epoch)
    for name, value in scores.items():
        if "_test" not in name and not name.startswith(AT_THE_END):
            curves.setdefault(name, []).append(value)


def _finite(learner: nn.Module) -> bool:
    """Whether all weights are finite: the last step of a run can break them after its loss was still a number."""
    return math.isfinite(torch.stack(torch._foreach_norm(list(learner.parameters()))).sum().item())


def _online(learner, online, dataset, task, splits, precision) -> dict[str, float]:
    out, mode = {}, online.training
    online.eval()
    for name in splits:
        split: data.Split = getattr(dataset, name)
        features = features_of(learner.backbone, split.images, dataset.mean, dataset.std, precision)
        with torch.no_grad():
            out[f"online_{name}_{task}"] = probes.accuracy(online(features), split.labels[task].to(features.device))
    online.train(mode)
    return out


def save_checkpoint(path: Path, parts: dict, state: dict) -> None:
    """Write a loop's `state` and the state_dict of its `parts` (modules, optimisers), whole or not at all."""
    _write(path, {"state": state, **{k: v.state_dict() for k, v in parts.items()}})


def _write(path: Path, content: dict) -> None:
    """torch.save by way of memory: what it says of a full disk is for no one, and its file may be left in part."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def resume_checkpoint(path: Path, parts: dict) -> dict:
    """Put the parts back as they were saved; the loop's state, on the CPU. The parts move what they keep by themselves:
    AdamW counts its steps on the CPU, and would make the host wait for a count on a GPU. ReproError if the file is
    damaged."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        return saved["state"]
    except Exception as e:  # torch raises many types
        raise ReproError(
            f"The checkpoint {path} is damaged or of another version: delete the folder {path.parent} and run again, "
            "which starts this run anew."
        ) from e


def dry_run(spec: RunSpec, views: Tensor | None = None) -> int:
    """Build every part of a spec and take one training step on `views` (V, B, 3, H, W), or on those of four fake images;
    the number of the networks' parameters."""
    size = spec.data.size or 224
    learner = build(spec, size)
    if not isinstance(spec.method, methods.Untrained):
        if views is None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
            views = batched.make(images, spec.recipe, spec.seed, 0, torch.arange(4))
        optimiser = optim.make(learner, spec.optimiser, spec.batch_size)
        labels = torch.zeros(views.shape[1], dtype=torch.int64)
        loss, _ = methods.loss(learner.train(), views, spec.joint, labels=labels)
        loss.backward()
        optimiser.step()
        if not math.isfinite(loss.item()):
            raise ReproError(f"The dry run of {key(spec)} gave a loss that is not finite: check its hyper-parameters.")
    return sum(p.numel() for p in learner.parameters())

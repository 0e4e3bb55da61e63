"""The one training loop: a RunSpec in, its numbers out.

Everything random is a function of (seed, epoch, sample, view), so a run that was stopped at any step and resumed from its
checkpoint gives, on a CPU, the same bits as one never stopped. Several processes may train one run (`repro.ssl.ranks`),
and another number of them may go on with it.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from repro import data
from repro.core.methods import Supervised, Untrained
from repro.core.spec import RunSpec
from repro.core.store import Result
from repro.errors import DoesNotFit, ReproError
from repro.ssl import checkpoint, engine, feed, pairs, probing, ranks, trial, weights
from repro.ssl.methods import Learner
from repro.ssl.step import Step, build

Tick, Log = Callable[[int, int, float], None], Callable[[dict], None]


def run(
    spec: RunSpec,
    scratch: Path | None = None,
    tick: Tick = lambda step, steps, loss: None,
    checkpoint_seconds: float = 30.0,
    keep_weights: bool = False,
    log: Log = lambda line: None,
) -> Result:
    """Pretrain and probe. Returns metrics `<probe>_<split>_<task>` in percent and, per epoch, the curves.

    scratch: a folder for checkpoints; a run found there goes on. tick(step, steps, loss) is called after every step and
    may raise to stop the run; the loss is that of the last finished epoch. keep_weights: leave weights.pt in scratch.
    log(line) is called after every epoch with its epoch, step, steps, loss, seconds (of training), and what probes read.
    Raises ReproError for a spec that cannot run, DoesNotFit where memory is short; a run whose loss is not finite returns
    with diverged = 1.
    """
    if not isinstance(spec.method, Untrained):
        ranks.call(run, spec, scratch)
    try:
        return _run(spec, scratch, tick, checkpoint_seconds, keep_weights, log)
    except torch.OutOfMemoryError:
        pass  # the exception holds the run's tensors until this block is left
    if ranks.world() > 1:
        raise ReproError(f"A batch of {spec.batch_size} ran out of memory on {ranks.world()} processes: take more.")
    raise DoesNotFit(trial.what_fits(spec))


def _run(
    spec: RunSpec, scratch: Path | None, tick: Tick, checkpoint_seconds: float, keep_weights: bool, log: Log
) -> Result:
    device = engine.device()
    engine.prepare(device, spec.precision)
    dataset = data.load(spec.data.name, spec.data.size, spec.data.options)
    tasks = _tasks(spec, dataset)
    learner = build(spec, dataset.train.images.shape[-1], device)
    if isinstance(spec.method, weights.Loaded):
        net, dataset = weights.put_in(spec, dataset)
        learner.backbone = net.to(device, memory_format=torch.channels_last)
    if isinstance(spec.method, Untrained):
        with ranks.alone():
            return Result({"diverged": 0.0, **probing.read(spec, learner, dataset, tasks, final=True)})
    online = None
    if spec.probes.online:
        online = probing.Online(learner.features, dataset.tasks[tasks[0]], spec.probes.online_norm, device)
    read = functools.partial(ranks.by_leader(probing.read), spec, learner, dataset, tasks, online=online)
    result = _train(spec, learner, dataset, dataset.train.labels[tasks[0]], online, read,
                    checkpoint.Checkpoint(scratch, checkpoint_seconds), ranks.together(tick), log)  # fmt: skip
    if keep_weights and scratch and not result.metrics["diverged"]:
        checkpoint.save(scratch / "weights.pt", learner.state_dict())
    return result


def _train(
    spec: RunSpec,
    learner: Learner,
    dataset: data.Dataset,
    labels: Tensor,
    online: probing.Online | None,
    read: Callable[..., dict[str, float]],
    saved: checkpoint.Checkpoint,
    tick: Tick,
    log: Log,
) -> Result:
    """The loop: a step a batch, what is read along the way, and checkpoints. read(curves, final): the probes."""
    ways = engine.ways(device := engine.device())
    chosen = data.subset(dataset.train, spec.data.fraction, spec.seed)
    labels = labels[chosen].to(device)
    spec, per_epoch = _fitting_batch(spec, dataset.title, len(chosen))
    steps = spec.steps or spec.epochs * per_epoch
    step = Step(spec, learner, dataset.mean, dataset.std, ways)
    saved.parts = {"learner": learner, "optimiser": step.optimiser} | ({"online": online} if online else {})
    state = {"step": 0, "loss": torch.zeros(()), "curves": {"epoch": [], "loss": []}, "clock": {}} | saved.resume()
    curves, loss_sum, done = state["curves"], state["loss"].to(device), state["step"]
    ranks.check_same(done, f"The run's processes do not see one checkpoint, {saved.path}: store on a shared disk.")
    batches = feed.of(spec, dataset, chosen, device, done, steps, ways)
    trial.find_convolutions(spec, dataset.train.images.shape[-1])
    watched = pairs.make(spec, dataset).to(device) if spec.probes.pairs else None
    read_pairs = ranks.by_leader(pairs.read)
    if watched and not done:
        read_pairs(learner, watched, curves, 0)
    clock = Clock(state["clock"])

    def write() -> None:
        with clock.paused(loss_sum):
            saved.write({"step": done, "loss": loss_sum, "curves": curves, "clock": clock.so_far})

    for number, index, views in batches:
        loss, features = step(views, labels[index], number, steps)
        if online:
            online.fit(ranks.gather(features, 1), ranks.gather(labels[index]))
        loss_sum += loss
        done, last = number + 1, number + 1 == steps
        if done % per_epoch == 0 or last:
            curves["epoch"].append(math.ceil(done / per_epoch))
            curves["loss"].append(loss_sum.item() / (number % per_epoch + 1))  # the host waits for the device
            loss_sum.zero_()
            with clock.paused():
                clock.end_epoch()
                if ranks.agree(not (math.isfinite(curves["loss"][-1]) and _finite(learner))):
                    return Result({"diverged": 1.0, "steps_done": float(done)}, curves, clock.timing())
                if not last:
                    log(clock.line(curves, done, steps) | _read(spec, read, curves))
        if watched and (done % spec.probes.pairs == 0 or last):
            with clock.paused(loss_sum):
                read_pairs(learner, watched, curves, done)
        saved.after_step(functools.partial(tick, done, steps, (curves["loss"] or [math.nan])[-1]), write)

    scores = _read(spec, read, curves, final=True)
    log(clock.line(curves, done, steps) | scores)
    metrics = {"diverged": 0.0, "steps_done": float(steps), "loss": curves["loss"][-1], **scores}
    return Result(metrics, curves, clock.timing() | engine.used(device, ways) | ranks.used())


def _read(spec: RunSpec, read: Callable[..., dict[str, float]], curves: dict[str, list], final: bool = False) -> dict:
    """What the probes read after an epoch, where it is their turn and at the end; the curves get what is read in turn."""
    turn = spec.probes.every and curves["epoch"][-1] % spec.probes.every == 0
    scores = read(curves=curves, final=final) if turn or final else {}
    if turn:
        probing.to_curves(spec, curves, curves["epoch"][-1], scores)
    return scores


def _tasks(spec: RunSpec, dataset: data.Dataset) -> tuple[str, ...]:
    """The probed tasks. Raises ReproError for one that the data set lacks, or too small a classifier."""
    tasks = spec.probes.tasks or tuple(dataset.tasks)
    if unknown := set(tasks) - set(dataset.tasks):
        raise ReproError(f"{dataset.title} has no task {min(unknown)!r}: choose from {', '.join(dataset.tasks)}.")
    if isinstance(spec.method, Supervised) and spec.projector.dim < dataset.tasks[tasks[0]]:
        raise ReproError(
            f"Supervised training on {tasks[0]} needs {dataset.tasks[tasks[0]]} outputs of the projector, not "
            f"{spec.projector.dim}: set its dim."
        )
    return tasks


def _fitting_batch(spec: RunSpec, title: str, images: int) -> tuple[RunSpec, int]:
    """The spec with a batch that its images fill, and the steps of an epoch. Raises ReproError for too few images."""
    if spec.data.fraction < 1:  # a small share of a reader's small data set is one batch
        spec = replace(spec, batch_size=min(spec.batch_size, images))
    if images < spec.batch_size:
        raise ReproError(
            f"{title} has {images} images to train on, fewer than a batch of {spec.batch_size}: give a data set with more; "
            "of a folder without train/ and test/, seven in ten are trained on."
        )
    ranks.part(spec.batch_size)
    return spec, images // spec.batch_size


def _finite(learner: nn.Module) -> bool:
    """Whether all weights are finite: the last step of a run can break them after its loss was still a number."""
    return math.isfinite(torch.stack(torch._foreach_norm(list(learner.parameters()))).sum().item())


class Clock:
    """Seconds of training and of making views: of the wall, and of this process's CPU, which busy neighbours do not
    lengthen. They are not among the curves, which are the same in every measurement."""

    def __init__(self, so_far: dict):
        self.so_far = {"seconds": 0.0, "cpu_seconds": 0.0, "epoch_seconds": [], "epoch_cpu_seconds": []} | so_far
        self.earlier = self.so_far["seconds"]
        self.began = time.monotonic(), time.process_time()

    @contextlib.contextmanager
    def paused(self, pending: Tensor | None = None) -> Iterator[None]:
        """Leave out what the block does, but not what the device still has to do for the number `pending`."""
        if pending is not None:
            pending.item()
        for name, began, now in zip(("seconds", "cpu_seconds"), self.began, (time.monotonic(), time.process_time())):
            self.so_far[name] += now - began
        yield
        self.began = time.monotonic(), time.process_time()

    def end_epoch(self) -> None:
        for name in ("seconds", "cpu_seconds"):
            self.so_far[f"epoch_{name}"].append(round(self.so_far[name], 4))

    def line(self, curves: dict[str, list], step: int, steps: int) -> dict:
        """The last epoch as a log has it."""
        now = {"epoch": curves["epoch"][-1], "step": step, "steps": steps, "loss": curves["loss"][-1]}
        return now | {"seconds": round(self.so_far["seconds"], 3)}

    def timing(self) -> dict:
        """train_seconds, those before the run was taken up again, and the seconds (wall, CPU) to the end of each epoch."""
        epochs = {k: self.so_far[k] for k in ("epoch_seconds", "epoch_cpu_seconds")}
        return {"train_seconds": self.so_far["seconds"], "earlier_seconds": self.earlier, **epochs}

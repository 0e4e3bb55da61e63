"""Measure many specs: skip what is stored, run the rest in worker processes, stop cleanly, go on where it stopped."""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from repro.core import stopping
from repro.core.lock import alone
from repro.core.progress import Progress
from repro.core.provenance import commit, machine
from repro.core.spec import key, to_dict
from repro.core.store import Record, Store
from repro.errors import DoesNotFit, ReproError

# which function measures which kind of spec; it takes the spec and returns a Result
RUNNERS = {
    "RunSpec": "repro.ssl.train:run",
    "GraphSpec": "repro.theory:run",
    "DynamicsSpec": "repro.theory:run",
    "ToySpec": "repro.theory:run",
    "KernelSpec": "repro.theory:run",
    "LossSpec": "repro.bench.loss:run",
    "LoaderSpec": "repro.bench.loader:run",
    "StepSpec": "repro.bench.step:run",
    "ViewsSpec": "repro.bench.views:run",
}


class Stopped(Exception):
    """The time budget is spent, or the user asked to stop: the run's checkpoint is written."""


def measure(
    specs: Iterable[Any],
    store: Store,
    workers: int = 0,
    minutes: float = 0.0,
    keep_weights: bool = False,
    checkpoint_seconds: float = 30.0,
    quiet: bool = False,
    watch: Callable[[int, int, float], None] | None = None,
) -> list[Record]:
    """The stored runs of `specs`, measuring those that are not stored yet.

    workers: processes, one thread each (0: one a core on a CPU, one where there is a GPU). minutes: time budget, 0 for
    none; when it is spent, every run writes a checkpoint and the finished ones are returned; the next call goes on from
    there. At Ctrl-C it is the same, but for KeyboardInterrupt in place of a return. watch(step, steps, loss) is called
    along the way where one process measures. A second process may measure into the same store: each run is made once.
    A spec that starts from another run (`start`) has that one measured first, and its weights kept.
    Raises ReproError if a spec cannot run or the store cannot be written; what is stored stays stored. A run that does not
    fit into memory is told at the end, by DoesNotFit, when all others are made.
    """
    if not 0 <= minutes < float("inf"):
        raise ReproError(f"The time budget cannot be {minutes} minutes: give 0 for none, or more.")
    if workers < 0:
        raise ReproError(f"The number of workers cannot be {workers}: give 0 for one a core, or more.")
    wanted = {key(s): s for s in specs}
    found = {k: store.get(k) for k in wanted if k in store}  # a damaged run is told before the work, not after it
    missing = {k: s for k, s in wanted.items() if k not in found}
    for k in found:
        if store.left(k):  # by a process that was killed when its run was already stored
            store.done(k)
    starts = {k: s for k, s in _starts(missing.values()).items() if not store.weights(k).exists()}
    missing = {k: s for k, s in missing.items() if k not in starts}
    deadline = time.time() + 60 * minutes if minutes else float("inf")
    options = {"checkpoint_seconds": checkpoint_seconds, "commit": commit()}
    total = len(wanted.keys() | starts.keys())
    many, large = workers or default_workers(), []
    timed = {k: s for k, s in missing.items() if many > 1 and _on_gpu() and _is_timing(s)}
    with Progress(total, total - len(missing) - len(starts), quiet) as progress:
        rest = {k: s for k, s in missing.items() if k not in timed}
        # runs that share a GPU lengthen each other's steps, so what only takes times goes first, one at a time
        for specs, keep, most in ((timed, keep_weights, 1), (starts, True, many), (rest, keep_weights, many)):
            if not specs or time.time() >= deadline:
                continue
            with_keep = {**options, "keep_weights": keep}
            if min(most, len(specs)) == 1:
                large += _in_process(specs, store, deadline, with_keep, progress, watch or progress.step)
            else:
                large += _in_workers(specs, store, min(most, len(specs)), deadline, with_keep, progress)
    if large:
        raise DoesNotFit(*large)
    missing |= {k: s for k, s in starts.items() if k in wanted}
    found |= {k: store.get(k) for k in missing if k in store}
    return [found[k] for k in wanted if k in found]


def _starts(specs: Iterable[Any]) -> dict[str, Any]:
    """The runs whose weights the specs start from; an untrained one has none."""
    starts = [s.start for s in specs if hasattr(s, "start")]
    return {key(s): s for s in starts if type(s.method).__name__ != "Untrained"}


def default_workers() -> int:
    return 1 if _on_gpu() else len(os.sched_getaffinity(0))


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _is_timing(spec: Any) -> bool:
    return type(spec).__name__ in ("LossSpec", "LoaderSpec", "StepSpec", "ViewsSpec")


def _in_process(missing, store, deadline, options, progress, watch) -> list[str]:
    """What does not fit into memory, a sentence each."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    stop = threading.Event()
    queue, large = list(missing), []
    try:
        with stopping.setting(stop):
            while queue and time.time() < deadline and not stop.is_set():
                name = queue.pop(0)
                try:
                    outcome = _one(missing[name], store.root, deadline, options, stop.is_set, watch)
                except DoesNotFit as e:
                    large.append(str(e))
                    progress.note(str(e))
                    continue
                if outcome == "busy":
                    queue.append(name)
                    time.sleep(0.2)
                progress.update(outcome == "stored")
        if stop.is_set():
            progress.note("stopped with a checkpoint; run again to go on")
            raise KeyboardInterrupt
    finally:
        torch.set_num_threads(threads)
    return large


def _in_workers(missing, store, workers, deadline, options, progress) -> list[str]:
    # forked from a server that has imported torch and started no thread; fork and a process's threads do not go together
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["repro.ssl.train"])
    stop = context.Event()
    queue, running, large = list(missing), {}, []
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(stop,))
    interrupted = False
    try:
        with pool:
            try:
                while running or (queue and time.time() < deadline and not stop.is_set()):
                    try:
                        while queue and len(running) < workers and time.time() < deadline and not stop.is_set():
                            with stopping.held():
                                name = queue.pop(0)
                                running[pool.submit(_in_worker, missing[name], store.root, deadline, options)] = name
                        done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
                        for future in done:
                            name = running.pop(future)
                            try:
                                outcome = future.result()
                            except DoesNotFit as e:
                                large.append(str(e))
                                progress.note(str(e))
                                continue
                            if outcome == "busy":
                                queue.append(name)
                                time.sleep(0.2)
                            progress.update(outcome == "stored")
                    except KeyboardInterrupt:
                        stop.set()
                        interrupted = True
                        progress.note("stopping: every run writes its checkpoint; run again to go on")
            finally:
                stop.set()  # also when one run cannot be made: the others need not go to their ends
    except BrokenProcessPool:
        if interrupted:  # the workers were told to end as well
            raise KeyboardInterrupt from None
        raise ReproError(
            "A worker process died (was it killed, or out of memory?): run again to go on, with fewer --workers if "
            "memory is short; all finished runs are stored."
        ) from None
    if interrupted:
        raise KeyboardInterrupt
    return large


_stop = None
_busy = _ended = False


def _start_worker(stop) -> None:
    global _stop
    _stop = stop
    signal.signal(signal.SIGTERM, _end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)


def _end(*_) -> None:
    """A worker told to end, by a pool that broke or with its whole group, writes the checkpoint of its run first."""
    global _ended
    _ended = True
    if not _busy:
        os._exit(1)


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for its next run for ever, since it holds the queue open itself."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _in_worker(spec, root, deadline, options) -> str:
    global _busy
    _busy = True
    try:
        return _one(spec, root, deadline, options, lambda: _ended or _stop.is_set())
    finally:
        _busy = False
        if _ended:
            os._exit(1)


def _one(spec, root: Path, deadline: float, options: dict, stopping, step=lambda *_: None) -> str:
    """Measure one spec: "stored", "busy" (another process is at it) or "stopped"."""
    store, name = Store(root), key(spec)
    with store.claim(name) as mine:
        kind = type(spec).__name__
        keep = options["keep_weights"] and kind == "RunSpec" and type(spec.method).__name__ != "Untrained"
        if name in store and not (keep and not store.weights(name).exists()):
            return "stored"
        if not mine:
            return "busy"

        def tick(*progress) -> None:
            step(*progress)
            if time.time() >= deadline or stopping():
                raise Stopped

        started = time.time()
        weights = None
        try:
            if kind == "RunSpec":
                from repro.ssl import train

                scratch = store.scratch(name)
                with alone() if spec.timed else contextlib.nullcontext():
                    result = train.run(spec, scratch, tick, options["checkpoint_seconds"], keep)
                weights = scratch / "weights.pt" if keep else None
            elif kind == "DetectSpec":
                from repro import detection

                start = store.weights(key(spec.start))
                result = detection.run(spec, start, store.scratch(name), tick, options["checkpoint_seconds"])
            else:
                module, function = RUNNERS[kind].split(":")
                result = getattr(importlib.import_module(module), function)(spec)
        except Stopped:
            return "stopped"
        provenance = {
            "commit": options["commit"],
            **machine(),
            **_title(spec),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "wall_seconds": round(time.time() - started, 3),
            **{k: v if isinstance(v, list) else round(v, 3) for k, v in result.timing.items()},
        }
        record = Record(name, kind, to_dict(spec), result.metrics, result.curves, provenance)
        store.put(record, weights if weights and weights.exists() else None)
        store.done(name)
        return "stored"


def _title(spec) -> dict[str, str]:
    from repro import data

    return {"data_title": data.title(spec.data.name)} if hasattr(spec, "data") else {}


def dry_run(specs: list[Any]) -> Iterator[str]:
    """Print the plan, then build every distinct network, recipe and loader of it and train one step on views that the
    loader makes of a small fake data set in the same format; one line each."""
    from repro.claims import ledger

    yield from ledger.lines(specs)
    done: dict[Any, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        files: dict[int, Path] = {}
        for spec in specs:
            if type(spec).__name__ == "DetectSpec":
                from repro import detection

                shape = (spec.task, spec.heads, spec.start.backbone)
                if shape not in done:
                    done[shape] = detection.dry_run(spec)
                    yield f"detector of {spec.task}s on {spec.start.backbone}: {done[shape] / 1e6:.1f} M parameters"
                continue
            if type(spec).__name__ != "RunSpec":
                continue
            method = type(spec.method).__name__
            net = (spec.backbone, spec.projector, method, spec.joint)
            shape = (*net, spec.recipe, spec.data.size, spec.optimiser.name, spec.loading)
            if shape in done:
                continue
            done[shape] = _dry_step(spec, Path(folder), files)
            yield (
                f"{method} {spec.backbone} {spec.recipe.name} {spec.data.size} px, images {_way(spec.loading)}, projector "
                f"{spec.projector.layers} x {spec.projector.width} to {spec.projector.dim}: {done[shape] / 1e6:.1f} M "
                "parameters"
            )
    if done:
        yield f"{len(specs)} runs of {len(done)} kinds, each built, fed by its loader and trained for one step"


def _way(loading) -> str:
    """How images come to a run, in words."""
    if loading.name == "memory":
        return "from memory"
    stored = f", stored at {loading.stored} px" if loading.stored else ""
    return f"through {loading.name}{stored}{', growing' if loading.ramp else ''}{', fast' if loading.fast else ''}"


def _dry_step(spec, folder: Path, files: dict[int, Path]) -> int:
    """One step of a spec on fake images, read from a `.beton` file by its loader, or by ours where it has none; the
    number of parameters."""
    from repro.ssl import methods, train

    if isinstance(spec.method, methods.Untrained):
        return train.dry_run(spec)
    import torch

    from repro.data import disk, prepared

    size = spec.data.size or 224
    if size not in files:
        files[size] = prepared.fake(folder / str(size), side=size + size // 8)
    through = "ours" if spec.loading.name == "memory" else spec.loading.name
    grows, device = disk.growing(size, spec.loading.ramp), torch.device("cpu")
    source = disk.loader(files[size], through, spec.recipe, 2, grows, spec.seed, range(8), device, spec.loading.fast)
    batch = next(source.epoch())
    return train.dry_run(spec, batch.views.float() / 255)

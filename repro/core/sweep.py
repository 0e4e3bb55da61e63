"""Measure many specs: skip what is stored, share the rest among processes, stop cleanly, go on where it stopped.

There is no queue. Every process walks the list and claims from the store what no other is at; it comes back to what others
are at, and takes over what they leave. So the workers of one command share their work as two commands share a store.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, MutableSequence
from dataclasses import dataclass, field, replace
from multiprocessing import connection, resource_tracker
from typing import Any

from repro.core import places, stopping
from repro.core.io import write_atomic
from repro.core.lock import alone
from repro.core.progress import Progress
from repro.core.provenance import commit, machine
from repro.core.spec import Probes, data_names, key, to_dict, trains
from repro.core.store import Record, Store
from repro.cores import cores
from repro.errors import DoesNotFit, ReproError

# Names are imported when they are needed, since these modules stand on the core.
MEASURED_BY = {  # kind of spec: the function that takes it and returns a Result
    "RunSpec": "repro.ssl.train:run",
    "DetectSpec": "repro.detection:run",
    "GraphSpec": "repro.theory:run",
    "DynamicsSpec": "repro.theory:run",
    "ToySpec": "repro.theory:run",
    "KernelSpec": "repro.theory:run",
    "LossSpec": "repro.bench.loss:run",
    "LoaderSpec": "repro.bench.loader:run",
    "StepSpec": "repro.bench.step:run",
    "ViewsSpec": "repro.bench.views:run",
}
Watch, Tell = Callable[[int, int, float], None], Callable[[dict[str, Any]], None]
SIGN_SECONDS = 20.0  # between two signs of life of a run
TIMINGS = ("LossSpec", "LoaderSpec", "StepSpec", "ViewsSpec")
TRIED_BY = {  # kind of spec: the function that tries every distinct one of a list, and yields a line each
    "RunSpec": "repro.ssl.trial:trials",
    "DetectSpec": "repro.detection:trials",
}
DATA_TITLE, FINGERPRINT, CHANGED = "repro.data:title", "repro.data:fingerprint", "repro.data.content:changed"
ALONE = "repro.ssl.ranks:alone"  # what is no training run is made by the leader of several processes alone
DIED = (
    "A worker process died (was it killed, or out of memory?): run again to go on, with fewer --workers if memory is "
    "short; all finished runs are stored."
)


class Stopped(Exception):
    """The time budget is spent, or the user asked to stop: the run writes its checkpoint."""


@dataclass(frozen=True)
class _Terms:
    """What holds for all runs of one call of `measure`, in every process."""

    store: str
    deadline: float
    checkpoint_seconds: float
    commit: str
    keep_weights: bool = False
    wait: bool = True
    data_ids: dict[str, str] = field(default_factory=dict)


def measure(
    specs: Iterable[Any],
    store: Store,
    workers: int = 0,
    minutes: float = 0.0,
    keep_weights: bool = False,
    checkpoint_seconds: float = 30.0,
    quiet: bool = False,
    watch: Watch | None = None,
    share: tuple[int, int] | None = None,
    log: Tell | None = None,
    progress: Progress | None = None,
) -> list[Record]:
    """The stored runs of `specs`, measuring those that are not stored yet.

    workers: processes, one thread each (0: one a core on a CPU, one where there is a GPU). minutes: time budget, 0 for
    none; when it is spent, every run writes a checkpoint and the finished ones are returned; the next call goes on from
    there. At Ctrl-C it is the same, but for KeyboardInterrupt in place of a return. watch(step, steps, loss) is called
    along the way where one process measures. A second process may measure into the same store: each run is made once.
    share: (i, K) for the i-th of K processes that measure the same specs: it begins with its own share, which needs no
    lock, helps with the rest, and leaves when others are at all that is left.
    log: sees every epoch's line (`Store.log`). progress: of a longer work that this is part of, with a log of its own.
    A spec that starts from another run (`start`) has that one measured first, and its weights kept.
    Raises ReproError if a spec cannot run or the store cannot be written; what is stored stays stored. Raises DoesNotFit
    for runs that do not fit into memory when all others are made.
    """
    if not 0 <= minutes < float("inf"):
        raise ReproError(f"The time budget cannot be {minutes} minutes: give 0 for none, or more.")
    if workers < 0:
        raise ReproError(f"The number of workers cannot be {workers}: give 0 for one a core, or more.")
    wanted = {key(s): s for s in specs}
    # all cells of a seed, then those of the next
    order = dict(sorted(wanted.items(), key=lambda item: getattr(item[1], "seed", 0)))
    if share:
        order = _own_first(order, *share)
    ids = set_aside(wanted | _starts(wanted.values()), store)
    for k in [k for k in wanted if k in store]:
        store.get(k)  # raises for a damaged run before the work, not after it
        if store.left(k):  # by a process that was killed when its run was already stored
            store.done(k)
    missing = {k: s for k, s in order.items() if k not in store or (keep_weights and _lacks_weights(s, k, store))}
    starts = {k: s for k, s in _starts(missing.values()).items() if not store.weights(k).exists()}
    missing = {k: s for k, s in missing.items() if k not in starts}
    many = workers or default_workers()
    timed = {k: s for k, s in missing.items() if many > 1 and _on_gpu() and type(s).__name__ in TIMINGS}
    rest = {k: s for k, s in missing.items() if k not in timed}
    deadline = time.time() + 60 * minutes if minutes else float("inf")
    terms = _Terms(str(store.root), deadline, checkpoint_seconds, commit(), keep_weights, share is None, ids)
    keeping = replace(terms, keep_weights=True)
    own = Progress(len(wanted.keys() | starts.keys()), dict.fromkeys((*missing, *starts), 1.0), quiet, log=log)
    with contextlib.nullcontext(progress) if progress else own as progress:
        progress.begin(wanted.keys() - missing.keys() - starts.keys())
        # runs that share a GPU lengthen each other's steps, so what only takes times goes first, one at a time
        for part, how, most in ((timed, terms, 1), (starts, keeping, many), (rest, terms, many)):
            if part and time.time() < deadline:
                _measure_all(part, how, min(most, len(part)), progress, watch or progress.step)
    if progress.too_large:
        raise DoesNotFit(*progress.too_large)
    return [store.get(k) for k in wanted if k in store]


def data_ids(specs: dict[str, Any]) -> dict[str, str]:
    """By the specs' keys, which images the names of their data stand for now, and of the runs that they start from."""
    fingerprint = functools.cache(_function(FINGERPRINT))
    out = {}
    for k, spec in specs.items():
        parts = list(map(fingerprint, data_names(spec)))
        out[k] = "+".join(parts) if any(parts) else ""
    return out


def differ(before: str, now: str) -> bool:
    """Whether two data ids name other images; one that is not known does not."""
    return any(a and b and a != b for a, b in zip(before.split("+"), now.split("+")))


def set_aside(specs: dict[str, Any], store: Store) -> dict[str, str]:
    """`data_ids` of the specs; stored runs that saw other images than those are moved aside, and that is said."""
    ids, changed = data_ids(specs), {}
    for k in (k for k, now in ids.items() if now and k in store):
        before = store.get(k).provenance.get("data_id", "")
        pairs = zip(data_names(specs[k]), before.split("+"), ids[k].split("+"))
        if other := next((pair for pair in pairs if differ(*pair[1:])), None):
            changed.setdefault(other, []).append(store.put_aside(k))
    for (name, *two), runs in changed.items():
        files, were = _function(CHANGED)(*two), "run was" if len(runs) == 1 else "runs were"
        print(
            f"repro: The images of {name} have changed{f' ({files})' * bool(files)} since {len(runs)} {were} measured: "
            f"they are measured anew; the old ones are kept in {runs[0]}.",
            file=sys.stderr,
            flush=True,
        )
    return ids


def _own_first(specs: dict[str, Any], number: int, count: int) -> dict[str, Any]:
    """Specs by key in the order of the process `number` of `count`: its share, then the next one's and so on."""
    names = list(specs)
    return {k: specs[k] for turn in range(count) for k in names[(number + turn) % count :: count]}


def _starts(specs: Iterable[Any]) -> dict[str, Any]:
    """The runs whose weights the specs start from; an untrained one has none."""
    starts = [s.start for s in specs if hasattr(s, "start")]
    return {key(s): s for s in starts if trains(s)}


def _lacks_weights(spec: Any, name: str, store: Store) -> bool:
    """Whether a stored run was made without keeping its weights; a diverged one has none."""
    return trains(spec) and not store.weights(name).exists() and not store.get(name).metrics.get("diverged")


def default_workers() -> int:
    if not _on_gpu():
        return cores()
    import torch

    return torch.cuda.device_count()


def _on_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _function(name: str) -> Callable:
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


# --- processes --------------------------------------------------------------------------------------------------------


def _measure_all(specs: dict[str, Any], terms: _Terms, workers: int, progress: Progress, watch: Callable) -> None:
    """Measure specs by key, here or in several worker processes. Raises KeyboardInterrupt when all have stopped."""
    Store(terms.store).require_writable()
    stop = threading.Event()
    with stopping.setting(stop):
        if workers == 1:
            with _one_thread():
                for event in _walk(specs, terms, bytearray(len(specs)), stop.is_set, progress.hear, watch):
                    progress.hear(event)
        else:
            _in_workers(specs, terms, workers, progress, stop)
    if stop.is_set():
        progress.note("stopped with a checkpoint; run again to go on")
        raise KeyboardInterrupt


def _in_workers(specs: dict[str, Any], terms: _Terms, count: int, progress: Progress, stop: threading.Event) -> None:
    places.short_sockets()
    # forked from a server that has imported torch and started no thread; fork and a process's threads do not go together
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["repro.ssl.train"])
    resource_tracker.ensure_running()  # its start lets the signals in that are held below
    # shared without a lock, which a worker that is killed would keep for ever
    given_up, halt = context.RawArray("b", len(specs)), context.RawValue("b", 0)
    workers, error = {}, None
    try:
        for _ in range(count):
            mine, its = context.Pipe(duplex=False)
            workers[mine] = context.Process(target=_work, args=(its, specs, terms, given_up, halt, len(workers)))
            with stopping.held():
                workers[mine].start()
            its.close()  # so that the pipe ends with its worker
        pipes = list(workers)
        while pipes:
            for pipe in connection.wait(pipes, timeout=0.2):
                try:
                    event = pipe.recv()
                except EOFError:
                    event = None if stop.is_set() else ReproError(DIED)
                if isinstance(event, (str, dict, DoesNotFit)):
                    progress.hear(event)
                else:
                    pipes.remove(pipe)
                    error = error or event
            if stop.is_set() and not halt.value:
                progress.note("stopping: every run writes its checkpoint; run again to go on")
            halt.value = stop.is_set() or error is not None  # the others need not go to their ends
    finally:
        halt.value = 1
        for worker in workers.values():
            worker.join()
    if error:
        raise error


def _work(
    pipe: connection.Connection, specs: dict[str, Any], terms: _Terms, given_up: Any, halt: Any, number: int
) -> None:
    """Worker `number`, a process. It sends what `_walk` yields, then None; or the exception that ended it; nothing if it
    was told to end."""
    told = threading.Event()  # by SIGTERM, alone or with its whole group: it writes the checkpoint of its run first
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    stopping.end_with_parent()
    try:
        if _on_gpu():
            import torch

            torch.cuda.set_device(number % torch.cuda.device_count())
        with _one_thread():
            for event in _walk(specs, terms, given_up, lambda: told.is_set() or halt.value, pipe.send):
                pipe.send(event)
        if not told.is_set():
            pipe.send(None)
    except Exception as e:
        pipe.send(e if isinstance(e, ReproError) else RuntimeError(traceback.format_exc()))  # not all can be sent


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


# --- one process ------------------------------------------------------------------------------------------------------


def _walk(
    specs: dict[str, Any],
    terms: _Terms,
    given_up: MutableSequence[int],
    stopped: Callable[[], bool],
    tell: Tell = lambda line: None,
    watch: Watch = lambda *_: None,
) -> Iterator[str | DoesNotFit]:
    """Measure what no other process is at, in order, until all is stored; then wait for the others' runs, and take over
    what they leave. Yields the key of every run that is stored, and DoesNotFit for one that is not. given_up: marks those
    for all processes that share it, so that each is tried once."""

    def over() -> bool:
        return time.time() >= terms.deadline or bool(stopped())

    left = list(enumerate(specs))
    while left:
        later, stored = [], len(left)
        for number, name in left:
            if over():
                return
            if given_up[number]:
                continue
            try:
                if _measure(specs[name], terms, over, tell, watch):
                    yield name
                else:
                    later.append((number, name))
            except DoesNotFit as e:
                given_up[number] = 1
                yield e
        left = later
        if len(left) == stored and not terms.wait:
            return
        if left:
            time.sleep(0.2)


def _measure(spec: Any, terms: _Terms, over: Callable[[], bool], tell: Tell, watch: Watch) -> bool:
    """Measure one spec. Whether it is stored: False if another process is at it, or if it was stopped."""
    store, name, kind = Store(terms.store), key(spec), type(spec).__name__
    keep = terms.keep_weights and trains(spec)
    with store.claim(name) as mine:
        if name in store and not (keep and not store.weights(name).exists()):
            return True
        if not mine:
            return False

        started = signed = time.time()

        def tick(step: int, steps: int, loss: float) -> None:
            nonlocal signed
            watch(step, steps, loss)
            if time.time() - signed > SIGN_SECONDS:
                signed = time.time()
                store.sign(name, host=socket.gethostname(), pid=os.getpid(), since=started, step=step, steps=steps)
            if over():
                raise Stopped

        run, log = _function(MEASURED_BY[kind]), functools.partial(_log, store, name, tell)
        data_id = terms.data_ids.get(name, "")
        if data_id:
            mark = store.scratch(name) / "data_id"
            if mark.exists() and differ(mark.read_text(), data_id):
                store.done(name)  # a checkpoint of other images
            write_atomic(mark, data_id)
        try:
            if kind == "RunSpec":
                with alone() if spec.timed else contextlib.nullcontext():
                    result = run(spec, store.scratch(name), tick, terms.checkpoint_seconds, keep, log)
            else:
                with _function(ALONE)():
                    if kind == "DetectSpec":
                        start = store.weights(key(spec.start))
                        result = run(spec, start, store.scratch(name), tick, terms.checkpoint_seconds)
                    else:
                        result = run(spec)
        except Stopped:
            if not over():  # another process of this run was told to stop
                raise KeyboardInterrupt from None
            return False
        except (ReproError, RuntimeError) as e:
            store.sign(name, error=str(e))
            raise
        provenance = {
            "commit": terms.commit,
            **machine(),
            **_titles(spec),
            **({"data_id": data_id} if data_id else {}),
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
            "wall_seconds": round(time.time() - started + result.timing.pop("earlier_seconds", 0.0), 3),
            **{k: v if isinstance(v, list) else round(v, 3) for k, v in result.timing.items()},
        }
        record = Record(name, kind, to_dict(spec), result.metrics, result.curves, provenance)
        store.put(record, *store.to_keep(name))
        store.done(name)
        return True


def _titles(spec: Any) -> dict[str, str]:
    """What a spec's data are called, and those that it is probed on, too."""
    if not hasattr(spec, "data"):
        return {}
    title, others = _function(DATA_TITLE), getattr(spec, "probes", Probes()).transfer
    return {"data_title": title(spec.data.name)} | ({"probed_on": ", ".join(map(title, others))} if others else {})


def _log(store: Store, name: str, tell: Tell, line: dict[str, Any]) -> None:
    if store.log(name, line):
        tell({"run": name, **line})


def dry_run(specs: Iterable[Any]) -> Iterator[str]:
    """Try each distinct kind of run of a plan for one step on made-up images; a line each."""
    specs, tried = list(specs), 0
    for kind, function in TRIED_BY.items():
        for line in _function(function)(s for s in specs if type(s).__name__ == kind):
            tried += 1
            yield line
    if tried:
        yield f"{len(specs)} runs of {tried} kinds, each built, fed by its loader and trained for one step"

"""A warm process that forks measuring processes: what dies by kill -9 need not import torch anew each time.

Run as a script it reads one JSON command a line and answers each with one JSON line: {"start": {...}} forks a process
that measures, {"wait": pid} says how it ended. It has one thread, so that forking it is safe.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

HERE = Path(__file__).parent


class Nursery:
    """The pytest side."""

    def __init__(self):
        env = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(HERE.parent)}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "nursery.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=env,
            text=True,
        )
        self.threads = self._answer()["threads"]

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        assert line, "the nursery died"
        return json.loads(line)

    def _ask(self, **command) -> dict:
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def start(self, store: Path, name: str, seeds: int = 1, **options) -> int:
        """Fork a process, the leader of its own group, that measures seeds 0, 1, ... of SPECS[name]; its number."""
        return self._ask(start={"store": str(store), "name": name, "seeds": seeds, **options})["pid"]

    def wait(self, pid: int) -> dict:
        """{"signal": what killed it or 0, "code": exit code, "cpu": its seconds of CPU}"""
        return self._ask(wait=pid)

    def measure(self, *args, **options) -> dict:
        return self.wait(self.start(*args, **options))

    def close(self) -> None:
        with self.process:  # closes its pipes, at which it ends, and waits for it
            pass


def cpu_seconds(pid: int) -> float:
    """CPU time a process has had so far; infinite once it ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return float("inf") if stat[0] == "Z" else int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except OSError:
        return float("inf")


def _living() -> dict[int, tuple[int, int]]:
    """Parent and group of every living process."""
    out = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent, leader = path.read_text().rpartition(")")[2].split()[:3]
            if state not in "ZX":
                out[int(path.parent.name)] = int(parent), int(leader)
    return out


def group(pid: int) -> list[int]:
    """The living processes of a group."""
    return [number for number, (_, leader) in _living().items() if leader == pid]


def children(pid: int) -> list[int]:
    """The living processes, leaders of groups of their own as kernels are, that those of a group started."""
    mine, living = group(pid), _living()
    return [number for number, (parent, leader) in living.items() if parent in mine and leader == number != pid]


@contextmanager
def patience(seconds: float = 120.0) -> Iterator:
    """waiting(condition): until it holds; far longer than it takes, and then a failure."""
    end = time.monotonic() + seconds

    def until(condition) -> None:
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            time.sleep(0.002)

    yield until


# ------------------------------------------------------------------------------------------------ the nursery's side


def specs() -> dict:
    from repro.core.methods import BYOL, MoCo
    from repro.core.profiles import PROFILES, base
    from repro.core.spec import Optimiser, Projector

    plain = base(PROFILES["smoke"])
    probed = replace(plain.probes, labels=64, online=True, knn=True, every=2)
    small = Projector(2, 32, 16)
    return {
        "tiny": plain,
        # between them: LARS and AdamW, EMA targets, queue, predictor, online probe, curves, a chunk that ends midway
        "moco": replace(plain, method=MoCo(queue=96), epochs=5, batch_size=48, projector=small, probes=probed),
        "byol": replace(
            plain, method=BYOL(), epochs=3, batch_size=32, projector=small, probes=probed, optimiser=Optimiser("adamw", 1e-3)
        ),
        "long": replace(plain, epochs=40, probes=replace(plain.probes, linear=False, knn=True)),
    }  # fmt: skip


def die_at(place: str, number: int) -> None:
    """Kill this process by SIGKILL when it comes to a place for the `number`-th time: before a call of the module os, or
    half-way through "write", the writing of a file's content."""
    from repro.core import io

    left = [number]

    def mortal(call):
        def called(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                if place == "write":
                    path, content = args
                    path.write_bytes((content.encode() if isinstance(content, str) else content)[: len(content) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return called

    if place == "write":
        io.write = mortal(io.write)
    else:
        setattr(os, place, mortal(getattr(os, place)))


def job(store: str, name: str, seeds: int, log: str = "", die: tuple[str, int] | None = None, **options) -> int:
    """Measure; each start and each resumption of a run is a line in `log`. 130 if interrupted."""
    from repro.core import sweep
    from repro.core.store import Store
    from repro.ssl import checkpoint, train

    def note(word: str) -> None:
        if log:
            with Path(log).open("a") as f:
                f.write(f"{word}\n")

    run, resume = train.run, checkpoint.resume

    def noted_run(spec, *args):
        note(f"run {spec.seed}")
        return run(spec, *args)

    def noted_resume(*args):
        state = resume(*args)
        note(f"resumed {state['step']}")
        return state

    train.run, checkpoint.resume = noted_run, noted_resume
    if die:
        die_at(*die)
    wanted = [replace(specs()[name], seed=s) for s in range(seeds)]
    try:
        sweep.measure(wanted, Store(store), quiet=True, **{"workers": 1, "checkpoint_seconds": 0.0} | options)
    except KeyboardInterrupt:
        return 130
    return 0


def main() -> None:
    from repro.core import sweep  # noqa: F401  (for the children)
    from repro.core.provenance import commit, machine
    from repro.ssl import train

    commit(), machine()
    for spec in specs().values():  # compile, load the data
        train.run(replace(spec, steps=2))
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    answers.write(json.dumps({"threads": len(os.listdir("/proc/self/task"))}) + "\n")
    for line in sys.stdin:
        command = json.loads(line)
        if "start" in command:
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    os.setpgid(0, 0)
                    signal.signal(signal.SIGINT, signal.default_int_handler)
                    answers.close()
                    code = job(**command["start"])
                except BaseException:
                    import traceback

                    traceback.print_exc()
                finally:
                    os._exit(code)
            with suppress(OSError):
                os.setpgid(pid, pid)
            reply = {"pid": pid}
        else:
            _, status, usage = os.wait4(command["wait"], 0)
            killed = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -1
            reply = {"signal": killed, "code": code, "cpu": usage.ru_utime + usage.ru_stime}
        answers.write(json.dumps(reply) + "\n")
    os._exit(0)


if __name__ == "__main__":
    main()

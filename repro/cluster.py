"""From one machine to a cluster: a Slurm array of identical workers that share one store, and how far they are.

Every task of the array runs `repro measure` on the whole plan, its own share first. There is no master and no queue: a run
is made once because the store says which are there, and because a worker claims what it begins.
"""

from __future__ import annotations

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repro.core.spec import key
from repro.core.store import Store
from repro.errors import ReproError

LARGEST = 1000  # tasks of an array: Slurm's own limit, unless a cluster raised it
QUIET = 120.0  # seconds without a sign of life after which a run counts as given up
AGAIN = 75  # exit code of `repro measure` that has runs left (EX_TEMPFAIL)


# --- submitting -------------------------------------------------------------------------------------------------------


def tasks(text: str, runs: int, hours: float, minutes: float) -> tuple[int, int]:
    """(K, N) of "K%N", K tasks of which N run at once; "K" runs all at once. "auto" takes as many as finish a plan of so
    many runs and GPU hours within one time limit. Raises ReproError for anything else."""
    if text == "auto":
        wanted = math.ceil(60 * hours / minutes) if hours else runs
        count = max(1, min(runs, wanted, LARGEST))
        return count, count
    match = re.fullmatch(r"(\d+)(?:%(\d+))?", text)
    if not match or not 1 <= int(match[1]) <= LARGEST or match[2] == "0":
        raise ReproError(f"The array is K or K%N with K from 1 to {LARGEST}, or auto, not {text!r}: correct it.")
    return int(match[1]), int(match[2] or match[1])


def minutes(text: str) -> int:
    """Minutes of a time limit as sbatch takes it: minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS; rounded up."""
    days, dash, rest = text.rpartition("-")
    parts = rest.split(":")
    if (days and not days.isdigit()) or not all(p.isdigit() for p in parts) or len(parts) > 3 or (dash and not days):
        raise ReproError(f"A time limit is minutes, HH:MM:SS or D-HH:MM, as sbatch takes it, not {text!r}: correct it.")
    numbers = [int(p) for p in parts]
    if dash:  # hours come first after the days
        hours, mins, seconds = (*numbers, 0, 0)[:3]
    elif len(numbers) == 3:
        hours, mins, seconds = numbers
    else:
        hours, (mins, seconds) = 0, (*numbers, 0)[:2]
    total = math.ceil(int(days or 0) * 1440 + hours * 60 + mins + seconds / 60)
    if total < 2:
        raise ReproError(f"A time limit of {text!r} leaves no time to measure: give two minutes or more.")
    return total


def script(
    measure: Sequence[str], store: Path, count: int, at_once: int, limit: int, options: Sequence[str],
    nodes: int = 1, gpus: int = 0,
) -> str:  # fmt: skip
    """The sbatch script. measure: the words after `repro measure`; limit: minutes; options: further ones of sbatch; gpus:
    that train each run together, on so many nodes; 0 for a run a process. Raises ReproError for unequal nodes."""
    if nodes < 1 or gpus < 0 or gpus % nodes or (nodes > 1 and not gpus):
        raise ReproError(f"{gpus} GPUs a run cannot be shared equally by {nodes} nodes: correct one of them.")
    margin = max(1, min(5, limit // 10))  # in which checkpoints are written
    command = shlex.join([sys.executable, "-m", "repro", "measure", *measure, "--store", str(store)])
    if gpus:  # srun does not take the cores over from sbatch; its code is rank 0's where it kills none of the others
        command = f"srun --kill-on-bad-exit=0 ${{SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK}} {command}"
    lines = [
        "#!/usr/bin/env bash",
        "#SBATCH --job-name=repro",
        f"#SBATCH --array=0-{count - 1}%{at_once}",
        f"#SBATCH --time={limit}",
        "#SBATCH --requeue --open-mode=append",
        *[f"#SBATCH --nodes={nodes} --ntasks-per-node={gpus // nodes} --gpus-per-node={gpus // nodes}"] * bool(gpus),
        f"#SBATCH --output={store}/slurm/%A_%a.log",
        *(f"#SBATCH {option}" for option in _joined(options)),
        "",
        "# SIGTERM (a time limit, a preemption, scontrol requeue) reaches all processes: the measuring ones write their",
        "# checkpoints, and this shell waits for them.",
        "trap : TERM",
        f'{command} --share "$SLURM_ARRAY_TASK_ID/{count}" --minutes {limit - margin}',
        "code=$?",
        f"# {AGAIN}: the minutes are spent, and runs are left",
        f'if [ $code = {AGAIN} ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
        "exit $code",
    ]
    return "\n".join(lines) + "\n"


def _joined(words: Sequence[str]) -> list[str]:
    """Each option with the value that follows it."""
    out: list[str] = []
    for word in words:
        if word.startswith("-") or not out:
            out.append(word)
        else:
            out[-1] += f" {shlex.quote(word)}"
    return out


def submit(text: str, store: Path) -> str:
    """Keep a script beside the store's runs and hand it to sbatch; what sbatch says. Raises ReproError where there is no
    sbatch, or where it refuses."""
    if shutil.which("sbatch") is None:
        raise ReproError("There is no sbatch on this machine: submit from a login node, or look at --dry-run.")
    folder = store / "slurm"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / time.strftime("%Y%m%d-%H%M%S.sh")
    path.write_text(text)
    done = subprocess.run(["sbatch", str(path)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReproError(f"sbatch refuses {path}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def several() -> bool:
    """Whether torchrun or srun started this process as one of several that train a run together. srun's variables are
    given torchrun's names; the first node leads, at a port that is the job's own."""
    env = os.environ
    if "RANK" not in env and int(env.get("SLURM_STEP_NUM_TASKS") or 1) > 1:
        first = re.sub(r"\[(\d+)[^]]*\]", r"\1", env["SLURM_STEP_NODELIST"]).split(",")[0]
        env |= {
            "RANK": env["SLURM_PROCID"], "LOCAL_RANK": env["SLURM_LOCALID"], "WORLD_SIZE": env["SLURM_STEP_NUM_TASKS"],
            "MASTER_ADDR": first, "MASTER_PORT": str(20_000 + int(env["SLURM_JOB_ID"]) % 10_000),
        }  # fmt: skip
    return "RANK" in env and int(env.get("WORLD_SIZE") or 1) > 1


# --- how far ----------------------------------------------------------------------------------------------------------


@dataclass
class Status:
    """Runs of a plan by state. running: a line each, where, since when, at which step; seconds: of those that are left,
    on one worker, estimated by what the stored ones took."""

    stored: int = 0
    diverged: int = 0
    waiting: int = 0
    running: list[str] = field(default_factory=list)
    stopped: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = math.nan

    def line(self) -> str:
        parts = [f"{self.stored} stored" + f" ({self.diverged} diverged)" * bool(self.diverged)]
        counts = {
            "running": len(self.running), "stopped with a checkpoint": self.stopped, "waiting": self.waiting,
            "failed": len(self.failed),
        }  # fmt: skip
        parts += [f"{count} {state}" for state, count in counts.items() if count]
        if math.isfinite(self.seconds) and self.seconds:
            parts.append(f"about {_duration(self.seconds)} left on one worker")
        return ", ".join(parts)


def share(text: str) -> tuple[int, int] | None:
    """(i, K) of "i/K"; None of "". Raises ReproError for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if text and (not match or int(match[1]) >= int(match[2])):
        raise ReproError(f"A share is i/K with i from 0 to K - 1, not {text!r}: correct it.")
    return (int(match[1]), int(match[2])) if match else None


def status(specs: Iterable[Any], store: Store) -> Status:
    """The state of a plan's runs in a store that others may be working on."""
    out, took, left = Status(), [], 0
    for name in {key(s): s for s in specs}:
        if name in store:
            record = store.get(name)
            out.stored += 1
            out.diverged += record.metrics.get("diverged") == 1
            took.append(record.provenance.get("wall_seconds", 0.0))
            continue
        left += 1
        now = store.signs(name)
        if not now:
            out.waiting += 1
        elif "error" in now:
            out.failed.append(f"{name}: {now['error']}")
        elif time.time() - now["at"] > QUIET:
            out.stopped += 1
        else:
            since = time.strftime("%H:%M", time.localtime(now["since"]))
            out.running.append(f"{name} on {now['host']} since {since}, step {now['step']} of {now['steps']}")
    if took:
        out.seconds = left * sum(took) / len(took)
    return out


def _duration(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"

"""How many CPU cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def cores() -> int:
    """The cores that this process may use, at least one: those that Slurm gave to its task; without Slurm those that it
    may run on, or as many as its container's quota of CPU time amounts to, if these are fewer. torchrun's processes on
    one machine share them."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if given.isdigit() and int(given):
        return int(given)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # not on macOS
    return max(1, int(min(allowed, quota()) / int(os.environ.get("LOCAL_WORLD_SIZE") or 1)))


def quota(root: Path = CGROUP) -> float:
    """Cores' worth of CPU time that the control group grants (version 2 or 1), infinite if there is no limit."""
    try:
        if (root / "cpu.max").exists():
            limit, period = (root / "cpu.max").read_text().split()
        else:
            limit, period = ((root / "cpu" / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(limit) / int(period) if int(limit) > 0 else math.inf
    except (OSError, ValueError):  # no control groups, or "max"
        return math.inf

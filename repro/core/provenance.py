"""Where a number comes from: commit, package versions, hardware."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from repro.cores import cores


@functools.cache
def commit() -> str:
    """$REPRO_COMMIT where it is set, as on a machine that got a copy of the files, whose own .git may be an older one;
    else the checked-out commit, with "+" if files of the package differ from it; outside of a checkout "unknown"."""
    if given := os.environ.get("REPRO_COMMIT"):
        return given
    here = Path(__file__).parents[1]

    def git(*words: str) -> str:
        line = ["git", "-c", "safe.directory=*", *words]  # the checkout may be another user's
        return subprocess.run(line, cwd=here, capture_output=True, text=True, check=True, timeout=10).stdout

    try:
        return git("rev-parse", "--short=12", "HEAD").strip() + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


@functools.cache
def machine() -> dict[str, object]:
    """hardware, with the instruction set of torch's kernels on a CPU, since last bits differ between sets; device ("cpu" or
    "cuda"); versions of what the numbers depend on."""
    import torch

    cuda = torch.cuda.is_available()
    names = ("torch", "torchvision", "numpy")
    versions = {"python": platform.python_version(), **{n: metadata.version(n) for n in names}}
    kernels = torch.backends.cpu.get_cpu_capability()
    hardware = torch.cuda.get_device_name() if cuda else f"{_processor()}, {cores()} cores, {kernels} kernels"
    return {"hardware": hardware, "device": "cuda" if cuda else "cpu", "versions": versions}


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()

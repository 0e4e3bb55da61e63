"""Benchmarks: each compares ways of doing one thing in one run, in turn, and reports medians and ratios; `long` alone
trains whole runs, and reports the minutes they take to an accuracy."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Only one measurement of time runs on the machine at once; the others wait here."""
    import fcntl

    with (Path(tempfile.gettempdir()) / f"repro-bench-{os.getuid()}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

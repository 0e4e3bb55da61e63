"""A lock of the whole machine, for measurements of time."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Only one measurement of time runs on the machine at once; the others wait here."""
    with (Path(tempfile.gettempdir()) / f"repro-bench-{os.getuid()}.lock").open("w") as lock:
        with contextlib.suppress(ImportError, OSError):  # without it, or on a disk without locks, nobody waits
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        yield

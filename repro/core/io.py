"""Writing files: whole or not at all, and one sentence for a person when the disk refuses."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

from repro.errors import ReproError


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, never a part."""
    tmp = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(tmp, content)
        os.replace(tmp, path)
    except OSError as e:
        with contextlib.suppress(OSError):
            tmp.unlink(missing_ok=True)
        raise disk_error(e, path.parent) from e


def write(path: Path, content: str | bytes) -> None:
    """Write a file and flush it to disk."""
    with path.open("wb") as f:
        f.write(content.encode() if isinstance(content, str) else content)
        f.flush()
        os.fsync(f.fileno())


def sync(folder: Path) -> None:
    """Flush to disk which names a folder holds."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def disk_error(e: OSError, folder: Path) -> ReproError:
    """What a person is to do when a file under `folder` could not be written."""
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return ReproError(
            f"The disk under {folder} is full: free some space and run again; all stored runs are intact."
        )
    return ReproError(
        f"{folder} cannot be written ({e.strerror}): check its permissions and run again; stored runs are intact."
    )

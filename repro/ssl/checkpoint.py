"""The state of a loop on disk, so that a run that is stopped goes on."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from repro.core.io import write_atomic
from repro.errors import ReproError
from repro.ssl import ranks


class Checkpoint:
    """checkpoint.pt in a folder, or nothing without one. It is due every so many seconds, and when the loop is stopped.
    parts: modules and optimisers by name, which it keeps."""

    def __init__(self, folder: Path | None, seconds: float):
        self.path = folder / "checkpoint.pt" if folder else None
        self.parts: dict[str, Any] = {}
        self.seconds, self.written = seconds, time.monotonic()

    def resume(self) -> dict:
        """Put the parts back as they were and return the loop's state, on the CPU; {} if nothing was written."""
        return resume(self.path, self.parts) if self.path and self.path.exists() else {}

    def write(self, state: dict) -> None:
        """Write it, or, on a rank that follows, nothing."""
        if self.path and not ranks.rank():
            save(self.path, {"state": state, **{k: v.state_dict() for k, v in self.parts.items()}})

    def after_step(self, tick: Callable[[], None], write: Callable[[], None]) -> None:
        """Call `tick`; then `write`, which writes this checkpoint, if it is due. An exception of the tick stops the loop."""
        due = time.monotonic() - self.written >= self.seconds
        try:
            tick()
        except Exception:
            due = True
            raise
        finally:
            if self.path and due:
                write()
                self.written = time.monotonic()


def resume(path: Path, parts: dict[str, Any]) -> dict:
    """Put the parts back and return the state. The parts move what they keep by themselves: AdamW counts its steps on the
    CPU, and would make the host wait for a count on a GPU. Raises ReproError for a damaged file."""
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        return saved["state"]
    except Exception as e:  # torch raises many types
        raise ReproError(
            f"The checkpoint {path} is damaged or of another version: delete the folder {path.parent} and run again, "
            "which starts this run anew."
        ) from e


def save(path: Path, content: dict) -> None:
    """torch.save, whole or not at all; by way of memory, since its own words about a full disk tell nobody what to do."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())

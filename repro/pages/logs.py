"""Who sees every epoch of every run while it goes: TensorBoard, or a function of the reader's.

A line is a dict: run (the key), epoch, step, steps, loss, seconds of training, and what the probes read. The same lines are
in epochs.jsonl of the run's folder.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from repro.core import own, places
from repro.errors import ReproError

Log = Callable[[dict[str, Any]], None]


def of(text: str) -> Log | None:
    """The function that "tensorboard:DIR" or "my_log.py:function" names; None for "". Raises ReproError for another word."""
    if not text:
        return None
    kind, _, folder = text.partition(":")
    if kind == "tensorboard":
        return _tensorboard(places.given(folder))
    if ".py" not in text:
        raise ReproError(f"Nothing is known to log to by {text!r}: give tensorboard:DIR, or my_log.py:function.")
    named, function = own.find(text)

    def log(line: dict[str, Any]) -> None:
        with own.blamed(named.file, function):
            function(line)

    return log


def _tensorboard(folder: Path) -> Log:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ReproError(
            "TensorBoard is not installed: `pip install tensorboard` (the extra `tensorboard`), or log to a function of yours."
        ) from None

    def log(line: dict[str, Any]) -> None:
        with SummaryWriter(folder / line["run"]) as writer:  # closed each time: there may be thousands of runs
            for name, value in line.items():
                if name not in ("run", "epoch"):
                    writer.add_scalar(name, value, line["epoch"])

    return log

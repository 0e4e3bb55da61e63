"""Progress of long work: one line, in place in a terminal and in a notebook, now and then in a log."""

from __future__ import annotations

import math
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from repro.errors import DoesNotFit

TRUST = 60.0  # seconds after which the pace of this machine counts as much as what runs took elsewhere


class Progress:
    """Counts what is done, and says how long the rest may take. A notebook needs no widgets for it.

    total: how many there are. to_do: those not done yet by name, each with its share of the work: its seconds elsewhere,
    where `pace`, so many of those a second, says what to expect; else 1. what: they are. part: what is being done now, as
    in "notebook 3 of 12". log: sees every epoch's line. too_large: a sentence for each run that memory has no room for.
    """

    def __init__(self, total: int, to_do: dict[str, float], quiet: bool = False, what: str = "runs", pace: float = 0.0,
                 log: Callable[[dict[str, Any]], None] | None = None):  # fmt: skip
        self.total, self.to_do, self.what, self.pace, self.log = total, dict(to_do), what, pace, log or (lambda _: None)
        self.stored, self.quiet, self.part, self.within, self.fraction = total - len(to_do), quiet, "", "", 0.0
        self.done: set[str] = set()
        self.too_large: list[str] = []
        self.began, self.shown, self.handle, self.live = time.monotonic(), 0.0, None, False

    def __enter__(self) -> Progress:
        self.quiet = self.quiet or not self.to_do
        if not self.quiet and _in_notebook():
            from IPython.display import display

            self.handle = display({"text/plain": self.line()}, display_id=True, raw=True)
        self.live = self.handle is None and sys.stderr.isatty()
        self._show(force=True)
        return self

    def __exit__(self, *_) -> None:
        self.part, self.within, self.fraction = "", "", 0.0
        self._show(force=True, end="\n")

    def begin(self, stored: Iterable[str]) -> None:
        """Another part begins; of what is stored, other processes may have done some since the whole began."""
        self.too_large = []
        self.done |= self.to_do.keys() & stored

    def hear(self, event: str | dict[str, Any] | DoesNotFit) -> None:
        """Something is done, by its name, which several processes may say; or an epoch, or a run that does not fit."""
        if isinstance(event, DoesNotFit):
            self.too_large.append(str(event))
            self.note(str(event))
        elif isinstance(event, dict):
            self.log(event)
        elif event not in self.done:
            self.total += event not in self.to_do  # one that was not foreseen
            self.to_do.setdefault(event, 0.0)
            self.done.add(event)
            self.within, self.fraction = "", 0.0
            self._show()

    def step(self, step: int, steps: int, loss: float) -> None:
        """Within a run, where runs are measured one after the other."""
        said = f", loss {loss:.3f}" if math.isfinite(loss) else ""  # there is none before the first epoch's end
        self.within, self.fraction = f"step {step} of {steps}{said}", step / steps
        self._show()

    def note(self, message: str) -> None:
        """Say something that stays."""
        if self.handle is not None:
            self.within = message
        elif not self.quiet:
            print(f"{CLEAR * self.live}{message}", file=sys.stderr, flush=True)
        self._show(force=True)

    def line(self) -> str:
        ready, seconds = f"{self.stored + len(self.done)} of {self.total} {self.what}", time.monotonic() - self.began
        rest = [share for name, share in self.to_do.items() if name not in self.done]
        share = sum(self.to_do.values()) - sum(rest) + self.fraction * sum(rest[:1])
        expected, so_far = TRUST * self.pace, seconds + TRUST * bool(self.pace)
        left = (sum(self.to_do.values()) - share) * so_far / (share + expected) if share + expected else 0.0
        known = self.pace or self.done or self.fraction >= 0.1  # the first steps compile, and say little
        took = f"about {_spell(left)} left" if left and known else ""
        return ", ".join(filter(None, (self.part, ready, took if rest else f"in {_spell(seconds)}", self.within)))

    def _show(self, force: bool = False, end: str = "") -> None:
        every = 0.3 if self.live or self.handle else 30.0
        if self.quiet or (time.monotonic() - self.shown < every and not force):
            return
        self.shown, text = time.monotonic(), self.line()
        if self.handle is not None:
            self.handle.update({"text/plain": text}, raw=True)
        elif self.live:
            print(f"{CLEAR}{text[: shutil.get_terminal_size().columns - 1]}", end=end, file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)


CLEAR = "\r\x1b[K"  # the beginning of an empty line, in a terminal


def _spell(seconds: float) -> str:
    """A time as a person says it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")

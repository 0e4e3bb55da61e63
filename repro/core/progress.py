"""Progress of long work: one line that renews itself in a terminal and in a notebook, and a line now and then in a log."""

from __future__ import annotations

import sys
import time

from repro.errors import DoesNotFit


class Progress:
    """Counts runs. In a notebook it needs no widgets, and what stays is one line of text.

    too_large: a sentence for each run that does not fit into memory.
    """

    def __init__(self, total: int, stored: int, quiet: bool = False):
        self.total, self.stored, self.quiet = total, stored, quiet or total == stored
        self.measured: set[str] = set()
        self.too_large: list[str] = []
        self.message, self.within, self.fraction, self.handle = "", "", 0.0, None
        self.began = self.drawn = time.monotonic()

    def __enter__(self) -> Progress:
        if not self.quiet and _in_notebook():
            from IPython.display import display

            self.handle = display(self._bundle(), display_id=True, raw=True)
        return self

    def __exit__(self, *_) -> None:
        self.fraction, self.within = 0.0, ""
        self._show(every=0.0, end="\n")

    def hear(self, event: str | DoesNotFit) -> None:
        """A run is stored, by its key, which several processes may say; or it does not fit into memory."""
        if isinstance(event, DoesNotFit):
            self.too_large.append(str(event))
            self.note(str(event))
        else:
            self.measured.add(event)
            self.fraction = 0.0
            self._show()

    def step(self, step: int, steps: int, loss: float) -> None:
        """Within a run, where runs are measured one after the other."""
        self.fraction, self.within = step / steps, f", step {step}/{steps}, loss {loss:.3f}"
        self._show()

    def note(self, message: str) -> None:
        self.message = message
        self._show(every=0.0, end="\n")

    def _show(self, every: float = 0.5, end: str = "") -> None:
        live = self.handle is not None or sys.stderr.isatty()
        now = time.monotonic()
        if self.quiet or now - self.drawn < (every if live else 20 * every):
            return
        self.drawn = now
        if self.handle is not None:
            self.handle.update(self._bundle(), raw=True)
        else:
            line = self._text() + self.within
            print(f"\r\x1b[K{line}" if live else line, end=end if live else "\n", file=sys.stderr, flush=True)

    def _ready(self) -> float:
        return self.stored + len(self.measured) + self.fraction

    def _text(self) -> str:
        seconds, left = time.monotonic() - self.began, self.total - self._ready()
        text = f"{int(self._ready())} of {self.total} runs stored, {len(self.measured)} of them measured now in {seconds:.0f} s"
        if left and self._ready() > self.stored:
            text += f", about {seconds * left / (self._ready() - self.stored) / 60:.0f} min left"
        return text + f" ({self.message})" * bool(self.message)

    def _bundle(self) -> dict[str, str]:
        text = self._text()
        bar = f'<progress value="{self._ready() / self.total:.3f}" aria-label="runs stored"></progress> '
        return {"text/plain": text, "text/html": f"<p>{bar * (self._ready() < self.total)}{text}</p>"}


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")

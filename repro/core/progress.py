"""Progress of long work: a bar in a terminal, one line that renews itself in a notebook."""

from __future__ import annotations

import sys
import time

from repro.errors import DoesNotFit


class Progress:
    """Counts runs. In a notebook it needs no widgets, and what stays is one line of text.

    too_large: a sentence for each run that does not fit into memory.
    """

    def __init__(self, total: int, stored: int, quiet: bool = False):
        self.total, self.stored, self.quiet = total, stored, quiet
        self.measured: set[str] = set()
        self.too_large: list[str] = []
        self.began, self.message, self.fraction = time.monotonic(), "", 0.0
        self.bar = self.handle = None
        self.drawn, self.live = 0.0, True

    def __enter__(self) -> Progress:
        if self.quiet or self.total == self.stored:
            return self
        if _in_notebook():
            from IPython.display import display

            self.handle = display(self._bundle(), display_id=True, raw=True)
        else:
            from tqdm import tqdm

            self.live = sys.stderr.isatty()  # a log gets a line every ten seconds, not two a run
            every = 0.1 if self.live else 10.0
            shown = {"unit": "run", "file": sys.stderr, "dynamic_ncols": True, "mininterval": every}
            self.bar = tqdm(total=self.total, initial=self.stored, **shown)
        return self

    def __exit__(self, *_) -> None:
        self.fraction = 0.0
        self._show(force=True)
        if self.bar is not None:
            self.bar.close()

    def hear(self, event: str | DoesNotFit) -> None:
        """A run is stored, by its key, which several processes may say; or it does not fit into memory."""
        if isinstance(event, DoesNotFit):
            self.too_large.append(str(event))
            self.note(str(event))
        elif event not in self.measured:
            self.measured.add(event)
            self.fraction = 0.0
            if self.bar is not None:
                self.bar.update()
            self._show(force=True)

    def step(self, step: int, steps: int, loss: float) -> None:
        """Within a run, where runs are measured one after the other."""
        self.fraction = step / steps
        if self.bar is not None:
            self.bar.set_postfix_str(f"step {step}/{steps}, loss {loss:.3f}", refresh=False)
        self._show()

    def note(self, message: str) -> None:
        self.message = message
        if self.bar is not None:
            self.bar.write(message, file=sys.stderr)
        self._show(force=True)

    def _show(self, force: bool = False) -> None:
        if time.monotonic() - self.drawn < 0.5 and not force:
            return
        self.drawn = time.monotonic()
        if self.handle is not None:
            self.handle.update(self._bundle(), raw=True)
        elif self.bar is not None and self.live:
            self.bar.refresh()

    def _bundle(self) -> dict[str, str]:
        ready = self.stored + len(self.measured)
        seconds = time.monotonic() - self.began
        text = f"{ready} of {self.total} runs stored, {len(self.measured)} of them measured now in {seconds:.0f} s"
        if self.message:
            text += f" ({self.message})"
        share = (ready + self.fraction) / max(1, self.total)
        bar = "" if ready == self.total else f'<progress value="{share:.3f}" aria-label="runs stored"></progress> '
        return {"text/plain": text, "text/html": f"<p>{bar}{text}</p>"}


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")

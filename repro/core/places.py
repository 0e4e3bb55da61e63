"""Where things are: the checkout, the store, what is drawn. Each place can be moved by an environment variable."""

from __future__ import annotations

import os
from pathlib import Path


def root() -> Path:
    """The checkout this package lies in; the current folder if it was installed without one."""
    here = Path(__file__).resolve().parents[2]
    return here if (here / "notebooks").is_dir() else Path.cwd()


def given(path: str | Path) -> Path:
    """A path that a person gave, absolute: from the current folder; in a kernel, which runs in notebooks/, from the checkout
    where nothing of that name is here."""
    here = Path(os.path.abspath(os.path.expanduser(path)))
    return Path(os.path.abspath(root() / path)) if not here.exists() and Path.cwd() == notebooks() else here


def store() -> Path:
    """Stored runs: $REPRO_STORE, else build/store."""
    return given(os.environ.get("REPRO_STORE") or root() / "build" / "store")


def drawn() -> Path:
    """Figures, numbers and verdicts of this machine's runs: $REPRO_FIGURES, else build/figures."""
    return given(os.environ.get("REPRO_FIGURES") or root() / "build" / "figures")


def reference() -> Path:
    """The committed reference results."""
    return root() / "figures"


def notebooks() -> Path:
    return root() / "notebooks"


def executed() -> Path:
    """Notebooks as papermill executed them."""
    return root() / "build" / "notebooks"

"""Where things are: the checkout, the store, what is drawn. Each place can be moved by an environment variable."""

from __future__ import annotations

import os
import tempfile
import tomllib
from multiprocessing import util
from pathlib import Path

LONGEST = 60  # letters of the folder of temporary files: the sockets' names take 40 more


def root() -> Path:
    """The checkout this package lies in; the current folder if it was installed without one."""
    here = Path(__file__).resolve().parents[2]
    return here if (here / "notebooks").is_dir() else Path.cwd()


def given(path: str | Path) -> Path:
    """A path that a person gave, absolute: from the current folder; in a kernel, which runs in notebooks/, from the checkout
    where nothing of that name is here."""
    here = Path(os.path.abspath(os.path.expanduser(path)))
    return Path(os.path.abspath(root() / path)) if not here.exists() and Path.cwd() == notebooks() else here


def address() -> str:
    """OWNER/NAME on GitHub, of the workflow that this runs in, else of pyproject.toml; "" where `.ci/address.py` has not
    written it there, and into the notebooks."""
    about = root() / "pyproject.toml"
    urls = tomllib.loads(about.read_text()).get("project", {}).get("urls", {}) if about.is_file() else {}
    known = urls.get("Repository", "").removeprefix("https://github.com/")
    return known and os.environ.get("GITHUB_REPOSITORY", known)


def short_sockets() -> None:
    """Processes talk through sockets in the folder of temporary files, whose paths the system limits to about 100 letters:
    where that folder's is too long, they lie in /tmp."""
    if len(tempfile.gettempdir()) > LONGEST and os.access("/tmp", os.W_OK):
        before, tempfile.tempdir = tempfile.tempdir, "/tmp"
        try:
            util.get_temp_dir()  # made once, and told to all processes that this one starts
        finally:
            tempfile.tempdir = before


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

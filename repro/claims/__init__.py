"""Claims: for each, what to run (`plan`), whether it held (`judge`) and its figure (`draw`); all three are pure.

One module a notebook, named by its slug (`batch_size` for `notebooks/01_batch_size.ipynb`), exports `CLAIMS`. The
papers' sentences and numbers are in `registry.toml`, never in a module.

May import everything but pages and the command line, and trains nothing. A first reader reads one module, e.g.
your_own_method.py, and kit.py, which they share.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repro.claims import registry
from repro.errors import ReproError

if TYPE_CHECKING:  # listing the claims needs neither
    import pandas as pd
    from matplotlib.figure import Figure

    from repro.claims.kit import Plan
    from repro.core.profiles import Profile


@dataclass(frozen=True)
class Drawing:
    """A figure, the numbers behind it, and what is to be seen in it, in words (its alt text)."""

    figure: Figure
    table: pd.DataFrame
    alt: str


EVIDENCE = registry.EVIDENCE


@dataclass(frozen=True)
class Found:
    """What was found of one part of a claim. word: of `stats.PART_WORDS`; mean, low, high: its effect with its 95 %
    interval in `unit`, None where there is none; needed: about how many seeds would decide it, 0 where it is decided;
    paper: the paper's number for the same contrast. The rest as in `stats.Part`."""

    name: str
    rule: str
    word: str
    mean: float | None
    low: float | None
    high: float | None
    unit: str
    seeds: int
    needed: int = 0
    paper: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What was measured of a claim. verdict: of `stats.WORDS`; effect with its 95 % interval (low, high) in `unit`, of the
    part that stands for the claim, None where there is none; sentence: what was found, and why it is not judged if it is
    not; finding: the same in at most 20 words; evidence: of EVIDENCE."""

    verdict: str
    effect: float | None
    low: float | None
    high: float | None
    unit: str
    seeds: int
    data: str
    backbone: str
    sentence: str
    finding: str = ""
    evidence: str = ""
    parts: tuple[Found, ...] = ()


@dataclass(frozen=True)
class Claim:
    """plan(profile) lists the runs; judge(frame) and draw(frame) see only their numbers, as `Plan.rows` has them.

    `frame.attrs["profile"]` names the profile they were measured at.
    """

    id: str
    plan: Callable[[Profile], Plan]
    judge: Callable[[pd.DataFrame], Verdict]
    draw: Callable[[pd.DataFrame], Drawing]


def notebooks() -> dict[str, str]:
    """The notebooks' names by their slugs, in order; the registry gives both."""
    return registry.load().notebooks


def of(slug: str) -> tuple[Claim, ...]:
    """The claims of one notebook. Raises ReproError for a slug that has no module."""
    if slug not in notebooks():
        raise ReproError(f"There is no notebook {slug!r}: choose one of {', '.join(notebooks())}.")
    try:
        return importlib.import_module(f"repro.claims.{slug}").CLAIMS
    except ModuleNotFoundError as e:
        if e.name != f"repro.claims.{slug}":
            raise
        return ()


def takes(slug: str) -> tuple[str, ...]:
    """Which of method and recipe a reader may bring to a notebook: its module's TAKES."""
    return getattr(importlib.import_module(f"repro.claims.{slug}"), "TAKES", ()) if of(slug) else ()

"""The registry of claims, read from `registry.toml`: the only place that knows a number of a paper."""

from __future__ import annotations

import copy
import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from repro.core.datasets import DATASETS
from repro.core.io import built
from repro.core.profiles import PROFILES
from repro.errors import ReproError

FILE = Path(__file__).with_name("registry.toml")
EVIDENCE = ("identity or theory", "toy", "stand-in", "photographs", "the paper's own data")
"""What a verdict rests on, the weakest class first."""


@dataclass(frozen=True)
class Paper:
    """A paper; ``key`` is its short name here, ``bibtex`` the key of its entry, ``arxiv`` its number there, ``data`` the
    data sets it trains on, as `repro.core.datasets` names them."""

    key: str
    title: str
    authors: tuple[str, ...] = ()
    year: int = 0
    venue: str = ""
    arxiv: str = ""
    url: str = ""
    code: str = ""
    bibtex: str = ""
    data: tuple[str, ...] = ()

    @property
    def cited(self) -> str:
        """Return for example ``"Bordes et al. 2023"``."""
        return f"{self.authors[0].split()[-1]} et al. {self.year}" if self.authors else ""


OWN = Paper("", "Claims of our own")
"""The paper of claims that belong to none."""


@dataclass(frozen=True)
class ClaimEntry:
    """One claim as the paper makes it; the head of `registry.toml` says what each field holds.

    ``headline`` is filled in from ``numbers`` already. ``numbers`` is shared: take a copy from `numbers` to change it.
    """

    id: str
    claim: str
    notebook: str
    criterion: str
    paper: str = ""
    source: str = ""
    quote: str = ""
    smallest_profile: str = "quick"
    rule: str = ""
    unit: str = ""
    headline: str = ""
    evidence: str = ""
    shown: dict[str, str] = field(default_factory=dict, hash=False)
    notes: tuple[str, ...] = ()
    numbers: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def slug(self) -> str:
        """Return the name of the claim's module, figures and page: its notebook's without the number."""
        return self.notebook.partition("_")[2]


@dataclass(frozen=True)
class Takeaway:
    """What a paper recommends in the end: our words (`advice`), its own (`quote`), and the claims that test it."""

    paper: str
    source: str
    advice: str
    quote: str
    claims: tuple[str, ...]


@dataclass(frozen=True)
class Registry:
    """Papers by key and claims by id, and the papers' recommendations, all in the order of the file. The last paper is
    `OWN` where a claim belongs to none. start: the notebook before the claims."""

    papers: dict[str, Paper] = field(hash=False)
    claims: dict[str, ClaimEntry] = field(hash=False)
    takeaways: tuple[Takeaway, ...] = ()
    start: str = ""

    @property
    def notebooks(self) -> dict[str, str]:
        """Return the notebooks' names by their slugs, in the order of their numbers."""
        names = sorted({e.notebook for e in self.claims.values()} | {self.start} - {""})
        return {name.partition("_")[2]: name for name in names}


def load(file: Path = FILE) -> Registry:
    """Return the registry; a file is read anew once it has changed. Raises ReproError naming the claim and the field that
    are wrong."""
    return _load(Path(file), os.stat(file).st_mtime_ns if Path(file).exists() else 0)


def entry(claim: str) -> ClaimEntry:
    """Return the claim with this id, for example ``entry("A7")``. Raises ReproError for an id that there is not."""
    claims = load().claims
    if claim not in claims:
        raise ReproError(f"There is no claim {claim!r}: choose one of {', '.join(claims)}.")
    return claims[claim]


def numbers(claim: str) -> dict[str, Any]:
    """Return a copy of the paper's numbers for this claim, as the tables of `registry.toml`."""
    return copy.deepcopy(entry(claim).numbers)


@lru_cache(maxsize=4)
def _load(file: Path, changed: int) -> Registry:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ReproError(f"{file.name} cannot be read ({e}): restore it from the repository.") from e
    papers = {k: built(Paper, {"key": k, **v}, f"{file.name}: paper {k}") for k, v in raw.get("papers", {}).items()}
    for paper in papers.values():
        for name in paper.data:
            _one_of(name, DATASETS, f"{file.name}: paper {paper.key} has data")
    claims: dict[str, ClaimEntry] = {}
    for values in raw.get("claim", []):
        claim = _claim(values, papers, f"{file.name}: claim {values.get('id', '(without id)')}")
        if claim.id in claims:
            raise ReproError(f"{file.name}: claim {claim.id} is there twice: give each claim its own id.")
        claims[claim.id] = claim
    if any(not claim.paper for claim in claims.values()):
        papers[""] = OWN
    takeaways = tuple(built(Takeaway, values, f"{file.name}: a takeaway") for values in raw.get("takeaway", []))
    for takeaway in takeaways:
        _one_of(takeaway.paper, papers, f"{file.name}: a takeaway has paper")
        for claim in takeaway.claims:
            _one_of(claim, claims, f"{file.name}: a takeaway has claim")
    return Registry(papers, claims, takeaways, raw.get("start", ""))


def _claim(values: dict[str, Any], papers: dict[str, Paper], where: str) -> ClaimEntry:
    claim = built(ClaimEntry, values, where)
    if claim.paper:
        _one_of(claim.paper, papers, f"{where} has paper")
    for name in (claim.smallest_profile, *claim.shown):
        _one_of(name, PROFILES, f"{where} has the profile")
    if claim.evidence:
        _one_of(claim.evidence, EVIDENCE, f"{where} has evidence")
    if not re.fullmatch(r"\d\d_[a-z]\w*", claim.notebook):
        raise ReproError(f"{where} has notebook {claim.notebook!r}: write a number and a slug, as in 01_batch_size.")
    try:
        return replace(claim, headline=claim.headline.format_map(claim.numbers))
    except (KeyError, IndexError, ValueError, TypeError, AttributeError) as e:
        raise ReproError(f"{where} has a headline that its numbers cannot fill in ({e!r}): mend either.") from e


def _one_of(value: str, choices: Iterable[str], what: str) -> None:
    if value not in choices:
        raise ReproError(f"{what} {value!r}: choose one of {', '.join(choices)}.")

"""The registry of claims, read from `registry.toml`: the only place that knows a number of a paper."""

from __future__ import annotations

import copy
import tomllib
from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from repro.claims import NOTEBOOKS
from repro.core.profiles import PROFILES
from repro.errors import ReproError

FILE = Path(__file__).with_name("registry.toml")


@dataclass(frozen=True)
class Paper:
    """A paper; ``key`` is its short name here, ``bibtex`` the key of its entry, ``arxiv`` its number there."""

    key: str
    title: str
    authors: tuple[str, ...]
    year: int
    venue: str
    arxiv: str
    url: str
    code: str
    bibtex: str

    @property
    def cited(self) -> str:
        """Return for example ``"Bordes et al. 2023"``."""
        return f"{self.authors[0].split()[-1]} et al. {self.year}"


@dataclass(frozen=True)
class ClaimEntry:
    """One claim as the paper makes it; the head of `registry.toml` says what each field holds.

    ``headline`` is filled in from ``numbers`` already. ``numbers`` is shared: take a copy from `numbers` to change it.
    """

    id: str
    paper: str
    source: str
    claim: str
    quote: str
    notebook: str
    smallest_profile: str
    criterion: str
    rule: str
    unit: str
    headline: str
    notes: tuple[str, ...]
    numbers: dict[str, Any] = field(hash=False)

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
    """Papers by key and claims by id, and the papers' recommendations, all in the order of the file."""

    papers: dict[str, Paper] = field(hash=False)
    claims: dict[str, ClaimEntry] = field(hash=False)
    takeaways: tuple[Takeaway, ...] = ()


def load(file: Path = FILE) -> Registry:
    """Return the registry; the file is read once. Raises ReproError naming the claim and the field that are wrong."""
    return _load(Path(file))


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
def _load(file: Path) -> Registry:
    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ReproError(f"{file.name} cannot be read ({e}): restore it from the repository.") from e
    papers, claims = {}, {}
    for key, values in raw.get("papers", {}).items():
        papers[key] = Paper(**_checked(Paper, {"key": key, **values}, f"{file.name}: paper {key}"))
    for values in raw.get("claim", []):
        where = f"{file.name}: claim {values.get('id', '(without id)')}"
        claim = ClaimEntry(**_checked(ClaimEntry, values, where))
        if claim.id in claims:
            raise ReproError(f"{where} is there twice: give each claim its own id.")
        _one_of(claim.paper, papers, f"{where} has paper")
        _one_of(claim.notebook, NOTEBOOKS.values(), f"{where} has notebook")
        _one_of(claim.smallest_profile, PROFILES, f"{where} has smallest_profile")
        claims[claim.id] = claim
    takeaways = []
    for values in raw.get("takeaway", []):
        where = f"{file.name}: a takeaway"
        takeaways.append(Takeaway(**_checked(Takeaway, values, where)))
        _one_of(takeaways[-1].paper, papers, f"{where} has paper")
        for claim in takeaways[-1].claims:
            _one_of(claim, claims, f"{where} has claim")
    return Registry(papers, claims, tuple(takeaways))


_TYPES = {"str": str, "int": int, "tuple[str, ...]": list, "dict[str, Any]": dict}


def _checked(kind: type, values: dict[str, Any], where: str) -> dict[str, Any]:
    """Return `values` ready for the dataclass `kind`, or say which field is missing, unknown or of the wrong type."""
    expected = {f.name: _TYPES[f.type] for f in fields(kind)}
    if missing := [name for name in expected if name not in values]:
        raise ReproError(f"{where} lacks {', '.join(missing)}: add it.")
    if unknown := [name for name in values if name not in expected]:
        raise ReproError(f"{where} has the unknown field {unknown[0]!r}: remove it, or move it into its numbers.")
    for name, want in expected.items():
        wrong_item = want is list and any(not isinstance(item, str) for item in values[name])
        if type(values[name]) is not want or wrong_item:
            wanted = {str: "a text", int: "a whole number", list: "a list of texts", dict: "a table"}[want]
            raise ReproError(f"{where} has {name} = {values[name]!r}: write {wanted}.")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    if "headline" in values:
        try:
            values["headline"] = values["headline"].format_map(values["numbers"])
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as e:
            raise ReproError(f"{where} has a headline that its numbers cannot fill in ({e!r}): mend either.") from e
    return values


def _one_of(value: str, choices: Any, what: str) -> None:
    if value not in choices:
        raise ReproError(f"{what} {value!r}: choose one of {', '.join(choices)}.")

"""The table of claims: what the papers say beside what the stored verdicts say, as text, Markdown and JSON."""

from __future__ import annotations

import json
import math
import os
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from repro.claims import Verdict
from repro.claims.registry import ClaimEntry, Paper, entry, load
from repro.core.profiles import PROFILES
from repro.errors import ReproError

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"
COST_BEGIN, COST_END = "<!-- cost:begin -->", "<!-- cost:end -->"
# The words of repro.stats and repro.figures, whose imports (scipy, matplotlib) would make listing claims slow.
WORDS = ("reproduced", "partly", "not reproduced", "not judged", "not yet")
NOT_JUDGED, NOT_YET = WORDS[3:]
SHOWN = ("quick", "gpu")
"""The profiles whose verdicts the text and the README show; the JSON has all."""

Row = dict[str, Any]


def rows(figures_root: Path | str | None = None, notebooks_root: Path | str | None = None) -> list[Row]:
    """Return one row a claim, in the registry's order, with the keys id, paper, source, claim, notebook,
    smallest_profile and verdicts.

    ``verdicts`` maps a profile to verdict, effect, low, high, unit, seeds, data and backbone, as stored in
    ``figures_root/<profile>/<slug>/verdicts.json``; it is empty for a claim that was not run, or whose notebook is not
    there. The roots default to the repository's ``figures/``, and to ``notebooks/`` beside it. Raises ReproError naming
    a file that is broken, and for a folder that was asked for and does not exist.
    """
    figures = _root() / "figures" if figures_root is None else Path(figures_root)
    if figures_root is not None and not figures.is_dir():
        raise ReproError(f"There is no folder {figures}: name the one that holds the profiles' figures.")
    notebooks = figures.parent / "notebooks" if notebooks_root is None else Path(notebooks_root)
    claims = load().claims
    stored = {
        (profile, slug): _verdicts(figures / profile / slug / "verdicts.json", profile, slug)
        for profile in PROFILES
        for slug in dict.fromkeys(e.slug for e in claims.values())
    }
    return [
        {
            "id": e.id,
            "paper": e.paper,
            "source": e.source,
            "claim": e.claim,
            "notebook": e.notebook,
            "smallest_profile": e.smallest_profile,
            "verdicts": {
                profile: stored[profile, e.slug][e.id]
                for profile in PROFILES
                if e.id in stored[profile, e.slug] and (notebooks / f"{e.notebook}.ipynb").is_file()
            },
        }
        for e in claims.values()
    ]


def as_json(rows: Sequence[Row]) -> str:
    """Return the rows as JSON, a list of objects; a number that is missing is null."""
    return json.dumps(rows, indent=2, ensure_ascii=False, allow_nan=False)


def as_text(rows: Sequence[Row], profiles: Sequence[str] = SHOWN) -> str:
    """Return the table for a terminal, at most 120 columns wide for up to two profiles."""
    widths = [3, 53, *[28] * len(profiles)]

    def lines(*cells: list[str]) -> Iterator[str]:
        wrapped = [[part for text in cell for part in textwrap.wrap(text, w)] for cell, w in zip(cells, widths)]
        for i in range(max(map(len, wrapped))):
            parts = [cell[i] if i < len(cell) else "" for cell in wrapped]
            yield "  ".join(part.ljust(w) for part, w in zip(parts, widths)).rstrip()

    out = []
    for paper, group in _by_paper(rows):
        out += [f"{paper.title} ({paper.cited})", ""]
        out += lines(["id"], ["claim"], *[[profile] for profile in profiles])
        out.append("  ".join("-" * w for w in widths))
        for row in group:
            out += lines([row["id"]], [row["claim"]], *[_cell(row["verdicts"].get(p)) for p in profiles])
        out.append("")
    return "\n".join([*out, *(f"{profile}: {_counted(rows, profile)}" for profile in profiles)])


def _counted(rows: Sequence[Row], profile: str) -> str:
    counts = Counter(row["verdicts"].get(profile, {"verdict": NOT_YET})["verdict"] for row in rows)
    return ", ".join(f"{counts[word]} {word}" for word in WORDS if counts[word])


def as_markdown(rows: Sequence[Row], notebooks_root: Path | str | None = None, profiles: Sequence[str] = SHOWN) -> str:
    """Return the table for the README: one a paper, each id linked to its notebook where ``notebooks_root`` has it."""
    from repro.figures import VERDICTS

    notebooks = _root() / "notebooks" if notebooks_root is None else Path(notebooks_root)
    out = ["; ".join(f"`{profile}`: {_counted(rows, profile)}" for profile in profiles) + ".", ""]
    for paper, group in _by_paper(rows):
        out += [f"**[{_escaped(paper.title)}]({paper.url})** ({paper.cited})", ""]
        out.append(f"| id | claim | the paper's numbers | {' | '.join(profiles)} |")
        out.append("| --- " * (3 + len(profiles)) + "|")
        for row in group:
            label = row["id"]
            if (notebooks / f"{row['notebook']}.ipynb").is_file():
                label = f"[{label}](notebooks/{row['notebook']}.ipynb)"
            claim: ClaimEntry = entry(row["id"])
            cells = [label, _escaped(row["claim"]), f"{claim.source}: {_escaped(claim.headline)}"]
            for profile in profiles:
                word, *rest = _cell(row["verdicts"].get(profile))
                cells.append("<br>".join([f"{VERDICTS[word].sign} {word}", *map(_escaped, rest)]))
            out.append(f"| {' | '.join(cells)} |")
        out.append("")
    return "\n".join(out).rstrip()


def update_readme(path: Path | str, rows: Sequence[Row], notebooks_root: Path | str | None = None) -> bool:
    """Put the table between the README's two markers; return whether that changed the file.

    Links are looked up in ``notebooks/`` beside the README unless told. Raises ReproError when a marker is missing.
    """
    path = Path(path)
    text, new = _filled(path, rows, notebooks_root)
    if new == text:
        return False
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(new, encoding="utf-8")
    part.replace(path)  # whole or not at all
    return True


def readme_is_current(path: Path | str, rows: Sequence[Row], notebooks_root: Path | str | None = None) -> bool:
    """Return whether the README's table is the one these rows give."""
    text, new = _filled(Path(path), rows, notebooks_root)
    return new == text


def _filled(path: Path, rows: Sequence[Row], notebooks_root: Path | str | None) -> tuple[str, str]:
    """The README as it is and as it should be."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise ReproError(f"{path} cannot be read: name a README that exists.") from e
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ReproError(f"{path} needs one line {BEGIN} and, below it, one line {END}: add them where the table goes.")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if COST_BEGIN in head:
        before, _, after = head.partition(COST_BEGIN)
        head = f"{before}{COST_BEGIN}{cost(path.parent / 'figures')}{COST_END}{after.partition(COST_END)[2]}"
    root = path.parent / "notebooks" if notebooks_root is None else notebooks_root
    return text, f"{head}{BEGIN}\n\n{as_markdown(rows, root)}\n\n{END}{tail}"


def cost(figures_root: Path) -> str:
    """One sentence on what the quick profile took when its reference results were made, and how much disk it needs."""
    file = figures_root / "quick" / "cost.json"
    if not file.exists():
        return "not measured yet"
    try:
        c = json.loads(file.read_text(encoding="utf-8"))
        return (
            f"{c['minutes']:.0f} minutes for {c['runs']} runs and {c['notebooks']} notebooks on {c['hardware']}, after an "
            f"installation that takes {c['disk_gb']:.0f} GB of disk"
        )
    except (ValueError, KeyError) as e:
        raise ReproError(f"{file} is broken: make the reference results again with `repro run --reference`.") from e


def _root() -> Path:
    """The repository: around the package when it runs from a checkout, else the working directory."""
    checkout = Path(__file__).resolve().parents[2]
    return checkout if (checkout / "figures").is_dir() else Path.cwd()


def _by_paper(rows: Sequence[Row]) -> Iterator[tuple[Paper, list[Row]]]:
    for key, paper in load().papers.items():
        if group := [row for row in rows if row["paper"] == key]:
            yield paper, group


def _cell(verdict: dict[str, Any] | None) -> list[str]:
    """A verdict in lines: the word, the effect with its interval, what it rests on."""
    if verdict is None:
        return [NOT_YET]
    effect, low, high = verdict["effect"], verdict["low"], verdict["high"]
    lines = [verdict["verdict"]]
    if effect is not None:
        bounds = [x for x in (effect, low, high) if x is not None]
        form = ".1e" if 0 < max(map(abs, bounds)) < 1e-4 else f".{_decimals(bounds)}f"
        shown = [f"{x:{form}}" for x in bounds]
        lines.append(f"{shown[0]}{f' [{shown[1]}, {shown[2]}]' if len(shown) == 3 else ''} {verdict['unit']}".rstrip())
    seeds = f"{verdict['seeds']} seed{'' if verdict['seeds'] == 1 else 's'}"
    return [*lines, ", ".join(part for part in (seeds, verdict["data"], verdict["backbone"]) if part)]


def _decimals(values: list[float]) -> int:
    """Decimals that give the largest of the values three digits."""
    largest = max(map(abs, values))
    return 1 if largest == 0 else min(12, max(0, 2 - math.floor(math.log10(largest))))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _verdicts(file: Path, profile: str, slug: str) -> dict[str, dict[str, Any]]:
    """The stored verdicts of one notebook at one profile, checked; {} when it was not run."""
    if not file.exists():
        return {}

    def broken(why: str) -> ReproError:
        return ReproError(
            f"{file} is broken ({why}): run the notebook {slug} at the profile {profile} again, which writes it anew."
        )

    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise broken("it is not readable JSON") from e
    if not isinstance(raw, dict):
        raise broken("it is not an object of verdicts by claim")
    ours = [e.id for e in load().claims.values() if e.slug == slug]
    names = [f.name for f in fields(Verdict)]
    found = {}
    for claim, values in raw.items():
        if claim not in ours:
            raise broken(f"{claim} is no claim of {slug}")
        if not isinstance(values, dict) or sorted(values) != sorted(names):
            raise broken(f"{claim} needs exactly the fields {', '.join(names)}")
        numbers = [values[name] for name in ("effect", "low", "high")]
        if values["verdict"] not in WORDS[:4]:
            raise broken(f"{claim} has the unknown verdict {values['verdict']!r}")
        if profile == "smoke" and values["verdict"] != NOT_JUDGED:
            raise broken(f"{claim} has a verdict, and smoke is never judged")
        if any(x is not None and type(x) not in (int, float) for x in numbers) or type(values["seeds"]) is not int:
            raise broken(f"{claim} has an effect, a limit or a count of seeds that is no number")
        if any(not isinstance(values[name], str) for name in ("unit", "data", "backbone", "sentence")):
            raise broken(f"{claim} has a unit, data, backbone or sentence that is no text")
        found[claim] = {name: _finite(values[name]) for name in names if name != "sentence"}
    return found


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity: such a number is missing."""
    return None if isinstance(value, float) and not math.isfinite(value) else value

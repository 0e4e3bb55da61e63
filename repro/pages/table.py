"""The table of claims: what the papers say beside what the stored verdicts say, as text, Markdown and JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from repro.claims import Verdict
from repro.claims.registry import ClaimEntry, Paper, load
from repro.core import places, store
from repro.core.io import write_atomic
from repro.core.profiles import PROFILES
from repro.errors import ReproError
from repro.pages import verdicts
from repro.pages.verdicts import NOT_YET

BEGIN, END = "<!-- claims:begin -->", "<!-- claims:end -->"
SHOWN = ("cpu", "quick", "gpu")
"""The profiles whose verdicts the text and the README show where there are any; the JSON has all."""


@dataclass(frozen=True)
class Row:
    """A claim and its verdicts by profile; none for a claim that was not run, or whose notebook is not there."""

    entry: ClaimEntry
    verdicts: dict[str, Verdict]

    def cell(self, profile: str) -> list[str]:
        """The verdict at a profile in lines: the word, the effect with its interval, what was found, what it rests on."""
        found = self.verdicts.get(profile)
        if found is None:
            return [NOT_YET]
        rests = ": ".join(filter(None, (found.evidence, verdicts.basis(found))))
        return [line for line in (found.verdict, verdicts.effect(found), found.finding, rests) if line]


def rows(figures_root: Path | str | None = None, notebooks_root: Path | str | None = None) -> list[Row]:
    """Return one row a claim, in the registry's order, with the verdicts of ``figures_root/<profile>/<slug>/``.

    The roots default to the repository's ``figures/``, and to ``notebooks/`` beside it. Raises ReproError naming a file
    that is broken, and for a folder that was asked for and does not exist.
    """
    figures = places.reference() if figures_root is None else Path(figures_root)
    if figures_root is not None and not figures.is_dir():
        raise ReproError(f"There is no folder {figures}: name the one that holds the profiles' figures.")
    notebooks = figures.parent / "notebooks" if notebooks_root is None else Path(notebooks_root)
    registry = load()
    there = {slug for slug, name in registry.notebooks.items() if (notebooks / f"{name}.ipynb").is_file()}
    stored = {
        (profile, slug): verdicts.load(figures / profile / slug / "verdicts.json")
        for profile in PROFILES
        for slug in registry.notebooks
    }
    found = {e.id: [(p, stored[p, e.slug]) for p in PROFILES if e.slug in there] for e in registry.claims.values()}
    return [Row(e, {p: of[e.id] for p, of in found[e.id] if e.id in of}) for e in registry.claims.values()]


def as_json(rows: Sequence[Row]) -> str:
    """Return the rows as JSON, a list of objects with the keys id, paper, source, claim, notebook, smallest_profile and
    verdicts, which are by profile and have all but their sentence; a number that is missing is null."""
    told = ("id", "paper", "source", "claim", "notebook", "smallest_profile")
    out = []
    for row in rows:
        by_profile = {
            p: {k: v for k, v in asdict(found).items() if k != "sentence"} for p, found in row.verdicts.items()
        }
        out.append({name: getattr(row.entry, name) for name in told} | {"verdicts": by_profile})
    return json.dumps(out, indent=2, ensure_ascii=False, allow_nan=False)


def shown(rows: Sequence[Row]) -> list[str]:
    """The profiles of SHOWN that have a verdict; quick if none has."""
    return [p for p in SHOWN if any(p in row.verdicts for row in rows)] or ["quick"]


def as_text(rows: Sequence[Row], profiles: Sequence[str] = ()) -> str:
    """Return the table for a terminal, at most 120 columns wide for up to three profiles, those of `shown` if none is
    named."""
    profiles = profiles or shown(rows)
    widths = [3, 115 - 30 * len(profiles), *[28] * len(profiles)]

    def lines(*cells: list[str]) -> Iterator[str]:
        wrapped = [[part for text in cell for part in textwrap.wrap(text, w)] for cell, w in zip(cells, widths)]
        for i in range(max(map(len, wrapped))):
            parts = [cell[i] if i < len(cell) else "" for cell in wrapped]
            yield "  ".join(part.ljust(w) for part, w in zip(parts, widths)).rstrip()

    out = []
    for paper, group in _by_paper(rows):
        out += [f"{paper.title} ({paper.cited})" if paper.cited else paper.title, ""]
        out += lines(["id"], ["claim"], *[[profile] for profile in profiles])
        out.append("  ".join("-" * w for w in widths))
        for row in group:
            out += lines([row.entry.id], [row.entry.claim], *map(row.cell, profiles))
        out.append("")
    return "\n".join([*out, *(f"{profile}: {_counted(rows, profile)}" for profile in profiles)])


def as_markdown(rows: Sequence[Row], notebooks_root: Path | str | None = None) -> str:
    """Return the table for the README: one a paper, each id linked to its notebook where ``notebooks_root`` has it."""
    from repro.figures import VERDICTS

    profiles = shown(rows)
    notebooks = places.notebooks() if notebooks_root is None else Path(notebooks_root)
    out = [*(f"- `{profile}`: {_counted(rows, profile)}" for profile in profiles), ""]
    for paper, group in _by_paper(rows):
        title = _escaped(paper.title)
        out += [f"**[{title}]({paper.url})** ({paper.cited})" if paper.url else f"**{title}**", ""]
        out.append(f"| claim | the paper | {' | '.join(profiles)} |")
        out.append("| --- " * (2 + len(profiles)) + "|")
        for row in group:
            e = row.entry
            label = f"[{e.id}](notebooks/{e.notebook}.ipynb)" if (notebooks / f"{e.notebook}.ipynb").is_file() else e.id
            cells = [f"{label} {_escaped(e.claim)}", _escaped(": ".join(filter(None, (e.source, e.headline))))]
            for word, *rest in map(row.cell, profiles):
                cells.append("<br>".join([f"{VERDICTS[word].sign} {word}", *map(_escaped, rest)]))
            out.append(f"| {' | '.join(cells)} |")
        out.append("")
    return "\n".join(out).rstrip()


def update_readme(path: Path | str, rows: Sequence[Row]) -> bool:
    """Put the table between the README's two markers, with the forest plot that it draws into the ``figures/`` beside it;
    return whether that changed the file.

    Links are looked up in ``notebooks/`` beside the README. Raises ReproError when a marker is missing.
    """
    from repro.pages import forest

    filled(Path(path), rows)  # fails before anything is drawn
    figures = Path(path).parent / "figures"
    for profile in shown(rows):
        forest.save((figures / profile).joinpath, profile, figures / profile)
    text, new = filled(Path(path), rows)
    if new != text:
        write_atomic(Path(path), new)
    return new != text


def filled(path: Path, rows: Sequence[Row]) -> tuple[str, str]:
    """The README as it is and as it should be."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as e:
        raise ReproError(f"{path} cannot be read: name a README that exists.") from e
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ReproError(f"{path} needs one line {BEGIN} and, below it, one line {END}: add them where the table goes.")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    for name, say in SENTENCES.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        if begin in head:
            before, _, after = head.partition(begin)
            head = f"{before}{begin}{say(path.parent / 'figures')}{end}{after.partition(end)[2]}"
    drawn = (path.parent / "figures" / profile / "forest.json" for profile in shown(rows))
    picture = next((_picture(about, path.parent) for about in drawn if about.exists()), "")
    return text, f"{head}{BEGIN}\n\n{picture}{as_markdown(rows, path.parent / 'notebooks')}\n\n{END}{tail}"


def _picture(about: Path, root: Path) -> str:
    """The forest plot in the reader's theme, with its caption."""
    told, where = json.loads(about.read_text(encoding="utf-8")), about.parent.relative_to(root).as_posix()
    dark = f'<source media="(prefers-color-scheme: dark)" srcset="{where}/forest-dark.svg">'
    return f'<picture>{dark}<img src="{where}/forest.svg" alt="{told["alt"]}"></picture>\n\n{told["caption"]}\n\n'


def _told(file: Path, say: Callable[[dict], str], mend: str) -> str:
    """What a stored file says in a sentence. Raises ReproError that names `mend` for one that is broken."""
    if not file.exists():
        return "not measured yet"
    try:
        return say(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, KeyError) as e:
        raise ReproError(f"{file} is broken: {mend}.") from e


def cost(figures_root: Path) -> str:
    """One sentence on what the quick profile took when its reference results were made, and how much disk it needs."""
    said = (
        "{minutes:.0f} minutes for its {runs} runs on {hardware}, and some more to execute {notebooks} notebooks, after an "
        "installation that takes {disk_gb:.0f} GB of disk"
    )
    mend = "make the reference results again with `repro run --reference`"
    return _told(figures_root / "quick" / "cost.json", lambda c: said.format(**c), mend)


def again(figures_root: Path) -> str:
    """How many words of quick stayed in other measurements of it, whose verdicts are kept under figures/again/, a folder a
    measurement, named after what was other."""
    first, others = figures_root / "quick", sorted((figures_root / "again").glob("*/"))
    said = (f"{o.name}: {verdicts.stability(first, o / 'quick').splitlines()[0].rstrip('.')}" for o in others)
    return "; ".join(said) or "not measured yet"


def step(figures_root: Path) -> str:
    """How fast a step at cpu is, beside others', as `repro bench engine` wrote it: a file a precision."""
    from repro.bench import engine  # torch, which the table goes without

    def told(measured: dict) -> str:
        found, own = engine.summary(measured), measured["precision"]
        said = [f"in {own} {found['views_s']:,.0f} views/s", f"{found['share']:.0%} of a matrix product's rate"]
        for name in (n for n in measured["seconds"] if n not in engine.PARTS):
            precision = measured["precisions"].get(name, own)  # another way of ours has none
            other = f" in {precision}" * (precision != own)
            said.append(
                f"{found[f'{name}_ratio']:.1f} times as many as {name}{other} ({found[f'{name}_views_s']:,.0f})"
            )
        return ", ".join(said) + f" ({measured['hardware']}, commit {measured['commit']})"

    files = sorted((figures_root / "cpu").glob("engine*.json")) or [figures_root / "cpu" / "engine.json"]
    return "; ".join(_told(f, told, "make it again by `repro bench engine --profile cpu --out FILE`") for f in files)


def spread(figures_root: Path) -> str:
    """By notebook, of the parts that cpu measured in points: the median deviation of a contrast over its paired seeds, the
    median half-width of its 95 % interval, and the widest."""
    from repro.stats import Interval  # scipy, which the table goes without

    lines = []
    for file in sorted(figures_root.glob("cpu/*/verdicts.json")):
        parts = [p for v in verdicts.load(file).values() for p in v.parts if p.unit == "points" and p.low is not None]
        found = [Interval(p.mean, p.low, p.high, p.seeds) for p in parts]
        if found:
            halves, apart = [(f.high - f.low) / 2 for f in found], [f.error() * f.n**0.5 for f in found]
            numbers = " | ".join(f"{x:.1f}" for x in (median(apart), median(halves), max(halves)))
            lines.append(f"| `{file.parent.name}` | {numbers} |")
    head = (
        "| notebook | deviation of a contrast over paired seeds, median | half-width of its interval, median | widest |"
    )
    return "\n".join(["\n", head, "| --- " * 4 + "|", *lines, "\n"]) if lines else "not measured yet"


def processors(figures_root: Path) -> str:
    """How far the runs that several processors measured at cpu deviate over these, beside over their seeds, in points of
    test accuracy; notebooks share runs, and may be measured on one each."""
    import pandas as pd

    rows = [
        (json.dumps(r.spec | {"seed": 0}), r.spec["seed"], r.provenance["hardware"].partition(",")[0], test)
        for file in sorted(figures_root.glob("cpu/*/runs.jsonl"))
        for r in store.load(file)
        if "train_seconds" in r.provenance and (test := r.metrics.get("linear_test_class")) is not None
    ]
    ends = pd.DataFrame(rows, columns=["cell", "seed", "on", "test"]).groupby(["cell", "seed", "on"])["test"].mean()
    there = ends.groupby(["cell", "seed"]).transform("size") > 1
    runs, seeds = (ends[there].groupby(by).std().dropna() for by in (["cell", "seed"], ["cell", "on"]))
    if runs.empty or seeds.empty:
        return "not measured yet"
    on = " and ".join(sorted(ends[there].index.unique("on")))
    apart, seeded = ((s**2).mean() ** 0.5 for s in (runs, seeds))
    return (
        f"{len(runs)} runs of {on} deviate by {apart:.2f} points between the processors, by {seeded:.2f} between seeds"
    )


SENTENCES = {say.__name__: say for say in (cost, again, step, spread, processors)}  # between two marks of the README


def _by_paper(rows: Sequence[Row]) -> Iterator[tuple[Paper, list[Row]]]:
    for key, paper in load().papers.items():
        if group := [row for row in rows if row.entry.paper == key]:
            yield paper, group


def _counted(rows: Sequence[Row], profile: str) -> str:
    """The words at a profile by class of evidence, never in one sum."""
    found = [row.verdicts.get(profile) for row in rows]
    counts = verdicts.counted((v.evidence, v.verdict) if v else ("", NOT_YET) for v in found)
    return "; ".join(f"{c}: " * bool(c) + ", ".join(f"{n} {word}" for word, n in words) for c, words in counts) + "."


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")

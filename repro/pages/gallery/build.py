"""Build the gallery's pages from figures, verdicts, executed notebooks and the registry of claims."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from repro.claims import NOTEBOOKS
from repro.claims.registry import Registry, load
from repro.core.profiles import PROFILES
from repro.errors import ReproError
from repro.figures import VERDICTS
from repro.pages.gallery.notebook import Rendered, inline, marks, render

MARKER = ".repro-gallery"  # only a folder that holds it is ever replaced
NUMBERS = 40  # rows of a figure's table shown on the page; the rest is in the CSV


@dataclass(frozen=True)
class Figure:
    """A saved figure; the paths are relative to its page. size in CSS pixels. rows: of its table, header first."""

    id: str
    alt: str
    caption: str
    folder: str
    width: int
    height: int
    rows: list[list[str]]
    more: int

    def path(self, suffix: str) -> str:
        return f"{self.folder}/{self.id}{suffix}"


@dataclass(frozen=True)
class Outcome:
    """A claim's verdict at one profile, ready to be written; `word` is "not yet" where nothing was judged."""

    word: str
    sentence: str = ""
    effect: str = ""
    interval: str = ""
    glyph: Markup | str = ""
    under: str = ""  # seeds, data, backbone

    @property
    def sign(self) -> str:
        return VERDICTS[self.word].sign

    @property
    def css(self) -> str:
        return self.word.replace(" ", "-")


@dataclass(frozen=True)
class Entry:
    """A claim of the registry, its texts as HTML."""

    id: str
    slug: str
    paper: str
    source: str
    claim: Markup
    quote: Markup
    criterion: Markup
    headline: Markup
    notes: list[tuple[str, Markup]]


@dataclass(frozen=True)
class Page:
    """One notebook at one profile."""

    slug: str
    name: str  # 01_batch_size
    profile: str
    title: Markup
    notebook: Rendered | None
    figures: dict[str, Figure]
    outcomes: dict[str, Outcome]
    downloads: list[tuple[str, str]]  # (path from the page, name)
    exists: bool  # whether there is anything to show


def build(
    profile: str | Sequence[str],
    figures_root: str | Path,
    notebooks_build_root: str | Path,
    out: str | Path,
    registry: Registry | None = None,
    notebooks: str | Path | None = None,
) -> Path:
    """Write the gallery into the folder `out` and return its index.html.

    profile: a profile's name, several, or "all" (every one that has figures or executed notebooks).
    figures_root: holds <profile>/<slug>/; notebooks_build_root: holds <profile>/<NN_slug>.ipynb.
    registry: None loads `repro.claims.registry`. notebooks: the folder of the unexecuted notebooks, read for the titles
    of those not run yet.

    The gallery is built beside `out` and put in its place whole. Raises ReproError for an unknown profile, for an `out`
    that holds something else than a gallery, and for an executed notebook that cannot be read.
    """
    figures_root, runs_root, out = Path(figures_root), Path(notebooks_build_root), Path(out).absolute()
    profiles = _profiles(profile, figures_root, runs_root)
    if out.exists() and not (out / MARKER).exists() and (not out.is_dir() or any(out.iterdir())):
        raise ReproError(f"{out} is not a gallery and would be lost: choose an empty or new folder for the gallery.")
    registry = registry or load()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        tmp = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as e:
        raise ReproError(f"The gallery cannot be written to {out} ({e.strerror}): choose another folder.") from e
    try:
        _write(tmp, profiles, registry, figures_root, runs_root, Path(notebooks) if notebooks else None)
        tmp.chmod(0o755)
        _swap(tmp, out)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    return out / "index.html"


def _profiles(wanted: str | Sequence[str], figures_root: Path, runs_root: Path) -> list[str]:
    if wanted == "all":
        found = [p for p in PROFILES if (figures_root / p).is_dir() or (runs_root / p).is_dir()]
        return found or ["quick"]
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in PROFILES:
            raise ReproError(f"Unknown profile {name!r}: choose all or one of {', '.join(PROFILES)}.")
    return [p for p in PROFILES if p in names]


def _swap(tmp: Path, out: Path) -> None:
    """Put `tmp` in the place of `out`. Should this stop between the two renames, the old gallery lies beside."""
    old = None
    if out.exists():
        old = Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent))
        os.rename(out, old / out.name)
    os.rename(tmp, out)
    if old:
        shutil.rmtree(old, ignore_errors=True)


# --- reading ----------------------------------------------------------------------------------------------------------


def _entries(claims: Iterable[Any]) -> list[Entry]:
    return [
        Entry(
            id=c.id,
            slug=_slug(c.notebook),
            paper=c.paper,
            source=c.source,
            claim=Markup(inline(c.claim)),
            quote=Markup(inline(c.quote)),
            criterion=Markup(inline(c.criterion)),
            headline=Markup(inline(c.headline)),
            notes=[_note(n) for n in c.notes],
        )
        for c in claims
    ]


def _note(text: str) -> tuple[str, Markup]:
    """A note and its kind: "Contradiction: ..." where a paper disagrees with itself, "Found: ...", "Open: ..."."""
    kind, colon, rest = text.partition(": ")
    if not (colon and kind.isalpha()):
        kind, rest = "Note", text
    return kind, Markup(inline(rest[:1].upper() + rest[1:]))


def _slug(notebook: str) -> str:
    return re.sub(r"^\d+_", "", Path(notebook).name.removesuffix(".ipynb"))


def _figures(folder: Path) -> dict[str, Figure]:
    """The figures of a folder that are there whole, by claim id."""
    out = {}
    for path in sorted(folder.glob("*.json"), key=lambda p: _natural(p.stem)):
        if path.name == "verdicts.json":
            continue
        files = [folder / f"{path.stem}{s}" for s in (".svg", "-dark.svg", ".png", ".csv")]
        if not all(f.exists() for f in files):
            continue
        about = _read_json(path)
        head = files[0].read_text()[:2000]
        size = [
            float(m[1]) * 4 / 3 if (m := re.search(rf'<svg[^>]* {k}="([\d.]+)pt"', head)) else 0
            for k in ("width", "height")
        ]
        rows = list(csv.reader(io.StringIO(files[3].read_text())))
        out[path.stem] = Figure(
            id=path.stem,
            alt=str(about.get("alt", "")),
            caption=str(about.get("caption", "")),
            folder=folder.name,
            width=round(size[0]),
            height=round(size[1]),
            rows=[[_short(v) for v in row] for row in rows[: NUMBERS + 1]],
            more=max(0, len(rows) - NUMBERS - 1),
        )
    return out


def _outcomes(folder: Path, entries: list[Entry]) -> dict[str, Outcome]:
    path = folder / "verdicts.json"
    verdicts = _read_json(path) if path.exists() else {}
    return {e.id: _outcome(verdicts[e.id]) if e.id in verdicts else Outcome("not yet") for e in entries}


def _outcome(v: dict[str, Any]) -> Outcome:
    word = v.get("verdict", "not judged")
    effect, low, high, unit = v.get("effect"), v.get("low"), v.get("high"), str(v.get("unit") or "")
    seeds = v.get("seeds")
    under = [
        f"{seeds} seed{'s' * (seeds != 1)}" if seeds else "",
        str(v.get("data") or ""),
        str(v.get("backbone") or ""),
    ]
    e, lo, hi = numbers((effect, low, high), signed=unit.startswith(("point", "%")))
    reference = 1.0 if unit == "ratio" else 0.0
    unit = {"ratio": " ×", "%": " %", "": ""}.get(unit, f" {unit}")
    return Outcome(
        word=word if word in VERDICTS else "not judged",
        sentence=str(v.get("sentence") or ""),
        effect=e + unit if e else "",
        interval=f"{lo} to {hi}" if lo and hi else "",
        glyph=glyph(effect, low, high, reference) if e and lo and hi else "",
        under=", ".join(u for u in under if u and u != "none"),
    )


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def numbers(values: Sequence[float | None], signed: bool = False) -> list[str]:
    """Numbers that stand beside each other: equal decimals, three digits of the largest, powers of ten below 0.001, a
    real minus sign; "" for one that is missing or not finite."""
    largest = max((abs(v) for v in values if _finite(v)), default=0)
    sign = "+" if signed else ""
    if 0 < largest < 1e-3:
        return [_power(f"{v:{sign}.1e}") if _finite(v) else "" for v in values]
    decimals = 1 if largest == 0 else max(0, 2 - math.floor(math.log10(largest)))
    return [f"{v:{sign}.{decimals}f}".replace("-", "−") if _finite(v) else "" for v in values]


def _power(text: str) -> str:
    digits, exponent = text.split("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"{digits.replace('-', '−')} × 10{raised}"


def glyph(effect: float, low: float, high: float, reference: float) -> Markup:
    """A thumbnail of an effect: interval and mean against the line of no effect. The numbers stand beside it."""
    width, pad = 132, 8
    values = (reference, effect, low, high)
    start, span = min(values), (max(values) - min(values)) or 1.0
    zero, mean, left, right = (round(pad + (width - 2 * pad) * (v - start) / span, 1) for v in values)
    return Markup(
        f'<svg class="glyph" viewBox="0 0 {width} 16" width="{width}" height="16" aria-hidden="true">'
        f'<line class="base" x1="0" x2="{width}" y1="8" y2="8"/>'
        f'<line class="zero" x1="{zero}" x2="{zero}" y1="1" y2="15"/>'
        f'<line class="bar" x1="{left}" x2="{right}" y1="8" y2="8"/><circle cx="{mean}" cy="8" r="3.6"/></svg>'
    )


def _short(value: str) -> str:
    """A CSV cell for the page: floats to five significant digits."""
    try:
        return f"{float(value):.5g}" if re.search(r"\.\d{4,}|e", value) else value
    except ValueError:
        return value


def _natural(text: str) -> list[Any]:
    return [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", text)]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise ReproError(f"{path} is damaged: restore it from git, or draw the figure again.") from None


# --- writing ----------------------------------------------------------------------------------------------------------


def _write(
    tmp: Path, profiles: list[str], registry: Registry, figures_root: Path, runs_root: Path, sources: Path | None
) -> None:
    entries = _entries(registry.claims.values())
    env = Environment(
        loader=PackageLoader("repro.pages.gallery"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    env.globals |= {"VERDICTS": VERDICTS, "PROFILES": PROFILES, "PAPERS": registry.papers}
    blocks = env.get_template("blocks.html").module
    css = Path(__file__).with_name("style.css").read_text()
    (tmp / "style.css").write_text(_verdict_colours() + css)
    (tmp / MARKER).write_text("Built by `repro gallery`; rebuilt whole, so nothing of yours should lie here.\n")

    titles = _titles(profiles, runs_root, sources)
    pages: dict[tuple[str, str], Page] = {}
    for profile in profiles:
        linked = {s for s in NOTEBOOKS if _is_there(profile, s, figures_root, runs_root)}
        for slug in NOTEBOOKS:
            pages[profile, slug] = _page(tmp, blocks, profile, slug, entries, figures_root, runs_root, titles, linked)
    for (profile, slug), page in pages.items():
        if page.exists:
            others = [(p, f"../{p}/{slug}.html") for p in profiles if pages[p, slug].exists]
            order = [s for s in NOTEBOOKS if pages[profile, s].exists]
            i = order.index(slug)
            text = env.get_template("notebook.html").render(
                root="../",
                page=page,
                entries={e.id: e for e in entries if e.slug == slug},
                profiles=others,
                before=pages[profile, order[i - 1]] if i else None,
                after=pages[profile, order[i + 1]] if i + 1 < len(order) else None,
            )
            _put(tmp / profile / f"{slug}.html", text)
    _put(tmp / "index.html", env.get_template("index.html").render(root="", **_index(pages, profiles, entries, titles)))


def _page(
    tmp: Path,
    blocks: Any,
    profile: str,
    slug: str,
    entries: list[Entry],
    figures_root: Path,
    runs_root: Path,
    titles: dict[str, Markup],
    linked: set[str],
) -> Page:
    mine = [e for e in entries if e.slug == slug]
    folder, name = figures_root / profile / slug, NOTEBOOKS[slug]
    figures, outcomes = _figures(folder), _outcomes(folder, mine)
    downloads = _copy(folder, figures, tmp / profile / slug)
    executed = runs_root / profile / f"{name}.ipynb"
    rendered = None
    if executed.exists():
        nb = _read_notebook(executed)
        place = _placer(blocks, {e.id: e for e in mine}, figures, outcomes, marks(nb))
        rendered = render(nb, place, lambda href: _link(href, linked), name)
        rest = [place(kind, e.id, again=False) or "" for e in mine for kind in ("figure", "verdict")]
        if any(rest):
            rendered.contents.append(("other-claims", "Claims not shown above"))
            rendered.body += '\n<h2 id="other-claims">Claims not shown above</h2>\n' + "\n".join(rest)
        target = tmp / profile / slug / executed.name
        _put(target, nbformat.writes(_without_paths(nb)) + "\n")
        downloads.insert(0, (f"{slug}/{executed.name}", "executed notebook"))
    return Page(slug, name, profile, titles[slug], rendered, figures, outcomes, downloads, slug in linked)


def _placer(
    blocks: Any,
    entries: dict[str, Entry],
    figures: dict[str, Figure],
    outcomes: dict[str, Outcome],
    marked: set[tuple[str, str]],
) -> Callable[..., str | None]:
    """The function that gives the HTML of a figure or a verdict, each once a page.

    Where the notebook shows a figure without its verdict, the verdict follows the figure.
    """
    done: set[tuple[str, str]] = set()

    def place(kind: str, claim: str, again: bool = True) -> str | None:
        if kind == "figure" and claim not in figures:
            return None
        if kind == "verdict" and (claim not in entries or (again and outcomes[claim].word == "not yet")):
            return None
        if (kind, claim) in done:
            return (
                f'<p class="again"><a href="#{kind}-{claim}">{kind.capitalize()} {claim}</a> stands above.</p>' * again
            )
        done.add((kind, claim))
        if kind == "verdict":
            return str(blocks.card(entries[claim], outcomes[claim]))
        verdict = "" if ("verdict", claim) in marked or claim not in entries else place("verdict", claim, again=False)
        return str(blocks.figure(figures[claim])) + (verdict or "")

    return place


def _copy(folder: Path, figures: dict[str, Figure], target: Path) -> list[tuple[str, str]]:
    """Copy the figures and the runs; returns the page's downloads beside those of its figures."""
    for figure in figures.values():
        target.mkdir(parents=True, exist_ok=True)
        for suffix in (".svg", "-dark.svg", ".png", ".csv"):
            shutil.copyfile(folder / f"{figure.id}{suffix}", target / f"{figure.id}{suffix}")
    if not (folder / "runs.jsonl").exists():
        return []
    target.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(folder / "runs.jsonl", target / "runs.jsonl")
    return [(f"{folder.name}/runs.jsonl", "every run's numbers")]


def _titles(profiles: list[str], runs_root: Path, sources: Path | None) -> dict[str, Markup]:
    """Each notebook's first heading, from an executed or else the unexecuted one; without either, its name in words."""
    titles = {}
    for slug, name in NOTEBOOKS.items():
        titles[slug] = Markup.escape(_words(slug))
        for path in [runs_root / p / f"{name}.ipynb" for p in profiles] + (
            [sources / f"{name}.ipynb"] if sources else []
        ):
            if path.exists():
                nb = _read_notebook(path)
                first = next((c.source for c in nb.cells if c.cell_type == "markdown" and c.source.strip()), "")
                if m := re.match(r"\s*#(?!#)\s*(.+)", first):
                    titles[slug] = Markup(inline(m[1]))
                    break
    return titles


def _words(slug: str) -> str:
    spelling = {"msr": "MSR", "simclr": "SimCLR", "gpu": "GPU", "2d": "2-D"}
    text = " ".join(spelling.get(word, word) for word in slug.split("_"))
    return text[0].upper() + text[1:]


def _read_notebook(path: Path) -> Any:
    try:
        return nbformat.read(path, as_version=4)
    except Exception as e:  # nbformat raises its own, jsonschema's and json's errors
        raise ReproError(f"The executed notebook {path} cannot be read: run it again with `repro run`.") from e


def _without_paths(nb: Any) -> Any:
    """The notebook without papermill's and the kernel's records, which name this machine's folders and times."""
    for metadata in (nb.metadata, *(cell.metadata for cell in nb.cells)):
        for name in ("papermill", "execution"):
            metadata.pop(name, None)
    return nb


def _is_there(profile: str, slug: str, figures_root: Path, runs_root: Path) -> bool:
    """Whether a notebook has anything to show at a profile, and so a page."""
    folder = figures_root / profile / slug
    if (runs_root / profile / f"{NOTEBOOKS[slug]}.ipynb").exists() or (folder / "verdicts.json").exists():
        return True
    return folder.is_dir() and bool(_figures(folder))


def _link(href: str, linked: set[str]) -> str | None:
    """Links between notebooks become links between pages; other relative links would lead out of the gallery."""
    path, _, anchor = href.partition("#")
    slug = _slug(path)
    return f"{slug}.html{'#' + anchor if anchor else ''}" if path.endswith(".ipynb") and slug in linked else None


def _index(
    pages: dict[tuple[str, str], Page], profiles: list[str], entries: list[Entry], titles: dict[str, Markup]
) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    papers: dict[str, dict[str, list[dict[str, Any]]]] = {}  # the same rows by paper and notebook
    for e in sorted(entries, key=lambda e: _natural(e.id)):
        here = [pages[p, e.slug] for p in profiles if (p, e.slug) in pages]
        shown = [p for p in reversed(here) if e.id in p.figures]  # the largest profile's figure is the thumbnail
        outcomes = [(p, p.outcomes[e.id]) for p in here]
        told = [o for o in outcomes if o[1].word != "not yet"] or outcomes[:1]
        row = {"entry": e, "outcomes": outcomes, "told": told, "page": shown[0] if shown else None}
        rows.append(row)
        papers.setdefault(e.paper, {}).setdefault(e.slug, []).append(row)
    counts = {}
    for profile in profiles:
        words = [p.outcomes[i].word for (q, _), p in pages.items() if q == profile for i in p.outcomes]
        counts[profile] = [(w, words.count(w)) for w in VERDICTS if words.count(w)]
    start = next((pages[p, "start_here"] for p in reversed(profiles) if pages[p, "start_here"].exists), None)
    return {
        "rows": rows,
        "papers": papers,
        "counts": counts,
        "profiles": profiles,
        "titles": titles,
        "pages": pages,
        "start": start,
    }


def _put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _verdict_colours() -> str:
    """The verdicts' colours as CSS variables, from their one place in `repro.figures`."""

    def block(theme: Callable[[Any], str]) -> str:
        return "".join(f"--{word.replace(' ', '-')}:{theme(sign)};" for word, sign in VERDICTS.items())

    light, dark = block(lambda s: s.light), block(lambda s: s.dark)
    return (
        f":root{{{light}}}\n@media (prefers-color-scheme:dark){{:root{{{dark}}}}}\n@media print{{:root{{{light}}}}}\n"
    )

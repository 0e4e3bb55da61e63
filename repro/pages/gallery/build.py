"""Build the gallery's pages from figures, verdicts, executed notebooks and the registry of claims."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import nbformat
from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from repro.claims import EVIDENCE, Verdict
from repro.claims.registry import ClaimEntry, Registry, load
from repro.core import places
from repro.core.profiles import PROFILES
from repro.errors import ReproError
from repro.figures import SIGNS, VERDICTS
from repro.pages import forest, table, verdicts
from repro.pages.gallery import reference
from repro.pages.gallery.render import inline, marks, render

MARKER = ".repro-gallery"  # only a folder that holds it is ever replaced
NUMBERS = 40  # rows of a figure's table shown on the page; the rest is in the CSV
FILES = (".svg", "-dark.svg", ".png", ".csv")  # of a figure, beside its JSON


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
    under: str = ""  # seeds, data, backbone
    evidence: str = ""
    finding: str = ""
    parts: Sequence[tuple[str, ...]] = ()  # under the heads of verdicts.PARTS, the word last

    @property
    def sign(self) -> str:
        return VERDICTS[self.word].sign

    @property
    def css(self) -> str:
        return self.word.replace(" ", "-")


@dataclass(frozen=True)
class Page:
    """One notebook at one profile."""

    slug: str
    name: str  # 01_batch_size
    profile: str
    title: Markup
    body: str  # "" for a notebook that was not executed
    contents: list[tuple[str, str]]  # (anchor, text) of each section
    figures: dict[str, Figure]
    outcomes: dict[str, Outcome]
    downloads: list[tuple[str, str]]  # (path from the page, name)

    @property
    def exists(self) -> bool:
        """Whether there is anything to show."""
        return bool(self.body or self.figures or any(o.word != "not yet" for o in self.outcomes.values()))


@dataclass(frozen=True)
class Sources:
    """What the gallery is built from. figures: holds <profile>/<slug>/; beneath: likewise, for what is not in there, or
    None; executed: holds <profile>/<NN_slug>.ipynb; notebooks: those not executed, read for titles, or None."""

    profiles: list[str]
    registry: Registry
    figures: Path
    executed: Path
    notebooks: Path | None
    beneath: Path | None = None

    def folder(self, profile: str, slug: str) -> Path:
        """Where the results of a notebook are."""
        own = self.figures / profile / slug
        return own if self.beneath is None or own.is_dir() else self.beneath / profile / slug

    @cached_property
    def names(self) -> dict[str, str]:
        return self.registry.notebooks

    @cached_property
    def titles(self) -> dict[str, Markup]:
        """Each notebook's first heading, from an executed or else the unexecuted one; without either, its slug in words."""
        return {slug: self._title(slug, f"{name}.ipynb") for slug, name in self.names.items()}

    def _title(self, slug: str, file: str) -> Markup:
        folders = [self.executed / profile for profile in self.profiles] + [self.notebooks] * (
            self.notebooks is not None
        )
        for path in (folder / file for folder in folders if (folder / file).exists()):
            cells = _read_notebook(path).cells
            if cells and (m := re.match(r"\s*#(?!#)\s*(.+)", cells[0].source)):
                return Markup(inline(m[1]))
        spelling = {"msr": "MSR", "simclr": "SimCLR", "gpu": "GPU", "2d": "2-D"}
        text = " ".join(spelling.get(word, word) for word in slug.split("_"))
        return Markup.escape(text[0].upper() + text[1:])

    def claims(self, slug: str) -> list[ClaimEntry]:
        return [e for e in self.registry.claims.values() if e.slug == slug]


def build(
    profile: str | Sequence[str],
    figures_root: str | Path,
    notebooks_build_root: str | Path,
    out: str | Path,
    registry: Registry | None = None,
    notebooks: str | Path | None = None,
    beneath: Path | None = None,
) -> Path:
    """Write the gallery into the folder `out` and return its index.html.

    profile: a profile's name, several, or "all" (every one that has figures or executed notebooks).
    figures_root: holds <profile>/<slug>/; notebooks_build_root: holds <profile>/<NN_slug>.ipynb.
    registry: None loads `repro.claims.registry`. notebooks: the folder of the unexecuted notebooks, read for the titles
    of those not run yet. beneath: as figures_root, for the notebooks of which nothing is drawn there.

    The gallery is built beside `out` and put in its place whole. Raises ReproError for an unknown profile, for an `out`
    that holds something else than a gallery, and for an executed notebook that cannot be read.
    """
    figures_root, runs_root, out = Path(figures_root), Path(notebooks_build_root), Path(out).absolute()
    profiles = _profiles(profile, *filter(None, (figures_root, runs_root, beneath)))
    if out.exists() and not (out / MARKER).exists() and (not out.is_dir() or any(out.iterdir())):
        raise ReproError(f"{out} is not a gallery and would be lost: choose an empty or new folder for the gallery.")
    sources = Sources(
        profiles, registry or load(), figures_root, runs_root, Path(notebooks) if notebooks else None, beneath
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        tmp = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as e:
        raise ReproError(f"The gallery cannot be written to {out} ({e.strerror}): choose another folder.") from e
    try:
        _write(tmp, sources)
        tmp.chmod(0o755)
        _swap(tmp, out)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    return out / "index.html"


def _profiles(wanted: str | Sequence[str], *roots: Path) -> list[str]:
    if wanted == "all":
        found = [p for p in PROFILES if any((root / p).is_dir() for root in roots)]
        return found or ["quick"]
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    for name in names:
        if name not in PROFILES:
            raise ReproError(f"Unknown profile {name!r}: choose all or one of {', '.join(PROFILES)}.")
    return [p for p in PROFILES if p in names]


def _strongest_first(profiles: Sequence[str]) -> list[str]:
    """As the README's table has them, the rest after them."""
    return sorted(profiles, key=lambda p: table.SHOWN.index(p) if p in table.SHOWN else len(table.SHOWN))


def _swap(tmp: Path, out: Path) -> None:
    """Put `tmp` in the place of `out`, also while another process does the same. Should this stop between two renames, the
    old gallery lies beside."""
    old = []
    while tmp.exists():
        try:
            os.rename(tmp, out)
        except OSError as e:
            if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            old.append(Path(tempfile.mkdtemp(prefix=f".{out.name}-old-", dir=out.parent)))
            with contextlib.suppress(FileNotFoundError):
                os.rename(out, old[-1] / out.name)
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)


# --- reading ----------------------------------------------------------------------------------------------------------


def _figures(folder: Path) -> dict[str, Figure]:
    """The figures of a folder that are there whole, by claim id."""
    found = [p for p in folder.glob("*.json") if all((folder / f"{p.stem}{suffix}").exists() for suffix in FILES)]
    return {p.stem: _figure(p) for p in sorted(found, key=lambda p: _natural(p.stem))}


def _figure(path: Path) -> Figure:
    try:
        about = json.loads(path.read_text())
    except ValueError:
        raise ReproError(f"{path} is damaged: restore it from git, or draw the figure again.") from None
    points = re.search(r'<svg[^>]* width="([\d.]+)pt"[^>]*', path.with_suffix(".svg").read_text()[:2000])
    height = re.search(r' height="([\d.]+)pt"', points[0])
    rows = list(csv.reader(io.StringIO(path.with_suffix(".csv").read_text())))
    return Figure(
        id=path.stem,
        alt=about["alt"],
        caption=about["caption"],
        folder=path.parent.name,
        width=round(float(points[1]) * 4 / 3),
        height=round(float(height[1]) * 4 / 3),
        rows=[[_short(v) for v in row] for row in rows[: NUMBERS + 1]],
        more=max(0, len(rows) - NUMBERS - 1),
    )


def _short(value: str) -> str:
    """A CSV cell for the page: floats to five significant digits."""
    try:
        return f"{float(value):.5g}" if re.search(r"\.\d{4,}|e", value) else value
    except ValueError:
        return value


def _natural(text: str) -> list[Any]:
    return [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", text)]


def _read_notebook(path: Path) -> Any:
    try:
        return nbformat.read(path, as_version=4)
    except Exception as e:  # nbformat raises its own, jsonschema's and json's errors
        raise ReproError(f"The executed notebook {path} cannot be read: run it again with `repro run`.") from e


# --- verdicts and claims ----------------------------------------------------------------------------------------------


def outcome(v: Verdict) -> Outcome:
    """A stored verdict in words, with real minus signs."""

    def typeset(text: str) -> str:
        return re.sub(r"(?<![\w.])-(?=\d)", "−", text)

    parts = [tuple(map(typeset, verdicts.cells(part))) for part in verdicts.parts(v)]
    return Outcome(v.verdict, v.sentence, typeset(verdicts.effect(v)), verdicts.basis(v), v.evidence, v.finding, parts)


def _note(text: str) -> tuple[str, Markup]:
    """A note and its kind: "Contradiction: ..." where a paper disagrees with itself, "Found: ...", "Open: ..."."""
    kind, colon, rest = text.partition(": ")
    if not (colon and kind.isalpha()):
        kind, rest = "Note", text
    return kind, Markup(inline(rest[:1].upper() + rest[1:]))


# --- writing ----------------------------------------------------------------------------------------------------------


def _write(out: Path, sources: Sources) -> None:
    env = Environment(
        loader=PackageLoader("repro.pages.gallery"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    env.globals |= {"SIGNS": SIGNS, "PROFILES": PROFILES, "PAPERS": sources.registry.papers}
    env.globals |= {"PARTS": verdicts.PARTS, "address": places.address()}
    env.filters |= {"inline": lambda text: Markup(inline(text)), "note": _note}
    css = Path(__file__).with_name("style.css").read_text()
    (out / "style.css").write_text(_verdict_colours() + css + _filters(sources))
    (out / MARKER).write_text("Built by `repro gallery`; rebuilt whole, so nothing of yours should lie here.\n")
    blocks = env.get_template("blocks.html").module
    pages = {(p, slug): _page(out, blocks, sources, p, slug) for p in sources.profiles for slug in sources.names}
    for (profile, slug), page in pages.items():
        if not page.exists:
            continue
        order = [s for s in sources.names if pages[profile, s].exists]
        i = order.index(slug)
        text = env.get_template("notebook.html").render(
            root="../",
            page=page,
            entries={e.id: e for e in sources.claims(slug)},
            profiles=[(p, f"../{p}/{slug}.html") for p in sources.profiles if pages[p, slug].exists],
            before=pages[profile, order[i - 1]] if i else None,
            after=pages[profile, order[i + 1]] if i + 1 < len(order) else None,
        )
        _put(out / profile / f"{slug}.html", text)
    rooms = reference.pages()
    for name, modules in rooms.items():
        text = env.get_template("reference.html").render(root="../", name=name, modules=modules, rooms=rooms)
        _put(out / "reference" / f"{name}.html", text)
    drawn = [p for p in _strongest_first(sources.profiles) if forest.save(partial(sources.folder, p), p, out / p)]
    forests = {p: _figure(out / p / "forest.json") for p in drawn}
    _put(out / "index.html", env.get_template("index.html").render(root="", forests=forests, **_index(pages, sources)))


def _page(out: Path, blocks: Any, sources: Sources, profile: str, slug: str) -> Page:
    folder, name = sources.folder(profile, slug), sources.names[slug]
    entries = {e.id: e for e in sources.claims(slug)}
    stored = verdicts.load(folder / "verdicts.json")
    figures = _figures(folder)
    outcomes = {claim: outcome(stored[claim]) if claim in stored else Outcome("not yet") for claim in entries}
    downloads = _copy(folder, figures, out / profile / slug)
    executed, body, contents = sources.executed / profile / f"{name}.ipynb", "", []
    if executed.exists():
        nb = _read_notebook(executed)
        place = _placer(blocks, entries, figures, outcomes, marks(nb))
        body, contents = render(nb, place, lambda href: _link(href, sources, profile), name)
        rest = [place(kind, claim, again=False) or "" for claim in entries for kind in ("figure", "verdict")]
        if any(rest):
            contents.append(("other-claims", "Claims not shown above"))
            body += '\n<h2 id="other-claims">Claims not shown above</h2>\n' + "\n".join(rest)
        _put(out / profile / slug / executed.name, nbformat.writes(_without_paths(nb)) + "\n")
        downloads.insert(0, (f"{slug}/{executed.name}", "executed notebook"))
    return Page(slug, name, profile, sources.titles[slug], body, contents, figures, outcomes, downloads)


def _placer(
    blocks: Any,
    entries: dict[str, ClaimEntry],
    figures: dict[str, Figure],
    outcomes: dict[str, Outcome],
    marked: set[tuple[str, str]],
) -> Callable[..., str | None]:
    """The function that gives the HTML of a figure or a verdict, each once a page; a caption is a part of its figure.

    Where the notebook shows a figure without its verdict, the verdict follows the figure.
    """
    done: set[tuple[str, str]] = set()

    def place(kind: str, claim: str, again: bool = True) -> str | None:
        if kind in ("figure", "caption") and claim not in figures:
            return None
        if kind == "caption":
            return ""
        if kind == "verdict" and (claim not in entries or (again and outcomes[claim].word == "not yet")):
            return None
        if (kind, claim) in done:
            link = f'<a href="#{kind}-{claim}">{kind.capitalize()} {claim}</a>'
            return f'<p class="again">{link} stands above.</p>' if again else ""
        done.add((kind, claim))
        if kind == "verdict":
            return str(blocks.card(entries[claim], outcomes[claim]))
        verdict = "" if ("verdict", claim) in marked or claim not in entries else place("verdict", claim, again=False)
        return str(blocks.figure(figures[claim])) + (verdict or "")

    return place


def _copy(folder: Path, figures: dict[str, Figure], target: Path) -> list[tuple[str, str]]:
    """Copy the figures and the runs; returns the page's downloads beside those of its figures."""
    runs = ["runs.jsonl"] * (folder / "runs.jsonl").exists()
    for file in [figure.id + suffix for figure in figures.values() for suffix in FILES] + runs:
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / file, target / file)
    return [(f"{folder.name}/{file}", "every run's numbers") for file in runs]


def _without_paths(nb: Any) -> Any:
    """The notebook without papermill's and the kernel's records, which name this machine's folders and times."""
    for metadata in (nb.metadata, *(cell.metadata for cell in nb.cells)):
        for name in ("papermill", "execution"):
            metadata.pop(name, None)
    return nb


def _link(href: str, sources: Sources, profile: str) -> str | None:
    """Links between notebooks become links between pages; other relative links would lead out of the gallery."""
    path, hash_, anchor = href.partition("#")
    name = Path(path).stem
    slug = name.partition("_")[2]
    files = (sources.executed / profile / f"{name}.ipynb", sources.folder(profile, slug) / "verdicts.json")
    return f"{slug}.html{hash_}{anchor}" if path.endswith(".ipynb") and any(f.exists() for f in files) else None


def _index(pages: dict[tuple[str, str], Page], sources: Sources) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    papers: dict[str, dict[str, list[dict[str, Any]]]] = {}  # the same rows by paper and notebook
    for e in sorted(sources.registry.claims.values(), key=lambda e: _natural(e.id)):
        here = [pages[p, e.slug] for p in sources.profiles]
        shown = [p for p in reversed(here) if e.id in p.figures]  # the largest profile's figure is the thumbnail
        outcomes = [(p, p.outcomes[e.id]) for p in here]
        told = [o for o in outcomes if o[1].word != "not yet"] or outcomes[:1]
        first = sorted(told, key=lambda o: _strongest_first(sources.profiles).index(o[0].profile))
        best = max(first, key=lambda o: (o[1].word not in ("not yet", "not judged"), _rank(o[1])))
        tags = {t for p, o in outcomes for t in (f"{p.profile}:{o.css}", *(p.profile, o.css) * (o.word != "not yet"))}
        row = {"entry": e, "outcomes": outcomes, "told": told, "page": shown[0] if shown else None, "best": best}
        row["tags"] = " ".join(sorted(tags | {told[0][1].css}))
        rows.append(row)
        papers.setdefault(e.paper, {}).setdefault(e.slug, []).append(row)
    counts = {}
    for profile in sources.profiles:
        told = [o for (p, _), page in pages.items() if p == profile for o in page.outcomes.values()]
        counts[profile] = verdicts.counted((o.evidence, o.word) for o in told)
    start = sources.registry.start.partition("_")[2]
    first = [pages[p, start] for p in reversed(sources.profiles) if start and pages[p, start].exists]
    checked = [(p, p.figures["checks"]) for p in first if "checks" in p.figures]
    found = [row for row in rows if row["best"][1].word != "not yet"]
    return {
        "rows": rows,
        "found": sorted(found, key=lambda row: -_rank(row["best"][1])),
        "words": VERDICTS,
        "checks": sorted(checked, key=lambda c: _strongest_first(sources.profiles).index(c[0].profile)),
        "papers": papers,
        "counts": counts,
        "profiles": sources.profiles,
        "standing": _strongest_first(sources.profiles),
        "titles": sources.titles,
        "pages": pages,
        "start": first[0] if first else None,
    }


def _rank(o: Outcome) -> int:
    """How strong the class of evidence is that a verdict rests on."""
    return EVIDENCE.index(o.evidence) if o.evidence in EVIDENCE else -1


def _filters(sources: Sources) -> str:
    """CSS that hides what a chosen paper, verdict or profile leaves out, on the index. It needs no script."""

    def rule(chosen: Sequence[str], kept: str) -> str:
        on = "".join(f":has(#{name}:checked)" for name in chosen)
        return f"main{on} :is(.row:not({kept}),:is(.nb,.paper):not(:has({kept}))){{display:none}}\n"

    words = [word.replace(" ", "-") for word in VERDICTS]
    rules = [rule([f"paper-{p}"], f'[data-paper="{p}"]') for p in sources.registry.papers]
    rules += [rule([f"on-{tag}"], f'[data-v~="{tag}"]') for tag in (*words, *sources.profiles)]
    rules += [rule([f"on-{w}", f"on-{p}"], f'[data-v~="{p}:{w}"]') for w in words for p in sources.profiles]
    for p in sources.profiles:
        on = f"main:has(#on-{p}:checked)"
        rules.append(f"{on} [data-p]:not([data-p={p}]){{display:none}}\n{on} .other[data-p={p}]{{display:grid}}\n")
    return "".join(rules)


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

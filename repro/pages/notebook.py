"""What a notebook calls: plan its claims' runs, measure them or read them back, show a figure, give a verdict.

study = repro.study("batch_size", profile=profile, data=data, seeds=seeds)
runs = repro.measure(study)
repro.show(study, runs, "A4")
repro.verdict(study, runs, "A4")
"""

from __future__ import annotations

import functools
import html
import json
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from repro import claims, cluster, figures, stats
from repro.claims import Claim, Verdict, ledger, registry
from repro.claims.kit import Plan
from repro.core import places, store, sweep
from repro.core.datasets import DATASETS, EMBEDDED
from repro.core.io import write_atomic
from repro.core.profiles import PROFILES, Profile
from repro.core.profiles import profile as find_profile
from repro.core.spec import data_names, key
from repro.errors import ReproError
from repro.pages import verdicts

RESULTS = ("measure", "stored")


@dataclass(frozen=True)
class Study:
    """One notebook at one profile. stored: read the committed reference results instead of measuring. minutes: time
    budget of `measure`, 0 for none. own_seeds: whether a reader said how many seeds. only: the ids of some of its claims,
    where the others are left out."""

    slug: str
    profile: Profile
    stored: bool = False
    minutes: float = 0.0
    own_seeds: bool = False
    only: tuple[str, ...] = ()

    @property
    def claims(self) -> tuple[Claim, ...]:
        return tuple(c for c in claims.of(self.slug) if not self.only or c.id in self.only)

    @property
    def specs(self) -> dict[str, Any]:
        """The specs that its claims plan, by their keys: what several claims share is there once."""
        return {key(s): s for claim in self.claims for s in self.plan(claim)}

    def plan(self, claim: Claim) -> Plan:
        return claim.plan(replace(self.profile, seeds=1) if self.shown(claim) else self.profile)

    def shown(self, claim: Claim) -> str:
        """Why the profile's own data cannot carry the claim, so that one run of each cell is shown and none judged; "" where
        they can, or where a reader changed what the profile is or said how many seeds."""
        entry = registry.load().claims.get(claim.id)
        own = replace(PROFILES[self.profile.name], first=self.profile.first)
        theirs = self.own_seeds or self.profile != own
        return "" if theirs or not entry else entry.shown.get(self.profile.name, "")

    @property
    def longest(self) -> Study:
        """The study at the most seeds that its design allows: a block for each look at them."""
        own = PROFILES[self.profile.name]
        if own.looks == 1 or self.profile.seeds != own.seeds:
            return self
        return replace(self, profile=replace(self.profile, seeds=own.seeds * own.looks))


def study(
    slug: str,
    profile: str = "smoke",
    data: str = "",
    backbone: str = "",
    seeds: int = 0,
    minutes: float = 0.0,
    results: str = "measure",
    method: str = "",
    recipe: str = "",
) -> Study:
    """A notebook's claims at a profile; "" and 0 keep the profile's own data, backbone and seeds.

    backbone, method and recipe may name something in a file of the reader's, as in "my_method.py:MyLoss"; only a notebook
    whose module says so (TAKES) has a place for the last two.
    results: "measure" runs what is not stored yet; "stored" reads the committed reference results and trains nothing.
    Raises ReproError for an unknown name or a value of the wrong type.
    """
    given = {"slug": slug, "profile": profile, "data": data, "backbone": backbone, "method": method, "recipe": recipe,
             "seeds": seeds, "minutes": minutes}  # fmt: skip
    kinds = {"seeds": (int, "a whole number"), "minutes": ((int, float), "a number")}
    for name, value in given.items():
        kind, wanted = kinds.get(name, (str, "text"))
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ReproError(f"The parameter {name} must be {wanted}, not {value!r}: correct it and run again.")
    if results not in RESULTS:
        raise ReproError(f"The parameter results must be one of {', '.join(RESULTS)}, not {results!r}.")
    if minutes < 0:
        raise ReproError(f"The time budget cannot be {minutes} minutes: give 0 for none, or more.")
    claims.of(slug)
    for name, value in (("method", method), ("recipe", recipe)):
        if value and name not in claims.takes(slug):
            able = ", ".join(s for s in claims.notebooks() if name in claims.takes(s))
            raise ReproError(f"{slug} has no place for a {name} of your own: choose from {able}.")
    found = find_profile(profile, data, backbone, seeds, method, recipe)
    return Study(slug, found, results == "stored", float(minutes), own_seeds=seeds > 0)


def costs(study: Study) -> None:
    """Print how many runs the study plans at each profile, and how long they took where reference results are stored.

    `paper` has none: there an estimate stands, and each run with its own if that is the study's profile. A study with the
    reader's own parameters comes first.
    """
    if study.own_seeds or study.profile != find_profile(study.profile.name):
        print(f"{study.profile.name} with these parameters: {len(study.specs)} runs")
    for name in PROFILES:
        specs = replace(study, profile=find_profile(name), own_seeds=False).specs
        kept = [r.provenance for k, r in committed(study, name).items() if k in specs]
        line = f"{name}: {len(specs)} runs"
        if kept:
            minutes = sum(p["wall_seconds"] for p in kept) / 60
            line += f", {minutes:.1f} minutes in all on {kept[0]['device']} ({kept[0]['hardware']})"
        elif name == "paper":
            line += f", estimated {ledger.total(specs.values())}"
        print(line)
    if study.profile.name == "paper":
        print("\n".join(ledger.lines(study.specs.values())))


def takeaways(study: Study, paper: str = "democratizing") -> None:
    """Display a paper's recommendations, and beside each the verdicts of this profile on the claims that test it: this
    machine's own, else the committed ones."""
    from IPython.display import Markdown, display

    known: dict[str, Verdict] = {}
    for root in (places.reference(), places.drawn()):  # the later wins
        for path in sorted((root / study.profile.name).glob("*/verdicts.json")):
            known |= verdicts.load(path)
    lines = ["| the paper recommends | tested by | verdict | what was measured |", "| --- | --- | --- | --- |"]
    for t in (t for t in registry.load().takeaways if t.paper == paper):
        first = f"**{t.advice}** “{t.quote}” ({t.source})"
        for claim in t.claims:
            found, entry = known.get(claim), registry.entry(claim)
            word = found.verdict if found else verdicts.NOT_YET
            sentence = found.sentence if found else f"Not measured yet: run notebook {entry.notebook}."
            sign = figures.VERDICTS[word].sign
            lines.append(f"| {first} | {claim}: {entry.claim} | {sign} {word} | {sentence} |")
            first = ""
    display(Markdown("\n".join(lines)))


def overview() -> None:
    """Display the table of all claims, as the README shows it."""
    from IPython.display import Markdown, display

    from repro.pages import table

    display(Markdown(table.as_markdown(table.rows())))


def watch(study: Study, spec: Any) -> pd.DataFrame:
    """Measure one run while a small picture of its loss moves, and return its row; a stored run is only read."""
    from IPython.display import display

    seen: dict[float, float] = {}
    handle, drawn = display({"text/plain": "starting"}, raw=True, display_id=True), [0.0]

    def step(done: int, steps: int, loss: float) -> None:
        seen[done / steps] = loss
        if time.monotonic() - drawn[0] > 1 or done == steps:
            drawn[0] = time.monotonic()
            with figures.theme("light"):
                fig, ax = figures.figure(height=1.6, width=4.0)
                ax.plot(list(seen), list(seen.values()), marker=".")
                ax.set(xlim=(0, 1), xlabel="share of the run", ylabel="loss")
                fig.alt = f"step {done} of {steps}, loss {loss:.3f}"
                handle.update(fig)

    records = sweep.measure([spec], store.Store(places.store()), workers=1, quiet=True, watch=step)
    if not records:
        raise ReproError("The run was stopped before its end: run the cell again to go on.")
    handle.update({"text/plain": "stored"}, raw=True)
    return store.frame(records)


def measure(study: Study, workers: int = 0, log: sweep.Tell | None = None) -> pd.DataFrame:
    """One row for each run of every claim of the study, from the store where they are there, measured where not.

    A run that several claims share is measured once. Runs of further looks (`Study.longest`) are there if they are stored.
    The numbers are also written to runs.jsonl beside the figures. log: sees every epoch of every run while it goes, a dict.
    """
    specs = study.specs
    more = {k: s for k, s in study.longest.specs.items() if k not in specs}
    folder = places.drawn() / study.profile.name / study.slug
    if study.stored:
        found = committed(study)  # in the plan's order, as measured ones: figures are the same
        records = [found[k] for k in (*specs, *more) if k in found]
        if not records:
            raise ReproError(
                f"There are no committed results of {study.slug} with these parameters at profile {study.profile.name}: "
                "run it without --from-results (results = 'measure'), which measures them."
            )
    else:
        where = store.Store(places.store())
        take_up(where, study)
        sweep.set_aside(specs | more, where)
        if (now := cluster.status(specs.values(), where)).running:
            print(f"Others measure, too: {now.line()}", *now.running, sep="\n  ")
        records = sweep.measure(specs.values(), where, workers, study.minutes, log=log)
        records += [where.get(k) for k in more if k in where]
    if specs and not records:
        raise ReproError(f"No run of {study.slug} is stored yet: give it more minutes, or run it again to go on.")
    store.export(records, folder / "runs.jsonl")
    return store.frame(records)


def committed(study: Study, profile: str = "") -> dict[str, store.Record]:
    """The committed runs of a study by key, at its own profile unless another is named; {} where there are none."""
    path = places.reference() / (profile or study.profile.name) / study.slug / "runs.jsonl"
    return {r.key: r for r in store.load(path)} if path.exists() else {}


def rows(study: Study, runs: pd.DataFrame, claim: Claim) -> pd.DataFrame:
    """The rows of one claim's runs, with the labels of its plan as columns and the profile's name in `attrs`."""
    return study.plan(claim).rows(runs)


def take_up(where: store.Store, study: Study) -> None:
    """Count the committed runs of a study on photographs as stored, where they are of the data that are here."""
    path = places.reference() / study.profile.name / study.slug / "runs.jsonl"
    if study.profile.data in EMBEDDED or not path.exists():
        return
    from repro.data import title

    here, ids = functools.cache(title), sweep.data_ids(replace(study, only=()).longest.specs)

    def fits(r: store.Record) -> bool:
        same = "data" not in r.spec or r.provenance["data_title"] == here(r.spec["data"]["name"])
        return same and not sweep.differ(r.provenance.get("data_id", ""), ids.get(r.key, ""))

    store.take_up(where, path, fits)


def require(studies: list[Study], where: store.Store) -> None:
    """Raise ReproError for data that a run needs which is not stored, and say what is odd of them, before any is measured."""
    from repro import data

    names = set()
    for study in studies:
        take_up(where, study)
        names |= {name for k, s in study.specs.items() if k not in where for name in data_names(s)}
    for name in sorted(names):
        data.require(name)
        data.tell(name)


def whole(study: Study, runs: pd.DataFrame, claim: Claim) -> Study:
    """The study with as many of its seeds as have all of the claim's runs, beyond its own number in whole blocks; the study
    itself if no seed has."""
    there, block = set(runs["key"]), study.profile.seeds
    for seeds in (*range(study.longest.profile.seeds, block, -block), *range(block, 0, -1)):
        part = replace(study, profile=replace(study.profile, seeds=seeds))
        if all(key(s) in there for s in part.plan(claim)):
            return part
    return study


def next_look(study: Study, runs: pd.DataFrame) -> dict[str, Any]:
    """The specs, by key, of one more block of seeds for each claim that is inconclusive by those that are there; {} where
    all are decided or have the most seeds that the design allows."""
    there, out = set(runs["key"]), {}
    for claim in study.claims:
        seeds = whole(study, runs, claim).profile.seeds + study.profile.seeds
        if seeds <= study.longest.profile.seeds and judge(study, runs, claim.id).verdict == stats.INCONCLUSIVE:
            more = replace(study, profile=replace(study.profile, seeds=seeds)).plan(claim)
            out |= {key(s): s for s in more if key(s) not in there}
    return out


def judge(study: Study, runs: pd.DataFrame, claim_id: str) -> Verdict:
    """The claim's verdict by the seeds that have all runs. It is "not judged" at smoke, with too few seeds, or while runs
    of the first seed are missing; the sentence says which."""
    claim, planned = find(study, claim_id), study.profile.seeds
    study = whole(study, runs, claim)
    mine, wanted = rows(study, runs, claim), len({key(s) for s in study.plan(claim)})
    missing = wanted - len(mine)
    if missing:
        reason = f"{missing} of {wanted} runs are missing: run it again to go on"
        return Verdict(
            stats.NOT_JUDGED, None, None, None, "", 0, "", str(study.profile.backbone), f"Not judged: {reason}."
        )
    found = claim.judge(mine)
    word, reason = stats.judged(found.verdict, study.profile.name, found.seeds)
    if shown := study.shown(claim):
        found = replace(found, verdict=word, sentence=f"Not judged, but shown by one seed: {shown}. {found.finding}")
    elif word != found.verdict:
        found = replace(found, verdict=word, sentence=f"Not judged: {reason}. {found.sentence}")
    found = replace(found, evidence=_evidence(claim_id, found, mine))
    if study.profile.seeds < planned:
        sentence = f"{found.sentence} Measured so far: {study.profile.seeds} of {planned} planned seeds."
        found = replace(found, sentence=sentence)
    return found


def _evidence(claim_id: str, found: Verdict, rows: pd.DataFrame) -> str:
    """The class of evidence: the registry's own word, or the paper's own data where all rows are of these, or as found;
    none where nothing was measured."""
    known = registry.load()
    entry = known.claims.get(claim_id)
    if entry is None or not found.seeds:
        return found.evidence if found.seeds else ""
    own = {DATASETS[name].title for name in known.papers[entry.paper].data}
    titles = set(rows["data_title"].dropna()) if "data_title" in rows else {""}
    best = claims.EVIDENCE[-1] if found.evidence == "photographs" and titles and titles <= own else found.evidence
    return entry.evidence or best


def show(study: Study, runs: pd.DataFrame, claim_id: str) -> None:
    """Draw a claim's figure, save it (SVG light and dark, PNG, CSV), and display it with its provenance."""
    from IPython.display import HTML, display

    claim = find(study, claim_id)
    study = whole(study, runs, claim)
    mine = rows(study, runs, claim)
    wanted = len({key(s) for s in study.plan(claim)})
    if len(mine) < wanted:
        display(
            HTML(f"<p>{wanted - len(mine)} of {wanted} runs are missing; the figure comes when they are stored.</p>")
        )
        return
    caption = figures.caption(mine, study.profile.name)
    folder = places.drawn() / study.profile.name / study.slug
    figures.save(partial(claim.draw, mine), folder, claim_id, caption, study.slug, study.profile.name)
    figures.show(folder, claim_id)
    shown = {"text/html": f"<p><small>{html.escape(caption)}</small></p>", "text/plain": caption}
    display(shown, raw=True, metadata={"repro": {"caption": claim_id}})


def verdict(study: Study, runs: pd.DataFrame, claim_id: str) -> None:
    """Judge a claim, store the verdict beside its figure, and display it in word, sign and colour."""
    from IPython.display import display

    found = judge(study, runs, claim_id)
    keep(study, places.drawn(), {claim_id: found})
    headline = registry.entry(claim_id).headline if claim_id in registry.load().claims else ""
    display(_worded(claim_id, found, headline), raw=True, metadata={"repro": {"verdict": claim_id}})


def keep(study: Study, root: Path, found: dict[str, Verdict]) -> None:
    """Store verdicts, by claim, in root/<profile>/<slug>/verdicts.json, beside the study's others."""
    path = root / study.profile.name / study.slug / "verdicts.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    found = {k: asdict(v) for k, v in found.items() if k in registry.load().claims}  # notebook 00's checks are none
    known = {c.id: known[c.id] for c in study.claims if c.id in known} | found
    write_atomic(path, json.dumps(dict(sorted(known.items())), indent=1, ensure_ascii=False) + "\n")


def _worded(claim_id: str, found: Verdict, headline: str) -> dict[str, str]:
    """A verdict as text and as HTML: its word, its class of evidence, what was found, and its parts. Intervals are 95 %."""
    rows = [verdicts.cells(part) for part in verdicts.parts(found)]
    rests = f" ({found.evidence})" if found.evidence else ""
    sign, first = figures.VERDICTS[found.verdict], f"{claim_id}: {found.verdict}"
    lines = [f"{first}{rests}. {found.sentence}", *(f"  {', '.join(filter(None, row))}" for row in rows)]
    beside = f"<br><small>The paper: {html.escape(headline)}</small>" if headline else ""
    signed = [[*row[:-1], f"{figures.SIGNS[row[-1]].sign} {row[-1]}"] for row in rows]
    table = pd.DataFrame(signed, columns=verdicts.PARTS).to_html(index=False, border=0) if rows else ""
    text = (
        f"<p><strong style='color:{sign.light}'>{sign.sign} {first}</strong>{html.escape(rests)}"
        f"<br>{html.escape(found.sentence)}{beside}</p>{table}"
    )
    return {"text/plain": "\n".join(lines), "text/html": text}


def find(study: Study, claim_id: str) -> Claim:
    for claim in study.claims:
        if claim.id == claim_id:
            return claim
    raise ReproError(f"{study.slug} has no claim {claim_id!r}: choose one of {', '.join(c.id for c in study.claims)}.")

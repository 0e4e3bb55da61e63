"""The net under every change: plans ask for the same runs, and committed runs give the same verdicts and figures.

    make same                                    all of it, byte for byte
    .venv/bin/python tests/same.py batch_size    one notebook
    .venv/bin/python tests/same.py --update      store the plans' keys anew, after a deliberate change of a plan
    .venv/bin/python tests/same.py --redraw batch_size    draw a notebook's committed figures anew from its runs

`keys.txt` has a line for each claim, profile and data set: the number of runs planned and a hash of their keys, in the
plan's order, since figures follow it. The verdicts and figures are those of `figures/<profile>/<slug>/`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from itertools import product, zip_longest
from pathlib import Path

from repro import claims, figures
from repro.core.profiles import PROFILES, profile
from repro.core.spec import key
from repro.cores import cores
from repro.pages import notebook

KEYS = Path(__file__).with_name("keys.txt")
COMMITTED = Path(__file__).resolve().parent.parent / "figures"
DATA = ("", "digits", "cifar10")  # the profile's own, a second embedded set, and a set to be prepared
ENDINGS = (".svg", "-dark.svg", ".png", ".csv", ".json")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def planned(slug: str) -> dict[str, str]:
    """{"A4 smoke cifar10": "36 runs 0123456789abcdef"} for each claim of a notebook, profile and data set."""
    out = {}
    for claim, name, data in product(claims.of(slug), PROFILES, DATA):
        keys = [key(s) for s in claim.plan(profile(name, data))]
        digest = hashlib.sha256(" ".join(keys).encode()).hexdigest()[:16]
        out[f"{claim.id} {name} {data or 'own'}"] = f"{len(keys)} runs {digest}"
    return out


def stored_keys() -> dict[str, str]:
    return dict(line.split(": ") for line in KEYS.read_text().splitlines())


def changed_keys(slug: str) -> list[str]:
    """A sentence for each plan of a notebook that asks for other runs than the stored keys say."""
    now, stored = planned(slug), stored_keys()
    return [f"{slug}: the plan of {k} has {now[k]}, stored are {stored.get(k)}" for k in now if now[k] != stored.get(k)]


def update() -> None:
    """Write keys.txt anew."""
    lines = [f"{k}: {v}\n" for slug in claims.notebooks() for k, v in planned(slug).items()]
    KEYS.write_text("".join(lines))


def redraw(slug: str) -> list[str]:
    """Draw the figures of a notebook's committed runs anew, in their place; the verdicts stay as they are."""
    with nobodys_places():
        for path in committed([slug]):
            study = notebook.study(slug, path.parts[-3], results="stored")
            runs = notebook.measure(study)
            for claim in study.claims:
                measured = notebook.whole(study, runs, claim)
                if {key(s) for s in measured.plan(claim)} - set(runs["key"]):
                    continue  # it waits to be measured
                mine = notebook.rows(measured, runs, claim)
                about = figures.caption(mine, study.profile.name)
                figures.save(partial(claim.draw, mine), path.parent, claim.id, about, slug, study.profile.name)
    return []


def changed_results(path: Path, folder: Path, exact: bool = True) -> list[str]:
    """Judge and draw the runs of one committed runs.jsonl into `folder`; a sentence for each file that differs.

    exact=False forgives another processor its rounding: numbers in texts may differ by a millionth, or by 0.02 as a
    figure's coordinates do, and PNGs are not compared. $REPRO_FIGURES is where the runs are written to.
    """
    name, slug = path.parts[-3:-1]
    study = notebook.study(slug, name, results="stored")
    runs = notebook.measure(study)
    known = json.loads(path.with_name("verdicts.json").read_text()) if path.with_name("verdicts.json").exists() else {}
    out = []
    for claim in study.claims:
        measured = notebook.whole(study, runs, claim)  # seeds are committed as they come
        missing = {key(s) for s in measured.plan(claim)} - set(runs["key"])
        if missing:
            drawn = path.with_name(f"{claim.id}.svg").exists()  # of notebook 00's, which the registry does not have
            if known.get(claim.id, {"seeds": drawn})["seeds"]:  # it was judged: a claim may also wait to be measured
                out.append(f"{slug} at {name}: {len(missing)} runs of {claim.id} are not committed")
            continue
        mine = notebook.rows(measured, runs, claim)
        if claim.id in known:
            old, new = (json.dumps(v) for v in (known[claim.id], asdict(notebook.judge(study, runs, claim.id))))
            if not same(old, new, exact):
                out.append(f"{slug} at {name}: the verdict of {claim.id} was {old} and is {new}")
        figures.save(partial(claim.draw, mine), folder, claim.id, figures.caption(mine, name), slug, name)
        for ending in ENDINGS if exact else set(ENDINGS) - {".png"}:
            old, new = (p / f"{claim.id}{ending}" for p in (path.parent, folder))
            if not same_file(old, new, exact):
                out.append(f"{slug} at {name}: {old.name} is drawn otherwise")
    return out


def same_file(a: Path, b: Path, exact: bool) -> bool:
    if a.suffix == ".png" or (exact and a.suffix != ".svg"):
        return a.read_bytes() == b.read_bytes()
    return same(*(named_in_order(p.read_text()) if p.suffix == ".svg" else p.read_text() for p in (a, b)), exact)


def named_in_order(svg: str) -> str:
    """matplotlib names a clip path or marker by a hash of its unrounded place, whose last bit is the processor's: here
    by its rank in the file."""
    names: dict[str, str] = {}
    return re.sub(r"\b[a-z][0-9a-f]{10}\b", lambda m: names.setdefault(m[0], f"id{len(names)}"), svg)


def same(a: str, b: str, exact: bool) -> bool:
    if exact:
        return a == b
    if NUMBER.sub("0", a) != NUMBER.sub("0", b):
        return False
    pairs = zip_longest(NUMBER.findall(a), NUMBER.findall(b))
    return all(x == y or math.isclose(float(x), float(y), rel_tol=1e-6, abs_tol=0.02) for x, y in pairs)


def committed(slugs: Iterable[str]) -> list[Path]:
    return [p for slug in slugs for p in sorted(COMMITTED.glob(f"*/{slug}/runs.jsonl"))]


@contextmanager
def nobodys_places() -> Iterator[Path]:
    """No data set, run or figure of the user's is read or written."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {f"REPRO_{n}": str(Path(folder) / n.lower()) for n in ("STORE", "FIGURES", "DATA")}
        yield Path(folder)


def check(slug: str) -> list[str]:
    """All sentences on one notebook."""
    with nobodys_places() as folder:
        return changed_keys(slug) + [s for path in committed([slug]) for s in changed_results(path, folder)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("slugs", nargs="*", metavar="NOTEBOOK", help="batch_size ...; none: all")
    parser.add_argument("--update", action="store_true", help="store the plans' keys anew in tests/keys.txt")
    parser.add_argument("--redraw", action="store_true", help="draw committed figures anew")
    given = parser.parse_args()
    if given.update:
        with nobodys_places():
            update()
        return 0
    bad = 0
    with ProcessPoolExecutor(cores()) as pool:
        slugs = given.slugs or list(claims.notebooks())
        for slug, said in zip(slugs, pool.map(redraw if given.redraw else check, slugs)):
            print("\n".join(said) or f"{slug}: {'drawn' if given.redraw else 'same'}", flush=True)
            bad += len(said)
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())

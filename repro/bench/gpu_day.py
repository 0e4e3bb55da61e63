"""What a few minutes on a GPU are best spent on, in the order of value.

    repro bench gpu-day --minutes 12
    repro bench gpu-day --dry-run

First the tests that only a GPU can run, then the speed of a training step beside others', then the `gpu` runs of the
notebooks, one seed of all cells before the next seed, and at last one long run of SimCLR. Every part is a process of its
own, so that one that fails or hangs does not end the rest. The results lie in figures/gpu as the committed ones do, and the
same command goes on where it stopped, on another day or another machine too: committed runs count as stored.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from repro import claims
from repro.claims import ledger
from repro.core import places
from repro.core.io import write_atomic
from repro.core.profiles import profile
from repro.core.provenance import commit, machine
from repro.core.spec import key
from repro.core.store import Record, load
from repro.cores import cores
from repro.errors import ReproError

NOTEBOOKS = ("augmentations", "multi_augmentation", "msr_beta_decay", "batch_size", "small_projectors")
BEGIN, END = "<!-- gpu:start -->", "<!-- gpu:end -->"
LEAST = 20.0  # seconds under which a part is not begun
GRACE = 30.0  # seconds for a part that counts its own minutes to end by itself


@dataclass(frozen=True)
class Part:
    """A process to spend time on. left: what is still to do, "" for nothing. words: of `repro`, or of pytest. ways: of the
    engine. most: seconds that it may take; without a limit it is told the minutes that are left."""

    name: str
    left: str
    words: list[str]
    ways: str = ""
    most: float = math.inf

    def command(self, seconds: float) -> list[str]:
        minutes = ["--minutes", f"{seconds / 60:.2f}"] if math.isinf(self.most) else []
        return [sys.executable, "-m", *self.words, *minutes]


@functools.cache
def planned(slug: str, scale: str) -> dict[str, Any]:
    """A notebook's specs at a profile, by key."""
    return {key(s): s for claim in claims.of(slug) for s in claim.plan(profile(scale))}


def measured(out: Path, slug: str) -> dict[str, Record]:
    """The runs of a notebook that the folder holds, by key."""
    path = out / slug / "runs.jsonl"
    return {r.key: r for r in load(path)} if path.exists() else {}


def days(out: Path) -> list[dict]:
    """What was done in this folder, part by part: when, on which hardware, in how many seconds, with which outcome."""
    path = out / "day.json"
    return json.loads(path.read_text()) if path.exists() else []


def parts(out: Path, notebooks: tuple[str, ...], scale: str, tests: str, options: list[str]) -> list[Part]:
    """All parts in the order of value, whose results go to the folder `out`. options: of `bench engine`."""

    def of_tests(name: str, which: str, most: float) -> Part:
        outcomes = [d["outcome"] for d in days(out) if d["part"] == name]
        seen = any("passed" in o and "stopped" not in o for o in outcomes)
        words = ["pytest", tests, "-v", "--color=no", "-o", "filterwarnings=default", "-k", which]
        words += ["-n", str(min(6, cores()))]
        return Part(name, "" if seen else "not seen to their end", words, most=most)

    def of_file(name: str, words: list[str], ways: str, most: float = math.inf) -> Part:
        file = f"{name}.jsonl" if name == "long" else f"{name.replace(', ', '-')}.json"
        return Part(name, "" if (out / file).exists() else file, [*words, "--out", str(out / file)], ways, most)

    def of_notebook(slug: str) -> Part:
        count = len(planned(slug, scale).keys() - measured(out, slug))
        words = ["repro", "measure", slug, "--profile", scale, "--workers", "1", "--out", str(out.parent)]
        return Part(slug, f"{count} runs" if count else "", words, "graph")

    engine, against = ["repro", "bench", "engine", *options], ["--against", "", "--against", "graph"]
    epochs = "1" if scale == "smoke" else "200"
    long = ["repro", "bench", "long", "--profile", scale, "--methods", "simclr", "--epochs", epochs]
    return [
        of_tests("tests", "not bfloat16", 110.0),
        of_file("engine", [*engine, *against], "views,graph", 130.0),
        of_file("engine, compiled", [*engine, "--no-peers"], "views,graph,compile", 60.0),
        *map(of_notebook, notebooks[:1]),
        of_tests("precision", "bfloat16", 120.0),
        *map(of_notebook, notebooks[1:]),
        of_file("long", long, "views,graph"),
    ]


def spend(todo: list[Part], limit: float, out: Path) -> None:
    """Run the parts that have something left until `limit` seconds are over; what was done goes to day.json."""
    began = time.monotonic()
    for part in [p for p in todo if p.left]:
        started = time.monotonic()
        left = limit - (started - began)
        if left < LEAST:
            print(f"{left:.0f} s are left: the next parts wait for another day", flush=True)
            return
        outcome = run(part, left, out / "log.txt")
        entry = {"part": part.name, "seconds": round(time.monotonic() - started, 1), "outcome": outcome}
        print(f"{part.name}: {outcome} ({entry['seconds']:.0f} s)", flush=True)
        about = {"when": time.strftime("%Y-%m-%d", time.gmtime()), "commit": commit(), **machine()}
        write_atomic(out / "day.json", json.dumps([*days(out), about | entry], indent=1) + "\n")


def run(part: Part, left: float, log: Path) -> str:
    """Run a part for so many seconds at most: the last line that it prints, and how it ended. All of it goes to the log. A
    process that is stopped has ten seconds to write its checkpoint."""
    env = {**os.environ, "REPRO_ENGINE": part.ways, "PYTHONUNBUFFERED": "1"}
    with log.open("a+") as out:
        begin, shared = out.tell(), {"stdout": out, "stderr": subprocess.STDOUT, "start_new_session": True}
        process = subprocess.Popen(part.command(left), env=env, **shared)
        try:
            code = process.wait(timeout=min(part.most, left) if part.most < math.inf else left + GRACE)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
        out.seek(begin)
        text = out.read()
    passed = text.count(" PASSED ")  # of pytest's tests, whose sum a process that is stopped no longer prints
    last = ([line.strip("= ") for line in text.splitlines() if line.strip()] or ["it printed nothing"])[-1][:300]
    if code is None:
        return f"{f'{passed} passed' if passed else last}; stopped by the time limit"
    return last if code in (0, os.EX_TEMPFAIL) else f"{last}; ended with code {code}"


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)


def report(out: Path, notebooks: tuple[str, ...] = NOTEBOOKS, scale: str = "gpu") -> str:
    """What a folder's results say, as a Markdown list, each line with its card; what was not measured is "not yet"."""
    from repro.bench import engine  # torch, which planning goes without

    steps = [json.loads((out / f).read_text()) for f in ("engine.json", "engine-compiled.json") if (out / f).exists()]
    items = (
        [] if any(step["workers"] for step in steps) else ["A step beside other libraries' ways of working: not yet."]
    )
    items += [item for step in steps for item in engine.sentences(step)]
    for part, title in (("tests", "Tests that only a GPU can run"), ("precision", "bfloat16's probe beside float32's")):
        ended = [
            f"{d['outcome']} ({d['hardware']})" for d in days(out) if d["part"] == part and "passed" in d["outcome"]
        ]
        items.append(f"{title}: {ended[-1] if ended else 'not yet'}.")
    for slug in notebooks:
        runs, specs = measured(out, slug), planned(slug, scale)
        there = [(s, runs[k].provenance) for k, s in specs.items() if k in runs]
        pace = [_views(s) / about["train_seconds"] for s, about in there if about.get("train_seconds")]
        cards = " and ".join(sorted({about["hardware"] for _, about in there}))
        trained = f", trained at {median(pace):,.0f} views/s ({cards})" if pace else ""
        items.append(f"`{slug}`: {len(there)} of {len(specs)} runs{trained}.")
    return "\n".join(f"- {item}" for item in items)


def _views(spec: Any) -> float:
    """How many views a run trains on."""
    images = spec.epochs * spec.data.fraction * ledger.images_of(spec.data)
    return (spec.steps * spec.batch_size if spec.steps else images) * len(spec.recipe.views)


def fill(readme: Path, text: str) -> None:
    """Put a report between the README's marks."""
    old = readme.read_text()
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise ReproError(
            f"{readme} needs one line {BEGIN} and, below it, one line {END}: add them where the report goes."
        )
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    write_atomic(readme, f"{before}{BEGIN}\n{text}\n{END}{after}")


def main(argv: list[str]) -> int:
    """`repro bench gpu-day`: print the plan, then spend the minutes."""
    parser = argparse.ArgumentParser(prog="repro bench gpu-day", description=__doc__.split("\n")[0])
    named = f"in this order (default: {', '.join(NOTEBOOKS)})"
    parser.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help=named)
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--out", type=Path, help="of the results, in a folder of the profile's name (default: figures)")
    parser.add_argument("--profile", default="gpu")
    parser.add_argument("--tests", default="tests/test_gpu.py")
    parser.add_argument("--engine", default="--steps 24 --repeats 3", help="options of `repro bench engine`")
    parser.add_argument("--dry-run", action="store_true", help="print the plan alone")
    parser.add_argument("--readme", type=Path, help="write what was found into this README, and measure nothing")
    args = parser.parse_args(argv)
    if not 0 < args.minutes < 1e6:
        raise ReproError(f"minutes must be above 0, not {args.minutes:g}: correct it.")
    if unknown := [n for n in args.notebooks if n not in claims.notebooks()]:
        raise ReproError(f"There is no notebook {unknown[0]!r}: choose from {', '.join(claims.notebooks())}.")
    out = (args.out or places.reference()) / args.profile
    if args.readme:
        fill(args.readme, report(out))
        return 0
    out.mkdir(parents=True, exist_ok=True)
    todo = parts(out, tuple(args.notebooks) or NOTEBOOKS, args.profile, args.tests, args.engine.split())
    for part in todo:
        at_most = f"at most {part.most:.0f} s; " if part.most < math.inf else ""
        print(f"{part.name:20} {at_most}{f'to do: {part.left}' if part.left else 'done'}", flush=True)
    if not args.dry_run:
        spend(todo, 60 * args.minutes, out)
    return 0

"""What a few minutes on a GPU are best spent on, in the order of value, each result written as soon as it is there.

    repro bench gpu-day --minutes 12
    repro bench gpu-day --dry-run

First the tests that only a GPU can run, then the speed of a training step beside others', then the `gpu` runs of the
notebooks, one seed of all cells before the next seed, and at last one long run of SimCLR. Every part is a process of its
own, so that one that fails or hangs does not end the rest. The results lie in figures/gpu as the committed ones do, and the
same command goes on where it stopped, on another day or another machine too: runs that the folder holds count as stored.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from repro import claims
from repro.claims import ledger
from repro.core import places, sweep
from repro.core.io import write_atomic
from repro.core.profiles import base, profile
from repro.core.provenance import commit, machine
from repro.core.spec import key
from repro.core.store import Store, export, load, take_up
from repro.cores import cores
from repro.errors import DoesNotFit, ReproError

NOTEBOOKS = ("augmentations", "multi_augmentation", "msr_beta_decay", "batch_size", "small_projectors")
LIMITS = {"tests": 110.0, "engine": 130.0, "engine, compiled": 60.0, "precision": 120.0}  # seconds at most
BEGIN, END = "<!-- gpu:start -->", "<!-- gpu:end -->"
LEAST = 20.0  # seconds under which a part is not begun
LONG_LEAST = 60.0
VIEWS_S, START = 50_000.0, 1.5  # as an H100 trains notebooks' runs, by one captured graph
"""Assumed of a GPU that has not been measured: views a second of a step, and the seconds a run takes beside it."""


@dataclass(frozen=True)
class Part:
    """Something to spend time on. left(): what is still to do, "" for nothing. run(seconds): its outcome in words."""

    name: str
    planned: float
    left: Callable[[], str]
    run: Callable[[float], str]


# --- the parts --------------------------------------------------------------------------------------------------------


def run_tests(out: Path, limit: float, tests: str, which: str) -> str:
    """Run those of the GPU's tests that pytest's expression `which` selects: how many passed, and which failed. A failure
    does not raise."""
    command = [sys.executable, "-m", "pytest", tests, "-v", "--color=no", "-o", "filterwarnings=default", "-k", which]
    command += ["-n", str(min(6, cores()))]
    _, text = _call(command, limit, out, "")
    outcomes = _outcomes(text)
    said = []
    for word in ("passed", "skipped", "failed", "error"):
        names = [test.split("::")[-1] for test, found in outcomes.items() if found == word]
        if names:
            said.append(f"{len(names)} {word}" + (f" ({'; '.join(names)})" if word in ("failed", "error") else ""))
    ended = re.search(r"(?m)^=+ .* in [\d.]+s", text)
    return (", ".join(said) or "none ran") + ("" if ended else "; stopped by the time limit")


def _outcomes(text: str) -> dict[str, str]:
    """The word of each test in what pytest's workers print, line by line."""
    found = re.findall(r"(?m)^\[gw\d+\] \[ *\d+%\] (PASSED|FAILED|ERROR|SKIPPED) (.+?) *$", text)
    return {test: word.lower() for word, test in found}


def run_engine(out: Path, limit: float, options: list[str], ways: str, name: str) -> str:
    """Measure a training step by some of the engine's ways."""
    command = [*_repro("bench", "engine"), "--out", str(out / name), *options]
    code, text = _call(command, limit, out, ways)
    if not (out / name).exists():
        return f"ended with code {code}: {_last_line(text)}"
    return f"{json.loads((out / name).read_text())['summary']['views_s']:,.0f} views/s"


def run_notebook(out: Path, limit: float, slug: str, scale: str) -> str:
    """Measure a notebook's runs for so many seconds, in a process of its own."""
    command = [*_repro("bench", "gpu-day"), "--runs", slug, "--profile", scale, "--out", str(out)]
    code, text = _call([*command, "--minutes", str(limit / 60)], limit + 30, out, "graph")
    specs = planned(slug, scale)
    there = {r.key for r in load(file_of(out, slug))} if file_of(out, slug).exists() else set()
    said = f"{sum(key(s) in there for s in specs)} of {len(specs)} runs"
    return said if code == 0 else f"{said}; ended with code {code}: {_last_line(text)}"


def run_long(out: Path, limit: float, scale: str) -> str:
    """One run of SimCLR, of as many epochs as the time allows by the speed that was measured."""
    views = views_s(out)
    epochs = min(200, int(0.85 * limit * views / (2 * ledger.images_of(base(profile("gpu")).data))) // 10 * 10)
    if epochs < 10 and scale != "smoke":
        return "left out: too little time for ten epochs"
    epochs = max(epochs, 1) if scale != "smoke" else 1
    command = [*_repro("bench", "long"), "--profile", scale, "--methods", "simclr", "--epochs", str(epochs)]
    command += ["--every", str(max(1, epochs // 10)), "--minutes", str(limit / 60), "--out", str(out / "long.jsonl")]
    code, text = _call(command, limit + 30, out, "views,graph")
    return f"{epochs} epochs" if code == 0 else f"ended with code {code}: {_last_line(text)}"


def file_of(out: Path, slug: str) -> Path:
    """Where a notebook's runs are written, as `repro run --reference` writes them."""
    return out / slug / "runs.jsonl"


def measure_runs(slug: str, scale: str, out: Path, minutes: float) -> None:
    """Measure a notebook's runs one by one, lowest seed first, and write them all after each."""
    began, store, path = time.monotonic(), Store(places.store()), file_of(out, slug)
    specs, large = planned(slug, scale), []
    if path.exists():
        take_up(store, path)
    records = [store.get(key(s)) for s in specs if key(s) in store]
    for spec in [s for s in specs if key(s) not in store]:
        left = minutes - (time.monotonic() - began) / 60
        if left <= 0:
            break
        try:
            records += sweep.measure([spec], store, 1, left, quiet=True)
        except DoesNotFit as e:
            large.append(str(e))
        export(records, path)
        print(f"{len(records)} of {len(specs)} runs, {time.monotonic() - began:.0f} s", flush=True)
    if large:
        raise DoesNotFit(*large)


@functools.cache
def planned(slug: str, scale: str) -> list[Any]:
    """A notebook's specs at a profile, all cells of a seed before the next seed."""
    where = profile(scale)
    specs = {key(s): s for claim in claims.of(slug) for s in claim.plan(where)}
    return sorted(specs.values(), key=lambda s: s.seed)


# --- the plan ---------------------------------------------------------------------------------------------------------


def views_s(out: Path) -> float:
    """Views a second as measured by `bench engine` in this folder, else VIEWS_S."""
    path = out / "engine.json"
    return json.loads(path.read_text())["summary"]["views_s"] if path.exists() else VIEWS_S


def seconds(spec: Any, rate: float) -> float:
    """Estimated seconds of a run at `rate` operations a second: its training, and the images that its probes look at."""
    if type(spec).__name__ != "RunSpec":
        return START
    probes, count = spec.probes, ledger.images_of(spec.data) * 4 / 3  # train, validation and test
    looks = 1 + (spec.epochs // probes.every if probes.every else 0) + probes.averaged
    return START + (ledger.work(spec) + count * looks * ledger.forward(spec)) / rate


def parts(out: Path, notebooks: tuple[str, ...], scale: str, tests: str, engine: list[str]) -> list[Part]:
    """All parts in the order of value. engine: options of `bench engine`."""

    def missing(file: str) -> Callable[[], str]:
        return lambda: "" if (out / file).exists() else file

    def untold(name: str) -> Callable[[], str]:
        def left() -> str:
            outcomes = [d["outcome"] for d in days(out) if d["part"] == name]
            return "" if any("passed" in o and "stopped" not in o for o in outcomes) else "not seen to their end"

        return left

    def runs_left(slug: str) -> str:
        there = {r.key for r in load(file_of(out, slug))} if file_of(out, slug).exists() else set()
        left = sum(key(s) not in there for s in planned(slug, scale))
        return f"{left} runs" if left else ""

    def of_engine(name: str, ways: str, *options: str) -> Callable[[float], str]:
        return lambda s: run_engine(out, s, [*engine, *options], ways, name)

    def of_tests(which: str) -> Callable[[float], str]:
        return lambda s: run_tests(out, s, tests, which)

    def bounded(name: str, left: Callable[[], str], run: Callable[[float], str]) -> Part:
        return Part(name, LIMITS[name], left, lambda s: run(min(s, LIMITS[name])))

    def runs_of(slug: str) -> Part:
        cost = sum(seconds(s, rate) for s in planned(slug, scale))
        return Part(slug, cost, lambda: runs_left(slug), lambda s: run_notebook(out, s, slug, scale))

    rate = views_s(out) * 3 * ledger.forward(base(profile("gpu")))
    plain, compiled = "engine.json", "engine-compiled.json"
    return [
        bounded("tests", untold("tests"), of_tests("not bfloat16")),
        bounded("engine", missing(plain), of_engine(plain, "views,graph", "--against", "", "--against", "graph")),
        bounded("engine, compiled", missing(compiled), of_engine(compiled, "views,graph,compile", "--no-peers")),
        *map(runs_of, notebooks[:1]),
        bounded("precision", untold("precision"), of_tests("bfloat16")),
        *map(runs_of, notebooks[1:]),
        Part("long", LONG_LEAST, missing("long.jsonl"), lambda s: run_long(out, s, scale)),
    ]


def lines(todo: list[Part], limit: float) -> list[str]:
    """What is planned for `limit` seconds: a line a part, with the seconds it is expected to take and when it ends."""
    out, spent = [], 0.0
    for part in todo:
        left = part.left()
        spent += part.planned if left else 0.0
        state = f"to do: {left}" if left else "done"
        out.append(
            f"{part.name:20} {part.planned if left else 0:6.0f} s, ends at {spent:6.0f} of {limit:.0f} s; {state}"
        )
    return out


def spend(todo: list[Part], limit: float, out: Path, say: Callable[[str], None] = print) -> None:
    """Run the parts that have something left until `limit` seconds are over; what was done goes to day.json."""
    began = time.monotonic()
    for part in todo:
        left = limit - (time.monotonic() - began)
        if left < LEAST:
            say(f"{left:.0f} s are left: the next parts wait for another day")
            return
        if not part.left():
            continue
        started = time.monotonic()
        outcome = part.run(left)
        entry = {"part": part.name, "seconds": round(time.monotonic() - started, 1), "outcome": outcome}
        say(f"{part.name}: {outcome} ({entry['seconds']:.0f} s)")
        about = {"when": time.strftime("%Y-%m-%d", time.gmtime()), "commit": commit(), **machine()}
        write_atomic(out / "day.json", json.dumps([*days(out), about | entry], indent=1) + "\n")


def days(out: Path) -> list[dict]:
    """What was done in this folder, part by part: when, on which hardware, in how many seconds, with which outcome."""
    path = out / "day.json"
    return json.loads(path.read_text()) if path.exists() else []


# --- what was found ---------------------------------------------------------------------------------------------------


def report(out: Path, notebooks: tuple[str, ...] = NOTEBOOKS, scale: str = "gpu") -> str:
    """What a folder's results say, as a Markdown list, each line with its card; what was not measured is "not yet"."""
    said: list[str] = []
    for name in ("engine.json", "engine-compiled.json"):
        found = json.loads((out / name).read_text()) if (out / name).exists() else {}
        said += _steps(found) if found else []
        if name == "engine.json" and not found.get("workers"):
            said.append("- A step beside other libraries' ways of working: not yet.")
    for part, title in (("tests", "Tests that only a GPU can run"), ("precision", "bfloat16's probe beside float32's")):
        outcomes = [d for d in days(out) if d["part"] == part and "passed" in d["outcome"]]
        said.append(
            f"- {title}: " + (f"{outcomes[-1]['outcome']} ({outcomes[-1]['hardware']})." if outcomes else "not yet.")
        )
    for slug in notebooks:
        there = {r.key: r for r in load(file_of(out, slug))} if file_of(out, slug).exists() else {}
        specs = planned(slug, scale)
        pace = [
            _pace(s, there[key(s)]) for s in specs if key(s) in there and there[key(s)].provenance.get("train_seconds")
        ]
        line = f"- `{slug}`: {sum(key(s) in there for s in specs)} of {len(specs)} runs"
        cards = " and ".join(sorted({r.provenance["hardware"] for r in there.values()}))
        said.append(line + (f", trained at {median(pace):,.0f} views/s ({cards})." if pace else "."))
    return "\n".join(said)


def _steps(found: dict) -> list[str]:
    """A line on our step, and one on each peer's, of what `bench engine` wrote."""
    from repro.bench import engine  # torch, which planning and reporting go without

    summary, whole = found["summary"], 1000 * median(found["seconds"]["optimiser"])
    parts = ", ".join(f"{p} {summary[f'{p}_ms'] / whole:.1%}" for p in engine.PARTS)
    lines = [
        f"- SimCLR, {found['backbone']}, {found['size']} px, batch {found['batch']}, {found['precision']}, by the ways "
        f"{', '.join(found['ways'])}: {summary['views_s']:,.0f} views/s, {summary['share']:.1%} of a matrix product's rate; "
        f"a step takes {whole:.1f} ms: {parts} ({found['hardware']}, commit {found['commit']})."
    ]
    others = [name for name in found["seconds"] if name not in engine.PARTS]
    return lines + [
        f"- In the same run, {name}: {summary[f'{name}_views_s']:,.0f} views/s; ours is {summary[f'{name}_ratio']:.2f} times "
        "as fast."
        for name in others
    ]


def _pace(spec: Any, record: Any) -> float:
    """Views a second of a whole run's training."""
    seen = (
        spec.steps * spec.batch_size if spec.steps else spec.epochs * spec.data.fraction * ledger.images_of(spec.data)
    )
    return seen * len(spec.recipe.views) / record.provenance["train_seconds"]


def fill(readme: Path, text: str) -> None:
    """Put a report between the README's marks."""
    old = readme.read_text()
    if old.count(BEGIN) != 1 or old.count(END) != 1:
        raise ReproError(
            f"{readme} needs one line {BEGIN} and, below it, one line {END}: add them where the report goes."
        )
    before, after = old.split(BEGIN)[0], old.split(END)[1]
    write_atomic(readme, f"{before}{BEGIN}\n{text}\n{END}{after}")


# --- processes --------------------------------------------------------------------------------------------------------


def _repro(*words: str) -> list[str]:
    return [sys.executable, "-m", "repro.cli", *words]


def _call(command: list[str], limit: float, out: Path, ways: str) -> tuple[int, str]:
    """Run a command for so many seconds at most, by the engine's `ways`: its exit code, and what it printed, which
    log.txt keeps too. A command that is stopped has ten seconds to write its checkpoint."""
    log = out / "log.txt"
    env = {**os.environ, "REPRO_ENGINE": ways, "PYTHONUNBUFFERED": "1"}
    with log.open("a") as handle:
        before = handle.tell()
        process = subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT, env=env, start_new_session=True)
        try:
            code = process.wait(timeout=max(limit, 1.0))
        except subprocess.TimeoutExpired:
            code = 124
        finally:
            _end(process)
    return code, log.read_bytes()[before:].decode(errors="replace")


def _end(process: subprocess.Popen) -> None:
    """End a process and all that it started."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1][:300]


def main(argv: list[str]) -> int:
    """`repro bench gpu-day`: print the plan, then spend the minutes."""
    parser = argparse.ArgumentParser(prog="repro bench gpu-day", description=__doc__.split("\n")[0])
    parser.add_argument(
        "notebooks", nargs="*", metavar="NOTEBOOK", help=f"in this order (default: {', '.join(NOTEBOOKS)})"
    )
    parser.add_argument("--minutes", type=float, default=12.0)
    parser.add_argument("--out", type=Path, help="folder of the results (default: figures/gpu)")
    parser.add_argument("--profile", default="gpu")
    parser.add_argument("--tests", default="tests/test_gpu.py")
    parser.add_argument("--engine", default="--steps 24 --repeats 3", help="options of `repro bench engine`")
    parser.add_argument("--dry-run", action="store_true", help="print the plan alone")
    parser.add_argument("--readme", type=Path, help="write what was found into this README, and measure nothing")
    parser.add_argument("--runs", metavar="NOTEBOOK", help="measure one notebook's runs in this process")
    args = parser.parse_args(argv)
    if not 0 < args.minutes < 1e6:
        raise ReproError(f"minutes must be above 0, not {args.minutes:g}: correct it.")
    args.out = args.out or places.reference() / args.profile
    args.out.mkdir(parents=True, exist_ok=True)
    if args.readme:
        fill(args.readme, report(args.out))
        return 0
    if args.runs:
        measure_runs(args.runs, args.profile, args.out, args.minutes)
        return 0
    unknown = [n for n in args.notebooks if n not in claims.notebooks()]
    if unknown:
        raise ReproError(f"There is no notebook {unknown[0]!r}: choose from {', '.join(claims.notebooks())}.")
    todo = parts(args.out, tuple(args.notebooks) or NOTEBOOKS, args.profile, args.tests, args.engine.split())
    print("\n".join(lines(todo, 60 * args.minutes)), flush=True)
    if not args.dry_run:
        spend(todo, 60 * args.minutes, args.out, lambda text: print(text, flush=True))
    return 0

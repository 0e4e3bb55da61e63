"""The command line: run, measure, gallery, claims, results, compare, weights, probe, new-claim, data, bench, doctor."""

from __future__ import annotations

import argparse
import errno
import getpass
import importlib
import locale
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from repro import claims, cluster
from repro.core import datasets, places, stopping
from repro.core.io import disk_error
from repro.cores import cores
from repro.errors import DoesNotFit, ReproError, Unfinished

if TYPE_CHECKING:
    from repro.core.store import Store

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EEXIST)
UNUSABLE = (errno.ENAMETOOLONG, errno.ELOOP, errno.EISDIR, errno.EIO, errno.ESTALE)
PLACES = {"REPRO_STORE", "REPRO_DATA", "REPRO_FIGURES"}
# modules of repro.bench that have a `main`
BENCHMARKS = ("loader", "engine", "views", "step", "loss", "long", "scale", "gpu-day")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; its exit code: 0, 2 for a problem a person can solve (said in one sentence), 75 where the time budget
    is spent and runs are left, 130 at Ctrl-C or SIGTERM, by which clusters stop a job."""
    if argv is None and locale.getpreferredencoding(False).lower() != "utf-8":  # files and kernels are in UTF-8
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    if argv is None:
        for name in ("stdout", "stderr"):
            if getattr(sys, name) is None:  # a daemon's
                setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        sys.stdout.reconfigure(errors="backslashreplace")  # a folder's name may be none in UTF-8
    try:
        with stopping.sigterm_as_ctrl_c():
            try:
                getpass.getuser()
            except (KeyError, OSError):  # torch asks for it: a container's user may have none
                os.environ["USER"] = str(os.getuid())
            for name in PLACES & os.environ.keys():  # kernels run in another folder
                os.environ[name] = os.environ[name] and str(places.given(os.environ[name]))
            parser = _parser()
            args, args.further = parser.parse_known_args(argv)
            if args.further and args.command is not _submit:
                parser.error(f"unrecognized arguments: {' '.join(args.further)}")
            return args.command(args) or 0
    except Unfinished as e:
        print(f"repro: {e}", file=sys.stderr)
        return cluster.AGAIN
    except ReproError as e:
        print(f"repro: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        if isinstance(e, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        if e.errno not in UNWRITABLE + UNUSABLE or not e.filename:
            raise
        said = f"{os.fsdecode(e.filename)} cannot be used ({e.strerror}): choose another."
        print(
            f"repro: {disk_error(e, Path(os.fsdecode(e.filename))) if e.errno in UNWRITABLE else said}", file=sys.stderr
        )
        return 2
    except KeyboardInterrupt:
        print("repro: stopped; the same command goes on from here.", file=sys.stderr)
        return 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One sentence, without the page of usage that argparse prints before it."""
        raise ReproError(f"{message[0].upper()}{message[1:]}: see `{self.prog} --help`.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="repro", description=importlib.import_module("repro").__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, function, text: str) -> argparse.ArgumentParser:
        p = commands.add_parser(name, help=text.replace("%", "%%"), description=text)
        p.set_defaults(command=function)
        return p

    def studies(p: argparse.ArgumentParser, own: bool = True) -> None:
        what = "slugs or names, e.g. batch_size" + ", or claims, e.g. A8" * own + " (default: all)"
        p.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help=what)
        p.add_argument("--profile", default="quick", help="smoke, quick, cpu, gpu or paper (default: quick)")
        p.add_argument("--minutes", type=float, default=0.0, help="stop measuring cleanly after this long; 0: no limit")
        p.add_argument("--workers", type=int, default=0, help="processes (default: one a core; one with a GPU)")
        p.add_argument("--store", type=places.given, help="folder of stored runs (default: build/store)")
        if own:
            p.add_argument(
                "--data", type=datasets.absolute, default="", help="another data set, or a folder of class folders"
            )
            p.add_argument("--seeds", type=int, default=0, help="runs a cell (default: the profile's)")
            for name, what in (("method", "MyLoss"), ("recipe", "my_views"), ("backbone", "my_net")):
                p.add_argument(f"--{name}", default="", help=f"one of your own, as in my_{name}.py:{what}")

    run = add("run", _run, "Measure, then execute the notebooks through papermill and build the gallery.")
    studies(run, own=False)  # its notebooks have these as parameters
    run.add_argument("-p", dest="given", action="append", default=[], metavar="NAME=VALUE", help="set a parameter")
    run.add_argument("--from-results", action="store_true", help="redraw from the committed results, train nothing")
    run.add_argument("--reference", action="store_true", help="write the results into figures/, to be committed")
    run.set_defaults(keep_weights=False, until_decided=False, share="", out=None)
    measure = add("measure", _measure, "Measure the runs of notebooks without executing them (no Jupyter needed).")
    studies(measure)
    measure.add_argument(
        "--dry-run", action="store_true", help="build every model, train one fake step, print the plan"
    )
    measure.add_argument("--share", default="", metavar="i/K", help="begin with the i-th of K shares of the runs")
    measure.add_argument(
        "--first-seed", type=int, default=0, help="5 repeats the study with seeds that it has not seen"
    )
    measure.add_argument("--until-decided", action="store_true", help="add seeds while a claim is inconclusive")
    measure.add_argument("--keep-weights", action="store_true", help="store the trained weights too")
    measure.add_argument(
        "--out", type=places.given, help="also write numbers and verdicts into this folder, and print these"
    )
    for p in (run, measure):
        p.add_argument("--log", default="", help="who sees every epoch: tensorboard:DIR, or my_log.py:function")
    submit = add("submit", _submit, "Measure on a cluster: a Slurm array of workers that share one store.")
    studies(submit)
    submit.add_argument("--array", default="auto", metavar="K%%N", help="K tasks, N at once (default: by the plan)")
    submit.add_argument("--time", default="60", help="time limit of a task, as sbatch takes it (default: 60 minutes)")
    submit.add_argument("--gpus-per-run", type=int, default=0, help="GPUs that train each run together (default: one)")
    submit.add_argument("--nodes", type=int, default=1, help="nodes on which these GPUs are (default: 1)")
    submit.add_argument("--dry-run", action="store_true", help="print the script; further options are sbatch's own")
    status = add("status", _status, "Say how many runs are stored, running, waiting or failed, also of other machines.")
    studies(status)
    _add_pages(add)
    _add_results(add)
    data = add("data", _data, "List the data sets, or say of a folder how it is understood and what is wrong with it.")
    data.add_argument("action", choices=["list", "check"])
    data.add_argument("folder", nargs="?", type=Path, help="of class folders, for check")
    bench = add("bench", _bench, "Measure speed, as ratios in one run; long: accuracy after 200 epochs.")
    bench.add_argument(
        "what", nargs="?", default="loader", metavar="WHAT", help=f"{', '.join(BENCHMARKS)} (default: loader)"
    )
    bench.add_argument(
        "rest", nargs=argparse.REMAINDER, metavar="...", help="its own options: `repro bench WHAT --help`"
    )
    add("doctor", _doctor, "Say what this machine has and what is missing.")
    return parser


def _add_pages(add: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that make what a reader sees."""
    gallery = add("gallery", _gallery, "Build the gallery of figures, numbers and verdicts.")
    gallery.add_argument("--profile", default="all", help="one profile, or all (default)")
    gallery.add_argument("--figures", type=Path, help="default: build/figures, and figures/ for what is not there")
    gallery.add_argument("--out", type=Path, help="default: build/gallery")
    table = add("claims", _claims, "Print the table of claims: the papers' numbers beside the measured verdicts.")
    table.add_argument("--json", action="store_true", help="the table as JSON")
    table.add_argument("--markdown", action="store_true", help="the table as Markdown")
    table.add_argument("--readme", type=Path, help="write the table into this README, between its marks")
    table.add_argument("--figures", type=Path, help="the folder of results (default: the committed figures/)")
    table.add_argument("--stability", nargs=2, type=Path, metavar=("A", "B"), help="compare the words of two folders")
    new = add("new-claim", _new_claim, "Write a new claim's registry entry, module, notebook and test from templates.")
    new.add_argument("id", metavar="ID", help="an id that no claim has, a letter and a number")
    new.add_argument("slug", metavar="SLUG", help="of its module and notebook, e.g. projector_depth")
    new.add_argument(
        "--paper", default="", help="the paper's key in claims/registry.toml (default: a claim of your own)"
    )
    new.add_argument("--claim", default="", help="the claim in one sentence (default: the template's)")


def _add_results(add: Callable[..., argparse.ArgumentParser]) -> None:
    """The commands that give results as tables."""
    table = add("results", _results, "Stored and committed runs as a table, one row a run.")
    table.epilog = (
        "Columns: notebook, profile, claims; the plans' labels (stack, variant, cell, ...); key, kind and the run's fields "
        "(data, recipe, method and its knobs, backbone, lr, epochs, seed, ...), lists as JSON; metrics, "
        "<probe>_<split>_<task> in percent; provenance (device, hardware, wall_seconds, ...). Curves stay in the store."
    )
    table.add_argument("notebooks", nargs="*", metavar="NOTEBOOK", help="slugs or names (default: all)")
    table.add_argument("--csv", type=Path, metavar="FILE", help="default: CSV on the standard output")
    table.add_argument("--parquet", type=Path, metavar="FILE", help="needs pyarrow")
    pair = add(
        "compare", _compare, "Two runs or cells of a notebook: their difference over seeds with its 95 % interval."
    )
    pair.add_argument("notebook", metavar="NOTEBOOK", help="slug or name, e.g. augmentations")
    for name, metavar in (("first", "A"), ("second", "B")):
        pair.add_argument(name, metavar=metavar, help="a filter, as in stack=crop,method=SimCLR, or a run's key")
    pair.add_argument("--figure", type=Path, metavar="FILE", help="draw both cells' curves, as .svg, .png or .pdf")
    pair.add_argument("--column", default="", help="what is compared (default: linear probe, test, first task)")
    kept = add("weights", _weights, "Trained backbones, of runs kept with --keep-weights: list them, or export one.")
    kept.add_argument("action", choices=["list", "export"])
    kept.add_argument("run", nargs="?", default="", metavar="RUN", help="a key, or its beginning, for export")
    kept.add_argument("--to", nargs=2, metavar=("FORMAT", "FILE"), help="torchvision, timm or safetensors, and a file")
    kept.add_argument("--store", type=places.given, help="folder of stored runs (default: build/store)")
    probe = add("probe", _probe, "Probe a torchvision, timm or safetensors checkpoint by the notebooks' protocols.")
    probe.add_argument("--weights", type=Path, required=True, metavar="FILE", help="a state_dict, or safetensors")
    probe.add_argument("--backbone", default="resnet18", help="what it is of, or my_net.py:net (default: resnet18)")
    probe.add_argument("--data", type=datasets.absolute, default="", help="a data set (default: the profile's)")
    probe.add_argument("--imagenet-norm", action="store_true", help="normalise images by ImageNet's statistics")
    for p in (table, pair, probe):
        p.add_argument("--profile", default="quick", help="smoke, quick, cpu, gpu or paper (default: quick)")


def _slugs(names: list[str], there: list[str]) -> list[str]:
    """Slugs from slugs, notebook names or paths; all of `there` if none is given."""
    numbers = {part: slug for slug, name in claims.notebooks().items() for part in (name, name[:2])}
    out = []
    for name in names:
        stem = Path(name).stem
        slug = numbers.get(stem, stem)
        if slug not in there:
            raise ReproError(f"There is no notebook {name!r}: choose from {', '.join(there)}.")
        out.append(slug)
    return out or there


def _run(args: argparse.Namespace) -> int:
    print("planning", file=sys.stderr, flush=True)  # imports take seconds
    from repro.core import own, profiles
    from repro.core.progress import Progress
    from repro.pages import execute, notebook, table

    began = time.monotonic()
    given = dict(_pair(text) for text in args.given)
    if "data" in given:
        given["data"] = datasets.absolute(given["data"])
    given |= {name: own.absolute(given[name]) for name in ("method", "recipe", "backbone") if name in given}
    args.profile = given.setdefault("profile", args.profile)
    profiles.profile(args.profile)
    if args.from_results:
        given["results"] = "stored"
    if not execute.available():
        raise ReproError(
            f"{places.notebooks()} holds no notebooks: run this in a checkout of the repository, which has them; "
            "`repro measure` needs none."
        )
    slugs = _slugs(args.notebooks, execute.available())
    # where all are meant and none is named, a parameter is for those that have it: the toys bring their own data
    anywhere = set() if args.notebooks else set().union(*map(execute.parameters, slugs))
    jobs, failed = [], {}
    for slug in slugs:
        foreign = anywhere - set(execute.parameters(slug))
        jobs.append((slug, execute.check(slug, {k: v for k, v in given.items() if k not in foreign})))
    if args.store:
        os.environ["REPRO_STORE"] = str(args.store)
    if args.reference:
        os.environ["REPRO_FIGURES"] = str(places.reference())
    if given.get("results") != "stored":
        studies = [notebook.study(slug, **mine) for slug, mine in jobs]  # all are checked before any is measured
        failed, to_go = _measure_all(studies, args, began)
        if to_go:
            raise _unfinished(to_go)
    jobs = [(slug, mine) for slug, mine in jobs if slug not in failed]
    # a kernel waits for much of its start: so three at a time, and the next step's imports meanwhile
    threading.Thread(target=importlib.import_module, args=("repro.pages.gallery",)).start()
    with Progress(len(jobs), dict.fromkeys((slug for slug, _ in jobs), 1.0), what="notebooks executed") as progress:
        failed |= execute.execute(jobs, args.profile, parallel=3, tell=progress.hear)
    if len(failed) == len(slugs):
        raise ReproError(" ".join(dict.fromkeys(failed.values())))
    if args.reference and given.get("results") != "stored":
        _write_cost(args.profile)
    page = _build_gallery("all", places.drawn())
    print(table.as_text(table.rows(places.drawn(), places.notebooks()), (args.profile,)))
    made, seconds = _many(len(slugs) - len(failed), "notebook"), time.monotonic() - began
    print(f"\nGallery: {page}\n{made} at profile {args.profile} in {seconds:.0f} s")
    names = ("data", "backbone", "seeds", "method", "recipe")
    if changed := {k: v for k, v in given.items() if k in names and v not in ("", "0")}:
        values = ", ".join(f"{k} = {v}" for k, v in changed.items())
        print(
            f"These verdicts are of {values}: table and gallery show them in place of the profile's own until the same "
            "command runs without."
        )
    if failed:
        raise ReproError(" ".join(dict.fromkeys(failed.values())))
    return 0


def _measure_all(studies: list, args: argparse.Namespace, began: float) -> tuple[dict[str, str], int]:
    """Measure what notebooks plan. Returns a sentence for each that has runs which cannot be measured, and how many
    runs of the others are left where the time budget is spent."""
    from repro.core import sweep
    from repro.core.store import Store, export, frame
    from repro.pages import notebook

    where, share, said = Store(args.store or places.store()), cluster.share(args.share), []
    failed, to_go = {}, 0
    notebook.require(studies, where)
    if args.profile in ("cpu", "paper"):
        _tell_time(studies, where, args)
    with _progress(studies, where, args) as progress:
        for number, study in enumerate(studies, 1):
            progress.part = f"notebook {number} of {len(studies)}" * (len(studies) > 1)
            specs, more, records = study.specs, study.specs, []
            try:
                while more:
                    minutes = _left(args.minutes, began) or study.minutes
                    records = sweep.measure(
                        specs.values(), where, args.workers, minutes, args.keep_weights, share=share, progress=progress
                    )
                    whole = args.until_decided and len(records) == len(specs)
                    more = notebook.next_look(study, frame(records)) if whole else {}
                    specs |= more
                to_go += len(specs) - len(records)
            except ReproError as e:  # the other notebooks can be measured all the same
                if str(e) in failed.values() and not isinstance(e, DoesNotFit):  # as of a full disk
                    raise
                failed[study.slug] = str(e)
                records = [where.get(k) for k in specs if k in where] if isinstance(e, DoesNotFit) else []
            said.append(f"{study.slug}: {len(records)} of {_many(len(specs), 'run')} stored in {where.root}")
            if args.out or study.only:
                runs, judged = frame(records), study.claims if len(records) == len(specs) else ()
                found = {c.id: notebook.judge(study, runs, c.id) for c in judged}
                said += [f"{claim}: {verdict.verdict}. {verdict.sentence}" for claim, verdict in found.items()]
            if args.out:
                export(records, args.out / args.profile / study.slug / "runs.jsonl")
                notebook.keep(study, args.out, found)
    print("\n".join(said), flush=True)
    return failed, to_go


def _unfinished(count: int) -> Unfinished:
    return Unfinished(f"The time budget is spent with {_many(count, 'run')} to go: run the same command to go on.")


def _progress(studies: list, where, args: argparse.Namespace):
    """The line that says how far a command is: a run is expected to take here what it took for the committed results, or as
    long as the middle one of them."""
    from repro.core import sweep
    from repro.core.progress import Progress
    from repro.core.store import load
    from repro.pages import logs

    names = [k for k in dict.fromkeys(k for study in studies for k in study.specs)]
    to_do = [k for k in names if k not in where]
    files = (places.reference() / args.profile / study.slug / "runs.jsonl" for study in studies)
    took = {r.key: r.provenance["wall_seconds"] for file in files if file.exists() for r in load(file)}
    known = sorted(took[k] for k in to_do if k in took)
    shares = dict.fromkeys(to_do, 1.0)
    if expected := 0 < len(to_do) <= 2 * len(known):
        shares = {k: took.get(k, known[len(known) // 2]) for k in to_do}
    pace = expected * (args.workers or sweep.default_workers())
    return Progress(len(names), shares, pace=pace, log=logs.of(args.log))


def _tell_time(studies: list, where: Store, args: argparse.Namespace) -> None:
    """Say before the first run how long all of them take: here, or at `paper` on GPUs, since few machines can."""
    from repro.claims import ledger
    from repro.core import sweep

    missing = {k: s for study in studies for k, s in study.specs.items() if k not in where}
    if missing:
        about = f"estimated {ledger.total(missing.values())}"
        if args.profile == "cpu":
            hours = ledger.hours_here(missing.values(), args.workers or sweep.default_workers())
            about = f"about {hours:.1f} h here if nothing else runs"
        said = f"{_many(len(missing), 'run')} to measure, {about}: stop it at any moment; the same command goes on."
        print(said, file=sys.stderr, flush=True)


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'s' * (count != 1)}"


def _write_cost(profile: str) -> None:
    """What the reference runs of a profile took: the runs' own time shared by their processes, and drawing it all."""
    import json

    from repro.core import sweep
    from repro.core.io import write_atomic
    from repro.core.provenance import machine
    from repro.core.store import load

    folder = places.reference() / profile
    files = sorted(folder.glob("*/runs.jsonl"))
    kept = {r.key: r.provenance["wall_seconds"] for f in files for r in load(f)}
    environment = Path(sys.prefix)
    disk = sum(p.lstat().st_size for p in environment.rglob("*") if p.is_file() and not p.is_symlink())
    values = {
        "minutes": round(sum(kept.values()) / 60 / sweep.default_workers(), 1),
        "runs": len(kept),
        "notebooks": len(files),
        "hardware": machine()["hardware"],
        "disk_gb": round(disk / 1e9, 1),
    }
    write_atomic(folder / "cost.json", json.dumps(values, indent=1) + "\n")


def _left(minutes: float, began: float) -> float:
    """What is left of a time budget that all notebooks share, in minutes; 0 is no budget, so a spent one is not."""
    return max(1e-3, minutes - (time.monotonic() - began) / 60) if minutes > 0 else minutes


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise ReproError(f"A parameter is given as NAME=VALUE, not {text!r}: correct it.")
    return name, value


def _measure(args: argparse.Namespace) -> int:
    from repro.claims import ledger
    from repro.core import sweep

    if cluster.several():
        from repro.ssl import ranks

        ranks.start()
        if ranks.rank():
            ended = ranks.follow()
            sys.stdout.flush()
            os._exit(ended)  # gloo's threads, whose leader is gone, may abort an orderly end
        args.workers = 1
    began, studies = time.monotonic(), _studies(args)
    if args.out and any(study.only for study in studies):
        raise ReproError("--out takes the results of whole notebooks: name these, or leave --out away.")
    if args.dry_run:
        for study in studies:
            specs = study.specs.values()
            print(f"{study.slug}: {_many(len(specs), 'run')} at profile {args.profile}")
            for line in (*ledger.lines(specs), *sweep.dry_run(specs)):
                print(f"  {line}")
        return 0
    failed, to_go = _measure_all(studies, args, began)
    if failed:
        raise ReproError(" ".join(dict.fromkeys(failed.values())))
    if to_go and args.share and not (args.minutes and _left(args.minutes, began) <= 1e-3):
        print(f"Other workers are at the {_many(to_go, 'run')} left.")
    elif to_go:
        raise _unfinished(to_go)
    return 0


def _own(args: argparse.Namespace) -> dict:
    """What a reader changed of the profile; a file of theirs by its whole path."""
    from repro.core import own

    named = {name: own.absolute(getattr(args, name)) for name in ("method", "recipe", "backbone")}
    return {"data": args.data, "seeds": args.seeds, **named}


def _studies(args: argparse.Namespace) -> list:
    """The notebooks named, or all, with what a reader changed of the profile; of a notebook whose claims are named, these
    claims alone."""
    from repro.claims import registry
    from repro.pages import notebook

    known, there = registry.load().claims, [slug for slug in claims.notebooks() if claims.of(slug)]
    asked: dict[str, tuple[str, ...]] = {}  # by slug the claims that are meant, all where none is named
    for name in args.notebooks or there:
        claim = known.get(name.upper())
        (slug,) = _slugs([claim.notebook if claim else name], there)
        if not claim:
            asked[slug] = ()
        elif asked.get(slug, (claim.id,)):
            asked[slug] = (*asked.get(slug, ()), claim.id)
    studies, first = [], getattr(args, "first_seed", 0)
    for slug, only in asked.items():
        study = notebook.study(slug, args.profile, **_own(args))
        studies.append(replace(study, profile=replace(study.profile, first=first), only=only))
    return studies


def _submit(args: argparse.Namespace) -> int:
    from repro.claims import ledger
    from repro.core.store import Store

    studies = _studies(args)
    specs = [s for study in studies for s in study.specs.values()]
    limit, store = cluster.minutes(args.time), args.store or places.store()
    hours = sum(ledger.hours(s)[0] for s in specs if type(s).__name__ == "RunSpec")
    count, at_once = cluster.tasks(args.array, len(specs), hours / max(1, args.gpus_per_run), limit)
    words = [*args.notebooks, "--profile", args.profile, "--workers", str(args.workers or 1)]
    words += [w for name, value in _own(args).items() if value for w in (f"--{name}", str(value))]
    text = cluster.script(words, store, count, at_once, limit, args.further, args.nodes, args.gpus_per_run)
    if args.dry_run:
        print(text, end="", flush=True)
        for study in studies:
            about = ledger.outline(study.specs.values(), at_once, max(1, args.gpus_per_run))
            print(f"{study.slug}: {about}", file=sys.stderr)
        return 0
    Store(store).require_writable()  # made here, and found wanting here
    print(f"{cluster.submit(text, store)}: {len(specs)} runs, {count} tasks, {at_once} at once")
    print(f"How far it is: repro status {' '.join(args.notebooks)} --profile {args.profile} --store {store}")
    return 0


def _status(args: argparse.Namespace) -> int:
    from repro.core.store import Store

    store = Store(args.store or places.store())
    for study in _studies(args):
        now = cluster.status(study.specs.values(), store)
        print("\n  ".join([f"{study.slug}: {now.line()}", *now.running, *now.failed]))
    return 0


def _gallery(args: argparse.Namespace) -> int:
    print(_build_gallery(args.profile, args.figures, args.out))
    return 0


def _build_gallery(profile: str, figures: Path | None = None, out: Path | None = None) -> Path:
    from repro.pages import gallery

    if figures and not figures.is_dir():
        raise ReproError(f"There is no folder {figures}: name the one that holds the profiles' figures.")
    print("building the gallery", file=sys.stderr, flush=True)
    target = out or places.root() / "build" / "gallery"
    more = {"notebooks": places.notebooks(), "beneath": None if figures else places.reference()}
    return gallery.build(profile, figures or places.drawn(), places.executed(), target, **more)


def _claims(args: argparse.Namespace) -> int:
    from repro.pages import table, verdicts

    if args.stability:
        print(verdicts.stability(*args.stability))
        return 0
    rows = table.rows(args.figures, places.notebooks())
    if args.readme:
        changed = table.update_readme(args.readme, rows)
        print(f"{args.readme}: {'updated' if changed else 'is current'}")
        return 0
    print(table.as_json(rows) if args.json else table.as_markdown(rows) if args.markdown else table.as_text(rows))
    return 0


def _table(names: list[str], profile: str, curves: bool = False):
    """The runs of notebooks, all if none is named, as a frame. Raises ReproError where there is none."""
    import pandas as pd

    from repro.pages import notebook, results

    slugs = _slugs(names, [slug for slug in claims.notebooks() if claims.of(slug)])
    tables = [t for slug in slugs if len(t := results.table(notebook.study(slug, profile), curves))]
    if not tables:
        raise ReproError(f"No run is stored at profile {profile}: measure first, with `repro measure`.")
    return pd.concat(tables, ignore_index=True)


def _results(args: argparse.Namespace) -> int:
    from repro.pages import results

    runs = _table(args.notebooks, args.profile)
    if args.csv or args.parquet:
        results.write(runs, args.csv, args.parquet)
        print(f"{args.csv or args.parquet}: {_many(len(runs), 'run')}, {len(runs.columns)} columns")
    else:
        runs.to_csv(sys.stdout, index=False)
    return 0


def _compare(args: argparse.Namespace) -> int:
    from repro.pages import results

    runs = _table([args.notebook], args.profile, curves=True)
    print(results.compare(runs, args.first, args.second, args.column))
    if args.figure:
        results.draw(runs, args.first, args.second, args.figure)
    return 0


def _weights(args: argparse.Namespace) -> int:
    from repro.core.store import Store
    from repro.ssl import weights

    where = Store(args.store or places.store())
    if args.action == "list":
        print(
            "\n".join(map(weights.line, weights.kept(where))) or "No run has weights: `repro measure --keep-weights`."
        )
        return 0
    if not args.run or not args.to or args.to[0] not in weights.FORMATS:
        raise ReproError(f"Say what goes where: `repro weights export RUN --to {'|'.join(weights.FORMATS)} FILE`.")
    file = Path(args.to[1])
    print(f"{file}, with its model card {weights.export(args.run, args.to[0], file, where)}")
    return 0


def _probe(args: argparse.Namespace) -> int:
    from repro.pages import results

    print(results.probe(args.weights, args.backbone, args.profile, args.data, args.imagenet_norm))
    return 0


def _new_claim(args: argparse.Namespace) -> int:
    from repro.pages import new_claim

    for path in new_claim.write(args.id, args.slug, args.paper, args.claim):
        print(path.relative_to(new_claim.ROOT))
    print(
        "They are a whole claim, about the projector's layers. Make it yours, and then:\n"
        f"  pytest tests/test_claim_{args.slug}.py\n"
        f"  repro run {args.slug} --profile smoke      then quick, with --reference for results to be committed\n"
        "  make same-update                           its plan's keys, for the net\n"
        "  repro claims --readme README.md            its row in the table"
    )
    return 0


def _data(args: argparse.Namespace) -> int:
    if args.action == "check":
        from repro.data import check

        if args.folder is None:
            raise ReproError("Say which folder to check: `repro data check FOLDER`.")
        print("\n".join(check.lines(args.folder)))
        return 0
    from repro import data
    from repro.data import prepared

    rows = [(name, data.title(name), "embedded") for name in data.EMBEDDED]
    for name, title, state in [*rows, *prepared.table()]:
        if state.startswith("missing") and (data.root() / name).is_dir():
            state = "a folder of images"
        print(f"{name:13} {title:46} {state}")
    there = "" if data.root().is_dir() else ", which is not there yet"
    print(f"Prepared sets are looked for in {data.root()}{there}; $REPRO_DATA names another folder.")
    print("Any folder with one sub-folder of images a class is a data set too: give its path as `data`.")
    return 0


def _bench(args: argparse.Namespace) -> int:
    if args.what not in BENCHMARKS:
        raise ReproError(f"There is no benchmark {args.what!r}: choose from {', '.join(BENCHMARKS)}.")
    return importlib.import_module(f"repro.bench.{args.what.replace('-', '_')}").main(args.rest) or 0


def _doctor(args: argparse.Namespace) -> int:
    import torch

    print(f"python {sys.version.split()[0]}, torch {torch.__version__}, {cores()} cores")
    print(f"GPU: {torch.cuda.get_device_name() if torch.cuda.is_available() else 'none; everything runs on the CPU'}")
    for name, purpose in (
        ("ffcv", "the fast loader; else the torchvision loader is used"),
        ("papermill", "executing notebooks; `repro measure` works without"),
        ("jupyterlab", "exploring notebooks"),
    ):
        try:
            importlib.import_module(name)
            state = "works"
        except Exception as e:  # a compiled package can fail in many ways
            state = f"missing ({type(e).__name__}: {e}): needed for {purpose}"
        print(f"{name}: {state}")
    from repro.ssl.feed import make_views
    from repro.views.recipe import preset

    began = time.monotonic()
    make_views(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), preset("simclr-small"), 0, 0, torch.arange(2))
    print(f"view kernels: ready after {time.monotonic() - began:.0f} s (compiled once, then cached)")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    print(f"browser for the gallery's test: {chromium or 'none; links are checked instead'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

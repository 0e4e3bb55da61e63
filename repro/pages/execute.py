"""Executing notebooks through papermill, with the checks it leaves out.

papermill takes any parameter name, and marks a notebook as completed whatever ended it. So parameters are checked here
against the notebook's own, and an executed notebook is moved into place only when its last cell ran.
"""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import re
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from repro import claims
from repro.core import places, stopping
from repro.errors import ReproError


def available() -> list[str]:
    """The slugs of the notebooks that are there, in their order."""
    return [slug for slug in claims.notebooks() if _source(slug).is_file()]


def parameters(slug: str) -> dict[str, Any]:
    """A notebook's parameters with their defaults, from its cell tagged "parameters". Raises ReproError for a notebook
    that cannot be read, or that names another notebook's study, as a copy does until its slug is changed."""
    import nbformat

    path = _source(slug)
    try:
        cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
        sources = [c.source for c in cells]
    except Exception as e:  # nbformat has many errors for what is no notebook
        raise ReproError(f"{path} is no notebook that can be read: restore it from the repository.") from e
    others = {name for text in sources for name in re.findall(r'\bstudy\(\s*"(\w+)"', text)} - {slug}
    if others:
        raise ReproError(f"{path} runs the study {others.pop()!r}: write its own, repro.study({slug!r}, ...).")
    cells = [c for c in cells if "parameters" in c.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ReproError(f"{path} needs exactly one cell tagged parameters, not {len(cells)}.")
    try:
        assigned = [n for n in ast.parse(cells[0].source).body if isinstance(n, (ast.Assign, ast.AnnAssign))]
        targets = [n.targets[0] if isinstance(n, ast.Assign) else n.target for n in assigned]
        return {t.id: ast.literal_eval(n.value) for t, n in zip(targets, assigned)}
    except (SyntaxError, ValueError, TypeError, AttributeError) as e:
        raise ReproError(
            f"The parameters cell of {path} cannot be read ({str(e).partition(chr(10))[0]}): write a line NAME = VALUE for "
            "each, with a number, a text, True or False, or a list."
        ) from e


def _source(slug: str) -> Path:
    return places.notebooks() / f"{claims.notebooks()[slug]}.ipynb"


def check(slug: str, given: dict[str, str]) -> dict[str, Any]:
    """Parameters from the command line, with the types of the notebook's defaults. Raises ReproError for an unknown name
    or a value that is not of its type."""
    known = parameters(slug)
    out = {}
    for name, text in given.items():
        if name not in known:
            raise ReproError(
                f"The notebook {claims.notebooks()[slug]} has no parameter {name!r}: choose from {', '.join(known)}."
            )
        kind = type(known[name])
        try:
            if kind is bool:
                out[name] = {"true": True, "false": False}[text.lower()]
            else:
                out[name] = ast.literal_eval(text) if kind in (list, tuple, dict) else kind(text)
            if not isinstance(out[name], kind):
                raise ValueError
        except (ValueError, KeyError, SyntaxError):
            raise ReproError(
                f"The parameter {name} must be of type {kind.__name__}, not {text!r}: correct it."
            ) from None
    return out


def execute(
    jobs: list[tuple[str, dict[str, Any]]],
    profile: str,
    parallel: int = 1,
    tell: Callable[[str], None] = lambda slug: None,
) -> dict[str, str]:
    """Execute notebooks, (slug, parameters) each, into build/notebooks/<profile>/; by slug a sentence on each that failed,
    whose notebook executed before, if there was one, stays in place.

    parallel: processes; more than one only where the runs are stored already. tell(slug) is called after each.
    """
    folder = places.executed() / profile
    folder.mkdir(parents=True, exist_ok=True)
    work = [(slug, given, folder / f"{claims.notebooks()[slug]}.ipynb") for slug, given in jobs]
    if parallel == 1 or len(work) < 2:
        return {item[0]: said for item in work if (said := (_execute(*item), tell(item[0]))[0])}
    places.short_sockets()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["papermill"])  # its import takes a second or two: once for all of them
    failed = {}
    with ProcessPoolExecutor(min(parallel, len(work)), context, _surround, (dict(os.environ),)) as pool:
        try:
            with stopping.held():
                made = {pool.submit(_execute, *item): item[0] for item in work}
            for m in as_completed(made):
                try:
                    failed[made[m]] = m.result()
                except BrokenProcessPool:  # which ends those beside it, too
                    failed[made[m]] = f"A process died at {claims.notebooks()[made[m]]}: run it again, alone."
                tell(made[m])
        except KeyboardInterrupt:
            _end(folder)
            raise
    return {slug: sentence for slug, sentence in failed.items() if sentence}


def _end(folder: Path) -> None:
    """At Ctrl-C: the processes end, and with them their kernels; what they wrote in part is taken away."""
    for process in multiprocessing.active_children():
        process.terminate()
        process.join()
        for partial in folder.glob(f".*.{process.pid}.ipynb"):
            partial.unlink(missing_ok=True)


def _surround(environment: dict[str, str]) -> None:
    os.environ.update(environment)  # a fork server keeps those of its own start
    stopping.end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it reaches the whole group, and what to do is the parent's to decide
    signal.pthread_sigmask(signal.SIG_UNBLOCK, stopping.STOPPING)


def _execute(slug: str, given: dict[str, Any], target: Path) -> str:
    """Execute one notebook; a sentence on what ended it, "" where it ran to its end."""
    import papermill
    from papermill.exceptions import PapermillExecutionError

    source = _source(slug)
    partial = target.with_name(f".{target.stem}.{os.getpid()}.ipynb")
    try:
        papermill.execute_notebook(
            str(source),
            str(partial),
            parameters=given,
            kernel_name="python3",
            progress_bar=False,
            cwd=str(source.parent),
            extra_arguments=["--IPKernelApp.log_level=50"],  # it warns of a network that nobody else is on
        )
    except PapermillExecutionError as e:
        kept = target.with_name(f"{target.stem}.failed.ipynb")
        os.replace(partial, kept)
        value = re.sub(r"\x1b\[[0-9;]*m", "", str(e.evalue))
        what = value if e.ename == "ReproError" else f"{e.ename}: {value} (see {kept})"
        return f"{claims.notebooks()[slug]} stopped in cell {e.exec_count}: {what}"
    except Exception as e:  # a dead kernel or a time-out comes as one of several types
        what = f"{_running(partial)} ({type(e).__name__}: {str(e).partition(chr(10))[0]})"
        partial.unlink(missing_ok=True)
        return f"{claims.notebooks()[slug]} did not finish{what}: run it again to go on."
    except KeyboardInterrupt:
        partial.unlink(missing_ok=True)
        raise
    os.replace(partial, target)
    return ""


def _running(partial: Path) -> str:
    """ " in cell N", the last that began, counted as Jupyter does; papermill writes the notebook at every cell."""
    cells = json.loads(partial.read_text(encoding="utf-8"))["cells"] if partial.exists() else []
    begun = sum(c["cell_type"] == "code" and bool(c["metadata"]["papermill"]["start_time"]) for c in cells)
    return f" in cell {begun}" if begun else ""

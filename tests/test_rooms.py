"""The rooms of the house: who may import whom. Imports inside functions count."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "repro"

TRAINING = {"views", "loader", "core", "data", "ssl"}
GROUND = {"errors", "cores"}  # all may import these
MAY_IMPORT = {  # from the ground up: a room imports only rooms that are listed before it, and the ground
    "errors": set(),
    "cores": set(),
    "stats": set(),
    "views": set(),
    "core": {"views"},
    "loader": {"views", "core"},
    "figures": {"core", "stats"},
    "data": {"views", "loader", "core"},
    "ssl": TRAINING - {"ssl"},
    "detection": TRAINING,
    "theory": {"core", "stats"},
    "bench": TRAINING,
    "claims": TRAINING | {"stats", "figures", "detection", "theory", "bench"},
    "cluster": {"core"},
    "pages": TRAINING | {"stats", "figures", "detection", "theory", "bench", "claims", "cluster"},
    "cli": TRAINING | {"claims", "cluster", "pages"},
    "__init__": {"ssl", "pages"},
    "__main__": {"cli"},
}
UPWARDS = {  # what still imports upwards; this list may only shrink
    "bench.gpu_day": {"claims"},  # it measures the plans of claims
    "bench.long": {"claims"},  # the runs that it times are those of a claim
}


def imported(path: Path) -> set[str]:
    """Dotted names of everything a module imports, functions' own imports included."""
    out = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            out |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: the house imports by full names"
            out |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
    return out


def room(dotted: str) -> str:
    """repro.core.spec -> core"""
    return dotted.split(".")[1]


def rooms_of(path: Path) -> set[str]:
    """The rooms that a module imports from, its own and the ground left out."""
    found = {room(name) for name in imported(path) if name.startswith("repro.")} & MAY_IMPORT.keys()
    return found - {room(name_of(path)), *GROUND}


def name_of(path: Path) -> str:
    return ".".join(("repro", *path.relative_to(PACKAGE).with_suffix("").parts))


MODULES = sorted(PACKAGE.rglob("*.py"))


def test_every_module_is_in_a_room():
    assert {room(name_of(p)) for p in MODULES} == MAY_IMPORT.keys()


def test_the_rooms_have_an_order():
    known: set[str] = set()
    for name, others in MAY_IMPORT.items():
        assert others <= known, name
        known.add(name)


def test_imports_run_downwards():
    upwards = {name_of(p).removeprefix("repro."): rooms_of(p) - MAY_IMPORT[room(name_of(p))] for p in MODULES}
    assert {name: others for name, others in upwards.items() if others} == UPWARDS


def test_a_run_as_a_value_needs_neither_torch_nor_numba():
    code = "import sys, repro.core.profiles; sys.exit(bool({'torch', 'numba'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], cwd=PACKAGE.parent).returncode == 0


@pytest.mark.parametrize("name", sorted(p.parent.name for p in PACKAGE.glob("*/__init__.py")))
def test_a_room_says_what_it_imports_and_who_needs_it(name):
    said = importlib.import_module(f"repro.{name}").__doc__
    assert "May import" in said
    assert "first reader" in said.lower()


HOUSE, READING = 22_407, 3_500  # lines of repro/, and of an afternoon's reading: for the first a commit says why


def lines(paths) -> int:
    return sum(len(p.read_text().splitlines()) for p in paths)


def test_the_house_grows_no_more():
    assert lines(MODULES) <= HOUSE


def test_an_afternoon_is_enough_to_read_the_core():
    makefile = (PACKAGE.parent / "Makefile").read_text()
    listed = re.search(r"(?m)^READING = ((?:.*\\\n)*.*)$", makefile)[1].replace("\\\n", " ").split()
    assert {room(name_of(PACKAGE.parent / path)) for path in listed} == {"core", "views", "ssl", "stats", "claims"}
    assert lines(PACKAGE.parent / path for path in listed) <= READING


def test_no_function_is_longer_than_a_screen():
    """But for a table of options, and the kernel that numba compiles as a whole."""
    long = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno >= 60:
                long[f"{name_of(path)}.{node.name}"] = node.end_lineno - node.lineno + 1
    assert long.keys() <= {"repro.cli._parser", "repro.loader.compiled.make_views"}, long


def offends(patterns: list[str], banned: set[str]) -> list[str]:
    paths = [p for pattern in patterns for p in sorted(PACKAGE.glob(pattern))]
    assert paths, patterns
    return [f"{p}: {n}" for p in paths for n in imported(p) if any(n == b or n.startswith(b + ".") for b in banned)]


def test_a_loss_knows_no_network():
    banned = {"repro.ssl.networks", "repro.ssl.methods", "repro.ssl.train", "torch.nn.Module"}
    assert not offends(["ssl/losses.py"], banned)


def test_claims_and_figures_do_not_train():
    banned = {"repro.ssl.train", "repro.core.sweep", "repro.core.store.Store", "repro.ssl.optim", "repro.pages.execute"}
    patterns = ["claims/*.py", "figures/*.py", "pages/table.py", "stats.py", "pages/gallery/*.py"]
    assert not offends(patterns, banned)

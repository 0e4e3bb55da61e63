"""`repro new-claim` writes a claim that runs: measured at smoke in a copy of the tree, it is in table and gallery."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from repro.claims.registry import load
from repro.errors import ReproError
from repro.pages import execute, new_claim

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of what a checkout has, but for its results."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "repro", root / "repro")  # with the kernels that are compiled already
    for name in ("notebooks", "tests"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, root / name)
    (root / "figures").mkdir()
    return root


def do(root: Path, *command: str) -> str:
    places = {f"REPRO_{name}": str(root / "build" / name.lower()) for name in ("STORE", "FIGURES")}
    env = {**os.environ, **places, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-m", *command], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def test_a_claim_is_made_measured_and_shown(tree):
    before = list(load().claims)
    written = do(tree, "repro", "new-claim", "C16", "projector_depth", "--paper", "small_projectors").splitlines()[:4]
    assert written == [
        "repro/claims/registry.toml", "repro/claims/projector_depth.py", "notebooks/15_projector_depth.ipynb",
        "tests/test_claim_projector_depth.py",
    ]  # fmt: skip
    lines = [line for name in written if name.endswith(".py") for line in (tree / name).read_text().splitlines()]
    assert len(lines) <= 60 + 1
    added = load(tree / "repro" / "claims" / "registry.toml")
    at = next(i for i, claim in enumerate(before) if claim > "D")
    assert list(added.claims) == [*before[:at], "C16", *before[at:]]
    assert added.claims["C16"].paper == "small_projectors"
    assert list(added.notebooks)[-1] == "projector_depth"

    do(tree, "repro", "run", "projector_depth", "--profile", "smoke", "--workers", "1")
    table = do(tree, "repro", "claims", "--markdown", "--figures", str(tree / "build" / "figures"))
    row = next(line for line in table.splitlines() if line.startswith("| [C16](notebooks/15_projector_depth.ipynb) "))
    assert "Accuracy rises with the number of layers of the projector." in row
    page = (tree / "build" / "gallery" / "smoke" / "projector_depth.html").read_text()
    assert 'id="figure-C16"' in page
    assert 'id="verdict-C16"' in page
    assert "projector_depth.html" in (tree / "build" / "gallery" / "index.html").read_text()

    names = (written[2], "build/notebooks/smoke/15_projector_depth.ipynb")
    made, executed = (nbformat.read(tree / name, 4).cells for name in names)
    texts = {  # a kernel under load sends one line in several pieces
        c.source: "".join(o.text for o in c.outputs if o.get("name") == "stdout") for c in executed if "outputs" in c
    }
    compared = [c for c in made if "nbval-check-output" in c.metadata.get("tags", [])]
    assert len(compared) == 2
    assert [c.outputs[0].text for c in compared] == [texts[c.source] for c in compared]
    tests = ["tests/test_claim_projector_depth.py", "tests/test_rules.py", "tests/test_registry.py"]
    mine = "projector_depth or C16 or every_claim_once"
    assert " passed" in do(tree, "pytest", *tests, "-q", "-k", mine, "-p", "no:cacheprovider")


def test_a_claim_takes_its_place_among_those_of_its_letter(tmp_path):
    for path in ("repro/claims", "notebooks", "tests"):
        (tmp_path / path).mkdir(parents=True)
    shutil.copy(ROOT / "repro" / "claims" / "registry.toml", tmp_path / "repro" / "claims")
    letters = [claim[0] for claim in load().claims]
    number = 1 + letters.count("A")
    new_claim.write(f"A{number}", "one_more", "democratizing", 'It "holds".', root=tmp_path)
    new_claim.write("D2", "our_own", root=tmp_path)
    found = load(tmp_path / "repro" / "claims" / "registry.toml")
    assert [claim[0] for claim in found.claims] == sorted([*letters, "A", "D"])
    assert found.claims[f"A{number}"].claim == 'It "holds".'
    assert (found.claims["D2"].paper, found.papers[""].title) == ("", "Claims of our own")
    assert found.takeaways == load().takeaways


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("A1", "depth"), "'A1' cannot be a new claim"),
        (("depth", "depth"), "give a letter and a number that no claim has"),
        (("C99", "batch_size"), "'batch_size' cannot be a new notebook"),
        (("C99", "My claim"), "give lower-case words"),
        (("C99", "depth", "attention"), "There is no paper 'attention': choose from democratizing"),
    ],
)
def test_a_wrong_name_is_refused_in_one_sentence(given, message):
    with pytest.raises(ReproError, match=message):
        new_claim.write(*given)


def test_a_copied_notebook_cannot_run_another_study(tmp_path, monkeypatch):
    shutil.copy(ROOT / "notebooks" / "01_batch_size.ipynb", tmp_path / "02_augmentations.ipynb")
    monkeypatch.setattr(execute.places, "notebooks", lambda: tmp_path)
    with pytest.raises(ReproError, match=r"runs the study 'batch_size': write its own, repro.study\('augmentations'"):
        execute.parameters("augmentations")

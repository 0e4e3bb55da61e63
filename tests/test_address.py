"""The repository's public address: written by one command, and used where it is known."""

import json
import runpy
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

from repro.core import places
from repro.pages import execute

ROOT = Path(__file__).parents[1]
main = runpy.run_path(str(ROOT / ".ci" / "address.py"))["main"]


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """What the command writes to, in a copy that has an address."""
    monkeypatch.delenv("GITHUB_REPOSITORY", raising=False)
    for name in ("pyproject.toml", "README.md", "CITATION.cff"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns(".*"))
    monkeypatch.setattr(places, "root", lambda: tmp_path)
    main("someone/companion", tmp_path)
    return tmp_path


def cell(tree, notebook="00_start_here"):
    return "".join(json.loads((tree / "notebooks" / f"{notebook}.ipynb").read_text())["cells"][1]["source"])


def test_it_is_known_afterwards_and_written_once(tree, monkeypatch):
    assert places.address() == "someone/companion"
    before = {p: p.read_bytes() for p in tree.rglob("*") if p.is_file()}
    main("someone/companion", tree)
    assert {p: p.read_bytes() for p in before} == before
    main("another/name", tree)
    assert places.address() == "another/name"
    for name in ("pyproject.toml", "README.md", "CITATION.cff", "notebooks/02_augmentations.ipynb"):
        assert "another/name" in (tree / name).read_text()
        assert "someone/companion" not in (tree / name).read_text()
    monkeypatch.setenv("GITHUB_REPOSITORY", "fork/of-it")
    assert places.address() == "fork/of-it"
    (tree / "pyproject.toml").write_text("[project]\n")  # its notebooks install nothing in Colab
    assert places.address() == ""


def test_a_notebook_installs_the_repository_in_colab_and_nowhere_else(tree, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(subprocess, "run", lambda command, check: asked.append(command))
    monkeypatch.chdir(tmp_path)
    exec(cell(tree), {})
    assert asked == []
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "companion" / "notebooks").mkdir(parents=True)
    exec(cell(tree), {})
    assert asked[0][-2:] == ["https://github.com/someone/companion", "companion"]
    assert asked[1][-4:] == ["install", "-q", "-e", "companion"]
    assert Path.cwd() == tmp_path / "companion" / "notebooks"


def test_the_parameters_stay_where_papermill_finds_them(tree):
    assert execute.parameters("augmentations")["profile"] == "smoke"


def test_what_is_no_address_is_refused(tree):
    with pytest.raises(SystemExit, match="OWNER/NAME"):
        main("https://example.org/x", tree)

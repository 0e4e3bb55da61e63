"""The rules of the house that a test can hold: what a notebook may contain, what is tracked (`test_rooms.py`: imports)."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import yaml

from repro import claims
from repro.pages import execute, table

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_measuring_needs_neither_ffcv_nor_papermill_nor_jupyter(tmp_path):
    code = f"""
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"ffcv", "papermill", "IPython", "jupyterlab", "nbformat", "nbclient", "nbconvert",
                                   "ipywidgets", "ipykernel", "jupyter_client"}}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocked())
from repro.cli import main
sys.exit(main(["measure", "feature_learning_2d", "--profile", "smoke", "--workers", "1",
               "--store", {str(tmp_path / "store")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "52 of 52 runs stored in" in done.stdout


def test_ffcv_was_built():
    ffcv = pytest.importorskip(
        "ffcv", reason="FFCV could not be built here: the torchvision loader is used", exc_type=ImportError
    )
    assert hasattr(ffcv, "Loader")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_notebooks_keep_the_form(path):
    nb = nbformat.read(path, as_version=4)
    assert execute.parameters({name: slug for slug, name in claims.notebooks().items()}[path.stem])
    assert nb.metadata["kernelspec"]["name"] == "python3"
    assert path.stat().st_size < 200_000
    code = [c for c in nb.cells if c.cell_type == "code"]
    parameters = [c for c in code if "parameters" in c.metadata.get("tags", [])]
    assert len(parameters) == 1
    assigned = ast.parse(parameters[0].source).body
    assert 1 <= len(assigned) <= 8
    for node, line in zip(assigned, parameters[0].source.splitlines()):
        assert isinstance(node, ast.AnnAssign), "parameters are typed"
        assert "#" in line, "parameters are commented"
    assert {n.target.id: ast.literal_eval(n.value) for n in assigned}["profile"] == "smoke"
    for cell in code:
        assert not re.search(r"(?m)^\s*[!%]", cell.source)
        assert not any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in ast.walk(ast.parse(cell.source)))
        assert "sys.path" not in cell.source
        assert not re.search(r"""["']/[A-Za-z]""", cell.source)
        checked = "nbval-check-output" in cell.metadata.get("tags", [])
        assert bool(cell.execution_count) == checked, "outputs are kept where nbval compares them, and nowhere else"
        assert bool(cell.outputs) == checked
    assert any(c.execution_count for c in code), "nbval would compare nothing"
    assert nb.cells[0].source.startswith("# ")


def test_nbval_notices_a_changed_number(tmp_path):
    """The smallest notebook with one compared cell: as it is it passes, with its number changed it fails."""
    nb = nbformat.v4.new_notebook(
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    )
    cell = nbformat.v4.new_code_cell("print(6 * 7)", execution_count=1, metadata={"tags": ["nbval-check-output"]})
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="42\n")]
    nb.cells = [cell]
    path = tmp_path / "one.ipynb"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--nbval-lax",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
        str(path),
    ]
    for text, expected in (("42\n", 0), ("43\n", 1)):
        cell.outputs[0].text = text
        nbformat.write(nb, path)
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == expected, done.stdout[-1500:]


def test_environment_yml_equals_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = project["dependency-groups"]
    wanted = {*project["project"]["dependencies"], *groups["ffcv"], *groups["dev"], "-e ."}
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(item["pip"] for item in listed if isinstance(item, dict))
    assert set(pip) == wanted
    assert f"python{project['project']['requires-python']}" in listed


def test_the_lock_file_is_current_and_names_public_hosts_only():
    text = (ROOT / "uv.lock").read_text()
    assert {re.match(r"https?://([^/]+)", u)[1] for u in re.findall(r'"(https?://[^"]+)"', text)} <= {
        "pypi.org", "files.pythonhosted.org"
    }  # fmt: skip
    locked = {p["name"] for p in tomllib.loads(text)["package"]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.match(r"[a-z0-9_-]+", d)[0] for d in project["dependencies"]} <= locked


def test_readme_maps_every_room():
    rooms = [p.name + "/" * p.is_dir() for p in (ROOT / "repro").iterdir() if not p.name.startswith("_")]
    text = (ROOT / "README.md").read_text().partition("## The map")[2]
    assert [name for name in rooms if name not in text] == []


def test_readme_shows_the_table_of_claims():
    text, filled = table.filled(ROOT / "README.md", table.rows(ROOT / "figures", ROOT / "notebooks"))
    assert filled == text


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_tracked_files_are_small_and_name_no_machine():
    machine = re.compile(r"/(?:home|Users|root|work|mnt)/[a-z]")
    for path in tracked():
        if path.is_relative_to(ROOT / "tests"):  # tests make up paths of machines on purpose
            continue
        assert path.stat().st_size < 1_000_000 or path.name == "uv.lock", path
        if path.suffix in (".py", ".md", ".toml", ".ipynb", ".yml", ".json", ".jsonl", ".svg", ""):
            assert not machine.search(path.read_text(errors="ignore")), path


def test_top_level_is_the_users():
    allowed = {"notebooks", "repro", "data_prep", "figures", "tests", "environment.yml", "pyproject.toml", "uv.lock",
               "Makefile", "README.md", "TROUBLE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "CITATION.cff",
               "codecheck.yml", ".ci", ".github", ".devcontainer", ".binder", "Dockerfile", ".dockerignore",
               ".gitignore"}  # fmt: skip
    assert {p.relative_to(ROOT).parts[0] for p in tracked()} <= allowed

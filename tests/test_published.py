"""What others run from this repository: the workflow, the containers, the pages of trouble and of citation."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import tomllib
from pathlib import Path

import codecheck
import pytest
import yaml

from repro import claims

ROOT = Path(__file__).resolve().parent.parent
JOBS = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
SCRIPTS = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]


def test_the_workflow_tests_and_publishes_what_was_built():
    assert list(JOBS) == ["test", "lowest", "gallery"]
    assert any("--resolution lowest-direct" in step.get("run", "") for step in JOBS["lowest"]["steps"])
    assert JOBS["test"]["steps"][-1] == {"run": "make test"}
    gallery = JOBS["gallery"]
    assert gallery["needs"] == "test", "a red test publishes nothing"
    assert gallery["permissions"] == {"contents": "read", "pages": "write", "id-token": "write"}
    used = {step["uses"].partition("@")[0]: step for step in gallery["steps"] if "uses" in step}
    assert used["actions/upload-pages-artifact"]["with"] == {"path": "build/gallery"}
    assert list(used)[-1] == "actions/deploy-pages"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda s: s.splitlines()[-1])
def test_a_step_is_a_script_that_anybody_can_run(script):
    assert "${{" not in script
    assert subprocess.run(["bash", "-n", "-c", script], check=False).returncode == 0
    for command in re.findall(r"(?m)^make .*", script):
        done = subprocess.run(["make", "-n", *command.split()[1:]], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "notebooks/00_start_here.ipynb"])
def test_the_claim_that_a_reader_is_told_to_add_is_new(name):
    claim, slug = re.search(r"repro new-claim (\w+) (\w+)", (ROOT / name).read_text()).groups()
    registry = claims.registry.load()
    assert claim not in registry.claims
    assert slug not in registry.notebooks


def test_containers_build_the_locked_environment_by_ci_setup():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["postCreateCommand"] == ".ci/setup"
    docker = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"(?m)^RUN (.*)", docker) == [".ci/setup"]
    pythons = re.findall(r"python:(3\.\d+)", docker + container["image"])
    assert pythons == [
        step["with"]["python-version"]
        for name, job in JOBS.items()
        for step in job["steps"]
        if name != "lowest" and "with" in step and "python-version" in step["with"]
    ]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".venv", "build", "data"} <= set(ignored), "what a checkout holds by itself stays out of the image"


# what other programs say
FOREIGN = {"cannot execute 'cc1plus'", "Python.h: No such file", "No module named 'fcntl'", "No module named 'repro'",
           "Bus error", "/dev/shm", "cannot cache function", "Permission denied", "~"}  # fmt: skip


def test_trouble_quotes_what_the_code_says():
    sources = [*(ROOT / "repro").rglob("*.py"), *(ROOT / "data_prep").glob("*.py")]
    said = {n.value for p in sources for n in ast.walk(ast.parse(p.read_text())) if isinstance(n, ast.Constant)}
    text = "\n".join([*(s for s in said if isinstance(s, str)), (ROOT / ".ci/setup").read_text()])
    seen = re.findall(r"(?m)^\| (.*?) \| ", (ROOT / "TROUBLE.md").read_text())
    quoted = {quote for cell in seen for quote in re.findall("`([^`]+)`", cell)}
    assert len(quoted) > 20
    assert sorted(quote for quote in quoted - FOREIGN if quote not in text) == []


def test_codecheck_lists_the_committed_figures():
    """After new figures: `make same-update`."""
    assert codecheck.FILE.read_text() == codecheck.text()
    listed = yaml.safe_load(codecheck.FILE.read_text())["manifest"]
    assert all((ROOT / entry["file"]).is_file() for entry in listed)
    readme = re.findall(r'(?:\]\(|src=")(figures/[^)"]+\.svg)', (ROOT / "README.md").read_text())
    assert readme
    assert set(readme) <= {entry["file"] for entry in listed}
    assert set(claims.notebooks()) <= {entry["comment"].rpartition("NOTEBOOKS=")[2] for entry in listed}


def test_the_citation_is_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["version"], cited["license"]) == (project["version"], project["license"])
    days = re.findall(r"(?m)^## (\S+)", (ROOT / "CHANGELOG.md").read_text())
    assert days == sorted(days, reverse=True)
    assert days[0] == str(cited["date-released"])
    assert [r["url"] for r in cited["references"]] == [p.url for p in claims.registry.load().papers.values() if p.url]


@pytest.mark.parametrize("name", ["README.md", "TROUBLE.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_of_the_pages_lead_somewhere(name):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / name).read_text()):
        assert (ROOT / target).exists(), target

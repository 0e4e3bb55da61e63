"""What others run from this repository: the workflow, the containers, the pages of trouble and of citation."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
JOBS = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
SCRIPTS = [step["run"] for job in JOBS.values() for step in job["steps"] if "run" in step]


def test_the_workflow_tests_and_publishes_what_was_built():
    assert list(JOBS) == ["test", "gallery"]
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


def test_containers_build_the_locked_environment_by_ci_setup():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["postCreateCommand"] == ".ci/setup"
    docker = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"(?m)^RUN (.*)", docker) == [".ci/setup"]
    pythons = re.findall(r"python:(3\.\d+)", docker + container["image"])
    assert pythons == [
        step["with"]["python-version"]
        for job in JOBS.values()
        for step in job["steps"]
        if "with" in step and "python-version" in step["with"]
    ]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {".venv", "build", "data"} <= set(ignored), "what a checkout holds by itself stays out of the image"

"""The stored results are read without what trains: Binder's environment (`.binder/`) has neither torch nor numba."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from repro import claims
from repro.bench import loss, specs
from repro.claims import msr_transfer
from repro.core import profiles
from repro.core.spec import RunSpec
from repro.data import objects

ROOT = Path(__file__).resolve().parent.parent
READ = """
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "torchvision", "ffcv", "numba", "sklearn", "pycocotools", "papermill",
                                  "nbconvert", "nbformat", "bs4", "jinja2", "latex2mathml"}:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import repro
from repro import claims
from repro.pages import explore

words = {}
for slug in [slug for slug in claims.notebooks() if slug != "your_own_method"]:  # a reader's file may import what it will
    study = repro.study(slug, "quick", results="stored")
    runs = repro.measure(study)
    words[slug] = {c.id: repro.judge(study, runs, c.id).verdict for c in study.claims}
    if slug == "batch_size":
        repro.costs(study)
        repro.show(study, runs, "A4")
        repro.verdict(study, runs, "A4")
        explore.batch_size(study, runs)
print(json.dumps(words))
"""


def test_stored_results_are_judged_and_drawn_without_torch(tmp_path):
    own = {"REPRO_FIGURES": str(tmp_path / "figures"), "REPRO_STORE": str(tmp_path / "store")}
    done = subprocess.run(
        [sys.executable, "-c", READ], cwd=ROOT, env={**os.environ, **own}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == [slug for slug in claims.notebooks() if slug != "your_own_method"]
    for slug, words in found.items():
        file = ROOT / "figures/quick" / slug / "verdicts.json"
        committed = {k: v["verdict"] for k, v in json.loads(file.read_text()).items()} if file.exists() else {}
        assert {k: word for k, word in words.items() if k in committed} == committed
    assert (tmp_path / "figures/quick/batch_size/A4.svg").stat().st_size > 1000


def test_binder_has_the_projects_own_requirements():
    lines = (ROOT / ".binder/requirements.txt").read_text().splitlines()
    wanted = {line for line in lines if not line.startswith("#")}
    project = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    assert wanted <= project
    assert not {name for name in wanted if re.match("torch|numba", name)}


def test_what_is_written_down_to_spare_an_import_agrees_with_the_source():
    assert tuple(loss.WAYS) == specs.FORMS
    plan = msr_transfer.CLAIMS[-1].plan(profiles.profile("quick", "objects"))
    widths = {s.projector.dim for s in plan if isinstance(s, RunSpec) and type(s.method).__name__ == "Supervised"}
    widths |= {
        s.start.projector.dim for s in plan if hasattr(s, "start") and type(s.start.method).__name__ == "Supervised"
    }
    assert widths == {len(objects.SHAPES)}

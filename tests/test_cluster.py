"""The way to a cluster: the script, a plan's state, and a real Slurm where its packages are installed."""

import json
import math
import subprocess
import time
from pathlib import Path

import pytest

from repro import cluster
from repro.core import sweep
from repro.core.spec import key
from repro.errors import ReproError


def test_a_time_limit_is_read_as_sbatch_reads_it():
    cases = {"60": 60, "90:30": 91, "02:00:00": 120, "1-0": 1440, "1-12": 2160, "1-02:30": 1590, "2-00:00:30": 2881}
    assert {text: cluster.minutes(text) for text in cases} == cases
    for text in ("", "an hour", "1-", "-5", "1", "1:2:3:4", "0-0"):
        with pytest.raises(ReproError, match="time"):
            cluster.minutes(text)


def test_an_array_fits_its_plan():
    assert cluster.tasks("20%4", 5, 1.0, 60) == (20, 4)
    assert cluster.tasks("7", 5, 1.0, 60) == (7, 7)
    assert cluster.tasks("auto", 500, 10.0, 60) == (10, 10)
    assert cluster.tasks("auto", 6, 10.0, 60) == (6, 6)  # no more tasks than runs
    assert cluster.tasks("auto", 6, 0.0, 60) == (6, 6)
    assert cluster.tasks("auto", 10**6, 10.0**9, 60) == (cluster.LARGEST, cluster.LARGEST)
    for text in ("0", "4%0", "4%", "x", "1001", "-1"):
        with pytest.raises(ReproError, match="K%N"):
            cluster.tasks(text, 5, 1.0, 60)


def test_the_script_is_readable_and_quotes_what_it_must(tmp_path):
    text = cluster.script(["batch_size", "--data", "my photos"], Path("/shared/store"), 8, 4, 60, ["--gres=gpu:1"])
    for line in ("#SBATCH --array=0-7%4", "#SBATCH --time=60", "#SBATCH --gres=gpu:1", "trap : TERM"):
        assert line in text.splitlines()
    assert "measure batch_size --data 'my photos' --store /shared/store" in text
    assert '--share "$SLURM_ARRAY_TASK_ID/8" --minutes 55' in text
    path = tmp_path / "script.sh"
    path.write_text(text)
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0


def test_the_state_of_a_plan(tiny, store):
    specs = [tiny(epochs=1, seed=seed) for seed in range(6)]
    sweep.measure(specs[:2], store, 1, quiet=True)
    now = {"host": "node7", "since": time.time(), "at": time.time(), "step": 3, "steps": 8}
    signs = (now, {**now, "at": time.time() - 3600}, {**now, "error": "no room"})
    for spec, sign in zip(specs[2:], signs):
        (store.scratch(key(spec)) / "now.json").write_text(json.dumps(sign))
    found = cluster.status(specs, store)
    assert (found.stored, found.diverged, found.waiting, found.stopped) == (2, 0, 1, 1)
    assert "on node7 since" in found.running[0]
    assert "step 3 of 8" in found.running[0]
    assert found.failed == [f"{key(specs[4])}: no room"]
    assert found.seconds > 0
    for part in ("2 stored", "1 running", "1 stopped with a checkpoint", "1 waiting", "1 failed", "left on one worker"):
        assert part in found.line()
    assert math.isnan(cluster.status(specs[5:], store).seconds)

"""How many cores a process counts, and where its commit comes from."""

import math
import os

import pytest

from repro import cores
from repro.core import provenance


@pytest.fixture
def machine(monkeypatch):
    """Eight cores, no Slurm, no quota."""
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "quota", lambda: math.inf)
    return monkeypatch


def test_slurm_knows_best_then_affinity_and_quota(machine):
    assert cores.cores() == 8
    machine.setattr(cores, "quota", lambda: 2.5)
    assert cores.cores() == 2
    machine.setattr(cores, "quota", lambda: 0.5)
    assert cores.cores() == 1
    machine.setenv("SLURM_CPUS_PER_TASK", "4")
    assert cores.cores() == 4
    machine.setenv("SLURM_CPUS_PER_TASK", "many")
    assert cores.cores() == 1


def test_macos_has_no_affinity(machine):
    machine.delattr(os, "sched_getaffinity")
    machine.setattr(os, "cpu_count", lambda: 10)
    assert cores.cores() == 10


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, math.inf),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4.0),
    ],
)
def test_the_quota_of_a_control_group(tmp_path, files, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cores.quota(tmp_path) == expected


def test_a_given_commit_wins_over_git(monkeypatch):
    monkeypatch.setenv("REPRO_COMMIT", "0123456789ab")
    assert provenance.commit.__wrapped__() == "0123456789ab"
    monkeypatch.delenv("REPRO_COMMIT")
    before = provenance.commit.__wrapped__()
    assert before != "0123456789ab"
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as in a checkout that is another user's
    assert provenance.commit.__wrapped__() == before

"""The way to a cluster: the script, a plan's state, and a real Slurm where its packages are installed."""

import errno
import json
import math
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

from repro import cli, cluster
from repro.core import sweep
from repro.core.spec import key
from repro.core.store import Store, _tell_no_locks
from repro.errors import ReproError
from repro.pages import notebook


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
    text = cluster.script(
        ["batch_size", "--data", "my photos"], Path("/shared/store"), 8, 4, 60, ["--gres", "gpu:1", "-p", "main"]
    )
    for line in (
        "#SBATCH --array=0-7%4",
        "#SBATCH --time=60",
        "#SBATCH --gres gpu:1",
        "#SBATCH -p main",
        "trap : TERM",
    ):
        assert line in text.splitlines()
    assert "measure batch_size --data 'my photos' --store /shared/store" in text
    assert '--share "$SLURM_ARRAY_TASK_ID/8" --minutes 55' in text
    path = tmp_path / "script.sh"
    several = cluster.script(["a"], tmp_path, 8, 4, 60, [], nodes=2, gpus=8)
    for script in (text, several):
        path.write_text(script)
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    assert "#SBATCH --nodes=2 --ntasks-per-node=4 --gpus-per-node=4\n" in several
    assert "\nsrun --kill-on-bad-exit=0 ${SLURM_CPUS_PER_TASK:+--cpus-per-task=$SLURM_CPUS_PER_TASK} " in several
    for nodes, gpus in ((3, 8), (2, 0), (0, 1), (1, -1)):
        with pytest.raises(ReproError, match="cannot be shared equally"):
            cluster.script([], tmp_path, 1, 1, 60, [], nodes, gpus)


@pytest.mark.parametrize(
    ("nodes", "first"), [("node[03-04,7]", "node03"), ("a1,b2", "a1"), ("gpu", "gpu"), ("r[1-2]n[5,6]-ib", "r1n5-ib")]
)
def test_sruns_tasks_are_ranks(monkeypatch, nodes, first):
    batch = {"SLURM_JOB_ID": "123456", "SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_LOCALID": "0"}
    step = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NODELIST": nodes, "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
    monkeypatch.setattr(os, "environ", batch)  # of the script itself, beside its tasks
    assert not cluster.several()
    monkeypatch.setattr(os, "environ", batch | step)
    assert cluster.several()
    assert [os.environ[k] for k in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")] == ["3", "4", "1", first]
    assert 1024 < int(os.environ["MASTER_PORT"]) < 2**16
    monkeypatch.setattr(os, "environ", batch | step | {"SLURM_STEP_NUM_TASKS": "1"})
    assert not cluster.several()


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


def test_claims_named_are_measured_and_judged_alone_and_notebooks_whole(tmp_path, capsys):
    given = ["--profile", "smoke", "--store", str(tmp_path)]
    assert cli.main(["measure", "a18", "--workers", "1", *given]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1].startswith("A18: not judged. ")
    assert len(out) == 2
    study = notebook.study("in_passing", "smoke")
    wanted = {c.id: {key(s) for s in study.plan(c)} for c in study.claims}
    assert set(Store(tmp_path).keys()) == wanted["A18"]
    assert cli.main(["status", "A18", "B13", "start_here", "A18", *given]) == 0
    out = capsys.readouterr().out.splitlines()
    waiting = len(wanted["B13"] - wanted["A18"])
    assert out[0].startswith(f"in_passing: {len(wanted['A18'])} stored, {waiting} waiting")
    assert out[1].startswith(f"start_here: 0 stored, {len(notebook.study('start_here', 'smoke').specs)} waiting")
    for words in (["A18", "in_passing"], ["in_passing", "A18"]):  # a notebook named is meant whole
        assert cli.main(["status", *words, *given]) == 0
        assert f"{len(study.specs) - len(wanted['A18'])} waiting" in capsys.readouterr().out
    assert cli.main(["submit", "A18", "--dry-run", *given]) == 0
    assert "measure A18 --profile smoke" in capsys.readouterr().out


def test_shares_are_disjoint_and_whole_and_each_helps_with_the_rest(tiny):
    specs = {str(i): i for i in range(11)}
    orders = [list(sweep._own_first(specs, i, 3)) for i in range(3)]
    own = [order[: len(range(i, 11, 3))] for i, order in enumerate(orders)]
    assert sorted(n for part in own for n in part) == sorted(specs)
    assert all(sorted(order) == sorted(specs) for order in orders)
    for text in ("3/3", "a", "1", "-1/3", "1/0"):
        with pytest.raises(ReproError, match="A share is i/K"):
            cluster.share(text)


def test_a_worker_leaves_when_others_are_at_all_that_is_left(tiny, store):
    specs = [tiny(epochs=1, seed=seed) for seed in range(2)]
    with store.claim(key(specs[0])) as mine:
        assert mine
        began = time.monotonic()
        records = sweep.measure(specs, store, 1, quiet=True, share=(0, 2))
    assert [r.spec["seed"] for r in records] == [1]
    assert time.monotonic() - began < 60


def test_a_spent_budget_has_an_exit_code_of_its_own(tmp_path, capsys):
    words = ["measure", "start_here", "--profile", "smoke", "--workers", "1", "--store", str(tmp_path)]
    assert cli.main([*words, "--minutes", "0.0001"]) == cluster.AGAIN
    assert "run the same command to go on" in capsys.readouterr().err
    assert cli.main([*words, "--share", "2/2"]) == 2
    assert cli.main(["status", "start_here", "--profile", "smoke", "--store", str(tmp_path)]) == 0
    said = capsys.readouterr().out  # the floor's run takes an instant, and may be through
    assert re.match(r"start_here: \d stored, [12]\d waiting", said)


def test_what_is_missing_at_paper_is_told_in_hours_of_a_gpu(store, capsys):
    study, args = notebook.study("start_here", "paper", seeds=1), Namespace(profile="paper", workers=0)
    cli._tell_time([study], store, args)
    said = capsys.readouterr().err
    assert re.match(
        rf"{len(study.specs)} runs to measure, estimated [1-9]\d* h on one A100 or [1-9]\d* h on eight: ", said
    )


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_one_sentence_and_measuring_goes_on(tiny, store, monkeypatch, capsys, code):
    def flock(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("repro.core.store.fcntl.flock", flock)
    _tell_no_locks.cache_clear()
    assert len(sweep.measure([tiny(epochs=1, seed=s) for s in range(2)], store, 1, quiet=True)) == 2
    assert capsys.readouterr().err.count("has no locks: give each process its own --share") == 1


# --- a real Slurm -----------------------------------------------------------------------------------------------------

CONF = """
ClusterName=t
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/none
CredType=cred/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MpiDefault=none
JobRequeue=1
KillWait=20
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 RealMemory=2000 Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """A controller and one node on the loopback address, without systemd; SLURM_CONF names them."""
    if not all(shutil.which(name) for name in ("slurmctld", "slurmd", "sbatch")) or os.getuid():
        pytest.skip("needs root, and Slurm: apt-get install slurmctld slurmd slurm-client munge")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    ports = []
    for _ in range(2):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            ports.append(s.getsockname()[1])
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(CONF.format(host=host, ports=ports, folder=folder))
    (folder / "gres.conf").write_text("Name=gpu Count=2 File=/dev/null,/dev/zero\n")  # which nobody opens
    version = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, check=True).stdout.split()[1]
    if version >= "23.11":  # looks for cgroups at its start unless told not to; older ones know no such word
        (folder / "cgroup.conf").write_text("CgroupPlugin=disabled\n")
    env = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf"), "OMP_NUM_THREADS": "1"}
    for daemon in ("slurmctld", "slurmd"):
        subprocess.run([daemon, "-c", "-f", env["SLURM_CONF"]], env=env, check=True, capture_output=True)
    for _ in range(60):
        if (
            "idle"
            in subprocess.run(["sinfo", "-h", "-o", "%t"], env=env, capture_output=True, text=True, check=False).stdout
        ):
            break
        time.sleep(0.5)
    else:
        pytest.skip("Slurm's node did not become idle here")
    yield env
    for daemon in ("slurmd", "slurmctld"):
        number = folder / f"{daemon}.pid"
        if number.exists():
            subprocess.run(["kill", number.read_text().strip()], check=False)


def run(env, *words: str) -> str:
    return subprocess.run(words, env=env, capture_output=True, text=True, check=True).stdout


def wait_for(env, job: str, seconds: float = 240) -> None:
    """Wait until all tasks of a job are over. One that was requeued waits for two minutes, unless it is told that its time
    is now."""
    for _ in range(int(seconds)):
        states = run(env, "squeue", "-h", "-j", job, "--states=all", "-o", "%T").split()
        if set(states) <= {"COMPLETED"}:
            return
        if "PENDING" in states:
            update = ["scontrol", "update", f"jobid={job}_0", "StartTime=now"]
            subprocess.run(update, env=env, capture_output=True, check=False)
        time.sleep(1)
    raise AssertionError(run(env, "squeue", "--states=all"))


def test_an_array_measures_a_notebook_once(slurm, tmp_path, monkeypatch):
    """Four tasks, two at once, share a store; one of the first two is requeued in the middle of its work."""
    for name in ("SLURM_CONF", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, slurm[name])
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parent.parent))
    store = tmp_path / "store"
    words = ["submit", "start_here", "--profile", "smoke", "--store", str(store), "--array", "4%2", "--time", "30"]
    assert cli.main([*words, "--mem=100"]) == 0
    job = run(slurm, "squeue", "-h", "-o", "%A").split()[0]
    logs = store / "slurm"
    time.sleep(3)
    run(slurm, "scontrol", "requeue", f"{job}_0")
    wait_for(slurm, job)
    text = "".join(p.read_text() for p in logs.glob("*.log"))
    assert "Traceback" not in text, text
    specs = list(notebook.study("start_here", "smoke").specs.values())
    assert set(Store(store).keys()) == {key(s) for s in specs}
    assert cluster.status(specs, Store(store)).line() == f"{len(specs)} stored"
    here = sweep.measure(specs[-1:], Store(tmp_path / "here"), 1, quiet=True)[0]
    assert Store(store).get(here.key).metrics == here.metrics


def test_two_tasks_train_a_run_together(slurm, tmp_path, monkeypatch):
    for name in ("SLURM_CONF", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, slurm[name])
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parent.parent))
    store = tmp_path / "store"
    words = ["submit", "start_here", "--profile", "smoke", "--seeds", "1", "--store", str(store), "--array", "1"]
    assert cli.main([*words, "--time", "30", "--gpus-per-run", "2", "--mem=100"]) == 0
    wait_for(slurm, run(slurm, "squeue", "-h", "-o", "%A").split()[0])
    text = "".join(p.read_text() for p in (store / "slurm").glob("*.log"))
    assert "Traceback" not in text, text
    specs = list(notebook.study("start_here", "smoke", seeds=1).specs.values())
    assert set(Store(store).keys()) == {key(s) for s in specs}
    there = Store(store).get(key(specs[0]))
    assert there.provenance["world_size"] == 2
    here = sweep.measure(specs[:1], Store(tmp_path / "here"), 1, quiet=True)[0]
    assert there.curves["loss"] == pytest.approx(here.curves["loss"], rel=1e-3)


def test_sigterm_to_torchrun_writes_a_checkpoint_in_time(tmp_path):
    """Before torchrun kills its ranks, after 30 seconds. That the run goes on from there is in tests/test_ranks.py."""
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "repro"]
    words += ["measure", "start_here", "--profile", "quick", "--store", str(tmp_path)]
    env = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parent.parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env)
    with process:
        # the first run waits for imports and compilers
        while process.poll() is None and not any(p.stat().st_size for p in tmp_path.glob(".work-*/epochs.jsonl")):
            time.sleep(0.1)
        told = time.time()
        process.terminate()
        _, err = process.communicate(timeout=300)
    assert "repro: stopped; the same command goes on from here." in err, err
    assert "forcefully" not in err  # torchrun's word after 30 seconds
    (checkpoint,) = tmp_path.glob(".work-*/checkpoint.pt")
    assert checkpoint.stat().st_mtime > told


def test_a_task_whose_minutes_are_spent_is_requeued(slurm, tmp_path):
    measure = tmp_path / "measure"
    measure.write_text(f"#!/bin/sh\n[ -e {tmp_path}/again ] && exit 0\ntouch {tmp_path}/again\nexit {cluster.AGAIN}\n")
    measure.chmod(0o755)
    text = cluster.script([], tmp_path, 1, 1, 10, ["--mem=100"])
    text = text.replace(f"{sys.executable} -m repro measure", str(measure))
    (tmp_path / "slurm").mkdir()
    (tmp_path / "script.sh").write_text(text)
    job = run(slurm, "sbatch", "--parsable", str(tmp_path / "script.sh")).strip()
    wait_for(slurm, job, 60)
    assert (tmp_path / "again").exists()


def test_a_notebook_says_that_others_measure(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("REPRO_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path / "figures"))
    study, where = notebook.study("start_here", "smoke"), Store(tmp_path / "store")
    name = next(iter(study.specs))
    sign = {"host": "node7", "pid": 1, "since": time.time(), "at": time.time(), "step": 5, "steps": 10}
    (where.scratch(name) / "now.json").write_text(json.dumps(sign))
    monkeypatch.setattr(sweep, "measure", lambda *args, **kwargs: [])
    with pytest.raises(ReproError, match="No run of start_here is stored yet"):
        notebook.measure(study)
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("Others measure, too: 0 stored, 1 running, ")
    assert re.fullmatch(rf"  {name} on node7 since \d\d:\d\d, step 5 of 10", second)

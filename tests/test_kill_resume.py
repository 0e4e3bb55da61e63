"""Runs that are killed, stopped or measured twice at once end as if nothing had happened, to the last bit."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from nursery import Nursery, children, cpu_seconds, group, patience

from repro import claims
from repro.core import sweep
from repro.core.profiles import PROFILES
from repro.core.spec import Optimiser, key
from repro.errors import ReproError
from repro.ssl import train

pytestmark = pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="reads CPU times from /proc")


@pytest.fixture(scope="module")
def nursery():
    made = Nursery()
    yield made
    made.close()


@pytest.fixture(scope="module")
def reference(nursery, tmp_path_factory):
    """reference(name): (numbers of its runs never stopped, the seconds of CPU they took)."""
    known = {}

    def measured(name: str, seeds: int = 1):
        if (name, seeds) not in known:
            folder = tmp_path_factory.mktemp("reference")
            end = nursery.measure(folder, name, seeds, checkpoint_seconds=1e9)
            assert end["code"] == 0
            known[name, seeds] = numbers(folder), end["cpu"]
        return known[name, seeds]

    return measured


def numbers(store: Path) -> dict[str, str]:
    """Metrics and curves of every stored run as text, which tells numbers apart to the last bit."""
    out = {}
    for path in sorted(store.glob("[!.]*/run.json")):
        document = json.loads(path.read_text())
        out[path.parent.name] = json.dumps([document["metrics"], document["curves"]])
    return out


def tidy(store: Path) -> bool:
    """Nothing but stored runs and locks: no half-written run, no checkpoint."""
    return all(p.name == ".locks" or (p / "run.json").is_file() for p in store.iterdir())


def words(log: Path) -> list[list[str]]:
    return [line.split() for line in log.read_text().splitlines()] if log.exists() else []


def test_the_nursery_may_fork(nursery):
    assert nursery.threads == 1


@pytest.mark.parametrize("name", ["moco", "byol"])
def test_killed_at_random_moments_and_resumed(nursery, reference, tmp_path, name):
    """Ten moments for each of two methods, uniform over the CPU time of a run that writes a checkpoint a step."""
    wanted, _ = reference(name)
    seconds = nursery.measure(tmp_path / "whole", name)["cpu"]  # with checkpoints
    assert numbers(tmp_path / "whole") == wanted
    moments = random.Random(name)
    log, killed, half_way = tmp_path / "log", 0, 0
    for trial in range(10):
        store = tmp_path / f"store{trial}"
        pid = nursery.start(store, name)
        budget = moments.uniform(0, seconds)
        while cpu_seconds(pid) < budget:
            time.sleep(0.0005)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        killed += nursery.wait(pid)["signal"] == signal.SIGKILL
        left = numbers(store) if store.exists() else {}
        assert left in ({}, wanted)  # a run appears whole or not at all
        half_way += not left
        assert nursery.measure(store, name, log=str(log))["code"] == 0
        assert numbers(store) == wanted
        assert tidy(store)
    assert killed >= 8
    assert half_way >= 5
    # most went on from a checkpoint instead of starting anew, at different steps
    steps = {int(step) for word, step in words(log) if word == "resumed"}
    assert len(steps) >= 4


# a run of "tiny" writes a checkpoint at each of its four steps, then its run.json, renames the run's folder, removes
# the checkpoint and its folder
PLACES = [("write", 0), ("write", 2), ("write", 4), ("fsync", 0), ("fsync", 4), ("fsync", 5), ("replace", 0)]
PLACES += [("replace", 3), ("rename", 0), ("unlink", 0), ("rmdir", 0)]


@pytest.mark.parametrize("place", PLACES, ids=str)
def test_killed_while_it_writes_and_resumed(nursery, reference, tmp_path, place):
    wanted, _ = reference("tiny")
    store = tmp_path / "store"
    assert nursery.measure(store, "tiny", die=place)["signal"] == signal.SIGKILL
    stored = place in (("fsync", 5), ("unlink", 0), ("rmdir", 0))  # the run was whole before
    assert numbers(store) == (wanted if stored else {})
    assert nursery.measure(store, "tiny")["code"] == 0
    assert numbers(store) == wanted
    assert tidy(store)


def test_killed_again_and_again(nursery, reference, tmp_path):
    wanted, seconds = reference("moco")
    moments, ended = random.Random(1), 0
    for _ in range(40):
        pid = nursery.start(tmp_path / "store", "moco")
        budget = moments.uniform(0, 0.6 * seconds)
        while cpu_seconds(pid) < budget:
            time.sleep(0.0005)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        ended = nursery.wait(pid)["signal"] == 0
        if ended:
            break
    assert ended or nursery.measure(tmp_path / "store", "moco")["code"] == 0
    assert numbers(tmp_path / "store") == wanted


def test_two_processes_make_one_set_once(nursery, reference, tmp_path):
    wanted, _ = reference("tiny", 8)
    store, log = tmp_path / "store", tmp_path / "log"
    pids = [nursery.start(store, "tiny", 8, log=str(log)) for _ in range(2)]
    assert [nursery.wait(p)["code"] for p in pids] == [0, 0]
    assert numbers(store) == wanted
    assert tidy(store)
    assert sorted(words(log)) == [["run", str(seed)] for seed in range(8)]


def test_the_survivor_of_two_takes_over_from_the_killed_one(nursery, reference, tmp_path):
    wanted, _ = reference("moco", 2)
    store = tmp_path / "store"
    first = nursery.start(store, "moco", 2)
    with patience() as until:
        until(lambda: list(store.glob(".work-*/checkpoint.pt")))
    second = nursery.start(store, "moco", 2)
    os.kill(first, signal.SIGKILL)
    nursery.wait(first)
    assert nursery.wait(second)["code"] == 0
    assert numbers(store) == wanted
    assert tidy(store)


def test_interrupted_and_resumed(nursery, reference, tmp_path):
    wanted, _ = reference("long")
    store, log = tmp_path / "store", tmp_path / "log"
    for _ in range(2):
        pid = nursery.start(store, "long", log=str(log), checkpoint_seconds=1e9)
        while cpu_seconds(pid) < 0.15:  # then it trains
            time.sleep(0.001)
        os.kill(pid, signal.SIGINT)
        assert nursery.wait(pid)["code"] == 130
        assert len(list(store.glob(".work-*/checkpoint.pt"))) == 1
        assert numbers(store) == {}
    assert nursery.measure(store, "long", log=str(log))["code"] == 0
    assert numbers(store) == wanted
    first, second = (int(step) for word, step in words(log) if word == "resumed")
    assert 0 < first < second < 160
    (file,) = store.glob("[!.]*/run.json")
    times = json.loads(file.read_text())["provenance"]
    assert times["wall_seconds"] > times["train_seconds"], "of all its parts, not of the last"
    assert tidy(store)


def test_a_time_budget_stops_and_the_next_goes_on(nursery, reference, tmp_path):
    wanted, _ = reference("long")
    store, log = tmp_path / "store", tmp_path / "log"
    for _ in range(3):
        end = nursery.measure(store, "long", log=str(log), checkpoint_seconds=1e9, minutes=0.2 / 60)
        assert end["code"] == 0
        assert numbers(store) in ({}, wanted)
    assert nursery.measure(store, "long", log=str(log))["code"] == 0
    assert numbers(store) == wanted
    steps = [int(step) for word, step in words(log) if word == "resumed"]
    assert steps == sorted(steps)
    assert steps[0] > 0
    assert tidy(store)


def test_workers_outlive_no_killed_parent_and_their_runs_go_on(nursery, reference, tmp_path):
    """What two worker processes begin, and lose with their parent, one process ends with its own numbers."""
    wanted, _ = reference("long", 2)
    store = tmp_path / "store"
    pid = nursery.start(store, "long", 2, workers=2)
    with patience() as until:
        until(lambda: len(list(store.glob(".work-*/checkpoint.pt"))) == 2)
        os.kill(pid, signal.SIGKILL)
        nursery.wait(pid)
        until(lambda: not group(pid))
    assert len(numbers(store)) < 2
    assert nursery.measure(store, "long", 2)["code"] == 0
    assert numbers(store) == wanted
    assert tidy(store)


def test_a_killed_worker_is_one_sentence_and_the_other_writes_its_checkpoint(tiny, store):
    def kill() -> None:
        with patience() as until:
            until(lambda: len(list(store.root.glob(".work-*/checkpoint.pt"))) == 2)
        os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(ReproError, match="A worker process died"):
        sweep.measure([tiny(seed=s, epochs=400) for s in (0, 1)], store, 2, quiet=True, checkpoint_seconds=0.0)
    killer.join()
    assert not multiprocessing.active_children()
    assert len(list(store.root.glob(".work-*/checkpoint.pt"))) == 2


def test_a_run_that_cannot_be_made_by_a_worker_is_one_sentence(tiny, store):
    specs = [tiny(optimiser=Optimiser("adam")), tiny(epochs=400)]
    with pytest.raises(ReproError, match="optimiser 'adam'"):
        sweep.measure(specs, store, 2, quiet=True)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_stopped_at_the_command_line(tmp_path, how):
    """The whole group gets SIGINT, as from a terminal, or SIGTERM, as from a cluster: it ends with 130 and one sentence,
    and leaves no process. What two workers stored until then are the numbers of one."""
    store = tmp_path / "store"
    command = "repro measure batch_size feature_learning_2d --profile smoke --workers 2 --store"
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split(), str(store)],
        cwd=Path(__file__).parent.parent, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,
        # a shell's background job ignores SIGINT and hands that on; a command in a terminal does not
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    with process, patience() as until:
        until(lambda: len(list(store.glob("[!.]*/run.json"))) > 3 or process.poll() is not None)
        os.killpg(process.pid, how)
        out, err = process.communicate(timeout=120)
        until(lambda: not group(process.pid))
    assert process.returncode == 130
    assert err.splitlines()[-1] == "repro: stopped; the same command goes on from here."
    assert "Traceback" not in err
    assert "feature_learning_2d" not in out + err  # the next notebook is not begun
    assert not list(store.glob(".tmp-*"))
    planned = {key(s): s for claim in claims.of("batch_size") for s in claim.plan(PROFILES["smoke"])}
    stored = numbers(store)
    assert 3 < len(stored) < len(planned)
    for name in list(stored)[:3]:
        again = train.run(planned[name])
        metrics, curves = json.loads(stored[name])
        assert curves == again.curves  # training, to the last bit, in another process that has done other things before
        # L-BFGS ends on another side of a validation image now and then, for reasons that are not the run's
        assert metrics == pytest.approx(again.metrics, abs=2.0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_while_notebooks_are_executed(tmp_path, how):
    """Within a moment, without a process left, kernels included; at Ctrl-C, which reaches the whole group, in one sentence
    and without a notebook written in part. SIGKILL reaches the main process alone."""
    root = Path(__file__).parent.parent
    command = "repro run start_here feature_learning_2d --profile quick --from-results"
    process = subprocess.Popen(
        [sys.executable, "-m", *command.split()],
        cwd=root, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "REPRO_FIGURES": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip

    def partial() -> list[Path]:
        mine = group(process.pid)
        return [p for p in (root / "build/notebooks/quick").glob(".*.ipynb") if int(p.name.split(".")[-2]) in mine]

    with process, patience() as until:
        until(lambda: (partial() and children(process.pid)) or process.poll() is not None)
        begun, kernels = partial(), children(process.pid)
        (os.killpg if how == signal.SIGINT else os.kill)(process.pid, how)
        _, err = process.communicate(timeout=120)
        until(lambda: not group(process.pid) and not [pid for kernel in kernels for pid in group(kernel)])
    assert begun
    if how == signal.SIGKILL:
        for path in begun:
            path.unlink(missing_ok=True)
        return
    assert process.returncode == 130
    assert err.splitlines()[-1] == "repro: stopped; the same command goes on from here."
    assert "Traceback" not in err
    assert not [p for p in begun if p.exists()]


def test_two_commands_on_one_store_at_once_are_both_whole(tmp_path):
    """What one measures the other takes; each executes its notebook, and the last one's figures and verdicts stand."""
    root, places = (
        Path(__file__).parent.parent,
        {f"REPRO_{name}": str(tmp_path / name) for name in ("STORE", "FIGURES")},
    )
    command = [sys.executable, "-m", *["repro", "run", "feature_learning_2d", "--profile", "smoke", "--workers", "1"]]
    started = [
        subprocess.Popen(command, cwd=root, env={**os.environ, **places}, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]  # fmt: skip
    told = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0], told
    planned = {key(s) for claim in claims.of("feature_learning_2d") for s in claim.plan(PROFILES["smoke"])}
    assert {p.parent.name for p in (tmp_path / "STORE").glob("[!.]*/run.json")} == planned
    found = tmp_path / "FIGURES" / "smoke" / "feature_learning_2d"
    assert set(json.loads((found / "verdicts.json").read_text())) == {c.id for c in claims.of("feature_learning_2d")}
    assert len(list(found.glob("*-dark.svg"))) == len(claims.of("feature_learning_2d"))

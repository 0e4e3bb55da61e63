"""Specs have one stable name each; stored runs are there whole or not at all, and say in one sentence what is wrong."""

import errno
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from repro.core import store as stores
from repro.core import sweep
from repro.core.io import write_atomic
from repro.core.methods import BarlowTwins, SimCLR, VICReg
from repro.core.spec import DataSpec, Loading, Optimiser, Probes, RunSpec, flatten, key, to_dict
from repro.core.store import Record, Store, export, frame, load
from repro.errors import ReproError
from repro.views.recipe import Recipe, View, preset

ROOT = bool(os.name == "posix" and os.geteuid() == 0)


def record(name: str = "a" * 16, seed: int = 0, **metrics: float) -> Record:
    spec = RunSpec(seed=seed)
    curves = {"epoch": [1, 2], "loss": [2.5, math.nan], "spectrum": [[1.0, 0.5], [math.inf, 0.1]]}
    provenance = {"commit": "abc", "versions": {"torch": "2"}, "wall_seconds": 1.5, "hardware": "a machine"}
    return Record(name, "RunSpec", to_dict(spec), {"diverged": 0.0, **metrics}, curves, provenance)


def same(a, b) -> bool:
    """Equality where NaN equals NaN."""
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return isinstance(b, type(a)) and len(a) == len(b) and all(map(same, a, b))
    return a == b or (a != a and b != b)


def one_sentence(caught) -> str:
    text = str(caught.value)
    assert "\n" not in text
    assert text.endswith(".")
    return text


# ------------------------------------------------------------------------------------------------------------- specs

SPECS = (
    RunSpec(),
    RunSpec(seed=3, method=VICReg(variance=10.0), recipe=preset("msr"), probes=Probes(tasks=("class", "hue"))),
    RunSpec(data=DataSpec("objects", 16, 0.25, (("fragile", 0.5), ("images", 256))), batch_size=32),
)


def test_a_key_is_the_same_in_every_process():
    here = Path(__file__).parent
    code = "import test_spec_store as t; print(*map(t.key, t.SPECS))"
    out = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "99", "PYTHONPATH": f"{here}{os.pathsep}{here.parent}"},
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert out == [key(s) for s in SPECS]
    assert len(set(out)) == len(SPECS)
    assert all(len(k) == 16 and int(k, 16) >= 0 for k in out)


def test_the_keys_of_old_runs_stay():
    """What `key` gave when the reference results were measured. If this fails, no stored run is found again: give the
    new field a default that means "as before" instead of changing this test."""
    assert [key(s) for s in SPECS] == ["bbfaa1153f56a809", "969426793c0aff09", "b60e6f0f6d0086d3"]


def test_a_new_option_at_its_default_changes_no_key():
    @dataclass(frozen=True)
    class Spec:
        seed: int = 0
        lr: float = 0.5

    @dataclass(frozen=True)
    class Grown:
        seed: int = 0
        lr: float = 0.5
        extra: str = "as before"
        inner: Optimiser = field(default_factory=Optimiser)

    Grown.__name__ = "Spec"
    assert key(Grown()) == key(Spec())
    assert key(Grown(seed=2)) == key(Spec(seed=2))
    assert key(Grown(extra="new")) != key(Spec())
    assert key(Grown(inner=Optimiser(lr=3.0))) != key(Spec())


def test_every_field_changes_the_key():
    changes = {
        "data": DataSpec("digits"), "recipe": preset("crop"), "method": BarlowTwins(), "backbone": "resnet18",
        "projector": replace(RunSpec().projector, layers=3), "optimiser": Optimiser(lr=2.0), "batch_size": 64,
        "epochs": 3, "steps": 7, "seed": 1, "precision": "bfloat16", "joint": False, "probes": Probes(knn=True),
        "loading": Loading("ours"),
    }  # fmt: skip
    assert set(changes) == set(RunSpec.__dataclass_fields__)
    keys = {key(RunSpec()), *(key(replace(RunSpec(), **{k: v})) for k, v in changes.items())}
    assert len(keys) == len(changes) + 1


def test_equal_specs_have_equal_keys():
    whole, real = RunSpec(optimiser=Optimiser(lr=2)), RunSpec(optimiser=Optimiser(lr=2.0))
    assert whole == real
    assert key(whole) == key(real)
    assert key(RunSpec(method=SimCLR(0.2))) == key(RunSpec())
    assert key(RunSpec(epochs=15)) == key(RunSpec())


def test_to_dict_is_json_and_names_classes():
    tree = to_dict(SPECS[1])
    assert json.loads(json.dumps(tree)) == tree
    assert tree["type"] == "RunSpec"
    assert tree["method"] == {"type": "VICReg", "invariance": 25.0, "variance": 10.0, "covariance": 1.0}
    assert [v["parent"] for v in tree["recipe"]["views"]] == [-1, -1, 0, 1]


def test_flatten_gives_plain_columns():
    columns = flatten(SPECS[1])
    assert columns == flatten(to_dict(SPECS[1]))
    assert columns["method"] == "VICReg"
    assert columns["variance"] == 10.0
    assert columns["recipe"] == "msr"
    assert columns["optimiser"] == "lars"
    assert columns["lr"] == 1.0
    assert columns["tasks"] == ("class", "hue")
    assert columns["seed"] == 3
    assert "views" not in columns
    assert "type" not in columns
    columns = flatten(SPECS[2])
    assert (columns["data"], columns["size"], columns["fraction"]) == ("objects", 16, 0.25)
    assert (columns["images"], columns["fragile"]) == (256, 0.5)
    assert all(isinstance(v, (str, int, float, bool, tuple)) for v in columns.values())


def test_flatten_refuses_two_fields_of_one_name():
    with pytest.raises(ValueError, match="column 'seed'"):
        flatten(RunSpec(data=DataSpec("objects", options=(("seed", 1.0),))))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": -1}, "epochs"), ({"epochs": 0}, "epochs"), ({"epochs": 1.5}, "epochs"), ({"epochs": "3"}, "epochs"),
        ({"batch_size": 0}, "batch_size"), ({"batch_size": 1}, "batch_size"), ({"steps": -4}, "steps"),
        ({"data": DataSpec("objects", fraction=0.0)}, "fraction"), ({"data": DataSpec("objects", fraction=1.5)}, "fraction"),
        ({"precision": "float16"}, "precision"),
    ],
)  # fmt: skip
def test_a_bad_spec_is_one_sentence(changes, said):
    with pytest.raises(ReproError, match=said) as caught:
        RunSpec(**changes)
    one_sentence(caught)


# ------------------------------------------------------------------------------------------------------------- store


def test_what_is_put_comes_back(store):
    wanted = record(linear=math.nan, worst=-math.inf)
    assert wanted.key not in store
    store.put(wanted)
    assert wanted.key in store
    assert store.keys() == [wanted.key]
    found = store.get(wanted.key)
    # what JSON cannot say comes back as NaN, in curves too
    assert math.isnan(found.metrics["linear"])
    assert math.isnan(found.metrics["worst"])
    assert same(found.curves, {"epoch": [1, 2], "loss": [2.5, math.nan], "spectrum": [[1.0, 0.5], [math.nan, 0.1]]})
    assert (found.spec, found.provenance, found.kind) == (wanted.spec, wanted.provenance, "RunSpec")
    json.loads((store.root / wanted.key / "run.json").read_text(), parse_constant=pytest.fail)  # plain JSON: no NaN


def test_export_and_load_round_trip(store, tmp_path):
    records = [record("b" * 16, 1, linear=math.nan), record("a" * 16, 0, linear=51.25)]
    path = tmp_path / "new" / "runs.jsonl"
    export(records, path)
    found = load(path)
    assert [r.key for r in found] == ["a" * 16, "b" * 16]
    for r in records:
        store.put(r)
    assert all(same(vars(store.get(r.key)), vars(r)) for r in found)
    text = path.read_bytes()
    export(found, path)
    assert path.read_bytes() == text  # redrawing from results rewrites them as they were
    assert len(text.splitlines()) == 2


def test_a_frame_has_a_row_a_run(store):
    rows = frame([record("a" * 16, 0, linear=40.0), record("b" * 16, 1, linear=math.nan, diverged=1.0)])
    assert rows["seed"].tolist() == [0, 1]
    assert rows["diverged"].tolist() == [0.0, 1.0]
    assert math.isnan(rows["linear"][1])  # the metric, not the field of Probes
    assert rows["commit"].tolist() == ["abc"] * 2
    assert rows["curves"][0]["epoch"] == [1, 2]
    assert frame([]).empty


def test_a_run_without_a_number_that_another_seed_has_is_no_diverged_one():
    whole, lacks = record(accuracy=50.0), record("b" * 16, seed=1)
    with pytest.raises(ReproError, match="run bbbbbbbbbbbbbbbb lacks accuracy, which other runs have"):
        frame([whole, lacks])
    diverged = replace(lacks, metrics={"diverged": 1.0})
    assert math.isnan(frame([whole, diverged])["accuracy"][1])


def test_a_run_without_its_probes_numbers_is_named(store):
    probed = RunSpec(probes=Probes(tasks=("class",)))
    with pytest.raises(ReproError, match="run aaaaaaaaaaaaaaaa lacks linear_test_class"):
        frame([replace(record(), spec=to_dict(probed))])
    store.put(replace(record(), metrics={}))
    with pytest.raises(ReproError, match="is damaged: delete the folder"):
        store.get("a" * 16)


def test_a_run_without_its_provenance_is_named():
    titled = replace(record(), provenance={"data_title": "made-up objects"})
    with pytest.raises(ReproError, match="run bbbbbbbbbbbbbbbb lacks data_title, which other runs have"):
        frame([titled, replace(record("b" * 16, seed=1), provenance={})])


def test_the_first_of_two_puts_stays(store):
    store.put(record(linear=1.0))
    store.put(record(linear=2.0))
    assert store.get("a" * 16).metrics["linear"] == 1.0
    assert [p.name for p in store.root.iterdir()] == ["a" * 16]  # no leftovers of the second


def test_many_puts_at_once_leave_one_whole_run(store):
    start, errors = threading.Barrier(8), []

    def put(number: int) -> None:
        start.wait()
        try:
            for name in ("a" * 16, "b" * 16, "c" * 16):
                Store(store.root).put(record(name, number, linear=float(number)))
        except BaseException as e:
            errors.append(e)

    threads = [threading.Thread(target=put, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert sorted(p.name for p in store.root.iterdir()) == ["a" * 16, "b" * 16, "c" * 16]
    for name in store.keys():  # noqa: SIM118
        found = store.get(name)
        assert found.spec["seed"] == found.metrics["linear"]  # all of it from one writer


def test_weights_are_stored_along(store, tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"weights")
    store.put(record(), tmp_path / "weights.pt")
    assert (store.root / ("a" * 16) / "weights.pt").read_bytes() == b"weights"


def test_work_in_progress_is_no_run(store):
    scratch = store.scratch("a" * 16)
    (scratch / "run.json").write_text("{}")
    (store.root / ".tmp-x").mkdir()
    with store.claim("a" * 16) as mine:
        assert mine
        assert store.keys() == []
        assert "a" * 16 not in store
    store.done("a" * 16)
    assert not scratch.exists()
    store.done("a" * 16)  # nothing to remove is no error


def test_a_claim_is_for_one_holder_at_a_time(store):
    with store.claim("a") as first, store.claim("a") as second, store.claim("b") as other:
        assert (first, second, other) == (True, False, True)
    with store.claim("a") as again:
        assert again


# ----------------------------------------------------------------------------------------------------------- trouble

BROKEN = {
    "empty": "",
    "cut off": '{"format": 1, "key": "aaaa',
    "binary": "\x00\xff\x01",
    "no object": "[1, 2]",
    "no format": '{"key": "aaaaaaaaaaaaaaaa"}',
    "no metrics": '{"format": 1, "key": "aaaaaaaaaaaaaaaa", "kind": "RunSpec", "spec": {}, "curves": {}, "provenance": {}}',
    "metrics no object": json.dumps({"format": 1, **{**vars(record()), "metrics": [1], "curves": {}}}),
    "null curves": json.dumps({"format": 1, **{**vars(record()), "metrics": {}, "curves": None}}),
    "no spec": json.dumps({"format": 1, **{**vars(record()), "spec": {}, "curves": {}}}),
    "a metric is a text": json.dumps({"format": 1, **{**vars(record()), "metrics": {"loss": "x"}, "curves": {}}}),
    "another run's": json.dumps({"format": 1, **{**vars(record("f" * 16)), "curves": {}}}),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_damaged_run_is_named_and_the_others_are_intact(store, how):
    store.put(record("a" * 16))
    store.put(record("b" * 16))
    path = store.root / ("a" * 16) / "run.json"
    path.write_bytes(BROKEN[how].encode("latin-1"))
    with pytest.raises(ReproError, match="damaged") as caught:
        store.get("a" * 16)
    assert str(path.parent) in one_sentence(caught)
    assert store.get("b" * 16).key == "b" * 16
    assert path.read_bytes() == BROKEN[how].encode("latin-1")  # nothing is thrown away behind the user's back


def test_another_versions_run_is_said_to_be_so(store, tmp_path):
    store.put(record())
    path = store.root / ("a" * 16) / "run.json"
    path.write_text(path.read_text().replace(f'"format": {stores.FORMAT}', f'"format": {stores.FORMAT + 1}'))
    with pytest.raises(ReproError, match="another version") as caught:
        store.get("a" * 16)
    one_sentence(caught)
    line = json.dumps(json.loads(path.read_text()))
    (tmp_path / "runs.jsonl").write_text(line + "\n")
    with pytest.raises(ReproError, match=r"line 1 was written by another version"):
        load(tmp_path / "runs.jsonl")


def test_a_missing_run_or_file_is_named(store, tmp_path):
    with pytest.raises(ReproError, match="No stored run") as caught:
        store.get("c" * 16)
    one_sentence(caught)
    with pytest.raises(ReproError, match="No stored results") as caught:
        load(tmp_path / "none.jsonl")
    one_sentence(caught)


def test_a_damaged_line_of_results_is_named(tmp_path):
    path = tmp_path / "runs.jsonl"
    export([record("a" * 16), record("b" * 16)], path)
    lines = path.read_text().splitlines()
    path.write_text(lines[0] + "\n" + lines[1][: len(lines[1]) // 2] + "\n")
    with pytest.raises(ReproError, match="line 2 is damaged") as caught:
        load(path)
    one_sentence(caught)


def test_a_store_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ReproError, match="cannot be made") as caught:
        Store(tmp_path / "file" / "store")
    one_sentence(caught)
    with pytest.raises(ReproError, match="cannot be made"):
        Store(tmp_path / "file")


def as_user(number: int, act) -> str:
    """What `act()` returns, or the sentence it raises, in a process of another user with the common umask."""
    mine, its = os.pipe()
    with warnings.catch_warnings(action="ignore"):  # of the threads that a fork does not take along: none is needed
        child = os.fork()
    if not child:
        try:
            os.umask(0o022)
            os.setgroups([])
            os.setgid(number)
            os.setuid(number)
            said = str(act())
        except ReproError as e:
            said = str(e)
        except BaseException as e:
            said = f"Traceback {e!r}"
        os.write(its, said.encode())
        os._exit(0)
    os.close(its)
    with os.fdopen(mine) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.fixture
def shared():
    """A store's folder that all users can reach."""
    if not ROOT:
        pytest.skip("only root can become two users")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder) / "store"


def test_another_user_reads_a_store_that_they_cannot_write(shared):
    shared.mkdir(0o755)
    os.chown(shared, 1001, 1001)

    def measures(name: str) -> None:
        store = Store(shared)
        with store.claim(name) as mine:
            assert mine
            write_atomic(store.scratch(name) / "checkpoint.pt", "state")
            store.put(record(name))

    assert as_user(1001, lambda: measures("a" * 16)) == "None"
    assert as_user(1002, lambda: (Store(shared).keys(), Store(shared).get("a" * 16).key)) == str((["a" * 16], "a" * 16))
    said = f"The store {shared} cannot be written (Permission denied): have its owner share it (chmod -R g+rwX)"
    assert as_user(1002, lambda: measures("b" * 16)).startswith(said)
    assert as_user(1002, lambda: Store(shared).put(record("b" * 16))).startswith(said)
    assert as_user(1002, lambda: Store(shared).put_aside("a" * 16)).startswith(said)
    assert as_user(1002, lambda: sweep.measure([RunSpec()], Store(shared), 2)).startswith(said)
    (shared / ("a" * 16)).chmod(0o700)
    assert "cannot be read (Permission denied)" in as_user(1002, lambda: Store(shared).get("a" * 16))
    assert as_user(1002, lambda: "a" * 16 in Store(shared)) == "True"


def test_users_of_a_shared_store_go_on_with_each_others_runs(shared):
    shared.mkdir()
    shared.chmod(0o777)

    def begins(name: str) -> None:
        store = Store(shared)
        with store.claim(name) as mine:
            assert mine
            write_atomic(store.scratch(name) / "checkpoint.pt", "state")

    def ends(name: str) -> None:
        begins(name)
        store = Store(shared)
        store.put(record(name))
        store.done(name)

    assert as_user(1001, lambda: begins("a" * 16)) == "None"
    assert as_user(1002, lambda: ends("a" * 16)) == "None"
    assert [p.name for p in shared.iterdir() if p.name != ".locks"] == ["a" * 16]
    weights = shared.parent / "weights.pt"
    weights.write_bytes(b"weights")
    assert as_user(1001, lambda: Store(shared).put(record("a" * 16), weights)) == "None"
    assert Store(shared).weights("a" * 16).read_bytes() == b"weights"


def _fails(code: int):
    def fail(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    return fail


@pytest.mark.parametrize("call", ["os.fsync", "os.rename", "pathlib.Path.mkdir"])
@pytest.mark.parametrize(
    ("code", "said"), [(errno.ENOSPC, "is full"), (errno.EDQUOT, "is full"), (errno.EROFS, "cannot be written")]
)
def test_a_put_that_fails_at_any_point_leaves_nothing_behind(store, monkeypatch, call, code, said):
    store.put(record("b" * 16))
    monkeypatch.setattr(call, _fails(code))
    with pytest.raises(ReproError, match=said) as caught:
        store.put(record("a" * 16))
    assert "intact" in one_sentence(caught)
    monkeypatch.undo()
    assert store.keys() == ["b" * 16]
    assert [p.name for p in store.root.iterdir()] == ["b" * 16]
    store.put(record("a" * 16))
    assert store.keys() == ["a" * 16, "b" * 16]


@pytest.fixture
def full_disk(tmp_path):
    """A file system of 64 kB, of which a put of more than that fills every block."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = (
        ROOT
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
        ).returncode
    )
    if not mounted:
        pytest.skip("a small file system can only be mounted by root; a full disk is simulated in the test above")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_keeps_every_stored_run(full_disk):
    store = Store(full_disk / "store")
    store.put(record("a" * 16, linear=1.0))
    big = replace(record("b" * 16), curves={"loss": [0.123456789] * 20_000})
    with pytest.raises(ReproError, match="is full") as caught:
        store.put(big)
    one_sentence(caught)
    with pytest.raises(ReproError, match="is full"):
        write_atomic(full_disk / "runs.jsonl", "x" * 100_000)
    assert Store(store.root).get("a" * 16).metrics["linear"] == 1.0
    assert [p.name for p in store.root.iterdir()] == ["a" * 16]
    assert [p.name for p in full_disk.iterdir()] == ["store"]
    store.put(record("c" * 16))  # the failed put gave its space back


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "deep" / "file.txt"
    write_atomic(path, "old\n")
    monkeypatch.setattr(os, "fsync", _fails(errno.ENOSPC))
    with pytest.raises(ReproError, match="is full"):
        write_atomic(path, "new\n")
    monkeypatch.undo()
    assert path.read_text() == "old\n"
    assert list(path.parent.iterdir()) == [path]
    write_atomic(path, b"bytes")
    assert path.read_bytes() == b"bytes"
    with pytest.raises(ReproError, match="cannot be written"):
        write_atomic(path / "below-a-file", "text")


def test_a_view_is_part_of_a_recipes_identity_not_only_its_name():
    a, b = (RunSpec(recipe=Recipe("mine", (View(flip=p), View()))) for p in (0.1, 0.2))
    assert key(a) != key(b)

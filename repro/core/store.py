"""Stored runs: one folder a run, named by its spec's key; a run is there whole or not at all.

A run is written into a temporary folder beside its final place, flushed to disk and renamed, so that `kill -9`, a full
disk or a second process at the same moment never leaves half a run. Folders whose name starts with a dot are work in
progress (checkpoints, temporary folders, locks) and are never read as runs.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import json
import math
import os
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from repro.core import datasets, io
from repro.core.spec import flatten
from repro.errors import ReproError

try:
    import fcntl
except ImportError:  # a system without it is as a disk without locks
    fcntl = None

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF)  # of disks without; NFS's, of others' files
EPOCHS = "epochs.jsonl"
FORMAT = 1  # raise it when a stored run of an older version can no longer be read as one of this


@dataclass(frozen=True)
class Result:
    """What an experiment returns: scalars (NaN allowed), JSON-able lists such as {"epoch": [...], "loss": [...]}, and
    what differs from one measurement to the next, such as {"train_seconds": 2.1}, which goes into the provenance."""

    metrics: dict[str, float]
    curves: dict[str, list] = field(default_factory=dict)
    timing: dict[str, float | list[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """A stored run. kind: the spec's class name; spec: `repro.core.spec.to_dict` of it; provenance: where, when, with what."""

    key: str
    kind: str
    spec: dict[str, Any]
    metrics: dict[str, float]
    curves: dict[str, list]
    provenance: dict[str, Any]


class Store:
    """The runs under one folder, which any number of processes and users share; one that cannot be written can be read."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise ReproError(
                f"The store {self.root} cannot be made ({e.strerror}): choose another with --store."
            ) from e

    def require_writable(self) -> None:
        """Raise ReproError before the work, not after it."""
        if not os.access(self.root, os.W_OK):
            raise self._error(PermissionError(errno.EACCES, "Permission denied"))

    def _make(self, name: str) -> Path:
        """A folder in the store; who may write the store may write there, whatever the umask of its maker."""
        path = self.root / name
        try:
            path.mkdir()
            with contextlib.suppress(OSError):  # a disk without permissions
                path.chmod(stat.S_IMODE(self.root.stat().st_mode) & ~stat.S_ISVTX)
        except FileExistsError:
            pass
        except OSError as e:
            raise self._error(e) from e
        return path

    def _error(self, e: OSError) -> ReproError:
        if e.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            return io.disk_error(e, self.root)
        return ReproError(
            f"The store {self.root} cannot be written ({e.strerror}): have its owner share it (chmod -R g+rwX), or measure "
            "into another with --store; stored runs are intact."
        )

    def __contains__(self, key: str) -> bool:
        try:
            return (self.root / key / "run.json").exists()
        except PermissionError:  # it is there, and `get` says that it cannot be read
            return True

    def weights(self, key: str) -> Path:
        """Where a run's weights lie, if they were kept."""
        return self.root / key / "weights.pt"

    def get(self, key: str) -> Record:
        """The run named `key`. Raises ReproError if it is missing, damaged, or of another version."""
        path = self.root / key / "run.json"
        try:
            record = _parse(json.loads(path.read_text()), str(path))
            if record.key != key:
                raise ValueError(record.key)
            return record
        except FileNotFoundError:
            raise ReproError(f"No stored run {key} in {self.root}: measure it first with `repro measure`.") from None
        except OSError as e:
            raise ReproError(f"The stored run {path} cannot be read ({e.strerror}): check its permissions.") from e
        except (ValueError, RecursionError):
            raise ReproError(
                f"The stored run {path} is damaged: delete the folder {path.parent} and measure again; "
                "the other runs are intact."
            ) from None

    def put(self, record: Record, *files: Path) -> None:
        """Store a run with files, whole or not at all. A run already there stays as it is, but for files that it lacks."""
        tmp = self._make(f".tmp-{record.key}-{secrets.token_hex(8)}")
        try:
            io.write(tmp / "run.json", json.dumps(_document(record), indent=1))
            for file in files:
                shutil.copyfile(file, tmp / file.name)
            # rename onto an existing non-empty folder fails: then another process was first, with the same numbers
            os.rename(tmp, self.root / record.key)
            io.sync(self.root)
        except OSError as e:
            shutil.rmtree(tmp, ignore_errors=True)
            if e.errno in (errno.EEXIST, errno.ENOTEMPTY) and record.key in self:
                for file in files:
                    if not (self.root / record.key / file.name).exists():
                        io.write_atomic(self.root / record.key / file.name, file.read_bytes())
                return
            raise self._error(e) from e

    def put_aside(self, key: str) -> Path:
        """Move a run to where none is looked for, and is kept; that folder."""
        folder = self._make(".before")
        try:
            with contextlib.suppress(FileNotFoundError):  # another process was first
                os.rename(self.root / key, folder / f"{key}-{time.time_ns()}")
        except OSError as e:
            raise self._error(e) from e
        return folder

    def keys(self) -> list[str]:
        return sorted(p.name for p in self.root.iterdir() if not p.name.startswith(".") and p.name in self)

    def scratch(self, key: str) -> Path:
        """A folder for a run's checkpoints; `done` removes it."""
        return self._make(f".work-{key}")

    def to_keep(self, key: str) -> list[Path]:
        """What is stored with a run of what it left beside its checkpoint: its weights, its epochs if they are few."""
        found = [self.root / f".work-{key}" / name for name in ("weights.pt", EPOCHS)]
        return [p for p in found if p.exists() and (p.name != EPOCHS or p.stat().st_size < 2**20)]

    def log(self, key: str, line: dict[str, Any]) -> bool:
        """Add a line to the epochs beside a run's checkpoint; False if it is there, of a run that goes on from before it."""
        try:
            with (self.scratch(key) / EPOCHS).open("a+") as f:
                f.seek(0)
                if new := sum(1 for _ in f) < line["epoch"]:
                    f.write(json.dumps(_nan_to_none(line)) + "\n")
                return new
        except OSError as e:
            raise self._error(e) from e

    def left(self, key: str) -> bool:
        return (self.root / f".work-{key}").exists()

    def done(self, key: str) -> None:
        """Remove what the making of a stored run left, also of processes that were killed at it."""
        for path in (*self.root.glob(f".tmp-{key}-*"), self.root / f".work-{key}"):
            shutil.rmtree(path, ignore_errors=True)

    @contextlib.contextmanager
    def claim(self, key: str) -> Iterator[bool]:
        """True for the one process that may work on `key` now. The kernel frees the claim when its holder dies."""
        path = self._make(".locks") / key
        try:
            handle = path.open("a" if os.access(path, os.W_OK) or not path.exists() else "r")  # "r": another user's
        except OSError as e:
            raise self._error(e) from e
        with handle:
            try:
                if fcntl is None:
                    raise OSError(errno.ENOSYS, "no locks")
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError as e:
                if e.errno not in NO_LOCKS:
                    raise self._error(e) from e
                _tell_no_locks(self.root)
            yield True

    def sign(self, key: str, **about: Any) -> None:
        """Say in a run's scratch folder what is going on with it; `signs` reads it."""
        if self.left(key):
            io.write_atomic(self.scratch(key) / "now.json", json.dumps({**about, "at": time.time()}))

    def signs(self, key: str) -> dict[str, Any]:
        """The last sign of life of a run that is being measured, or was; {} if there is none."""
        return datasets.record(self.root / f".work-{key}" / "now.json")


@functools.cache
def _tell_no_locks(root: Path) -> None:
    """Results do not depend on locks, since the same run has the same numbers: only work may be done twice."""
    print(
        f"repro: the disk under {root} has no locks: give each process its own --share, or some runs are made twice.",
        file=sys.stderr,
        flush=True,
    )


def export(records: Iterable[Record], path: Path) -> None:
    """Write runs as one JSON line each, sorted by key: the small text file that is committed beside its figures."""
    lines = [json.dumps(_document(r), separators=(",", ":")) for r in sorted(records, key=lambda r: r.key)]
    io.write_atomic(path, "\n".join(lines) + "\n")


def load(path: Path) -> list[Record]:
    """Read what `export` wrote. Raises ReproError that names the broken line."""
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise ReproError(
            f"No stored results at {path}: measure them first (results=measure, no --from-results)."
        ) from None
    out = []
    for number, line in enumerate(lines, 1):
        try:
            out.append(_parse(json.loads(line), f"{path}, line {number}"))
        except (ValueError, RecursionError):
            raise ReproError(
                f"{path}, line {number} is damaged: restore the file from git, or measure again."
            ) from None
    return out


def take_up(store: Store, path: Path, fits: Callable[[Record], bool] = lambda record: True) -> None:
    """Put the runs that `export` wrote into a store, so that they are not measured again; fits says which."""
    for record in load(path):
        if record.key not in store and fits(record):
            store.put(record)


def frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a run: key, kind, the spec's fields as `repro.core.spec.flatten` names them, the metrics, the curves (a dict),
    and its provenance (data_title, hardware, device, wall_seconds, train_seconds, commit, versions, started). Raises
    ReproError for a run that lacks a number which the same run of another seed has, where NaN stands for one that
    diverged, or the title of its data, which others have."""
    records, rows, cells = list(records), [], {}
    titled = any("data_title" in r.provenance for r in records)
    for r in records:
        cells.setdefault(json.dumps([r.kind, {**r.spec, "seed": 0}], sort_keys=True), []).append(r)
    for runs in cells.values():
        names = set().union(*(r.metrics for r in runs))
        for r in runs:
            lacks = set() if r.metrics.get("diverged") else (names | _probed(r)) - r.metrics.keys()
            lacks |= {"data_title"} - r.provenance.keys() if titled and "data" in r.spec else set()
            if lacks:
                raise ReproError(
                    f"The stored run {r.key} lacks {min(lacks)}, which other runs have, as one of an older version may: "
                    "delete its folder in the store and measure again."
                )
    for r in records:
        row = {"key": r.key, "kind": r.kind, **flatten(r.spec), "curves": r.curves}
        row |= {k: v for k, v in r.provenance.items() if k != "profile"}
        rows.append(row | r.metrics)
    return pd.DataFrame(rows, columns=None if rows else ["key", "kind"])


def _probed(record: Record) -> set[str]:
    """The numbers that a run has at least, if it did not diverge."""
    probes = record.spec.get("probes", {})
    return {f"linear_test_{task}" for task in probes.get("tasks", ()) if probes["linear"]}


def _document(record: Record) -> dict[str, Any]:
    return {
        "format": FORMAT,
        **asdict(record),
        "metrics": _nan_to_none(record.metrics),
        "curves": _nan_to_none(record.curves),
    }


def _parse(document: Any, where: str) -> Record:
    if not isinstance(document, dict) or "format" not in document:
        raise ValueError(where)
    if document["format"] != FORMAT:
        raise ReproError(
            f"{where} was written by another version of repro (format {document['format']}, this one reads {FORMAT}): "
            "use that version, or measure into a new store."
        )
    try:
        fields = {k: document[k] for k in ("key", "kind", "spec", "metrics", "curves", "provenance")}
    except KeyError:
        raise ValueError(where) from None
    if not all(isinstance(fields[k], str if k in ("key", "kind") else dict) for k in fields) or not fields["spec"]:
        raise ValueError(where)
    for name in ("metrics", "curves"):
        fields[name] = _none_to_nan(fields[name])
    if not all(isinstance(value, (int, float)) for value in fields["metrics"].values()):
        raise ValueError(where)
    if fields["kind"] == "RunSpec" and "diverged" not in fields["metrics"]:  # every run says whether it did
        raise ValueError(where)
    return Record(**fields)


def _nan_to_none(value: Any) -> Any:
    """JSON has no NaN; a diverged run's numbers become null."""
    return _leaves(value, lambda x: None if isinstance(x, float) and not math.isfinite(x) else x)


def _none_to_nan(value: Any) -> Any:
    return _leaves(value, lambda x: math.nan if x is None else x)


def _leaves(value: Any, change: Callable[[Any], Any]) -> Any:
    """A JSON value with every leaf changed."""
    if isinstance(value, dict):
        return {k: _leaves(v, change) for k, v in value.items()}
    return [_leaves(v, change) for v in value] if isinstance(value, list) else change(value)

"""Which images a name stands for now: a hash of a reader's files, so that runs and derived files know what they saw."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from repro.core import datasets, places
from repro.core.io import write_atomic
from repro.data import tree
from repro.errors import ReproError

SETTLED = 2e9  # nanoseconds after which a file that changes again shows it in its times


def fingerprint(name: str) -> str:
    """16 hex digits for the images of a folder or a prepared set, with their classes and splits; "" for embedded sets and
    for what is not there."""
    files = _files(name)
    if not files:
        return ""
    manifest = "".join(sorted(f"{hashed} {of}\n" for of, hashed in zip(files, _hashed(name, files))))
    identity = hashlib.sha256(manifest.encode()).hexdigest()[:16]
    if not _kept(f"{identity}.txt").exists():
        with contextlib.suppress(ReproError):
            write_atomic(_kept(f"{identity}.txt"), manifest)
    return identity


def hashes(folder: Path) -> dict[Path, str]:
    """The hash of each image of a folder."""
    files = _files(str(folder))
    return dict(zip(files.values(), _hashed(str(folder), files)))


def _hashed(name: str, files: dict[str, Path | str]) -> list[str]:
    """The hash of each file. Those whose size and times are as before are not read again."""
    cache = _kept(hashlib.sha256(os.fsencode(datasets.root() / name)).hexdigest()[:16] + ".json")
    known, now, began = datasets.record(cache), {}, time.time_ns()

    def digest(item: tuple[str, Path | str]) -> str:
        of, path = item
        if isinstance(path, str):
            return path
        try:
            status = path.stat()
            state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
            if known.get(of, [])[:3] == state:
                hashed = known[of][3]
            else:
                with path.open("rb") as f:
                    hashed = hashlib.file_digest(f, "sha256").hexdigest()[:16]
        except OSError as e:
            raise ReproError(f"The file {tree.shown(path)} cannot be read ({e.strerror}): mend or remove it.") from e
        if began - max(state[1:]) > SETTLED:
            now[of] = [*state, hashed]
        return hashed

    with ThreadPoolExecutor(4) as pool:
        out = list(pool.map(digest, files.items()))
    if now != known:
        with contextlib.suppress(ReproError):  # where nothing can be written it only takes longer
            write_atomic(cache, json.dumps(now))
    return out


def changed(before: str, now: str) -> str:
    """How many files differ between two fingerprints, e.g. "3 of 120 files"; "" where no list of them was kept."""
    try:
        lists = [_kept(f"{identity}.txt").read_text(encoding="utf-8").splitlines() for identity in (before, now)]
    except OSError:
        return ""
    old, new = ({of: hashed for hashed, _, of in (line.partition(" ") for line in lines)} for lines in lists)
    return f"{sum(old.get(of) != new.get(of) for of in old | new)} of {len(old | new)} files"


def _kept(name: str) -> Path:
    return places.root() / "build" / "data" / name


def _files(name: str) -> dict[str, Path | str]:
    """What a name's images come from, by split, class and name: a file, or its hash if a record has it."""
    if name in datasets.EMBEDDED:
        return {}
    folder = datasets.root() / name  # an absolute path stays one
    if datasets.is_prepared(name):
        out = {}
        for split, about in datasets.records(name).items():
            file = folder / f"{split}.beton"
            recorded = about.get("sha256", "") if about.get("bytes") == file.stat().st_size else ""
            out[file.name] = recorded or file
        return out
    if name not in datasets.DATASETS:
        folder = Path(name)
    if (folder / "annotations").is_dir():  # COCO's
        return {p.name: p for p in sorted((folder / "annotations").glob("*.json"))}
    if not folder.is_dir():
        return {}
    layout = tree.find(folder)
    return {  # names that are not UTF-8 differ by their bytes
        f"{split}:{os.fsencode(path.relative_to(folder)).decode(errors='backslashreplace')}": path
        for split, group in layout.files.items()
        for path, _ in group
    }

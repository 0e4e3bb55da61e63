"""`.beton` files, FFCV's format (version 2): read by anything that reads FFCV's, written whole or not at all.

A file is a header, the fields' descriptions, one row of numbers a sample (labels, and where its image lies), pages of
image data none of which is split between two pages, and a table of what was put where.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from repro.errors import ReproError
from repro.loader.compiled import JPEG, RAW

_VERSION, _PAGE = 2, 1 << 23
_HEADER = np.dtype(
    [("version", "<u2"), ("fields", "<u2"), ("page", "<u4"), ("samples", "<u8"), ("table", "<u8")], align=True
)
_FIELD = np.dtype([("type", "<u1"), ("name", "<u1", 16), ("arguments", "<u1", 1024)], align=True)
_IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("pointer", "<u8")])
_PLACE = np.dtype([("sample", "<u8"), ("pointer", "<u8"), ("size", "<u8")])
_TYPES = {0: np.dtype("<f8"), 1: np.dtype("<i8"), 2: _IMAGE}
_MODES = np.array([JPEG, RAW])  # FFCV's numbers 0 and 1


@dataclass(frozen=True)
class Beton:
    """An open file. data: its bytes, mapped, not read. offsets, lengths, heights, widths, kinds: int64 (N,), as
    `repro.loader.compiled.make_views` takes them. labels: (N,) int64 or float64 by name."""

    path: Path
    data: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    kinds: np.ndarray
    labels: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.offsets)


def read(path: str | Path, image: str = "image", labels: Sequence[str] | None = None) -> Beton:
    """Open a file. labels: the fields that must be there; None takes every number.

    Raises ReproError for a missing, truncated or foreign file, or one whose fields are not these.
    """
    path = Path(path)
    again = "prepare it again"
    try:
        size = path.stat().st_size
        data = np.asarray(np.memmap(path, np.uint8, "r")) if size else np.zeros(0, np.uint8)
    except FileNotFoundError:
        raise ReproError(f"There is no file {path}: prepare it with a script in data_prep/.") from None
    except (OSError, ValueError) as e:
        raise ReproError(f"The file {path} cannot be read ({e}): check its permissions, or {again}.") from e

    def part(kind: np.dtype, count: int, at: int, what: str) -> np.ndarray:
        if at + kind.itemsize * count > size:
            raise ReproError(f"The file {path} is truncated (its {what} is missing or cut off): {again}.")
        return data[at : at + kind.itemsize * count].view(kind)

    header = part(_HEADER, 1, 0, "header")[0]
    if header["version"] != _VERSION or not 0 < header["fields"] < 256:
        raise ReproError(f"The file {path} is not a .beton file of version {_VERSION}: {again}.")
    if header["table"] == 0:
        raise ReproError(f"The file {path} was never finished: {again}.")
    fields = part(_FIELD, int(header["fields"]), _HEADER.itemsize, "header")
    names = [bytes(f["name"]).split(b"\0")[0].decode("ascii", "replace") for f in fields]
    kinds = dict(zip(names, (int(f["type"]) for f in fields)))
    wanted = {image: (2,), **dict.fromkeys(labels or (), (0, 1))}
    for name, types in wanted.items():
        if kinds.get(name) not in types:
            raise ReproError(
                f"The file {path} was made for other fields ({', '.join(names)}; {', '.join(wanted)} are needed): {again}."
            )
    if not set(kinds.values()) <= set(_TYPES):
        raise ReproError(f"The file {path} has fields that are neither images nor numbers: {again} without them.")
    row = np.dtype([("", _TYPES[kind]) for kind in kinds.values()], align=True)
    rows = part(row, int(header["samples"]), _HEADER.itemsize + fields.nbytes, "table of samples")
    rest = size - int(header["table"])
    if rest < 0 or rest % _PLACE.itemsize or rest < _PLACE.itemsize * len(rows):
        raise ReproError(f"The file {path} is truncated (its table of places is missing or cut off): {again}.")
    places = data[int(header["table"]) :].view(_PLACE)
    places = places[np.argsort(places["pointer"], kind="stable")]
    images = rows[f"f{names.index(image)}"]
    at = np.searchsorted(places["pointer"], images["pointer"])
    lengths = places["size"][np.minimum(at, len(places) - 1)]
    found = places["pointer"][np.minimum(at, len(places) - 1)] == images["pointer"]
    if not (found & (images["pointer"] + lengths <= header["table"]) & (images["mode"] < 2)).all():
        raise ReproError(f"The file {path} is damaged (samples point to no data): {again}.")
    columns = {
        n: rows[f"f{i}"].copy() for i, n in enumerate(names) if kinds[n] != 2 and (labels is None or n in labels)
    }
    numbers = (images["pointer"], lengths, images["height"], images["width"], _MODES[images["mode"]])
    return Beton(path, data, *(n.astype(np.int64) for n in numbers), columns)


@dataclass(frozen=True)
class Encoded:
    """One image as it is stored: a JPEG file's bytes, or a raw image's pixels."""

    data: bytes
    height: int
    width: int
    raw: bool


def write(
    path: str | Path,
    encode: Callable[[int], Encoded],
    labels: Mapping[str, Sequence[int] | Sequence[float]],
    identity: str = "",
    workers: int = 1,
    page: int = _PAGE,
    tick: Callable[[int], None] = lambda done: None,
) -> None:
    """Write a file of len(labels) samples; `encode(i)` gives the image of sample i, and is called in threads.

    The file is built beside its name, with a journal: it takes the name only when it is whole, and a run that was
    stopped goes on after the last full page if `identity`, a text for what is being written, is the same. tick(done) is
    called after each sample. Raises ReproError for a disk that fills and an image larger than a page; what `encode`
    raises comes through.
    """
    path = Path(path)
    columns = {k: np.asarray(v, _TYPES[0] if np.asarray(v).dtype.kind == "f" else _TYPES[1]) for k, v in labels.items()}
    count = {len(c) for c in columns.values()}
    if len(count) != 1 or not (count := count.pop()):
        raise ReproError(f"{path.name} would have no samples, or labels of different lengths: check the source folder.")
    kinds = {"image": 2, **{k: 1 if c.dtype.kind == "i" else 0 for k, c in columns.items()}}
    row = np.dtype([("", _TYPES[kind]) for kind in kinds.values()], align=True)
    start = _HEADER.itemsize + _FIELD.itemsize * len(kinds) + row.itemsize * count
    start = -(-start // page) * page
    part, journal = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.journal")
    stamp = hashlib.sha256(json.dumps([identity, count, page, list(kinds)]).encode()).digest()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        images, places = _resume(part, journal, stamp, count, start, page)
        with part.open("r+b") as out, journal.open("ab") as log, ThreadPoolExecutor(max(1, workers)) as pool:
            position, buffer, unlogged = out.seek(0, os.SEEK_END), bytearray(), []

            def flush() -> None:
                nonlocal position, buffer
                buffer.extend(bytes(page - len(buffer)))
                out.write(buffer)
                out.flush()
                os.fsync(out.fileno())
                log.write(b"".join(unlogged))
                log.flush()
                position, buffer = position + page, bytearray()
                unlogged.clear()

            tick(len(images))
            for image in _ahead(pool, encode, range(len(images), count), 4 * max(1, workers)):
                size = len(image.data)
                if size > page:
                    raise ReproError(
                        f"Sample {len(images)} takes {size} bytes, more than a page of {page}: store it as JPEG or smaller, "
                        "or choose larger pages."
                    )
                if len(buffer) + size > page:
                    flush()
                pointer = position + len(buffer)
                images.append((int(image.raw), image.width, image.height, pointer))
                places.append((len(images) - 1, pointer, size))
                unlogged.append(np.array([images[-1]], _IMAGE).tobytes() + np.array([places[-1]], _PLACE).tobytes())
                buffer.extend(image.data)
                tick(len(images))
            if buffer:
                flush()
            rows = np.zeros(count, row)
            for i, column in enumerate([np.array(images, _IMAGE), *columns.values()]):
                rows[f"f{i}"] = column
            fields = np.zeros(len(kinds), _FIELD)
            for field, (name, kind) in zip(fields, kinds.items()):
                field["type"] = kind
                field["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
            out.write(np.array(places, _PLACE).tobytes())
            out.seek(0)
            header = np.array([(_VERSION, len(kinds), page, count, position)], _HEADER)
            out.write(header.tobytes() + fields.tobytes() + rows.tobytes())
            out.flush()
            os.fsync(out.fileno())
        os.replace(part, path)
        journal.unlink()
    except OSError as e:
        if e.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ReproError(
                f"The disk under {path.parent} is full: free some space and run the same command again to go on."
            ) from e
        raise ReproError(f"{path} cannot be written ({e.strerror or e}): check the folder and run again.") from e


def _ahead(pool, function, numbers, ahead) -> Iterator[Encoded]:
    """The function's results in order, a few of them computed ahead."""
    waiting = []
    try:
        for number in numbers:
            waiting.append(pool.submit(function, number))
            if len(waiting) >= ahead:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        for future in waiting:
            future.cancel()


def _resume(part: Path, journal: Path, stamp: bytes, count: int, start: int, page: int) -> tuple[list, list]:
    """The samples that an earlier run wrote, (mode, width, height, pointer) and (sample, pointer, size) each; the part
    file is cut after their last page."""
    images, places = [], []
    entry = _IMAGE.itemsize + _PLACE.itemsize
    if part.exists() and journal.exists() and journal.read_bytes()[:32] == stamp:
        known = journal.read_bytes()[32:]
        for i in range(min(count, len(known) // entry)):
            one = known[i * entry : (i + 1) * entry]
            image = np.frombuffer(one[: _IMAGE.itemsize], _IMAGE)[0]
            place = np.frombuffer(one[_IMAGE.itemsize :], _PLACE)[0]
            if int(place["pointer"]) // page * page + page > part.stat().st_size:
                break
            images.append(image.item())
            places.append(place.item())
    else:
        part.write_bytes(b"")
    end = places[-1][1] // page * page + page if places else start
    with part.open("r+b") as out:
        out.truncate(end)
    journal.write_bytes(
        stamp
        + b"".join(np.array([i], _IMAGE).tobytes() + np.array([p], _PLACE).tobytes() for i, p in zip(images, places))
    )
    return images, places

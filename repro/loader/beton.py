"""`.beton` files, FFCV's format (version 2): read by anything that reads FFCV's, written whole or not at all.

A file is a header, the fields' descriptions, one row of numbers a sample (labels, and where its image lies), pages of
image data none of which is split between two pages, and a table of what was put where.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import mmap
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from repro.errors import ReproError

PLANAR, RAW, JPEG = range(3)  # how an image is stored: three planes, pixel after pixel, compressed
_VERSION, _PAGE = 2, 1 << 23
_HEADER = np.dtype(
    [("version", "<u2"), ("fields", "<u2"), ("page", "<u4"), ("samples", "<u8"), ("table", "<u8")], align=True
)
_FIELD = np.dtype([("type", "<u1"), ("name", "<u1", 16), ("arguments", "<u1", 1024)], align=True)
_IMAGE = np.dtype([("mode", "<u1"), ("width", "<u2"), ("height", "<u2"), ("pointer", "<u8")])
_PLACE = np.dtype([("sample", "<u8"), ("pointer", "<u8"), ("size", "<u8")])
_ENTRY = np.dtype([("image", _IMAGE), ("place", _PLACE)])  # of the journal
_TYPES = {0: np.dtype("<f8"), 1: np.dtype("<i8"), 2: _IMAGE}
_MODES = np.array([JPEG, RAW])  # FFCV's numbers 0 and 1


@dataclass(frozen=True)
class Beton:
    """An open file. data: its bytes, mapped, not read; handle: the system's number of it. offsets, lengths, heights,
    widths, kinds: int64 (N,), as `repro.loader.compiled.make_views` takes them. labels: (N,) int64 or float64 by name."""

    path: Path
    data: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    heights: np.ndarray
    widths: np.ndarray
    kinds: np.ndarray
    labels: dict[str, np.ndarray]
    handle: int

    def __len__(self) -> int:
        return len(self.offsets)

    def check(self) -> None:
        """Raise ReproError if the file was cut or grew since it was opened."""
        if os.fstat(self.handle).st_size != len(self.data):
            raise ReproError(f"The file {self.path} changed while it was read: wait for what writes it, and run again.")


AGAIN = "prepare it again"


def _mapped(path: Path) -> tuple[np.ndarray, int]:
    """The bytes of a file, mapped, and the system's number of it, which is closed with them."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            mapped = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)  # ValueError for an empty file
        except (OSError, ValueError):
            os.close(handle)
            raise
    except FileNotFoundError:
        raise ReproError(f"There is no file {path}: prepare it with a script in data_prep/.") from None
    except (OSError, ValueError) as e:
        raise ReproError(f"The file {path} cannot be read ({e}): check its permissions, or {AGAIN}.") from e
    weakref.finalize(mapped, os.close, handle)
    return np.frombuffer(mapped, np.uint8), handle


def read(path: str | Path) -> Beton:
    """Open a file of one field `image` and any numbers.

    Raises ReproError for a missing, truncated or foreign file, or one that has other fields.
    """
    path = Path(path)
    data, handle = _mapped(path)
    size = len(data)

    def part(kind: np.dtype, count: int, at: int, what: str) -> np.ndarray:
        if at + kind.itemsize * count > size:
            raise ReproError(f"The file {path} is truncated (its {what} is missing or cut off): {AGAIN}.")
        return data[at : at + kind.itemsize * count].view(kind)

    header = part(_HEADER, 1, 0, "header")[0]
    if header["version"] != _VERSION or not 0 < header["fields"] < 256:
        raise ReproError(f"The file {path} is not a .beton file of version {_VERSION}: {AGAIN}.")
    if header["table"] == 0:
        raise ReproError(f"The file {path} was never finished: {AGAIN}.")
    fields = part(_FIELD, int(header["fields"]), _HEADER.itemsize, "header")
    names = [bytes(f["name"]).split(b"\0")[0].decode("ascii", "replace") for f in fields]
    kinds = dict(zip(names, (int(f["type"]) for f in fields)))
    if kinds.get("image") != 2 or not set(kinds.values()) <= set(_TYPES):
        raise ReproError(
            f"The file {path} was made for other fields ({', '.join(names)}; an image and numbers are needed): {AGAIN}."
        )
    row = np.dtype([("", _TYPES[kind]) for kind in kinds.values()], align=True)
    rows = part(row, int(header["samples"]), _HEADER.itemsize + fields.nbytes, "table of samples")
    rest = size - int(header["table"])
    if rest < 0 or rest % _PLACE.itemsize or rest < _PLACE.itemsize * len(rows):
        raise ReproError(f"The file {path} is truncated (its table of places is missing or cut off): {AGAIN}.")
    places = data[int(header["table"]) :].view(_PLACE)
    places = places[np.argsort(places["pointer"], kind="stable")]
    images = rows[f"f{names.index('image')}"]
    at = np.minimum(np.searchsorted(places["pointer"], images["pointer"]), len(places) - 1)
    lengths, table = places["size"][at], header["table"]
    following = np.minimum(np.append(places["pointer"][1:], table)[at], table)
    good = (places["pointer"][at] == images["pointer"]) & (images["mode"] < 2) & (lengths > 0)
    room = following - images["pointer"]  # of numbers without a sign, whose sums cannot be trusted
    good &= (images["pointer"] <= following) & (lengths <= room)
    good &= (lengths == room) | (following % max(1, int(header["page"])) == 0) | (following == table)
    pixels = images["height"].astype(np.int64) * images["width"]
    good &= (pixels > 0) & ((images["mode"] == 0) | (lengths == 3 * pixels))
    # a JPEG that the next one does not follow at once, as the last of each page, is to end with its marker
    loose = np.flatnonzero(good & (images["mode"] == 0) & (lengths < room))
    ends = (images["pointer"][loose] + lengths[loose]).astype(np.int64)
    good[loose] = (data[ends - 2] == 0xFF) & (data[ends - 1] == 0xD9)
    if not good.all():
        raise ReproError(
            f"Sample {np.argmin(good)} of {path} is damaged (its place or size in the tables is not that of its data): "
            f"{AGAIN}."
        )
    columns = {name: rows[f"f{i}"].copy() for i, name in enumerate(names) if kinds[name] != 2}
    numbers = (images["pointer"], lengths, images["height"], images["width"], _MODES[images["mode"]])
    return Beton(path, data, *(n.astype(np.int64) for n in numbers), columns, handle)


@dataclass(frozen=True)
class Encoded:
    """One image as it is stored: a JPEG file's bytes, or a raw image's pixels."""

    data: bytes
    height: int
    width: int
    raw: bool


def as_jpeg(image: Image.Image, quality: int = 90) -> Encoded:
    """An RGB image as a JPEG."""
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return Encoded(out.getvalue(), image.height, image.width, raw=False)


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

    The file is built beside its name, with a journal: it takes the name only when it is whole. A run that was stopped
    goes on after the last full page if `identity`, a text for what is being written, is the same. tick(done) is called
    after each sample. Raises ReproError for a disk that fills and an image larger than a page; what `encode` raises comes
    through.
    """
    path = Path(path)
    columns = {k: np.asarray(v, _TYPES[0] if np.asarray(v).dtype.kind == "f" else _TYPES[1]) for k, v in labels.items()}
    count = {len(c) for c in columns.values()}
    if len(count) != 1 or not (count := count.pop()):
        raise ReproError(f"{path.name} would have no samples, or labels of different lengths: check the source folder.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _Pages(path, columns, identity, page) as pages, ThreadPoolExecutor(max(1, workers)) as pool:
            tick(len(pages.entries))
            for image in _ahead(pool, encode, range(len(pages.entries), count), 4 * max(1, workers)):
                pages.add(image)
                tick(len(pages.entries))
            pages.finish()
        os.replace(pages.part, path)
        pages.journal.unlink()
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


class _Pages:
    """A file in the making: images go into it page by page, and a journal lists those whose page is on disk.

    entries: one _ENTRY a sample, those that an earlier run wrote included.
    """

    def __init__(self, path: Path, columns: dict[str, np.ndarray], identity: str, page: int):
        self.part, self.journal = path.with_name(path.name + ".part"), path.with_name(path.name + ".part.journal")
        self.columns, self.page, count = columns, page, len(next(iter(columns.values())))
        self.kinds = {"image": 2, **{k: 1 if c.dtype.kind == "i" else 0 for k, c in columns.items()}}
        self.row = np.dtype([("", _TYPES[kind]) for kind in self.kinds.values()], align=True)
        start = _HEADER.itemsize + _FIELD.itemsize * len(self.kinds) + self.row.itemsize * count
        stamp = hashlib.sha256(json.dumps([identity, count, page, list(self.kinds)]).encode()).digest()
        known, end = self._known(stamp, count), -(-start // page) * page
        if len(known):
            end = int(known["place"]["pointer"][-1]) // page * page + page
        else:
            self.part.write_bytes(b"")
        self.journal.write_bytes(stamp + known.tobytes())
        self.out, self.log = self.part.open("r+b"), self.journal.open("ab")
        self.out.truncate(end)
        self.entries, self.logged = known.tolist(), len(known)
        self.position, self.buffer = end, bytearray()

    def _known(self, stamp: bytes, count: int) -> np.ndarray:
        """The journal's entries (n,) whose pages are on disk, none if it was kept for another content."""
        if not self.part.exists() or not self.journal.exists():
            return np.empty(0, _ENTRY)
        content = self.journal.read_bytes()
        if not content.startswith(stamp):
            return np.empty(0, _ENTRY)
        whole = (len(content) - len(stamp)) // _ENTRY.itemsize
        entries = np.frombuffer(content, _ENTRY, whole, len(stamp))[:count]
        return entries[entries["place"]["pointer"] // self.page * self.page + self.page <= self.part.stat().st_size]

    def __enter__(self) -> _Pages:
        return self

    def __exit__(self, *_) -> None:
        self.out.close()
        self.log.close()

    def add(self, image: Encoded) -> None:
        size = len(image.data)
        if size > self.page:
            raise ReproError(
                f"Sample {len(self.entries)} takes {size} bytes, more than a page of {self.page}: store it as JPEG or "
                "smaller, or choose larger pages."
            )
        if len(self.buffer) + size > self.page:
            self._flush()
        pointer = self.position + len(self.buffer)
        place = (len(self.entries), pointer, size)
        self.entries.append(((int(image.raw), image.width, image.height, pointer), place))
        self.buffer.extend(image.data)

    def _flush(self) -> None:
        """Write a page to disk, and then what is in it into the journal."""
        self.out.seek(self.position)
        self.out.write(self.buffer + bytes(self.page - len(self.buffer)))
        self._sync()
        self.log.write(np.array(self.entries[self.logged :], _ENTRY).tobytes())
        self.log.flush()
        self.position, self.buffer, self.logged = self.position + self.page, bytearray(), len(self.entries)

    def _sync(self) -> None:
        self.out.flush()
        os.fsync(self.out.fileno())

    def finish(self) -> None:
        """Write the last page, the table of places and, at the file's beginning, header, fields and rows."""
        if self.buffer:
            self._flush()
        entries = np.array(self.entries, _ENTRY)
        rows, fields = np.zeros(len(entries), self.row), np.zeros(len(self.kinds), _FIELD)
        for i, column in enumerate([entries["image"], *self.columns.values()]):
            rows[f"f{i}"] = column
        for field, (name, kind) in zip(fields, self.kinds.items()):
            field["type"] = kind
            field["name"][: len(name)] = np.frombuffer(name.encode("ascii"), np.uint8)
        self.out.seek(self.position)
        self.out.write(entries["place"].tobytes())
        self.out.seek(0)
        header = np.array([(_VERSION, len(self.kinds), self.page, len(entries), self.position)], _HEADER)
        self.out.write(header.tobytes() + fields.tobytes() + rows.tobytes())
        self._sync()

"""Random damage, seeded: what is read is as before, or one sentence names the file; nothing else, and no signal."""

import io
import json
import random
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from repro.core import places
from repro.core.store import Record, Store, export, load
from repro.errors import ReproError
from repro.loader import beton
from repro.loader.loader import Loader
from repro.pages import execute
from repro.ssl import checkpoint
from repro.views.recipe import preset

TRIES = 126  # of each of the four


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Bytes changed, cut off, left out, doubled, put in, or set to zero, at random places."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        at, size = rng.randrange(len(out) + 1), rng.choice((1, 1, 2, 4, 8, 40, 400))
        how = rng.randrange(6)
        if how == 0:
            out[at : at + size] = rng.randbytes(len(out[at : at + size]))
        elif how == 1:
            del out[at:]
        elif how == 2:
            del out[at : at + size]
        elif how == 3:
            out[at:at] = out[at : at + size]
        elif how == 4:
            out[at:at] = rng.randbytes(size)
        else:
            out[at : at + size] = bytes(len(out[at : at + size]))
    return bytes(out)


def same(a, b) -> bool:
    return json.dumps(a, sort_keys=True, default=str) == json.dumps(b, sort_keys=True, default=str)


def fuzz(path: Path, read, change=damaged, tries: int = TRIES, alike=same) -> int:
    """Damage a file again and again; in how many tries a sentence told of it. `alike` compares what is read otherwise."""
    whole, before, told = path.read_bytes(), read(), 0
    for number in range(tries):
        content = change(whole, random.Random(f"{path.name} {number}"))
        path.write_bytes(content)
        said, after = "", None
        try:
            after = read()
        except ReproError as e:
            said = str(e)
        assert alike(before, after) if not said else said.endswith(".") and "\n" not in said, (number, said)
        told += bool(said)
    path.write_bytes(whole)
    assert alike(before, read())
    return told


def test_a_beton_file(tmp_path):
    """Views are as before, or, where pixels themselves were changed and decode all the same, of other pixels: a JPEG has no
    checksum. Numbers and labels in the table are as good as its bytes."""
    rng, path = np.random.default_rng(0), tmp_path / "some.beton"
    images = [Image.fromarray(rng.integers(0, 256, (24, 20, 3), np.uint8)) for _ in range(6)]
    beton.write(path, lambda i: beton.as_jpeg(images[i]), {"label": [i % 2 for i in range(6)]}, page=1 << 13)

    def read() -> list[int]:
        batches = list(Loader(path, preset("none"), 2, 16, workers=1, shuffle=False).epoch())
        assert all(b.views.shape == (1, 2, 3, 16, 16) for b in batches)
        return [len(b.index) for b in batches]

    assert fuzz(path, read, alike=lambda a, b: set(b) == {2} and len(b) <= len(a)) > TRIES // 4


def test_a_stored_run_and_committed_results(tmp_path):
    metrics = {"linear_test_class": 51.25, "diverged": 0.0}
    record = Record("a" * 16, "RunSpec", {"seed": 0}, metrics, {"loss": [2.5, 1.5]}, {"wall_seconds": 1.5})
    store = Store(tmp_path / "store")
    store.put(record)
    shape = lambda r: (r.key, sorted(map(type, (r.kind, r.spec, r.metrics, r.curves, r.provenance)), key=str))  # noqa: E731
    path = store.root / record.key / "run.json"
    assert fuzz(path, lambda: shape(store.get(record.key)), tries=TRIES // 2) > TRIES // 4
    export([record], tmp_path / "runs.jsonl")
    read = lambda: [shape(r)[1] for r in load(tmp_path / "runs.jsonl")]  # noqa: E731
    assert fuzz(tmp_path / "runs.jsonl", read, tries=TRIES // 2, alike=lambda a, b: same(a[:1], b[:1]) or not b) > 9


def test_a_checkpoint(tmp_path):
    net, path = torch.nn.Linear(3, 2), tmp_path / "checkpoint.pt"
    optimiser = torch.optim.AdamW(net.parameters(), foreach=True)
    net(torch.ones(1, 3)).sum().backward()
    optimiser.step()
    parts = {"net": net, "optimiser": optimiser}
    checkpoint.save(path, {"state": {"step": 3}, **{k: v.state_dict() for k, v in parts.items()}})
    assert fuzz(path, lambda: (checkpoint.resume(path, parts), net.weight.tolist())) > TRIES // 2


def test_a_notebooks_parameters(tmp_path, monkeypatch):
    slug = execute.available()[0]
    path = tmp_path / f"{execute.claims.notebooks()[slug]}.ipynb"
    original = places.notebooks() / path.name
    monkeypatch.setattr(places, "notebooks", lambda: tmp_path)
    book = nbformat.read(original, 4)
    (cell,) = (c for c in book.cells if "parameters" in c.metadata.get("tags", []))

    def change(whole: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.5:
            return damaged(whole, rng)
        edited = nbformat.from_dict(book)
        at = book.cells.index(cell)
        edited.cells[at] = nbformat.from_dict({**cell, "source": damaged(cell.source.encode(), rng).decode("latin-1")})
        out = io.StringIO()
        nbformat.write(edited, out)
        return out.getvalue().encode()

    path.write_bytes(original.read_bytes())
    kinds = (str, int, float, bool, list, tuple, dict, type(None), bytes)
    alike = lambda a, b: isinstance(b, dict) and all(isinstance(v, kinds) for v in b.values())  # noqa: E731
    assert fuzz(path, lambda: execute.parameters(slug), change, alike=alike) > TRIES // 4


def test_a_deep_file_is_damaged(tmp_path):
    store = Store(tmp_path)
    (tmp_path / ("a" * 16)).mkdir()
    (tmp_path / ("a" * 16) / "run.json").write_text("[" * 100_000)
    with pytest.raises(ReproError, match="is damaged"):
        store.get("a" * 16)

"""A data set's training images as files, for runs that load them at every step: one .beton file, which a prepared set
has already, and the same bytes as ordinary files for torchvision."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from repro import data
from repro.core import places
from repro.core.io import disk_error, write_atomic
from repro.cores import cores
from repro.loader import beton
from repro.loader.loader import Images, Loader, ramp
from repro.loader.pictures import readable
from repro.views.recipe import Recipe

if TYPE_CHECKING:
    from repro.loader.plain import PlainLoader

QUALITY = 90


def loader(
    file: Path,
    through: str,
    recipe: Recipe,
    batch: int,
    size: int | Callable[[int], int],
    seed: int,
    indices: Sequence[int],
    device: torch.device,
    fast: bool = False,
    part: tuple[int, int] = (0, 1),
) -> Loader | PlainLoader:
    """The loader `through` ("ours" or "torchvision") of a .beton file; the rest as for `Loader`."""
    rest = {"seed": seed, "indices": indices, "device": device, "part": part}
    if through == "ours":
        return Loader(file, recipe, batch, size, fast=fast, **rest)
    from repro.loader.plain import PlainLoader  # imports torchvision, which takes seconds

    return PlainLoader(unpacked(file), recipe, batch, size, **rest)


def growing(size: int, steps: tuple[int, ...]) -> int | Callable[[int], int]:
    """The views' pixels, or how they grow by `repro.core.spec.Loading.ramp`: in steps of 32 pixels, or 8 for small images."""
    if not steps:
        return size
    return ramp(steps[0], size, steps[1], steps[2], 32 if size >= 128 else 8)


def beton_of(name: str, stored: int, options: tuple[tuple[str, float], ...] = ()) -> Path:
    """The training images as JPEGs of `stored` pixels a side in a .beton file, made once for the same images. stored 0: a
    prepared set's own file, of which `Split.numbers` are for training; the images of other sets at their own size."""
    if not stored and data.in_files(name):
        return data.root() / name / "train.beton"
    what = (name, stored, options, QUALITY, data.fingerprint(name))
    digest = hashlib.sha256(repr(what).encode()).hexdigest()[:12]
    file = places.root() / "build" / "files" / f"{Path(name).name}-{digest}.beton"
    if not file.exists():
        split = data.load(name, stored, options).train
        images = split.images
        if isinstance(images, Images):
            images = replace(images, central=1.0)

        def encode(i: int) -> beton.Encoded:
            pixels = images[i : i + 1].to("cpu")[0].permute(1, 2, 0).contiguous().numpy()
            return beton.as_jpeg(Image.fromarray(pixels), QUALITY)

        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=file.parent) as scratch:  # another process may be at the same
                labels = {k: v.tolist() for k, v in split.labels.items()}
                beton.write(Path(scratch) / file.name, encode, labels, workers=cores())
                os.replace(Path(scratch) / file.name, file)
        except OSError as e:
            raise disk_error(e, file.parent) from e
    return file


def unpacked(file: Path) -> list[Path]:
    """The images of a .beton file as ordinary files beside it, byte for byte; raw ones as PNG."""
    content, folder = beton.read(file), file.with_suffix(".files")
    if file.name == "train.beton":  # a prepared set's, which may be prepared anew
        status = file.stat()
        digest = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode()).hexdigest()[:12]
        folder = file.with_name(f"train-{digest}.files")
    out = [
        folder / f"{i // 1000:04}" / f"{i:07}.{'jpg' if k == beton.JPEG else 'png'}"
        for i, k in enumerate(content.kinds)
    ]
    done = folder / "complete"
    if done.exists():
        return out
    for i, path in enumerate(out):
        content.check()
        part = content.data[content.offsets[i] : content.offsets[i] + content.lengths[i]]
        if path.suffix == ".png":
            png = io.BytesIO()
            Image.fromarray(np.asarray(part).reshape(content.heights[i], content.widths[i], 3)).save(png, "PNG")
            part = png.getvalue()
        else:
            with readable(f"{file}, sample {i}"), Image.open(io.BytesIO(part)) as image:
                if image.size != (content.widths[i], content.heights[i]):
                    raise ValueError("it is not of the size that the file's table says")
        write_atomic(path, bytes(part))
    write_atomic(done, f"{len(out)}\n")
    return out

"""JPEGs of photograph size to measure loaders on, where no folder of real ones is given."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from repro.errors import ReproError
from repro.loader import beton, jpeg
from repro.loader.pictures import readable


def synthetic(folder: Path, count: int, seed: int = 0) -> list[Path]:
    """`count` JPEGs of 256 to 500 pixels a side, quality 90: cuts of the two photographs inside scikit-learn mixed with
    textures whose spectrum falls like a photograph's. What is there is kept."""
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    photographs = [Image.fromarray(image) for image in load_sample_images().images]
    out = []
    for i in range(count):
        path = folder / f"{seed}-{i:05}.jpg"
        out.append(path)
        if path.exists():
            continue
        rng = np.random.default_rng([seed, i])
        width, height = rng.integers(256, 501, 2)
        source = photographs[i % 2]
        side = rng.uniform(0.4, 1.0)
        cut = int(source.width * side), int(source.height * side)
        left, top = (int(rng.uniform(0, whole - part + 1)) for whole, part in zip(source.size, cut))
        image = source.resize((width, height), Image.Resampling.BICUBIC, (left, top, left + cut[0], top + cut[1]))
        mixed = 0.75 * np.asarray(image) + 0.25 * _texture(rng, height, width)
        data = io.BytesIO()
        Image.fromarray(mixed.clip(0, 255).astype(np.uint8)).save(data, "JPEG", quality=90)
        path.write_bytes(data.getvalue())
    return out


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise (height, width, 3) whose amplitude falls with one over the frequency, stretched over 0 to 255."""
    y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
    fall = 1 / np.maximum(np.hypot(y, x), 1 / max(height, width))
    waves = (rng.normal(size=(3, *fall.shape)) + 1j * rng.normal(size=(3, *fall.shape))) * fall
    noise = np.fft.irfft2(waves, (height, width)).transpose(1, 2, 0)
    return 255 * (noise - noise.min()) / np.ptp(noise)


def found(folder: Path, count: int) -> list[Path]:
    """The first `count` JPEGs below a folder that libjpeg-turbo decodes, in the order of their names."""
    from repro.data.tree import images

    if not folder.is_dir():
        raise ReproError(f"There is no folder {folder}: give one with JPEG photographs, or none for synthetic ones.")
    out = []
    for path in images(folder):
        with readable(path), Image.open(path) as image:
            size, plain = image.size, image.format == "JPEG" and image.mode == "RGB"
        if plain and jpeg.decodes(path.read_bytes(), *size):
            out.append(path)
        if len(out) == count:
            return out
    if len(out) < 8:
        raise ReproError(f"The folder {folder} has {len(out)} colour JPEGs, and a measurement needs 8 or more.")
    return out


def pack(files: list[Path], out: Path, raw: bool) -> None:
    """The files as one `.beton` file: their own bytes, or their pixels."""

    def encode(i: int) -> beton.Encoded:
        with Image.open(files[i]) as image:
            pixels = image.convert("RGB").tobytes() if raw else b""
            return beton.Encoded(pixels or files[i].read_bytes(), image.height, image.width, raw)

    beton.write(out, encode, {"label": [0] * len(files)}, identity=str([f.name for f in files]))

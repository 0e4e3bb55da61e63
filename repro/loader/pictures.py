"""Image files as RGB pictures: the same picture, or the same sentence, for every reader."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from repro.errors import ReproError


def rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB; 16 bits a pixel (mode "I" in older Pillows) by their upper 8, which Pillow would cut off at 255."""
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:  # a palette's, of which Pillow warns
        image = image.convert("RGBA")
    return image.convert("RGB")


@contextlib.contextmanager
def readable(path: str | Path) -> Iterator[None]:
    """Raise ReproError that names an image file where it cannot be read."""
    try:
        yield
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
        name = os.fsencode(path).decode(errors="replace")
        raise ReproError(f"The image {name} cannot be read ({e}): replace it or delete it, and run again.") from e

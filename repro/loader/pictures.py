"""Image files as RGB pictures: the same picture, or the same sentence, for every reader."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from repro.errors import ReproError


def rgb(image: Image.Image) -> Image.Image:
    """Any mode as RGB; 16 bits a pixel (mode "I" in older Pillows) by their upper 8, which Pillow would cut off at 255."""
    if image.mode == "F":  # Pillow would cut them off at 255, too, and a picture of 0 to 1 be black
        raise ValueError("its pixels are fractions of an unknown whole")
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
    except Exception as e:  # Pillow's formats, and the file may be of any, have many errors for damage
        why = str(e).partition("\n")[0] or type(e).__name__
        said = f"The image {shown(path)} cannot be read ({why}): replace it or delete it, and run again."
        raise ReproError(said) from e


def shown(name: str | Path) -> str:
    """A name in one line as it can be printed, also where it is not UTF-8."""
    return re.sub(r"[\x00-\x1f\x7f]", "\ufffd", os.fsencode(name).decode(errors="replace"))

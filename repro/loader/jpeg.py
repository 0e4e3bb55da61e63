"""libjpeg-turbo, the decoder inside Pillow and FFCV, called by its address from compiled code.

Decoded with no flags it gives Pillow's pixels, bit for bit; FFCV's own decoder takes the fast DCT, which is off by one
grey level on average.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from pathlib import Path

import numpy as np

from repro.errors import ReproError

FAST = 256 | 2048  # TJFLAG_FASTUPSAMPLE, TJFLAG_FASTDCT


@functools.cache
def library() -> ctypes.CDLL:
    """The system's library, or the one that FFCV was built against. Raises ReproError if there is none."""
    ffcv = importlib.util.find_spec("ffcv")  # looked at, not imported: that takes seconds
    built = [p for folder in (ffcv.submodule_search_locations if ffcv else ()) for p in Path(folder).glob("_libffcv*")]
    for name in ("libturbojpeg.so.0", "libturbojpeg.0.dylib", "turbojpeg.dll", *map(str, built)):
        try:
            turbo = ctypes.CDLL(name)
            turbo.tjInitDecompress.restype = ctypes.c_void_p
        except (OSError, AttributeError):
            continue
        turbo.tjDestroy.argtypes = [ctypes.c_void_p]
        return turbo
    raise ReproError(
        "There is no libjpeg-turbo to decode JPEGs: install your system's libturbojpeg package, or use the torchvision "
        "loader, which needs none."
    )


class Decoder:
    """What `repro.loader.compiled.make_views` calls for a JPEG; one thread at a time may use it."""

    def __init__(self, fast: bool = False):
        self._library = library()
        handle = self._library.tjInitDecompress()
        if not handle:
            raise ReproError("libjpeg-turbo has no memory for a decoder: free some and run again.")
        function = ctypes.cast(self._library.tjDecompress2, ctypes.c_void_p).value
        self.address = np.array([function, handle, FAST if fast else 0], np.int64)

    def __del__(self) -> None:
        if hasattr(self, "address"):
            self._library.tjDestroy(int(self.address[1]))


def decodes(data: bytes, width: int, height: int) -> bool:
    """Whether a JPEG is of this size, ends where its data end, and decodes without a complaint, so that it can be stored as
    it is."""
    if not data.endswith(b"\xff\xd9"):
        return False
    turbo, decoder = library(), Decoder()
    handle = ctypes.c_void_p(int(decoder.address[1]))
    sizes = [ctypes.c_int() for _ in range(4)]
    if turbo.tjDecompressHeader3(handle, data, ctypes.c_ulong(len(data)), *map(ctypes.byref, sizes)) != 0:
        return False
    if (sizes[0].value, sizes[1].value) != (width, height):
        return False
    out = ctypes.create_string_buffer(3 * width * height)
    length = ctypes.c_ulong(len(data))
    return turbo.tjDecompress2(handle, data, length, out, width, 0, height, 0, 0) == 0

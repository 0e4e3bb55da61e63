"""An operation for FFCV's own `Loader` (stock `ffcv==1.0.2`): one decode of an image, any number of views cut from it.

    views = Views(recipe, size=224, seed=0)
    loader = Loader(path, batch_size=256, num_workers=8, order=OrderOption.RANDOM, pipelines={"image": [views, ToTensor()]})
    for epoch in range(100):
        views.prepare(epoch, size(epoch))
        for images, labels in loader:  # images: (B, V, 3, S, S) uint8

The pictures are those of `repro.loader.loader.Loader`. That one starts faster (FFCV compiles anew in every process), and an
error ends it where FFCV would wait for ever. Importing this module needs FFCV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numba
import numpy as np
from ffcv.fields.rgb_image import SimpleRGBImageDecoder
from ffcv.pipeline.allocation_query import AllocationQuery
from ffcv.pipeline.compiler import Compiler
from ffcv.pipeline.state import State
from numba import types
from numba.extending import intrinsic

from repro.loader import compiled
from repro.loader.beton import JPEG, RAW
from repro.loader.compiled import make_views
from repro.loader.jpeg import Decoder
from repro.views.recipe import Recipe


@intrinsic
def _pointer(typingctx, address):
    """How numbers that change from epoch to epoch reach a function that FFCV compiles once: by where they lie."""
    return types.voidptr(types.int64), lambda context, builder, signature, args: builder.inttoptr(
        args[0], context.get_value_type(types.voidptr)
    )


class Views(SimpleRGBImageDecoder):
    """Decode an image once and make all views of a recipe from it: (B, V, 3, size, size) uint8.

    recipe: see `repro.views.recipe`. fast: see `repro.loader.compiled.make_views`. Call `prepare` before each epoch. An
    image that cannot be decoded comes out black, and `damaged` is its number (-1: none): FFCV has no way to stop for it.
    """

    def __init__(self, recipe: Recipe, size: int = 224, seed: int = 0, fast: bool = False):
        super().__init__()
        # FFCV's loader makes numba's type of byte arrays read-only for the whole process: what is compiled later fails
        compiled.warm_up()
        self.recipe, self.seed, self.fast, self.views = recipe, seed, fast, len(recipe.views)
        # the size, a damaged sample, whether it is fast, and what begins each view's random numbers
        self._numbers = np.full(3 + self.views, -1)
        self._table = compiled.table(recipe, size)
        self._decoders = [Decoder(fast) for _ in range(numba.config.NUMBA_NUM_THREADS)]
        self._addresses = np.stack([d.address for d in self._decoders])
        self.prepare(0, size)

    def prepare(self, epoch: int, size: int = 0) -> None:
        """Say which epoch comes, and its resolution (0: as before)."""
        self._numbers[0], self._numbers[2] = size or self._numbers[0], self.fast
        self._table[:] = compiled.table(self.recipe, int(self._numbers[0]))
        self._numbers[3:] = compiled.starts(self.recipe, self.seed, epoch)

    @property
    def damaged(self) -> int:
        return int(self._numbers[1])

    def declare_state_and_memory(self, previous_state: State) -> tuple[State, AllocationQuery]:
        shape, kind = (self.views, 3, int(self._numbers[0]), int(self._numbers[0])), np.dtype("u1")
        return replace(previous_state, jit_mode=True, shape=shape, dtype=kind), AllocationQuery(shape, kind)

    def generate_code(self) -> Callable:
        memory_read, each, views, columns = self.memory_read, Compiler.get_iterator(), self.views, self._table.shape[1]
        numbers_at, table_at, decoders_at = (a.ctypes.data for a in (self._numbers, self._table, self._addresses))
        threads = len(self._addresses)

        def decode(batch_indices, destination, metadata, storage_state):
            count = len(batch_indices)
            numbers = numba.carray(_pointer(numbers_at), (3 + views,), np.int64)
            decoders = numba.carray(_pointer(decoders_at), (threads, 3), np.int64)
            table = numba.carray(_pointer(table_at), (views, columns), np.float64)
            size = numbers[0]
            out = destination.reshape(-1)[: count * views * 3 * size * size].reshape(count * views, 3 * size * size)
            for i in each(count):
                field = metadata[batch_indices[i]]
                data = memory_read(field["data_ptr"], storage_state)
                one = np.zeros(1, np.int64)
                place = np.array([data.size, field["height"], field["width"], JPEG if field["mode"] == 0 else RAW])
                length, height, width, kind = place[:1], place[1:2], place[2:3], place[3:]
                sample = np.full(1, np.int64(batch_indices[i]))
                mine = out[i * views : (i + 1) * views]
                bad = make_views(
                    data, one, length, height, width, kind, sample, np.int64(0), np.int64(1), table, numbers[3:], size,
                    numbers[2] > 0, decoders[numba.get_thread_id()], mine, np.empty((0, 1), np.float32),
                    np.int64(1), np.int64(views),
                )  # fmt: skip
                if bad >= 0:
                    numbers[1] = sample[0]
                    mine[:] = 0
            return destination[:count]

        decode.is_parallel = True
        return decode

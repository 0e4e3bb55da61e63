"""The view recipe compiled for the CPU: an image's pixels stay in cache while its views are made.

Same parameters (`repro.views.draw`), same pictures as `repro.views.batched` and `tests/reference.py`. Everything is
float32 and planar, so that the compiler makes vector instructions of the loops: `numba.float32` constants keep it from
widening to 64 bits, and flips, which would read backwards, are folded into the resampling's weights.
"""

from __future__ import annotations

import ctypes
import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from repro.errors import ReproError
from repro.loader.beton import JPEG, PLANAR, RAW
from repro.views.draw import (
    BLUR,
    BRIGHTNESS,
    CONTRAST,
    FACTORS,
    FLIP,
    GOLDEN,
    GRAY,
    HUE,
    JITTER,
    NOISE,
    ORDER,
    ORDERS,
    SATURATION,
    SIGMA,
    SOLARIZE,
    TRIES,
    mix,
    stream,
)  # fmt: skip
from repro.views.recipe import Recipe, View

_F = np.float32
_0, _1, _2, _3, _4, _6, _HALF = _F(0), _F(1), _F(2), _F(3), _F(4), _F(6), _F(0.5)
_R, _G, _B = _F(0.2989), _F(0.587), _F(0.114)  # torchvision's rgb_to_grayscale
_CHUNK = 1024  # pixels that go through one loop after another: 12 KB of planar float32, well inside a first-level cache
_SQRT_HALF = np.float32(math.sqrt(0.5)).view(np.int32)  # its bits
_ORDERS = np.array(ORDERS)
_BLUR_REACH = 4.25  # standard deviations after which a Gaussian's taps are left out: 2e-5 of its mass
_LANES = 16  # numbers in a vector; narrower machines take two or four instructions for it
_VECTORS = 7  # that a filter makes at a time: 112 numbers, half a row of 224, enough to keep the multipliers busy
_BLOCK = 2 * _LANES  # pixels that take a step of `_paint` together
_ROWS = 4  # that are blurred across at a time
_UNROLLED = 8  # pixels to a side of the widest blur with machine code of its own: a standard deviation of 2
_PAD = 2 * _LANES  # slack behind each plane and line, for whole blocks at their ends


def _jit(function, fast=True):
    """Compile without Python's lock; keep the machine code on disk where a cache folder can be written.

    numba makes it anew when this file changes, and only then: not when a constant of `draw` does.
    """
    options = {"nopython": True, "nogil": True, "fastmath": fast, "error_model": "numpy"}
    try:
        return numba.jit(cache=True, **options)(function)
    except RuntimeError:  # no writable place for the cache
        return numba.jit(**options)(function)


def _exact(function):
    """As `_jit`, but every operation rounds as it is written: for what must agree bit for bit with another back end."""
    return _jit(function, fast=False)


_mix = _jit(mix)


@_jit
def counter(start, sample):
    """What the random numbers of one sample's view begin with."""
    return _mix(start + sample * GOLDEN)


class _Vector:
    """Some numbers in a register while the machine code is written, so that formulas there read as elsewhere."""

    lanes = _LANES
    kind = ir.VectorType(ir.FloatType(), lanes)

    def __init__(self, builder, value):
        self.builder = builder
        self.value = ir.Constant(self.kind, [float(value)] * self.lanes) if isinstance(value, (int, float)) else value

    def _of(self, other):
        return type(self)(self.builder, getattr(other, "value", other)).value

    def _join(self, operation, other, swap=False):
        a, b = self.value, self._of(other)
        return type(self)(self.builder, getattr(self.builder, operation)(*((b, a) if swap else (a, b)), flags=["fast"]))

    def __add__(self, other):
        return self._join("fadd", other)

    def __sub__(self, other):
        return self._join("fsub", other)

    def __rsub__(self, other):
        return self._join("fsub", other, swap=True)

    def __mul__(self, other):
        return self._join("fmul", other)

    def where(self, comparison, bound, other):
        """Itself where it compares so with `bound`, else `other`."""
        return self._chosen(self.builder.fcmp_ordered(comparison, self.value, self._of(bound), flags=["fast"]), other)

    def where_equal(self, one, two, other):
        """Itself where `one` and `two` are equal, else `other`."""
        return self._chosen(self.builder.fcmp_ordered("==", one.value, two.value, flags=["fast"]), other)

    def _chosen(self, mask, other):
        return type(self)(self.builder, self.builder.select(mask, self.value, self._of(other), flags=["fast"]))

    def max(self, other):
        return self.where(">", other, other)

    def min(self, other):
        return self.where("<", other, other)

    def clamp(self):
        return self.max(0).min(1)

    def __abs__(self):
        return self.where(">=", 0, 0 - self)

    def taken(self, other, lanes):
        """The numbers `lanes` of its own and then of `other`'s."""
        lanes = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), list(lanes))
        return type(self)(self.builder, self.builder.shuffle_vector(self.value, other.value, lanes))

    def shifted(self, other, by):
        """Without its first `by` numbers, but with those of `other` behind it."""
        return self.taken(other, range(by, by + self.lanes))

    @classmethod
    def load(cls, builder, data, offset):
        pointer = builder.bitcast(builder.gep(data, [offset]), cls.kind.as_pointer())
        return cls(builder, builder.load(pointer, align=4))

    @classmethod
    def spread(cls, builder, data, offset):
        """One number of `data` in every lane."""
        one = builder.load(builder.gep(data, [offset]))
        one = builder.insert_element(ir.Constant(cls.kind, ir.Undefined), one, ir.IntType(32)(0))
        return cls(builder, one).taken(cls(builder, one), [0] * cls.lanes)

    def store(self, data, offset):
        pointer = self.builder.bitcast(self.builder.gep(data, [offset]), self.kind.as_pointer())
        self.builder.store(self.value, pointer, align=4)


class _Four(_Vector):
    lanes = 4
    kind = ir.VectorType(ir.FloatType(), lanes)


def _data(context, builder, signature, args, which):
    """Where the data of some of the arguments, which are arrays, lie."""
    return [context.make_array(signature.args[i])(context, builder, args[i]).data for i in which]


@intrinsic
def _filter_row(typingctx, red, green, blue, line, first, weight, taps, size):
    """Resample one row of interleaved RGB to `size` pixels (rounded up to 4) of three planar rows.

    red, green, blue, line, weight: float32 1-D; first: int64 1-D. Pixel x is the sum over k < taps of
    weight[x * taps + k] times the pixel first[x] + k of `line`. Here because the compiler does not find the vectors
    itself: a pixel is loaded as a vector of 4 (the fourth is its neighbour's red), and four sums are transposed to
    three vectors of 4 pixels.
    """
    signature = types.void(red, green, blue, line, first, weight, types.int64, types.int64)

    def codegen(context, builder, signature, args):
        *planes, line, first, weight = _data(context, builder, signature, args, range(6))
        (taps, size), number = args[6:], ir.IntType(64)
        with cgutils.for_range_slice(builder, number(0), size, number(4), intp=number) as (x, _):
            starts, weights, sums = [], [], []
            for lane in range(4):
                pixel = builder.add(x, number(lane))
                offset = builder.mul(builder.load(builder.gep(first, [pixel])), number(3))
                starts.append(builder.gep(line, [offset]))
                weights.append(builder.gep(weight, [builder.mul(pixel, taps)]))
                sums.append(cgutils.alloca_once(builder, _Four.kind))
                builder.store(_Four(builder, 0.0).value, sums[-1])
            with cgutils.for_range(builder, taps) as loop:
                for start, w, total in zip(starts, weights, sums):
                    pixel = _Four.load(builder, start, builder.mul(loop.index, number(3)))
                    product = _Four.spread(builder, w, loop.index) * pixel
                    builder.store((_Four(builder, builder.load(total)) + product).value, total)
            a, b, c, d = (_Four(builder, builder.load(total)) for total in sums)
            ab, cd = a.taken(b, (0, 4, 1, 5)), c.taken(d, (0, 4, 1, 5))  # a0 b0 a1 b1
            rows = ab.taken(cd, (0, 1, 4, 5)), ab.taken(cd, (2, 3, 6, 7))
            blues = a.taken(b, (2, 6, 3, 7)).taken(c.taken(d, (2, 6, 3, 7)), (0, 1, 4, 5))
            for plane, row in zip(planes, (*rows, blues)):
                row.store(plane, x)
        return context.get_dummy_value()

    return signature, codegen


def _by_half(builder, half, make):
    """Code for each half width of a blur that has its own, chosen when it runs: nothing is looped over inside it."""
    after = builder.append_basic_block()
    cases = builder.switch(half, after)
    for number in range(1, _UNROLLED + 1):
        block = builder.append_basic_block()
        cases.add_case(half.type(number), block)
        builder.position_at_end(block)
        make(number)
        builder.branch(after)
    builder.position_at_end(after)


@intrinsic
def _smooth_along(typingctx, plane, at, taps, half, out, to, n):
    """out[to + i] = the sum over -half <= k <= half <= _UNROLLED of taps[half + k] * plane[at + i + k], for i < n,
    reflected at 0 and n - 1. taps: symmetric; n: whole vectors.

    Here because some neighbours then come from registers, and some from memory: loads across cache lines cost twice.
    """
    signature = types.void(plane, types.int64, taps, types.int64, out, types.int64, types.int64)

    def codegen(context, builder, signature, args):
        (plane, taps, out), number = _data(context, builder, signature, args, (0, 2, 4)), ir.IntType(64)
        at, half, to, n = args[1], args[3], *args[5:]
        last = builder.sub(n, number(_LANES))

        def load(i, by=0):
            return _Vector.load(builder, plane, builder.add(builder.add(at, i), number(by)))

        def make(reach):
            weights = [_Vector.spread(builder, taps, number(reach + k)) for k in range(reach + 1)]

            def put(i, here, left, right):
                total = here * weights[0]
                for k in range(1, reach + 1):
                    total += (left(k) + right(k)) * weights[k]
                total.store(out, builder.add(to, i))

            def put_edge(i, before, here, after):
                put(i, here, lambda k: before.shifted(here, _LANES - k), lambda k: here.shifted(after, k))

            first, final = load(number(0)), load(last)
            mirrored_first = first.taken(first, [0, *range(_LANES - 1, 0, -1)])
            mirrored_final = final.taken(final, [*range(_LANES - 2, -1, -1), 0])
            alone = builder.icmp_signed("==", last, number(0))
            second = _Vector(builder, builder.select(alone, mirrored_final.value, load(number(_LANES)).value))
            put_edge(number(0), mirrored_first, first, second)
            with cgutils.for_range_slice(builder, number(_LANES), last, number(_LANES), intp=number) as (i, _):
                here, after = load(i), load(i, _LANES)
                put(i, here, lambda k: load(i, -k), lambda k: here.shifted(after, k))
            with builder.if_then(builder.not_(alone)):
                put_edge(last, load(last, -_LANES), final, mirrored_final)

        _by_half(builder, half, make)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _smooth_across(typingctx, ring, starts, taps, half, out, to, n):
    """Blur across _ROWS + 2 * half rows of `ring`, which begin at starts, to _ROWS rows of `out`, one behind the other
    from `to` on. half, taps, n: as for `_smooth_along`. Here because a row that adds to several sums is loaded once."""
    signature = types.void(ring, starts, taps, types.int64, out, types.int64, types.int64)

    def codegen(context, builder, signature, args):
        (ring, starts, taps, out), number = _data(context, builder, signature, args, (0, 1, 2, 4)), ir.IntType(64)
        half, to, n = args[3], *args[5:]

        def make(reach):
            weights = [_Vector.spread(builder, taps, number(reach + k)) for k in range(reach + 1)]
            begins = [builder.load(builder.gep(starts, [number(k)])) for k in range(_ROWS + 2 * reach)]
            ends = [builder.add(to, builder.mul(n, number(k))) for k in range(_ROWS)]
            with cgutils.for_range_slice(builder, number(0), n, number(_LANES), intp=number) as (i, _):
                rows = [_Vector.load(builder, ring, builder.add(begin, i)) for begin in begins]
                for j, end in enumerate(ends):
                    total = rows[reach + j] * weights[0]
                    for k in range(1, reach + 1):
                        total += (rows[reach + j - k] + rows[reach + j + k]) * weights[k]
                    total.store(out, builder.add(end, i))

        _by_half(builder, half, make)
        return context.get_dummy_value()

    return signature, codegen


# steps of `_paint`: their functions take three vectors and the step's numbers, and return three


def _affine(r, g, b, number):
    factor, shift = number(0), number(1)
    return r * factor + shift, g * factor + shift, b * factor + shift


def _brighten(r, g, b, number):
    return tuple((x * number(0)).min(1) for x in (r, g, b))


def _clamp(r, g, b, number):
    return r.clamp(), g.clamp(), b.clamp()


def _saturate(r, g, b, number):
    """Blend each pixel with its gray."""
    factor = number(0)
    shift = (r * float(_R) + g * float(_G) + b * float(_B)) * number(1)
    return r * factor + shift, g * factor + shift, b * factor + shift


def _turn_hue(r, g, b, number):
    """Turn the hue, keeping HSV's saturation and value. number(k): where red (0), green (1) and blue (2) come to lie, in
    sixths of a turn in [-3, 3)."""
    high, low = r.max(g).max(b), r.min(g).min(b)
    chroma = high - low
    # the hue times the chroma, in [-4 chroma, 4 chroma]: so no division is needed
    hue, place = (b - r).where_equal(g, high, r - g), number(1).where_equal(g, high, number(2))
    hue, place = (g - b).where_equal(r, high, hue), number(0).where_equal(r, high, place)
    hue += place * chroma
    # each channel is a trapezoid of the way to its own hue, which from green and blue may be shorter around the circle
    half_turn, below, above = chroma * 3, low - chroma, high + chroma
    r = above - abs(hue)
    g, b = (abs(abs(hue + chroma * to) - half_turn) + below for to in (-2, 2))
    return tuple(x.min(high).max(low) for x in (r, g, b))


def _solarize(r, g, b, number):
    return tuple(x.where("<", number(0), 1 - x) for x in (r, g, b))


def _matrix(r, g, b, number):
    rows = [r * number(k) + g * number(k + 1) + b * number(k + 2) + number(k + 3) for k in (0, 4, 8)]
    return tuple(x.clamp() for x in rows)


_STEPS = (_affine, _brighten, _clamp, _saturate, _turn_hue, _solarize, _matrix)
_MOST = 8  # steps at a time: four turns of the jitter, two of them clamped, gray and solarize
_DO_AFFINE, _DO_BRIGHTEN, _DO_CLAMP, _DO_SATURATE, _DO_TURN_HUE, _DO_SOLARIZE, _DO_MATRIX = range(len(_STEPS))


def _take_steps(builder, planes, i, steps, numbers, count):
    """The _BLOCK pixels from i on after `count` of _STEPS, which stand in the array `steps`: for each plane its vectors.
    numbers: 12 for each step."""
    number = ir.IntType(64)
    offsets = [builder.add(i, number(k)) for k in range(0, _BLOCK, _LANES)]
    places = [[cgutils.alloca_once(builder, _Vector.kind) for _ in planes] for _ in offsets]  # registers, in the end
    for offset, three in zip(offsets, places):
        for plane, place in zip(planes, three):
            builder.store(_Vector.load(builder, plane, offset).value, place)
    with cgutils.for_range(builder, count) as loop:
        first = builder.mul(loop.index, number(12))
        after = builder.append_basic_block()
        cases = builder.switch(builder.load(builder.gep(steps, [loop.index])), after)
        for code, step in enumerate(_STEPS):
            block = builder.append_basic_block()
            cases.add_case(number(code), block)
            builder.position_at_end(block)
            for three in places:
                colours = [_Vector(builder, builder.load(place)) for place in three]
                done = step(*colours, lambda k: _Vector.spread(builder, numbers, builder.add(first, number(k))))
                for colour, place in zip(done, three):
                    builder.store(colour.value, place)
            builder.branch(after)
        builder.position_at_end(after)
    return [
        [(offset, _Vector(builder, builder.load(three[c]))) for offset, three in zip(offsets, places)] for c in range(3)
    ]


@intrinsic
def _paint(typingctx, red, green, blue, begin, end, steps, numbers, count, sums):
    """Take the pixels begin ... end - 1, rounded up to whole blocks, through steps, and add what they become to sums.

    steps, numbers, count: of `_take_steps`; sums: float64 (3,). Here because the pixels then stay in registers from the
    first step to the last.
    """
    signature = types.void(red, green, blue, types.int64, types.int64, steps, numbers, types.int64, sums)

    def codegen(context, builder, signature, args):
        *planes, steps, numbers, sums = _data(context, builder, signature, args, (0, 1, 2, 5, 6, 8))
        (begin, end), count, number = args[3:5], args[7], ir.IntType(64)
        totals = [cgutils.alloca_once_value(builder, _Vector(builder, 0.0).value) for _ in planes]
        with cgutils.for_range_slice(builder, begin, end, number(_BLOCK), intp=number) as (i, _):
            for done, plane, total in zip(_take_steps(builder, planes, i, steps, numbers, count), planes, totals):
                for offset, colour in done:
                    colour.store(plane, offset)
                    builder.store((_Vector(builder, builder.load(total)) + colour).value, total)
        for k, total in enumerate(totals):
            whole, parts, place = ir.FloatType()(0.0), builder.load(total), builder.gep(sums, [number(k)])
            for lane in range(_LANES):
                whole = builder.fadd(whole, builder.extract_element(parts, ir.IntType(32)(lane)), flags=["fast"])
            builder.store(builder.fadd(builder.load(place), builder.fpext(whole, ir.DoubleType())), place)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _paint_bytes(typingctx, red, green, blue, n, steps, numbers, count, out, pitch):
    """As `_paint` for the first n pixels, whole blocks of them, to bytes 0 ... 255: out[c * pitch + i]."""
    signature = types.void(red, green, blue, types.int64, steps, numbers, types.int64, out, types.int64)

    def codegen(context, builder, signature, args):
        *planes, steps, numbers, out = _data(context, builder, signature, args, (0, 1, 2, 4, 5, 7))
        (n, count, pitch), number = (args[k] for k in (3, 6, 8)), ir.IntType(64)
        whole, narrow = ir.VectorType(ir.IntType(32), _LANES), ir.VectorType(ir.IntType(8), _LANES)
        with cgutils.for_range_slice(builder, number(0), n, number(_BLOCK), intp=number) as (i, _):
            for c, done in enumerate(_take_steps(builder, planes, i, steps, numbers, count)):
                for offset, colour in done:
                    levels = builder.fptosi((colour * 255 + 0.5).value, whole)
                    place = builder.gep(out, [builder.add(builder.mul(pitch, number(c)), offset)])
                    place = builder.bitcast(place, narrow.as_pointer())
                    builder.store(builder.trunc(levels, narrow), place, align=1)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _weigh(typingctx, source, starts, taps, count, out, to, n):
    """out[to + i] = sum over k < count of taps[k] * source[starts[k] + i], for i < n rounded up to whole vectors.

    Here because the compiler would walk through `out` once for every tap: this keeps a block of sums in registers.
    """
    signature = types.void(source, starts, taps, types.int64, out, types.int64, types.int64)

    def codegen(context, builder, signature, args):
        (source, starts, taps, out), number = _data(context, builder, signature, args, (0, 1, 2, 4)), ir.IntType(64)
        count, to, n = args[3], args[5], args[6]

        def blocks(begin, end, vectors):
            with cgutils.for_range_slice(builder, begin, end, number(vectors * _LANES), intp=number) as (i, _):
                sums = [cgutils.alloca_once(builder, _Vector.kind) for _ in range(vectors)]
                for total in sums:
                    builder.store(_Vector(builder, 0.0).value, total)
                with cgutils.for_range(builder, count) as loop:
                    tap = _Vector.spread(builder, taps, loop.index)
                    start = builder.add(i, builder.load(builder.gep(starts, [loop.index])))
                    for j, total in enumerate(sums):
                        values = _Vector.load(builder, source, builder.add(start, number(j * _LANES)))
                        builder.store((_Vector(builder, builder.load(total)) + values * tap).value, total)
                for j, total in enumerate(sums):
                    place = builder.add(builder.add(to, i), number(j * _LANES))
                    _Vector(builder, builder.load(total)).store(out, place)

        whole = builder.mul(builder.sdiv(n, number(_VECTORS * _LANES)), number(_VECTORS * _LANES))
        blocks(number(0), whole, _VECTORS)
        blocks(whole, n, 1)
        return context.get_dummy_value()

    return signature, codegen


@_jit
def _weights(length, size, flip, unit, first, weight):
    """The triangle filter that resizes `length` pixels to `size`, widened where it shrinks (antialiasing), times unit.

    Fills first (size,) with the first source pixel of each and weight (size * taps,); the number of taps is returned.
    """
    scale = length / size
    support = max(scale, 1.0)
    taps = 0
    for x in range(size):
        centre = (x + 0.5) * scale
        low, high = max(0, int(centre - support + 0.5)), min(length, int(centre + support + 0.5))
        taps = max(taps, high - low)
    for x in range(size):
        centre = (x + 0.5) * scale
        low, high = max(0, int(centre - support + 0.5)), min(length, int(centre + support + 0.5))
        total = 0.0
        for k in range(low, high):
            total += max(0.0, 1 - abs(k + 0.5 - centre) / support)
        to = size - 1 - x if flip else x
        first[to] = low
        for k in range(taps):
            w = max(0.0, 1 - abs(low + k + 0.5 - centre) / support) / total * unit
            weight[to * taps + k] = w if low + k < high else 0.0
    return taps


@_jit
def _mix_rows(image, start, pitch, weight, offset, taps, n, line):
    """line[:n] = the sum over k < taps of weight[offset + k] times the n bytes of `image` from start + k * pitch."""
    a, w = image[start : start + n], weight[offset]
    if taps == 1:
        for i in range(n):
            line[i] = w * _F(a[i])
        return
    b, v = image[start + pitch : start + pitch + n], weight[offset + 1]
    if taps == 2:
        for i in range(n):
            line[i] = w * _F(a[i]) + v * _F(b[i])
        return
    c, u = image[start + 2 * pitch : start + 2 * pitch + n], weight[offset + 2]
    for i in range(n):
        line[i] = w * _F(a[i]) + v * _F(b[i]) + u * _F(c[i])
    for k in range(3, taps - 1, 2):  # two at a time: half the loads and stores of the sums
        a, w = image[start + k * pitch : start + k * pitch + n], weight[offset + k]
        b, v = image[start + (k + 1) * pitch : start + (k + 1) * pitch + n], weight[offset + k + 1]
        for i in range(n):
            line[i] += w * _F(a[i]) + v * _F(b[i])
    if taps % 2 == 0:
        k = taps - 1
        a, w = image[start + k * pitch : start + k * pitch + n], weight[offset + k]
        for i in range(n):
            line[i] += w * _F(a[i])


@_jit
def _jitter(order, factors, start, stop, mean, steps, numbers):
    """The jitter's turns start ... stop - 1 as steps of `_paint`; mean: the gray that contrast blends with. Returns how
    many.

    A blend of numbers in [0, 1] stays there, so nothing is clamped for factors up to 1.
    """
    count = 0
    for turn in range(start, stop):
        op = order[turn]
        factor = factors[op]
        number = numbers[count]
        number[0] = factor
        if op == BRIGHTNESS:
            steps[count], number[1] = _DO_BRIGHTEN if factor > _1 else _DO_AFFINE, _0
        elif op == CONTRAST:
            steps[count], number[1] = _DO_AFFINE, (_1 - factor) * mean
        elif op == SATURATION:
            steps[count], number[1] = _DO_SATURATE, _1 - factor
        else:
            steps[count] = _DO_TURN_HUE
            for k in range(3):
                place = _6 * factor + _F(2 * k)
                number[k] = place - _6 if place >= _3 else place
        count += 1
        if op in (CONTRAST, SATURATION) and factor > _1:
            steps[count] = _DO_CLAMP
            count += 1
    return count


@_jit
def _jitter_matrix(order, factors, mean, matrix):
    """The whole jitter as one affine map: matrix (3, 4), for an image whose mean colour is `mean` (3,).

    Nothing is clamped on the way, and the hue turns about the gray axis instead of around HSV's hexagon.
    """
    luma = (_R, _G, _B)
    for i in range(3):
        for j in range(4):
            matrix[i, j] = _1 if i == j else _0
    for turn in range(4):
        op = order[turn]
        f = factors[op]
        if op == BRIGHTNESS:
            for i in range(3):
                for j in range(4):
                    matrix[i, j] *= f
        elif op == CONTRAST:
            gray = _0
            for i in range(3):
                gray += luma[i] * matrix[i, 3]
                for j in range(3):
                    gray += luma[i] * matrix[i, j] * mean[j]
            for i in range(3):
                for j in range(4):
                    matrix[i, j] *= f
                matrix[i, 3] += (_1 - f) * gray
        elif op == SATURATION:
            for j in range(4):
                gray = (_1 - f) * (_R * matrix[0, j] + _G * matrix[1, j] + _B * matrix[2, j])
                for i in range(3):
                    matrix[i, j] = f * matrix[i, j] + gray
        else:
            cosine, sine = _F(math.cos(2 * math.pi * f)), _F(math.sin(2 * math.pi * f) / math.sqrt(3))
            for j in range(4):
                x, y, z = matrix[0, j], matrix[1, j], matrix[2, j]
                gray = (x + y + z) / _F(3)
                matrix[0, j] = gray + cosine * (x - gray) + sine * (z - y)
                matrix[1, j] = gray + cosine * (y - gray) + sine * (x - z)
                matrix[2, j] = gray + cosine * (z - gray) + sine * (y - x)


@_jit
def _contrast_turn(order):
    """The jitter's turn at which the image's mean must be known."""
    for turn in range(4):
        if order[turn] == CONTRAST:
            return turn
    return 4


@_jit
def _jitter_by_mean(order, factors, split, n, fast, sums, steps, numbers):
    """The jitter's turns from `split` on as steps of `_paint`, or in fast mode all of them as one; returns how many.
    sums: of the image's n pixels."""
    mean = (_F(sums[0] / n), _F(sums[1] / n), _F(sums[2] / n))
    if fast:
        steps[0] = _DO_MATRIX
        _jitter_matrix(order, factors, mean, numbers[0].reshape(3, 4))
        return np.int64(1)
    luma = _R * mean[0] + _G * mean[1] + _B * mean[2]
    return _jitter(order, factors, split, np.int64(4), luma, steps, numbers)


@_jit
def _copy(source, n, out):
    for i in range(n):
        out[i] = source[i]


@_jit
def _copy_planes(source, n, out):
    for c in range(3):
        _copy(source[c], n, out[c])


@_jit
def _blur_whole_vectors(plane, size, half, taps, starts, ring):
    """As `_blur`, _ROWS rows at a time, for narrow blurs and sizes without a rest."""
    count, ready = 2 * half + _ROWS, 0  # rows of the ring; rows that went into it, of which the last `count` are there
    for y in range(0, size, _ROWS):
        for below in range(ready, min(size, y + _ROWS + half)):
            _smooth_along(plane, below * size, taps, half, ring, below % count * size, size)
        ready = min(size, y + _ROWS + half)
        slot = (y - half) % count
        for k in range(count):
            other = y + k - half
            if other < 0 or other >= size:
                starts[k] = (-other if other < 0 else 2 * (size - 1) - other) % count * size
            else:
                starts[k] = slot * size
            slot = slot + 1 if slot + 1 < count else 0
        _smooth_across(ring, starts, taps, half, plane, y * size, size)


@_jit
def _blur(plane, size, sigma, kernel, taps, starts, row, ring):
    """Gaussian blur of one (size * size) plane in place, reflected at the borders.

    Each row is blurred along itself into a ring of rows, from which the rows are blurred across, so that all of it
    happens in the first-level cache. taps, starts, row, ring: scratch.
    """
    half = min(kernel // 2, int(_BLUR_REACH * sigma))
    if half == 0:
        return
    total = 0.0
    for k in range(-half, half + 1):
        total += math.exp(-0.5 * (k / sigma) ** 2)
    for k in range(-half, half + 1):
        taps[k + half] = math.exp(-0.5 * (k / sigma) ** 2) / total
    if half <= _UNROLLED and size % _LANES == 0:
        _blur_whole_vectors(plane, size, half, taps, starts[0], ring)
        return
    count, pitch = 2 * half + 1, (size + _LANES - 1) // _LANES * _LANES
    along, across = starts[0], starts[1]
    for k in range(count):
        along[k] = k
    slot = 0  # of the ring, where the next row goes
    for y in range(-half, size):
        below = y + half
        if below < size:
            source = plane[below * size : (below + 1) * size]
            _copy(source, size, row[half:])
            for k in range(1, half + 1):
                row[half - k] = source[k]
                row[half + size - 1 + k] = source[size - 1 - k]
            _weigh(row, along, taps, count, ring, slot * pitch, size)
        slot = slot + 1 if slot + 1 < count else 0
        if y >= 0:
            if y >= half and below < size:  # the ring's oldest row, at `slot`, is the first
                for k in range(count):
                    across[k] = (slot + k if slot + k < count else slot + k - count) * pitch
            else:
                for k in range(count):
                    other = abs(y + k - half)
                    across[k] = (2 * (size - 1) - other if other >= size else other) % count * pitch
            if pitch == size:
                _weigh(ring, across, taps, count, plane, y * size, size)
            else:  # whole vectors would run into rows that are still to be read
                _weigh(ring, across, taps, count, row, 0, size)
                _copy(row, size, plane[y * size : (y + 1) * size])


@_jit
def _add_noise(plane, start, first, amount):
    """Normal numbers from the view's counter (Box and Muller), pixel by pixel from number `first`.

    Logarithm and cosine are series to 1e-7, since calls to the library would be made one pixel at a time.
    """
    for i in range(len(plane)):
        h = _mix(start + (first + i) * GOLDEN)
        bits = np.int32(_F(np.int32(((h >> 40) & 0xFFFFFF) + 1)).view(np.int32) - _SQRT_HALF)
        exponent = _F(np.int32(bits >> 23)) - _F(24)
        mantissa = np.int32((bits & 0x7FFFFF) + _SQRT_HALF).view(np.float32)  # in [sqrt(1/2), sqrt(2))
        s = (mantissa - _1) / (mantissa + _1)
        t = s * s
        log = exponent * _F(math.log(2)) + _2 * s * (
            _1 + t * (_F(1 / 3) + t * (_F(1 / 5) + t * (_F(1 / 7) + t / _F(9))))
        )
        quarter = _F(0.25) - abs(_F(np.int32((h >> 16) & 0xFFFFFF)) * _F(2.0**-24) - _HALF)  # cos x = sin(pi/2 - x)
        x = _F(2 * math.pi) * quarter
        q = x * x
        sine = _F(-1 / 5040) + q * (_F(1 / 362880) - q * _F(1 / 39916800))
        sine = x * (_1 + q * (_F(-1 / 6) + q * (_F(1 / 120) + q * sine)))
        plane[i] = min(max(plane[i] - amount * np.sqrt(-_2 * log) * sine, _0), _1)


@_jit
def _view(image, width, drawn, order, factors, sigma, row, state, size, fast, planes, work):
    """Make one view in `planes` (3, size * size + slack): from the flat bytes of an interleaved image `width` pixels
    wide, or, if the row of the recipe's table has a parent, from what `planes` hold already.

    drawn: top, left, height, width of the crop; whether to flip, jitter, turn gray, solarize. The last steps of `_paint`
    are left to be taken where the pixels are handed over; how many they are is returned.
    """
    line, first_y, weight_y, first_x, weight_x, taps, starts, row_of_plane, ring, sums, steps, numbers = work
    n = size * size
    red, green, blue = planes[0], planes[1], planes[2]
    top, left, crop_height, crop_width = drawn[0], drawn[1], drawn[2], drawn[3]
    flip, jitter, gray, solarize = drawn[4] > 0, drawn[5] > 0, drawn[6] > 0, drawn[7] > 0
    kernel, threshold, noise = int(row[_KERNEL]), _F(row[_THRESHOLD]), _F(row[_NOISE])
    fresh = row[_PARENT] < 0
    split = _contrast_turn(order) if jitter else np.int64(4)
    count = np.int64(0)
    if jitter and not fast:
        count = _jitter(order, factors, np.int64(0), split, _0, steps, numbers)
    rows = max(1, _CHUNK // size)
    taps_y = _weights(crop_height, size, np.bool_(False), 1 / 255, first_y, weight_y) if fresh else 0
    taps_x = _weights(crop_width, size, flip, 1.0, first_x, weight_x) if fresh else 0
    sums[:] = 0
    painted = 0
    for y0 in range(0, size, rows):
        y1 = min(size, y0 + rows)
        if fresh:
            for y in range(y0, y1):
                at = 3 * ((top + first_y[y]) * width + left)
                here = min(taps_y, crop_height - first_y[y])  # the rest have no weight, and may lie behind the image
                _mix_rows(image, at, 3 * width, weight_y, y * taps_y, here, 3 * crop_width, line)
                a = y * size
                _filter_row(red[a:], green[a:], blue[a:], line, first_x, weight_x, taps_x, size)
        if jitter:
            end = y1 * size // _BLOCK * _BLOCK
            if y1 == size:  # a last block may end behind the image: nothing of it is to be added
                end = n
                planes[:, n : n + _BLOCK] = _0
            _paint(red, green, blue, painted, end, steps, numbers, count, sums)
            painted = end
    count = np.int64(0)
    if jitter:
        count = _jitter_by_mean(order, factors, split, n, fast, sums, steps, numbers)
    if gray:
        steps[count], numbers[count, 0], numbers[count, 1] = _DO_SATURATE, _0, _1
        count += 1
    if sigma > _0 and kernel > 1:
        if count:
            _paint(red, green, blue, np.int64(0), n, steps, numbers, count, sums)
            count = np.int64(0)
        for c in range(3):
            _blur(planes[c], size, sigma, kernel, taps, starts, row_of_plane, ring)
    if solarize:
        steps[count], numbers[count, 0] = _DO_SOLARIZE, threshold
        count += 1
    if noise > _0:
        _paint(red, green, blue, np.int64(0), n, steps, numbers, count, sums)
        count = np.int64(0)
        for c in range(3):
            _add_noise(planes[c][:n], state, NOISE + c * n, noise)
    return count


@_jit
def _aligned(count):
    """Uninitialised float32 (count,) that begins where a cache line does."""
    memory = np.empty(count + _LANES, np.float32)
    first = (-memory.ctypes.data // 4) % _LANES
    return memory[first : first + count]


@_jit
def _workspace(extent, size, kernel):
    """Buffers for images of up to `extent` pixels a side and blurs of up to `kernel` pixels."""
    widest = 2 * math.ceil(max(extent / size, 1.0)) + 2
    return (
        np.zeros(3 * (extent + widest) + _PAD, np.float32),  # a row of the crop; its end meets weights of zero
        np.empty(size + 4, np.int64),
        np.empty((size + 4) * widest, np.float32),
        np.zeros(size + 4, np.int64),
        np.zeros((size + 4) * widest, np.float32),
        np.empty(kernel + 1, np.float32),
        np.empty((2, kernel + _ROWS), np.int64),
        np.empty(size + kernel + 1 + _PAD, np.float32),
        _aligned((kernel + _ROWS) * (size + _PAD)),
        np.empty(3, np.float64),
        np.empty(_MOST, np.int64),
        np.empty((_MOST, 12), np.float32),
    )


@_jit
def _interleave(planar, n, out):
    """(3 * n,) bytes, red, green and blue one after the other, to pixel after pixel."""
    r, g, b = planar[:n], planar[n : 2 * n], planar[2 * n : 3 * n]
    o = 0
    for i in range(n):
        out[o] = r[i]
        out[o + 1] = g[i]
        out[o + 2] = b[i]
        o += 3


# --- what is drawn ---------------------------------------------------------------------------------------------------

# columns of the table of a recipe's views
_AREA, _RATIO, _FLIP, _JITTER, _GRAY, _BLUR, _SOLARIZE, _STRENGTH, _SIGMA, _THRESHOLD, _NOISE, _PARENT, _KERNEL = (
    0, 2, 4, 5, 6, 7, 8, 9, 13, 15, 16, 17, 18,
)  # fmt: skip


def table(recipe: Recipe, size: int) -> np.ndarray:
    """A recipe's views at `size` pixels as numbers (V, 19) for the kernel. Raises ReproError for a blur that is wider."""
    rows = []
    for v in recipe.views:
        kernel = v.kernel or 2 * round(0.05 * size) + 1
        if v.blur and kernel // 2 >= size:
            raise ReproError(f"A blur {kernel} pixels wide does not fit views of {size} pixels: set a smaller kernel.")
        chances = (v.flip, v.jitter, v.gray, v.blur, v.solarize)
        strengths = (v.brightness, v.contrast, v.saturation, v.hue)
        rows.append((*v.crop, *v.ratio, *chances, *strengths, *v.sigma, v.threshold, v.noise, v.parent, kernel))
    return np.array(rows, np.float64)


def central(share: float) -> np.ndarray:
    """The table of one view for evaluation: the middle square, `share` of the shorter side wide; nothing is random."""
    row = np.zeros((1, _KERNEL + 1))
    row[0, _AREA], row[0, _PARENT] = -share, -1
    return row


@_exact
def _uniform(state, number):
    return _F((_mix(state + number * GOLDEN) >> 40) & 0xFFFFFF) * _F(2.0**-24)


@_exact
def _draw(row, state, height, width, drawn, order, factors):
    """`repro.views.draw.draw` for one view of one image, bit for bit. Fills drawn (8,) as `_view` takes it, order (4,)
    and factors (4,), and returns the blur's standard deviation, 0 for none."""
    if row[_PARENT] < 0:
        _draw_crop(row, state, height, width, drawn)
    drawn[4] = _uniform(state, FLIP) < _F(row[_FLIP])
    drawn[5] = _uniform(state, JITTER) < _F(row[_JITTER])
    drawn[6] = _uniform(state, GRAY) < _F(row[_GRAY])
    drawn[7] = _uniform(state, SOLARIZE) < _F(row[_SOLARIZE])
    if drawn[5]:
        for k in range(4):
            base = _0 if k == HUE else _1
            factors[k] = base + (_uniform(state, FACTORS + k) * _2 - _1) * _F(row[_STRENGTH + k])
            if k != HUE:
                factors[k] = max(factors[k], _0)
        number = int(_uniform(state, ORDER) * _F(24))
        for k in range(4):
            order[k] = _ORDERS[number, k]
    if _uniform(state, BLUR) < _F(row[_BLUR]):
        return _F(row[_SIGMA]) + _uniform(state, SIGMA) * _F(row[_SIGMA + 1] - row[_SIGMA])
    return _0


@_exact
def _draw_crop(row, state, height, width, drawn):
    if row[_AREA] == 1.0 and row[_AREA + 1] == 1.0:
        drawn[0], drawn[1], drawn[2], drawn[3] = 0, 0, height, width
        return
    if row[_AREA] < 0:  # `central`
        side = max(1, int(np.rint(-row[_AREA] * min(height, width))))
        drawn[0], drawn[1], drawn[2], drawn[3] = (height - side) // 2, (width - side) // 2, side, side
        return
    low, high = math.log(row[_RATIO]), math.log(row[_RATIO + 1])
    for attempt in range(TRIES):
        share = _F(row[_AREA]) + _uniform(state, 4 * attempt) * _F(row[_AREA + 1] - row[_AREA])
        target = share * _F(height * width)
        aspect = _F(math.exp(np.float64(_F(low) + _uniform(state, 4 * attempt + 1) * _F(high - low))))
        w, h = int(np.rint(np.sqrt(target * aspect))), int(np.rint(np.sqrt(target / aspect)))
        if 0 < w <= width and 0 < h <= height:
            drawn[0] = int(_uniform(state, 4 * attempt + 2) * _F(height - h + 1))
            drawn[1] = int(_uniform(state, 4 * attempt + 3) * _F(width - w + 1))
            drawn[2], drawn[3] = h, w
            return
    whole = width / height
    w = width if whole <= row[_RATIO + 1] else int(np.rint(height * row[_RATIO + 1]))
    h = height if whole >= row[_RATIO] else int(np.rint(width / row[_RATIO]))
    drawn[0], drawn[1], drawn[2], drawn[3] = (height - h) // 2, (width - w) // 2, h, w


@_jit
def _to_bytes(source, n, out):
    for i in range(n):
        out[i] = np.uint8(np.int32(source[i] * _F(255) + _HALF))


def _call(builder, function, result, arguments):
    """Call the C function at the address `function`: numba does not cache functions that know a library's symbols."""
    kind = ir.FunctionType(result, [a.type for a in arguments])
    return builder.call(builder.inttoptr(function, kind.as_pointer()), arguments)


@intrinsic
def _decompress(typingctx, function, handle, data, offset, length, out, width, height, flags):
    """Call libjpeg-turbo's tjDecompress2 at the address `function`, for tight RGB rows; 0, or what went wrong."""
    word = types.int64
    signature = types.int32(word, word, data, word, word, out, word, word, word)

    def codegen(context, builder, signature, args):
        function, handle, _, offset, length, _, *numbers = args
        (source, target), integer = _data(context, builder, signature, args, (2, 5)), ir.IntType(32)
        width, height, flags = (builder.trunc(n, integer) for n in numbers)
        handle, source = builder.inttoptr(handle, ir.IntType(8).as_pointer()), builder.gep(source, [offset])
        arguments = [handle, source, length, target, width, integer(0), height, integer(0), flags]
        return _call(builder, function, integer, arguments)

    return signature, codegen


@intrinsic
def _pread(typingctx, function, handle, out, at, length, offset):
    """Call the C library's pread at the address `function`, which reads into out[at:]; how many bytes came."""
    word = types.int64
    signature = word(word, word, out, word, word, word)

    def codegen(context, builder, signature, args):
        function, handle, _, at, length, offset = args
        (target,) = _data(context, builder, signature, args, (2,))
        arguments = [builder.trunc(handle, ir.IntType(32)), builder.gep(target, [at]), length, offset]
        return _call(builder, function, ir.IntType(64), arguments)

    return signature, codegen


@_jit
def read(function, handle, offsets, lengths, out, to):
    """Read parts of an open file to the places `to` in out; -1, or the number of the first that the file does not have. A
    file that is cut while it is mapped ends the process, and one that is read does not. function: `PREAD`."""
    for i in range(len(offsets)):
        done = 0
        while done < lengths[i]:
            came = _pread(function, handle, out, to[i] + done, lengths[i] - done, offsets[i] + done)
            if came <= 0:
                return i
            done += came
    return -1


PREAD = ctypes.cast(ctypes.CDLL(None).pread, ctypes.c_void_p).value


@_jit
def _largest(recipe, heights, widths, kinds, begin, end):
    """The widest blur of a recipe, and of the images begin ... end - 1 the longest side and the most pixels."""
    kernel = pixels = extent = 1
    for v in range(len(recipe)):
        kernel = max(kernel, int(recipe[v, _KERNEL]) if recipe[v, _BLUR] > 0 else 1)
    for i in range(begin, end):
        extent = max(extent, max(heights[i], widths[i]))
        pixels = max(pixels, 0 if kinds[i] == RAW else heights[i] * widths[i])
    return kernel, extent, pixels


@_jit
def _shrink_crops(drawn, shrink, height, width):
    """Move the crops from an image to the same image decoded `shrink` times smaller, of these sides."""
    for v in range(len(drawn)):
        for k in range(2):
            end = min((drawn[v, k] + drawn[v, k + 2] + shrink // 2) // shrink, width if k else height)
            drawn[v, k] = (drawn[v, k] + shrink // 2) // shrink
            drawn[v, k + 2] = end - drawn[v, k]


@_jit
def _has_sides(data, at, end, height, width):
    """Whether a JPEG's header has these sides, as the header's first frame says; a header without one is the decoder's."""
    at += 2
    while at + 9 <= end and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # filling
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker != 0xC4 and marker != 0xC8 and marker != 0xCC:
            sides = data[at + 5] * 256 + data[at + 6], data[at + 7] * 256 + data[at + 8]
            return sides[0] == height and sides[1] == width
        else:
            at += 2 + data[at + 2] * 256 + data[at + 3]
    return True


@_jit
def make_views(
    data, offsets, lengths, heights, widths, kinds, samples, begin, end,
    recipe, starts, size, fast, decoder, bytes_out, floats_out, view_step, image_step,
):  # fmt: skip
    """Views of the images begin ... end - 1; -1, or the number of the first image that cannot be decoded.

    data: bytes, read-only; offsets, lengths, heights, widths, kinds, samples: int64 (B,), where each image lies, what it
    is, and its number in the data set. recipe, starts: (V, 19) of `table` and (V,) of `starts`. fast: the jitter as one
    matrix, and JPEGs decoded at 1/2, 1/4 or 1/8 where every crop stays as large as its view. decoder: int64 (3,), the
    address of tjDecompress2, its handle and its flags. bytes_out uint8 or floats_out float32: (views, 3 * size * size),
    view v of image i in row v * view_step + i * image_step; the other one has no rows.
    One entry for all cases, since each combination of types is compiled and kept on disk anew.
    """
    for i in range(begin, end):
        if kinds[i] == JPEG and not _has_sides(data, offsets[i], offsets[i] + lengths[i], heights[i], widths[i]):
            return i  # the decoder would scale it to the sides that it is told
    views, n = len(recipe), size * size
    staged = (recipe[:, _PARENT] >= 0).any()
    kernel, extent, pixels = _largest(recipe, heights, widths, kinds, begin, end)
    work = _workspace(extent, size, kernel)
    scratch = np.empty(3 * pixels, np.uint8)
    kept, pitch = views if staged else 1, (n + _PAD + _LANES) // _LANES * _LANES
    planes = _aligned(kept * 3 * pitch).reshape(kept, 3, pitch)
    drawn, order = np.empty((views, 8), np.int64), np.empty((views, 4), np.int64)
    factors, sigma = np.empty((views, 4), np.float32), np.empty(views, np.float32)
    for i in range(begin, end):
        height, width, shrink = heights[i], widths[i], 8 if fast and kinds[i] == JPEG else 1
        for v in range(views):
            state = counter(starts[v], samples[i])
            sigma[v] = _draw(recipe[v], state, height, width, drawn[v], order[v], factors[v])
            while shrink > 1 and recipe[v, _PARENT] < 0 and min(drawn[v, 2], drawn[v, 3]) < shrink * size:
                shrink //= 2
        if shrink > 1:
            height, width = (height + shrink - 1) // shrink, (width + shrink - 1) // shrink
            _shrink_crops(drawn, shrink, height, width)
        image = scratch
        if kinds[i] == RAW:
            image = data[offsets[i] : offsets[i] + 3 * height * width]
        elif kinds[i] == PLANAR:
            _interleave(data[offsets[i] :], height * width, scratch)
        elif _decompress(decoder[0], decoder[1], data, offsets[i], lengths[i], scratch, width, height, decoder[2]) != 0:
            return i
        for v in range(views):
            colours, parent = planes[v if staged else 0], int(recipe[v, _PARENT])
            if parent >= 0:
                _copy_planes(planes[parent], n, colours)
            state = counter(starts[v], samples[i])
            count = _view(
                image, width, drawn[v], order[v], factors[v], sigma[v], recipe[v], state, size, fast, colours, work
            )
            to, painted = v * view_step + i * image_step, 0
            sums, steps, numbers = work[-3:]
            if len(bytes_out) and not staged:
                painted = n // _BLOCK * _BLOCK
                _paint_bytes(colours[0], colours[1], colours[2], painted, steps, numbers, count, bytes_out[to], n)
            if painted < n:
                _paint(colours[0], colours[1], colours[2], painted, n, steps, numbers, count, sums)
            for c in range(3):
                if len(bytes_out):
                    _to_bytes(colours[c, painted:], n - painted, bytes_out[to, c * n + painted : (c + 1) * n])
                else:
                    _copy(colours[c], n, floats_out[to, c * n : (c + 1) * n])
    return -1


class Drawn(NamedTuple):
    """What was drawn for one view of one image; `order` and `factors` as in `repro.views.draw.Params`. state: what its
    random numbers begin with."""

    top: int
    left: int
    height: int
    width: int
    flip: bool
    jitter: bool
    gray: bool
    solarize: bool
    order: list[int]
    factors: list[float]
    sigma: float
    state: int


def drawn(row: np.ndarray, start: int, sample: int, height: int, width: int) -> Drawn:
    """The parameters that the kernel draws for one view: `row` of the recipe's table, `start` of `starts`."""
    numbers, order, factors = np.zeros(8, np.int64), np.arange(4), np.ones(4, np.float32)
    state = int(counter(start, sample))
    sigma = _draw(row, state, height, width, numbers, order, factors)
    box, flags = numbers[:4].tolist(), [bool(n) for n in numbers[4:]]
    return Drawn(*box, *flags, order.tolist(), factors.tolist(), float(sigma), state)


def add_noise(plane: np.ndarray, state: int, first: int, amount: float) -> None:
    """A view's Gaussian noise on a plane of float32 in [0, 1] whose pixels are numbered from `first`, in place."""
    _add_noise(plane, state, NOISE + first, _F(amount))


def starts(recipe: Recipe, seed: int, epoch: int) -> np.ndarray:
    """What begins the random numbers of each view of an epoch, (V,) int64."""
    return np.array([stream(seed, epoch, 16 + view) for view in range(len(recipe.views))])


_warming = threading.Lock()


def warm_up() -> None:
    """Compile the kernel, or load it from disk, and say so if that takes long; threads need not wait for each other."""
    with _warming:
        if make_views.signatures:
            return
        message = "compiling the views (once; they are kept on disk) ..."
        line = threading.Timer(2.0, lambda: print(message, file=sys.stderr, flush=True))
        line.daemon = True
        line.start()
        try:
            one = torch.zeros(1, dtype=torch.int64)
            make(torch.zeros((1, 3, 8, 8), dtype=torch.uint8), Recipe("whole", (View(crop=(1, 1)),)), 0, 0, one)
        finally:
            line.cancel()


def make(
    images: Tensor,
    recipe: Recipe,
    seed: int,
    epoch: int,
    sample: Tensor,
    size: int = 0,
    threads: int = 1,
    fast: bool = False,
) -> Tensor:
    """As `repro.views.batched.make`, on the CPU: (B, 3, H, W) uint8 -> (V, B, 3, size, size) float32 in [0, 1].

    Each picture depends on its image, seed, epoch and sample number alone, to the last bit. threads: share the images
    among so many. fast: colour jitter as one matrix. Raises ReproError for a blur wider than the views.
    """
    batch, _, height, width = images.shape
    size = size or height
    views, length = len(recipe.views), 3 * height * width
    out = torch.empty((views, batch, 3, size, size))
    fixed = [np.full(batch, value) for value in (length, height, width, PLANAR)]
    pixels = np.ascontiguousarray(images.numpy()).reshape(-1)
    pixels.flags.writeable = False  # the kernel's one type of bytes, that of a mapped file
    places = (pixels, np.arange(batch) * length, *fixed)
    samples = np.ascontiguousarray(sample.numpy())
    rest = (table(recipe, size), starts(recipe, seed, epoch), size, fast, np.zeros(3, np.int64))
    to = (np.empty((0, 1), np.uint8), out.numpy().reshape(views * batch, -1), batch, 1)
    if threads == 1:
        make_views(*places, samples, 0, batch, *rest, *to)
    else:
        cuts = [batch * k // threads for k in range(threads + 1)]
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda a, z: make_views(*places, samples, a, z, *rest, *to), cuts[:-1], cuts[1:]))
    return out

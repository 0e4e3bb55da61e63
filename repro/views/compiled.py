"""The view recipe compiled for the CPU: an image's pixels stay in cache while its views are made.

Same parameters (`repro.views.draw`), same pictures as `repro.views.batched` and `repro.views.reference`. Everything is
float32 and planar, so that the compiler makes vector instructions of the loops: `numba.float32` constants keep it from
widening to 64 bits, and flips, which would read backwards, are folded into the resampling's weights.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from torch import Tensor

from repro.errors import ReproError
from repro.views.draw import BRIGHTNESS, CONTRAST, GOLDEN, NOISE, SATURATION, draw, mix
from repro.views.recipe import Recipe

_F = np.float32
_0, _1, _2, _3, _4, _6, _HALF = _F(0), _F(1), _F(2), _F(3), _F(4), _F(6), _F(0.5)
_R, _G, _B = _F(0.2989), _F(0.587), _F(0.114)  # torchvision's rgb_to_grayscale
_CHUNK = 1024  # pixels that go through one loop after another: 12 KB of planar float32, well inside a first-level cache
_SQRT_HALF = np.float32(math.sqrt(0.5)).view(np.int32)  # its bits
_BLUR_REACH = 4.25  # standard deviations after which a Gaussian's taps are left out: 2e-5 of its mass
_BLOCK = 64  # numbers that a filter makes at a time: four vectors of 16, enough to keep the multipliers busy
_PAD = _BLOCK  # slack behind each plane and line, for whole blocks at their ends


def _jit(function):
    """Compile without Python's lock; keep the machine code on disk where a cache folder can be written.

    numba makes it anew when this file changes, and only then: not when a constant of `draw` does.
    """
    options = {"nopython": True, "nogil": True, "fastmath": True, "error_model": "numpy", "boundscheck": False}
    try:
        return numba.jit(cache=True, **options)(function)
    except RuntimeError:  # no writable place for the cache
        return numba.jit(**options)(function)


_mix = _jit(mix)


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
        arrays = [context.make_array(t)(context, builder, a).data for t, a in zip(signature.args[:6], args[:6])]
        *planes, line, first, weight = arrays
        taps, size = args[6:]
        number = ir.IntType(64)
        four = ir.VectorType(ir.FloatType(), 4)

        def load4(pointer):
            return builder.load(builder.bitcast(pointer, four.as_pointer()), align=4)

        def shuffle(a, b, lanes):
            mask = ir.Constant(ir.VectorType(ir.IntType(32), 4), [ir.Constant(ir.IntType(32), i) for i in lanes])
            return builder.shuffle_vector(a, b, mask)

        with cgutils.for_range_slice(builder, number(0), size, number(4), intp=number) as (x, _):
            sums = []
            starts, weights = [], []
            for lane in range(4):
                pixel = builder.add(x, number(lane))
                offset = builder.mul(builder.load(builder.gep(first, [pixel])), number(3))
                starts.append(builder.gep(line, [offset]))
                weights.append(builder.gep(weight, [builder.mul(pixel, taps)]))
                sums.append(cgutils.alloca_once(builder, four))
                builder.store(ir.Constant(four, [0.0] * 4), sums[-1])
            with cgutils.for_range(builder, taps) as loop:
                for start, w, total in zip(starts, weights, sums):
                    one = builder.load(builder.gep(w, [loop.index]))
                    splat = builder.insert_element(ir.Constant(four, ir.Undefined), one, ir.IntType(32)(0))
                    splat = shuffle(splat, splat, (0, 0, 0, 0))
                    pixel = load4(builder.gep(start, [builder.mul(loop.index, number(3))]))
                    product = builder.fmul(splat, pixel, flags=["fast"])
                    builder.store(builder.fadd(builder.load(total), product, flags=["fast"]), total)
            a, b, c, d = (builder.load(total) for total in sums)
            ab, cd = shuffle(a, b, (0, 4, 1, 5)), shuffle(c, d, (0, 4, 1, 5))  # a0 b0 a1 b1
            blue_ab, blue_cd = shuffle(a, b, (2, 6, 3, 7)), shuffle(c, d, (2, 6, 3, 7))
            rows = shuffle(ab, cd, (0, 1, 4, 5)), shuffle(ab, cd, (2, 3, 6, 7)), shuffle(blue_ab, blue_cd, (0, 1, 4, 5))
            for plane, row in zip(planes, rows):
                pointer = builder.gep(plane, [x])
                builder.store(row, builder.bitcast(pointer, four.as_pointer()), align=4)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _correlate(typingctx, source, step, taps, count, out, to, n):
    """out[to + i] = sum over k < count of taps[k] * source[i + k * step], for i < n rounded up to a block.

    Here because the compiler would walk through `out` once for every tap: this keeps a block of sums in registers.
    """
    integer = types.int64
    signature = types.void(source, integer, taps, integer, out, integer, integer)

    def codegen(context, builder, signature, args):
        source, taps, out = (context.make_array(signature.args[i])(context, builder, args[i]).data for i in (0, 2, 4))
        step, count, to, n = (args[i] for i in (1, 3, 5, 6))
        number, lane = ir.IntType(64), ir.IntType(32)
        lanes = 16
        vector = ir.VectorType(ir.FloatType(), lanes)
        spread = ir.Constant(ir.VectorType(lane, lanes), [ir.Constant(lane, 0)] * lanes)

        def at(pointer, offset):
            return builder.bitcast(builder.gep(pointer, [offset]), vector.as_pointer())

        with cgutils.for_range_slice(builder, number(0), n, number(_BLOCK), intp=number) as (i, _):
            zero = ir.Constant(vector, [0.0] * lanes)
            sums = [cgutils.alloca_once(builder, vector) for _ in range(_BLOCK // lanes)]
            for total in sums:
                builder.store(zero, total)
            with cgutils.for_range(builder, count) as loop:
                tap = builder.load(builder.gep(taps, [loop.index]))
                tap = builder.insert_element(ir.Constant(vector, ir.Undefined), tap, lane(0))
                tap = builder.shuffle_vector(tap, tap, spread)
                start = builder.add(i, builder.mul(loop.index, step))
                for j, total in enumerate(sums):
                    values = builder.load(at(source, builder.add(start, number(j * lanes))), align=4)
                    product = builder.fmul(tap, values, flags=["fast"])
                    builder.store(builder.fadd(builder.load(total), product, flags=["fast"]), total)
            for j, total in enumerate(sums):
                place = builder.add(builder.add(to, i), number(j * lanes))
                builder.store(builder.load(total), at(out, place), align=4)
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
def _scale(r, g, b, factor):
    for i in range(len(r)):
        r[i] = min(max(r[i] * factor, _0), _1)
        g[i] = min(max(g[i] * factor, _0), _1)
        b[i] = min(max(b[i] * factor, _0), _1)


@_jit
def _towards(r, g, b, factor, target):
    """Blend with one gray value: contrast."""
    shift = (_1 - factor) * target
    for i in range(len(r)):
        r[i] = min(max(r[i] * factor + shift, _0), _1)
        g[i] = min(max(g[i] * factor + shift, _0), _1)
        b[i] = min(max(b[i] * factor + shift, _0), _1)


@_jit
def _saturate(r, g, b, factor):
    """Blend each pixel with its gray."""
    rest = _1 - factor
    for i in range(len(r)):
        shift = rest * (_R * r[i] + _G * g[i] + _B * b[i])
        r[i] = min(max(r[i] * factor + shift, _0), _1)
        g[i] = min(max(g[i] * factor + shift, _0), _1)
        b[i] = min(max(b[i] * factor + shift, _0), _1)


@_jit
def _turn_hue(r, g, b, shift):
    """Turn the hue by `shift` sixths of a turn in [0, 6), keeping HSV's saturation and value."""
    for i in range(len(r)):
        x, y, z = r[i], g[i], b[i]
        high = max(max(x, y), z)
        low = min(min(x, y), z)
        chroma = high - low
        if high == x:
            hue, base = y - z, shift
        elif high == y:
            hue, base = z - x, shift + _2
        else:
            hue, base = x - y, shift + _4
        hue += base * chroma  # the hue times the chroma, in [-chroma, 11 chroma): so no division is needed
        turn = _6 * chroma
        hue = hue + turn if hue < _0 else hue
        hue = hue - turn if hue >= turn else hue
        # each channel is a trapezoid over the hue's six sectors
        twice = _2 * chroma
        r[i] = low + min(max(abs(hue - _3 * chroma) - chroma, _0), chroma)
        g[i] = low + min(max(twice - abs(hue - twice), _0), chroma)
        b[i] = low + min(max(twice - abs(hue - _4 * chroma), _0), chroma)


@_jit
def _luma_sum(r, g, b):
    total = _0
    for i in range(len(r)):
        total += _R * r[i] + _G * g[i] + _B * b[i]
    return total


@_jit
def _gray(r, g, b):
    for i in range(len(r)):
        luma = _R * r[i] + _G * g[i] + _B * b[i]
        r[i] = luma
        g[i] = luma
        b[i] = luma


@_jit
def _solarize(plane, threshold):
    for i in range(len(plane)):
        x = plane[i]
        plane[i] = _1 - x if x >= threshold else x


@_jit
def _jitter(r, g, b, order, factors, start, stop, mean):
    """The jitter's turns start ... stop - 1."""
    for turn in range(start, stop):
        op = order[turn]
        factor = factors[op]
        if op == BRIGHTNESS:
            _scale(r, g, b, factor)
        elif op == CONTRAST:
            _towards(r, g, b, factor, mean)
        elif op == SATURATION:
            _saturate(r, g, b, factor)
        else:
            shift = _6 * factor
            _turn_hue(r, g, b, shift + _6 if shift < _0 else shift)


@_jit
def _copy(source, n, out):
    for i in range(n):
        out[i] = source[i]


@_jit
def _blur(plane, size, sigma, kernel, taps, padded, other):
    """Gaussian blur of one (size * size) plane in place, reflected at the borders; `padded` and `other` are scratch."""
    half = min(kernel // 2, int(_BLUR_REACH * sigma))
    if half == 0:
        return
    total = 0.0
    for k in range(-half, half + 1):
        total += math.exp(-0.5 * (k / sigma) ** 2)
    for k in range(-half, half + 1):
        taps[k + half] = math.exp(-0.5 * (k / sigma) ** 2) / total
    pitch, count = size + 2 * half, 2 * half + 1
    for y in range(size):
        row, source = padded[y * pitch : (y + 1) * pitch], plane[y * size : (y + 1) * size]
        _copy(source, size, row[half:])
        for k in range(1, half + 1):
            row[half - k] = source[k]
            row[half + size - 1 + k] = source[size - 1 - k]
    _correlate(padded, 1, taps, count, other, half * pitch, size * pitch)
    last = half + size - 1
    for k in range(1, half + 1):
        _copy(other[(half + k) * pitch :], size, other[(half - k) * pitch :])
        _copy(other[(last - k) * pitch :], size, other[(last + k) * pitch :])
    _correlate(other, pitch, taps, count, padded, 0, size * pitch)
    for y in range(size):
        _copy(padded[y * pitch :], size, plane[y * size : (y + 1) * size])


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
def _view(
    image, width, box, flags, order, factors, sigma, kernel, threshold, noise, start, sample, size, fresh, planes, work
):
    """Make one view in `planes` (3, size * size + slack): from the flat bytes of an interleaved image `width` pixels wide,
    or from what `planes` hold already.

    box: top, left, height, width. flags: flip, jitter, gray, solarize.
    """
    line, first_y, weight_y, first_x, weight_x, taps, padded, other = work
    n = size * size
    red, green, blue = planes[0], planes[1], planes[2]
    jitter = flags[1]
    split = np.int64(4)  # the jitter's turn at which the image's mean gray must be known
    if jitter:
        for turn in range(4):
            if order[turn] == CONTRAST:
                split = turn
    total = 0.0
    rows = max(1, _CHUNK // size)
    taps_x = taps_y = 0
    if fresh:
        taps_y = _weights(box[2], size, np.bool_(False), 1 / 255, first_y, weight_y)
        taps_x = _weights(box[3], size, flags[0], 1.0, first_x, weight_x)
    for y0 in range(0, size, rows):
        y1 = min(size, y0 + rows)
        if fresh:
            for y in range(y0, y1):
                at = 3 * ((box[0] + first_y[y]) * width + box[1])
                here = min(taps_y, box[2] - first_y[y])  # the rest have no weight, and may lie behind the image
                _mix_rows(image, at, 3 * width, weight_y, y * taps_y, here, 3 * box[3], line)
                a = y * size
                _filter_row(red[a:], green[a:], blue[a:], line, first_x, weight_x, taps_x, size)
        if jitter:
            r, g, b = red[y0 * size : y1 * size], green[y0 * size : y1 * size], blue[y0 * size : y1 * size]
            _jitter(r, g, b, order, factors, np.int64(0), split, _0)
            total += _luma_sum(r, g, b)
    soften = sigma > _0 and kernel > 1
    for a in range(0, n, _CHUNK):
        z = min(n, a + _CHUNK)
        r, g, b = red[a:z], green[a:z], blue[a:z]
        if jitter:
            _jitter(r, g, b, order, factors, split, np.int64(4), _F(total / n))
        if flags[2]:
            _gray(r, g, b)
        if flags[3] and not soften:
            _solarize(r, threshold)
            _solarize(g, threshold)
            _solarize(b, threshold)
    if soften:
        for c in range(3):
            _blur(planes[c], size, sigma, kernel, taps, padded, other)
            if flags[3]:
                _solarize(planes[c][:n], threshold)
    if noise > _0:
        state = _mix(start + sample * GOLDEN)
        for c in range(3):
            _add_noise(planes[c][:n], state, NOISE + c * n, noise)


@_jit
def _workspace(extent, size, kernel):
    """Buffers for images of up to `extent` pixels a side and blurs of up to `kernel` pixels."""
    widest = 2 * math.ceil(max(extent / size, 1.0)) + 2
    padded = (size + kernel + 1) * (size + kernel + 1) + _PAD
    return (
        np.zeros(3 * (extent + widest) + _PAD, np.float32),  # a row of the crop; its end meets weights of zero
        np.zeros(size + 4, np.int64),
        np.zeros((size + 4) * widest, np.float32),
        np.zeros(size + 4, np.int64),
        np.zeros((size + 4) * widest, np.float32),
        np.zeros(kernel + 1, np.float32),
        np.zeros(padded, np.float32),
        np.zeros(padded, np.float32),
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


@_jit
def _make(
    images, boxes, flags, orders, factors, sigmas, kernels, thresholds, noises, parents, starts, samples, out, begin, end
):  # fmt: skip
    """Views of the images begin ... end - 1. images: (B, 3, H, W) uint8; the drawn parameters: (V, B, ...), (V,);
    out: (V, B, 3, S, S) float32."""
    views, batch, _, size, _ = out.shape
    height, width = images.shape[2], images.shape[3]
    n = size * size
    work = _workspace(max(height, width), size, kernels.max())
    image = np.empty(3 * height * width, np.uint8)
    planes = np.zeros((3, n + _PAD), np.float32)
    planar = images.reshape(batch, 3 * height * width)
    flat = out.reshape(views * batch * 3, n)
    for i in range(begin, end):
        _interleave(planar[i], height * width, image)
        for v in range(views):
            first, parent = 3 * (v * batch + i), 3 * (parents[v] * batch + i)
            for c in range(3):
                if parents[v] >= 0:
                    _copy(flat[parent + c], n, planes[c])
            _view(
                image, width, boxes[v, i], flags[v, i], orders[v, i], factors[v, i], sigmas[v, i], kernels[v],
                thresholds[v], noises[v], starts[v], samples[i], size, parents[v] < 0, planes, work,
            )  # fmt: skip
            for c in range(3):
                _copy(planes[c], n, flat[first + c])


def make(
    images: Tensor, recipe: Recipe, seed: int, epoch: int, sample: Tensor, size: int = 0, threads: int = 1
) -> Tensor:
    """As `repro.views.batched.make`, on the CPU: (B, 3, H, W) uint8 -> (V, B, 3, size, size) float32 in [0, 1].

    Each picture depends on its image, seed, epoch and sample number alone, to the last bit. threads: share the images
    among so many. Raises ReproError for a blur wider than the views.
    """
    size = size or images.shape[2]
    parameters = arguments(recipe, seed, epoch, sample, images.shape[2], images.shape[3], size)
    out = torch.empty((len(recipe.views), len(images), 3, size, size))
    pixels, pictures = np.ascontiguousarray(images.numpy()), out.numpy()
    cuts = [len(images) * k // threads for k in range(threads + 1)]
    if threads == 1:
        _make(pixels, *parameters, pictures, *cuts)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda a, z: _make(pixels, *parameters, pictures, a, z), cuts[:-1], cuts[1:]))
    return out


def arguments(recipe: Recipe, seed: int, epoch: int, sample: Tensor, height: int, width: int, size: int) -> tuple:
    """The drawn parameters as the kernels take them: five arrays (V, B, ...), five (V,), the sample numbers (B,)."""
    drawn = draw(recipe, seed, epoch, sample, height, width)
    kernels = [v.kernel or 2 * round(0.05 * size) + 1 for v in recipe.views]
    for view, kernel in zip(recipe.views, kernels):
        if view.blur and kernel // 2 >= size:
            raise ReproError(
                f"A blur {kernel} pixels wide does not fit views of {size} pixels: choose a smaller kernel."
            )
    return (
        torch.stack([torch.stack((p.top, p.left, p.height, p.width), 1) for p in drawn]).numpy(),
        torch.stack([torch.stack((p.flip, p.jitter, p.gray, p.solarize), 1) for p in drawn]).numpy(),
        torch.stack([p.order for p in drawn]).numpy(),
        torch.stack([p.factors for p in drawn]).numpy(),
        torch.stack([p.sigma for p in drawn]).numpy(),
        np.array(kernels),
        np.array([v.threshold for v in recipe.views], np.float32),
        np.array([v.noise for v in recipe.views], np.float32),
        np.array([v.parent for v in recipe.views]),
        np.array([p.start for p in drawn]),
        np.ascontiguousarray(sample.numpy()),
    )

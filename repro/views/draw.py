"""Parameters of views, drawn by counter-based random numbers.

A view is a pure function of (seed, epoch, sample index, view number): a hash of these and of the draw's number gives a
uniform number, so the result depends on no worker, thread, batch or order, and a resumed run sees the same views. The
hash is splitmix64's finaliser (Steele, Lea & Flood 2014) in wrapping int64 arithmetic, which numpy, torch and numba
share bit for bit.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from repro.views.recipe import Recipe

GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64
_M1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_M2 = -7723592293110705685  # 0x94D049BB133111EB
TRIES = 10  # torchvision's RandomResizedCrop tries ten crops before it falls back to a centred one
# numbers of the draws of one view; TRIES * 4 for the crop, then these
FLIP, JITTER, FACTORS, ORDER, GRAY, BLUR, SIGMA, SOLARIZE = 40, 41, 42, 46, 47, 48, 49, 50
NOISE = 64  # pixels are counted from here
ORDERS = tuple(itertools.permutations(range(4)))
BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)


def mix(x):
    """splitmix64's finaliser on int64 (numpy array, torch tensor or numba scalar); shifts are made logical by masks."""
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * _M1
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * _M2
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


def _wrap(x: int) -> int:
    return (x + 2**63) % 2**64 - 2**63


def _mix_int(x: int) -> int:
    x &= 2**64 - 1
    x = ((x ^ (x >> 30)) * (_M1 % 2**64)) % 2**64
    x = ((x ^ (x >> 27)) * (_M2 % 2**64)) % 2**64
    return _wrap(x ^ (x >> 31))


def stream(seed: int, epoch: int, purpose: int = 0) -> int:
    """The int64 that starts the random numbers of one epoch of one run; `purpose` tells streams of one epoch apart."""
    return _mix_int(_mix_int(_mix_int(seed * GOLDEN + 1) + epoch * GOLDEN) + purpose * GOLDEN)


def uniform(start: int, sample: Tensor, draws: Tensor) -> Tensor:
    """Uniform numbers in [0, 1), float32, of shape sample.shape + draws.shape (both int64)."""
    s = mix(start + sample * GOLDEN)
    h = mix(s.reshape(s.shape + (1,) * draws.ndim) + draws * GOLDEN)
    return ((h >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24


@functools.lru_cache(maxsize=32)
def _numbers(first: int, count: int, device: torch.device) -> Tensor:
    return torch.arange(first, first + count, device=device)


@functools.lru_cache(maxsize=64)
def _constant(values: tuple, device: torch.device) -> Tensor:
    """Copied to a GPU once, since each copy makes the host wait for it."""
    return torch.tensor(values, device=device)


def permutation(seed: int, epoch: int, n: int, device: torch.device | str = "cpu") -> Tensor:
    """The order in which a run sees its n samples in one epoch, the same on every device."""
    return torch.argsort(mix(stream(seed, epoch, 1) + torch.arange(n, device=device) * GOLDEN), stable=True)


@dataclass(frozen=True)
class Params:
    """What was drawn for one view of B images. Integers are int64, the rest float32 or bool; shape (B,) unless said.

    top, left, height, width: the crop in pixels. order: (B, 4), which of brightness, contrast, saturation and hue comes
    first, second...; factors: (B, 4) in that fixed naming order. jitter false: no colour jitter. sigma 0: no blur.
    """

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor
    flip: Tensor
    jitter: Tensor
    order: Tensor
    factors: Tensor
    gray: Tensor
    sigma: Tensor
    solarize: Tensor
    start: int  # of the noise's random numbers
    sample: Tensor


def draw(recipe: Recipe, seed: int, epoch: int, sample: Tensor, height: int, width: int) -> list[Params]:
    """The parameters of every view of the images numbered `sample` (B,), whose size is height x width pixels.

    A staged view carries its parent's crop and flip.
    """
    out: list[Params] = []
    device = sample.device
    orders = _constant(ORDERS, device)
    for number, view in enumerate(recipe.views):
        start = stream(seed, epoch, 16 + number)
        u = uniform(start, sample, _numbers(40, 16, device))  # (B, 16), the draws FLIP ... SOLARIZE
        if view.parent >= 0:
            p = out[view.parent]
            top, left, h, w, flip = p.top, p.left, p.height, p.width, p.flip
        else:
            top, left, h, w = _crop(view.crop, view.ratio, start, sample, height, width)
            flip = u[:, 0] < view.flip
        f = u[:, FACTORS - 40 : FACTORS - 36] * 2 - 1  # (B, 4) in [-1, 1)
        strength = tuple(float(x) for x in (view.brightness, view.contrast, view.saturation, view.hue))
        factors = _constant((1.0, 1.0, 1.0, 0.0), device) + f * _constant(strength, device)
        factors[:, :3].clamp_(min=0)
        low, high = view.sigma
        sigma = torch.where(u[:, BLUR - 40] < view.blur, low + u[:, SIGMA - 40] * (high - low), 0.0)
        order = orders[(u[:, ORDER - 40] * 24).long()]
        gray, solarize = u[:, GRAY - 40] < view.gray, u[:, SOLARIZE - 40] < view.solarize
        jitter = u[:, JITTER - 40] < view.jitter
        out.append(Params(top, left, h, w, flip, jitter, order, factors, gray, sigma, solarize, start, sample))
    return out


def _crop(area, ratio, start, sample, height, width) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """RandomResizedCrop's box: the first of ten tries that fits, else the largest centred one of an allowed ratio."""
    if area == (1, 1):
        zero = torch.zeros_like(sample)
        return zero, zero, zero + height, zero + width
    u = uniform(start, sample, _numbers(0, 4 * TRIES, sample.device)).view(-1, TRIES, 4)
    target = (area[0] + u[..., 0] * (area[1] - area[0])) * (height * width)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspect = torch.exp(low + u[..., 1] * (high - low))
    w = torch.round(torch.sqrt(target * aspect)).long()
    h = torch.round(torch.sqrt(target / aspect)).long()
    fits = (w > 0) & (w <= width) & (h > 0) & (h <= height)
    first = fits.to(torch.int8).argmax(1, keepdim=True)
    w, h = w.gather(1, first)[:, 0], h.gather(1, first)[:, 0]
    uy, ux = u[..., 2].gather(1, first)[:, 0], u[..., 3].gather(1, first)[:, 0]
    whole = width / height
    fallback_w = width if whole <= ratio[1] else round(height * ratio[1])
    fallback_h = height if whole >= ratio[0] else round(width / ratio[0])
    found = fits.any(1)
    w, h = torch.where(found, w, fallback_w), torch.where(found, h, fallback_h)
    top = torch.where(found, (uy * (height - h + 1)).long(), (height - h) // 2)
    left = torch.where(found, (ux * (width - w + 1)).long(), (width - w) // 2)
    return top, left, h, w

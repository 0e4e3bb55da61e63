"""Made-up objects: a procedural stand-in for natural images, made to pass the checks that photographs should pass.

An image shows one large object on a patterned ground, under light that falls from a side and has a tint. Its class gives
itself away by several cues, none of which is sure: the object's outline, the pattern of its skin, its hue and the ground
that it is found on. So a crop keeps some of them, no single channel removes them all, and no map of the pixels is a
short cut, since place, size, angle, light and polarity are drawn anew for every image. Hue, quadrant of the object and
pattern of the ground are tasks of their own beside the class. It is a stand-in, and every figure made from it says so.

The knob `fragile` is the probability that object and ground differ in hue alone, at one brightness, and the object's skin
is plain, so that an aggressive colour augmentation destroys the object and a crop does not.
"""

from __future__ import annotations

import math

import numpy as np

from repro.errors import ReproError

SHAPES = ("disc", "square", "triangle", "star", "cross", "ring", "crescent", "bar")
TEXTURES = ("stripes", "checks", "dots", "clouds")
TASKS = {"class": len(SHAPES), "hue": 6, "quadrant": 4, "ground": len(TEXTURES)}
CUES = {"shape": 0.5, "skin": 0.9, "hue": 0.6, "ground": 0.9}  # how often each is the class's own; else it is any
KNOBS = {"fragile": 0.0}


def render(
    n: int, size: int, seed: int, fragile: float = 0.0, bare: bool = False
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """n images (n, 3, size, size) uint8, and a dict of labels (n,) int64 by task. bare: the same images without their
    objects, so that what an object adds to a picture can be told.

    Deterministic in its arguments. Raises ReproError for a size below 16 pixels.
    """
    if size < 16:
        raise ReproError(f"Objects need at least 16 pixels a side to show a shape, not {size}: choose a larger size.")
    rng = np.random.Generator(np.random.PCG64([seed, 78]))
    images, labels = np.empty((n, 3, size, size), np.uint8), {task: np.empty(n, np.int64) for task in TASKS}
    for start in range(0, n, 256):  # in chunks, so that memory stays small whatever n
        stop = min(n, start + 256)
        images[start:stop], found = _render(stop - start, size, rng, fragile, bare)
        for task, values in found.items():
            labels[task][start:stop] = values
    return images, labels


def _cues(n: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """n classes, the objects' quadrants, and what gives the classes away: outline, skin, ground, hue."""

    def cue(name: str, own, kinds: int):
        return np.where(rng.uniform(size=n) < CUES[name], own, rng.integers(0, kinds, n))

    kind, quadrant = rng.integers(0, len(SHAPES), n), rng.integers(0, 4, n)
    shape, skin = cue("shape", kind, len(SHAPES)), cue("skin", kind, 2 * len(TEXTURES))
    ground = cue("ground", kind % len(TEXTURES), len(TEXTURES))
    hue = (cue("hue", kind, len(SHAPES)) + rng.normal(0.5, 0.45, n)) / len(SHAPES) % 1
    return kind, quadrant, shape, skin, ground, hue


def _render(n: int, size: int, rng: np.random.Generator, fragile: float, bare: bool) -> tuple[np.ndarray, dict]:
    fine = 2 * size  # drawn at twice the size and averaged: smooth edges

    def draw(low, high):
        return rng.uniform(low, high, n).astype(np.float32)[:, None, None]

    kind, quadrant, shape, skin, ground, hue = _cues(n, rng)
    cx = draw(0.05, 0.25) * np.where(quadrant % 2, 1, -1)[:, None, None]
    cy = draw(0.05, 0.25) * np.where(quadrant // 2, 1, -1)[:, None, None]
    scale, squeeze, angle = draw(0.75, 1.1), np.exp(draw(-0.25, 0.25)), draw(-0.6, 0.6)

    # bright on dark or dark on bright, so that no linear map of the pixels knows the shape
    bright = rng.uniform(size=n) < 0.5
    light, dark = rng.uniform(0.55, 0.9, n), rng.uniform(0.2, 0.45, n)
    object_colour = hsv(hue, rng.uniform(0.2, 0.75, n), np.where(bright, light, dark))
    ground_colour = hsv(rng.uniform(size=n), rng.uniform(0.05, 0.6, n), np.where(bright, dark, light))
    tint = np.exp(rng.normal(0, 0.12, (n, 3))).astype(np.float32)
    broken = rng.uniform(size=n) < fragile
    if broken.any():  # the opposite hue, as gray as the object: gray makes the object vanish
        other = hsv((hue + 0.5) % 1, np.full(n, 0.6), np.full(n, 0.8))
        other *= (_luma(object_colour) / _luma(other))[:, None]
        ground_colour = np.where(broken[:, None], other.clip(0, 1), ground_colour)
        tint[broken] = 1
    below_waves, skins = waves(n, draw, rng), waves(n, draw, rng)
    skins = (*skins[:3], np.where((skin < len(TEXTURES))[:, None, None], draw(4, 5.5), draw(9, 12)), skins[4])
    plain = broken | (skin == 2 * len(TEXTURES) - 1)  # fine clouds
    contrast = draw(0.45, 0.65) * np.where(plain, 0, 1)[:, None, None]
    patterned = draw(0.18, 0.35) * np.where(broken, 0.3, 1)[:, None, None]
    side, shade = draw(0, 2 * math.pi), draw(0, 0.35)
    hues_of_light = 1 + rng.normal(0, 0.5, (n, 3)).astype(np.float32) * ~broken[:, None]

    axis = (np.arange(fine, dtype=np.float32) + 0.5) / fine * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    out = np.empty((n, 3, size, size), np.uint8)
    for start in range(0, n, 8):  # so few at a time that their pixels stay in the processor's cache
        s = slice(start, start + 8)
        u, v = (x - cx[s]) / scale[s] * squeeze[s], (y - cy[s]) / scale[s] / squeeze[s]
        u, v = np.cos(angle[s]) * u + np.sin(angle[s]) * v, np.cos(angle[s]) * v - np.sin(angle[s]) * u
        inside = np.zeros(u.shape, bool)
        for k, outline in enumerate(shape[s]):
            inside[k] = _inside(SHAPES[outline], u[k], v[k]) & (not bare)
        below = textures(ground[s], x, y, [w[s] for w in below_waves])
        above = textures(skin[s] % len(TEXTURES), x, y, [w[s] for w in skins])
        image = ground_colour[s, :, None, None] * (1 + patterned[s] * below)[:, None]
        image = np.where(inside[:, None], object_colour[s, :, None, None] * (1 + contrast[s] * above)[:, None], image)
        slope = shade[s] * (np.cos(side[s]) * x + np.sin(side[s]) * y)
        image *= tint[s, :, None, None] * (1 + hues_of_light[s, :, None, None] * slope[:, None])
        image += rng.normal(0, 0.02, image.shape).astype(np.float32)
        rows = image[..., 0::2] + image[..., 1::2]
        image = (rows[:, :, 0::2] + rows[:, :, 1::2]) / 4
        out[s] = (image.clip(0, 1) * 255).round()
    return out, {
        "class": kind,
        "hue": (hue * TASKS["hue"]).astype(int) % TASKS["hue"],
        "quadrant": quadrant,
        "ground": ground,
    }


def _inside(shape: str, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    r, a = np.hypot(u, v), np.arctan2(v, u)
    if shape == "disc":
        return r < 0.8
    if shape == "square":
        return np.maximum(abs(u), abs(v)) < 0.72
    if shape == "triangle":
        return np.maximum(v, np.maximum(0.866 * u - 0.5 * v, -0.866 * u - 0.5 * v)) < 0.45
    if shape == "star":
        return r < 0.42 + 0.55 * (1 - abs((a * 5 / (2 * math.pi)) % 1 - 0.5) * 2) ** 1.5
    if shape == "cross":
        return np.minimum(abs(u), abs(v)) < np.where(np.maximum(abs(u), abs(v)) < 0.95, 0.25, 0)
    if shape == "ring":
        return (r < 0.9) & (r > 0.5)
    if shape == "crescent":
        return (r < 0.9) & (np.hypot(u - 0.45, v) > 0.7)
    return (abs(u) < 1.0) & (abs(v) < 0.28)  # bar


def waves(n: int, draw, rng) -> tuple[np.ndarray, ...]:
    """What the patterns of n grounds are made of: angle, two phases, frequency (n, 1, 1) each, and heights (n, 5, 5)."""
    drawn = draw(0, math.pi), draw(0, 6.28), draw(0, 6.28), draw(5, 8)
    return *drawn, rng.uniform(-1, 1, (n, 5, 5)).astype(np.float32)


def textures(kinds: np.ndarray, x, y, made_of) -> np.ndarray:
    """The grounds' patterns in [-1, 1], (n, fine, fine), at the places x, y (fine, fine)."""
    return np.stack([_texture(kind, x, y, *drawn) for kind, *drawn in zip(kinds, *made_of)])


def _texture(kind: int, x, y, angle, phase, phase2, frequency, coarse) -> np.ndarray:
    if TEXTURES[kind] == "clouds":
        position = (np.arange(x.shape[0]) + 0.5) / x.shape[0] * 4
        low = position.astype(int).clip(0, 3)
        part = position - low
        w = np.zeros((x.shape[0], 5), np.float32)
        w[np.arange(x.shape[0]), low], w[np.arange(x.shape[0]), low + 1] = 1 - part, part
        return w @ coarse @ w.T
    s, t = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    if TEXTURES[kind] == "dots":
        dots = np.sin(frequency * s + phase) * np.sin(frequency * t + phase2) > 0.45
        return np.where(dots, 1, -0.6).astype(np.float32)
    stripes = np.sign(np.sin(frequency * 1.4 * s + phase))
    return stripes if TEXTURES[kind] == "stripes" else stripes * np.sign(np.sin(frequency * 1.4 * t + phase2))


def _luma(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.2989, 0.587, 0.114], np.float32)


def hsv(h, s, v) -> np.ndarray:
    """(n,) each -> (n, 3) RGB in [0, 1]."""
    k = (np.array([5, 3, 1])[None] + np.asarray(h)[:, None] * 6) % 6
    return (v[:, None] * (1 - s[:, None] * np.minimum(k, 4 - k).clip(0, 1))).astype(np.float32)

"""Colour scenes: a procedural stand-in for natural images, with independent labels and knobs.

A scene is one large object (its shape is the semantic label) on a textured ground, with small dots around it. Shape,
hue, count of dots, distance between neighbouring dots, quadrant of the object and texture of the ground are drawn
independently, so that each is a task of its own: shape stands in for ImageNet and CIFAR-10, count and distance for
CLEVR-C and CLEVR-D, texture for EuroSAT and Places. It is a stand-in, and every figure made from it says so.

Knobs: `colour_cue`, the probability that an object wears its class's own hue instead of a random one (how much colour
gives the class away); `texture`, the contrast of the ground; `fragile`, the probability that object and ground differ in
hue alone, at one brightness, so that an aggressive colour augmentation destroys the object and a crop does not.
"""

from __future__ import annotations

import math

import numpy as np

from repro.errors import ReproError

SHAPES = ("disc", "square", "triangle", "star", "cross", "ring", "crescent", "bar")
TEXTURES = ("stripes", "checks", "dots", "clouds")
TASKS = {"shape": len(SHAPES), "hue": 6, "count": 4, "distance": 3, "quadrant": 4, "texture": len(TEXTURES)}
KNOBS = {"colour_cue": 0.0, "texture": 0.45, "fragile": 0.0}


def render(
    n: int,
    size: int,
    seed: int,
    colour_cue: float = 0.0,
    texture: float = 0.45,
    fragile: float = 0.0,
    bare: bool = False,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """n scenes: images (n, 3, size, size) uint8, and a dict of labels (n,) int64 by task. bare: the same scenes without
    their objects, so that what an object adds to a picture can be told.

    Deterministic in its arguments. Raises ReproError for a size below 16 pixels.
    """
    if size < 16:
        raise ReproError(f"Scenes need at least 16 pixels a side to show a shape, not {size}: choose a larger size.")
    rng = np.random.Generator(np.random.PCG64([seed, 77]))
    labels = {task: rng.integers(0, classes, n) for task, classes in TASKS.items()}
    images = np.empty((n, 3, size, size), np.uint8)
    for start in range(0, n, 256):  # in chunks, so that memory stays small whatever n
        stop = min(n, start + 256)
        images[start:stop] = _render(
            {k: v[start:stop] for k, v in labels.items()}, size, rng, colour_cue, texture, fragile, bare
        )
    return images, labels


def _render(labels, size, rng, colour_cue, texture, fragile, bare) -> np.ndarray:
    n = len(labels["shape"])
    fine = 2 * size  # drawn at twice the size and averaged: smooth edges

    def draw(low, high):
        return rng.uniform(low, high, n).astype(np.float32)[:, None, None]

    # the object's centre lies in its quadrant, near the middle, so that crops keep most of it
    quadrant = labels["quadrant"]
    cx = draw(0.06, 0.2) * np.where(quadrant % 2, 1, -1)[:, None, None]
    cy = draw(0.06, 0.2) * np.where(quadrant // 2, 1, -1)[:, None, None]
    scale, angle = draw(0.6, 0.75), draw(-0.3, 0.3)

    hue = (labels["hue"] + rng.uniform(0.15, 0.85, n)) / TASKS["hue"]
    own = (labels["shape"] + 0.5) / TASKS["shape"]
    hue = np.where(rng.uniform(size=n) < colour_cue, own, hue)
    # bright on dark or dark on bright, so that no linear map of the pixels knows the shape
    bright = rng.uniform(size=n) < 0.5
    light, dark = rng.uniform(0.75, 1.0, n), rng.uniform(0.15, 0.4, n)
    object_colour = _hsv(hue, rng.uniform(0.5, 1.0, n), np.where(bright, light, dark))
    ground_colour = _hsv(rng.uniform(size=n), rng.uniform(0.2, 0.8, n), np.where(bright, dark, light))
    broken = rng.uniform(size=n) < fragile
    if broken.any():  # the opposite hue, as gray as the object: gray makes the object vanish
        other = _hsv((hue + 0.5) % 1, np.full(n, 0.6), np.full(n, 0.8))
        other *= (_luma(object_colour) / _luma(other))[:, None]
        ground_colour = np.where(broken[:, None], other.clip(0, 1), ground_colour)
    waves = _waves(n, draw, rng)
    # two to five dots on an arc around the object; the distance between neighbours is labelled
    turn, ring = draw(0, 2 * math.pi), draw(0.82, 0.92)
    spacing = np.radians(np.array([26.0, 48.0, 70.0], np.float32))[labels["distance"]][:, None, None]

    axis = (np.arange(fine, dtype=np.float32) + 0.5) / fine * 2 - 1
    y, x = np.meshgrid(axis, axis, indexing="ij")
    out = np.empty((n, 3, size, size), np.uint8)
    for start in range(0, n, 8):  # so few at a time that their pixels stay in the processor's cache
        s = slice(start, start + 8)
        u, v = (x - cx[s]) / scale[s], (y - cy[s]) / scale[s]
        u, v = np.cos(angle[s]) * u + np.sin(angle[s]) * v, np.cos(angle[s]) * v - np.sin(angle[s]) * u
        inside = np.zeros(u.shape, bool)
        for k, shape in enumerate(labels["shape"][s]):
            inside[k] = _inside(SHAPES[shape], u[k], v[k]) & (not bare)
        pattern = _textures(labels["texture"][s], x, y, [w[s] for w in waves])
        image = ground_colour[s, :, None, None] * (1 + texture * pattern[:, None])
        image = np.where(inside[:, None], object_colour[s, :, None, None], image)
        for k in range(TASKS["count"] + 1):
            a = turn[s] + k * spacing[s]
            dx, dy = x - ring[s] * np.cos(a), y - ring[s] * np.sin(a)
            dot = (dx**2 + dy**2 < 0.1**2) & (labels["count"][s] + 1 >= k)[:, None, None]
            image = np.where(dot[:, None], np.where(bright[s], 0.95, 0.05)[:, None, None, None], image)
        image += rng.normal(0, 0.02, image.shape).astype(np.float32)
        rows = image[..., 0::2] + image[..., 1::2]
        image = (rows[:, :, 0::2] + rows[:, :, 1::2]) / 4
        out[s] = (image.clip(0, 1) * 255).round()
    return out


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


def _waves(n: int, draw, rng) -> tuple[np.ndarray, ...]:
    """What the patterns of n grounds are made of: angle, two phases, frequency (n, 1, 1) each, and heights (n, 5, 5)."""
    waves = draw(0, math.pi), draw(0, 6.28), draw(0, 6.28), draw(5, 8)
    return *waves, rng.uniform(-1, 1, (n, 5, 5)).astype(np.float32)


def _textures(kinds: np.ndarray, x, y, waves) -> np.ndarray:
    """The grounds' patterns in [-1, 1], (n, fine, fine), at the places x, y (fine, fine)."""
    return np.stack([_texture(kind, x, y, *drawn) for kind, *drawn in zip(kinds, *waves)])


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


def _hsv(h, s, v) -> np.ndarray:
    """(n,) each -> (n, 3) RGB in [0, 1]."""
    k = (np.array([5, 3, 1])[None] + np.asarray(h)[:, None] * 6) % 6
    return (v[:, None] * (1 - s[:, None] * np.minimum(k, 4 - k).clip(0, 1))).astype(np.float32)

"""The view recipe applied by torchvision, one image at a time: slow, and the yardstick of every other back end."""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.transforms import functional as F

from repro.views.batched import normal
from repro.views.draw import BRIGHTNESS, CONTRAST, SATURATION, Params, draw
from repro.views.recipe import Recipe, View


def make(images: Tensor, recipe: Recipe, seed: int, epoch: int, sample: Tensor, size: int = 0) -> Tensor:
    """As `repro.views.batched.make`: (B, 3, H, W) uint8 -> (V, B, 3, size, size) float32 in [0, 1]."""
    params = draw(recipe, seed, epoch, sample, images.shape[2], images.shape[3])
    size = size or images.shape[2]
    out: list[Tensor] = []
    for view, p in zip(recipe.views, params):
        rows = []
        for i, image in enumerate(images):
            x = out[view.parent][i] if view.parent >= 0 else _crop(image, p, i, size)
            rows.append(_appearance(x, view, p, i))
        x = torch.stack(rows)
        out.append((x + view.noise * normal(p, x.shape)).clamp(0, 1) if view.noise else x)
    return torch.stack(out)


def _crop(image: Tensor, p: Params, i: int, size: int) -> Tensor:
    box = (int(p.top[i]), int(p.left[i]), int(p.height[i]), int(p.width[i]))
    x = F.resized_crop(image.to(torch.float32) / 255, *box, [size, size], antialias=True)
    return F.hflip(x) if p.flip[i] else x


def _appearance(x: Tensor, view: View, p: Params, i: int) -> Tensor:
    if p.jitter[i]:
        for op in p.order[i].tolist():
            factor = float(p.factors[i, op])
            if op == BRIGHTNESS:
                x = F.adjust_brightness(x, factor)
            elif op == CONTRAST:
                x = F.adjust_contrast(x, factor)
            elif op == SATURATION:
                x = F.adjust_saturation(x, factor)
            else:
                x = F.adjust_hue(x, factor)
    if p.gray[i]:
        x = F.rgb_to_grayscale(x, num_output_channels=3)
    if p.sigma[i] > 0:
        kernel = view.kernel or 2 * round(0.05 * x.shape[-1]) + 1
        x = F.gaussian_blur(x, [kernel, kernel], [float(p.sigma[i])] * 2)
    if p.solarize[i]:
        x = F.solarize(x, view.threshold)
    return x

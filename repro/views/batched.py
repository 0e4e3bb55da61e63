"""The view recipe applied to a whole batch by torch, on CPU or GPU, with other parameters for each image.

Agrees with `tests/reference.py` (torchvision) image by image within rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from repro.views.draw import BRIGHTNESS, CONTRAST, GOLDEN, HUE, NOISE, Params, draw, mix
from repro.views.recipe import Recipe, View

LUMA = (0.2989, 0.587, 0.114)  # torchvision's rgb_to_grayscale


def make(
    images: Tensor,
    recipe: Recipe,
    seed: int,
    epoch: int,
    sample: Tensor,
    size: int = 0,
    colours: Callable[[Tensor, View, Params], Tensor] | None = None,
) -> Tensor:
    """All views of a batch of images.

    images: (B, 3, H, W) uint8, the images numbered `sample` (B,) in their data set. size: pixels a side of the views,
    0 for H. colours: what to apply in place of `appearance`. Returns (V, B, 3, size, size) float32 in [0, 1].
    """
    params = draw(recipe, seed, epoch, sample, images.shape[2], images.shape[3])
    size = size or images.shape[2]
    out: list[Tensor] = []
    for view, p in zip(recipe.views, params):
        x = out[view.parent] if view.parent >= 0 else crop_resize_flip(images, p, size)
        x = (colours or appearance)(x, view, p)
        out.append((x + view.noise * normal(p, x.shape)).clamp(0, 1) if view.noise else x)
    return torch.stack(out)


def crop_resize_flip(images: Tensor, p: Params, size: int) -> Tensor:
    """Crop, antialiased bilinear resize and flip as one resampling: two small matrices an image. -> (B, 3, size, size)."""
    x = images.to(torch.float32) / 255
    rows = resampling(p.top, p.height, images.shape[2], size)
    columns = resampling(p.left, p.width, images.shape[3], size)
    columns = torch.where(p.flip[:, None, None], columns.flip(1), columns)
    x = torch.matmul(rows[:, None], x)
    return torch.matmul(x, columns[:, None].transpose(2, 3))


def resampling(start: Tensor, length: Tensor, extent: int, size: int) -> Tensor:
    """Matrices (B, size, extent) that resize pixels start ... start + length - 1 of an axis to `size` pixels.

    The triangle filter of bilinear interpolation, widened when it shrinks (antialiasing), as torch's interpolate does
    with `antialias=True`; pixels outside the crop have no weight.
    """
    scale = length.to(torch.float32) / size  # (B,)
    support = scale.clamp(min=1.0)[:, None, None]
    centre = (torch.arange(size, device=start.device) + 0.5) * scale[:, None]
    pixel = torch.arange(extent, device=start.device) - start[:, None]  # (B, extent) within the crop
    inside = (pixel >= 0) & (pixel < length[:, None])
    distance = (pixel[:, None, :] + 0.5 - centre[:, :, None]).abs() / support
    weight = (1 - distance).clamp(min=0) * inside[:, None, :]
    return weight / weight.sum(2, keepdim=True)


def appearance(x: Tensor, view: View, p: Params) -> Tensor:
    """Everything of a view between its crop and its noise, in the recipe's order. x: (B, 3, H, W) float in [0, 1]."""
    if view.jitter:
        x = torch.where(p.jitter[:, None, None, None], colour_jitter(x, p), x)
    if view.gray:
        x = torch.where(p.gray[:, None, None, None], gray(x).expand_as(x), x)
    if view.blur:
        kernel = view.kernel or 2 * round(0.05 * x.shape[-1]) + 1
        x = torch.where((p.sigma > 0)[:, None, None, None], blur(x, p.sigma, kernel), x)
    if view.solarize:
        x = torch.where(p.solarize[:, None, None, None] & (x >= view.threshold), 1 - x, x)
    return x


def gray(x: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W)."""
    r, g, b = x.unbind(1)
    return (LUMA[0] * r + LUMA[1] * g + LUMA[2] * b)[:, None]


def colour_jitter(x: Tensor, p: Params) -> Tensor:
    """Brightness, contrast, saturation and hue in each image's drawn order, clamped after each, as torchvision does.

    The first three blend the image with black, with its mean gray and with its gray; so each of the four turns is one
    blend for all images, and a hue shift for those whose turn it is.
    """
    for turn in range(4):
        op = p.order[:, turn]
        factor = p.factors.gather(1, op[:, None])[:, :, None, None]
        luma = gray(x)
        mean = luma.mean((2, 3), keepdim=True)
        op4 = op[:, None, None, None]
        other = torch.where(op4 == CONTRAST, mean, luma).masked_fill(op4 == BRIGHTNESS, 0.0)
        blend = torch.lerp(other.expand_as(x), x, factor).clamp(0, 1)
        is_hue = op == HUE
        if x.is_cuda:  # picking rows would make the host wait for the device
            x = torch.where(is_hue[:, None, None, None], shift_hue(x, p.factors[:, HUE]), blend)
        else:
            rows = is_hue.nonzero()[:, 0]
            x = blend.index_copy(0, rows, shift_hue(x[rows], p.factors[rows, HUE]))
    return x


def shift_hue(x: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` (B,) of a turn, keeping HSV's saturation and value. x: (B, 3, H, W) in [0, 1]."""
    r, g, b = x.unbind(1)
    value = x.amax(1)
    chroma = value - x.amin(1)
    inverse = 1 / torch.where(chroma == 0, 1.0, chroma)
    sector = torch.where(
        value == r, (g - b) * inverse, torch.where(value == g, (b - r) * inverse + 2, (r - g) * inverse + 4)
    )
    sector = sector + 6 * shift[:, None, None]
    # each channel of a colour of full saturation is a trapezoid over the hue's six sectors
    offset = torch.arange(5, 0, -2, device=x.device)[:, None, None]
    k = torch.remainder(sector[:, None] + offset, 6)
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def blur(x: Tensor, sigma: Tensor, kernel: int) -> Tensor:
    """Gaussian blur with a standard deviation for each image, reflected at the borders, `kernel` taps an axis."""
    half = kernel // 2
    taps = torch.arange(-half, half + 1, device=x.device, dtype=torch.float32)
    weight = torch.exp(-0.5 * (taps / sigma.clamp(min=1e-6)[:, None]) ** 2)
    weight = (weight / weight.sum(1, keepdim=True))[:, :, None, None, None]  # (B, kernel, 1, 1, 1)
    h, w = x.shape[-2:]
    padded = torch.nn.functional.pad(x, (half, half, half, half), mode="reflect")
    x = sum(weight[:, i] * padded[:, :, :, i : i + w] for i in range(kernel))
    return sum(weight[:, i] * x[:, :, i : i + h] for i in range(kernel))


def normal(p: Params, shape: torch.Size) -> Tensor:
    """Standard normal numbers of `shape` (B, ...) from the view's counter (Box and Muller)."""
    count = math.prod(shape[1:])
    pixel = torch.arange(NOISE, NOISE + count, device=p.sample.device)
    h = mix(mix(p.start + p.sample * GOLDEN)[:, None] + pixel * GOLDEN)
    radius = (((h >> 40) & 0xFFFFFF).to(torch.float32) + 1) * 2.0**-24
    angle = ((h >> 16) & 0xFFFFFF).to(torch.float32) * (2 * math.pi * 2.0**-24)
    return (torch.sqrt(-2 * torch.log(radius)) * torch.cos(angle)).view(shape)

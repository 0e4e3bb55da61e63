"""Backbones and projectors."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from repro.core.own import Own, blamed, load, wrong
from repro.errors import ReproError

STRIDED = {"convnet": (16, 64, 128), "convnet-thin": (16, 32, 128), "convnet4": (16, 32, 64, 128)}  # channels
BACKBONES = (*STRIDED, "resnet18", "resnet34", "resnet50", "pixels")


def backbone(name: str | Own, size: int) -> tuple[nn.Module, int]:
    """A backbone for images of `size` pixels a side, and the number of its features.

    convnet, convnet-thin: three strided 3x3 convolutions, for 16-32 px on a CPU. convnet4: four, down to 2 x 2 fields of
    32 px, for photographs on a CPU. resnet18/34/50: torchvision's, with the small-image stem (3x3, stride 1, padding 1,
    no max-pool) up to 64 px. pixels: the image itself, the floor of every probe; above 64 px its mean over 32 x 32 fields,
    since a large set's features must find room. A reader's own is tried on two images.
    """
    if isinstance(name, Own):
        return _own(name, size)
    if name in STRIDED:
        return _convnet(STRIDED[name])
    if name == "pixels":
        if size > 64:
            return nn.Sequential(nn.AdaptiveAvgPool2d(32), nn.Flatten()), 3 * 32 * 32
        return nn.Flatten(), 3 * size * size
    if name in BACKBONES:
        from torchvision import models  # seconds to import, and the small net needs none of it

        net = getattr(models, name)(zero_init_residual=True)
        features = net.fc.in_features
        net.fc = nn.Identity()
        if size <= 64:
            net.conv1 = nn.Conv2d(3, 64, 3, stride=1, padding=1, bias=False)
            net.maxpool = nn.Identity()
        return net, features
    raise ReproError(f"Unknown backbone {name!r}: choose one of {', '.join(BACKBONES)}.")


def _own(own: Own, size: int) -> tuple[nn.Module, int]:
    with blamed(own.file, made := load(own)), torch.no_grad():
        net, features = made(size)
        shape = tuple(net.eval()(torch.zeros(2, 3, size, size)).shape)
    if shape != (2, features):
        raise wrong(own, made, f"promises {features} features, but two images give {shape}")
    return net.train(), features


def _convnet(widths: tuple[int, ...]) -> tuple[nn.Module, int]:
    layers: list[nn.Module] = []
    channels = 3
    for width in widths:
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels


def mlp(features: int, projector, last_norm: bool = False) -> nn.Module:
    """linear - batch norm - ReLU, `projector.layers` linear layers in all; the last one bare, or with an unlearned batch
    norm. No layers: the identity."""
    if projector.layers < 0:
        raise ReproError(f"A projector has 0 or more layers, not {projector.layers}: correct it.")
    widths = [features] + [projector.width] * (projector.layers - 1) + [projector.dim]
    if projector.layers == 0:
        return nn.Identity()
    layers: list[nn.Module] = []
    for i in range(projector.layers - 1):
        layers += [nn.Linear(widths[i], widths[i + 1], bias=False), nn.BatchNorm1d(widths[i + 1]), nn.ReLU()]
    layers.append(nn.Linear(widths[-2], widths[-1], bias=not last_norm))
    if last_norm:
        layers.append(nn.BatchNorm1d(widths[-1], affine=False))
    return nn.Sequential(*layers)


def wide(x: Tensor) -> Tensor:
    """In float32; what is wider, as in tests, stays so."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def each_view(module: nn.Module, x: Tensor, joint: bool) -> Tensor:
    """Apply a module to (V, B, ...): all views as one batch (joint), or one view after the other."""
    if joint:
        return module(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return torch.stack([module(view) for view in x])

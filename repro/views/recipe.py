"""A recipe of augmentations as data: one `View` for each view of an image, and the papers' recipes by name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from repro.errors import ReproError


@dataclass(frozen=True)
class View:
    """How one view of an image is made; every probability is drawn for each image and view on its own.

    The order is fixed: crop and resize, flip, colour jitter, gray, blur, solarize, noise.

    crop: range of the crop's share of the area (1, 1: the whole image); ratio: of its width to its height.
    flip, jitter, gray, blur, solarize: probabilities. brightness, contrast, saturation: factor in [1 - x, 1 + x];
    hue: shift in [-x, x] of a turn. sigma: range of the blur's standard deviation in pixels; kernel: its width, odd,
    0 for a tenth of the image. threshold: pixels at or above it are inverted by solarize (of 1).
    noise: standard deviation of Gaussian noise added at the end (of 1).
    parent: the number of the view this one is made from (MSR's staged augmentation, Eq. 3): it shares that view's
    crop and flip, and goes on from its pixels; -1 for a view made from the image.
    """

    crop: tuple[float, float] = (0.2, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    gray: float = 0.0
    blur: float = 0.0
    sigma: tuple[float, float] = (0.1, 2.0)
    kernel: int = 0
    solarize: float = 0.0
    threshold: float = 0.5
    noise: float = 0.0
    parent: int = -1

    def __post_init__(self) -> None:
        probabilities, strengths = (
            ("flip", "jitter", "gray", "blur", "solarize"),
            ("brightness", "contrast", "saturation"),
        )
        rules = {name: (0 <= getattr(self, name) <= 1, "is a probability in [0, 1]") for name in probabilities}
        rules |= {name: (getattr(self, name) >= 0, "is a strength from 0 on") for name in strengths}
        rules |= {
            "crop": (0 < self.crop[0] <= self.crop[1] <= 1, "is a range of area shares in (0, 1]"),
            "ratio": (0 < self.ratio[0] <= self.ratio[1], "is a range of positive width/height"),
            "sigma": (0 < self.sigma[0] <= self.sigma[1], "is a range of positive pixels"),
            "hue": (0 <= self.hue <= 0.5, "lies in [0, 0.5] of a turn"),
            "kernel": (not self.kernel or self.kernel % 2 == 1, "is an odd number of pixels, or 0"),
            "noise": (self.noise >= 0, "is a standard deviation, 0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ReproError(f"A view's {name} {rule}, not {getattr(self, name)}: correct it.")


@dataclass(frozen=True)
class Recipe:
    """The views of an image, in order."""

    name: str
    views: tuple[View, ...]

    def __post_init__(self) -> None:
        if not self.views:
            raise ReproError(f"The recipe {self.name!r} has no views: give it one or more.")
        for number, view in enumerate(self.views):
            if view.parent >= number:
                raise ReproError(f"View {number} of {self.name!r} is made from view {view.parent}, which comes later.")


CROP = View()
ALL = View(jitter=0.8, gray=0.2, blur=0.5, solarize=0.0)
MSR_AGGRESSIVE = replace(CROP, jitter=0.8, gray=0.2, blur=0.5)


def _cumulative() -> dict[str, View]:
    """The six sets of Figs. 6 and 7 of the FFCV-SSL paper: each alone on top of cropping, then all."""
    return {
        "crop": CROP,
        "crop+solarize": replace(CROP, solarize=0.2),
        "crop+gray": replace(CROP, gray=0.2),
        "crop+blur": replace(CROP, blur=1.0),
        "crop+jitter": replace(CROP, jitter=0.8),
        "all": replace(CROP, jitter=0.8, gray=0.2, blur=1.0, solarize=0.2),
    }


STACKS = tuple(_cumulative())


def _presets() -> dict[str, tuple[View, ...]]:
    two = {name: (view, view) for name, view in _cumulative().items()}
    jitter = replace(CROP, jitter=0.8, gray=0.2)
    ffcv = replace(CROP, crop=(0.08, 1.0), jitter=0.8, saturation=0.2, gray=0.2)
    return two | {
        "none": (View(crop=(1, 1), flip=0.0),),
        # SimCLR on small images: no blur (its kernel would be a pixel wide), as in dkobak/simclr-cifar10
        "simclr-small": (jitter, jitter),
        # SimCLR, Appendix A: ImageNet
        "simclr": (replace(ALL, crop=(0.08, 1.0), brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2),) * 2,
        # the two branches of the FFCV-SSL paper's code: blur always on one, solarize on the other
        "ffcv-ssl": (replace(ffcv, blur=1.0), replace(ffcv, solarize=0.2)),
        # the same for small images, where a blur is three pixels wide and crops are the embedded data's
        "ffcv-ssl-small": (
            replace(CROP, jitter=0.8, saturation=0.2, gray=0.2, blur=1.0, kernel=3),
            replace(CROP, jitter=0.8, saturation=0.2, gray=0.2, solarize=0.2),
        ),
        # BYOL, Table 6
        "byol": (
            replace(CROP, crop=(0.08, 1.0), jitter=0.8, saturation=0.2, gray=0.2, blur=1.0),
            replace(CROP, crop=(0.08, 1.0), jitter=0.8, saturation=0.2, gray=0.2, blur=0.1, solarize=0.2),
        ),
        # MSR, Section 4.1 and Eq. 3: two weak views, then the aggressive ones made from them
        "msr": (CROP, CROP, replace(MSR_AGGRESSIVE, parent=0), replace(MSR_AGGRESSIVE, parent=1)),
    }


def preset(name: str, **changes: object) -> Recipe:
    """A recipe by name, with fields of every view changed, e.g. `preset("all", crop=(0.4, 1.0))`."""
    presets = _presets()
    if name not in presets:
        raise ReproError(f"Unknown recipe {name!r}: choose one of {', '.join(presets)}.")
    label = name + "".join(f",{k}={v}" for k, v in sorted(changes.items()))
    return Recipe(label, tuple(replace(v, **changes) for v in presets[name]))


def noisy(noise: float) -> Recipe:
    """Two views that are the whole image under Gaussian noise of that standard deviation (of 1), and nothing else."""
    return Recipe(f"noise,noise={noise:g}", (View(crop=(1, 1), flip=0.0, noise=noise),) * 2)


def instance(patch: int, noise: float, size: int, everywhere: bool = False) -> Recipe:
    """Three views of an image of `size` pixels: itself, itself under Gaussian noise, and a random square patch of it of
    `patch` pixels a side, resized to the image's size (FFCV-SSL paper, Sec. 3.4). everywhere: all three carry noise of
    their own, so that noise does not tell the positive from the other two."""
    if not 1 <= patch < size:
        raise ReproError(f"A patch of {patch} pixels is no part of an image of {size}: choose 1 to {size - 1}.")
    share = (patch / size) ** 2
    whole = View(crop=(1, 1), flip=0.0, noise=noise if everywhere else 0.0)
    part = replace(whole, crop=(share, share), ratio=(1.0, 1.0))
    name = f"instance,noise={noise:g},patch={patch}" + ",everywhere=1" * everywhere
    return Recipe(name, (whole, replace(whole, noise=noise), part))


def staged(recipe: Recipe) -> Recipe:
    """Two weak views, and from each an aggressive one, as MSR's recipe has them, with the crop and the colours of the
    recipe's last view; a staged recipe as it is."""
    if any(v.parent >= 0 for v in recipe.views):
        return recipe
    last = recipe.views[-1]
    weak = replace(last, jitter=0.0, gray=0.0, blur=0.0, solarize=0.0, noise=0.0)
    return Recipe(f"{recipe.name}, staged", (weak, weak, replace(last, parent=0), replace(last, parent=1)))


def full_blur(recipe: Recipe) -> Recipe:
    """The recipe with blurs three standard deviations wide to either side, 13 pixels for a sigma of up to 2, which leaves
    of that sigma 1.99. A tenth of a small image, the width by default, cuts it down: at 16 pixels to 0.80, at 32 to 1.29.
    The MSR authors' code blurs by Pillow, whose Gaussian is whole at every image size."""
    return Recipe(
        f"{recipe.name}, full blur",
        tuple(replace(v, kernel=2 * math.ceil(3 * v.sigma[1]) + 1) if v.blur else v for v in recipe.views),
    )


def repeat(recipe: Recipe, views: int) -> Recipe:
    """The recipe with `views` views in all, its own repeated in turn: many-view training (small projectors paper)."""
    if any(v.parent >= 0 for v in recipe.views):
        raise ReproError(f"The staged recipe {recipe.name!r} has a fixed number of views: repeat another one.")
    if views < 1:
        raise ReproError(f"A recipe needs at least one view, not {views}.")
    return Recipe(f"{recipe.name} x{views}", tuple(recipe.views[i % len(recipe.views)] for i in range(views)))

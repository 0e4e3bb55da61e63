"""The compiled views give the reference's pictures, whatever the batch, and draw what the recipe says."""

from dataclasses import replace

import numba
import numpy as np
import pytest
import reference
import torch

from repro.errors import ReproError
from repro.loader import compiled
from repro.views.draw import draw
from repro.views.recipe import Recipe, View, preset

WHOLE = View(crop=(1, 1), flip=0.0)
ONLY = {
    "crop": View(flip=0.0),
    "flip": replace(WHOLE, flip=0.5),
    "brightness": replace(WHOLE, jitter=1.0, contrast=0, saturation=0, hue=0),
    "contrast": replace(WHOLE, jitter=1.0, brightness=0, saturation=0, hue=0),
    "saturation": replace(WHOLE, jitter=1.0, brightness=0, contrast=0, hue=0),
    "hue": replace(WHOLE, jitter=1.0, brightness=0, contrast=0, saturation=0, hue=0.5),
    "jitter": replace(WHOLE, jitter=0.8, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2),
    "gray": replace(WHOLE, gray=0.5),
    "blur": replace(WHOLE, blur=0.8, kernel=5),
    "solarize": replace(WHOLE, solarize=0.5),
    "noise": replace(WHOLE, noise=0.3),
    "all": View(jitter=0.8, gray=0.2, blur=0.5, solarize=0.2, noise=0.05),
}


def pictures(n: int, height: int, width: int) -> torch.Tensor:
    """Smooth ones and noise in turn, so that resampling, borders and saturated colours all matter."""
    torch.manual_seed(0)
    smooth = torch.nn.functional.interpolate(torch.rand(n, 3, 4, 4), (height, width), mode="bicubic").clamp(0, 1)
    noise = torch.randint(0, 256, (n, 3, height, width), dtype=torch.uint8)
    noise[n // 2 :] = (smooth[n // 2 :] * 255).byte()
    return noise


@pytest.mark.parametrize("shape", [(16, 16, 16), (32, 32, 0), (70, 90, 33), (230, 210, 224)])
@pytest.mark.parametrize("name", ONLY)
def test_same_pictures_as_torchvision(name, shape):
    height, width, size = shape
    images, sample = pictures(4, height, width), torch.tensor([5, 0, 123456789, 2**40])
    recipe = Recipe(name, (ONLY[name],) * 2)
    found = compiled.make(images, recipe, 3, 7, sample, size)
    wanted = reference.make(images, recipe, 3, 7, sample, size)
    assert found.shape == wanted.shape
    assert found.dtype == torch.float32
    # the contract is one grey level of 255; a pixel on solarize's threshold may fall on either side of it
    difference = (found - wanted).abs()
    if ONLY[name].solarize:
        difference = torch.where((wanted - 0.5).abs() < 1e-3, 0.0, difference)
    assert difference.max() < 1e-4


@pytest.mark.parametrize("size", [16, 32, 40, 64, 224])
@pytest.mark.parametrize("sigma", [0.3, 0.6, 0.8, 1.1, 1.3, 1.6, 1.8, 2.0, 3.0])
def test_blurs_of_any_width_are_torchvisions(sigma, size):
    view = replace(WHOLE, blur=1.0, sigma=(sigma, sigma), kernel=23 if size > 16 else 15)
    images, sample, recipe = pictures(2, size, size), torch.arange(2), Recipe("blur", (view,))
    found, wanted = (back_end.make(images, recipe, 0, 0, sample) for back_end in (compiled, reference))
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=0)


def test_staged_views_go_on_from_their_parents_pixels():
    images, sample, recipe = pictures(4, 32, 32), torch.arange(4), preset("msr")
    torch.testing.assert_close(
        compiled.make(images, recipe, 0, 1, sample), reference.make(images, recipe, 0, 1, sample), atol=1e-4, rtol=0
    )
    plain = Recipe("plain", tuple(replace(v, jitter=0.0, gray=0.0, blur=0.0) for v in recipe.views))
    views = compiled.make(images, plain, 0, 1, sample)
    assert torch.equal(views[2], views[0])
    assert not torch.equal(views[1], views[0])


def test_a_view_depends_on_no_other_image():
    images, sample, recipe = pictures(9, 40, 40), torch.arange(100, 109), Recipe("all", (ONLY["all"],) * 3)
    together = compiled.make(images, recipe, 1, 2, sample, 24)
    alone = [compiled.make(images[i : i + 1], recipe, 1, 2, sample[i : i + 1], 24) for i in range(9)]
    assert torch.equal(together, torch.cat(alone, 1))
    assert torch.equal(together, compiled.make(images, recipe, 1, 2, sample, 24, threads=3))
    order = torch.tensor([4, 8, 0, 1, 7, 6, 2, 5, 3])
    assert torch.equal(together[:, order], compiled.make(images[order], recipe, 1, 2, sample[order], 24))


def test_views_of_a_recipe_do_not_depend_on_how_many_follow():
    images, sample, view = pictures(3, 16, 16), torch.arange(3), ONLY["all"]
    two, four = (compiled.make(images, Recipe("n", (view,) * n), 0, 0, sample) for n in (2, 4))
    assert torch.equal(two, four[:2])


def test_pictures_differ_over_seeds_epochs_samples_and_views_and_repeat_with_them():
    image = pictures(1, 16, 16)
    recipe = Recipe("all", (ONLY["all"],) * 2)

    def view(seed, epoch, sample):
        return compiled.make(image, recipe, seed, epoch, torch.tensor([sample]))

    first = view(0, 0, 0)
    assert torch.equal(first, view(0, 0, 0))
    assert not torch.equal(first[0], first[1])
    others = [view(1, 0, 0), view(0, 1, 0), view(0, 0, 1)]
    assert all(not torch.equal(first[0], o[v]) for o in others for v in range(2))


def test_seeds_are_not_shifted_copies_of_one_stream():
    def crops(seed):
        return {
            (int(t), int(a))
            for t, a in zip(*_boxes(draw(Recipe("c", (View(),)), seed, 0, torch.arange(200), 500, 500)))
        }

    assert len(crops(0) & crops(1)) < 5


def _boxes(params):
    return params[0].top * 1000 + params[0].left, params[0].height * 1000 + params[0].width


def test_the_parameters_describe_the_picture():
    """An image whose pixels say where they are: the crop and the flip can be read off the view."""
    height, width = 60, 90
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    image = torch.stack((y, x, torch.zeros_like(x))).to(torch.uint8)[None].expand(40, -1, -1, -1)
    sample = torch.arange(40)
    recipe = Recipe("crop", (View(),))
    (p,) = draw(recipe, 0, 0, sample, height, width)
    views = compiled.make(image.contiguous(), recipe, 0, 0, sample, 30)[0] * 255
    torch.testing.assert_close(views[:, 0].mean((1, 2)), (p.top + (p.height - 1) / 2).float(), atol=0.3, rtol=0)
    torch.testing.assert_close(views[:, 1].mean((1, 2)), (p.left + (p.width - 1) / 2).float(), atol=0.3, rtol=0)
    assert torch.equal(views[:, 1, 15, 0] > views[:, 1, 15, -1], p.flip)
    aspect = p.width / p.height
    assert aspect.min() < 0.85
    assert aspect.max() > 1.2  # not every crop is a square


RANGES = View(crop=(0.05, 0.9), ratio=(0.4, 2.5), jitter=0.5, brightness=1.5, hue=0.5, gray=0.2, blur=0.5, solarize=0.3)


@pytest.mark.parametrize("view", [ONLY["all"], RANGES, WHOLE], ids=["all", "wide ranges", "whole"])
@pytest.mark.parametrize(("height", "width"), [(16, 16), (375, 500), (500, 60)])
def test_the_kernel_draws_what_draw_does_bit_for_bit(view, height, width):
    recipe, sample = Recipe("r", (view, view)), torch.arange(3000) * 7919
    table, starts = compiled.table(recipe, 224), compiled.starts(recipe, 11, 3)
    wanted = draw(recipe, 11, 3, sample, height, width)
    for v in range(2):
        p = wanted[v]
        boxes = torch.stack((p.top, p.left, p.height, p.width), 1).tolist()
        flags = torch.stack((p.flip, p.jitter, p.gray, p.solarize), 1).tolist()
        orders, all_factors, sigmas = p.order.tolist(), p.factors.tolist(), p.sigma.tolist()
        for i, number in enumerate(sample.tolist()):
            found = compiled.drawn(table[v], starts[v], number, height, width)
            assert list(found[:4]) == boxes[i]
            assert list(found[4:8]) == flags[i]
            assert found.sigma == sigmas[i]
            if found.jitter:
                assert (found.order, found.factors) == (orders[i], all_factors[i])


def test_what_is_drawn():
    recipe = Recipe("all", (View(jitter=0.8, gray=0.2, blur=0.5, solarize=0.2),))
    (p,) = draw(recipe, 0, 0, torch.arange(4000), 224, 224)
    for share, probability in ((p.flip, 0.5), (p.jitter, 0.8), (p.gray, 0.2), (p.sigma > 0, 0.5), (p.solarize, 0.2)):
        assert abs(share.float().mean() - probability) < 0.03
    low, high = p.factors.min(0).values, p.factors.max(0).values
    torch.testing.assert_close(low, torch.tensor([0.6, 0.6, 0.6, -0.1]), atol=0.01, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.4, 1.4, 1.4, 0.1]), atol=0.01, rtol=0)
    assert len(p.order.unique(dim=0)) == 24
    assert p.sigma[p.sigma > 0].unique().numel() > 1000  # each image has its own


def test_a_blur_leaves_a_plain_image_as_it_is():
    plain = torch.full((4, 3, 40, 40), 200, dtype=torch.uint8)
    views = compiled.make(
        plain, Recipe("blur", (replace(WHOLE, blur=1.0, sigma=(2.0, 2.0), kernel=23),)), 0, 0, torch.arange(4)
    )
    torch.testing.assert_close(views, torch.full_like(views, 200 / 255), atol=3e-5, rtol=0)


def test_a_kernel_wider_than_the_view_is_refused():
    recipe = Recipe("blur", (replace(WHOLE, blur=1.0, kernel=33),))
    with pytest.raises(ReproError, match="set a smaller kernel"):
        compiled.make(pictures(1, 16, 16), recipe, 0, 0, torch.arange(1))


def test_works_where_no_cache_can_be_written(monkeypatch):
    jit = numba.jit

    def refuse(*args, cache=False, **kwargs):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return jit(*args, **kwargs)

    monkeypatch.setattr(numba, "jit", refuse)
    twice = compiled._jit(lambda x: x + x)
    assert twice(np.float32(2)) == 4

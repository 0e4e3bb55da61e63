"""Views: the batched back end gives torchvision's pictures; what is drawn has the distributions the recipes promise."""

from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from PIL import Image, ImageFilter
from scipy import stats
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import gaussian_blur

from repro.errors import ReproError
from repro.loader import compiled
from repro.views import batched
from repro.views.draw import GOLDEN, draw, mix, permutation, stream, uniform
from repro.views.recipe import Recipe, View, _presets, full_blur, instance, noisy, preset, repeat

SAMPLE = torch.tensor([3, 0, 77, 2**31 + 5, 2**40, 12])
WHOLE = View(crop=(1, 1), flip=0.0)


def pictures(n: int, height: int, width: int) -> torch.Tensor:
    """uint8 images: flat colours, gray ramps, smooth fields and noise, so that ties and borders come up."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    noise = torch.randint(0, 256, (n, 3, height, width), generator=generator, dtype=torch.uint8)
    coarse = torch.randint(0, 256, (n, 3, 3, 3), generator=generator).float()
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").byte()
    flat = torch.tensor([[255, 0, 0], [0, 0, 0], [255, 255, 255], [7, 7, 9]], dtype=torch.uint8)[:, :, None, None]
    ramp = torch.linspace(0, 255, width).byte().expand(3, height, width)
    out = torch.where(torch.arange(n)[:, None, None, None] % 2 == 0, smooth, noise)
    out[0], out[-1] = flat[n % 4].expand(3, height, width), ramp
    return out


def same(found: torch.Tensor, wanted: torch.Tensor, recipe: Recipe) -> None:
    """Within rounding. Where solarize compares with its threshold, rounding may decide: there the view or its negative
    are both right, and so few pixels lie there that they may be left out."""
    difference = (found - wanted).abs()
    if any(v.solarize for v in recipe.views):
        near = ((wanted - 0.5).abs() < 1e-3) | ((found - 0.5).abs() < 1e-3)
        assert near.float().mean() < 0.1
        difference = torch.where(near, 0.0, difference)
    assert difference.max() < 1e-4


@pytest.mark.parametrize(("height", "width", "size"), [(16, 16, 0), (23, 37, 19), (65, 31, 33)])
@pytest.mark.parametrize("name", _presets())
def test_every_preset_gives_torchvisions_pictures(name, height, width, size):
    images, recipe = pictures(6, height, width), preset(name)
    found = batched.make(images, recipe, 4, 9, SAMPLE, size)
    assert found.shape == (len(recipe.views), 6, 3, size or height, size or height)
    assert found.dtype == torch.float32
    assert found.min() > -1e-6
    assert found.max() < 1 + 1e-6
    same(found, reference.make(images, recipe, 4, 9, SAMPLE, size), recipe)


EXTREME = {
    "strong jitter": replace(WHOLE, jitter=1.0, brightness=2.0, contrast=2.0, saturation=2.0, hue=0.5),
    "small crops": View(crop=(0.02, 0.1), ratio=(0.3, 3.0)),
    "always gray": View(gray=1.0),
    "wide blur": replace(WHOLE, blur=1.0, kernel=15, sigma=(0.1, 5.0)),
    "solarize all": replace(WHOLE, solarize=1.0, threshold=0.25),
    "noise": View(noise=0.3),
}


@pytest.mark.parametrize("name", EXTREME)
def test_far_settings_give_torchvisions_pictures(name):
    images, recipe = pictures(6, 40, 29), Recipe(name, (EXTREME[name], EXTREME[name]))
    same(batched.make(images, recipe, 0, 0, SAMPLE, 24), reference.make(images, recipe, 0, 0, SAMPLE, 24), recipe)


def test_a_kernel_of_zero_is_a_tenth_of_the_image_and_odd():
    images = pictures(6, 60, 60)
    given, default = (Recipe("b", (replace(WHOLE, blur=1.0, kernel=k),)) for k in (7, 0))
    assert torch.equal(batched.make(images, given, 0, 0, SAMPLE), batched.make(images, default, 0, 0, SAMPLE))


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("back_end", [batched, compiled, reference], ids=["batched", "compiled", "torchvision"])
def test_a_full_blur_has_its_sigma_at_any_size_as_pillows_has(back_end, size):
    """Of a line of light in the middle, the standard deviation across it; a tenth of the image wide it is far less."""
    images = torch.zeros(1, 3, size, size, dtype=torch.uint8)
    images[..., size // 2] = 255
    far = torch.arange(size) - size // 2

    def sigma(picture):
        across = picture[0].double().mean(0)
        return float(((across * far**2).sum() / across.sum()).sqrt())

    cut = Recipe("blur", (replace(WHOLE, blur=1.0, sigma=(2.0, 2.0)),))
    full = full_blur(cut)
    assert full.views[0].kernel == 13
    ours, narrow = (back_end.make(images, r, 0, 0, torch.arange(1))[0, 0] for r in (full, cut))
    assert sigma(ours) == pytest.approx(2, rel=0.05)
    assert sigma(narrow) == pytest.approx({16: 0.80, 32: 1.29}[size], abs=0.01)
    theirs = Image.fromarray(images[0].permute(1, 2, 0).numpy()).filter(ImageFilter.GaussianBlur(2))
    theirs = torch.from_numpy(np.array(theirs)).permute(2, 0, 1) / 255
    assert sigma(theirs) == pytest.approx(2, rel=0.05)
    assert (ours - theirs).abs().max() < 0.02
    torch.testing.assert_close(ours, gaussian_blur(images[0] / 255, [13, 13], [2.0, 2.0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [16, 32])
def test_full_blurs_of_presets_are_torchvisions(size):
    """On pictures with borders, where 13 pixels are reflected; and nothing but the blur's width changes."""
    images = pictures(6, size, size)
    for name in ("msr", "ffcv-ssl-small", "byol"):
        plain, recipe = preset(name), full_blur(preset(name))
        assert [v.kernel for v in recipe.views] == [13 if v.blur else v.kernel for v in plain.views]
        assert [replace(v, kernel=0) for v in recipe.views] == [replace(v, kernel=0) for v in plain.views]
        assert recipe.name != plain.name
        wanted = reference.make(images, recipe, 4, 9, SAMPLE)
        for back_end in (batched, compiled):
            same(back_end.make(images, recipe, 4, 9, SAMPLE), wanted, recipe)
    assert full_blur(preset("simclr-small")).views == preset("simclr-small").views


# ------------------------------------------------------------------------------------------------------------- draws


def one(view: View, n: int, height: int = 224, width: int = 224, seed: int = 0):
    (p,) = draw(Recipe("one", (view,)), seed, 0, torch.arange(n), height, width)
    return p


@pytest.mark.parametrize(("height", "width"), [(224, 224), (100, 300)])
def test_crops_are_distributed_as_torchvisions(height, width):
    """Two-sample Kolmogorov-Smirnov against RandomResizedCrop's own draws. An alpha of 1e-4 for eight tests of one
    fixed draw is no matter of luck: the same numbers come every time."""
    view = View(crop=(0.2, 1.0))
    p = one(view, 4000, height, width)
    torch.manual_seed(0)
    image = torch.zeros(3, height, width)
    theirs = np.array([RandomResizedCrop.get_params(image, [0.2, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)])
    ours = torch.stack((p.top, p.left, p.height, p.width), 1).numpy()
    for quantity in (
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0] / np.maximum(1, height - b[:, 2]),
        lambda b: b[:, 1] / np.maximum(1, width - b[:, 3]),
    ):
        assert stats.ks_2samp(quantity(ours), quantity(theirs)).pvalue > 1e-4


def test_crops_lie_in_the_image_and_in_their_ranges():
    p = one(View(crop=(0.3, 0.6), ratio=(0.5, 2.0)), 5000)
    assert (p.top >= 0).all()
    assert (p.left >= 0).all()
    assert (p.top + p.height <= 224).all()
    assert (p.left + p.width <= 224).all()
    share, aspect = p.height * p.width / 224**2, p.width / p.height
    assert 0.29 < share.min() < 0.31
    assert 0.59 < share.max() < 0.61
    assert 0.49 < aspect.min() < 0.52
    assert 1.93 < aspect.max() < 2.02
    assert (p.height != p.width).float().mean() > 0.95
    # as often wide as tall, and everywhere in the image
    assert abs((aspect > 1).float().mean() - 0.5) < 0.03
    assert p.top.min() == 0
    assert (p.top + p.height).max() == 224


def test_a_crop_that_never_fits_is_torchvisions_centred_one():
    for height, width in ((10, 200), (200, 10)):
        p = one(View(crop=(0.99, 1.0)), 3, height, width)
        wanted = RandomResizedCrop.get_params(torch.zeros(3, height, width), [0.99, 1.0], [3 / 4, 4 / 3])
        assert {tuple(b.tolist()) for b in torch.stack((p.top, p.left, p.height, p.width), 1)} == {tuple(wanted)}


def test_probabilities_are_kept():
    view = View(flip=0.3, jitter=0.8, gray=0.2, blur=0.5, solarize=0.1)
    p = one(view, 20_000)
    drawn = {"flip": p.flip, "jitter": p.jitter, "gray": p.gray, "blur": p.sigma > 0, "solarize": p.solarize}
    for name, chosen in drawn.items():
        wanted = getattr(view, name)
        error = 4 * (wanted * (1 - wanted) / 20_000) ** 0.5  # four standard errors
        assert abs(chosen.double().mean().item() - wanted) < error, name
    # and independently of each other
    table = torch.stack([d.double() for d in drawn.values()])
    assert (torch.corrcoef(table) - torch.eye(5)).abs().max() < 0.03
    for name in drawn:
        for probability, all_of in ((0.0, False), (1.0, True)):
            q = one(replace(view, **{name: probability}), 500)
            found = q.sigma > 0 if name == "blur" else getattr(q, name)
            assert bool(found.all()) is all_of
            assert bool(found.any()) is all_of


def test_colour_factors_are_uniform_and_two_sided():
    p = one(View(jitter=1.0, brightness=0.4, contrast=0.3, saturation=0.2, hue=0.1), 20_000)
    for column, (centre, half) in enumerate(((1, 0.4), (1, 0.3), (1, 0.2), (0, 0.1))):
        u = (p.factors[:, column].double().numpy() - centre) / (2 * half) + 0.5
        assert stats.kstest(u, "uniform").pvalue > 1e-4
    assert (p.factors[:, 3] < 0).float().mean() == pytest.approx(0.5, abs=0.02)  # hue turns both ways
    assert p.factors[:, 3].abs().max() <= 0.1
    # a strength above 1 gives no negative factor
    assert one(View(jitter=1.0, brightness=3.0), 1000).factors[:, 0].min() == 0
    counts = torch.unique(p.order, dim=0, return_counts=True)[1]
    assert len(counts) == 24
    assert stats.chisquare(counts.numpy()).pvalue > 1e-4
    assert (p.order.sort(1).values == torch.arange(4)).all()


def test_blur_is_uniform_in_its_range():
    p = one(View(blur=1.0, sigma=(0.5, 1.5)), 5000)
    assert stats.kstest(p.sigma.double().numpy() - 0.5, "uniform").pvalue > 1e-4


def test_noise_is_normal_and_another_number_at_each_pixel_channel_sample_and_view():
    gray = torch.full((200, 3, 8, 8), 128, dtype=torch.uint8)
    view = replace(WHOLE, noise=0.1)
    views = batched.make(gray, Recipe("noise", (view, view)), 0, 0, torch.arange(200)).double() - 128 / 255
    assert stats.kstest(views.flatten().numpy() / 0.1, "norm").pvalue > 1e-4
    flat = views.reshape(2, 200, 192)
    for a, b in ((flat[0], flat[1]), (flat[0, :-1], flat[0, 1:]), (flat[0, :, :64], flat[0, :, 64:128])):
        assert abs(np.corrcoef(a.flatten(), b.flatten())[0, 1]) < 0.02


# -------------------------------------------------------------------------------------------------------- randomness

ALL = View(jitter=0.8, gray=0.2, blur=0.5, solarize=0.2, noise=0.1)
TWICE = Recipe("twice", (ALL, ALL))


def same_params(a, b) -> bool:
    names = ("top", "left", "height", "width", "flip", "jitter", "order", "factors", "gray", "sigma", "solarize")
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in names)


def test_the_hash_is_one_function_in_numpy_torch_and_python():
    numbers = np.array([0, 1, -1, 2**62, -(2**63), 123456789], np.int64)
    with np.errstate(over="ignore"):
        found = mix(numbers)
    assert found.tolist() == mix(torch.from_numpy(numbers)).tolist()

    def splitmix(x):  # Steele, Lea & Flood 2014, on unsigned numbers
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) % 2**64
        return x ^ (x >> 31)

    assert [x % 2**64 for x in found.tolist()] == [splitmix(x % 2**64) for x in numbers.tolist()]
    assert GOLDEN % 2**64 == 0x9E3779B97F4A7C15


def test_a_view_depends_on_seed_epoch_sample_and_view_alone():
    images, sample = pictures(12, 20, 20), torch.arange(100, 112)
    together = batched.make(images, TWICE, 1, 2, sample)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(batched.make(images[order], TWICE, 1, 2, sample[order]), together[:, order])
    alone = torch.cat([batched.make(images[i : i + 1], TWICE, 1, 2, sample[i : i + 1]) for i in range(12)], 1)
    torch.testing.assert_close(alone, together)
    drawn = draw(TWICE, 1, 2, sample, 20, 20)
    for i in (0, 5, 11):
        single = draw(TWICE, 1, 2, sample[i : i + 1], 20, 20)
        assert all(torch.equal(s.factors[0], d.factors[i]) and s.top[0] == d.top[i] for s, d in zip(single, drawn))
    more = draw(Recipe("more", (ALL,) * 5), 1, 2, sample, 20, 20)
    assert all(same_params(a, b) for a, b in zip(drawn, more))


def test_the_same_numbers_again_and_others_for_another_seed_epoch_sample_or_view():
    sample = torch.arange(50)
    first = draw(TWICE, 3, 4, sample, 32, 32)
    assert all(same_params(a, b) for a, b in zip(first, draw(TWICE, 3, 4, sample, 32, 32)))
    assert not same_params(first[0], first[1])
    for seed, epoch, shift in ((2, 4, 0), (3, 5, 0), (4, 3, 0), (3, 4, 50)):
        other = draw(TWICE, seed, epoch, sample + shift, 32, 32)
        for a in first:
            for b in other:
                assert (a.factors[:, 0] == b.factors[:, 0]).float().mean() < 0.1


def test_streams_are_uniform_and_do_not_resemble_each_other():
    sample, draws = torch.arange(2000), torch.arange(20)
    starts = [stream(seed, epoch, purpose) for seed in (0, 1, 2) for epoch in (0, 1) for purpose in (0, 1, 16)]
    assert len(set(starts)) == len(starts)
    found = [uniform(s, sample, draws).double().numpy() for s in starts]
    for u in found:
        assert u.min() >= 0
        assert u.max() < 1
        assert stats.kstest(u.ravel(), "uniform").pvalue > 1e-4
        assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 0.02  # the next sample
        assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 0.02  # the next number
    correlation = np.corrcoef([u.ravel() for u in found])
    assert np.abs(correlation - np.eye(len(found))).max() < 0.025
    # no stream is another one moved along the samples
    for other in found[1:]:
        assert len(np.intersect1d(found[0][:, 0], other[:, 0])) < 10


def test_permutations_are_fair():
    orders = torch.stack([permutation(seed, epoch, 20) for seed in range(30) for epoch in range(50)])
    assert (orders.sort(1).values == torch.arange(20)).all()
    assert torch.equal(permutation(7, 3, 20), permutation(7, 3, 20))
    assert len(orders.unique(dim=0)) == 1500
    for place in (0, 10, 19):
        assert stats.chisquare(np.bincount(orders[:, place].numpy(), minlength=20)).pvalue > 1e-4


# ----------------------------------------------------------------------------------------------------------- recipes


def test_staged_views_share_crop_and_flip_and_go_on_from_the_pixels():
    images, recipe = pictures(6, 30, 30), preset("msr")
    drawn = draw(recipe, 0, 0, SAMPLE, 30, 30)
    for child, parent in ((2, 0), (3, 1)):
        for name in ("top", "left", "height", "width", "flip"):
            assert torch.equal(getattr(drawn[child], name), getattr(drawn[parent], name))
    assert not torch.equal(drawn[0].top, drawn[1].top)
    assert not torch.equal(drawn[2].factors, drawn[3].factors)
    views = batched.make(images, recipe, 0, 0, SAMPLE)
    aggressive = batched.appearance(views[0], recipe.views[2], drawn[2])
    assert torch.equal(views[2], aggressive)
    untouched = ~(drawn[2].jitter | drawn[2].gray | (drawn[2].sigma > 0))
    changed = (views[2] != views[0]).flatten(1).any(1)
    assert not changed[untouched].any()


def test_presets_are_the_papers():
    assert all(p.views for p in map(preset, _presets()))
    crop, gray = preset("crop"), preset("crop+gray")
    assert gray.views[0] == replace(crop.views[0], gray=0.2)
    first, second = preset("ffcv-ssl").views
    assert (first.blur, first.solarize, second.blur, second.solarize) == (1.0, 0.0, 0.0, 0.2)
    assert [v.parent for v in preset("msr").views] == [-1, -1, 0, 1]
    changed = preset("all", crop=(0.4, 1.0))
    assert all(v.crop == (0.4, 1.0) for v in changed.views)
    assert changed.name != preset("all").name


def test_repeat_takes_views_in_turn():
    recipe = preset("byol")
    assert repeat(recipe, 5).views == (recipe.views * 3)[:5]
    assert repeat(recipe, 1).views == recipe.views[:1]


@pytest.mark.parametrize("everywhere", [False, True])
def test_an_instance_is_the_image_its_noisy_self_and_a_patch(everywhere):
    images = pictures(300, 16, 16)
    recipe = instance(6, 0.1, 16, everywhere)
    whole, noisy_one, patch = batched.make(images, recipe, 0, 0, torch.arange(300)).double()
    x = images.double() / 255
    assert torch.equal(whole.float(), images / 255) is not everywhere
    inside = (x > 0.4) & (x < 0.6)  # where noise is not cut off
    assert float((noisy_one - x)[inside].std()) == pytest.approx(0.1, rel=0.1)
    assert float((whole - x)[inside].std()) == pytest.approx(0.1 * everywhere, rel=0.1, abs=1e-6)
    box = draw(recipe, 0, 0, torch.arange(300), 16, 16)[2]
    assert set(box.height.tolist()) == set(box.width.tolist()) == {6}
    assert {*box.top.tolist()} == {*box.left.tolist()} == set(range(11))  # anywhere in the image
    if not everywhere:
        for i in range(5):
            part = x[i, :, box.top[i] : box.top[i] + 6, box.left[i] : box.left[i] + 6]
            wanted = torch.nn.functional.interpolate(part[None], (16, 16), mode="bilinear", antialias=True)[0]
            torch.testing.assert_close(patch[i], wanted, atol=1e-5, rtol=0)


def test_noise_alone_leaves_the_whole_image():
    images = pictures(8, 16, 16)
    for view in batched.make(images, noisy(0.0), 0, 0, torch.arange(8)):
        assert torch.equal(view, images / 255)
    assert (
        len({noisy(s).name for s in (0.1, 0.2)} | {instance(p, 0.1, 16, e).name for p in (4, 8) for e in (0, 1)}) == 6
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: instance(16, 0.1, 16), "A patch of 16 pixels is no part of an image of 16"),
        (lambda: instance(0, 0.1, 16), "choose 1 to 15"),
        (lambda: instance(4, -0.1, 16), "noise is a standard deviation"),
        (lambda: noisy(-0.1), "noise is a standard deviation"),
        (lambda: preset("crops"), "Unknown recipe 'crops'"),
        (lambda: View(flip=1.2), "flip is a probability"),
        (lambda: View(gray=-0.1), "gray is a probability"),
        (lambda: View(blur=float("nan")), "blur is a probability"),
        (lambda: View(crop=(0.0, 1.0)), "crop is a range"),
        (lambda: View(crop=(0.9, 0.2)), "crop is a range"),
        (lambda: View(crop=(0.5, 1.5)), "crop is a range"),
        (lambda: View(ratio=(0.0, 1.0)), "ratio is a range"),
        (lambda: View(hue=0.6), "hue lies in"),
        (lambda: View(brightness=-0.5), "brightness is a strength"),
        (lambda: View(sigma=(2.0, 0.1)), "sigma is a range"),
        (lambda: View(kernel=4), "odd number of pixels"),
        (lambda: View(noise=-1.0), "noise is a standard deviation"),
        (lambda: Recipe("none", ()), "has no views"),
        (lambda: Recipe("loop", (View(parent=0),)), "which comes later"),
        (lambda: repeat(preset("msr"), 4), "fixed number of views"),
        (lambda: repeat(preset("all"), 0), "at least one view"),
    ],
)
def test_a_bad_recipe_is_one_sentence(make, said):
    with pytest.raises(ReproError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")

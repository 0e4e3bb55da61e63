"""Losses of many views: the authors' numbers, the identity of C8, invariances; and what surrounds them: views that nest,
probes on averaged views, fractions of data, digits at random places, the benchmark."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from repro import data
from repro.bench import loss as bench
from repro.core.methods import BarlowMultiView, SimCLR, Untrained, VICRegMultiView
from repro.core.spec import DataSpec, Optimiser, Projector, RunSpec, key
from repro.errors import ReproError
from repro.ssl import feed, losses, methods, probes, probing, spectra, train
from repro.ssl.step import build
from repro.views.recipe import preset, repeat

_I = torch.arange(48, dtype=torch.float64).reshape(8, 6)
Z1 = torch.sin(1 + 0.7 * _I) + 0.3 * torch.cos(0.11 * _I**2)
VIEWS = [Z1, Z1 + 0.25 * torch.cos(2 + 1.3 * _I), Z1 + 0.25 * torch.sin(1 + 0.9 * _I), Z1 - 0.3 * torch.cos(0.4 * _I)]


def stack(views: int) -> torch.Tensor:
    return torch.stack(VIEWS[:views])


def random(views: int, n: int = 5, d: int = 4, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return image + 0.5 * torch.randn(views, n, d, generator=generator, dtype=torch.float64)


# ------------------------------------------------------------------------------------------------------ golden values


@pytest.mark.parametrize(("views", "golden"), [(2, 0.2353515807), (3, 0.2232440544), (4, 0.2296540508)])
def test_barlow_against_the_mean_is_the_authors(views, golden):
    """What the authors' public code gives for these projections at beta .02."""
    assert losses.barlow_mean_target(stack(views), 0.02).item() == pytest.approx(golden, abs=6e-11)


@pytest.mark.parametrize(("views", "golden"), [(2, 7.5120735130), (3, 7.5939070945), (4, 7.7134664865)])
def test_vicreg_against_the_mean_is_the_authors_but_for_the_root(views, golden):
    """What their code gives at 25/25/1; it has no 1e-4 under the root, which lowers the variance term a little."""
    assert losses.vicreg_mean_target(stack(views), 25, 25, 1).item() == pytest.approx(golden, abs=2e-3)


def slow_barlow(z, beta):
    """Claims' description, number by number."""
    views, n, d = z.shape
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for view in z.tolist() for row in view]
    for k in range(d):
        column = [row[k] for row in rows]
        mean = sum(column) / len(column)
        std = math.sqrt(sum((x - mean) ** 2 for x in column) / (len(column) - 1))
        for row in rows:
            row[k] = (row[k] - mean) / std
    view = [rows[v * n : (v + 1) * n] for v in range(views)]
    left, right = view[0], view[1]
    if views > 2:
        left = right = [[sum(view[v][i][k] for v in range(views)) / views for k in range(d)] for i in range(n)]
    c = [[sum(left[i][k] * right[i][m] for i in range(n)) / n for m in range(d)] for k in range(d)]
    off = sum(c[k][m] ** 2 for k in range(d) for m in range(d) if m != k)
    if views == 2:
        return sum((c[k][k] - 1) ** 2 for k in range(d)) + beta * off
    on = 0.0
    for v in range(views):
        on += sum((sum(view[v][i][k] * right[i][k] for i in range(n)) / n - 1) ** 2 for k in range(d)) / views
    return on + beta * off


@pytest.mark.parametrize("views", [2, 3, 8])
def test_barlow_against_the_mean_is_its_description(views):
    z = random(views) * torch.tensor([0.1, 1.0, 3.0, 10.0], dtype=torch.float64) + 2
    assert losses.barlow_mean_target(z, 0.3).item() == pytest.approx(slow_barlow(z, 0.3), rel=1e-8)


def test_vicreg_against_the_mean_of_two_views_is_vicreg():
    z = 0.5 * random(2)
    assert losses.vicreg_mean_target(z, 25, 15, 2).item() == pytest.approx(
        losses.vicreg(z, 25, 15, 2).item(), rel=1e-12
    )


# -------------------------------------------------------------------------------------------------- C8: the identity


@pytest.mark.parametrize("views", [2, 3, 4, 8, 16])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_the_spread_about_the_mean_is_the_mean_over_pairs(views, shift):
    z = random(views, 7, 5) + shift
    pairs = sum((z[a] - z[b]).square().sum() for a in range(views) for b in range(views)).item() / (2 * views * 7)
    assert losses.spread(z).item() == pytest.approx(pairs, rel=1e-6)
    assert losses.spread_of_pairs(z).item() == pytest.approx(pairs, rel=1e-6)


@pytest.mark.parametrize("views", [3, 6])
def test_exact_forms_are_the_mean_over_pairs_worked_out_one_by_one(views):
    z = random(views)
    pairs = [(a, b) for a in range(views) for b in range(a + 1, views)]
    for loss in (lambda z: losses.vicreg(z, 25.0, 15.0, 2.0), lambda z: losses.barlow_twins(z, 0.02)):
        one_by_one = sum(loss(z[[a, b]]).item() for a, b in pairs) / len(pairs)
        assert loss(z).item() == pytest.approx(one_by_one, rel=1e-10)


def test_two_views_and_many_are_different_objectives():
    """Found in the authors' code: four views, two of them copies, are not two views; so beta is chosen anew."""
    two = random(2)
    four = two.repeat(2, 1, 1)
    assert losses.barlow_twins(four[[0, 2]], 0.5).item() != pytest.approx(losses.barlow_twins(two, 0.5).item(), rel=0.1)
    assert abs(losses.barlow_mean_target(four, 0.5) / losses.barlow_mean_target(two, 0.5) - 1) > 0.05


def test_two_views_in_the_form_of_many():
    """Copies of two views change nothing but the unbiased variance of all projections."""
    two = random(2, n=400)
    assert losses.barlow_mean_target(two, 0.5, against_mean=True).item() == pytest.approx(
        losses.barlow_mean_target(two.repeat(2, 1, 1), 0.5).item(), rel=0.01
    )
    four = random(4)
    assert torch.equal(losses.barlow_mean_target(four, 0.5, against_mean=True), losses.barlow_mean_target(four, 0.5))


# ------------------------------------------------------------------------------------------------------- invariances

LOSSES = {
    "barlow": lambda z: losses.barlow_mean_target(z, 0.3),
    "vicreg": lambda z: losses.vicreg_mean_target(z, 25.0, 15.0, 2.0),
    "spread": losses.spread,
    "pairs": losses.spread_of_pairs,
}
EACH = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@EACH
@pytest.mark.parametrize("views", [2, 3, 5])
def test_the_order_of_images_and_views_does_not_matter(loss, views):
    z = random(views)
    assert loss(z[:, [3, 0, 4, 1, 2]]).item() == pytest.approx(loss(z).item(), rel=1e-12)
    assert loss(z[torch.randperm(views)]).item() == pytest.approx(loss(z).item(), rel=1e-12)


@EACH
@pytest.mark.parametrize("views", [2, 4])
def test_which_views_belong_together_matters(loss, views):
    z = random(views)
    apart = torch.stack([z[v].roll(v, 0) for v in range(views)])
    assert loss(apart) > 1.2 * loss(z)


@pytest.mark.parametrize("views", [2, 4])
def test_barlow_ignores_the_length_of_a_projection(views):
    z = random(views)
    lengths = torch.linspace(0.1, 10, 5 * views, dtype=torch.float64).reshape(views, 5, 1)
    z_scaled = losses.barlow_mean_target(z * lengths, 0.3).item()
    assert z_scaled == pytest.approx(losses.barlow_mean_target(z, 0.3).item(), rel=1e-8)


def test_perfect_features_have_no_loss():
    """Equal views whose dimensions are uncorrelated: C is the identity, whatever beta."""
    signs = torch.tensor([[a, b, a * b] for a in (-1.0, 1.0) for b in (-1.0, 1.0)]).double().repeat(50, 1)
    for views in (2, 5):
        z = signs.expand(views, -1, -1)
        # unbiased variance: C_ii = (V N - 1) / (V N)
        assert losses.barlow_mean_target(z, 10.0).item() == pytest.approx(3 / (200 * views) ** 2, rel=1e-6)


@EACH
@pytest.mark.parametrize("views", [2, 3])
def test_gradients(loss, views):
    assert torch.autograd.gradcheck(loss, random(views, 4, 3).requires_grad_(True))


@EACH
def test_collapsed_projections_give_finite_numbers(loss):
    for z in (torch.zeros(3, 4, 3), torch.ones(3, 4, 3)):
        z.requires_grad_(True)
        value = loss(z)
        value.backward()
        assert value.isfinite()
        assert z.grad.isfinite().all()


# ----------------------------------------------------------------------------------------------------------- methods


def spec(method, views, **changes):
    made = {
        "data": DataSpec("digits-placed", 16, 0.1), "recipe": repeat(preset("crop", flip=0.0), views), "method": method,
        "projector": Projector(2, 8, 8), "optimiser": Optimiser("adamw", 1e-3, 1e-6), "batch_size": 24, "epochs": 2,
    }  # fmt: skip
    return RunSpec(**made | changes)


@pytest.mark.parametrize("method", [BarlowMultiView(0.5), VICRegMultiView(), SimCLR()], ids=lambda m: type(m).__name__)
def test_methods_train_on_any_number_of_views(method):
    scores = []
    for views in (2, 3):
        found = train.run(spec(method, views))
        assert found.metrics["diverged"] == 0
        assert found.curves["loss"][-1] < found.curves["loss"][0]
        scores.append(found.curves["loss"])
    assert scores[0] != scores[1]


def test_new_methods_have_keys_of_their_own_and_leave_the_old_ones():
    assert len({key(spec(m, 2)) for m in (BarlowMultiView(), VICRegMultiView(), methods.VICReg())}) == 3
    assert key(RunSpec()) == "bbfaa1153f56a809"


def test_one_view_is_refused_in_a_sentence():
    with pytest.raises(ReproError, match=r"BarlowMultiView compares views and needs two"):
        train.run(spec(BarlowMultiView(), 1))


# --------------------------------------------------------------------------------------------- views, time and probes


def test_more_views_keep_the_first_ones():
    """An image is read once and every view is cut from it; view k is the same whatever their number."""
    split = data.load("digits-placed", 16).train
    index = torch.arange(5)
    recipe = preset("crop", flip=0.0)
    few, many = (feed.make_views(split.images[:5], repeat(recipe, m), 3, 1, index) for m in (2, 8))
    assert torch.equal(few, many[:2])
    assert not torch.equal(many[0], many[2])


def test_seconds_of_training_are_kept_apart_from_the_numbers():
    runs = [train.run(spec(BarlowMultiView(), 2, epochs=3)) for _ in range(2)]
    assert runs[0].metrics == runs[1].metrics
    assert runs[0].curves == runs[1].curves
    for clock in ("epoch_seconds", "epoch_cpu_seconds"):
        seconds = runs[0].timing[clock]
        assert len(seconds) == len(runs[0].curves["epoch"]) == 3
        assert seconds == sorted(seconds)
        assert seconds[0] > 0


def test_probes_on_averaged_views_are_off_unless_asked_for():
    plain = spec(Untrained(), 2, seed=1)
    asked = replace(plain, probes=replace(plain.probes, averaged=4))
    few, many = train.run(plain).metrics, train.run(asked).metrics
    assert not any(name.startswith("averaged") for name in few)
    assert {k: v for k, v in many.items() if not k.startswith("averaged")} == few
    assert set(many) - set(few) == {"averaged_val_digit", "averaged_test_digit"}
    assert many["averaged_test_digit"] != many["linear_test_digit"]
    assert key(plain) == key(replace(plain, probes=replace(plain.probes, averaged=0)))


def test_features_averaged_over_whole_images_are_the_features():
    dataset = data.load("digits-placed", 16)
    whole = replace(spec(Untrained(), 2), recipe=repeat(preset("none"), 2))
    whole = replace(whole, probes=replace(whole.probes, averaged=3))
    backbone = build(whole, 16).backbone
    clean = probing.features_of(backbone, dataset.val.images, dataset.mean, dataset.std)
    averaged = probing.mean_features(whole, backbone, dataset, dataset.val.images, 1)
    torch.testing.assert_close(averaged, clean, rtol=1e-4, atol=1e-5)


def test_effective_rank_counts_directions():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((4000, 6))
    assert spectra.effective_rank(x) == pytest.approx(6, abs=0.05)
    assert spectra.effective_rank(x * np.array([1, 1, 1, 9, 9, 9])) == pytest.approx(6, abs=0.05)
    assert spectra.effective_rank(x[:, [0, 0, 0, 0]]) == pytest.approx(1, abs=1e-6)
    assert spectra.effective_rank(np.hstack([x[:, :2], x[:, :2]])) == pytest.approx(2, abs=0.05)
    assert math.isnan(spectra.effective_rank(np.ones((10, 3))))


# --------------------------------------------------------------------------------------------------- fractions of data


@pytest.mark.parametrize("name", ["digits-placed", "digits", "objects"])
@pytest.mark.parametrize("seed", [0, 4])
def test_fractions_are_seeded_nested_and_balanced(name, seed):
    split = data.load(name, 16).train
    labels = split.labels[data.tasks(name)[0]]
    shares = (0.05, 0.25, 0.5, 1.0)
    chosen = [set(data.subset(split, f, seed).tolist()) for f in shares]
    for smaller, larger in itertools.pairwise(chosen):
        assert smaller < larger
    classes = labels.bincount()
    for share, index in zip(shares, chosen):
        counts = labels[sorted(index)].bincount(minlength=len(classes))
        assert (counts - share * classes).abs().max() <= 0.5
    assert torch.equal(data.subset(split, 0.25, seed), data.subset(split, 0.25, seed))
    assert not torch.equal(data.subset(split, 0.25, seed), data.subset(split, 0.25, seed + 1))


def test_the_probe_sees_the_same_labels_for_every_fraction(monkeypatch):
    seen = []
    real = probes.linear

    def watched(features, labels, *rest):
        seen.append([x.clone() for x in labels])
        return real(features, labels, *rest)

    monkeypatch.setattr(probes, "linear", watched)
    for fraction, seed in ((0.1, 0), (0.5, 0), (1.0, 3)):
        made = spec(BarlowMultiView(), 2, data=DataSpec("digits-placed", 16, fraction), epochs=1, seed=seed)
        train.run(replace(made, probes=replace(made.probes, labels=200)))
    for labels in seen[1:]:
        assert all(torch.equal(a, b) for a, b in zip(labels, seen[0]))
    assert abs(len(seen[0][0]) - 200) <= 5  # whole images of each class
    assert [len(x) for x in seen[0][1:]] == [891, 2000]


def test_digits_at_random_places_are_the_same_digits():
    plain, placed = data.load("digits", 16), data.load("digits-placed", 16)
    assert placed.stand_in
    assert "stand-in" in placed.title
    assert data.tasks("digits-placed") == ("digit",) == tuple(placed.tasks)
    assert data.tasks("objects") == tuple(data.load("objects", 16).tasks)
    for name, places in (("train", 1), ("val", 3), ("test", 4)):
        known, split = getattr(plain, name), getattr(placed, name)
        assert torch.equal(split.labels["digit"], known.labels["digit"].repeat_interleave(places))
        assert split.images.shape[0] == places * len(known.images)
    images = placed.test.images[:, 0].float()
    mass = images.sum((1, 2))
    across = (images.sum(1) * torch.arange(16)).sum(1) / mass
    assert mass.min() > 0
    assert across.std() > 1.5  # pixels: the digits lie all over the frame
    assert (images[0] - images[1]).abs().max() > 50  # and each place of a scan is another one
    assert torch.equal(placed.test.images, data.load.__wrapped__("digits-placed", 16).test.images)


# ------------------------------------------------------------------------------------------------------ the benchmark


def test_the_benchmark_measures_the_identity_and_what_is_kept():
    found = {m: bench.run(bench.LossSpec(m, 16, 8, 1)) for m in (2, 4, 8)}
    for result in found.values():
        assert result.metrics["identity_error"] < 1e-12
        assert result.metrics["vicreg_error"] < 1e-12
        assert result.metrics["identity_error_single"] < 1e-4
        assert all(v > 0 for v in result.timing.values())
    mean = [found[m].metrics["invariance_mean_mb"] for m in (2, 4, 8)]
    pairs = [found[m].metrics["invariance_pairs_mb"] for m in (2, 4, 8)]
    assert mean[2] / mean[1] == pytest.approx(2, rel=0.01)
    assert pairs[2] / pairs[1] == pytest.approx(4, rel=0.01)
    for form in bench.WAYS:
        growth = [
            found[8].metrics[f"{form}_{way}_mb"] / found[2].metrics[f"{form}_{way}_mb"] for way in ("mean", "pairs")
        ]
        assert growth[0] < 4.2
        assert growth[1] > 1.5 * growth[0]
    assert bench.run(bench.LossSpec(4, 16, 8, 1)).metrics == found[4].metrics


def test_kept_bytes_counts_each_storage_once():
    z = torch.ones(3, 5)
    assert bench.kept_bytes(lambda z: (z * 2).exp().sum(), z) == 3 * 5 * 4  # exp keeps its result
    assert bench.kept_bytes(lambda z: z.square().sum(), z) == 0  # its own input is not counted


def test_the_benchmark_prints_a_table(capsys):
    assert bench.main(["--views", "2", "3", "--images", "8", "--dim", "4", "--repeats", "1"]) == 0
    out = capsys.readouterr().out
    assert "pairs ms" in out
    assert out.count("invariance") == 2


@pytest.mark.parametrize("changes", [{"views": 1}, {"dim": 1}, {"repeats": 0}, {"images": 2.5}])
def test_a_bad_benchmark_is_one_sentence(changes):
    with pytest.raises(ReproError, match=next(iter(changes))):
        bench.LossSpec(**changes)

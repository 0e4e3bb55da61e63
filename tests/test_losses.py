"""The losses: golden values, slow references written from the papers' equations, invariances, gradients."""

import doctest
import math

import pytest
import torch

from repro.ssl import losses

# Values that anybody can check: float64, N = 8, D = 6 (official code, or the libraries that agree on it).
_I = torch.arange(48, dtype=torch.float64).reshape(8, 6)
Z1 = torch.sin(1 + 0.7 * _I) + 0.3 * torch.cos(0.11 * _I**2)
Z2 = Z1 + 0.25 * torch.cos(2 + 1.3 * _I)
Z = torch.stack([Z1, Z2])


def random(views: int, n: int = 5, d: int = 4, seed: int = 0) -> torch.Tensor:
    """Projections of views that resemble each other, float64."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return image + 0.5 * torch.randn(views, n, d, generator=generator, dtype=torch.float64)


def test_the_examples_in_the_docstrings_hold():
    found = doctest.testmod(losses, extraglobs={"z": torch.eye(2).expand(2, 2, 2)})
    assert found.attempted >= 5
    assert not found.failed


LOSSES = {
    "nt_xent": lambda z: losses.nt_xent(z, 0.3),
    "barlow_twins": lambda z: losses.barlow_twins(z, 0.02, 0.7),
    "vicreg": lambda z: losses.vicreg(z, 25.0, 15.0, 2.0),
}
EACH_LOSS = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
VIEWS = pytest.mark.parametrize("views", [2, 3, 5])


@pytest.mark.parametrize(
    ("value", "golden"),
    [
        (losses.nt_xent(Z, 0.5), 1.5190980475),
        (losses.nt_xent(Z, 0.2), 1.2094016403),
        (losses.barlow_twins(Z, 0.0051), 0.0620196237),
        (losses.barlow_twins(Z, 0.0051, 0.1), 0.00620196237),
        (losses.vicreg(Z, 25, 25, 1), 7.5104787134),
        (losses.cosine_distance(Z1, Z2), 0.0613443002),
    ],
)
def test_golden_values(value, golden):
    assert value.dtype == torch.float64
    assert value.item() == pytest.approx(golden, abs=6e-11)


# ------------------------------------------------------------------------------------------------------- references


def cosine(a, b) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def slow_nt_xent(z, temperature):
    """Chen et al. 2020, Eq. 1, anchor by anchor; with more views, the mean over an anchor's positives, none of which is
    a negative of another."""
    views, n, _ = z.shape
    terms = []
    for v in range(views):
        for i in range(n):
            negatives = [
                math.exp(cosine(z[v, i], z[w, j]) / temperature) for w in range(views) for j in range(n) if j != i
            ]
            for w in range(views):
                if w != v:
                    positive = math.exp(cosine(z[v, i], z[w, i]) / temperature)
                    terms.append(-math.log(positive / (positive + sum(negatives))))
    return sum(terms) / len(terms)


def slow_barlow(z, lambda_, scale):
    """Zbontar et al. 2021, Eq. 1, entry by entry of C, a pair of views at a time."""
    views, n, d = z.shape

    def standardised(column):
        mean = sum(column) / n
        variance = sum((x - mean) ** 2 for x in column) / n
        return [(x - mean) / math.sqrt(variance + 1e-5) for x in column]

    columns = [[standardised(z[v, :, k].tolist()) for k in range(d)] for v in range(views)]
    total, pairs = 0.0, 0
    for v in range(views):
        for w in range(v + 1, views):
            pairs += 1
            for k in range(d):
                for m in range(d):
                    c = sum(a * b for a, b in zip(columns[v][k], columns[w][m])) / n
                    total += (c - 1) ** 2 if k == m else lambda_ * c**2
    return scale * total / pairs


def slow_vicreg(z, invariance, variance, covariance):
    """Bardes et al. 2022, Eqs. 1-6 with the constants of the authors' code, for two views; for more, the mean over
    pairs and views."""
    views, n, d = z.shape
    pairs = [(v, w) for v in range(views) for w in range(v + 1, views)]
    near = sum(float(((z[v] - z[w]) ** 2).sum()) / (n * d) for v, w in pairs) / len(pairs)
    spread, off = 0.0, 0.0
    for view in z.tolist():
        centred = [[row[k] - sum(r[k] for r in view) / n for k in range(d)] for row in view]
        for k in range(d):
            var = sum(row[k] ** 2 for row in centred) / (n - 1)
            spread += max(0.0, 1 - math.sqrt(var + 1e-4)) / d
            off += sum((sum(row[k] * row[m] for row in centred) / (n - 1)) ** 2 for m in range(d) if m != k) / d
    return invariance * near + variance * spread / views + covariance * 2 * off / views


@VIEWS
def test_nt_xent_is_the_equation(views):
    z = random(views)
    for temperature in (0.1, 1.0):
        assert losses.nt_xent(z, temperature).item() == pytest.approx(slow_nt_xent(z, temperature), rel=1e-10)


@VIEWS
def test_barlow_twins_is_the_equation(views):
    z = random(views) * torch.tensor([0.1, 1.0, 3.0, 10.0], dtype=torch.float64) + 2
    assert losses.barlow_twins(z, 0.02, 0.7).item() == pytest.approx(slow_barlow(z, 0.02, 0.7), rel=1e-10)


@VIEWS
@pytest.mark.parametrize("size", [0.3, 3.0])  # the variance's hinge is active, or not
def test_vicreg_is_the_equation(views, size):
    z = size * random(views)
    assert losses.vicreg(z, 25, 15, 2).item() == pytest.approx(slow_vicreg(z, 25, 15, 2), rel=1e-10)
    for term in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert losses.vicreg(z, *term).item() == pytest.approx(slow_vicreg(z, *term), rel=1e-10, abs=1e-12)


def test_byol_and_simsiam_are_the_equation():
    z = random(2)
    slow = sum(2 - 2 * cosine(a, b) for a, b in zip(z[0], z[1])) / 5
    assert losses.cosine_distance(z[0], z[1]).item() == pytest.approx(slow, rel=1e-12)
    both = losses.cosine_distance(z, z.flip(0))  # as the methods call it: both directions
    assert both.item() == pytest.approx(slow, rel=1e-12)


def test_info_nce_is_the_equation():
    z, queue, temperature = random(2), random(1, 7, seed=1)[0], 0.2
    slow = 0.0
    for q, k in zip(z[0], z[1]):
        positive = math.exp(cosine(q, k) / temperature)
        slow -= math.log(positive / (positive + sum(math.exp(cosine(q, m) / temperature) for m in queue))) / 5
    assert losses.info_nce(z[0], z[1], queue, temperature).item() == pytest.approx(slow, rel=1e-10)


# ------------------------------------------------------------------------------------------------------ invariances


@EACH_LOSS
@VIEWS
def test_the_order_of_images_and_views_does_not_matter(loss, views):
    z = random(views)
    assert loss(z[:, [3, 0, 4, 1, 2]]).item() == pytest.approx(loss(z).item(), rel=1e-12)
    assert loss(z.flip(0)).item() == pytest.approx(loss(z).item(), rel=1e-12)


@EACH_LOSS
def test_which_views_belong_together_matters(loss):
    z = random(2)
    apart = torch.stack([z[0], z[1, [3, 0, 4, 1, 2]]])
    assert loss(apart) > 1.05 * loss(z)


@pytest.mark.parametrize("loss", [LOSSES["nt_xent"], lambda z: losses.cosine_distance(z[0], z[1])])
def test_only_directions_matter_to_cosines(loss):
    z = random(2)
    lengths = torch.linspace(0.1, 10, 10, dtype=torch.float64).reshape(2, 5, 1)
    turn, _ = torch.linalg.qr(random(1, 4, 4)[0])
    assert loss(z * lengths).item() == pytest.approx(loss(z).item(), rel=1e-12)
    assert loss(z @ turn).item() == pytest.approx(loss(z).item(), rel=1e-12)


def test_barlow_twins_ignores_scale_and_shift_of_each_dimension_and_view():
    z = 100 * random(2)  # so that the eps of batch norm does not matter
    changed = z * torch.tensor([[[1.0, 2.0, 30.0, 4.0]], [[5.0, 1.0, 1.0, 0.5]]]) + torch.tensor([1.0, -50.0, 3.0, 0.0])
    assert losses.barlow_twins(changed, 0.02).item() == pytest.approx(losses.barlow_twins(z, 0.02).item(), rel=1e-6)


def test_vicreg_ignores_a_shift_of_all_views_and_notices_scale():
    z = random(2)
    assert losses.vicreg(z + 5, 25, 25, 1).item() == pytest.approx(losses.vicreg(z, 25, 25, 1).item(), rel=1e-10)
    assert losses.vicreg(0.1 * z, 0, 25, 0) > 2 * losses.vicreg(z, 0, 25, 0)


@pytest.mark.parametrize("name", ["barlow_twins", "vicreg"])
def test_a_copied_view_changes_nothing_for_a_mean_over_pairs(name):
    """Three equal views make three equal pairs, so the loss is that of two (NT-Xent's negatives grow in number)."""
    loss, z = LOSSES[name], random(1)
    assert loss(z.expand(3, -1, -1)).item() == pytest.approx(loss(z.expand(2, -1, -1)).item(), rel=1e-10)


# -------------------------------------------------------------------------------------------------------- gradients


@EACH_LOSS
@pytest.mark.parametrize("views", [2, 3])
def test_gradients(loss, views):
    assert torch.autograd.gradcheck(loss, random(views, 4, 3).requires_grad_(True))


def test_gradients_of_byol_and_moco():
    z = random(3, 4, 3)
    assert torch.autograd.gradcheck(losses.cosine_distance, (z[0].clone().requires_grad_(True), z[1]))
    assert torch.autograd.gradcheck(lambda q: losses.info_nce(q, z[1], z[2], 0.2), (z[0].clone().requires_grad_(True),))


# ---------------------------------------------------------------------------------------------- one image at a time

Z3 = Z1 - 0.4 * torch.sin(0.5 + 0.9 * _I)


def slow_instance(z, temperature: float) -> float:
    """Image by image, number by number: -log of the positive's share among the two candidates."""
    total = 0.0
    for anchor, positive, negative in zip(*(view.tolist() for view in z)):

        def cosine(a, b):
            dot = sum(x * y for x, y in zip(a, b))
            return dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))

        towards, away = (math.exp(cosine(anchor, other) / temperature) for other in (positive, negative))
        total -= math.log(towards / (towards + away))
    return total / z.shape[1]


@pytest.mark.parametrize("temperature", [0.1, 0.2, 0.5, 1.0])
def test_instance_is_nt_xent_with_one_negative(temperature):
    for z in (torch.stack([Z1, Z2, Z3]), random(3), random(3, n=1, seed=1), 100 * random(3, d=2, seed=2)):
        assert losses.instance(z, temperature).item() == pytest.approx(slow_instance(z, temperature), rel=1e-12)


def test_instance_at_its_ends():
    a = random(1)[0]
    assert losses.instance(torch.stack([a, a, a]), 0.2).item() == pytest.approx(math.log(2))
    assert losses.instance(torch.stack([a, a, -a]), 0.2).item() == pytest.approx(math.log1p(math.exp(-10)))
    assert losses.instance(torch.stack([a, -a, a]), 0.2).item() == pytest.approx(10 + math.log1p(math.exp(-10)))
    assert losses.instance(torch.stack([a, -a, a]).float(), 1e-3).isfinite()


def test_instance_knows_neither_scale_nor_order_nor_basis_nor_other_images():
    z = random(3, n=6, d=5)
    value = losses.instance(z, 0.2)
    scales = torch.rand(3, 6, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    basis = torch.linalg.qr(random(1, 5, 5, seed=3)[0]).Q
    for same in (z * scales, z[:, torch.tensor([3, 0, 5, 1, 4, 2])], z @ basis):
        torch.testing.assert_close(losses.instance(same, 0.2), value)
    one_by_one = torch.stack([losses.instance(z[:, i : i + 1], 0.2) for i in range(6)])
    torch.testing.assert_close(one_by_one.mean(), value)


def test_instance_has_the_gradient_it_says():
    z = random(3, 4, 3).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda z: losses.instance(z, 0.3), (z,))
    for collapsed in (torch.zeros(3, 4, 3), torch.ones(3, 4, 3)):
        collapsed.requires_grad_(True)
        losses.instance(collapsed, 0.2).backward()
        assert collapsed.grad.isfinite().all()


@EACH_LOSS
def test_collapsed_projections_give_finite_numbers(loss):
    for z in (torch.zeros(2, 4, 3), torch.ones(2, 4, 3)):
        z.requires_grad_(True)
        value = loss(z)
        value.backward()
        assert value.isfinite()
        assert z.grad.isfinite().all()


def test_nt_xent_does_not_overflow_at_a_small_temperature():
    z = random(2).float()
    assert losses.nt_xent(z, 1e-3).isfinite()
    assert losses.info_nce(z[0], z[1], z[1], 1e-3).isfinite()

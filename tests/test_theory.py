"""The small exact models: identities and laws that hold whatever the seed, and the mistakes they name."""

import math

import numpy as np
import pytest
import torch

from repro import theory
from repro.errors import ReproError
from repro.theory import (
    CONDITION_HOLDS,
    OPERATORS,
    DynamicsSpec,
    GraphSpec,
    KernelSpec,
    ToySpec,
    run,
)

# ------------------------------------------------------------------------------------------- C1: augmentation graph


def operator(name, nodes=24, seed=0):
    return theory.markov_operator(name, nodes, np.random.default_rng(seed))


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_average_and_keep_their_measure(name):
    t, rho = operator(name)
    assert (t >= 0).all()
    np.testing.assert_allclose(t.sum(1), 1)
    assert (rho > 0).all()
    np.testing.assert_allclose([rho.sum(), *(rho @ t)], [1, *rho], atol=1e-10)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_have_the_properties_they_are_named_for(name):
    t, rho = operator(name)
    rng = np.random.default_rng(1)
    f, g = rng.standard_normal((2, len(t)))
    self_adjoint = math.isclose((t @ f * g) @ rho, (f * (t @ g)) @ rho, abs_tol=1e-12)
    lowest = np.linalg.eigvals(t).real.min()
    s = theory._symmetrised(t, rho)
    normal = np.allclose(s @ s.T, s.T @ s)
    expected = {
        "augmentations": (True, True, True),
        "lazy walk": (True, True, True),
        "two-sided walk": (True, False, True),
        "biased shift": (False, False, True),
        "random": (False, False, False),
    }[name]
    assert (self_adjoint, lowest > -1e-12, normal) == expected
    assert (expected[0] and expected[1]) == (name in CONDITION_HOLDS)


@pytest.mark.parametrize("name", OPERATORS)
def test_optimisation_reaches_the_exact_minimum_with_orthonormal_functions(name):
    t, rho = operator(name)
    f, loss = theory.minimise_invariance(t, rho, 3, np.random.default_rng(2))
    np.testing.assert_allclose(f.T @ (rho[:, None] * f), np.eye(3), atol=1e-10)
    assert loss == pytest.approx((rho[:, None] * (t @ f - f) ** 2).sum(), abs=1e-10)
    exact = np.linalg.eigvalsh((s := theory._symmetrised(t, rho) - np.eye(len(t))).T @ s)[:3].sum()
    assert loss == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize("name", OPERATORS)
def test_theorem_holds_where_its_proof_does_and_fails_elsewhere(name):
    m = run(GraphSpec(operator=name, nodes=40, seed=3)).metrics
    if name in CONDITION_HOLDS:
        assert m["overlap"] > 0.999
        assert m["worst_cosine"] > 0.999
    else:
        assert m["overlap"] < 0.9
    # Where T is normal the minimisers are eigenfunctions all the same: those with the eigenvalues nearest to 1.
    assert (m["overlap_nearest"] > 0.999) == (name != "random")


@pytest.mark.parametrize("name", ["augmentations", "lazy walk", "two-sided walk"])
def test_the_usual_loss_has_the_largest_eigenvalues_by_sign_as_the_reformulated_one(name):
    spec = GraphSpec(operator=name, nodes=40, seed=3, usual=True)
    assert run(spec).metrics["overlap"] > 0.999
    assert run(spec).metrics["excess"] == pytest.approx(0, abs=1e-9)
    t, rho = theory.markov_operator(name, 40, np.random.default_rng(3))
    f, loss = theory.minimise_invariance(t, rho, 2, np.random.default_rng(0), usual=True)
    pairs = (rho[:, None] * t)[..., None] * (f[:, None] - f[None]) ** 2  # E over x and x' drawn by T from x
    assert loss == pytest.approx(pairs.sum() / 2, abs=1e-9)


def test_overlap_measures_spans_not_bases():
    rng = np.random.default_rng(0)
    q = np.linalg.qr(rng.standard_normal((10, 6)))[0]
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    assert theory.overlap(q[:, :3], q[:, :3] @ turn) == pytest.approx(1)
    assert theory.overlap(q[:, :3], q[:, 3:]) == pytest.approx(0)
    assert theory.overlap(q[:, :3], q[:, [0, 1, 3]]) == pytest.approx(2 / 3)
    random = [theory.overlap(q[:, :3], np.linalg.qr(rng.standard_normal((10, 3)))[0]) for _ in range(400)]
    assert np.mean(random) == pytest.approx(3 / 10, abs=0.03)


def test_eigenfunctions_of_an_unknown_order_are_refused():
    with pytest.raises(ValueError, match="size"):
        theory.eigenfunctions(*operator("random"), 2, by="luck")


# ------------------------------------------------------------------------------------------------ C2: linear dynamics


def a_network(seed=0, d=3, n=5):
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((n, n))
    return rng.standard_normal((d, n)), g @ g.T / n


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 2.5])
def test_flow_is_minus_the_gradient_of_the_loss(beta):
    w, g = a_network()
    x = torch.tensor(w, requires_grad=True)
    c = x @ torch.tensor(g) @ x.T
    off = c - torch.diag(c.diagonal())
    (((c.diagonal() - 1) ** 2).sum() + beta * (off**2).sum()).backward()
    np.testing.assert_allclose(theory.flow(w, g, beta), -x.grad.numpy(), atol=1e-12)


def test_flow_is_the_formula_of_the_paper():
    w, g, beta = *a_network(1), 0.4
    c, eye = w @ g @ w.T, np.eye(3)
    formula = -4 * (1 - beta) * (np.diag(np.diag(c)) - eye) @ w @ g - 4 * beta * (c - eye) @ w @ g
    np.testing.assert_allclose(theory.flow(w, g, beta), formula)


def test_flow_turns_with_the_inputs_and_with_the_outputs_order_and_signs():
    w, g = a_network(2)
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((5, 5)))[0]
    np.testing.assert_allclose(theory.flow(w @ turn, turn.T @ g @ turn, 0.3), theory.flow(w, g, 0.3) @ turn)
    swap = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])
    np.testing.assert_allclose(theory.flow(swap @ w, g, 0.3), swap @ theory.flow(w, g, 0.3), atol=1e-12)


def test_closed_form_solves_its_equation_starts_right_and_never_overflows():
    g, start = np.array([1.0, 0.5, 0.1]), 1e-3
    t, h = np.linspace(0, 20, 50)[:, None], 1e-5
    s = theory.closed_form(t, start, g)
    slope = (theory.closed_form(t + h, start, g) - theory.closed_form(t - h, start, g)) / (2 * h)
    np.testing.assert_allclose(slope, 4 * g * s * (1 - g * s**2), rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(s[0], start)
    np.testing.assert_allclose(theory.closed_form(1e6, start, g), g**-0.5)
    # against the formula as it is printed, where that one can be computed
    printed = np.exp(4 * g * t) / np.sqrt(start**-2 + (np.exp(8 * g * t) - 1) * g)
    np.testing.assert_allclose(s, printed, rtol=1e-10)


def test_step_time_is_when_an_eigenvalue_is_half_learned():
    g, start = np.array([1.0, 0.3]), np.array([1e-4, 1e-5])
    np.testing.assert_allclose(theory.closed_form(theory.step_time(start, g), start, g) ** 2 * g, 0.5)


@pytest.mark.parametrize(("d", "beta"), [(2, 0.05), (4, 0.5), (7, 1.0), (3, 2.0)])
def test_collapsed_state_is_a_saddle_that_is_left_at_the_derived_rate(d, beta):
    rng = np.random.default_rng(0)
    lambdas = np.array([1.3, 0.6, 0.2])
    signs = rng.choice([-1.0, 1.0], d)
    w = np.zeros((d, 3))
    w[:, 0] = signs / np.sqrt(lambdas[0] * (1 + (d - 1) * beta))
    g = np.diag(lambdas)
    np.testing.assert_allclose(theory.flow(w, g, beta), 0, atol=1e-12)
    push = rng.standard_normal(d)
    push -= push @ signs / d * signs
    step = np.zeros_like(w)
    step[:, 1] = 1e-6 * push
    growth = theory.flow(w + step, g, beta)[:, 1] / step[:, 1]
    np.testing.assert_allclose(growth, theory.saddle_rate(d, beta, second=lambdas[1]), rtol=1e-6)


def test_small_betas_escape_as_the_product_d_beta():
    d = np.array([2, 8, 32, 128])
    np.testing.assert_allclose(theory.saddle_rate(d, 1e-5 / d), 4e-5, rtol=1e-4)


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_follow_the_power_law_to_the_top_mode(seed):
    m = run(DynamicsSpec("rows", d=3, modes=6, seed=seed)).metrics
    assert m["law_error"] < 1e-4
    assert m["alignment"] > 0.999


def test_power_law_is_broken_by_orthogonalisation():
    # the same check on a flow with beta 1 must fail, or it checks nothing
    rng = np.random.default_rng(0)
    start = 1e-4 * rng.standard_normal((3, 4))
    lambdas = 1 / np.arange(1, 5)
    _, w = theory._integrate(start, np.diag(lambdas), 1.0, np.linspace(0, 6, 20))
    grown = np.log(np.abs(w[-1] / start)) / lambdas
    assert np.ptp(grown, axis=1).max() > 0.1


@pytest.mark.parametrize("seed", [0, 1])
def test_steps_come_when_they_should(seed):
    m = run(DynamicsSpec("steps", d=3, modes=8, seed=seed)).metrics
    assert m["step_error"] < 0.1
    assert m["closed_error"] < 1e-3


def test_saddle_is_left_at_the_predicted_rate_and_later_where_it_is_lower():
    slow, fast = (run(DynamicsSpec("saddle", d=4, d_beta=p, modes=8)).metrics for p in (0.2, 1.0))
    assert max(slow["rate_error"], fast["rate_error"]) < 0.01
    assert slow["escape_time"] / fast["escape_time"] == pytest.approx(fast["rate"] / slow["rate"], rel=0.2)


# ------------------------------------------------------------------------------------------------------- C3: 2-D toy


def test_toy_loss_is_zero_for_white_features_and_counts_each_pair_twice():
    n = 64
    turn = 2 * np.pi * np.arange(n) / n
    white = torch.tensor(math.sqrt(2) * np.stack([np.cos(turn), np.sin(turn)], 1))
    assert theory.toy_loss(white, white, 3.0).item() == pytest.approx(0, abs=1e-12)
    collapsed = white[:, [0, 0]]
    assert theory.toy_loss(collapsed, collapsed, 0.0).item() == pytest.approx(0, abs=1e-12)
    assert theory.toy_loss(collapsed, collapsed, 0.7).item() == pytest.approx(2 * 0.7)


def test_toy_loss_ignores_the_features_means():
    z1, z2 = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shifted = theory.toy_loss(z1 + 5, z2 - 3, 0.4)
    assert shifted.item() == pytest.approx(theory.toy_loss(z1, z2, 0.4).item())


def test_toy_collapses_at_low_and_separates_at_high_beta():
    low, high = (run(ToySpec(beta=b)).metrics for b in (0.03, 1.0))
    assert low["singular_ratio"] < 0.05
    assert high["singular_ratio"] > 0.8
    assert high["effective_rank"] > 1.9 > 1.3 > low["effective_rank"]
    assert high["centroid_accuracy"] - low["centroid_accuracy"] > 10
    # the collapsed direction is small, not gone: why the measure is not a linear probe
    assert low["whitened_accuracy"] > 80


def test_toy_of_more_dimensions_uses_them_at_high_beta_alone():
    low, high = (run(ToySpec(beta=b, dim=4, steps=300)) for b in (0.03, 1.0))
    assert high.metrics["effective_rank"] > low.metrics["effective_rank"]
    assert list(high.curves) == ["step", "s1", "s2", "s3", "s4"]
    assert np.all(np.diff([high.curves[f"s{i}"][-1] for i in range(1, 5)]) <= 0)


def test_toy_depends_on_its_spec_alone_and_touches_no_global_generator():
    spec = ToySpec(steps=5)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = run(spec)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert run(spec) == first
    assert run(ToySpec(steps=5, seed=1)) != first


def test_snapshots_change_no_number():
    plain, kept = run(ToySpec(steps=8)), run(ToySpec(steps=8, snapshots=5))
    assert kept.metrics == plain.metrics
    assert {k: kept.curves[k] for k in plain.curves} == plain.curves
    assert kept.curves["snapshot_step"] == [0, 2, 4, 6, 8]
    points = 8 * theory.POINTS
    assert np.shape(kept.curves["features"]) == (5, points, 2)
    assert np.shape(kept.curves["inputs"]) == (points, 2)
    assert sorted(set(kept.curves["cloud"])) == list(range(8))


@pytest.mark.parametrize("lr", [0.5, 1e3, 1e30])
def test_toy_that_diverges_is_recorded_not_raised(lr):
    m = run(ToySpec(lr=lr, steps=60)).metrics
    assert m["diverged"] == 1
    assert math.isnan(m["singular_ratio"])


# --------------------------------------------------------------------------------------- C9: views and the eigenspace


def test_augmentation_kernel_of_the_ring_is_a_symmetric_average_with_fourier_eigenfunctions():
    kernel = theory.augmentation_kernel(theory.ring(20, 40, 30))
    np.testing.assert_allclose(kernel, kernel.T)
    np.testing.assert_allclose(kernel.sum(1), 1)
    assert np.linalg.eigvalsh(kernel)[0] > -1e-12
    angle = 2 * np.pi * np.arange(20) / 20
    top = theory.top_projector(kernel, 5)
    for f in (np.ones(20), *(g(i * angle) for i in (1, 2) for g in (np.cos, np.sin))):
        np.testing.assert_allclose(top @ f, f, atol=1e-9)
    np.testing.assert_allclose(top @ np.cos(3 * angle), 0, atol=1e-9)


def test_augmentation_kernel_is_the_definition():
    p = np.random.default_rng(0).dirichlet(np.ones(4), size=3)
    p[:, 3] = 0  # a view that never occurs
    by_hand = [[sum(p[x, a] * p[y, a] / p[:, a].sum() for a in range(3)) for y in range(3)] for x in range(3)]
    np.testing.assert_allclose(theory.augmentation_kernel(p), by_hand)


def test_ties_at_the_cut_are_shared():
    np.testing.assert_allclose(theory.top_projector(np.eye(6), 2), np.eye(6) / 3)
    projector = theory.top_projector(np.diag([3.0, 1, 1, 0]), 2)
    np.testing.assert_allclose(np.diag(projector), [1, 0.5, 0.5, 0], atol=1e-12)


def test_overlap_grows_from_near_chance_to_near_one_with_the_views():
    overlaps = [np.mean([run(KernelSpec(views=m, seed=s)).metrics["overlap"] for s in range(5)]) for m in (1, 8, 4096)]
    assert overlaps[0] < 0.2 < 0.4 < overlaps[1] < 0.99 < overlaps[2]


def test_kept_embedding_is_the_circle_when_the_estimate_is_exact():
    curves = run(KernelSpec(views=100_000, keep=True)).curves
    np.testing.assert_allclose(np.linalg.norm(curves["seen"], axis=1), 1, atol=0.02)
    assert run(KernelSpec()).curves == {}


# -------------------------------------------------------------------------------------------------------- all of them


def test_run_refuses_what_is_no_spec_of_this_module():
    with pytest.raises(ReproError, match="ToySpec"):
        run("toy")


@pytest.mark.parametrize("spec", [GraphSpec(nodes=12, k=2), DynamicsSpec(d=2, modes=3), ToySpec(steps=2), KernelSpec()])
def test_results_are_plain_and_repeatable(spec):
    first = run(spec)
    assert first == run(spec)
    assert all(type(v) is float for v in first.metrics.values())

"""Small exact models of what the small-projectors paper claims: an augmentation graph, linear dynamics, a 2-D toy.

Source: Ghosh, Agrawal, Sodhani, Oberman, Richards, "Harnessing small projectors and multiple views for efficient vision
pretraining", and Simon et al. 2023, "On the stepwise nature of self-supervised learning", for the linear dynamics. All
data here are made up by this module ("toy data: ours"); the papers publish none for these experiments.

Each experiment is a frozen spec, and `run(spec)` measures it in at most a second or two on one thread of a CPU. A
result depends on its spec alone: every random number comes from a generator seeded with `spec.seed`.

| spec | claim | question |
| --- | --- | --- |
| GraphSpec | C1 | do the minimisers of the reformulated objective span the top eigenfunctions of T? |
| DynamicsSpec | C2 | what does gradient flow on a linear network learn first, and what decides it? |
| ToySpec | C3 | does a small network on 2-D clouds collapse without enough orthogonalisation? |
| KernelSpec | C9 | how many views does an estimate of the augmentation kernel's eigenspace need? |
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize
from scipy.integrate import solve_ivp

from repro import stats
from repro.core.store import Result
from repro.errors import ReproError

with contextlib.suppress(ModuleNotFoundError):  # stored results are read without it
    import torch


@functools.singledispatch
def run(spec: object) -> Result:
    """Measure one spec; the same spec gives the same numbers. Raises ReproError for what is no spec of this module."""
    known = ", ".join(kind.__name__ for kind in run.registry if kind is not object)
    raise ReproError(f"theory.run measures one of {known}, not {type(spec).__name__}.")


# ----------------------------------------------------------------------------------- C1: a finite augmentation graph

OPERATORS = {
    "augmentations": "augment, then go back",  # T = K K*: the augmentation graph's own operator
    "lazy walk": "lazy symmetric walk",
    "two-sided walk": "walk between two sides",
    "biased shift": "shift to one side",
    "random": "random, not normal",
}
"""The averaging operators T of GraphSpec. The first two are self-adjoint and positive, as the proof of Theorem 3.1
needs; the third is self-adjoint with eigenvalues down to -1, the fourth is normal but not self-adjoint, the fifth is
neither."""

CONDITION_HOLDS = ("augmentations", "lazy walk")


@dataclass(frozen=True)
class GraphSpec:
    """A finite set of `nodes` images with one of OPERATORS; `k` orthonormal features are sought, by the reformulated loss or
    by the `usual` one, the mean squared distance between the features of an image and of one that shares a view with it.

    metrics: overlap and worst_cosine, of the minimisers with the k eigenfunctions of largest |eigenvalue|, by the usual
    loss with the reformulated one's minimisers;
    overlap_nearest, with the k whose eigenvalues are nearest to 1; loss, of the minimisers; excess, their loss above
    the exact minimum; asymmetry, ||T - T*|| / ||T||; smallest, the least eigenvalue of T's symmetric part.
    """

    operator: str = "augmentations"
    nodes: int = 60
    k: int = 5
    usual: bool = False
    seed: int = 0


def markov_operator(operator: str, nodes: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One of OPERATORS as a row-stochastic matrix T (nodes, nodes), (T f)(x) = E f(x augmented), and its stationary
    measure rho (nodes,), which makes L2(rho) the space of features."""
    if operator == "augmentations":
        # T_M on images: augment an image (p), then ask which image such a view may have come from.
        p, rho = _augmentation_graph(nodes, rng)
        return p @ (p * rho[:, None] / (rho @ p)).T, rho
    if operator in ("lazy walk", "two-sided walk"):
        place = rng.uniform(0, 2 * np.pi, (nodes, 2))
        weights = np.exp(2 * np.cos(place[:, None] - place[None]).sum(-1))
        weights *= rng.uniform(0.5, 1.5, weights.shape)
        weights += weights.T
        if operator == "two-sided walk":
            side = np.arange(nodes) % 2
            weights *= np.where(side[:, None] == side[None], 0.05, 1)
        walk = weights / weights.sum(1, keepdims=True)
        rho = weights.sum(1) / weights.sum()
        return ((np.eye(nodes) + walk) / 2 if operator == "lazy walk" else walk), rho
    if operator == "biased shift":
        # On a ring: jump about a ninth of it to one side, with a little spread, now and then anywhere.
        step = np.arange(nodes)
        away = (step - nodes / rng.uniform(8, 10) + nodes / 2) % nodes - nodes / 2
        kernel = np.exp(-0.5 * (away / rng.uniform(1.0, 1.6)) ** 2)
        kernel /= kernel.sum()
        return np.stack([np.roll(kernel, x) for x in range(nodes)]), np.full(nodes, 1 / nodes)
    if operator == "random":
        t = rng.dirichlet(np.full(nodes, 0.05), size=nodes)
        t = 0.98 * t + 0.02 / nodes  # every image reachable, so that the stationary measure is unique and positive
        steady = np.vstack([t.T - np.eye(nodes), np.ones(nodes)])
        rho = np.linalg.lstsq(steady, np.r_[np.zeros(nodes), 1], rcond=None)[0]
        return t, rho / rho.sum()
    raise ReproError(f"Unknown operator {operator!r}: choose one of {', '.join(OPERATORS)}.")


def _augmentation_graph(images: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """p(view | image), shape (images, 2 images), of images scattered on a torus, and an uneven measure over the
    images."""
    place, view = rng.uniform(0, 2 * np.pi, (images, 2)), rng.uniform(0, 2 * np.pi, (2 * images, 2))
    p = np.exp(2 * np.cos(place[:, None] - view[None]).sum(-1)) * rng.uniform(0.5, 1.5, (images, 2 * images))
    return p / p.sum(1, keepdims=True), rng.dirichlet(np.full(images, 10.0))


def _symmetrised(t: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """T in the orthonormal coordinates g = sqrt(rho) f of L2(rho): there the adjoint is the transpose."""
    root = np.sqrt(rho)
    return root[:, None] * t / root


def minimise_invariance(
    t: np.ndarray, rho: np.ndarray, k: int, rng: np.random.Generator, usual: bool = False
) -> tuple[np.ndarray, float]:
    """Minimise sum_i ||T f_i - f_i||^2 in L2(rho) over k functions with (f_i, f_j) = delta_ij (the paper's Eq. of Thm
    3.1); usual: sum_i E (f_i(x) - f_i(x'))^2 / 2, x' drawn by T from x, which is the quadratic form of I less T.

    By numerical optimisation, without any eigenproblem: L-BFGS from a random start over all full-rank W (nodes, k),
    whose orthonormalisation is the candidate; the loss tr((W'W)^-1 W'AW), A = (T-I)*(T-I) or I - T, depends on W's span.
    Returns the k functions, orthonormal in L2(rho), shape (nodes, k), and the loss.
    """
    n = len(t)
    residual = _symmetrised(t, rho) - np.eye(n)
    a = -(residual + residual.T) / 2 if usual else residual.T @ residual

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(n, k)
        inverse = np.linalg.inv(w.T @ w)
        aw = a @ w
        quotient = inverse @ (w.T @ aw)
        return float(np.trace(quotient)), (2 * (aw - w @ quotient) @ inverse).ravel()

    w = rng.standard_normal((n, k))
    for _ in range(4):  # restarted on an orthonormal basis, which restores the conditioning of W'W
        w = np.linalg.qr(w)[0]
        exact = {"maxiter": 5000, "ftol": 0, "gtol": 1e-12, "maxcor": 30}
        found = optimize.minimize(loss, w.ravel(), jac=True, method="L-BFGS-B", options=exact)
        w = found.x.reshape(n, k)
    return np.linalg.qr(w)[0] / np.sqrt(rho)[:, None], float(found.fun)


def eigenfunctions(t: np.ndarray, rho: np.ndarray, k: int, by: str = "size") -> np.ndarray:
    """k eigenfunctions of T, an orthonormal basis in L2(rho) of their span, shape (nodes, k), complex where T's are.

    by: "size" takes the largest |eigenvalue|, "nearest" the eigenvalues nearest to 1. For a self-adjoint positive T
    with eigenvalues in [0, 1] the two are the same, and that is what Theorem 3.1 rests on.
    """
    values, vectors = np.linalg.eig(_symmetrised(t, rho))
    if by not in ("size", "nearest"):
        raise ValueError(f'eigenfunctions are ordered by "size" or "nearest", not {by!r}.')
    order = np.argsort(-np.abs(values) if by == "size" else np.abs(values - 1), kind="stable")
    return np.linalg.qr(vectors[:, order[:k]])[0] / np.sqrt(rho)[:, None]


def overlap(f: np.ndarray, g: np.ndarray, rho: ArrayLike = 1.0) -> float:
    """||P_f P_g||^2 / k: the mean squared cosine of the principal angles between two spans of k orthonormal functions
    each (columns, orthonormal in L2(rho)); 1 for the same span, k / nodes on average for a random one."""
    return float((principal_cosines(f, g, rho) ** 2).mean())


def principal_cosines(f: np.ndarray, g: np.ndarray, rho: ArrayLike = 1.0) -> np.ndarray:
    """Cosines of the principal angles between two spans, largest first; columns orthonormal in L2(rho)."""
    rho = np.broadcast_to(np.asarray(rho, float), len(f))
    return np.linalg.svd((f.conj() * rho[:, None]).T @ g, compute_uv=False).clip(0, 1)


@run.register
def _graph(spec: GraphSpec) -> Result:
    rng = np.random.default_rng(spec.seed)
    t, rho = markov_operator(spec.operator, spec.nodes, rng)
    found, loss = minimise_invariance(t, rho, spec.k, rng)
    s = _symmetrised(t, rho)
    exact = float((np.linalg.svd(s - np.eye(spec.nodes), compute_uv=False)[-spec.k :] ** 2).sum())
    sought = eigenfunctions(t, rho, spec.k)
    if spec.usual:
        sought, (found, loss) = found, minimise_invariance(t, rho, spec.k, rng, usual=True)
        exact = float(np.linalg.eigvalsh(np.eye(spec.nodes) - (s + s.T) / 2)[: spec.k].sum())
    cosines = principal_cosines(found, sought, rho)
    return Result(
        metrics={
            "overlap": float((cosines**2).mean()),
            "worst_cosine": float(cosines[-1]),
            "overlap_nearest": overlap(found, eigenfunctions(t, rho, spec.k, by="nearest"), rho),
            "loss": loss,
            "excess": loss - exact,
            "asymmetry": float(np.linalg.norm(s - s.T) / np.linalg.norm(s)),
            "smallest": float(np.linalg.eigvalsh((s + s.T) / 2)[0]),
        },
    )


# --------------------------------------------------------------------------------------------- C2: linear dynamics


@dataclass(frozen=True)
class DynamicsSpec:
    """Gradient flow of a linear network W (d, modes) on the views' cross-correlation G, whose eigenvalues are l_i = 1 /
    i.

    experiment:
      "rows"    beta 0 from a small random start. metrics: law_error, the largest relative deviation over rows, modes
                and times from z_pi(t)/z_pi(0) = (z_pj(t)/z_pj(0))^(l_i/l_j); alignment, the mean squared cosine of the
                rows with the top mode at the end.
      "steps"   beta 1. metrics: step_error, the largest relative error of the d step times from a small random start;
                closed_error, the largest relative deviation of s_j(t) from its closed form, from an aligned start.
      "saddle"  all rows on the top mode, plus noise. metrics: escape_time, until a second direction is half learned, in
                the flow's units of time; rate, the predicted rate of escape; rate_error, relative, of the growth
                measured while the second direction is small.
    d: outputs, the projector's dimension. d_beta: the product of d and the weight of the off-diagonal terms, which
    may exceed d (read by "saddle" only). init: the scale of the start, or of the noise on the saddle.
    """

    experiment: str = "saddle"
    d: int = 4
    d_beta: float = 1.0
    modes: int = 40
    init: float = 1e-4
    seed: int = 0


def flow(w: np.ndarray, g: np.ndarray, beta: float) -> np.ndarray:
    """dW/dt = -4 (1 - beta) (diag C - I) W G - 4 beta (C - I) W G, with C = W G W'; W is (d, n), G (n, n).

    Minus the gradient of sum_i (C_ii - 1)^2 + beta sum_{i != j} C_ij^2 for a symmetric G (Simon et al. at beta 1;
    the paper's Theorem 3.2).
    """
    wg = w @ g
    c = wg @ w.T
    pull = c * beta
    np.fill_diagonal(pull, np.diag(c))
    return -4 * (pull @ wg - wg)


def closed_form(t: ArrayLike, start: ArrayLike, g: ArrayLike) -> np.ndarray:
    """s_j(t) = e^{4gt} / sqrt(s_0^-2 + (e^{8gt} - 1) g) of an aligned start at beta 1 (Simon et al.).

    Written with falling exponentials, which do not overflow. Arguments broadcast; the limit is 1 / sqrt(g).
    """
    t, start, g = (np.asarray(x, float) for x in (t, start, g))
    fade = np.exp(-8 * g * t)
    return 1 / np.sqrt(start**-2.0 * fade + (1 - fade) * g)


def step_time(start: ArrayLike, g: ArrayLike) -> np.ndarray:
    """When the closed form's eigenvalue of C, s_j(t)^2 g_j, reaches one half."""
    start, g = np.asarray(start, float), np.asarray(g, float)
    return np.log((start**-2.0 - g) / g) / (8 * g)


def saddle_rate(d: ArrayLike, beta: ArrayLike, second: float = 1.0) -> np.ndarray:
    """Rate at which the collapsed saddle is left: 4 l_2 d beta / (1 + (d - 1) beta), with `second` = l_2.

    Derived here: with every row on the top mode, C = c s s' with s = +-1 and c = 1 / (1 + (d - 1) beta); a perturbation
    on the second mode orthogonal to s grows as 4 l_2 (1 - (1 - beta) c). So it is the product d beta that decides.
    """
    d, beta = np.asarray(d, float), np.asarray(beta, float)
    return 4 * second * d * beta / (1 + (d - 1) * beta)


def _integrate(
    w: np.ndarray, g: np.ndarray, beta: float, times: ArrayLike, until=None
) -> tuple[np.ndarray, np.ndarray]:
    """Follow the flow from w through `times`; stop when `until(W)` rises through 0. Returns times (s,) and W (s, d,
    n)."""

    def event(_, flat):
        return until(flat.reshape(w.shape)) if until else 1.0

    event.terminal, event.direction = True, 1
    exact = {"method": "DOP853", "rtol": 1e-8, "atol": 1e-12}
    out = solve_ivp(
        lambda _, flat: flow(flat.reshape(w.shape), g, beta).ravel(), (times[0], times[-1]), w.ravel(), t_eval=times,
        events=event, **exact,
    )  # fmt: skip
    t, y = out.t, out.y.T
    if until and len(out.t_events[0]):
        t, y = np.append(t, out.t_events[0][0]), np.vstack([y, out.y_events[0][0]])
    return t, y.reshape(-1, *w.shape)


@run.register
def _dynamics(spec: DynamicsSpec) -> Result:
    rng = np.random.default_rng(spec.seed)
    # G is diagonal: the flow commutes with rotations of the inputs, so this costs no generality.
    eigenvalues = 1 / np.arange(1, spec.modes + 1)
    return {"rows": _rows, "steps": _steps, "saddle": _saddle}[spec.experiment](spec, eigenvalues, rng)


def _rows(spec: DynamicsSpec, eigenvalues: np.ndarray, rng: np.random.Generator) -> Result:
    start = spec.init * rng.standard_normal((spec.d, spec.modes))
    end = 2 * math.log(1 / spec.init) / (4 * eigenvalues[0])
    t, w = _integrate(start, np.diag(eigenvalues), 0.0, np.linspace(0, end, 60))
    # (times, d, modes): the law says that it is the same for every mode
    grown = np.log(np.abs(w / start)) / eigenvalues
    # z_i's ratio over (z_j's ratio)^(l_i/l_j) is exp(l_i (grown_i - grown_j)); largest over i, j at once
    spread = np.maximum(grown.max(-1, keepdims=True) - grown, grown - grown.min(-1, keepdims=True))
    cosine = w[-1, :, 0] ** 2 / (w[-1] ** 2).sum(1)
    return Result(
        metrics={"law_error": float(np.expm1(eigenvalues * spread).max()), "alignment": float(cosine.mean())},
        curves={
            "time": t.round(4).tolist(),
            "mode": [1, 2, 3, 5],
            "size": [[float(f"{x:.4g}") for x in np.abs(w[:, 0, i - 1])] for i in (1, 2, 3, 5)],
        },
    )


def _steps(spec: DynamicsSpec, eigenvalues: np.ndarray, rng: np.random.Generator) -> Result:
    gamma, g = eigenvalues[: spec.d], np.diag(eigenvalues)
    start = spec.init * rng.standard_normal((spec.d, spec.modes))
    # A small random start follows the aligned one whose s_j(0) are R's diagonal in W = QR: what mode j adds to the
    # modes before it (Simon et al.).
    s0 = np.abs(np.diag(np.linalg.qr(start[:, : spec.d])[1]))
    predicted = step_time(s0, gamma)
    times = np.linspace(0, 1.3 * predicted.max(), 400)
    t, w = _integrate(start, g, 1.0, times)
    learned = np.linalg.eigvalsh(np.einsum("tin,n,tjn->tij", w, eigenvalues, w))[:, ::-1]  # (times, d), falling
    # The j-th step is the j-th eigenvalue's rise through one half; predicted steps are sorted, as the eigenvalues are.
    measured = np.array([stats.crossing(t, learned[:, j], 0.5) for j in range(spec.d)])
    aligned = np.zeros_like(start)
    np.fill_diagonal(aligned, s0)
    t_short, follow = _integrate(aligned, g, 1.0, times)
    exact = closed_form(t_short[:, None], s0, gamma)
    diagonal = np.abs(np.einsum("tjj->tj", follow[:, :, : spec.d]))
    thin = slice(None, None, 4)
    return Result(
        metrics={
            "step_error": float(np.abs(measured / np.sort(predicted) - 1).max()),
            "closed_error": float(np.abs(diagonal / exact - 1).max()),
        },
        curves={
            "time": t[thin].round(3).tolist(),
            "learned": learned[thin].T.round(4).tolist(),
            "closed": (closed_form(t[thin, None], s0, gamma) ** 2 * gamma).T.round(4).tolist(),
            "step": measured.round(4).tolist(),
            "predicted_step": predicted.round(4).tolist(),
        },
    )


def _saddle(spec: DynamicsSpec, eigenvalues: np.ndarray, rng: np.random.Generator) -> Result:
    beta = spec.d_beta / spec.d
    rate = float(saddle_rate(spec.d, beta, eigenvalues[1]))
    signs = rng.choice([-1.0, 1.0], spec.d)
    start = spec.init * rng.standard_normal((spec.d, spec.modes))
    start[:, 0] += signs / math.sqrt(eigenvalues[0] * (1 + (spec.d - 1) * beta))
    times = np.linspace(0, 3 * math.log(1 / spec.init) / rate, 300)
    second_largest = lambda w: np.linalg.eigvalsh((w * eigenvalues) @ w.T)[-2]  # noqa: E731
    t, w = _integrate(start, np.diag(eigenvalues), beta, times, until=lambda w: second_largest(w) - 0.5)
    # the second mode, orthogonal to the collapsed row
    second = w[:, :, 1] - np.outer(w[:, :, 1] @ signs, signs) / spec.d
    size = np.linalg.norm(second, axis=1)
    small = size < 100 * size[0]  # still linear: a hundredth of the learned size
    growth = np.polyfit(t[small], np.log(size[small]), 1)[0]
    escaped = float(t[-1]) if second_largest(w[-1]) > 0.499 else math.nan
    return Result({"escape_time": escaped, "rate": rate, "rate_error": float(abs(growth / rate - 1))})


# ------------------------------------------------------------------------------------------------- C3: the 2-D toy

CENTRES = tuple((x, y) for x in (-1.5, -0.5, 0.5, 1.5) for y in (-0.5, 0.5))
"""The eight clouds' centres in the plane; eight images, whose augmentations are the clouds. Toy data: ours."""


@dataclass(frozen=True)
class ToySpec:
    """A tanh network 2-`width`-`width`-`dim` on eight Gaussian clouds, trained by SGD on sum (C_ii - 1)^2 + beta sum
    C_ij^2.

    C = z1'z2 / batch of the centred, not normalised features of two views: two fresh points of the same cloud, `pairs`
    a cloud and step. noise: the clouds' standard deviation. shrink: factor on the last layer at the start, so that the
    features start small and are learned one by one. snapshots: how many times the feature space is kept along the way,
    0 for none; it changes no other number.

    metrics, on fresh points at the end: singular_ratio, the least singular value of the centred features over the
    largest; effective_rank, exp of the entropy of s/sum(s), from 1 to dim; centroid_accuracy, nearest class centroid, in
    percent; whitened_accuracy, the same after whitening, which a collapse does not touch, as it does not touch a linear
    probe; loss; diverged, 1 or 0. curves: step, s1, s2 (to s`dim`) along the way; with snapshots also snapshot_step,
    features (frames, points, 2), inputs (points, 2), cloud (points).
    """

    beta: float = 1.0
    steps: int = 500
    lr: float = 0.02
    noise: float = 0.22
    pairs: int = 32
    width: int = 64
    shrink: float = 0.05
    snapshots: int = 0
    dim: int = 2
    seed: int = 0


POINTS = 12  # points a cloud in a snapshot: enough to see its shape, few enough to store


@run.register
def _toy(spec: ToySpec) -> Result:
    # looking has random numbers of its own, so that it changes neither training nor what is measured
    random, aside, album = (torch.Generator().manual_seed(spec.seed + i * 2**32) for i in range(3))
    parameters = _tanh_layers((2, spec.width, spec.width, spec.dim), random)
    for p in parameters[-2:]:
        p *= spec.shrink
    for p in parameters:
        p.requires_grad_()
    held_out, shown = _cloud_points(100, spec.noise, aside), _cloud_points(POINTS, spec.noise, album)
    looks = {round(i * spec.steps / 25) for i in range(26)}
    frames = {round(i * spec.steps / (spec.snapshots - 1)) for i in range(spec.snapshots)}
    curves: dict[str, list] = {name: [] for name in ("step", *(f"s{i + 1}" for i in range(spec.dim)))}
    if spec.snapshots:
        cloud = [i for i in range(len(CENTRES)) for _ in range(POINTS)]
        curves |= {"snapshot_step": [], "features": [], "inputs": _rounded(shown), "cloud": cloud}
    loss = torch.tensor(math.nan)
    for step in range(spec.steps + 1):
        with torch.no_grad():
            if step in looks:
                for name, value in zip(curves, (step, *_singular_values(_forward(parameters, held_out)))):
                    curves[name].append(round(value, 5))
            if step in frames:
                curves["snapshot_step"].append(step)
                curves["features"].append(_rounded(_forward(parameters, shown)))
        if step == spec.steps:
            break
        views = [_cloud_points(spec.pairs, spec.noise, random) for _ in range(2)]
        loss = toy_loss(*_forward(parameters, torch.cat(views)).chunk(2), spec.beta)
        if not torch.isfinite(loss):
            break
        with torch.no_grad():
            for p, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
                p -= spec.lr * gradient
    with torch.no_grad():
        known, asked = (_forward(parameters, _cloud_points(250, spec.noise, aside)) for _ in range(2))
    return Result(_toy_metrics(known, asked, loss), curves)


def _toy_metrics(known: torch.Tensor, asked: torch.Tensor, loss: torch.Tensor) -> dict[str, float]:
    """ToySpec's metrics from the features (n, d) of two sets of fresh points, sorted by cloud."""
    if not (torch.isfinite(loss) and torch.isfinite(asked).all()):
        names = ("singular_ratio", "effective_rank", "centroid_accuracy", "whitened_accuracy", "loss")
        return dict.fromkeys(names, math.nan) | {"diverged": 1.0}
    values = torch.tensor(_singular_values(asked), dtype=torch.float64)
    share = values / values.sum()
    return {
        "singular_ratio": float(values[-1] / values[0]) if values[0] else math.nan,
        "effective_rank": float(torch.exp(torch.special.entr(share).sum())),
        "centroid_accuracy": _nearest_centroid(known, asked, len(CENTRES)),
        "whitened_accuracy": _nearest_centroid(known, asked, len(CENTRES), whiten=True),
        "loss": loss.item(),
        "diverged": 0.0,
    }


def toy_loss(z1: torch.Tensor, z2: torch.Tensor, beta: float) -> torch.Tensor:
    """sum_i (C_ii - 1)^2 + beta sum_{i != j} C_ij^2, C = z1'z2 / n of the centred features; z1, z2 are (n, d)."""
    c = (z1 - z1.mean(0)).T @ (z2 - z2.mean(0)) / len(z1)
    diagonal = c.diagonal()
    return ((diagonal - 1) ** 2).sum() + beta * ((c**2).sum() - (diagonal**2).sum())


def _singular_values(z: torch.Tensor) -> list[float]:
    """The d singular values of centred features (n, d), over sqrt(n): standard deviations. NaN where z is not finite."""
    if not torch.isfinite(z).all():
        return [math.nan] * z.shape[1]
    z = z.double()
    return (torch.linalg.svdvals(z - z.mean(0)) / math.sqrt(len(z))).tolist()


def _nearest_centroid(known: torch.Tensor, asked: torch.Tensor, count: int, whiten: bool = False) -> float:
    """Percent of `asked` nearer to their own cloud's centroid than to any other's; points are sorted by cloud."""
    if whiten:
        centred = (known - known.mean(0)).double()
        _, s, v = torch.linalg.svd(centred, full_matrices=False)
        turn = v.T / s
        known, asked = known.double() @ turn, asked.double() @ turn
    centroids = known.reshape(count, -1, known.shape[1]).mean(1)
    truth = torch.arange(count).repeat_interleave(len(asked) // count)
    return 100 * float((torch.cdist(asked, centroids).argmin(1) == truth).double().mean())


def _rounded(x: torch.Tensor) -> list[list[float]]:
    return [[round(v, 3) for v in row] for row in x.tolist()]


def _cloud_points(per_cloud: int, noise: float, generator: torch.Generator) -> torch.Tensor:
    centres = torch.tensor(CENTRES)
    return (centres[:, None] + noise * torch.randn(len(centres), per_cloud, 2, generator=generator)).reshape(-1, 2)


def _tanh_layers(widths: tuple[int, ...], generator: torch.Generator) -> list[torch.Tensor]:
    """Weights and biases of linear layers with tanh between them, initialised as torch.nn.Linear does."""
    out = []
    for fan_in, fan_out in itertools.pairwise(widths):
        bound = 1 / math.sqrt(fan_in)
        out.append(torch.empty(fan_out, fan_in).uniform_(-bound, bound, generator=generator))
        out.append(torch.empty(fan_out).uniform_(-bound, bound, generator=generator))
    return out


def _forward(parameters: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    for i in range(0, len(parameters), 2):
        x = x @ parameters[i].T + parameters[i + 1]
        x = torch.tanh(x) if i + 2 < len(parameters) else x
    return x


# -------------------------------------------------------------------------------- C9: views and the kernel's eigenspace


@dataclass(frozen=True)
class KernelSpec:
    """`images` on a ring, each with a Gaussian of views around it among `nodes` possible views; m = `views` are drawn.

    The augmentation kernel K(x, x') = sum_a p(a|x) p(a|x') / p(a) (Zhai et al. 2024) is estimated by putting the drawn
    views' frequencies in place of p. spread: the Gaussian's standard deviation in degrees. k: the eigenspace's
    dimension. keep: also store the curve below.

    metrics: overlap, of the estimate's top-k eigenspace with the true one, in [0, 1], chance k / images.
    curves (with keep): seen (images, 2), the ring's true embedding (eigenfunctions 2 and 3, a circle of radius 1)
    projected on the estimated eigenspace: all of it is seen when the estimate is exact.
    """

    views: int = 4
    images: int = 60
    nodes: int = 120
    spread: float = 36.0
    k: int = 5
    keep: bool = False
    seed: int = 0


def ring(images: int, nodes: int, spread: float) -> np.ndarray:
    """p(view | image), shape (images, nodes): a Gaussian of `spread` degrees around each image's place on the ring."""
    away = np.abs(np.arange(nodes)[None] / nodes - np.arange(images)[:, None] / images) * 360
    p = np.exp(-0.5 * (np.minimum(away, 360 - away) / spread) ** 2)
    return p / p.sum(1, keepdims=True)


def augmentation_kernel(p: np.ndarray) -> np.ndarray:
    """K(x, x') = sum_a p(a|x) p(a|x') / p(a), shape (images, images), with equally likely images: symmetric, its rows
    sum to the number of images times their measure, that is to 1 here; views that never occur contribute nothing."""
    total = p.sum(0)
    return (p / np.where(total > 0, total, 1)) @ p.T


def top_projector(kernel: np.ndarray, k: int) -> np.ndarray:
    """The orthogonal projector on the top-k eigenspace of a symmetric kernel, shape (n, n), of trace k.

    Eigenvalues tied at the cut share the places left equally: which of them a solver puts first says nothing.
    """
    values, vectors = np.linalg.eigh(kernel)
    cut = values[-k]
    above, tied = values > cut + 1e-9, np.abs(values - cut) <= 1e-9
    weight = above + tied * (k - above.sum()) / tied.sum()
    return (vectors * weight) @ vectors.T


@run.register
def _kernel(spec: KernelSpec) -> Result:
    rng = np.random.default_rng(spec.seed)
    p = ring(spec.images, spec.nodes, spec.spread)
    drawn = rng.multinomial(spec.views, p) / spec.views
    true, estimate = (top_projector(augmentation_kernel(x), spec.k) for x in (p, drawn))
    curves = {}
    if spec.keep:
        angle = 2 * np.pi * np.arange(spec.images) / spec.images
        curves["seen"] = (estimate @ np.stack([np.cos(angle), np.sin(angle)], 1)).round(3).tolist()
    return Result(metrics={"overlap": float(np.trace(true @ estimate)) / spec.k}, curves=curves)

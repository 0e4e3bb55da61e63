"""Reading a frozen backbone: linear, MLP and kNN probes. Fitted on train, chosen on validation, read on test once.

Features come from the backbone in eval mode, of the whole clean image; they are standardised by the train features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.ssl import engine
from repro.views.draw import permutation

PENALTIES = (1e-3, 1e-2, 1e-1)  # L2 penalties of the linear probe, chosen on validation
PATH = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # those of the converged one, past both ends of what is ever best
CLEARLY = 2.0  # points of validation accuracy that end the path
TOLERANCE = 5e-5  # of the converged probe: its largest gradient as a share of the loss, all curvatures being about 1


def standardise(train: Tensor, *others: Tensor) -> list[Tensor]:
    """Features (N, F) to zero mean and unit deviation over `train`; constant features become zero."""
    mean, std = train.mean(0), train.std(0)
    std = torch.where(std > 1e-6 * (1 + mean.abs()), std, float("inf"))
    return [(x - mean) / std for x in (train, *others)]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1, in percent."""
    return 100 * (logits.argmax(1) == labels).double().mean().item()


def linear(features: list[Tensor], labels: list[Tensor], classes: int, converged: bool = False) -> dict[str, float]:
    """Multinomial logistic regression by L-BFGS on the full batch, the L2 penalty chosen on validation.

    features, labels: standardised (N, F) and (N,) of train, val, test. converged: the penalties are those of `PATH`, each
    solved to its minimum, in place of `PENALTIES` at 40 iterations each. The path ends early where validation has fallen
    twice in a row and lies `CLEARLY` below its best: looser penalties only overfit further, and take longest.
    Returns {"val": %, "test": %}.
    """
    best = (-1.0, torch.zeros(features[0].shape[1] + 1, classes, device=features[0].device))
    last, falls = -1.0, 0
    for weight in (minima if converged else _short)(features[0], labels[0], best[1]):
        score = accuracy(features[1] @ weight[1:] + weight[0], labels[1])
        last, falls = score, falls + 1 if score < last else 0
        if score > best[0]:
            best = (score, weight)
        if converged and falls > 1 and score < best[0] - CLEARLY:
            break
    return {"val": best[0], "test": accuracy(features[2] @ best[1][1:] + best[1][0], labels[2])}


def _short(x: Tensor, y: Tensor, weight: Tensor) -> Iterator[Tensor]:
    """As `minima`, for `PENALTIES` and not quite there."""
    for penalty in reversed(PENALTIES):  # from the stiffest, each started from the last
        weight = _logistic(x, y, weight, penalty)
        yield weight


def _logistic(x: Tensor, y: Tensor, start: Tensor, penalty: float) -> Tensor:
    weight = start.clone().requires_grad_(True)
    solver = torch.optim.LBFGS(
        [weight], max_iter=40, history_size=10, line_search_fn="strong_wolfe", tolerance_grad=1e-4
    )

    def closure():
        solver.zero_grad()
        value = F.cross_entropy(torch.addmm(weight[0], x, weight[1:]), y) + penalty / 2 * weight[1:].square().sum()
        value.backward()
        return value

    solver.step(closure)
    return weight.detach()


def minima(x: Tensor, y: Tensor, start: Tensor) -> Iterator[Tensor]:
    """The minimum (F + 1, K), bias first, of mean cross-entropy + penalty / 2 * |weights|^2 for each penalty of `PATH`,
    from the stiffest on, each started from the last. x: (N, F), y: (N,) of K classes.

    L-BFGS works along the features' principal axes, each scaled by the curvature to expect there, so that tens of
    iterations do what hundreds do on the features. It ends where no gradient exceeds `TOLERANCE` of the cross-entropy it
    started from, or where float32 can tell no lower loss.
    """
    if len(x) < x.shape[1]:  # no minimum has a part outside the rows' span
        basis = torch.linalg.qr(x.T).Q
        for weight in minima(x @ basis, y, torch.cat([start[:1], basis.T @ start[1:]])):
            yield torch.cat([weight[:1], basis @ weight[1:]])
        return
    spread, axes = torch.linalg.eigh(x.T @ x / len(x))
    x, full = x @ axes, torch.cat([start[:1], axes.T @ start[1:]]).T  # (K, 1 + F): the layout whose products are fast
    for penalty in reversed(PATH):
        full = _minimum(x, y, full, penalty, spread.clamp(min=0))
        yield torch.cat([full[:, :1].T, axes @ full[:, 1:].T])


def _minimum(x: Tensor, y: Tensor, start: Tensor, penalty: float, spread: Tensor) -> Tensor:
    """The minimum (K, 1 + F) for one penalty. x: (N, F), uncorrelated, of mean squares `spread` (F,)."""
    logits = F.linear(x, start[:, 1:], start[:, 0])
    chance = logits.softmax(1)
    curvature = (chance * (1 - chance)).mean()  # of the cross-entropy by the logits
    scale = torch.cat([curvature[None], curvature * spread + penalty]).rsqrt()  # (1 + F,)
    scaled, ones = start / scale, F.one_hot(y, len(start))
    solver = torch.optim.LBFGS(
        [scaled], max_iter=5000, max_eval=10**6, history_size=10, line_search_fn="strong_wolfe",
        tolerance_grad=TOLERANCE * F.cross_entropy(logits, y).item(), tolerance_change=0.0,
    )  # fmt: skip

    def closure():
        full = scaled * scale
        logits = F.linear(x, full[:, 1:], full[:, 0])
        error = (logits.softmax(1) - ones) / len(y)
        # by hand, since autograd asks for a product of another layout, several times as slow on a CPU
        slope = torch.cat([error.sum(0)[:, None], error.T @ x + penalty * full[:, 1:]], 1)
        scaled.grad = slope * scale
        return F.cross_entropy(logits, y) + penalty / 2 * full[:, 1:].square().sum()

    solver.step(closure)
    return scaled * scale


def mlp(features: list[Tensor], labels: list[Tensor], classes: int, seed: int, hidden: int = 256) -> dict[str, float]:
    """One hidden layer, AdamW, 20 passes; the pass is chosen on validation, since an MLP probe overfits (FFCV-SSL
    paper, Fig. 8). Returns {"val": %, "test": %} at that pass and {"val_last": %, "test_last": %} at the last."""
    return by_pass(features, labels, classes, seed, 20, hidden, 2e-3, 1e-2)[0]


def by_pass(
    features: list[Tensor],
    labels: list[Tensor],
    classes: int,
    seed: int,
    passes: int,
    hidden: int,
    rate: float,
    decay: float = 0.0,
) -> tuple[dict[str, float], list[float]]:
    """A probe trained by AdamW in batches, linear (hidden 0) or with one hidden layer. Returns {"val": %, "test": %} at
    the pass that is best on validation with {"val_last": %, "test_last": %} at the last, and validation by pass."""
    x, y = features[0], labels[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if hidden:
            net = nn.Sequential(nn.Linear(x.shape[1], hidden), nn.ReLU(), nn.Linear(hidden, classes)).to(x.device)
        else:
            net = nn.Linear(x.shape[1], classes).to(x.device)
    graph = "graph" in engine.ways(x.device)  # thousands of steps, each too small to keep a GPU busy
    fast = {"fused": True, "capturable": True} if graph else {"foreach": True}
    solver = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay, **fast)

    def plainly(batch: Tensor) -> tuple[Tensor, ...]:
        solver.zero_grad()
        F.cross_entropy(net(x[batch]), y[batch]).backward()
        solver.step()
        return ()

    step = engine.Captured(plainly) if graph else plainly
    best_score, best, curve = -1.0, {}, []
    for epoch in range(passes):
        for batch in permutation(seed, epoch, len(x)).to(x.device).split(256):
            (step if len(batch) == 256 else plainly)(batch)  # a graph is of one shape
        with torch.no_grad():
            curve.append(accuracy(net(features[1]), labels[1]))
        if curve[-1] > best_score:
            best_score, best = curve[-1], copy.deepcopy(net.state_dict())
    with torch.no_grad():
        test_last = accuracy(net(features[2]), labels[2])
        net.load_state_dict(best)
        test = accuracy(net(features[2]), labels[2])
    return {"val": best_score, "test": test, "val_last": curve[-1], "test_last": test_last}, curve


@dataclass(frozen=True)
class SGDRecipe:
    """A linear probe as a paper trains it: SGD with momentum .9, batches of 256, the rate tenfold lower after each of
    `drops` epochs. normalised: on features of length one, each then standardised, in place of plain ones."""

    lr: float
    epochs: int
    drops: tuple[int, ...]
    weight_decay: float = 0.0
    normalised: bool = False


SGD_RECIPES = {
    "moco": SGDRecipe(30.0, 100, (60, 80)),  # MoCo v2, and the MSR paper on small and medium sets
    "mean-shift": SGDRecipe(0.01, 40, (15, 30), 1e-4, True),  # Mean Shift, and the MSR paper on ImageNet
}


def sgd(
    views: Callable[[int], Tensor],
    features: list[Tensor],
    labels: list[Tensor],
    classes: int,
    seed: int,
    recipe: SGDRecipe,
) -> dict[str, float]:
    """A linear probe by a published recipe, on other views of the train images in every epoch.

    views(epoch): features (N, F) of train's images, cropped anew; features, labels: clean (N, F) and (N,) of train, val,
    test. Returns {"val": %, "test": %} at the last epoch, which is what counts, and {"test_best": %}, the best test
    accuracy of all epochs: what the MSR paper's code reports, and too high, since the test split chooses it.
    """
    mean, std = torch.zeros(1), torch.ones(1)
    if recipe.normalised:
        train = F.normalize(features[0], dim=1)
        mean, std = train.mean(0), train.std(0).clamp_min(1e-6)

    def ready(x: Tensor) -> Tensor:
        return (F.normalize(x, dim=1) - mean) / std if recipe.normalised else x

    val, test = ready(features[1]), ready(features[2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = nn.Linear(val.shape[1], classes)
        nn.init.normal_(net.weight, std=0.01)
        nn.init.zeros_(net.bias)
    net = net.to(val.device)
    solver = torch.optim.SGD(net.parameters(), lr=recipe.lr, momentum=0.9, weight_decay=recipe.weight_decay)
    best = last = {"val": 0.0, "test": 0.0}
    for epoch in range(recipe.epochs):
        for group in solver.param_groups:
            group["lr"] = recipe.lr * 0.1 ** sum(epoch >= d for d in recipe.drops)
        x = ready(views(epoch))
        for batch in permutation(seed, epoch, len(x)).to(x.device).split(256):
            value = F.cross_entropy(net(x[batch]), labels[0][batch])
            solver.zero_grad()
            value.backward()
            solver.step()
        with torch.no_grad():
            last = {"val": accuracy(net(val), labels[1]), "test": accuracy(net(test), labels[2])}
        best = max(best, last, key=lambda score: score["test"])
    return {**last, "test_best": best["test"]}


def knn(
    features: list[Tensor], labels: list[Tensor], classes: int, k: int = 20, temperature: float = 0.07
) -> dict[str, float]:
    """Cosine-weighted k nearest neighbours (Wu et al. 2018) among the train features. Returns {"val": %, "test": %}."""
    bank = F.normalize(features[0], dim=1)
    out = {}
    for name, x, y in (("val", features[1], labels[1]), ("test", features[2], labels[2])):
        votes = []
        for chunk in F.normalize(x, dim=1).split(1024):
            similarity, index = (chunk @ bank.T).topk(min(k, len(bank)), dim=1)
            weight = torch.exp(similarity / temperature)
            votes.append(torch.zeros(len(chunk), classes, device=x.device).scatter_add_(1, labels[0][index], weight))
        out[name] = accuracy(torch.cat(votes), y)
    return out

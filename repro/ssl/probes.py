"""Reading a frozen backbone: linear, MLP and kNN probes. Fitted on train, chosen on validation, read on test once.

Features come from the backbone in eval mode, of the whole clean image; they are standardised by the train features.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro.ssl import engine
from repro.views.draw import permutation

PENALTIES = (1e-3, 1e-2, 1e-1)  # L2 penalties of the linear probe, chosen on validation


def standardise(train: Tensor, *others: Tensor) -> list[Tensor]:
    """Features (N, F) to zero mean and unit deviation over `train`; constant features become zero."""
    mean, std = train.mean(0), train.std(0)
    std = torch.where(std > 1e-6 * (1 + mean.abs()), std, float("inf"))
    return [(x - mean) / std for x in (train, *others)]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Top-1, in percent."""
    return 100 * (logits.argmax(1) == labels).double().mean().item()


def linear(features: list[Tensor], labels: list[Tensor], classes: int) -> dict[str, float]:
    """Multinomial logistic regression by L-BFGS on the full batch, the L2 penalty chosen on validation.

    features, labels: standardised (N, F) and (N,) of train, val, test. Returns {"val": %, "test": %}.
    """
    weight = torch.zeros(features[0].shape[1] + 1, classes, device=features[0].device)
    best: tuple[float, Tensor] = (-1.0, weight)
    for penalty in reversed(PENALTIES):  # from the stiffest, each started from the last
        weight = _logistic(features[0], labels[0], weight, penalty)
        score = accuracy(features[1] @ weight[1:] + weight[0], labels[1])
        if score > best[0]:
            best = (score, weight)
    return {"val": best[0], "test": accuracy(features[2] @ best[1][1:] + best[1][0], labels[2])}


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

"""The losses, as pure functions of projections. Each names its convention: coefficients are not portable between them.

`z` is always (V, N, D): V views of N images, D-dimensional projections, in float32 or wider. The examples are two equal
views of two images whose projections are orthogonal, `z = torch.eye(2).expand(2, 2, 2)`; their numbers follow by hand.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(z: Tensor, temperature: float) -> Tensor:
    r"""NT-Xent, the loss of SimCLR (Chen et al. 2020, Eq. 1; FFCV-SSL paper, Eq. 2): mean over all V N anchors.

    Cosine similarities; an anchor's candidates are all projections but itself. With more than two views an anchor has
    V - 1 positives: the mean of their log-probabilities, each against the negatives and that positive alone (so that the
    other positives do not count as negatives). V = 2 is the usual form; solo-learn, lightly and stable-pretraining agree.

    $$\ell_a = -\log \frac{e^{s(a, p) / \tau}}{e^{s(a, p) / \tau} + \sum_n e^{s(a, n) / \tau}}$$

    >>> round(nt_xent(z, temperature=0.5).item(), 4)  # log(1 + 2 exp(-2))
    0.2395
    """
    views, n, _ = z.shape
    flat = F.normalize(z, dim=2).flatten(0, 1)
    similarity = flat @ flat.T / temperature  # (VN, VN)
    image = torch.arange(n, device=z.device).repeat(views)
    same = image[:, None] == image[None]
    negatives = similarity.masked_fill(same, float("-inf")).logsumexp(1, keepdim=True)
    positive = same & ~torch.eye(views * n, dtype=torch.bool, device=z.device)
    loss = torch.logaddexp(similarity, negatives) - similarity
    return torch.where(positive, loss, 0.0).sum() / (views * n * (views - 1))


def instance(z: Tensor, temperature: float) -> Tensor:
    """SimCLR with one negative for each anchor (FFCV-SSL paper, Sec. 3.4): z holds anchor, positive and negative (3, N, D), all
    three of one image. NT-Xent over those two candidates is softplus((s(anchor, negative) - s(anchor, positive)) / tau)
    with s the cosine; the mean over images. No image meets another."""
    anchor, positive, negative = F.normalize(z, dim=2)
    return F.softplus((anchor * (negative - positive)).sum(1) / temperature).mean()


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """MoCo's loss (He et al. 2020, Eq. 1). query, key: (N, D), positives row by row; queue: (K, D) negatives.

    >>> round(info_nce(z[0], z[1], -z[0], temperature=0.5).item(), 4)  # log(1 + exp(-4) + exp(-2))
    0.1429
    """
    query, key, queue = (F.normalize(t, dim=1) for t in (query, key, queue))
    positive = (query * key).sum(1, keepdim=True)
    logits = torch.cat([positive, query @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def barlow_twins(z: Tensor, lambda_: float, scale: float = 1.0) -> Tensor:
    r"""Barlow Twins (Zbontar et al. 2021, Eq. 1) as its authors code it: each view standardised over the batch as batch
    norm does (biased variance, eps 1e-5), C = z1' z2 / N; scale * (sum (C_ii - 1)^2 + lambda sum_{i != j} C_ij^2).

    With more than two views: the mean over all pairs, exact and at a cost that grows with their number, V (V - 1) / 2;
    `barlow_mean_target` grows with V. (The FFCV-SSL paper's Eq. 3 does not centre; this does.)

    $$\sum_i (C_{ii} - 1)^2 + \lambda \sum_{i \neq j} C_{ij}^2$$

    >>> round(barlow_twins(z, lambda_=0.25).item(), 3)  # C is 1 and -1: 2 lambda
    0.5
    """
    views, n, _ = z.shape
    z = (z - z.mean(1, keepdim=True)) / torch.sqrt(z.var(1, unbiased=False, keepdim=True) + 1e-5)
    total = z.new_zeros(())
    for i in range(views):
        for j in range(i + 1, views):
            c = z[i].T @ z[j] / n
            on = (c.diagonal() - 1).square().sum()
            total = total + on + lambda_ * (c.square().sum() - c.diagonal().square().sum())
    return scale * total / (views * (views - 1) / 2)


def barlow_mean_target(z: Tensor, beta: float, against_mean: bool = False) -> Tensor:
    """Barlow Twins for any number of views as the authors of the small projectors paper code it; its cost grows with V.

    Each projection is normalised to length one, then each dimension standardised over all views together (unbiased
    variance). Two views: C = z1' z2 / N, sum (C_ii - 1)^2 + beta sum_{i != j} C_ij^2. More: with zbar the mean over
    views, the on-diagonal term is the mean over views of sum_i (mean_N(z_a zbar)_i - 1)^2, the off-diagonal one that of
    zbar' zbar / N. So two views and many are different objectives at equal beta, and neither is `barlow_twins`.
    against_mean: two views in the form of more.
    """
    views, n, _ = z.shape
    flat = F.normalize(z, dim=2).flatten(0, 1)
    # eps: a dimension that has collapsed to a constant must not divide by zero; 1e-12 is far below any variance in use
    z = ((flat - flat.mean(0)) / torch.sqrt(flat.var(0) + 1e-12)).unflatten(0, (views, n))
    if views == 2 and not against_mean:
        c = z[0].T @ z[1] / n
        on = (c.diagonal() - 1).square().sum()
    else:
        mean = z.mean(0)
        c = mean.T @ mean / n
        on = ((z * mean).mean(1) - 1).square().sum() / views
    return on + beta * (c.square().sum() - c.diagonal().square().sum())


def vicreg(z: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    r"""VICReg (Bardes et al. 2022, Eqs. 1-6) as its authors code it: mean squared error; hinge on sqrt(unbiased
    variance + 1e-4), halved over two views; squared off-diagonal covariances (/(N - 1)) summed, /D.

    With more than two views: the mean over all pairs, exact and still at a cost that grows with V, since the invariance
    over pairs is the spread about the mean (`spread`) and the other two terms concern single views. (The FFCV-SSL
    paper's Eq. 1 sums the invariance over dimensions; this averages.)

    $$\frac{\lambda}{N D} \sum |z_1 - z_2|^2 + \frac{\mu}{2 D} \sum (1 - \sigma)_+ + \frac{\nu}{D} \sum_{i \neq j} c_{ij}^2$$

    >>> round(vicreg(z, invariance=25, variance=25, covariance=1).item(), 4)  # 25 (1 - sqrt(0.5001)) + 0.5
    7.8206
    """
    views, n, d = z.shape
    pairs = views * (views - 1) / 2
    # sum over pairs |zi - zj|^2 = V sum_i |zi - mean|^2
    invariant = views * (z - z.mean(0)).square().sum() / (pairs * n * d)
    std = torch.sqrt(z.var(1) + 1e-4)  # (V, D)
    spread = F.relu(1 - std).mean()
    centred = z - z.mean(1, keepdim=True)
    c = centred.transpose(1, 2) @ centred / (n - 1)  # (V, D, D)
    off = c.square().sum() - c.diagonal(dim1=1, dim2=2).square().sum()
    return invariance * invariant + variance * spread + covariance * 2 * off / (d * views)


def vicreg_mean_target(z: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    """VICReg for any number of views as the authors of the small projectors paper code it; its cost grows with V.

    The mean over views of the two-view loss between a view and the mean of the others; with two views, `vicreg`. Since
    z_a less the mean of the others is V / (V - 1) (z_a - zbar), no difference of two views is ever formed. (Their code
    leaves out the 1e-4 under the root, without which a collapsed dimension has no gradient.)
    """
    views, n, d = z.shape
    mean = z.mean(0)
    others = (views * mean - z) / (views - 1)
    invariant = (views / (views - 1)) ** 2 * (z - mean).square().mean()
    spread_, off = z.new_zeros(()), z.new_zeros(())
    for side in (z, others):
        spread_ = spread_ + F.relu(1 - torch.sqrt(side.var(1) + 1e-4)).mean() / 2
        centred = side - side.mean(1, keepdim=True)
        c = centred.transpose(1, 2) @ centred / (n - 1)  # (V, D, D)
        off = off + (c.square().sum() - c.diagonal(dim1=1, dim2=2).square().sum()) / (d * views)
    return invariance * invariant + variance * spread_ + covariance * off


def spread(z: Tensor) -> Tensor:
    """sum_a |z_a - zbar|^2, the mean over images: the mean-target form of the invariance (small projectors paper,
    Eq. 10), at a cost that grows with V. Equal to `spread_of_pairs`."""
    return (z - z.mean(0)).square().sum((0, 2)).mean()


def spread_of_pairs(z: Tensor) -> Tensor:
    """(1 / 2V) sum_ab |z_a - z_b|^2, the mean over images: the same number from all pairs, at a cost and with a memory
    that grow with V^2. It is here to be compared with."""
    return (z[:, None] - z[None]).square().sum((0, 1, 3)).mean() / (2 * len(z))


def cosine_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """2 - 2 cos, one direction of BYOL (Grill et al. 2020, Eq. 2) and, up to the constant, SimSiam (Chen & He 2021,
    Eq. 1); MSR's l(a, b). prediction, target: (..., D); the mean over all but the last axis.

    >>> cosine_distance(z[0], z[1]).item(), cosine_distance(z[0], z[0].flip(0)).item()
    (0.0, 2.0)
    """
    return 2 - 2 * F.cosine_similarity(prediction, target, dim=-1).mean()


def msr(prediction: Tensor, other: Tensor, weak: Tensor, beta: float) -> Tensor:
    """MSR (Bai et al. 2022, Eq. 5), one of its two equal directions in the mean: beta l(q1, q2) + (1 - beta) l(q1, z2),
    with l = 2 - 2 cos. prediction: (..., D) of aggressive views; other, weak: the other crop's prediction and its weak
    view's target, row by row."""
    return beta * cosine_distance(prediction, other) + (1 - beta) * cosine_distance(prediction, weak)

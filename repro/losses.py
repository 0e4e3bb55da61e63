"""The losses, as pure functions of projections. Each names its convention: coefficients are not portable between them.

`z` is always (V, N, D): V views of N images, D-dimensional projections, in float32 or wider.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def nt_xent(z: Tensor, temperature: float) -> Tensor:
    """NT-Xent, the loss of SimCLR (Chen et al. 2020, Eq. 1; FFCV-SSL paper, Eq. 2): mean over all V N anchors.

    Cosine similarities; an anchor's candidates are all projections but itself. With more than two views an anchor has
    V - 1 positives: the mean of their log-probabilities, each against the negatives and that positive alone (so that the
    other positives do not count as negatives). V = 2 is the usual form; solo-learn, lightly and stable-pretraining agree.
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


def info_nce(query: Tensor, key: Tensor, queue: Tensor, temperature: float) -> Tensor:
    """MoCo's loss (He et al. 2020, Eq. 1). query, key: (N, D), positives row by row; queue: (K, D) negatives."""
    query, key, queue = (F.normalize(t, dim=1) for t in (query, key, queue))
    positive = (query * key).sum(1, keepdim=True)
    logits = torch.cat([positive, query @ queue.T], 1) / temperature
    return F.cross_entropy(logits, torch.zeros(len(query), dtype=torch.long, device=query.device))


def barlow_twins(z: Tensor, lambda_: float, scale: float = 1.0) -> Tensor:
    """Barlow Twins (Zbontar et al. 2021, Eq. 1) as its authors code it: each view standardised over the batch as batch
    norm does (biased variance, eps 1e-5), C = z1' z2 / N; scale * (sum (C_ii - 1)^2 + lambda sum_{i != j} C_ij^2).

    With more than two views: the mean over all pairs. (The FFCV-SSL paper's Eq. 3 does not centre; this does.)
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


def vicreg(z: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    """VICReg (Bardes et al. 2022, Eqs. 1-6) as its authors code it: mean squared error; hinge on sqrt(unbiased
    variance + 1e-4), halved over two views; squared off-diagonal covariances (/(N - 1)) summed, /D.

    With more than two views: invariance is the mean over pairs, the other two terms twice the mean over views / 2.
    (The FFCV-SSL paper's Eq. 1 sums the invariance over dimensions; this averages.)
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


def cosine_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """2 - 2 cos, one direction of BYOL (Grill et al. 2020, Eq. 2) and, up to the constant, SimSiam (Chen & He 2021,
    Eq. 1); MSR's l(a, b). prediction, target: (..., D); the mean over all but the last axis."""
    return 2 - 2 * F.cosine_similarity(prediction, target, dim=-1).mean()

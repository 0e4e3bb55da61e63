"""How many directions a representation uses: eigenspectrum decay and RankMe."""

from __future__ import annotations

import numpy as np

from repro.errors import ReproError


def eigenspectrum(features: np.ndarray) -> np.ndarray:
    """Eigenvalues of the covariance of features (N, F), descending, (F,) float64, none negative."""
    x = np.asarray(features, np.float64)
    return np.linalg.eigvalsh(np.cov(x, rowvar=False)).clip(min=0)[::-1]


def alpha(spectrum: np.ndarray, first: int = 3, last: int = 50) -> float:
    """Decay of an eigenspectrum, lambda_n ~ n^-alpha (alpha-ReQ, Agrawal et al. 2022): the slope of a log-log fit over
    the eigenvalues numbered first ... last, weighted by 1/n so that each octave counts alike. NaN if none is positive.

    Raises ReproError if fewer than three eigenvalues lie in the range.
    """
    values = np.asarray(spectrum, float)[first - 1 : last]
    if len(values) < 3:
        raise ReproError(f"A decay needs three eigenvalues from number {first} on, not {len(values)}: lower `first`.")
    n = np.arange(first, first + len(values))
    keep = values > values[0] * 1e-12 if values[0] > 0 else np.zeros(len(values), bool)
    if keep.sum() < 3:
        return float("nan")
    return float(-np.polyfit(np.log(n[keep]), np.log(values[keep]), 1, w=np.sqrt(1 / n[keep]))[0])


def rankme(features: np.ndarray) -> float:
    """RankMe (Garrido et al. 2023, Eq. 1): exp of the entropy of the singular values of features (N, F); 1 ... F."""
    s = np.linalg.svd(np.asarray(features, np.float64), compute_uv=False)
    p = s / s.sum() + 1e-7
    return float(np.exp(-(p * np.log(p)).sum()))


def effective_rank(features: np.ndarray) -> float:
    """exp of the entropy of the correlation matrix's eigenvalue shares, of features (N, F): 1 where every dimension says
    the same, F where no two are correlated. Constant dimensions are left out; NaN if fewer than two are left."""
    x = np.asarray(features, np.float64)
    x = x[:, x.std(0) > 1e-9 * (1 + np.abs(x.mean(0)))]
    if x.shape[1] < 2 or not np.isfinite(x).all():
        return float("nan")
    x = (x - x.mean(0)) / x.std(0)
    wide = len(x) < x.shape[1]  # the smaller product has the same eigenvalues: at 8192 dimensions a tenth of the time
    shares = np.linalg.eigvalsh(x @ x.T) if wide else np.linalg.svd(x, compute_uv=False) ** 2
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))

"""The clock and the median of benchmarks that run inside this process."""

from __future__ import annotations

import time

import torch
from torch import Tensor


def now(images: Tensor) -> float:
    """Seconds: on a GPU of the wall, once the GPU has done all its work; else of this process's CPU."""
    if images.is_cuda:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def median(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median())

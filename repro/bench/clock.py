"""What the benchmarks that run inside this process measure with."""

from __future__ import annotations

import time

import torch
from torch import Tensor


def now(images: Tensor) -> float:
    """Seconds: of the wall where the images are on a GPU, after all it was given is done; else of this process's CPU."""
    if images.is_cuda:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def median(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).median())

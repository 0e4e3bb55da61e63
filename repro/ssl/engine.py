"""How a step runs on a GPU: as it is written, or in faster ways that give the same numbers but for rounding.

$REPRO_ENGINE names the ways, with commas between them; a CPU knows none, and runs as it is written.
    views: the colours of the views by kernels that torch.compile makes (seconds to compile, once a recipe)
    graph: forward and backward captured as one CUDA graph, which the host starts by one call
    compile: forward and backward by kernels that torch.compile makes (a minute to compile: for long runs)
A way that this machine cannot go is left out, which one sentence on the standard error says.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from repro.errors import ReproError
from repro.ssl import ranks
from repro.views import batched

WAYS = ("views", "graph", "compile")
WARM = 3  # calls before a capture, in which libraries choose their algorithms and compilers compile


def device() -> torch.device:
    """Where runs compute: on a GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def ways(device: torch.device) -> tuple[str, ...]:
    """The ways that $REPRO_ENGINE names, () on a CPU."""
    named = parse(os.environ.get("REPRO_ENGINE", ""))
    if device.type != "cuda":
        return ()
    if ranks.world() > 1 and {"graph", "compile"} & {*named}:
        if not ranks.rank():
            _say("the steps of a run on several devices are neither captured nor compiled.")
        return tuple(w for w in named if w == "views")
    return named


def parse(text: str) -> tuple[str, ...]:
    """The ways in a text such as "views,graph"; none in an empty one."""
    named = tuple(w.strip() for w in text.split(",") if w.strip())
    for way in named:
        if way not in WAYS:
            raise ReproError(f"$REPRO_ENGINE names {way!r}: choose from {', '.join(WAYS)}, with commas between.")
    return named


def prepare(device: torch.device, precision: str) -> None:
    """float32 means float32, on a GPU too, and not the 10 bits of its matrix units; shapes are fixed, so that the
    fastest convolution may be searched for once."""
    if device.type == "cuda":
        torch.backends.cudnn.conv.fp32_precision = "ieee" if precision == "float32" else "tf32"
        torch.backends.cudnn.benchmark = True
        torch.cuda.reset_peak_memory_stats()


def used(device: torch.device, ways: tuple[str, ...]) -> dict:
    """The ways of the engine and the most memory that was in use; of a CPU nothing."""
    if device.type != "cuda":
        return {}
    return {"engine": list(ways), "peak_memory_gb": torch.cuda.max_memory_allocated() / 1e9}


def compiled(function: Callable) -> Callable:
    """A function compiled at its first call, or as it is written where that fails."""
    made: Any = torch.compile(function, dynamic=False)

    def call(*given, **named):
        nonlocal made
        if made is not function:
            try:
                return made(*given, **named)
            except torch.OutOfMemoryError:
                raise
            except Exception as e:  # compilers fail in many ways
                _say(f"{function.__name__} cannot be compiled here ({_first_line(e)}) and runs as it is written.")
                made = function
        return function(*given, **named)

    torch._dynamo.config.recompile_limit = 64  # a compilation for each view of each recipe that a process meets
    return call


def colours(ways: tuple[str, ...]) -> Callable | None:
    """What makes the views' colours in place of `batched.appearance`, one for the whole process; None as it is written."""
    return _colours() if "views" in ways else None


@functools.cache
def _colours() -> Callable:
    return compiled(batched.appearance)


@functools.cache
def _side_stream() -> torch.cuda.Stream:
    """One for all captures: a library keeps memory for each stream that it meets."""
    return torch.cuda.Stream()


class Captured:
    """A function of tensors, replayed as one CUDA graph once it has been called WARM times with tensors of one shape.

    It must do all its work on the device, and write what it changes in place. What it returns is overwritten by the
    next call. Where it cannot be captured, it goes on as it is written.
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], warm: int = WARM):
        self.function, self.warm, self.left = function, warm, warm
        self.stream = _side_stream()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.given: list[Tensor] = []
        self.made: tuple[Tensor, ...] = ()

    def __call__(self, *given: Tensor) -> tuple[Tensor, ...]:
        if self.graph is not None and any(a.shape != b.shape for a, b in zip(self.given, given)):
            self.graph, self.given, self.made, self.left = None, [], (), self.warm  # as where the resolution grows
        if self.graph is None and self.left == 0:
            self._capture(given)
        if self.graph is None:
            self.left -= 1
            return self._plainly(given)
        for captured, new in zip(self.given, given):
            captured.copy_(new)
        self.graph.replay()
        return self.made

    def _plainly(self, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """On the capture's own stream, with which autograd would otherwise have to wait for another."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            made = self.function(*given)
        torch.cuda.current_stream().wait_stream(self.stream)
        return made

    def _capture(self, given: tuple[Tensor, ...]) -> None:
        self.given = [t.clone() for t in given]
        graph = torch.cuda.CUDAGraph()
        try:
            # thread_local: what other threads do on the device, such as pinning memory, does not break the capture
            with (
                torch.cuda.stream(torch.cuda.current_stream()),  # put back even by a capture that fails
                torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"),
            ):
                self.made = self.function(*self.given)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as e:
            _say(f"the step cannot be captured here ({_first_line(e)}) and runs as it is written.")
            self.given, self.left = [], -1  # never again
        else:
            self.graph = graph


def _first_line(e: Exception) -> str:
    return str(e).strip().split("\n")[0][:200] or type(e).__name__


def _say(sentence: str) -> None:
    print(f"repro: {sentence}", file=sys.stderr, flush=True)

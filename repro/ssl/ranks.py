"""One run on several processes, a rank each: every rank makes its slice of each batch, and all take the same steps.

Projections are gathered, and each rank works out the loss of the whole batch, whose gradient flows through its own slice
alone: so the gradients of all ranks sum to that of one process, and a run's numbers are the same but for rounding. Rank 0
leads: it alone claims, probes, checkpoints and stores; the others do what it calls them to. One process is rank 0 of 1.
"""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from repro.core import stopping
from repro.core.sweep import Stopped
from repro.errors import ReproError
from repro.ssl import networks

PATIENCE = timedelta(hours=6)  # with a leader that probes; a process that dies is noticed at once
LOST = (
    "A process of this run died (was it killed, or out of memory?): run again, which goes on from the last checkpoint."
)
CPU = torch.device("cpu")

_rank, _world, _store = 0, 1, None  # plain numbers, which compiled code takes as they are
exchanged: Counter[str] = Counter()  # calls of collectives, and bytes that this rank gave to each kind of them
_told = threading.Event()  # a rank that follows was asked to stop


def rank() -> int:
    return _rank


def world() -> int:
    """The number of ranks; 1 in the block of `alone`."""
    return _world


def used() -> dict[str, int]:
    """What a run's provenance says of its ranks, where it has several."""
    return {"world_size": _world} if _world > 1 else {}


def place() -> int:
    """Of this rank's slice in a batch; 0 in the block of `alone`."""
    return _rank if _world > 1 else 0


def start() -> None:
    """Join the ranks that torchrun started, by its variables; on a GPU machine each takes a GPU of its node. Raises
    ReproError for fewer GPUs than processes."""
    global _rank, _world, _store
    if 0 < torch.cuda.device_count() < (here := int(os.environ.get("LOCAL_WORLD_SIZE") or 1)):
        raise ReproError(
            f"{here} processes cannot share {torch.cuda.device_count()} GPUs: start one for each, or hide them with "
            "CUDA_VISIBLE_DEVICES= to compute on the CPU."
        )
    _store, _rank, _world = next(iter(dist.rendezvous("env://")))
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=_store, rank=_rank, world_size=_world, timeout=PATIENCE)
    torch.set_num_threads(1)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within, this process is by itself: what it computes needs no other rank."""
    global _world
    before, _world = _world, 1
    try:
        yield
    finally:
        _world = before


def by_leader(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that the leader calls by itself; for the others it does nothing and returns {}."""

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        if _rank:
            return {}
        with alone():
            return function(*given, **named)

    return call


# --- leading and following --------------------------------------------------------------------------------------------


def call(function: Callable[..., Any], *given: Any) -> None:
    """Of the leader: let all others call `function` with the same arguments, as it does itself after this."""
    if _world > 1 and _rank == 0:
        _together(dist.broadcast_object_list, [(function, given)], device=CPU)


def follow() -> int:
    """What the other ranks do: what the leader calls them to, until it ends. The exit code. What goes wrong is left for the
    leader to say."""
    with stopping.setting(_told):
        while True:
            job: list[Any] = [None]
            try:
                dist.broadcast_object_list(job, device=CPU)
            except RuntimeError:  # the leader has ended
                return 0
            function, given = job[0]
            try:
                function(*given)
            except Stopped:
                continue
            except ReproError as e:
                with contextlib.suppress(RuntimeError):  # who kept it may have ended, too
                    _store.set("error", str(e))
                return 2


def together(tick: Callable[..., None]) -> Callable[..., None]:
    """A tick that stops all ranks at the same step when it stops one of them, or when one was told to stop."""
    if _world == 1:
        return tick

    def call(*given: Any) -> None:
        reason: Exception | None = Stopped() if _told.is_set() else None
        try:
            tick(*given)
        except Exception as e:
            reason = e
        if agree(reason is not None):
            raise reason or Stopped

    return call


def agree(flag: bool) -> bool:
    """Whether it is so on any rank."""
    if _world == 1:
        return flag
    count = torch.tensor(float(flag))  # between hosts: no device is waited for
    _together(dist.all_reduce, count)
    return count.item() > 0


def check_same(number: int, sentence: str) -> None:
    """Raise ReproError, with that sentence, if the ranks have different numbers."""
    ends = torch.tensor([number, -number])
    if _world > 1:
        _together(dist.all_reduce, ends, dist.ReduceOp.MAX)
    if ends.sum():
        raise ReproError(sentence)


def _together(collective: Callable[..., Any], *given: Any, **named: Any) -> None:
    exchanged.update({"calls": 1, collective.__name__: sum(x.nbytes for x in given if isinstance(x, Tensor))})
    try:
        collective(*given, **named)
    except RuntimeError as e:
        said = ""
        with contextlib.suppress(RuntimeError):
            said = _store.get("error").decode() if _store and _store.check(["error"]) else ""
        raise ReproError(said or LOST) from e


# --- the numbers of all ranks -----------------------------------------------------------------------------------------


def part(batch: int) -> int:
    """This rank's images of a batch. Raises ReproError where the ranks cannot have equally many."""
    if batch % _world:
        raise ReproError(f"A batch of {batch} images cannot be shared equally by {_world} processes: take fewer.")
    return batch // _world


def gather(x: Tensor, dim: int = 0) -> Tensor:
    """The slices of all ranks, in their order along `dim`; a gradient flows through this rank's own."""
    if _world == 1:
        return x
    parts = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(_world)]
    _together(dist.all_gather, parts, x.detach().contiguous())
    parts[_rank] = x
    return torch.cat(parts, dim)


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Give every rank the sum of all ranks' gradients, exchanged as one vector."""
    if _world == 1:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([g.flatten() for g in grads])
    _together(dist.all_reduce, flat)
    parts = flat.split([g.numel() for g in grads])
    torch._foreach_copy_(grads, [part.view_as(g) for part, g in zip(parts, grads)])


class _Sum(torch.autograd.Function):
    """The sum over all ranks. Every rank's loss depends on it, so its gradient is their sum, too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone(memory_format=torch.contiguous_format)
        _together(dist.all_reduce, x)
        return x

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradient)


class BatchNorm(nn.SyncBatchNorm):
    """Batch norm over the images of all ranks: on GPUs torch's, which CPUs lack, and on them the same in two sums."""

    def forward(self, x: Tensor) -> Tensor:
        if _world == 1 or not self.training:
            return _BatchNorm.forward(self, x)
        if x.is_cuda:
            return super().forward(x)
        wide = networks.wide(x)
        dims, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
        count = _world * x.numel() / x.shape[1]
        mean = _Sum.apply(wide.sum(dims)) / count
        centred = wide - mean.view(shape)
        var = _Sum.apply(centred.square().sum(dims)) / count
        if self.track_running_stats:
            self.num_batches_tracked += 1
            share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach().to(self.running_mean.dtype), share)
            self.running_var.lerp_((var.detach() * count / (count - 1)).to(self.running_var.dtype), share)
        out = centred * torch.rsqrt(var + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)


def synchronise(module: nn.Module) -> None:
    """Let the batch norms of a module see all ranks' images. Their weights stay where they are, under the same names."""
    for norm in module.modules():
        if isinstance(norm, _BatchNorm) and _world > 1:
            norm.__class__, norm.process_group = BatchNorm, None

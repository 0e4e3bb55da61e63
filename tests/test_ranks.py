"""One run on two processes: the numbers of one, whatever the method; stopped, killed and gone on with by another number.

Rank 0 is this process, rank 1 is forked once for the whole file. `both(f, ...)` calls f on the two, anything else is alone.
"""

import multiprocessing
import os
import socket
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.distributed as dist

from repro.bench import scale
from repro.core.methods import METHODS, MSR, BarlowTwins, MoCo, SimCLR, SimSiamMSR, Supervised
from repro.core.profiles import base, profile
from repro.core.spec import Loading, Optimiser, Projector, RunSpec
from repro.core.sweep import Stopped
from repro.errors import ReproError
from repro.loader.loader import Order
from repro.ssl import methods, probing, ranks, train, trial
from repro.ssl.methods import VIEWS
from repro.ssl.step import Step, build
from repro.views.recipe import preset, repeat


def follow(port: int) -> None:
    join(1, port)
    os._exit(ranks.follow())


def join(rank: int, port: int) -> None:
    env = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(env)
    ranks.start()
    for name in env:
        del os.environ[name]


class Pair:
    def __init__(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["repro.ssl.train"])
        self.other = context.Process(target=follow, args=(port,), daemon=True)
        self.other.start()
        join(0, port)
        ranks._world = 1

    def __call__(self, function, *given, **named):
        ranks._world = 2
        try:
            if function not in (train.run, trial.parameters):  # which call the other themselves
                ranks.call(function, *given)
            return function(*given, **named)
        finally:
            ranks._world = 1


@pytest.fixture(scope="module")
def both():
    pair = Pair()
    yield pair
    pair.other.kill()
    ranks._rank = 0
    dist.destroy_process_group()


# --- the numbers of one process ---------------------------------------------------------------------------------------


def three_steps(spec: RunSpec, views: int) -> dict[str, list[torch.Tensor]]:
    """Losses, gradients, weights and buffers of three steps on made-up views in float64, an online probe beside them."""
    learner = build(spec, 16).double()
    step, online = Step(spec, learner), probing.Online(learner.features, 4, True, torch.device("cpu"))
    online.net.double()
    out = {"loss": [], "gradient": []}
    part = ranks.part(spec.batch_size)
    mine = slice(ranks.place() * part, (ranks.place() + 1) * part)
    for number in range(3):
        draw = torch.Generator().manual_seed(number)
        x = torch.rand(views, spec.batch_size, 3, 16, 16, generator=draw, dtype=torch.float64)
        labels = torch.randint(0, 4, (spec.batch_size,), generator=draw)
        loss, features = step(x[:, mine], labels[mine], number, 3)
        online.fit(ranks.gather(features, 1), ranks.gather(labels[mine]))
        out["loss"].append(loss)
        out["gradient"] += [p.grad.clone() for p in learner.trained()]
    out["weight"] = [*learner.parameters(), *online.net.parameters()]
    return out | {"buffer": [*learner.buffers(), *online.net.buffers()]}


def assert_same(one, two, tolerance=1e-10):
    assert len(one) == len(two) > 0
    for a, b in zip(one, two):
        assert torch.linalg.norm(a - b) <= tolerance * max(torch.linalg.norm(a), 1e-3)


def cases():
    made = {**METHODS, "msr": MSR, "simsiammsr": SimSiamMSR, "supervised": Supervised}
    for method in {m: None for m in made.values()}:
        counts = (4,) if method in methods.STAGED else (VIEWS[method],) if method in VIEWS else (2, 3, 4)
        for number, views in enumerate(counts):
            yield pytest.param(
                method(queue=64) if method is MoCo else method(),
                views,
                bool(number % 2),
                id=f"{method.__name__}-{views}",
            )
    yield pytest.param(SimCLR(), 2, True, id="joint")
    yield pytest.param(MoCo(queue=64), 2, True, id="MoCo-joint")


@pytest.mark.parametrize(("method", "views", "joint"), list(cases()))
def test_two_processes_take_the_steps_of_one(both, method, views, joint):
    spec = RunSpec(
        method=method, joint=joint, batch_size=8, projector=Projector(2, 16, 8), optimiser=Optimiser("lars", lr=1.0)
    )
    one, two = three_steps(spec, views), both(three_steps, spec, views)
    for a, b in zip(one["loss"], two["loss"]):
        assert abs(a - b) <= 1e-12 * max(1.0, abs(a))
    for name in ("gradient", "weight", "buffer"):
        assert_same([x.double() for x in one[name]], [x.double() for x in two[name]])


def raw_gradient(z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Barlow Twins as several libraries ship it: C summed behind autograd's back, gradients averaged over processes."""
    leaf = z.clone().requires_grad_()
    part = len(z[0]) // ranks.world()
    a, b = leaf[:, ranks.place() * part : (ranks.place() + 1) * part]
    c = a.T @ b / len(z[0])
    raw = c.detach().clone()
    if ranks.world() > 1:
        dist.all_reduce(raw)
    c = c + (raw - c.detach())
    loss = (c.diagonal() - 1).square().sum() + 0.005 * (c.square().sum() - c.diagonal().square().sum())
    loss.backward()
    if ranks.world() > 1:
        dist.all_reduce(leaf.grad)
        leaf.grad /= ranks.world()
    return loss.detach(), leaf.grad


def test_a_raw_sum_under_a_mean_has_half_the_gradient(both):
    """The error that `assert_same` must notice."""
    z = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (one_loss, one), (two_loss, two) = raw_gradient(z), both(raw_gradient, z)
    assert_same([one_loss], [two_loss])
    assert_same([one / 2], [two])
    with pytest.raises(AssertionError):
        assert_same([one], [two])


# --- whole runs -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loading", ["memory", "ours"])
def test_an_epoch_on_two_processes_has_the_curve_of_one(both, tiny, loading):
    spec = tiny(
        epochs=2, method=BarlowTwins(), recipe=repeat(preset("simclr-small"), 3), probes={"online": True, "every": 1}
    )
    spec = replace(spec, loading=Loading(loading, timed=False) if loading != "memory" else Loading())
    one, two = train.run(spec), both(train.run, spec)
    assert two.curves.keys() == one.curves.keys()
    np.testing.assert_allclose(two.curves["loss"], one.curves["loss"], rtol=1e-3)
    assert two.metrics["steps_done"] == one.metrics["steps_done"]
    assert abs(two.metrics["linear_test_class"] - one.metrics["linear_test_class"]) < 10
    assert (one.timing.get("world_size"), two.timing["world_size"]) == (None, 2)


class StopAt:
    """A tick that stops a run after a step, and knows the steps it saw."""

    def __init__(self, step: int, do=None):
        self.step, self.do, self.seen = step, do, []

    def __call__(self, step, steps, loss):
        self.seen.append(step)
        if step == self.step:
            if self.do:
                return self.do()
            raise Stopped


def test_a_run_goes_on_with_another_number_of_processes(both, tiny, tmp_path):
    spec = tiny(epochs=3, probes={"online": True, "pairs": 2}, method=MoCo(queue=128))
    whole = train.run(spec)
    with pytest.raises(Stopped):
        train.run(spec, tmp_path, StopAt(3))
    with pytest.raises(Stopped):
        both(train.run, spec, tmp_path, StopAt(7))
    last = StopAt(0)
    end = train.run(spec, tmp_path, last)
    assert last.seen == [8, 9, 10, 11, 12]
    np.testing.assert_allclose(end.curves["loss"], whole.curves["loss"], rtol=1e-3)
    assert end.curves["pair_step"] == whole.curves["pair_step"]


def tell(stop: bool) -> None:
    if ranks.rank():
        ranks._told.set() if stop else ranks._told.clear()


def test_a_stop_of_one_process_stops_both_at_one_step(both, tiny, tmp_path):
    both(tell, True)
    watch = StopAt(0)
    with pytest.raises(Stopped):
        both(train.run, tiny(), tmp_path, watch)
    both(tell, False)
    assert watch.seen == [1]
    both(train.run, tiny(), tmp_path, watch)
    assert watch.seen == [1, 2, 3, 4]


def test_a_batch_that_cannot_be_shared_is_a_sentence(monkeypatch, tiny):
    monkeypatch.setattr(ranks, "_world", 2)
    with pytest.raises(ReproError, match="A batch of 63 images cannot be shared equally by 2 processes"):
        train._fitting_batch(tiny(batch_size=63), "objects", 256)


@pytest.mark.parametrize(("count", "batch", "drop_last"), [(37, 8, False), (33, 8, False), (37, 8, True)])
def test_slices_of_batches_are_disjoint_and_whole(count, batch, drop_last):
    rest = {"seed": 1, "drop_last": drop_last, "indices": np.arange(100, 100 + count)}
    whole = Order(200, "", batch, **rest).batches(2)
    parts = [Order(200, "", batch, **rest, part=(i, 3)).batches(2) for i in range(3)]
    for number, wanted in enumerate(whole):
        found = [p[number] for p in parts if number < len(p)]
        assert np.concatenate(found).tolist() == wanted.tolist()
    read = [n for p in parts for s in p for n in s.tolist()]
    assert len(set(read)) == len(read) == (count // batch * batch if drop_last else count)


@pytest.mark.parametrize("name", ["imagenet", "imagenet100", "stl10"])
def test_a_dry_run_on_two_processes_reads_made_up_files(both, name):
    spec = base(profile("paper", data=name, backbone="resnet18"))
    assert spec.loading.name == "ours"
    spec = replace(spec, data=replace(spec.data, size=80))  # more than 64: the stem for photographs, which is cheap
    assert both(trial.parameters, spec) == trial.parameters(spec)


def test_a_step_exchanges_projections_and_gradients(both):
    spec = scale.spec_of("convnet", 8, "float32")
    parameters = sum(p.numel() for p in build(spec, 16).trained())
    norms = sum(2 * m.num_features for m in build(spec, 16).modules() if hasattr(m, "num_features"))
    seconds, exchanged = both(scale.steps, spec, 16, 2)
    assert exchanged["all_gather"] == 4 * 2 * 4 * spec.projector.dim  # bytes, views, images
    assert exchanged["all_reduce"] == 4 * (parameters + 2 * norms)  # forward and backward
    assert exchanged["calls"] == 1 + 1 + 4 * 4  # four batch norms
    assert scale.model(seconds, exchanged, 1, 100, 1e-5) == seconds
    more = [scale.model(seconds, exchanged, n, 100, 1e-5) for n in (1, 8, 64, 512)]
    assert more == sorted(more)
    ring = scale.model(0, {"calls": 0, "all_reduce": 1e9, "all_gather": 0}, 4, 8, 0)
    assert ring == pytest.approx(1.5)  # 2 x 3/4 of a gigabyte at a gigabyte a second


# --- the end of the other process: last in this file ------------------------------------------------------------------


def test_a_killed_process_is_a_sentence_and_nothing_is_lost(both, tiny, tmp_path):
    spec = tiny(epochs=2)
    whole = train.run(spec)
    began = time.monotonic()
    with pytest.raises(ReproError, match="A process of this run died"):
        both(train.run, spec, tmp_path, StopAt(3, do=both.other.kill), checkpoint_seconds=0)
    assert time.monotonic() - began < 60
    last = StopAt(0)
    end = train.run(spec, tmp_path, last)
    assert last.seen[0] in (4, 5)
    np.testing.assert_allclose(end.curves["loss"], whole.curves["loss"], rtol=1e-3)

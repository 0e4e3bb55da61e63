"""The engine: what a GPU's step may not do, tried on tensors without data; ways that change nothing; memory that is short."""

import contextlib
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from repro.core import sweep
from repro.core.methods import DECAYS
from repro.core.spec import Optimiser, key
from repro.errors import DoesNotFit, ReproError
from repro.loader import compiled
from repro.ssl import engine, feed, methods, networks, train
from repro.ssl.step import Step, build
from repro.views import batched, draw
from repro.views.recipe import Recipe, View, instance, preset

MSR_VIEWS = preset("msr")


class Watched(TorchDispatchMode):
    """Every operation that makes the host wait for a device: a value read from it, a copy from one to the other."""

    def __init__(self):
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, function, types, given=(), named=None):
        name, made = str(function), function(*given, **(named or {}))
        tensors = [t for t in (*given, made) if isinstance(t, torch.Tensor)]
        reads = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.unique")
        if name.startswith(reads) and given[0].is_cuda:  # AdamW counts its steps on the CPU
            self.waits.append(name)
        if name.startswith(("aten._to_copy", "aten.copy_")) and len({t.device.type for t in tensors}) > 1:
            self.waits.append(name)
        return made


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU, where tensors can pretend")
@pytest.mark.parametrize(
    ("method", "recipe", "optimiser"),
    [
        (methods.SimCLR(), preset("all"), "lars"),
        (methods.BarlowTwins(), preset("simclr-small"), "adamw"),
        (methods.BYOL(), preset("byol"), "sgd"),
        (methods.MoCo(), preset("simclr-small"), "sgd"),
        (methods.SimSiam(), preset("simclr-small"), "sgd"),
        (methods.MSR(), MSR_VIEWS, "lars"),
        (methods.InstanceSimCLR(), instance(4, 0.1, 16, True), "sgd"),
        (methods.VICRegMultiView(), Recipe("three", (View(jitter=1.0),) * 3), "adamw"),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, methods.Method) else "",
)
def test_no_step_on_a_gpu_waits_for_it(tiny, monkeypatch, method, recipe, optimiser):
    spec = tiny(method=method, recipe=recipe, optimiser=Optimiser(optimiser, weight_decay=1e-4), batch_size=8)

    def again(_):  # a tensor without data cannot be copied deeply
        net, features = networks.backbone(spec.backbone, 16)
        return nn.Sequential(net, networks.mlp(features, spec.projector))

    monkeypatch.setattr(methods, "copy", SimpleNamespace(deepcopy=again))
    draw._constant.cache_clear()
    draw._numbers.cache_clear()
    with FakeTensorMode(), Watched() as watched:
        with torch.device("cuda"):
            step = Step(spec, build(spec, 16))
            images, labels = torch.zeros((20, 3, 16, 16), dtype=torch.uint8), torch.zeros(20, dtype=torch.int64)
        total = torch.zeros((), device="cuda")
        for number, index, views in feed.batches(spec, images, 0, 5):
            if number == 1:
                watched.waits.clear()  # constants and the optimiser's state are made once
            loss, features = step.forward(views, labels[index], number / 5)
            for p in step.learner.trained():  # autograd wants a real device
                p.grad = torch.zeros_like(p)
            step.update(number, 5)
            total += loss
        assert features.is_cuda
        assert not watched.waits
        torch.tensor([1.0, 2.0], device="cuda")
        assert watched.waits, "the watch itself is awake"
    draw._constant.cache_clear()
    draw._numbers.cache_clear()


# --- memory -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def small_memory(monkeypatch):
    """small_memory(n): from here on a step on more than n images, all views counted once, finds no memory."""
    loss = methods.loss

    def limit(images: int) -> None:
        def stingy(learner, views, *rest, **named):
            if views.shape[1] > images:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
            return loss(learner, views, *rest, **named)

        monkeypatch.setattr(methods, "loss", stingy)

    return limit


def test_a_batch_that_does_not_fit_names_one_that_does(tiny, small_memory):
    small_memory(20)
    with pytest.raises(DoesNotFit) as said:
        train.run(tiny(batch_size=64))
    assert str(said.value) == (
        "SimCLR with convnet at 16 px does not fit into memory with a batch of 64; a batch of 16 does."
    )
    assert train.run(tiny(batch_size=16, steps=2)).metrics["diverged"] == 0


def test_where_no_batch_fits_or_others_hold_the_memory_it_says_so(tiny, small_memory, monkeypatch):
    small_memory(1)
    with pytest.raises(DoesNotFit, match="nor does one of 2: choose a smaller backbone"):
        train.run(tiny(batch_size=64))
    small_memory(64)
    monkeypatch.setattr(train, "_run", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("full")))
    with pytest.raises(DoesNotFit, match=r"a step of its batch of 64 fits alone.*fewer --workers"):
        train.run(tiny(batch_size=64))
    with pytest.raises(DoesNotFit, match=r"Untrained with convnet at 16 px ran out of memory: free the device"):
        train.run(tiny(method=methods.Untrained()))


def test_what_does_not_fit_stops_no_other_run(tiny, store, small_memory):
    small_memory(32)
    specs = [tiny(batch_size=b, steps=2) for b in (64, 32, 128, 16)]
    with pytest.raises(DoesNotFit) as said:
        sweep.measure(specs, store, 1, quiet=True)
    assert [s for s in specs if key(s) in store] == [specs[1], specs[3]]
    assert [f"a batch of {b};" in str(said.value) for b in (64, 128)] == [True, True]
    terms = sweep._Terms(str(store.root), float("inf"), 1e9, "")
    given_up, left = bytearray(4), {key(s): s for s in specs}
    told = [e for e in sweep._walk(left, terms, given_up, lambda: False) if isinstance(e, DoesNotFit)]
    assert (len(told), list(given_up)) == (2, [1, 0, 1, 0]), "each is tried once,"
    assert len(list(sweep._walk(left, terms, given_up, lambda: False))) == 2, "whoever else walks the list"
    small_memory(128)
    assert len(sweep.measure(specs, store, 1, quiet=True)) == 4, "what was missing is made when there is room"


def test_the_command_line_goes_on_with_the_next_notebook(tmp_path, monkeypatch, capsys):
    from repro import cli

    asked = []

    def measure(specs, where, *_, **__):
        asked.append(len(specs))
        raise DoesNotFit("A batch of 9 does not fit.")

    monkeypatch.setattr(sweep, "measure", measure)
    command = f"measure batch_size augmentations --profile smoke --store {tmp_path}"
    assert cli.main(command.split()) == 2
    end = capsys.readouterr()
    assert len(asked) == 2
    assert end.err.splitlines()[-1] == "repro: A batch of 9 does not fit."
    assert "0 of" in end.out


def test_running_draws_the_notebooks_that_fit(tmp_path, monkeypatch, capsys):
    import repro.pages.gallery  # noqa: F401  here, since a thread of the command does not know what pytest lets pass
    from repro import cli
    from repro.pages import execute

    drawn, asked = [], []

    def measure(specs, *_, **__):
        asked.append(len(specs))
        if len(asked) != 2:
            raise DoesNotFit("A batch of 9 does not fit.")
        return list({key(s): s for s in specs})

    monkeypatch.setenv("REPRO_FIGURES", str(tmp_path))
    monkeypatch.setattr(sweep, "measure", measure)
    monkeypatch.setattr(execute, "execute", lambda jobs, *_, **__: drawn.extend(slug for slug, _ in jobs) or {})
    monkeypatch.setattr(cli, "_build_gallery", lambda *given: "index.html")
    command = "run batch_size augmentations --profile quick"
    assert cli.main(command.split()) == 2
    assert drawn == ["augmentations"]
    assert capsys.readouterr().err.splitlines()[-1] == "repro: A batch of 9 does not fit."
    assert cli.main(["run", "batch_size", "--profile", "quick"]) == 2
    assert drawn == ["augmentations"]


# --- ways -------------------------------------------------------------------------------------------------------------


def test_a_cpu_knows_no_ways_and_a_misspelled_one_is_told(monkeypatch):
    monkeypatch.setenv("REPRO_ENGINE", "views, graph,compile")
    assert engine.ways(torch.device("cpu")) == ()
    assert engine.ways(torch.device("cuda")) == engine.WAYS
    monkeypatch.setenv("REPRO_ENGINE", "graphs")
    with pytest.raises(ReproError, match=r"\$REPRO_ENGINE names 'graphs': choose from views, graph, compile"):
        engine.ways(torch.device("cpu"))


def test_what_cannot_be_compiled_runs_as_it_is_written(monkeypatch, capsys):
    def broken(function, **_):
        def call(*_):
            raise RuntimeError("no compiler\nand a long story")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    double = engine.compiled(lambda x: 2 * x)
    assert [double(3), double(4)] == [6, 8]
    assert capsys.readouterr().err.count("cannot be compiled here (no compiler) and runs as it is written") == 1


@pytest.mark.parametrize("works", [True, False])
def test_a_capture_is_replayed_with_new_inputs_or_left_out(monkeypatch, capsys, works):
    """On stand-ins for CUDA's streams and graphs: a graph that, replayed, does its work again in the same memory."""
    events = []

    class Graph:
        def replay(self):
            events.append("replay")
            captured.made[0].copy_(2 * captured.given[0])

    @contextlib.contextmanager
    def capture(graph, **_):
        events.append("capture")
        if not works:
            raise RuntimeError("operation not permitted when stream is capturing")
        yield

    stream = SimpleNamespace(wait_stream=lambda other: None)
    for name, stand_in in {
        "Stream": lambda: stream, "current_stream": lambda: stream, "CUDAGraph": Graph, "graph": capture,
        "stream": lambda s: contextlib.nullcontext(),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(engine, "_side_stream", lambda: stream)
    captured = engine.Captured(lambda x: (2 * x,))
    found = [captured(torch.full((2,), float(i)))[0].tolist() for i in range(6)]
    assert found == [[2.0 * i] * 2 for i in range(6)]
    assert events == (["capture"] + ["replay"] * 3 if works else ["capture"])
    assert ("cannot be captured" in capsys.readouterr().err) != works
    assert captured(torch.ones(3))[0].tolist() == [2.0] * 3, "of another shape"
    assert [captured(torch.full((3,), float(i)))[0].tolist() for i in range(4)] == [[2.0 * i] * 3 for i in range(4)]
    assert events.count("capture") == (2 if works else 1)


def test_a_tensor_of_progress_gives_the_same_beta():
    for decay in DECAYS:
        for progress in (0.0, 0.3, 1.0):
            by_number = methods.beta_at(methods.MSR(0.4, decay), progress)
            assert float(methods.beta_at(methods.MSR(0.4, decay), torch.tensor(progress))) == pytest.approx(by_number)


def test_chunks_on_a_gpu_are_of_one_shape_and_hold_the_same_views(tiny, monkeypatch):
    """Made on the CPU by tensors that say they lie on a GPU."""
    monkeypatch.setattr(feed, "GPU_CHUNK", 3 * 8 * 2 * 16 * 16)  # three batches of 8
    spec, shapes = tiny(batch_size=8), []
    pixels = torch.randint(0, 256, (45, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))

    def make(images, *rest, **named):
        shapes.append(len(images))
        return compiled.make(images.as_subclass(torch.Tensor), *rest)

    class OnGPU(torch.Tensor):
        is_cuda = True

    monkeypatch.setattr(batched, "make", make)
    plain = list(feed.batches(spec, pixels, 0, 12))
    found = list(feed.batches(spec, pixels.as_subclass(OnGPU), 0, 12))
    assert shapes == [24] * 5, "two whole chunks an epoch, of which the second reaches back"
    for (_, index, views), (_, same, theirs) in zip(plain, found, strict=True):
        assert torch.equal(index, same)
        assert torch.equal(views, theirs)

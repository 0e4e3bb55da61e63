"""What only a GPU can show: the same numbers as the CPU's, nothing that waits in the loop, ways that change nothing."""

import os
from dataclasses import replace

import pytest
import torch
from test_views import pictures, same

from repro import data
from repro.core import sweep
from repro.core.profiles import base, profile
from repro.core.spec import DataSpec
from repro.errors import DoesNotFit
from repro.ssl import engine, feed, methods, train
from repro.views import batched
from repro.views.recipe import _presets, preset

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and there is none here"),
]


@pytest.fixture
def few(tiny, monkeypatch):
    """few(epochs, ways, ...): the loss after each of some epochs of a tiny run on images of 16 px, four steps each."""

    def curve(epochs: int, ways: str = "", **changes) -> list[float]:
        monkeypatch.setenv("REPRO_ENGINE", ways)
        return train.run(gentle(tiny(epochs=epochs, **changes))).curves["loss"]

    return curve


def gentle(spec):
    """At a tenth of the rate, at which a run amplifies rounding by less than these tests allow."""
    return replace(spec, optimiser=replace(spec.optimiser, lr=spec.optimiser.lr / 10))


def on_cpu(spec):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "is_available", lambda: False)
        return train.run(spec)


@pytest.mark.parametrize("name", _presets())
def test_views_are_the_same_pictures_on_both_devices(name):
    images, recipe, index = pictures(64, 32, 32), preset(name), torch.arange(64)
    wanted = batched.make(images, recipe, 4, 9, index)
    found = batched.make(images.cuda(), recipe, 4, 9, index.cuda())
    same(found.cpu(), wanted, recipe)


@pytest.mark.parametrize("name", ["simclr-small", "all", "msr"])
def test_compiled_colours_are_the_same_pictures(name, capsys):
    images, recipe, index = pictures(64, 32, 32).cuda(), preset(name), torch.arange(64).cuda()
    colours = engine.compiled(batched.appearance)
    for epoch in range(2):
        wanted = batched.make(images, recipe, 4, epoch, index)
        found = batched.make(images, recipe, 4, epoch, index, colours=colours)
        same(found.cpu(), wanted.cpu(), recipe)
    assert "cannot be compiled" not in capsys.readouterr().err


@pytest.mark.parametrize("backbone", ["convnet", "resnet18"])
def test_twenty_steps_have_the_losses_of_a_cpu(tiny, backbone):
    """An epoch is one step, so that the curve has every step's loss."""
    spec = tiny(backbone=backbone, epochs=20, batch_size=64)
    spec = replace(spec, data=replace(spec.data, options=(("images", 64),)))
    # a rate at which the run itself does not amplify rounding: at 0.4, weights changed by 1e-7 change its losses by 5e-3
    spec = replace(spec, optimiser=replace(spec.optimiser, lr=0.04), probes=replace(spec.probes, linear=False))
    torch.set_num_threads(8)
    try:
        wanted = on_cpu(spec).curves["loss"]
    finally:
        torch.set_num_threads(1)
    found = train.run(spec).curves["loss"]
    assert len(found) == 20
    assert max(abs(a - b) for a, b in zip(found, wanted)) < 1e-3


def test_bfloat16_is_probed_within_a_point_of_float32(monkeypatch):
    monkeypatch.setenv("REPRO_DATA", os.environ["REPRO_DATA_OF_USER"])
    try:
        data.load("cifar10", 32)
    except Exception as e:
        pytest.skip(f"no CIFAR-10 here ({e})")
    spec = base(profile("gpu"), epochs=2)  # float32 is slow there
    scores = {}
    for precision in ("float32", "bfloat16"):
        runs = [train.run(replace(spec, precision=precision, seed=seed)) for seed in (0, 1)]
        scores[precision] = sum(r.metrics["linear_test_class"] for r in runs) / 2
    assert abs(scores["float32"] - scores["bfloat16"]) < 1, scores


SETS = {
    "SimCLR": (methods.SimCLR(), "all"),
    "BYOL": (methods.BYOL(), "byol"),
    "MSR": (methods.MSR(), "msr"),
    "MoCo": (methods.MoCo(queue=256), "simclr-small"),
    "VICReg": (methods.VICReg(), "simclr-small"),
}


@pytest.mark.parametrize("ways", ["", "graph", "views,graph"])
@pytest.mark.parametrize("name", SETS)
def test_nothing_in_the_loop_waits_for_the_device(tiny, monkeypatch, name, ways):
    method, recipe = SETS[name]
    monkeypatch.setenv("REPRO_ENGINE", ways)
    monkeypatch.setattr(feed, "GPU_CHUNK", 3 * 8 * len(preset(recipe).views) * 16 * 16)  # a chunk every three steps
    spec = tiny(method=method, recipe=preset(recipe), batch_size=8, epochs=1, probes={"online": True})  # 32 steps

    def tick(step: int, steps: int, loss: float) -> None:
        torch.cuda.set_sync_debug_mode("error" if 8 <= step < 30 else "default")

    try:
        result = train.run(spec, tick=tick)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert result.metrics["steps_done"] == 32


@pytest.mark.parametrize("name", SETS)
def test_a_captured_step_has_the_numbers_of_one_as_it_is_written(few, name, capsys):
    method, recipe = SETS[name]
    changes = {"method": method, "recipe": preset(recipe), "probes": {"online": True}}
    wanted, found = few(6, **changes), few(6, "graph", **changes)
    assert found == pytest.approx(wanted, abs=2e-3)
    assert "cannot be captured" not in capsys.readouterr().err


def test_a_compiled_step_has_about_the_numbers_of_one_as_it_is_written(few, capsys):
    changes = {"backbone": "resnet18", "precision": "bfloat16"}
    assert few(4, "views,graph,compile", **changes) == pytest.approx(few(4, **changes), rel=0.02)
    assert "cannot be" not in capsys.readouterr().err


@pytest.mark.parametrize("ways", ["", "graph"])
def test_a_stopped_run_goes_on_without_waiting(tiny, monkeypatch, tmp_path, ways):
    monkeypatch.setenv("REPRO_ENGINE", ways)
    spec = gentle(tiny(epochs=6, probes={"online": True}))
    wanted = train.run(spec)

    def stop(step, *_):
        if step == 10:
            raise sweep.Stopped

    with pytest.raises(sweep.Stopped):
        train.run(spec, tmp_path, stop)

    def tick(step: int, *_) -> None:
        torch.cuda.set_sync_debug_mode("error" if step in (17, 18) else "default")

    try:
        found = train.run(spec, tmp_path, tick)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert found.curves["loss"] == pytest.approx(wanted.curves["loss"], abs=2e-3)


def test_memory_that_is_short_is_one_sentence():
    spec = replace(base(profile("gpu")), data=DataSpec("objects", 32), batch_size=2048, epochs=1)
    spec = replace(spec, probes=replace(spec.probes, tasks=("class",)))
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2e9 / torch.cuda.get_device_properties(0).total_memory)
    try:
        with pytest.raises(DoesNotFit, match=r"does not fit into memory with a batch of 2048; a batch of \d+ does\."):
            train.run(spec)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_workers_share_a_gpu(tiny, store):
    specs = [tiny(seed=seed, epochs=2) for seed in range(4)]
    records = sweep.measure(specs, store, workers=2, quiet=True)
    assert [r.provenance["device"] for r in records] == ["cuda"] * 4
    alone = train.run(specs[0])
    assert records[0].curves["loss"] == pytest.approx(alone.curves["loss"], abs=2e-3)

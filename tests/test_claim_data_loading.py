"""Claim A1: training from files through either loader, at a resolution that grows, and the verdict on its time."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from studies import made_up

from repro import figures, stats
from repro.claims import data_loading
from repro.core.profiles import base, profile
from repro.core.spec import DataSpec, Loading, RunSpec, key
from repro.data import disk, objects
from repro.errors import ReproError
from repro.pages import notebook
from repro.ssl import feed, train

SMALL = DataSpec("objects", 16, options=(("images", 96),))


@pytest.fixture(autouse=True, scope="module")
def elsewhere(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk.places, "root", lambda: root)
        yield


def spec(loading: Loading, **changes) -> RunSpec:
    return replace(base(profile("smoke")), data=SMALL, batch_size=32, epochs=3, loading=loading, **changes)


def fed(run: RunSpec, split: disk.data.Split, steps: int, chosen: torch.Tensor | None = None):
    chosen = torch.arange(len(split.images)) if chosen is None else chosen
    return feed.batches_from_files(run, split, chosen, torch.device("cpu"), 0, steps)


# --- training from files ----------------------------------------------------------------------------------------------


def test_files_hold_the_training_images():
    file = disk.beton_of("objects", 24, SMALL.options)
    assert file == disk.beton_of("objects", 24, SMALL.options)
    assert file != disk.beton_of("objects", 32, SMALL.options)
    files = disk.unpacked(file)
    content = disk.beton.read(file)
    assert len(files) == 96
    for i in (0, 95):
        assert files[i].read_bytes() == content.data[content.offsets[i] :][: content.lengths[i]].tobytes()
    assert (content.widths == 24).all()
    labels = objects.render(96, 24, 0)[1]
    assert all((content.labels[task] == labels[task]).all() for task in labels)


def test_both_loaders_feed_the_run_that_memory_feeds_but_for_rounding():
    split = disk.data.load("objects", 16, SMALL.options).train
    kept = list(feed.batches(spec(Loading()), split.images, 0, 5))
    for name in ("ours", "torchvision"):
        found = list(fed(spec(Loading(name)), split, 5))
        assert [step for step, _, _ in found] == list(range(5))
        for (_, index, views), (_, wanted, same) in zip(found, kept, strict=True):
            assert torch.equal(index, wanted)
            assert views.shape == same.shape
            assert (views - same).abs().mean() < 0.03  # JPEG's loss


def test_a_part_of_the_data_keeps_its_labels():
    half = spec(Loading("ours"), steps=1)
    half = replace(half, data=replace(SMALL, fraction=0.5), batch_size=16)
    split = disk.data.load("objects", 16, SMALL.options).train
    chosen = disk.data.subset(split, 0.5, 0)
    whole = replace(half.recipe.views[0], crop=(1, 1), flip=0.0, jitter=0.0, gray=0.0)
    half = replace(half, recipe=replace(half.recipe, views=(whole,)))
    ((_, index, views),) = fed(half, split, 1, chosen)
    distance = (views[0][:, None] * 255 - split.images[chosen]).abs().mean((2, 3, 4))
    assert torch.equal(distance.argmin(1), index)


def test_a_growing_resolution_grows():
    grows = spec(Loading("ours", ramp=(8, 0, 2)))
    split = disk.data.load("objects", 16, SMALL.options).train
    sizes = [v.shape[-1] for _, _, v in fed(grows, split, 9)]
    assert sizes == [8] * 3 + [16 if round(12 / 8) == 2 else 8] * 3 + [16] * 3
    assert disk.growing(224, (160, 70, 85))(70) == 160
    assert disk.growing(224, ()) == 224


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path):
    class Stop(Exception):
        pass

    def stop(step, *_):
        if step == 5:  # in the middle of the second epoch
            raise Stop

    run = spec(Loading("ours", 24, (8, 1, 2)))
    whole = train.run(run)
    with pytest.raises(Stop):
        train.run(run, tmp_path, stop)
    again = train.run(run, tmp_path)
    assert again.metrics == whole.metrics
    assert again.curves == whole.curves


def test_loading_that_cannot_be():
    with pytest.raises(ReproError, match="name 'disk'"):
        Loading("disk")
    with pytest.raises(ReproError, match="needs loading from files"):
        Loading(ramp=(8, 0, 1))
    with pytest.raises(ReproError, match="Only our loader has a fast mode"):
        Loading("torchvision", fast=True)
    assert spec(Loading("ours")).timed
    assert not spec(Loading()).timed
    assert key(RunSpec()) == key(RunSpec(loading=Loading()))


# --- the claim --------------------------------------------------------------------------------------------------------


def test_the_plan_changes_nothing_but_the_loading():
    for name in ("smoke", "quick", "cpu", "gpu", "paper"):
        p = profile(name)
        runs = [s for s in data_loading.plan_training(p) if s.timed]
        assert len(runs) == 3 * p.seeds + 1  # the fast mode is shown by one run
        assert len({key(replace(s, loading=Loading(), seed=0)) for s in runs}) == 1
    assert runs[2].loading.ramp == (160, 70, 85)
    quick = [s for s in data_loading.plan_training(profile("quick")) if s.timed]
    assert quick[2].loading.ramp[0] == 24


def test_photographs_without_classes_are_loaded_and_not_trained_on(tmp_path):
    assert {s.data.name for s in data_loading.plan_training(profile("quick", data=str(tmp_path)))} == {"objects"}
    for name in "ab":
        (tmp_path / name).mkdir()
    assert {s.data.name for s in data_loading.plan_training(profile("quick", data=str(tmp_path)))} == {str(tmp_path)}


def test_the_fast_mode_says_how_far_it_is():
    table = data_loading.fast_mode()
    assert table.loc["jitter without hue", "mean"] < 3
    assert table.loc["crops", "mean"] < table.loc["jitter", "mean"] < 8


STUDY = notebook.study("data_loading", profile="quick")
CLAIM = notebook.find(STUDY, "A1")
WAYS = ("torchvision", "ours", "ours, growing", "ours, fast")


def frame(seconds=(20.0, 8.0, 6.0, 7.5), accuracy=(50.0, 50.1, 49.9, 50.0), noise: float = 0.1) -> pd.DataFrame:
    """Made-up runs of the quick plan: seconds and accuracy of the ways to load."""
    labels, rng = CLAIM.plan(STUDY.profile).labels, np.random.default_rng(0)

    def read(spec, task):
        return accuracy[WAYS.index(labels[key(spec)]["way"])]

    def more(spec):
        if not spec.timed:
            return {}, {}, {"train_seconds": 0.0, "epoch_seconds": [0.0] * 6}
        way = WAYS.index(labels[key(spec)]["way"])
        t, a = seconds[way] * rng.uniform(0.98, 1.02), accuracy[way]
        curves = {"probe_epoch": [2, 4, 6], "linear_val_class": [a - 9, a - 3, a]}
        return {}, curves, {"train_seconds": t, "epoch_seconds": [t * e / 6 for e in range(1, 7)]}

    return made_up(CLAIM, STUDY, read, more, noise=noise, floors=(16.0, 18.0))


def test_the_ways_take_turns():
    runs = [s for s in CLAIM.plan(STUDY.profile) if s.timed]
    assert [s.seed for s in runs] == [0, *(seed for seed in range(5) for _ in list(WAYS)[1:])]


def test_faster_and_as_good_is_reproduced():
    found = CLAIM.judge(frame())
    assert found.verdict == stats.REPRODUCED
    assert found.effect == pytest.approx(2.5, rel=0.05)
    assert found.seeds == 5
    assert [p.paper for p in found.parts] == [2.67, None, None, None]
    assert any(f"take {k}% of our time" in found.finding for k in range(72, 79))
    assert len(found.finding.split()) <= 20


@pytest.mark.parametrize(
    ("changes", "parts", "word"),
    [
        ({"seconds": (11.0, 8.0, 6.0, 7.0)}, ["contradicted", *["supported"] * 3], stats.MIXED),  # faster, but too little
        ({"seconds": (20.0, 8.0, 7.6, 7.0)}, ["supported", "supported", "too small", "supported"], stats.MIXED),
        ({"accuracy": (50.0, 50.0, 45.0, 50.0)}, [*["supported"] * 3, "contradicted"], stats.MIXED),
        ({"noise": 2.0}, ["supported", "inconclusive", "supported", "inconclusive"], stats.INCONCLUSIVE),
        ({"seconds": (8.0, 8.0, 8.5, 7.0), "accuracy": (50.0, 40.0, 30.0, 40.0)}, ["contradicted"] * 4, stats.CONTRADICTED),
    ],
)  # fmt: skip
def test_other_verdicts(changes, parts, word):
    found = CLAIM.judge(frame(**changes))
    assert [p.word for p in found.parts] == parts
    assert found.verdict == word


def test_runs_at_the_floors_are_not_judged():
    assert CLAIM.judge(frame(accuracy=(20.0, 20.0, 20.0, 20.0))).verdict == stats.NOT_JUDGED
    low = CLAIM.judge(frame(accuracy=(50.0, 50.0, 50.0, 20.0)))
    assert low.verdict == stats.NOT_JUDGED
    assert "ours, fast" in low.sentence


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_and_its_numbers(theme):
    with figures.theme(theme):
        drawing = CLAIM.draw(frame())
        drawing.figure.canvas.draw()
    assert set(drawing.table["way"]) == set(WAYS)
    assert len(drawing.table) == 16
    assert "torchvision: 50.0 % after 20.1 s" in drawing.alt

"""Probes beyond the plain one, the cost of a plan on the paper's hardware, and its dry run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from repro import data, figures
from repro.claims import ledger, registry
from repro.core import sweep
from repro.core.methods import BYOL, SimCLR, SimSiam, Untrained
from repro.core.profiles import base, profile
from repro.core.spec import Projector, data_names, key, to_dict
from repro.core.store import frame
from repro.pages import notebook
from repro.ssl import probes, probing, train
from repro.ssl.step import build
from repro.theory import ToySpec
from repro.views.recipe import preset


@pytest.fixture(scope="module")
def probed(tiny):
    """A run with every further probe, and the same without."""
    more = {"passes": 5, "choices": True, "depths": True, "online": True, "online_norm": True}
    spec = tiny(projector=Projector(3, 32, 16))
    return train.run(replace(spec, probes=replace(spec.probes, **more))), train.run(spec)


def test_further_probes_leave_the_run_alone(probed):
    more, plain = probed
    assert {k: v for k, v in more.metrics.items() if k in plain.metrics} == plain.metrics
    assert more.curves["loss"] == plain.curves["loss"]
    names = {k.removesuffix("_test_class") for k in more.metrics if k.endswith("_test_class")}
    layers = {"layer1", "layer2", "layer3"}
    assert names == {"linear", "linear_pass", "mlp_pass", "trainmode", "cropped", "online"} | layers
    assert len(more.curves["mlp_pass_val_class"]) == 5
    assert more.metrics["mlp_pass_val_class"] == max(more.curves["mlp_pass_val_class"])
    assert more.metrics["mlp_pass_val_last_class"] == more.curves["mlp_pass_val_class"][-1]


def test_a_backbone_is_probed_on_another_set_as_by_hand(tiny):
    """Its images at the run's size and normalised as the run's own; only the last reading has it."""
    spec = tiny(epochs=1)
    more = replace(spec, probes=replace(spec.probes, transfer=("digits", "objects"), every=1))
    plain, found = train.run(spec), train.run(more)
    assert {k: v for k, v in found.metrics.items() if k in plain.metrics} == plain.metrics
    dataset, other, learner = data.load("objects", 16, spec.data.options), data.load("digits", 16), build(more, 16)
    assert "linear_test_digits" not in probing.read(more, learner, dataset, ("class",), final=False)
    read = probing.read(more, learner, dataset, ("class",), final=True)
    splits = (probing.labelled(other.train, spec.probes.labels), other.val, other.test)
    h = [probing.features_of(learner.backbone, s.images, dataset.mean, dataset.std) for s in splits]
    scores = probes.linear(probes.standardise(*h), [s.labels["digit"] for s in splits], 10, spec.probes.converged)
    assert {s: read[f"linear_{s}_digits"] for s in ("val", "test")} == scores
    assert {"linear_test_objects_hue", "linear_val_objects_ground"} <= found.metrics.keys()
    assert found.curves.keys() - plain.curves.keys() == {"probe_epoch", "linear_val_class"}


def test_other_sets_are_named_wherever_data_are(tiny, store):
    spec = tiny(epochs=1, probes={"transfer": ("digits",)})
    assert data_names(spec) == ["objects", "digits"]
    (record,) = sweep.measure([spec], store, quiet=True)
    assert record.provenance["probed_on"] == "scikit-learn digits (stand-in)"
    caption = figures.caption(frame([record]), "smoke")
    assert caption.startswith(
        "Data: made-up objects (stand-in); probed on scikit-learn digits (stand-in), too, convnet; "
    )


def test_a_layer_is_probed_where_the_next_one_reads_it(tiny):
    """Behind batch norm and ReLU, by hand: forward as far as that and fit."""
    spec = tiny(projector=Projector(2, 24, 12), method=SimSiam())
    dataset = data.load(spec.data.name, spec.data.size, spec.data.options)
    learner = build(spec, 16).eval()
    depths = replace(spec, probes=replace(spec.probes, depths=True))
    found = probing.read(depths, learner, dataset, ("class",), final=True)
    splits = (probing.labelled(dataset.train, 512), dataset.val, dataset.test)
    h = [probing.features_of(learner.backbone, s.images, dataset.mean, dataset.std) for s in splits]
    with torch.no_grad():
        first = probes.standardise(*[learner.projector[:3](x) for x in h])
        last = probes.standardise(*[learner.projector(x) for x in h])
    labels = [s.labels["class"] for s in splits]
    for number, given in ((1, first), (2, last)):
        scores = probes.linear(given, labels, dataset.tasks["class"])
        assert {s: found[f"layer{number}_{s}_class"] for s in ("val", "test")} == scores
    bare = replace(depths, projector=Projector(0, 24, 12), method=SimCLR())
    assert not [name for name in probing.read(bare, build(bare, 16), dataset, ("class",), True) if "layer" in name]


def test_labelled_images_are_redrawn_for_every_seed_and_balanced(tiny):
    dataset = data.load("objects", 16, (("images", 400),))
    train_, every = dataset.train, dataset.train.labels["class"]
    parts = [probing.labelled(train_, 100, seed) for seed in (None, None, 0, 0, 1)]
    number = {tuple(image.flatten().tolist()): i for i, image in enumerate(train_.images)}
    chosen = [{number[tuple(image.flatten().tolist())] for image in p.images} for p in parts]
    assert chosen[0] == chosen[1]
    assert chosen[2] == chosen[3]
    for a, b in ((0, 2), (0, 4), (2, 4)):  # by chance a quarter is in both
        assert len(chosen[a] & chosen[b]) < 50
    assert len(chosen[4] & set(data.subset(train_, 0.25, 1).tolist())) < 50  # those that a run of a quarter trains on
    for part in parts:
        counts = part.labels["class"].bincount()
        assert (counts - every.bincount() / 4).abs().max() <= 0.5
    assert probing.labelled(train_, 0, 1) is train_


@pytest.mark.parametrize("name", ["converged", "redrawn"])
def test_a_protocol_changes_what_is_read_alone(tiny, name):
    """The run itself, and by default everything, stays as it was."""
    spec = tiny(seed=1)
    spec = replace(spec, probes=replace(spec.probes, labels=64, mlp=True, **{name: False}))
    other = replace(spec, probes=replace(spec.probes, **{name: True}))
    assert name not in to_dict(spec, defaults=False)["probes"]  # so that its key is as before
    assert key(other) != key(spec)
    one, two = train.run(spec), train.run(other)
    assert one.curves["loss"] == two.curves["loss"]
    assert set(one.metrics) == set(two.metrics)
    changed = {k for k in one.metrics if one.metrics[k] != two.metrics[k]}
    assert any(k.startswith("linear") for k in changed)
    assert any(k.startswith("mlp") for k in changed) is (name == "redrawn")


def test_pass_by_pass_follows_the_features():
    """A linear probe learns what is linear in the features, and does not touch the global random numbers."""
    x = torch.randn(600, 8, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0).long()
    before = torch.get_rng_state()
    split = [x[:300], x[300:450], x[450:]], [y[:300], y[300:450], y[450:]]
    scores, curve = probes.by_pass(*split, 2, seed=0, passes=30, hidden=0, rate=1e-2)
    assert scores["test"] > 85
    assert len(curve) == 30
    assert scores["val"] == max(curve)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_two_branches_differ_as_in_the_authors_code():
    for name in ("ffcv-ssl", "ffcv-ssl-small"):
        one, two = preset(name).views
        assert (one.blur, one.solarize, two.blur, two.solarize) == (1.0, 0.0, 0.0, 0.2)
        assert replace(one, blur=0, kernel=0) == replace(two, solarize=0)


# ------------------------------------------------------------------------------------------------------------- costs


def test_hours_scale_with_what_is_done():
    standard = base(profile("paper"))
    said = registry.numbers("A1")["hours"]
    assert ledger.hours(standard) == (said["one_gpu"], said["eight_gpus"])
    assert ledger.hours(replace(standard, epochs=50))[0] == said["one_gpu"] / 2
    assert ledger.hours(replace(standard, method=BYOL()))[0] == pytest.approx(said["one_gpu"] * 4 / 3)
    assert ledger.hours(replace(standard, data=replace(standard.data, fraction=0.5)))[0] == said["one_gpu"] / 2
    assert ledger.hours(replace(standard, method=Untrained())) == (0, 0)
    assert {which: ledger.count(*which) for which in ledger.FORWARD} == ledger.FORWARD
    assert 0.3 < ledger.hours(replace(standard, backbone="resnet18"))[0] / said["one_gpu"] < 0.6  # 1.8 of 4.1 GFLOP
    assert (
        ledger.total([standard, standard])
        == f"{2 * said['one_gpu']} h on one A100 or {2 * said['eight_gpus']} h on eight"
    )


def test_an_outline_has_runs_hours_and_disk_and_says_what_nobody_checked():
    standard = base(profile("paper"))
    one, two = (ledger.outline([replace(standard, seed=s) for s in range(4)], n, g) for n, g in ((1, 1), (8, 2)))
    assert one.startswith("4 runs, 140 h on one A100, 140 h on 1 x 1, 0.3 GB of checkpoints; not checked: ImageNet-1k")
    assert ", 18 h on 8 x 2, 1.0 GB of checkpoints" in two  # no faster than its longest run
    assert ledger.outline([ToySpec()], 8) == "1 runs; not checked: nothing"


def test_costs_begin_with_what_the_readers_own_parameters_plan(capsys):
    study = notebook.study("evaluation_protocol", seeds=1)
    notebook.costs(study)
    mine, smoke = capsys.readouterr().out.splitlines()[:2]
    planned = len({key(s) for c in study.claims for s in study.plan(c)})
    assert mine == f"smoke with these parameters: {planned} runs"
    assert smoke.startswith("smoke: ")
    assert smoke != f"smoke: {planned} runs"
    notebook.costs(notebook.study("batch_size", "quick", seeds=5))  # as many as the profile's, but of every claim
    mine, _, quick = (line.split(": ")[1].split()[0] for line in capsys.readouterr().out.splitlines()[:3])
    assert int(mine) > int(quick) == len(notebook.study("batch_size", "quick").specs)
    notebook.costs(notebook.study("evaluation_protocol"))
    assert "with these" not in capsys.readouterr().out
    notebook.costs(notebook.study("feature_learning_2d", seeds=1))
    assert capsys.readouterr().out.splitlines()[-1].endswith("runs, estimated to need no GPU")


def test_lines_name_what_differs_once():
    standard = base(profile("paper"))
    specs = [replace(standard, seed=s, method=SimCLR(t)) for t in (0.1, 0.5) for s in range(3)]
    lines = ledger.lines([*specs, *specs, replace(standard, method=Untrained())])
    assert [line.partition(":")[0] for line in lines[:2]] == ["SimCLR, temperature 0.1", "SimCLR, temperature 0.5"]
    assert all("3 seeds, each about 35.0 h on one A100, 8.0 h on eight" in line for line in lines[:2])
    assert "210 h on one A100 or 48 h on eight" in lines[2]
    assert len(lines) == 3


def test_a_dry_run_feeds_each_kind_through_its_loader_once(tiny):
    specs = [tiny(seed=s, method=m) for m in (SimCLR(), SimCLR(0.5), BYOL()) for s in (0, 1)]
    specs += [tiny(recipe=preset("ffcv-ssl-small")), tiny(method=Untrained())]
    said = [*ledger.lines(specs), *sweep.dry_run(specs)]
    assert said[-1] == f"{len(specs)} runs of 4 kinds, each built, fed by its loader and trained for one step"
    assert sum("M parameters" in line for line in said) == 4
    assert sum("A100" in line for line in said) >= 4
    assert len({key(s) for s in specs}) == len(specs)

"""Training: optimisers and schedule against plain Python, every method, divergence, determinism, probes, spectra."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

from repro import data
from repro.core import sweep
from repro.core.methods import BYOL, METHODS, BarlowTwins, MoCo, SimCLR, SimSiam, Untrained
from repro.core.spec import DataSpec, Optimiser, Projector, key
from repro.core.store import frame
from repro.errors import ReproError
from repro.ssl import engine, feed, methods, networks, optim, probes, probing, spectra, train, trial
from repro.ssl.methods import VIEWS
from repro.ssl.step import build
from repro.views.recipe import Recipe, View, preset, repeat

# -------------------------------------------------------------------------------------------------------- optimisers


def slow_lars(weights, gradients, rates, momentum, decay, eta):
    """You et al. 2017 with momentum, number by number. weights: lists; those that hold lists (matrices) are decayed and
    scaled, flat ones are not. gradients[t]: of step t."""
    speed = [[0.0] * len(np.ravel(w)) for w in weights]
    weights = [list(map(float, np.ravel(w))) for w in weights]
    shapes = [np.ndim(w) for w in gradients[0]]
    for rate, gradient in zip(rates, gradients):
        for k, w in enumerate(weights):
            g = list(map(float, np.ravel(gradient[k])))
            if shapes[k] > 1:
                g = [a + decay * b for a, b in zip(g, w)]
                long, steep = math.sqrt(sum(x * x for x in w)), math.sqrt(sum(x * x for x in g))
                trust = eta * long / steep if long > 0 and steep > 0 else 1.0
                g = [trust * x for x in g]
            speed[k] = [momentum * v + x for v, x in zip(speed[k], g)]
            weights[k] = [a - rate * v for a, v in zip(w, speed[k])]
    return weights


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lars_is_its_paper(decay):
    torch.manual_seed(0)
    start = [torch.randn(3, 4), torch.randn(4), torch.randn(2, 3, 2, 2), torch.zeros(2, 2)]
    start = [w.double() for w in start]
    gradients = [[torch.randn_like(w) for w in start] for _ in range(5)]
    gradients[2][0] = torch.zeros_like(start[0])  # without decay nothing to scale by
    rates = [0.1, 0.5, 1.0, 0.3, 0.2]
    params = [torch.nn.Parameter(w.clone()) for w in start]
    lars = optim.LARS(params, 1.0, momentum=0.8, weight_decay=decay, eta=0.02)
    for rate, step in zip(rates, gradients):
        for p, g in zip(params, step):
            p.grad = g.clone()
        lars.param_groups[0]["lr"] = rate
        lars.step()
    arrays = [[g.numpy() for g in step] for step in gradients]
    for p, slow in zip(params, slow_lars([w.numpy() for w in start], arrays, rates, 0.8, decay, 0.02)):
        np.testing.assert_allclose(p.detach().numpy().ravel(), slow, rtol=1e-10)


def test_lars_leaves_out_what_has_no_gradient():
    used, unused = (torch.nn.Parameter(torch.ones(2, 2)) for _ in range(2))
    used.grad = torch.ones(2, 2)
    optim.LARS([used, unused], 1.0).step()
    assert torch.equal(unused, torch.ones(2, 2))
    assert not torch.equal(used, torch.ones(2, 2))


def test_rates_of_small_batches_are_scaled_and_biases_not_decayed():
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    for name, peak in (("lars", 0.5 * 64 / 256), ("sgd", 0.5 * 64 / 256), ("adamw", 0.5)):
        made = optim.make(net, Optimiser(name, lr=0.5, weight_decay=0.1), 64)
        assert all(g["peak"] == pytest.approx(peak) for g in made.param_groups)
        assert sum(len(g["params"]) for g in made.param_groups) == 4
        if name != "lars":
            decay = {p.ndim: g["weight_decay"] for g in made.param_groups for p in g["params"]}
            assert decay == {2: 0.1, 1: 0.0}


def test_the_schedule_warms_up_and_falls_by_a_cosine():
    o = Optimiser(warmup=0.1, lr_end=0.01)
    rates = [optim.rate(o, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(k + 1) / 11 for k in range(10)])
    for k in range(10, 100):
        assert rates[k] == pytest.approx(0.01 + 0.99 * (1 + math.cos(math.pi * (k - 10) / 90)) / 2)
    assert max(rates) == rates[10] == 1
    assert optim.rate(o, 100, 100) == pytest.approx(0.01)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    constant = Optimiser(warmup=0.1, schedule="constant")
    assert [optim.rate(constant, k, 100) for k in (4, 10, 99)] == [pytest.approx(5 / 11), 1, 1]
    assert optim.rate(Optimiser(warmup=0.0), 0, 1) == 1


def test_the_run_follows_its_schedule(tiny, monkeypatch):
    seen = []
    original = optim.make

    def make(*args):
        made = original(*args)
        made.register_step_pre_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
        return made

    monkeypatch.setattr(optim, "make", make)
    spec = tiny(steps=6, probes={"linear": False})
    train.run(spec)
    peak = spec.optimiser.lr * spec.batch_size / 256
    assert seen == pytest.approx([peak * optim.rate(spec.optimiser, k, 6) for k in range(6)])


@pytest.mark.parametrize(
    ("optimiser", "said"),
    [(Optimiser("adam"), "optimiser 'adam'"), (Optimiser(schedule="linear"), "schedule 'linear'")],
)
def test_an_unknown_optimiser_or_schedule_is_one_sentence(tiny, optimiser, said):
    with pytest.raises(ReproError, match=said):
        train.run(tiny(optimiser=optimiser))


# ----------------------------------------------------------------------------------------------------------- methods


def learner(method, views=0, **projector):
    views = views or VIEWS.get(type(method), 2)
    spec = replace(train.RunSpec(), method=method, projector=Projector(**({"width": 16, "dim": 8} | projector)))
    torch.manual_seed(0)
    return build(spec, 16), torch.rand(views, 8, 3, 16, 16)


@pytest.mark.parametrize(("method", "momenta"), [(BYOL(0.9), (0.9, 0.95, 1.0)), (MoCo(ema=0.9), (0.9, 0.9, 0.9))])
def test_the_target_is_a_moving_average(method, momenta):
    """BYOL's momentum rises to one by a cosine, MoCo's stays."""
    for progress, m in zip((0.0, 0.5, 1.0), momenta):
        made, _ = learner(method)
        with torch.no_grad():
            for p in made.parameters():
                p.add_(torch.randn_like(p))
        online = [*made.backbone.parameters(), *made.projector.parameters()]
        before = [p.clone() for p in made.target.parameters()]
        methods.after_step(made, progress)
        for t, b, o in zip(made.target.parameters(), before, online, strict=True):
            torch.testing.assert_close(t, m * b + (1 - m) * o)
            assert not t.requires_grad


def test_targets_start_as_copies_and_get_no_gradient():
    for method in (BYOL(), MoCo(queue=32)):
        made, views = learner(method)
        online = [*made.backbone.parameters(), *made.projector.parameters()]
        assert all(torch.equal(a, b) for a, b in zip(made.target.parameters(), online, strict=True))
        value, _ = methods.loss(made, views)
        value.backward()
        assert all(p.grad is None for p in made.target.parameters())
        assert all(p.grad is not None for p in online)


def test_moco_keeps_the_newest_keys_first():
    made, views = learner(MoCo(queue=40))
    old = made.queue.clone()
    methods.loss(made, views)
    assert torch.equal(made.queue[16:], old[:24])
    torch.testing.assert_close(made.queue[:16].norm(dim=1), torch.ones(16))


def test_simsiam_stops_the_gradient_at_the_target():
    made, views = learner(SimSiam())
    z = networks.each_view(made.projector, networks.each_view(made.backbone, views, True), True)
    q = networks.each_view(made.predictor, z, True)
    by_hand = methods.losses.cosine_distance(q, z.detach().flip(0))
    value, _ = methods.loss(made, views)
    wanted = torch.autograd.grad(by_hand, made.backbone[0].weight)[0]
    found = torch.autograd.grad(value, made.backbone[0].weight)[0]
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("joint", [True, False])
def test_batch_norm_sees_views_together_or_apart(method, joint):
    """Joint: exchanging images between views changes nothing in the features' statistics. Apart: a view's features
    depend on that view alone."""
    made, views = learner(method())
    _, first = methods.loss(made, views, joint)
    other = views.clone()
    other[1] = torch.rand_like(other[1])
    _, second = methods.loss(made, other, joint)
    assert torch.allclose(first[0], second[0], atol=1e-6) is not joint
    assert not first.requires_grad


@pytest.mark.parametrize("layers", [0, 1, 3])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_projectors_of_any_depth(method, layers):
    made, views = learner(method(), layers=layers)
    value, features = methods.loss(made, views)
    value.backward()
    assert value.isfinite()
    assert features.shape == (VIEWS.get(type(made.method), 2), 8, 128)
    assert sum(isinstance(m, torch.nn.Linear) for m in made.projector.modules()) == layers
    with pytest.raises(ReproError, match="0 or more layers"):
        networks.mlp(8, Projector(layers=-1))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_lowers_its_loss(tiny, method):
    """On a fixed batch of fixed views; an optimiser that steps uphill, or a gradient of a wrong sign, does not."""
    made = method() if method is not MoCo else MoCo(queue=64)
    views = VIEWS.get(method, 3)
    spec = tiny(method=made, recipe=repeat(preset("simclr-small"), views), projector=Projector(2, 32, 16))
    torch.manual_seed(0)
    net, images = build(spec, 16).train(), torch.rand(views, 32, 3, 16, 16)
    images = (images[:1] + 0.3 * images).clamp(0, 1)
    optimiser = optim.make(net, Optimiser("sgd", lr=0.1), 256)
    values = []
    for _ in range(15):
        value, _ = methods.loss(net, images)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        methods.after_step(net, 0.5)
        values.append(value.item())
    assert values[-1] < 0.98 * values[1]  # not the first: MoCo's queue is of noise until keys come


@pytest.mark.parametrize("views", [2, 4])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_every_method_runs_from_images_to_probe(tiny, method, views):
    views = VIEWS.get(method, 2) if views == 2 else views
    spec = tiny(method=method(), recipe=repeat(preset("simclr-small"), views), steps=3)
    if views != VIEWS.get(method, views):
        with pytest.raises(ReproError, match=f"takes t[a-z]+ views, not {views}"):
            train.run(spec)
        return
    found = train.run(spec)
    assert found.metrics["diverged"] == 0
    assert found.metrics["steps_done"] == 3
    assert math.isfinite(found.metrics["loss"])
    assert 0 <= found.metrics["linear_test_class"] <= 100
    assert trial.parameters(spec) > 10_000


def test_simclr_learns_what_a_random_encoder_lacks(tiny):
    """Thirty epochs on 256 digits, read by another processor's rounding too: 13 to 19 points above the floor by seed."""
    digits = {"data": DataSpec("digits-placed", 16, options=(("images", 256),)), "probes": {"tasks": ("digit",)}}
    random = train.run(tiny(method=Untrained(), **digits))
    learned = train.run(tiny(epochs=30, batch_size=32, **digits))
    assert learned.curves["loss"][-1] < 0.85 * learned.curves["loss"][0]
    assert learned.metrics["linear_test_digit"] > random.metrics["linear_test_digit"] + 6


@pytest.mark.parametrize("method", [SimCLR(), BarlowTwins()])
def test_one_view_is_one_sentence(tiny, method):
    with pytest.raises(ReproError, match="two or more"):
        train.run(tiny(method=method, recipe=preset("none")))


def test_a_share_smaller_than_a_batch_is_one_batch(tiny):
    """So the notebooks about shares of the data finish on a reader's small folder of images."""
    few = DataSpec("objects", 16, 0.1, (("images", 256),))
    share = len(data.subset(data.load(few.name, few.size, few.options).train, few.fraction, 0))
    assert share < 64
    found, same = (train.run(tiny(data=few, batch_size=b, epochs=2)) for b in (64, share))
    assert found.metrics["steps_done"] == 2
    assert found.metrics == same.metrics


def test_what_cannot_run_is_one_sentence(tiny):
    for spec, said in (
        (tiny(batch_size=257), "has 256 images to train on, fewer than a batch of 257: give a data set with more;"),
        (tiny(probes={"tasks": ("colour",)}), "no task 'colour'"),
        (tiny(backbone="resnet19"), "backbone 'resnet19'"),
        (tiny(data=DataSpec("objects", 16, 1.0, (("glitter", 1.0),))), "no knob 'glitter'"),
        (tiny(data=DataSpec("objects", 8)), "at least 16 pixels"),
        (tiny(data=DataSpec("nowhere")), "no data set 'nowhere'"),
    ):
        with pytest.raises(ReproError, match=said) as caught:
            train.run(spec)
        assert "\n" not in str(caught.value)


# -------------------------------------------------------------------------------------------------------- divergence


def test_a_diverged_run_is_stored_as_diverged(tiny, store):
    specs = [tiny(epochs=3, optimiser=Optimiser("sgd", lr=lr, warmup=0.0)) for lr in (1e30, 0.1)]
    records = sweep.measure(specs, store, workers=1, quiet=True)
    assert [r.metrics["diverged"] for r in records] == [1.0, 0.0]
    lost = records[0]
    assert lost.metrics["steps_done"] < 12
    assert math.isnan(lost.curves["loss"][-1])
    assert "linear_test_class" not in lost.metrics
    rows = frame(records)
    assert math.isnan(rows["linear_test_class"][0])
    assert rows["linear_test_class"][1] > 0
    # it is a result: it is not measured again
    again = sweep.measure(specs, store, workers=1, quiet=True)
    assert again[0].provenance == lost.provenance


def test_weights_that_break_in_the_last_step_are_noticed(tiny):
    """The loss is of before the step, so it is finite; the features would not be, nor their spectrum exist."""
    spec = tiny(steps=1, optimiser=Optimiser("sgd", lr=1e38, warmup=0.0), probes={"spectrum": True, "every": 1})
    found = train.run(spec)
    assert found.metrics == {"diverged": 1.0, "steps_done": 1.0}
    assert math.isfinite(found.curves["loss"][0])


# ------------------------------------------------------------------------------------------------------- determinism

PROBED = {"linear": True, "mlp": True, "knn": True, "online": True, "spectrum": True, "every": 1, "labels": 64}


def test_the_same_spec_gives_the_same_numbers_whatever_happens_around_it(tiny):
    spec = tiny(epochs=2, batch_size=48, probes=PROBED)
    torch.manual_seed(123)
    first = train.run(spec)
    torch.manual_seed(99)
    np.random.seed(5)  # noqa: NPY002
    torch.rand(7)
    state = torch.get_rng_state()
    second = train.run(spec)
    assert torch.equal(torch.get_rng_state(), state)  # and it leaves the numbers of others alone
    assert first.metrics == second.metrics
    assert first.curves == second.curves
    assert train.run(replace(spec, seed=1)).curves["loss"] != first.curves["loss"]


def test_two_threads_differ_by_rounding_at_most(tiny):
    spec = tiny(epochs=2, probes={"labels": 0})
    one = train.run(spec)
    try:
        torch.set_num_threads(2)
        two = train.run(spec)
    finally:
        torch.set_num_threads(1)
    assert two.curves["loss"] == pytest.approx(one.curves["loss"], rel=1e-4)
    for name in ("linear_val_class", "linear_test_class"):
        assert two.metrics[name] == pytest.approx(one.metrics[name], abs=1.5)  # four images of 256


def test_probing_changes_nothing_of_the_run(tiny):
    plain = train.run(tiny(epochs=2, probes={"linear": False}))
    probed = train.run(tiny(epochs=2, probes=PROBED))
    assert probed.curves["loss"] == plain.curves["loss"]
    assert len(probed.curves["probe_epoch"]) == 2
    assert not [name for name in probed.curves if "test" in name]
    for name in ("linear", "mlp", "knn"):
        assert probed.curves[f"{name}_val_class"][-1] == probed.metrics[f"{name}_val_class"]
    assert probed.curves["online_val_class"][-1] == probed.metrics["online_val_class"]


def test_the_end_is_read_as_a_checkpoint_is(tiny):
    late = {"averaged": 2, "choices": True, "passes": 1}
    spec = tiny(probes={**PROBED, **late, "transfer": ("digits",), "mlp": True, "knn": True, "spectrum": True})
    dataset, learner = data.load(spec.data.name, 16, spec.data.options), build(spec, 16)
    midway, end = (probing.read(spec, learner, dataset, ("class",), final) for final in (False, True))
    curves = {}
    probing.to_curves(spec, curves, 3, end)
    assert curves == {"probe_epoch": [3], **{name: [value] for name, value in midway.items()}}
    assert len(end) > 2 * len(midway)


def test_a_ticking_checkpointed_run_has_the_same_numbers(tiny, tmp_path):
    spec, ticks = tiny(epochs=2), []
    found = train.run(spec, tmp_path, lambda *t: ticks.append(t), checkpoint_seconds=0.0)
    assert found.metrics == train.run(spec).metrics
    assert [t[:2] for t in ticks] == [(k + 1, 8) for k in range(8)]


@pytest.mark.parametrize(("images", "batch"), [(256, 48), (2500, 300)])  # one chunk an epoch, and several
def test_batches_can_begin_anywhere(tiny, images, batch):
    spec = tiny(batch_size=batch, recipe=preset("crop"))
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, 16, 16), dtype=torch.uint8)
    per_epoch = images // batch
    steps = 2 * per_epoch + 1
    whole = list(feed.batches(spec, pixels, 0, steps))
    assert [step for step, _, _ in whole] == list(range(steps))
    for epoch in range(2):
        seen = torch.cat([index for _, index, _ in whole[epoch * per_epoch : (epoch + 1) * per_epoch]])
        assert len(seen.unique()) == len(seen) == per_epoch * batch
    for first in (1, per_epoch - 1, per_epoch, steps - 1):
        for a, b in zip(whole[first:], feed.batches(spec, pixels, first, steps), strict=True):
            assert a[0] == b[0]
            assert torch.equal(a[1], b[1])
            assert torch.equal(a[2], b[2])
    assert not torch.equal(whole[0][1], whole[per_epoch][1])


@pytest.mark.parametrize(("name", "features", "parameters"), [("convnet", 128, 83_792), ("convnet4", 128, 97_680)])
def test_convolutional_backbones(name, features, parameters):
    """As many features as they say, whatever the size of the image; bias-free convolutions and batch norms."""
    net, number = networks.backbone(name, 32)
    assert number == features
    assert sum(p.numel() for p in net.parameters()) == parameters
    for size in (16, 32, 33):
        found = net(torch.rand(2, 3, size, size))
        assert found.shape == (2, features)
        assert (found >= 0).all()  # they end in a ReLU and a mean


def test_runs_of_one_seed_start_from_one_backbone():
    spec = train.RunSpec()
    nets = [build(replace(spec, method=m(), projector=Projector(3, 8, 4)), 16) for m in METHODS.values()]
    nets.append(build(replace(spec, method=Untrained()), 16))
    for net in nets[1:]:
        for a, b in zip(net.backbone.parameters(), nets[0].backbone.parameters(), strict=True):
            assert torch.equal(a, b)
    other = build(replace(spec, seed=1), 16)
    assert not torch.equal(next(other.parameters()), next(nets[0].parameters()))


def test_bfloat16_trains(tiny):
    half = train.run(tiny(precision="bfloat16"))
    assert half.metrics["diverged"] == 0
    assert half.curves["loss"] == pytest.approx(train.run(tiny()).curves["loss"], rel=0.02)


@pytest.mark.parametrize("method", [m for n, m in METHODS.items() if n not in ("byol", "simsiam")])
def test_no_loss_is_rounded_under_autocast(method):
    """On a network that autocast leaves alone, so that only the loss could differ."""
    learner = methods.Learner(torch.nn.Flatten(), 48, Projector(0), method())
    views = torch.rand((VIEWS.get(method, 2), 16, 3, 4, 4), generator=torch.Generator().manual_seed(0)) - 0.5
    queue = getattr(learner, "queue", torch.zeros(0)).clone()
    wanted, _ = methods.loss(learner, views)
    if queue.numel():
        learner.queue.copy_(queue)
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = methods.loss(learner, views)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("labelled", [40, 0])
def test_images_without_a_label_are_trained_on_but_no_probe_sees_them(tiny, monkeypatch, labelled):
    """As in STL-10. Batches in which no image has a label are no divergence either."""
    spec = tiny(epochs=1, batch_size=8, probes={"online": True, "labels": 0})
    whole = data.load(spec.data.name, spec.data.size, spec.data.options)
    labels = whole.train.labels["class"].clone()
    labels[max(labelled, 16) :] = -1
    train_split = replace(whole.train, labels=whole.train.labels | {"class": labels})
    monkeypatch.setattr(data, "load", lambda *_: replace(whole, train=train_split))
    supervised = replace(spec, method=methods.Supervised(), projector=Projector(1, 1, 8))
    for found in (train.run(spec), train.run(supervised)):
        assert found.metrics["diverged"] == 0
        assert math.isfinite(found.metrics["loss"])
        assert found.metrics["online_val_class"] > 0


def test_stored_weights_give_the_measured_features(tiny, store):
    spec = tiny(probes={"knn": True, "linear": False})
    (record,) = sweep.measure([spec], store, workers=1, keep_weights=True, quiet=True)
    net = build(spec, 16)
    net.load_state_dict(torch.load(store.root / key(spec) / "weights.pt", weights_only=True))
    dataset = data.load(spec.data.name, spec.data.size, spec.data.options)
    again = probing.read(spec, net, dataset, ("class",), final=True)
    assert again["knn_test_class"] == record.metrics["knn_test_class"]


def test_a_broken_checkpoint_is_one_sentence(tiny, store):
    spec = tiny()
    checkpoint = store.scratch(key(spec)) / "checkpoint.pt"
    for content in (b"", b"no checkpoint"):
        checkpoint.write_bytes(content)
        with pytest.raises(ReproError, match="damaged or of another version") as caught:
            sweep.measure([spec], store, workers=1, quiet=True)
        assert str(checkpoint.parent) in str(caught.value)
    torch.save({"state": {}, "learner": {}}, checkpoint)
    with pytest.raises(ReproError, match="damaged or of another version"):
        sweep.measure([spec], store, workers=1, quiet=True)
    store.done(key(spec))
    assert len(sweep.measure([spec], store, workers=1, quiet=True)) == 1


# ------------------------------------------------------------------------------------------------------------ probes


def features(n=300, dims=6, classes=3, noise=1.0, seed=0):
    """Three splits of Gaussian clouds, standardised, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, dims, generator=generator) * 1.2
    labels = [torch.randint(0, classes, (m,), generator=generator) for m in (n, n // 2, n // 2)]
    x = [centres[y] + noise * torch.randn(len(y), dims, generator=generator) for y in labels]
    return probes.standardise(*x), labels


def test_standardise_uses_train_alone():
    x = torch.randn(50, 4) * 7 + 3
    x[:, 2] = 5.0
    train_, other = probes.standardise(x, x[:10] + 100)
    torch.testing.assert_close(train_.mean(0), torch.zeros(4), atol=1e-6, rtol=0)
    torch.testing.assert_close(train_.std(0), torch.tensor([1.0, 1, 0, 1]))
    torch.testing.assert_close(other[:, 0], train_[:10, 0] + 100 / x[:, 0].std())
    assert (other[:, 2] == 0).all()  # a constant feature stays silent whatever comes


@pytest.mark.parametrize("penalty", [1e-3, 1e-1])
def test_the_linear_probe_is_scikit_learns(penalty):
    x, y = features()
    ours = probes._logistic(x[0], y[0], torch.zeros(7, 3), penalty)
    theirs = LogisticRegression(C=1 / (len(y[0]) * penalty), max_iter=1000, tol=1e-8).fit(x[0], y[0])
    # the bias is not penalised and defined up to a shift over classes
    np.testing.assert_allclose(ours[1:].T - ours[1:].mean(1), theirs.coef_ - theirs.coef_.mean(0), atol=2e-2)
    np.testing.assert_allclose(ours[0] - ours[0].mean(), theirs.intercept_ - theirs.intercept_.mean(), atol=2e-2)
    agree = (x[2] @ ours[1:] + ours[0]).argmax(1).numpy() == theirs.predict(x[2])
    assert agree.mean() > 0.99


def test_the_linear_probe_chooses_its_penalty_on_validation():
    x, y = features(n=60, dims=40, noise=2.5)
    scores = {}
    weight = torch.zeros(41, 3)
    for penalty in sorted(probes.PENALTIES, reverse=True):
        weight = probes._logistic(x[0], y[0], weight, penalty)
        scores[penalty] = [probes.accuracy(x[s] @ weight[1:] + weight[0], y[s]) for s in (1, 2)]
    found = probes.linear(x, y, 3)
    assert found["val"] == max(v for v, _ in scores.values())
    assert [found["val"], found["test"]] in scores.values()
    # the test labels do not matter to the choice
    shuffled = probes.linear(x, [y[0], y[1], y[2].flip(0)], 3)
    assert shuffled["val"] == found["val"]
    assert shuffled["test"] != found["test"]


@pytest.mark.parametrize(
    ("n", "dims", "noise"), [(2000, 20, 1.5), (1200, 60, 4.0), (100, 150, 4.0)], ids=["few", "many", "wide"]
)
def test_converged_minima_are_scikit_learns(n, dims, noise):
    """Over the whole path, on correlated features, and on fewer images than features, which every line separates."""
    x, y = features(n, dims, noise=noise)
    mixing = torch.linspace(0.01, 1, dims)[:, None] * torch.randn(
        dims, dims, generator=torch.Generator().manual_seed(1)
    )
    x = probes.standardise(*[t @ mixing for t in x])
    start = torch.zeros(dims + 1, 3)
    for penalty, ours in zip(sorted(probes.PATH, reverse=True), probes.minima(x[0], y[0], start), strict=True):
        theirs = LogisticRegression(C=1 / (len(y[0]) * penalty), max_iter=20_000, tol=1e-7).fit(x[0].double(), y[0])
        weight = torch.tensor(np.vstack([theirs.intercept_, theirs.coef_.T]))
        found, wanted = (
            torch.nn.functional.cross_entropy(x[0].double() @ w[1:] + w[0], y[0]) + penalty / 2 * w[1:].square().sum()
            for w in (ours.double(), weight)
        )
        assert float(found) == pytest.approx(float(wanted), abs=1e-4, rel=1e-3)
        agree = (x[2] @ ours[1:] + ours[0]).argmax(1).numpy() == theirs.predict(x[2].double())
        assert (~agree).sum() <= max(1, 0.001 * len(agree))  # an image may lie on the line


def test_the_converged_probe_goes_past_the_grid_of_the_short_one(monkeypatch):
    """Few noisy images want a stiff penalty; the path ends where validation has clearly fallen, and misses nothing."""
    x, y = features(n=200, dims=40, noise=6.0)
    found = probes.linear(x, y, 3, converged=True)
    path = sorted(probes.PATH, reverse=True)
    scores = {
        p: [probes.accuracy(x[s] @ w[1:] + w[0], y[s]) for s in (1, 2)]
        for p, w in zip(path, probes.minima(x[0], y[0], torch.zeros(41, 3)))
    }
    best = max(path, key=lambda p: scores[p][0])  # the stiffest of equals
    assert best > max(probes.PENALTIES)
    assert [found["val"], found["test"]] == scores[best]
    assert found["val"] > probes.linear(x, y, 3)["val"]
    monkeypatch.setattr(probes, "CLEARLY", 100.0)
    assert probes.linear(x, y, 3, converged=True) == found
    shuffled = probes.linear(x, [y[0], y[1], y[2].flip(0)], 3, converged=True)
    assert shuffled["val"] == found["val"]


def test_the_path_ends_once_validation_has_clearly_fallen(monkeypatch):
    seen, falls = [], iter([50.0, 60.0, 59.0, 57.0, 99.0, 99.0])  # 59 is one fall, 57 the second and 3 points below

    def minima(x, y, start):
        for number in range(7):
            seen.append(number)
            yield start

    monkeypatch.setattr(probes, "minima", minima)
    monkeypatch.setattr(probes, "accuracy", lambda logits, labels: 7.0 if len(logits) == 3 else next(falls))
    x, y = [torch.zeros(n, 2) for n in (4, 4, 3)], [torch.zeros(n).long() for n in (4, 4, 3)]
    assert probes.linear(x, y, 2, converged=True) == {"val": 60.0, "test": 7.0}
    assert seen == [0, 1, 2, 3]


def test_knn_is_scikit_learns():
    x, y = features(n=400, noise=1.5)
    theirs = KNeighborsClassifier(20, metric="cosine", weights=lambda d: np.exp((1 - d) / 0.07)).fit(x[0], y[0])
    wanted = 100 * theirs.score(x[2], y[2])
    assert probes.knn(x, y, 3)["test"] == pytest.approx(wanted, abs=0.51)  # one image of 200 may sit on a tie
    assert probes.knn([t[:5] for t in x], [t[:5] for t in y], 3)["val"] >= 0  # fewer images than neighbours


def test_an_mlp_finds_what_a_line_cannot():
    torch.manual_seed(0)
    x = [torch.randn(m, 2) for m in (600, 200, 200)]
    y = [((t[:, 0] > 0) ^ (t[:, 1] > 0)).long() for t in x]
    bent, straight = probes.mlp(x, y, 2, seed=0), probes.linear(x, y, 2)
    assert bent["test"] > 90
    assert straight["test"] < 70
    assert bent == probes.mlp(x, y, 2, seed=0)
    assert bent["val"] >= bent["val_last"]


def test_features_come_in_eval_mode_and_the_mode_is_put_back():
    net = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(12, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout(0.5)
    )
    images = torch.randint(0, 256, (700, 3, 2, 2), dtype=torch.uint8)
    mean, std = torch.tensor([0.5, 0.4, 0.3]), torch.tensor([0.2, 0.3, 0.4])
    running = net[2].running_mean.clone()
    found = probing.features_of(net.train(), images, mean, std)
    assert net.training
    assert net[3].training
    assert torch.equal(net[2].running_mean, running)
    with torch.no_grad():
        wanted = net.eval()((images.float() / 255 - mean.view(3, 1, 1)) / std.view(3, 1, 1))
    torch.testing.assert_close(found, wanted)
    probing.features_of(net, images, mean, std)
    assert not net.training
    assert not found.requires_grad


class Untouchable:
    def __getattr__(self, name):
        raise AssertionError(f"the test split was read ({name})")


def test_raw_pixels_are_read_where_runs_compute(monkeypatch):
    """They have no parameters that would say where."""
    monkeypatch.setattr(engine, "device", lambda: torch.device("meta"))
    assert probing._device(networks.backbone("pixels", 16)[0]).type == "meta"
    assert probing._device(networks.backbone("convnet", 16)[0]).type == "cpu"


def test_the_test_split_is_not_read_before_the_end(tiny):
    spec = tiny(probes=PROBED)
    dataset = data.load(spec.data.name, spec.data.size, spec.data.options)
    sealed = replace(dataset, test=Untouchable())
    net = build(spec, 16)
    found = probing.read(spec, net, sealed, ("class", "hue"), final=False)
    assert found
    assert not [name for name in found if "test" in name]
    with pytest.raises(AssertionError, match="test split was read"):
        probing.read(spec, net, sealed, ("class",), final=True)


def test_no_probe_reads_pretraining_labels_or_test_labels_in_training(tiny, monkeypatch):
    """The loss curve is the same when every label is another one."""
    spec = tiny(probes={"linear": False})
    before = train.run(spec).curves["loss"]
    original = data.load

    def shuffled(*args):
        d = original(*args)
        wrong = {
            s: replace(getattr(d, s), labels={k: v.flip(0) for k, v in getattr(d, s).labels.items()}) for s in SPLITS
        }
        return replace(d, **wrong)

    monkeypatch.setattr(train.data, "load", shuffled)
    assert train.run(spec).curves["loss"] == before


SPLITS = ("train", "val", "test")


def test_floors_have_their_metrics(tiny):
    encoder = train.run(tiny(method=Untrained()))
    pixels = train.run(tiny(method=Untrained(), backbone="pixels"))
    assert encoder.metrics.keys() == pixels.metrics.keys() == {"diverged", "linear_val_class", "linear_test_class"}
    assert encoder.metrics != pixels.metrics


# ----------------------------------------------------------------------------------------------------------- spectra


@pytest.mark.parametrize("exponent", [0.5, 1.0, 2.0])
def test_alpha_of_a_power_law_is_its_exponent(exponent):
    n = np.arange(1, 101, dtype=float)
    assert spectra.alpha(7 * n**-exponent) == pytest.approx(exponent, rel=1e-9)
    bent = 7 * n**-exponent
    bent[:2] *= 100  # outside the range of the fit
    bent[50:] = 1e-9
    assert spectra.alpha(bent) == pytest.approx(exponent, rel=1e-9)


def test_alpha_of_sampled_features():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20_000, 64)) * np.arange(1, 65) ** -0.5  # variances n^-1
    turned = x @ np.linalg.qr(rng.normal(size=(64, 64)))[0] + 3
    spectrum = spectra.eigenspectrum(turned)
    assert (np.diff(spectrum) <= 0).all()
    assert (spectrum >= 0).all()
    np.testing.assert_allclose(spectrum, 1 / np.arange(1, 65), rtol=0.1)
    assert spectra.alpha(spectrum) == pytest.approx(1.0, abs=0.05)


def test_alpha_has_limits():
    assert math.isnan(spectra.alpha(np.zeros(20)))
    assert math.isnan(spectra.alpha(np.r_[1.0, 0.5, np.zeros(20)]))
    with pytest.raises(ReproError, match="three eigenvalues"):
        spectra.alpha(np.ones(4))


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_rankme_of_known_rank(rank):
    rng = np.random.default_rng(0)
    left, right = np.linalg.qr(rng.normal(size=(200, rank)))[0], np.linalg.qr(rng.normal(size=(16, rank)))[0]
    assert spectra.rankme(left @ right.T) == pytest.approx(rank, rel=1e-3)
    assert spectra.rankme(1000 * left @ right.T) == pytest.approx(rank, rel=1e-3)


def test_rankme_counts_smaller_directions_less():
    x = np.linalg.qr(np.random.default_rng(0).normal(size=(100, 8)))[0]
    decayed = spectra.rankme(x * 0.5 ** np.arange(8))
    assert 2 < decayed < 5
    p = 0.5 ** np.arange(8) / (0.5 ** np.arange(8)).sum()
    assert decayed == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-3)


# -------------------------------------------------------------------------------------------------------------- data


def test_shares_of_the_data_are_balanced_and_nested():
    split = data.load("objects", 16, (("images", 1000.0),)).train
    labels = split.labels["class"]
    quarter, half, whole = (data.subset(split, f, seed=3) for f in (0.25, 0.5, 1.0))
    assert set(quarter.tolist()) < set(half.tolist()) < set(whole.tolist())
    assert len(whole) == 1000
    for index, share in ((quarter, 0.25), (half, 0.5)):
        kept = torch.bincount(labels[index], minlength=8) / torch.bincount(labels, minlength=8)
        assert (kept - share).abs().max() < 0.02
    assert set(data.subset(split, 0.25, seed=4).tolist()) != set(quarter.tolist())


def test_views_of_a_run_are_those_of_its_recipe(tiny):
    """A recipe of untouched images gives the images."""
    whole = View(crop=(1.0, 1.0), flip=0.0)
    spec = tiny(recipe=Recipe("still", (whole, whole)), batch_size=16)
    pixels = torch.randint(0, 256, (40, 3, 16, 16), dtype=torch.uint8)
    for _, index, views in feed.batches(spec, pixels, 0, 4):
        torch.testing.assert_close(views[0], pixels[index] / 255, atol=1e-5, rtol=0)
        torch.testing.assert_close(views[1], views[0])

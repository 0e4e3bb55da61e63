"""What the probes of a run read: features of its backbone by split and protocol, to which `repro.ssl.probes` are fitted."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from repro import data
from repro.core import datasets
from repro.core.methods import Supervised, Untrained
from repro.core.spec import RunSpec
from repro.loader.loader import Images
from repro.ssl import engine, feed, networks, probes, spectra
from repro.ssl.methods import Learner
from repro.views.recipe import Recipe, View, repeat

AT_THE_END = (  # what only the last reading has begins so
    "averaged", "trainmode", "cropped", "linear_pass", "mlp_pass", "layer", "projection_rank",
)  # fmt: skip
LABELS = 5  # number of the draw of labelled images; 2 is that of the images to train on
CROPS = 4  # crops of each image that the probe "cropped" is fitted on
Protocols = dict[str, tuple[int, list[Tensor]]]
"""By name: standardised features of train, val and test, and how often the train labels repeat."""


def read(
    spec: RunSpec,
    learner: Learner,
    dataset: data.Dataset,
    tasks: tuple[str, ...],
    final: bool,
    curves: dict[str, list] | None = None,
    online: Online | None = None,
) -> dict[str, float]:
    """Every probe the spec asks for, as `<probe>_<split>_<task>` in percent; what has a value a pass goes to `curves`.
    Before the end (`final` false) the test split is not read."""
    wanted, backbone = spec.probes, learner.backbone
    seed = spec.seed if wanted.redrawn else None
    splits = [labelled(dataset.train, wanted.labels, seed), dataset.val, dataset.test][: 3 if final else 2]
    look = functools.partial(features_of, backbone, mean=dataset.mean, std=dataset.std, precision=spec.precision)
    raw = [look(s.images) for s in splits]
    if not final:  # validation stands in for test, and its scores are dropped
        splits, raw = [*splits, splits[1]], [*raw, raw[1]]
    metrics: dict[str, float] = {}
    if wanted.spectrum:
        spectrum = spectra.eigenspectrum(raw[1].cpu().numpy())
        metrics |= {"alpha": spectra.alpha(spectrum), "rankme": spectra.rankme(raw[1].cpu().numpy())}
    features = probes.standardise(*raw)
    protocols = {"linear": (1, features)} if wanted.linear else {}
    if final:
        protocols |= _at_the_end(spec, learner, dataset, splits, raw)
    for task in tasks:
        labels, classes = [s.labels[task].to(raw[0].device) for s in splits], dataset.tasks[task]
        by_probe = {
            name: probes.linear(x, [labels[0].repeat(n), *labels[1:]], classes, wanted.converged)
            for name, (n, x) in protocols.items()
        }
        if wanted.mlp:
            by_probe["mlp"] = probes.mlp(features, labels, classes, spec.seed)
        if wanted.sgd:
            by_probe["sgd"] = _sgd(spec, backbone, dataset, splits[0].images, raw, labels, classes)
        if wanted.knn:
            by_probe["knn"] = probes.knn(features, labels, classes)
        if wanted.passes and final:
            hidden = max(256, features[0].shape[1])  # 2048 for a ResNet-50, as in the FFCV-SSL paper
            for name, width, rate in (("linear_pass", 0, 1e-2), ("mlp_pass", hidden, 2e-3)):
                by_probe[name], curve = probes.by_pass(features, labels, classes, spec.seed, wanted.passes, width, rate)
                if curves is not None:
                    curves[f"{name}_val_{task}"] = curve
        if online and task == tasks[0]:
            by_probe["online"] = {s: online.accuracy(x, y) for s, x, y in zip(("val", "test"), raw[1:], labels[1:])}
        for name, scores in by_probe.items():
            metrics |= {f"{name}_{s}_{task}": v for s, v in scores.items() if final or not s.startswith("test")}
    for name in wanted.transfer if final else ():
        metrics |= _transferred(spec, look, dataset, name)
    if final and wanted.spectrum and not isinstance(spec.method, Untrained):
        metrics["projection_rank"] = spectra.effective_rank(projections_of(learner, dataset).cpu().numpy())
    if final and isinstance(spec.method, Supervised):
        for recipe in wanted.lost:
            metrics[f"lost_{recipe.name}_test_{tasks[0]}"] = _lost(spec, learner, dataset, tasks[0], recipe)
    return metrics


def _transferred(spec: RunSpec, look: Callable, dataset: data.Dataset, name: str) -> dict[str, float]:
    """The linear probe on another data set, each of whose tasks is named by `repro.core.datasets.transferred`."""
    other, wanted = data.load(name, dataset.train.images.shape[-1]), spec.probes
    splits = [labelled(other.train, wanted.labels, spec.seed if wanted.redrawn else None), other.val, other.test]
    features, metrics = probes.standardise(*(look(s.images) for s in splits)), {}
    for called, task in datasets.transferred(name).items():
        labels = [s.labels[task].to(features[0].device) for s in splits]
        scores = probes.linear(features, labels, other.tasks[task], wanted.converged)
        metrics |= {f"linear_{split}_{called}": percent for split, percent in scores.items()}
    return metrics


def to_curves(spec: RunSpec, curves: dict[str, list], epoch: int, scores: dict[str, float]) -> None:
    """Add what every reading has to the curves."""
    curves.setdefault("probe_epoch", []).append(epoch)
    others = {f"linear_val_{task}" for name in spec.probes.transfer for task in datasets.transferred(name)}
    for name, value in scores.items():
        if "_test" not in name and not name.startswith(AT_THE_END) and name not in others:
            curves.setdefault(name, []).append(value)


class Online:
    """A linear probe that is trained along with a run, on features without gradient; norm: of zero mean and unit deviation
    by their running averages."""

    def __init__(self, features: int, classes: int, norm: bool, device: torch.device):
        net = nn.utils.skip_init(nn.Linear, features, classes).to(device)  # draws no numbers
        nn.init.zeros_(net.weight)
        nn.init.zeros_(net.bias)
        self.net = nn.Sequential(nn.BatchNorm1d(features, affine=False, device=device), net) if norm else net
        self.optimiser = torch.optim.AdamW(net.parameters(), lr=1e-2, weight_decay=0.0, foreach=True)

    def state_dict(self) -> dict:
        return {"net": self.net.state_dict(), "optimiser": self.optimiser.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        self.net.load_state_dict(state["net"])
        self.optimiser.load_state_dict(state["optimiser"])

    def fit(self, features: Tensor, labels: Tensor) -> None:
        """A step on features (V, B, F) of images with labels (B,), -1 for one without."""
        guess = self.net(networks.wide(features).flatten(0, 1))
        loss = F.cross_entropy(guess, labels.repeat(len(features)), ignore_index=-1)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()

    @torch.no_grad()
    def accuracy(self, features: Tensor, labels: Tensor) -> float:
        """Top-1 in percent on features (N, F)."""
        self.net.eval()
        percent = probes.accuracy(self.net(features), labels)
        self.net.train()
        return percent


def labelled(train: data.Split, count: int, seed: int | None = None) -> data.Split:
    """The images that have a label, or a class-balanced part of `count` of them: the same for every run, or, with a seed,
    another for each, drawn apart from the share that the run of that seed trains on."""
    named = next(iter(train.labels.values())) >= 0  # STL-10 has images without a label
    if not named.all():
        train = data.Split(train.images[named], {k: v[named] for k, v in train.labels.items()})
    if count == 0 or count >= len(train.images):
        return train
    share = count / len(train.images)
    index = data.subset(train, share, seed=0) if seed is None else data.subset(train, share, seed, draw=LABELS)
    return data.Split(train.images[index], {k: v[index] for k, v in train.labels.items()})


# --- features ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def features_of(
    backbone: nn.Module, images: Tensor | Images, mean: Tensor, std: Tensor, precision: str = "float32"
) -> Tensor:
    """Features (N, F) float32 of whole images (N, 3, H, W) uint8, in eval mode; the mode is put back. Those of a set that
    memory has no room for are decoded some at a time, each its middle square (`repro.data.CENTRAL`). precision: of the
    forward pass, a run's own."""
    mode = backbone.training
    backbone.eval()
    parts = images.split(2048 if _device(backbone).type == "cuda" else 512)
    out = [_forward(backbone, part, mean, std, precision) for part in parts]
    backbone.train(mode)
    return torch.cat(out)


@torch.no_grad()
def _forward(backbone: nn.Module, part: Tensor, mean: Tensor, std: Tensor, precision: str) -> Tensor:
    device = _device(backbone)
    x = (part.to(device).float() / 255 - mean.to(device).view(3, 1, 1)) / std.to(device).view(3, 1, 1)
    with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
        return backbone(x.contiguous(memory_format=torch.channels_last)).float()


def _device(module: nn.Module) -> torch.device:
    """Where a module lies; one without parameters, as raw pixels have, computes where runs do."""
    return next((p.device for p in module.parameters()), engine.device())


@torch.no_grad()
def projections_of(learner: Learner, dataset: data.Dataset, count: int = 1000) -> Tensor:
    """Projections (N, D), each of length one, of the first `count` validation images, in eval mode and float32."""
    h = features_of(learner.backbone, dataset.val.images[:count], dataset.mean, dataset.std)
    mode = learner.training
    z = learner.eval().projector(h)
    learner.train(mode)
    return F.normalize(z.float(), dim=1)


@torch.no_grad()
def mean_features(
    spec: RunSpec, backbone: nn.Module, dataset: data.Dataset, images: Tensor | Images, number: int
) -> Tensor:
    """Features (N, F), each the mean over `spec.probes.averaged` views of the image made by the run's own recipe. `number`
    tells the splits apart, whose images are counted from 0 each."""
    one = Recipe("one", spec.recipe.views[:1])
    staged = any(v.parent >= 0 for v in spec.recipe.views)
    many = repeat(one if staged else spec.recipe, spec.probes.averaged)
    return torch.cat([part.mean(0) for part in _view_features(spec, backbone, dataset, images, many, number)])


def _view_features(spec, backbone, dataset, images: Tensor | Images, recipe: Recipe, number: int) -> Iterator[Tensor]:
    """Features (V, part, F) of the views of some images at a time."""
    device = _device(backbone)
    count = 1024 if device.type == "cuda" else 256
    # an epoch that no run reaches: the views are new, and the same at every checkpoint
    for views in _views_of(images, recipe, spec.seed, 2**30 + number, device, count):
        features = features_of(backbone, views.flatten(0, 1), dataset.mean, dataset.std, spec.precision)
        yield features.unflatten(0, views.shape[:2])


def _views_of(
    images: Tensor | Images, recipe: Recipe, seed: int, epoch: int, device: torch.device, count: int
) -> Iterator[Tensor]:
    """Views (V, count, 3, H, W) uint8 of so many images at a time: of images in files, of the whole image."""
    if not isinstance(images, Tensor):
        yield from images.views(recipe, count, seed, epoch)
        return
    for index in torch.arange(len(images)).split(count):
        views = feed.make_views(images[index].to(device), recipe, seed, epoch, index.to(device))
        yield (views * 255).round().to(torch.uint8)


@torch.no_grad()
def _lost(spec: RunSpec, learner: Learner, dataset: data.Dataset, task: str, recipe: Recipe) -> float:
    """Of test images whose first view the run's own classifier reads right, the share in percent whose second view it reads
    wrong."""
    mode = learner.training
    learner.eval()
    views = _view_features(spec, learner.backbone, dataset, dataset.test.images, recipe, 2)
    read = torch.cat([learner.projector(h).argmax(-1) for h in views], 1)
    learner.train(mode)
    first, second = read == dataset.test.labels[task].to(read.device)
    return 100 * (1 - second[first].double().mean().item())


# --- protocols --------------------------------------------------------------------------------------------------------


def _at_the_end(spec: RunSpec, learner: Learner, dataset, splits: list[data.Split], raw: list[Tensor]) -> Protocols:
    """The further features that a linear probe is fitted to at the end. raw: plain features of the splits."""
    wanted, backbone, out = spec.probes, learner.backbone, {}
    if wanted.linear and wanted.averaged:
        averaged = [mean_features(spec, backbone, dataset, s.images, i) for i, s in enumerate(splits)]
        out["averaged"] = (1, probes.standardise(*averaged))
    if wanted.choices:
        mean, std = dataset.mean, dataset.std
        training = copy.deepcopy(backbone).train()  # a copy: reading in train mode moves batch norm's averages
        parts = [[_forward(training, x, mean, std, spec.precision) for x in s.images.split(256)] for s in splits]
        out["trainmode"] = (1, probes.standardise(*map(torch.cat, parts)))
        view = spec.recipe.views[0]
        crops = repeat(Recipe("crop", (View(crop=view.crop, ratio=view.ratio, flip=view.flip),)), CROPS)
        cropped = torch.cat([*_view_features(spec, backbone, dataset, splits[0].images, crops, 9)], 1).flatten(0, 1)
        out["cropped"] = (CROPS, probes.standardise(cropped, *raw[1:]))
    if wanted.depths and not isinstance(spec.method, Untrained):
        out |= _by_layer(learner, raw)
    return out


@torch.no_grad()
def _by_layer(learner: Learner, features: list[Tensor]) -> Protocols:
    """Features behind each layer of the projector, where the next one reads them: "layer1" is the first."""
    mode, blocks, number, out = learner.training, list(learner.projector.children()), 0, {}
    layers = sum(isinstance(block, nn.Linear) for block in blocks)
    learner.eval()
    for block in blocks:
        number += isinstance(block, nn.Linear)
        features = [block(x) for x in features]
        if isinstance(block, nn.ReLU) or number == layers:
            out[f"layer{number}"] = (1, probes.standardise(*features))
    learner.train(mode)
    return out


def _sgd(spec, backbone, dataset, images: Tensor | Images, raw, labels, classes: int) -> dict[str, float]:
    """The published recipe `spec.probes.sgd`: each epoch on new crops of the labelled images, read on the clean ones."""
    device, crop = _device(backbone), Recipe("crop and flip", (View(),))
    images = images.to(device) if isinstance(images, Tensor) else images

    def features(epoch: int) -> Tensor:
        # epochs that no run reaches: the crops are new, and the same for every backbone
        parts = _views_of(images, crop, spec.seed, 2**29 + epoch, device, feed.CHUNK)
        return torch.cat([features_of(backbone, v[0], dataset.mean, dataset.std, spec.precision) for v in parts])

    return probes.sgd(features, raw, labels, classes, spec.seed, probes.SGD_RECIPES[spec.probes.sgd])

"""Backbones out of the store, as files that other libraries load, and backbones of other libraries in, to be probed."""

from __future__ import annotations

import hashlib
import itertools
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from repro import data
from repro.core import io, places
from repro.core.methods import Untrained
from repro.core.own import Own
from repro.core.spec import RunSpec, flatten
from repro.core.store import Record, Store
from repro.core.sweep import differ
from repro.errors import ReproError
from repro.ssl import checkpoint, networks

FORMATS = ("torchvision", "timm", "safetensors")
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # what torchvision's and most of timm's weights expect
UCI, RESEARCH = (
    "CC BY 4.0 (UCI, optical recognition of handwritten digits)",
    "for non-commercial research and education",
)
LICENCES = {  # of data sets, as their owners state them
    "objects": "MIT (made by this package)",
    "digits": UCI, "digits-placed": UCI, "eurosat": "MIT", "clevr": "CC BY 4.0",
    **dict.fromkeys(("cifar10", "cifar100", "stl10"), "none stated; its authors ask to be cited"),
    **dict.fromkeys(("tiny_imagenet", "imagenet100", "imagenet", "inaturalist", "places365"), RESEARCH),
}  # fmt: skip
STEM = "net.conv1, net.maxpool = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False), torch.nn.Identity()\n"


def load(run: Any, store: Store | None = None) -> nn.Sequential:
    """The trained backbone of a run behind its normalisation, in eval mode on the CPU: images (N, 3, H, W) in [0, 1] to
    features (N, F). run: a key, its beginning, or a row of a frame. Raises ReproError where no weights were kept."""
    from torchvision.transforms import Normalize

    store = store or Store(places.store())
    record = find(run, store)
    spec, named = record.spec["data"], record.spec["backbone"]
    if differ(record.provenance.get("data_id", ""), data.fingerprint(spec["name"])):
        raise ReproError(f"The images of {spec['name']} have changed since {record.key} was trained: measure it again.")
    dataset = data.load(spec["name"], spec["size"], tuple(map(tuple, spec["options"])))
    named = named if isinstance(named, str) else Own(**{k: v for k, v in named.items() if k != "type"})
    net, _ = networks.backbone(named, dataset.train.images.shape[-1])
    _fill(net, torch.load(store.weights(record.key), map_location="cpu", weights_only=True), str(named), record.key)
    normalise = Normalize(dataset.mean.tolist(), dataset.std.tolist())
    return nn.Sequential(OrderedDict(normalise=normalise, backbone=net)).eval()


def kept(store: Store) -> list[Record]:
    """The runs whose weights were kept."""
    return [store.get(k) for k in store.keys() if store.weights(k).exists()]  # noqa: SIM118


def line(record: Record) -> str:
    """A run of those in a line."""
    row = flatten(record.spec)
    scores = (f"{k} {v:.1f} %" for k, v in record.metrics.items() if k.startswith("linear_test_"))
    about = (row["method"], row["backbone"], record.provenance["data_title"], f"seed {row['seed']}", next(scores, ""))
    return f"{record.key}  {', '.join(filter(None, map(str, about)))}"


def find(run: Any, store: Store) -> Record:
    """The run with kept weights that is meant."""
    text = str(getattr(run, "key", run))
    found = [k for k in store.keys() if text and k.startswith(text) and store.weights(k).exists()]  # noqa: SIM118
    if len(found) != 1:
        raise ReproError(
            f"{len(found) or 'No'} runs with weights begin with {text!r}: `repro weights list` shows those that there are, "
            "`repro measure --keep-weights` makes them."
        )
    return store.get(found[0])


def export(run: Any, to: str, file: Path, store: Store) -> Path:
    """Write a run's backbone as a state_dict under the names of torchvision or timm, or as safetensors, and a model card
    beside it, whose path is returned. Raises ReproError for a backbone that the library does not have."""
    record = find(run, store)
    name = record.spec["backbone"]
    if to != "safetensors" and not (isinstance(name, str) and name.startswith("resnet")):
        raise ReproError(f"{to} has no {name if isinstance(name, str) else name['name']}: choose --to safetensors.")
    model = load(run, store)
    state = {k: v.contiguous() for k, v in model.backbone.state_dict().items()}
    mean, std = model.normalise.mean, model.normalise.std
    if tensors := to == "safetensors" or file.suffix == ".safetensors":
        about = {"mean": str(mean), "std": str(std), "run": record.key}
        io.write_atomic(file, _safetensors().save(state, metadata=about))
    else:
        checkpoint.save(file, state)
    card = file.with_suffix(".md")
    io.write_atomic(card, _card(record, (mean, std), _building(record, to, state, file.name, tensors)))
    return card


def _building(record: Record, to: str, state: dict[str, Tensor], file: str, tensors: bool) -> str:
    """Python that builds the network and loads the file, without this package."""
    name = record.spec["backbone"]
    if not isinstance(name, str):
        return f"# net: the module that {name['name']} of {name['file']} builds (sha256 {name['sha256']})\n"
    if name.startswith("resnet"):
        made = f"timm.create_model({name!r}, num_classes=0)" if to == "timm" else f"torchvision.models.{name}()"
        code = f"import torch, {'timm' if to == 'timm' else 'torchvision'}\n\nnet = {made}\n"
        code += "" if to == "timm" else "net.fc = torch.nn.Identity()\n"
        code += STEM if state["conv1.weight"].shape[-1] == 3 else ""
    else:
        widths = [3, *(len(v) for v in state.values() if v.ndim == 4)]
        code = (
            "import torch\nfrom torch import nn\n\nlayers = []\n"
            f"for i, o in {list(itertools.pairwise(widths))}:\n"
            "    layers += [nn.Conv2d(i, o, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU()]\n"
            "net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        )
    read = f"load_file({file!r})" if tensors else f"torch.load({file!r}, weights_only=True)"
    code = ("from safetensors.torch import load_file\n" if tensors else "") + code
    return f"{code}net.load_state_dict({read}, strict=True)\nnet.eval()\n"


def _card(record: Record, norm: tuple[list[float], list[float]], code: str) -> str:
    spec, made = flatten(record.spec), record.provenance
    knobs = ", ".join(
        f"{k} {v}" for k, v in record.spec["method"].items() if k not in ("type", "name", "sha256", "file")
    )
    scores = [f"{k} {v:.2f} %" for k, v in record.metrics.items() if "_test_" in k]
    share = f", {spec['fraction']:.0%} of its images to train on" if spec["fraction"] < 1 else ""
    lines = {
        "data": f"{made['data_title']}{share}, {spec['size'] or 'own'} px",
        "licence of the data": LICENCES.get(spec["data"], "not known here: data of the reader's own"),
        "views": spec["recipe"],
        "method": f"{spec['method']}{f' ({knobs})' * bool(knobs)}",
        "training": f"{record.curves['epoch'][-1]} epochs, batch {spec['batch_size']}, {spec['optimiser']} {spec['lr']:g}",
        "seed": spec["seed"],
        "accuracy": "; ".join(scores) or "not probed",
        "made by": f"repro, run {record.key}, commit {made['commit']}, {made['started']}, {made['hardware']}",
    }
    mean, std = (", ".join(f"{v:.6g}" for v in values) for values in norm)
    rows = "".join(f"| {name} | {value} |\n" for name, value in lines.items())
    return (
        f"# {spec['method']}, {spec['backbone']}, {made['data_title']}\n\nA backbone trained without labels by one run.\n\n"
        f"| | |\n| --- | --- |\n{rows}\nImages (N, 3, H, W) in [0, 1] are normalised by mean ({mean}) and deviation ({std}); "
        f"the network gives features (N, F).\n\n```python\n{code}```\n"
    )


# --- in ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Loaded(Untrained):
    """A backbone's weights from a file, a method that trains nothing. sha256: of the file. mean, std: what its images are
    normalised by; () for the data's own. file: its path; no part of the key."""

    name: str
    sha256: str
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    file: str = field(default="", compare=False)


def method(file: Path, imagenet: bool = False) -> Loaded:
    """A file of weights as the method of a run. imagenet: its images are normalised by ImageNet's mean and
    deviation; else by those that the file itself tells, as ours do, or by the data's own."""
    if not file.is_file():
        raise ReproError(f"There is no file {file}: name the one that holds the weights.")
    mean, std = IMAGENET if imagenet else _read(file)[1]
    return Loaded(file.name, hashlib.sha256(file.read_bytes()).hexdigest(), mean, std, str(file.absolute()))


def put_in(spec: RunSpec, dataset: data.Dataset) -> tuple[nn.Module, data.Dataset]:
    """The backbone of a run whose method is a file, with the file's weights, and the data with its normalisation."""
    loaded, state = spec.method, _read(Path(spec.method.file))[0]
    stem = next((v.shape[-1] for k, v in state.items() if k.endswith("conv1.weight")), 0)
    net, _ = networks.backbone(spec.backbone, {3: 32, 7: 224}.get(stem, spec.data.size))
    _fill(net, state, str(spec.backbone), loaded.name)
    if loaded.mean:
        dataset = replace(dataset, mean=torch.tensor(loaded.mean), std=torch.tensor(loaded.std))
    return net, dataset


def _read(file: Path) -> tuple[dict[str, Tensor], tuple[tuple[float, ...], tuple[float, ...]]]:
    """A file's tensors by name, and mean and deviation where it tells them, else ()."""
    norm: tuple[tuple[float, ...], tuple[float, ...]] = (), ()
    try:
        if file.suffix == ".safetensors":
            with _safetensors().safe_open(file, "pt") as opened:
                state, about = {k: opened.get_tensor(k) for k in opened.keys()}, opened.metadata() or {}  # noqa: SIM118
            if "mean" in about:
                norm = tuple(tuple(map(float, about[k].strip("[]").split(","))) for k in ("mean", "std"))
        else:
            state = torch.load(file, map_location="cpu", weights_only=True)
            state = next((state[k] for k in ("state_dict", "model") if k in state), state)
        return {k: v for k, v in state.items() if isinstance(v, Tensor)}, norm
    except ReproError:
        raise
    except Exception as e:  # torch and safetensors raise many types
        raise ReproError(f"{file} holds no weights that can be read ({type(e).__name__}): give a state_dict.") from e


def _fill(net: nn.Module, state: dict[str, Tensor], backbone: str, where: str) -> None:
    """Load what of `state` is the backbone, whatever stands before its names ("backbone.", "module.encoder_q.")."""
    wanted = net.state_dict()
    first = next(iter(wanted), "")
    before = next((k.removesuffix(first) for k in state if k == first or k.endswith(f".{first}")), "")
    try:
        net.load_state_dict({k: state[before + k] for k in wanted if before + k in state or "num_batches" not in k})
    except (KeyError, RuntimeError) as e:
        what = f"it has no {e.args[0]}" if isinstance(e, KeyError) else str(e).splitlines()[-1].strip()
        raise ReproError(f"{where} does not fit the backbone {backbone} ({what}): name another --backbone.") from e


def _safetensors() -> Any:
    try:
        import safetensors.torch

        return safetensors.torch
    except ImportError:
        raise ReproError(
            "safetensors is not installed: `pip install safetensors` (the extra `weights`), or choose --to torchvision."
        ) from None

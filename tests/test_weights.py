"""Backbones as files: a model card's code loads them elsewhere with the same features, and a file is probed as its run was."""

import re
import subprocess
import sys

import pytest
import torch

import repro
from repro.core import sweep
from repro.core.spec import key
from repro.errors import ReproError
from repro.ssl import train, weights

IMAGES = torch.linspace(0, 1, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16)


@pytest.fixture(scope="module")
def kept(tiny, tmp_path_factory):
    """(store, spec of a small net, spec of a ResNet), both trained for a step with their weights kept."""
    store = weights.Store(tmp_path_factory.mktemp("weights") / "store")
    small = tiny(steps=1)
    large = tiny(steps=1, backbone="resnet18", batch_size=4, probes={"linear": False})
    sweep.measure([small], store, workers=1, quiet=True)
    sweep.measure([small, large], store, workers=1, quiet=True, keep_weights=True)
    return store, small, large


def code_of(card) -> str:
    return re.search(r"```python\n(.*)```", card.read_text(), re.S)[1]


def inputs(model) -> torch.Tensor:
    return (IMAGES - torch.tensor(model.normalise.mean).view(3, 1, 1)) / torch.tensor(model.normalise.std).view(3, 1, 1)


def test_a_run_stored_before_gets_its_weights(kept):
    store, small, large = kept
    assert {r.key for r in weights.kept(store)} == {key(small), key(large)}
    assert "SimCLR, resnet18, made-up objects (stand-in), seed 0" in weights.line(store.get(key(large)))


def test_the_cards_code_loads_it_where_repro_is_not(kept, tmp_path):
    store, _, large = kept
    card = weights.export(key(large), "torchvision", tmp_path / "net.pth", store)
    model = weights.load(key(large)[:8], store)
    torch.save(inputs(model), tmp_path / "x.pt")
    code = (
        f"{code_of(card)}\nimport sys\nassert not [m for m in sys.modules if m.startswith('repro')]\n"
        "with torch.no_grad():\n    torch.save(net(torch.load('x.pt')), 'features.pt')\n"
    )
    subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, check=True)
    with torch.no_grad():
        torch.testing.assert_close(torch.load(tmp_path / "features.pt"), model(IMAGES))
    said = card.read_text()
    for part in ("| licence of the data | MIT", "| seed | 0 |", "temperature 0.2", f"run {key(large)}, commit "):
        assert part in said


@pytest.mark.parametrize(("library", "number", "to"), [("timm", 2, "timm"), ("safetensors", 1, "safetensors")])
def test_other_libraries_load_it_strictly(kept, tmp_path, monkeypatch, library, number, to):
    pytest.importorskip(library)
    store, spec = kept[0], kept[number]
    card = weights.export(key(spec), to, tmp_path / f"net.{'safetensors' if number == 1 else 'pth'}", store)
    monkeypatch.chdir(tmp_path)
    found, model = {}, weights.load(key(spec), store)
    exec(code_of(card), found)
    with torch.no_grad():
        torch.testing.assert_close(found["net"](inputs(model)), model(IMAGES))


def test_a_file_is_probed_as_its_run_was(kept, tmp_path):
    store, small, _ = kept
    state = torch.load(store.weights(key(small)), weights_only=True)
    foreign = {f"module.encoder_q.{k.removeprefix('backbone.')}": v for k, v in state.items() if k.startswith("back")}
    torch.save({"epoch": 3, "state_dict": foreign}, tmp_path / "theirs.pth")
    probed = small.but(method=weights.method(tmp_path / "theirs.pth"))
    found, ours = train.run(probed).metrics, store.get(key(small)).metrics
    assert found["linear_test_class"] == ours["linear_test_class"]
    (tmp_path / "b").mkdir()
    moved = (tmp_path / "theirs.pth").rename(tmp_path / "b" / "theirs.pth")
    assert key(small.but(method=weights.method(moved))) == key(probed)
    assert key(small.but(method=weights.method(moved, imagenet=True))) != key(probed)
    with pytest.raises(ReproError, match=r"theirs\.pth does not fit the backbone resnet18 \(it has no conv1\.weight\)"):
        train.run(small.but(method=weights.method(moved), backbone="resnet18"))


def test_what_is_not_there_is_one_sentence(kept, tmp_path):
    store, small, _ = kept
    with pytest.raises(ReproError, match="No runs with weights begin with 'zz'"):
        repro.load("zz", store)
    with pytest.raises(ReproError, match="torchvision has no convnet: choose --to safetensors"):
        weights.export(key(small), "torchvision", tmp_path / "a.pth", store)
    (tmp_path / "a.pth").write_text("no weights")
    with pytest.raises(ReproError, match=r"a\.pth holds no weights that can be read"):
        weights.method(tmp_path / "a.pth")

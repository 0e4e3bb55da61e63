"""A method, a backbone or views in a reader's own file: trained as the built-in ones, and answered in one sentence."""

from __future__ import annotations

import re
import textwrap
from dataclasses import replace

import pytest
import torch

from repro.cli import main
from repro.core import own, places, sweep
from repro.core.methods import SimCLR
from repro.core.spec import flatten, key, to_dict
from repro.core.store import load
from repro.errors import ReproError
from repro.pages import notebook, verdicts
from repro.ssl import train
from repro.ssl.step import build

HEAD = (
    "from dataclasses import dataclass\nimport torch\n\n@dataclass(frozen=True)\nclass Mine:\n    weight: float = 1.0\n"
)
GOOD = HEAD + "    def loss(self, z, progress):\n        return self.weight * (z[0] - z[1]).square().mean()\n"


@pytest.fixture
def file(tmp_path):
    """file(text): a file of a reader's, by its path."""

    def written(text: str, name: str = "mine.py") -> str:
        (tmp_path / name).write_text(textwrap.dedent(text))
        return str(tmp_path / name)

    return written


def test_the_shipped_method_trains_and_is_stored_with_its_hash(tiny, store):
    spec = tiny(method=own.method("my_method.py:SIGReg"), epochs=2)
    (record,) = sweep.measure([spec], store, workers=1, quiet=True)
    assert record.metrics["linear_test_class"] > 0
    assert record.curves["loss"][1] < record.curves["loss"][0]
    row = flatten(record.spec)
    assert (row["method"], row["weight"], row["method_file"]) == ("SIGReg", 0.05, "notebooks/my_method.py")
    assert row["method_sha256"] == spec.method.sha256


def test_the_shipped_loss_tells_a_normal_cloud_from_what_collapsed():
    loss = own.made_of(own.method("my_method.py:SIGReg")).loss
    cloud = torch.randn(256, 64, generator=torch.Generator().manual_seed(0))
    line = cloud[:, :1] * torch.ones(64) / 8
    fine, narrow, gone = (float(loss(torch.stack([z, z]), 0.0)) for z in (cloud, line, 0 * cloud))
    assert fine < 0.1 * narrow < 0.1 * gone
    # a standard normal's characteristic function against itself: an integral that is known, of a point at zero
    t = torch.linspace(-5, 5, 17)
    normal = torch.exp(-t.square() / 2)
    assert gone == pytest.approx(0.05 * 256 * float(torch.trapezoid((1 - normal).square() * normal, t)), rel=1e-4)


def test_a_built_in_loss_in_a_file_gives_the_built_in_run(tiny, file):
    path = file(
        HEAD
        + "    def loss(self, z, progress):\n        from repro.ssl import losses\n        return losses.nt_xent(z, 0.2)\n"
    )
    mine, theirs = (train.run(tiny(method=m)) for m in (own.method(f"{path}:Mine"), SimCLR(0.2)))
    assert mine.metrics == theirs.metrics
    assert mine.curves == theirs.curves


def test_a_changed_file_is_a_new_run_and_a_moved_one_is_not(tiny, file, tmp_path):
    path = file(GOOD)
    first = own.method(f"{path}:Mine")
    moved = own.method(f"{file(GOOD, 'moved.py')}:Mine")
    assert key(tiny(method=moved)) == key(tiny(method=first))
    assert tiny(method=moved) == tiny(method=first)
    heavier = own.method(f"{path}:Mine", weight=2.0)
    file(GOOD + "# changed\n")
    keys = {key(tiny(method=m)) for m in (first, heavier, own.method(f"{path}:Mine"))}
    assert len(keys) == 3
    own._module.cache_clear()  # as in a worker process that comes later
    with pytest.raises(ReproError, match="was changed while its runs were being measured"):
        build(tiny(method=first), 16)


def test_keys_of_built_in_runs_do_not_know_of_it(tiny):
    assert "sha256" not in str(to_dict(tiny()))


def test_random_numbers_of_a_loss_are_the_runs_own(tiny, file):
    path = file(
        HEAD
        + "    def loss(self, z, progress):\n        return (z * torch.randn(z.shape)).mean() + z.square().mean()\n"
    )
    spec = tiny(method=own.method(f"{path}:Mine"))
    first = train.run(spec)
    torch.randn(7)  # another process has drawn others before
    assert train.run(spec).curves == first.curves
    assert train.run(replace(spec, seed=1)).curves != first.curves


def test_predictions_and_targets_come_where_the_class_asks_for_them(tiny, file):
    path = file(
        HEAD + "    predictor = True\n    target = True\n    ema = 0.5\n\n    def loss(self, z, progress, q, t):\n"
        "        assert q.requires_grad and not t.requires_grad and q.shape == t.shape == z.shape\n"
        "        return (q - t.flip(0)).square().mean()\n"
    )
    spec = tiny(method=own.method(f"{path}:Mine"))
    learner = build(spec, 16)
    assert hasattr(learner, "predictor")
    assert hasattr(learner, "target")
    assert train.run(spec).metrics["diverged"] == 0


def test_worker_processes_read_the_file_again(tiny, store, file):
    net = file(
        """
        from torch import nn

        def net(size):
            return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 8
        """,
        "net.py",
    )
    spec = tiny(method=own.method(f"{file(GOOD)}:Mine"), backbone=own.backbone(f"{net}:net"), steps=2)
    records = sweep.measure([replace(spec, seed=s) for s in (0, 1)], store, workers=2, quiet=True)
    assert len(records) == 2
    row = flatten(records[0].spec)
    assert (row["backbone"], row["backbone_file"]) == ("net", net)
    assert row["backbone_sha256"] != row["method_sha256"]


LOSS = "    def loss(self, z, progress):\n        "


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + LOSS + "return z.square().mean((1, 2))\n", r"line 7: Mine has a loss of shape \(2,\)"),
        (HEAD + LOSS + "return 0.0\n", "line 7: AttributeError: 'float' object"),
        (HEAD + LOSS + "return torch.zeros(())\n", r"line 7: Mine has a loss of shape \(\)"),
        (HEAD + LOSS + "return (z.sum() * 0).log() * 0\n", "line 7: Mine has a loss that is nan at the first step"),
        (HEAD + LOSS + "y = z @ torch.ones(3)\n        return y.mean()\n", "line 8: RuntimeError: "),
        (HEAD + LOSS + "return self.heaviness * z.mean()\n", "line 8: AttributeError: .*heaviness"),
    ],
)
def test_what_goes_wrong_in_a_loss_is_said_in_a_sentence_with_its_line(tiny, file, text, said):
    method = own.method(f"{file(text)}:Mine")
    with pytest.raises(ReproError, match=rf"mine\.py, {said}") as e:
        train.run(tiny(method=method))
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        (GOOD, "Other", "has no Other: it has Mine"),
        (GOOD.replace("(frozen=True)", ""), "Mine", "line 4: Mine is no frozen dataclass"),
        ("class Mine:\n    pass\n", "Mine", "line 1: Mine is no frozen dataclass"),
        (HEAD, "Mine", "line 4: Mine has no method loss"),
        (GOOD.replace(" = 1.0", ""), "Mine", "line 4: TypeError: .*missing 1 required"),
        (GOOD.replace(": float = 1.0", ": tuple = ()"), "Mine", "line 4: Mine has a knob weight"),
        (GOOD + "def (:\n", "Mine", "line 9: SyntaxError"),
        ("import nothing_of_the_kind\n", "Mine", "line 1: ModuleNotFoundError: No module named"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_before_anything_is_trained(file, text, name, said):
    with pytest.raises(ReproError, match=said) as e:
        own.method(f"{file(text)}:{name}")
    assert "mine.py" in str(e.value)
    assert "\n" not in str(e.value)


def test_a_knob_that_has_the_name_of_a_runs_own_field_is_refused(tiny, file):
    method = own.method(f"{file(GOOD.replace('weight', 'epochs'))}:Mine")
    with pytest.raises(ReproError, match=r"mine\.py, line 1: .*'epochs'"):
        tiny(method=method)


def test_a_missing_file_and_a_missing_name():
    with pytest.raises(ReproError, match=r"There is no file nowhere\.py"):
        own.method("nowhere.py:Mine")
    with pytest.raises(ReproError, match=r"There is no file my_method\.py"):
        own.method("my_method.py")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return nn.Flatten()", r"line 3: TypeError: cannot unpack non-iterable Flatten"),
        ("return nn.Flatten(), 5", r"line 3: net promises 5 features, but two images give \(2, 768\)"),
        ("return nn.Linear(7, 5), 5", r"line 3: RuntimeError: mat1 and mat2"),
        ("return nn.Nothing()", "line 4: AttributeError"),
    ],
)
def test_what_is_wrong_with_a_backbone(tiny, file, body, said):
    path = file(f"from torch import nn\n\ndef net(size):\n    {body}\n")
    net = own.backbone(f"{path}:net")
    with pytest.raises(ReproError, match=said) as e:
        build(tiny(backbone=net), 16)
    assert "\n" not in str(e.value)


def test_views_in_a_file_are_the_standard_runs(file):
    path = file("from repro.views.recipe import View\n\nSMALL = View(crop=(0.3, 1.0))\nNONE = 3\n")
    study = notebook.study("your_own_method", recipe=f"{path}:SMALL")
    recipes = {s.recipe for s in study.plan(study.claims[0]) if s.method == SimCLR(0.2)}
    assert [(r.name, len(r.views), r.views[0].crop) for r in recipes] == [("SMALL", 2, (0.3, 1.0))]
    with pytest.raises(ReproError, match="NONE is no View"):
        notebook.study("your_own_method", recipe=f"{path}:NONE")


def test_a_notebook_without_a_place_for_it_says_which_has_one(capsys):
    assert main(["measure", "batch_size", "--profile", "smoke", "--method", "my_method.py:SIGReg"]) == 2
    assert re.search(
        r"batch_size has no place for a method of your own: choose from your_own_method", capsys.readouterr().err
    )


def test_measure_takes_a_method_of_ones_own(file, tmp_path, capsys):
    path = file(GOOD)
    words = ["measure", "your_own_method", "--profile", "smoke", "--seeds", "1", "--workers", "1"]
    assert main([*words, "--method", f"{path}:Mine", "--store", str(tmp_path / "s"), "--out", str(tmp_path / "o")]) == 0
    told = capsys.readouterr().out
    assert "D1: not judged. Not judged" in told
    assert "Mine reaches" in told
    words += ["--first-seed", "7", "--store", str(tmp_path / "s"), "--out", str(tmp_path / "again")]
    assert main(words) == 0
    again = tmp_path / "again" / "smoke" / "your_own_method"
    assert {r.spec["seed"] for r in load(again / "runs.jsonl")} == {7}
    assert set(verdicts.load(again / "verdicts.json")) == {"D1"}
    assert main([*words, "--method", "nowhere.py:Mine"]) == 2
    assert "There is no file nowhere.py" in capsys.readouterr().err


def test_the_shipped_file_is_short():
    assert len((places.notebooks() / "my_method.py").read_text().splitlines()) <= 40

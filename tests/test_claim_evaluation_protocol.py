"""The verdict on evaluation protocols, on frames made up to hold or to break claim A10."""

from __future__ import annotations

import math

import numpy as np
import pytest
from studies import made_up

from repro import figures
from repro.claims import evaluation_protocol, kit
from repro.core.profiles import base, profile
from repro.core.spec import key
from repro.pages import notebook

STUDY = notebook.study("evaluation_protocol", profile="quick")
(CLAIM,) = evaluation_protocol.CLAIMS


def untrained(spec) -> bool:
    return type(spec.method).__name__ == "Untrained"


def probed(
    study=STUDY, online=0.0, mlp_loss=3.0, linear_loss=0.0, mlp=5.0, follows="SimCLR BYOL", mlp_floor=20.0,
    broken=lambda s: False,
):  # fmt: skip
    """Curves that rise with the epoch; `online` points above offline; the MLP's best pass over its last; the same of the
    linear probe; the MLP over the linear probe. The online probes of methods that `follows` lacks read 9 %."""

    def more(spec):
        if broken(spec):
            return {}, {"epoch": [1], "loss": [math.nan]}, {}
        task, x = spec.probes.tasks[0], 50.0
        if untrained(spec):
            x = 15.0 if spec.backbone == "pixels" else 20.0
        x += np.random.default_rng(int(key(spec), 16) % 2**32).normal(0, 0.2)
        read = {"linear": x, "mlp": mlp_floor if untrained(spec) else x + mlp, "knn": x - 3, "trainmode": x - 1,
                "cropped": x, "online": x + online, "linear_pass": x, "mlp_pass": x + mlp}  # fmt: skip
        metrics = {f"{k}_{s}_{task}": v for k, v in read.items() for s in ("val", "test")}
        for name, loss in (("linear_pass", linear_loss), ("mlp_pass", mlp_loss)):
            metrics |= {f"{name}_{s}_last_{task}": read[name] - loss for s in ("val", "test")}
        if untrained(spec):
            return metrics, {}, {}
        at = list(range(1, spec.epochs + 1))[:: spec.probes.every]
        curves = {"probe_epoch": at, "epoch": at, "loss": [1.0] * len(at)}
        for i, name in enumerate(("online", "linear", "mlp", "knn")):
            own = np.random.default_rng([i, spec.seed]).normal(0, 0.3, len(at))
            lost = name == "online" and type(spec.method).__name__ not in follows
            curves[f"{name}_val_{task}"] = ((9 if lost else 30 + 2 * np.array(at)) + own).tolist()
        for name in ("linear_pass", "mlp_pass"):
            curves[f"{name}_val_{task}"] = np.linspace(30, 50, spec.probes.passes).tolist()
        return metrics, curves, {}

    return made_up(CLAIM, study, lambda spec, task: 50.0, more, broken)


def test_all_of_it_is_reproduced():
    found = CLAIM.judge(probed())
    assert found.verdict == "reproduced", found.sentence
    assert len(found.parts) == 8
    assert len(found.finding.split()) <= 20
    assert {p.name: p.paper for p in found.parts if p.paper} == {"SimCLR: MLP - linear": pytest.approx(2.92)}


@pytest.mark.parametrize(
    ("changed", "number"),
    [({"online": -5.0}, 0), ({"mlp_loss": -1.0}, 1), ({"linear_loss": 2.0}, 2), ({"mlp": -2.0}, 3)],
)
def test_each_part_can_be_contradicted_alone(changed, number):
    found = CLAIM.judge(probed(**changed))
    assert found.verdict == "mixed"
    assert [i for i, p in enumerate(found.parts) if p.word == "contradicted"] == [number, number + 4]
    assert {p.word for i, p in enumerate(found.parts) if i % 4 != number} == {"supported"}


def test_all_of_it_is_contradicted():
    assert CLAIM.judge(probed(online=-5, mlp_loss=-1, linear_loss=2, mlp=-2)).verdict == "contradicted"


def test_a_method_whose_online_probe_cannot_follow_is_left_out():
    found = CLAIM.judge(probed(follows="SimCLR"))
    assert found.verdict == "reproduced"
    assert {p.name.partition(":")[0] for p in found.parts} == {"SimCLR"}
    assert "BYOL's online probe does not follow" in found.finding
    assert CLAIM.judge(probed(follows="")).verdict == "not judged"


def test_an_mlp_that_needs_no_backbone_says_nothing():
    found = CLAIM.judge(probed(mlp_floor=50.0))
    assert found.verdict == "not judged"
    assert "by an MLP probe, tuned SSL reaches" in found.sentence


@pytest.mark.parametrize("changes", [
    {"profile": "smoke"}, {"data": "digits"}, {"seeds": 1}, {"profile": "cpu"}, {"profile": "gpu"}, {"profile": "paper"},
], ids=["smoke", "one task", "one seed", "cpu", "gpu", "paper"])  # fmt: skip
def test_whatever_was_run_is_drawn(changes):
    study = notebook.study("evaluation_protocol", **({"profile": "quick"} | changes))
    runs = probed(study)
    with figures.theme("light"):
        drawn = CLAIM.draw(runs)
    assert len(drawn.table) == len(runs)
    table = evaluation_protocol.choices(runs)
    assert list(table) == ["SimCLR", "BYOL"]
    assert "(-1.0" in table.loc["batch norm in train mode", "SimCLR"]


@pytest.mark.parametrize("method", ["SimCLR", "BYOL", ""], ids=["SimCLR", "BYOL", "both"])
def test_diverged_runs(method):
    runs = probed(broken=lambda s: not untrained(s) and type(s.method).__name__ in (method or "SimCLR BYOL"))
    assert CLAIM.judge(runs).verdict == "not judged"
    with figures.theme("light"):
        assert CLAIM.draw(runs).alt
    assert evaluation_protocol.choices(runs).shape[1] == (1 if method else 0)


def test_at_cpu_all_probes_see_as_many_labels_as_images_were_trained_on():
    runs = CLAIM.plan(profile("cpu"))
    trained = [s for s in runs if not untrained(s)]
    assert len(trained) == 10
    assert {s.data.fraction for s in trained} == {2 * base(profile("cpu")).data.fraction}
    assert {s.probes.labels for s in runs} == {20_000}
    assert {s.epochs // s.probes.every for s in trained} == {10}


def test_photographs_need_only_be_above_the_random_encoder():
    for of, word in (("quick", "less than 10 points above the floor raw pixels"), ("cpu", "")):
        runs = probed(notebook.study("evaluation_protocol", profile=of))
        runs.loc[runs["backbone"] == "pixels", kit.column(runs)] = 45.0
        assert word in kit.cannot_carry(runs)
        assert bool(word) == bool(kit.cannot_carry(runs))

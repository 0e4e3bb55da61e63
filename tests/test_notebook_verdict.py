"""What a notebook does with a verdict: its class of evidence, and how it is shown."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from studies import made_up

from repro import claims
from repro.claims import Claim, Found, Verdict, registry
from repro.core.datasets import DATASETS
from repro.pages import notebook

PART = Found("gray <over> crop", "SUP(1)", "supported", 9.04, 8.0, 10.0, "points", 5, paper=8.5)
FOUND = Verdict(
    "mixed", 9.04, 8.0, 10.0, "points", 5, "", "convnet", "Gray gains 9.0 points.", "Gray gains 9.0 points.",
    "photographs", (PART, replace(PART, name="all over gray", word="too small", mean=None, paper=None)),
)  # fmt: skip
CIFAR = DATASETS["cifar10"].title


def evidence(claim_id: str, *titles: str, found: Verdict = FOUND) -> str:
    return notebook._evidence(claim_id, found, pd.DataFrame({"data_title": [*titles, None]}))


def test_only_the_official_set_is_the_papers_own_data():
    own = claims.EVIDENCE[-1]
    assert [evidence("B1", CIFAR), evidence("B1", CIFAR, DATASETS["stl10"].title)] == [own, own]
    assert evidence("B1", f"{CIFAR} (JPEG-75 copy)") == "photographs"
    assert evidence("B1", CIFAR, "my own photographs") == "photographs"
    assert evidence("A8", CIFAR) == "photographs"  # that paper trains on ImageNet
    assert evidence("A8", DATASETS["imagenet"].title) == own
    assert evidence("B1", CIFAR, found=replace(FOUND, evidence="toy")) == "toy"
    assert notebook._evidence("B1", FOUND, pd.DataFrame()) == "photographs"
    assert evidence("Z9", CIFAR) == "photographs"  # a claim that the registry lacks


def test_nothing_measured_has_no_class():
    assert evidence("B3", CIFAR, found=replace(FOUND, seeds=0)) == ""


def test_the_registry_has_the_last_word(monkeypatch):
    known = registry.load()
    entries = known.claims | {"B1": replace(known.claims["B1"], evidence="identity or theory")}
    monkeypatch.setattr(registry, "load", lambda: replace(known, claims=entries))
    assert evidence("B1", CIFAR) == "identity or theory"


@pytest.mark.parametrize(("word", "signs"), [("mixed", ("✓", "&lt;")), ("not judged", ("–", "–"))])
def test_a_verdict_is_shown_with_its_parts(word, signs):
    shown = notebook._worded("B1", replace(FOUND, verdict=word), "90.3 & 92.2")
    lines = shown["text/plain"].splitlines()
    assert lines[0] == f"B1: {word} (photographs). Gray gains 9.0 points."
    assert lines[1].startswith("  gray <over> crop, 9.0 [8.0, 10.0] points, SUP(1), 8.5, ")
    html = re.sub(r">\s+<", "><", shown["text/html"])
    assert "The paper: 90.3 &amp; 92.2" in html
    assert "<td>gray &lt;over&gt; crop</td><td>9.0 [8.0, 10.0] points</td><td>SUP(1)</td><td>8.5</td>" in html
    told = ("supported", "too small") if word == "mixed" else ("not judged", "not judged")
    assert all(f"<td>{sign} {part}</td>" in html for sign, part in zip(signs, told))


def test_judge_gives_the_class_of_evidence(monkeypatch):
    claim = Claim("A13", lambda profile: None, lambda frame: FOUND, lambda frame: None)
    study = notebook.study("single_gpu", "quick")
    monkeypatch.setattr(notebook, "find", lambda study, claim_id: claim)
    monkeypatch.setattr(notebook, "whole", lambda study, runs, claim: study)
    monkeypatch.setattr(notebook.Study, "plan", lambda study, claim: [study.profile])
    monkeypatch.setattr(notebook, "rows", lambda study, runs, claim: runs)
    monkeypatch.setattr(notebook, "key", str)
    found = notebook.judge(study, pd.DataFrame({"data_title": [DATASETS["imagenet"].title]}), "A13")
    assert (found.verdict, found.evidence, found.parts) == ("mixed", claims.EVIDENCE[-1], FOUND.parts)


def test_a_claim_that_its_data_cannot_carry_is_shown_by_one_seed():
    (claim,) = (c for c in claims.of("batch_size") if c.id == "A6")
    study, reason = notebook.study("batch_size", "quick"), registry.entry("A6").shown["quick"]
    changed = (({}, 1), ({"seeds": 3}, 3), ({"seeds": 5}, 5), ({"data": "digits"}, 5), ({"profile": "cpu"}, 5))
    for changes, seeds in changed:
        plan = notebook.study("batch_size", **{"profile": "quick", **changes}).plan(claim)
        assert {s.seed for s in plan} == set(range(seeds))
    runs = made_up(claim, study, lambda spec, task: 50.0).drop(columns="cell")
    found = notebook.judge(study, runs, "A6")
    assert (found.verdict, found.seeds) == ("not judged", 1)
    assert found.sentence.startswith(f"Not judged, but shown by one seed: {reason}. ")

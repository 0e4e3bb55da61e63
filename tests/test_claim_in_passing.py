"""The verdicts on what the papers say in passing, on frames made up to hold or to break them."""

import pytest
from studies import check_finished, every_study, made_up

from repro.claims.in_passing import CLAIMS
from repro.core.spec import key
from repro.pages import notebook

BY_ID = {claim.id: claim for claim in CLAIMS}
STUDY = notebook.study("in_passing", profile="quick")
VIEWS = {"crop": 1.0, "crop+gray": 1.2, "crop+jitter": 2.5, "all": 3.0, "crop+solarize": 1.1, "crop+blur": 1.6}


def frame(id, accuracy=None, study=STUDY, **cost):
    """accuracy: by cell; cost: of making views, by stack, or in `msr` and `independent` views."""
    claim = BY_ID[id]
    labels = claim.plan(study.profile).labels

    def more(spec):
        near = 1 + int(key(spec), 16) % 5 / 100
        times = {f"cost_{s}": near * cost.get(s, v) for s, v in VIEWS.items()}
        times |= {f"views_{w}_ratio": near * cost.get(w, v) for w, v in (("msr", 1.1), ("independent", 1.8))}
        return {}, {}, times

    def read(spec, task):
        return (accuracy or {}).get(labels[key(spec)]["what"], 50.0)

    return made_up(claim, study, read, more)


@pytest.mark.parametrize(
    ("id", "given", "word"),
    [
        ("A18", {}, "reproduced"),
        ("A18", {"all": 1.2}, "contradicted"),
        ("A19", {"accuracy": {"crop": 40.0}}, "reproduced"),
        ("A19", {"accuracy": {"crop": 40.0, "all": 60.0}}, "mixed"),
        ("A20", {"accuracy": {"neither": 45.0}}, "reproduced"),
        ("A20", {"accuracy": {"neither": 45.0, "both": 55.0}}, "mixed"),
        ("A21", {"accuracy": {"none": 40.0}}, "reproduced"),
        ("A21", {"accuracy": {"none": 52.0}}, "contradicted"),
        ("A22", {"accuracy": {"SGD, small batches": 40.0}}, "reproduced"),
        ("A22", {"accuracy": {"SGD, small batches": 40.0, "LARS, small batches": 40.0}}, "contradicted"),
        ("B13", {}, "reproduced"),
        ("B13", {"msr": 1.8}, "contradicted"),
        ("B14", {"accuracy": {"0.5": 48.0}}, "reproduced"),
        ("B14", {"accuracy": {"0.5": 52.0}}, "contradicted"),
        ("C12", {"accuracy": {"2 views": 44.0, "2 views, twice as long": 47.0}}, "reproduced"),
        ("C12", {"accuracy": {"2 views": 44.0, "2 views, twice as long": 51.0}}, "mixed"),
        ("C11", {"accuracy": {"25 %": 40.0, "50 %": 45.0}}, "reproduced"),
        ("C11", {"accuracy": {"25 %": 40.0, "50 %": 51.0}}, "mixed"),
        ("A20", {"accuracy": {"neither": 21.0}}, "not judged"),
    ],
)
def test_each_word_comes_out(id, given, word):
    assert BY_ID[id].judge(frame(id, **given)).verdict == word


@every_study("in_passing")
def test_any_study_is_judged_and_drawn(study):
    for id, claim in BY_ID.items():
        runs = frame(id, study=study)
        check_finished(claim, runs, rows=len(runs))

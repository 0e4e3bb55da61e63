"""The verdicts on what the papers say in passing, on frames made up to hold or to break them."""

import pytest
from studies import check_finished, every_study, made_up

from repro.claims.in_passing import CLAIMS
from repro.claims.msr_transfer import LARGE
from repro.core.spec import key
from repro.pages import notebook

BY_ID = {claim.id: claim for claim in CLAIMS}
STUDY = notebook.study("in_passing", profile="quick")
VIEWS = {"crop": 1.0, "crop+gray": 1.2, "crop+jitter": 2.5, "all": 3.0, "crop+solarize": 1.1, "crop+blur": 1.6}


def frame(id, accuracy=None, study=STUDY, metrics=None, task=None, **cost):
    """accuracy: by cell; task: by cell and task, in its place; metrics: by cell, more of them; cost: of making views, by
    stack, or in `msr` and `independent` views."""
    claim = BY_ID[id]
    labels = claim.plan(study.profile).labels

    def more(spec):
        near = 1 + int(key(spec), 16) % 5 / 100
        times = {f"cost_{s}": near * cost.get(s, v) for s, v in VIEWS.items()}
        times |= {f"views_{w}_ratio": near * cost.get(w, v) for w, v in (("msr", 1.1), ("independent", 1.8))}
        what = labels[key(spec)].get("what")
        times["wall_seconds"] = near * cost.get(what, 1.0)
        return {"rankme": 10.0} | (metrics or {}).get(what, {}), {}, times

    def read(spec, name):
        what = labels[key(spec)]["what"]
        return (task or {}).get((what, name), (accuracy or {}).get(what, 50.0))

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
        ("A23", {"task": {("all", "class"): 58.0, ("all", "hue"): 51.0}}, "reproduced"),
        ("A23", {"accuracy": {"all": 58.0}}, "mixed"),
        ("A26", {"offline": 2.0}, "reproduced"),
        ("A26", {"offline": 0.5}, "contradicted"),
        ("B15", {"accuracy": {"aggressive online": 53.0}}, "reproduced"),
        ("B15", {"accuracy": {"aggressive target": 53.0}}, "contradicted"),
        ("B15", {"accuracy": {"aggressive target": 22.0}}, "reproduced"),
        ("B15", {"accuracy": {"aggressive online": 22.0}}, "not judged"),
        ("B16", {}, "reproduced"),
        ("B16", {"accuracy": {"BYOL, long": 53.0}}, "contradicted"),
        ("B17", {}, "not judged"),  # five seeds say nothing of a spread
        ("B21", {}, "reproduced"),
        ("B21", {"accuracy": {"prediction": 53.0}}, "contradicted"),
        ("C13", {"metrics": {"4 views": {"rankme": 20.0}, "8 views": {"rankme": 30.0}}}, "reproduced"),
        ("C13", {"metrics": {"4 views": {"rankme": 9.0}, "8 views": {"rankme": 8.0}}}, "contradicted"),
    ],
)
def test_each_word_comes_out(id, given, word):
    assert BY_ID[id].judge(frame(id, **given)).verdict == word


@pytest.mark.parametrize(
    ("other", "word"),
    [(lambda rank: -rank, "reproduced"), (lambda rank: rank, "contradicted")],
    ids=["reversed", "same"],
)
def test_tasks_that_rank_cells_alike_contradict_a24(other, word):
    cells = sorted({label.get("what", "") for label in BY_ID["A24"].plan(STUDY.profile).labels.values()} - {""})
    task = {(what, "class"): 40.0 + 2 * i for i, what in enumerate(cells)}
    task |= {(what, t): 60.0 + other(2 * i) for i, what in enumerate(cells) for t in ("hue", "quadrant", "ground")}
    assert BY_ID["A24"].judge(frame("A24", task=task)).verdict == word


def test_twenty_seeds_decide_whether_trials_spread_alike():
    study = notebook.study("in_passing", profile="quick", seeds=20)
    assert BY_ID["B17"].judge(frame("B17", study=study)).verdict == "reproduced"


PAPER = notebook.study("in_passing", profile="paper")
FEW, MANY = ("CIFAR-10", "STL-10"), ("CIFAR-100", "Tiny ImageNet")


@pytest.mark.parametrize(
    ("id", "given", "word"),
    [
        ("A25", {"large batch": 52.0}, "reproduced"),
        ("A25", {"large batch": 60.0}, "mixed"),
        ("B18", {f"{s}: AW": 53.0 for s in MANY} | {"STL-10: AW": 48.0}, "reproduced"),
        ("B18", {f"{s}: AW": 53.0 for s in FEW}, "contradicted"),
        ("B19", {f"{s}: 0.3": 60.0 for s in ("CIFAR-10", "CIFAR-100")}
                | {f"{s}: 0.4": 60.0 for s in ("STL-10", "Tiny ImageNet")}, "reproduced"),
        ("B20", {"MSR": 53.0}, "reproduced"),
        ("B20", {"SimSiam": 53.0}, "contradicted"),
    ],
)  # fmt: skip
def test_claims_on_the_papers_own_data_are_planned_at_paper_and_cited_elsewhere(id, given, word):
    labels = BY_ID[id].plan(PAPER.profile).labels
    sgd = {w: {LARGE: v} for w, v in ({"MSR": 50.0, "SimCLR": 50.0, "MoCo v2": 50.0, "SimSiam": 50.0} | given).items()}
    assert BY_ID[id].judge(frame(id, given, PAPER, metrics=sgd)).verdict == word
    assert labels
    assert not BY_ID[id].plan(STUDY.profile)
    empty = frame(id)
    assert BY_ID[id].judge(empty).verdict == "not judged"
    assert (BY_ID[id].draw(empty).table["paper"] > 0).all()


@every_study("in_passing")
def test_any_study_is_judged_and_drawn(study):
    for id, claim in BY_ID.items():
        runs = frame(id, study=study)
        if len(runs):
            check_finished(claim, runs, rows=len(runs))

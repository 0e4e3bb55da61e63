"""A run that diverges, as `repro.ssl.train` returns it, breaks neither figure nor verdict of any claim."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from repro import figures, stats
from repro.bench import long
from repro.claims import augmentations, notebooks
from repro.core import store, sweep
from repro.pages import explore, notebook

FIGURES = Path(__file__).resolve().parent.parent / "figures"


def committed(slug: str) -> tuple[notebook.Study, list[store.Record]]:
    """A notebook with its committed runs, on photographs where it has some: most claims have one seed alone at quick."""
    profile = "cpu" if (FIGURES / "cpu" / slug).exists() else "quick"
    return notebook.study(slug, profile, results="stored"), store.load(FIGURES / profile / slug / "runs.jsonl")


def diverged(record: store.Record) -> store.Record:
    """A training run that broke in its first epoch, in place of one that was measured."""
    curves = {k: v[:1] for k, v in record.curves.items() if k.startswith("pair_")} | {"epoch": [1], "loss": [math.nan]}
    times = {k: v[:1] for k, v in record.provenance.items() if k.startswith("epoch_")}
    metrics = {"diverged": 1.0, "steps_done": 4.0}
    return replace(record, metrics=metrics, curves=curves, provenance=record.provenance | times)


def trained(record: store.Record) -> bool:
    return record.kind == "RunSpec" and record.spec["method"]["type"] != "Untrained"


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2, 3, 4)], ids=["one seed", "every seed of a setting"])
@pytest.mark.parametrize("slug", notebooks())
def test_claims_are_drawn_and_judged(slug, seeds):
    study, records = committed(slug)
    for claim in study.claims:
        planned = {name: labels.get("cell") for name, labels in study.plan(claim).labels.items()}
        mine = [r for r in records if r.key in planned]
        runs = [r for r in mine if trained(r)]
        if not runs or (slug == "multi_augmentation" and len(seeds) > 1):
            continue  # which needs a first checkpoint of every setting, and says so
        if set(planned.values()) - {planned[r.key] for r in mine}:
            continue  # it waits to be measured, but shares some runs
        first = runs[0].spec | {"seed": 0}
        broken = {r.key for r in runs if r.spec["seed"] in seeds and (len(seeds) == 1 or r.spec | {"seed": 0} == first)}
        frame = notebook.rows(study, store.frame([diverged(r) if r.key in broken else r for r in mine]), claim)
        with figures.theme("light"):
            assert claim.draw(frame).alt
        found = claim.judge(frame)
        assert found.verdict in stats.WORDS
        assert found.sentence
        assert slug != "augmentations" or study.shown(claim) or "reaches nan" not in found.sentence


def test_a_run_that_stopped_early_makes_no_stack_cheap():
    study, records = committed("augmentations")
    some = [diverged(r) if trained(r) and r.spec["seed"] == 0 else r for r in records]
    rest = [r for r in records if not trained(r) or r.spec["seed"] != 0]
    frames = [notebook.rows(study, store.frame(r), study.claims[0]) for r in (some, rest)]
    found, wanted = (augmentations.costs(frame)["training, ratio to crop"].tolist() for frame in frames)
    assert found == pytest.approx(wanted)


def test_a_knobs_run_has_the_columns_of_the_others(monkeypatch):
    study, records = committed("start_here")
    records = [r for r in records if trained(r)]
    monkeypatch.setattr(sweep, "measure", lambda *_, **__: [diverged(records[0])])
    row = explore._run(study, store.frame(records[1:]), records[0].spec).iloc[0]
    assert math.isnan(row["linear_test_class"])


def test_a_long_run_is_reported_without_what_it_did_not_come_to():
    runs = [diverged(r) for r in committed("start_here")[1] if trained(r)]
    assert long.report(store.frame(runs))[["linear", "kNN", "to 80 %"]].isna().all(axis=None)

"""Seeds in blocks: which are judged, where a further look is asked for; committed runs that count as stored."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from studies import made_up

from repro.claims import augmentations
from repro.core import places, store
from repro.core.datasets import SPLITS
from repro.core.spec import key
from repro.pages import notebook

STUDY = notebook.study("augmentations", profile="cpu")
A8 = next(c for c in augmentations.CLAIMS if c.id == "A8")
HEIGHTS = {"crop": 45.0, "crop+gray": 48.0, "all": 48.0}


def measured(study=STUDY, noise: float = 3.0):
    """Runs of A8 as a store would give them."""
    labels = A8.plan(study.profile).labels
    runs = made_up(A8, study, lambda spec, task: HEIGHTS.get(labels[key(spec)]["stack"], 46.0), noise=noise)
    return runs.drop(columns=["cell", "stack"])


def test_an_inconclusive_claim_asks_for_a_block_of_seeds_until_the_cap():
    runs, ten = measured(), measured(STUDY.longest)
    assert STUDY.longest.profile.seeds == 2 * STUDY.profile.seeds == 10
    more = notebook.next_look(STUDY, runs)
    assert set(more) == {key(s) for s in A8.plan(STUDY.longest.profile)} - set(runs["key"])
    assert {s.seed for s in more.values()} == {5, 6, 7, 8, 9}
    assert notebook.next_look(STUDY, ten) == {}


def test_a_decided_claim_asks_for_none():
    assert notebook.next_look(STUDY, measured(noise=0.1)) == {}


@pytest.mark.parametrize(("stored", "judged"), [(10, 10), (7, 5), (5, 5), (3, 3)])
def test_seeds_are_judged_in_whole_blocks(stored, judged):
    runs = measured(STUDY.longest)
    runs = runs[runs["seed"] < stored]
    assert notebook.judge(STUDY, runs, "A8").seeds == judged
    assert len(notebook.rows(notebook.whole(STUDY, runs, A8), runs, A8)) == len(runs[runs["seed"] < judged])


def test_a_reader_who_asks_for_seeds_gets_so_many():
    two = replace(STUDY, profile=replace(STUDY.profile, seeds=2))
    assert two.longest == two


@pytest.mark.parametrize(("title", "taken"), [("CIFAR-10", 2), ("CIFAR-10 (a copy)", 1)])
def test_committed_runs_count_as_stored_where_the_data_are_the_same(tmp_path, monkeypatch, title, taken):
    """A record of a prepared set names it; a run of another set, or of a copy of it, does not count."""
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    monkeypatch.setattr(places, "reference", lambda: tmp_path / "figures")
    (tmp_path / "cifar10").mkdir()
    for split in SPLITS[::2]:
        (tmp_path / "cifar10" / f"{split}.beton").touch()
        (tmp_path / "cifar10" / f"{split}.json").write_text(json.dumps({"title": title}))
    records = [
        store.Record(
            "a" * 16, "RunSpec", {"data": {"name": "cifar10"}}, {"diverged": 0.0}, {}, {"data_title": "CIFAR-10"}
        ),
        store.Record("b" * 16, "ViewsSpec", {"images": 512}, {}, {}, {}),
    ]
    store.export(records, tmp_path / "figures" / "cpu" / "augmentations" / "runs.jsonl")
    where = store.Store(tmp_path / "store")
    notebook.take_up(where, STUDY)
    assert len(where.keys()) == taken
    embedded = notebook.study("augmentations", profile="quick")
    notebook.take_up(store.Store(tmp_path / "other"), embedded)
    assert store.Store(tmp_path / "other").keys() == []

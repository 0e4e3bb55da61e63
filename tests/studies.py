"""What every claim's tests ask of it: whatever a reader makes of the knobs, there is a figure and a verdict; and frames
made up to hold or to break a claim."""

from __future__ import annotations

import math

import numpy as np
import pytest

from repro import figures
from repro.core import datasets, store
from repro.core.methods import Untrained
from repro.core.provenance import machine
from repro.core.spec import RunSpec, key, to_dict
from repro.pages import notebook

KNOBS = {
    "smoke": {"profile": "smoke"},
    "one task": {"profile": "quick", "data": "digits"},
    "one seed": {"profile": "quick", "seeds": 1},
    "gpu": {"profile": "gpu"},
}


def every_study(slug: str):
    """Parametrises a test with studies of one notebook."""
    return pytest.mark.parametrize("study", [notebook.study(slug, **k) for k in KNOBS.values()], ids=list(KNOBS))


def check_finished(claim, runs, rows: int | None = None) -> None:
    """The claim draws `runs` in both themes, with a table of so many rows (all), and judges them."""
    for theme in ("light", "dark"):
        with figures.theme(theme):
            drawn = claim.draw(runs)
    assert drawn.alt
    assert len(drawn.table) == (len(runs) if rows is None else rows)
    assert claim.judge(runs).data == "made up (stand-in)"


def made_up(
    claim, study, accuracy, more=None, broken=lambda spec: False, noise=0.2, floors=(20.0, 15.0), probes=("linear",)
):
    """The frame of a claim's planned runs as if they had been measured.

    accuracy(spec, task): percent of a trained run, NaN where it diverged, as where broken(spec); floors: of the random
    encoder and of raw pixels. more(spec): metrics, curves and provenance beyond these, or all there is of other specs.
    """
    records, plan = [], claim.plan(study.profile)
    for spec in plan:
        metrics, curves = {}, {}
        about = {**machine(), "commit": "abc", "wall_seconds": 1.0, "data_title": "made up (stand-in)"}
        if isinstance(spec, RunSpec):
            metrics = _read(spec, accuracy, broken, noise, floors, probes)
            about |= {"probed_on": "other sets"} if spec.probes.transfer else {}
        for part, values in zip((metrics, curves, about), more(spec) if more else ()):
            part |= values
        records.append(store.Record(key(spec), type(spec).__name__, to_dict(spec), metrics, curves, about))
    return plan.rows(store.frame(records))


def _read(spec, accuracy, broken, noise, floors, probes) -> dict[str, float]:
    """What the probes of a run read, with noise that is the run's own; no accuracy where it diverged."""
    random, pixels = floors
    added = np.random.default_rng(int(key(spec), 16) % 2**32).normal(0, noise)
    metrics = {}
    for task in (*spec.probes.tasks, *(t for name in spec.probes.transfer for t in datasets.transferred(name))):
        if isinstance(spec.method, Untrained):
            value = pixels if spec.backbone == "pixels" else random + added
        else:
            value = math.nan if broken(spec) else accuracy(spec, task) + added
        if not math.isnan(value):
            metrics |= {f"{probe}_{split}_{task}": value for probe in probes for split in ("val", "test")}
    return metrics | {"diverged": float(not metrics)}

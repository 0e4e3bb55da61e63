"""Results as a table: one row a run with flat columns, two cells of it compared over seeds, a reader's weights beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from repro import stats
from repro.claims import kit
from repro.core import own, places, profiles, store, sweep
from repro.core.spec import key
from repro.errors import ReproError
from repro.pages import notebook
from repro.pages.notebook import Study, study

LEFT_OUT = ("curves", "epoch_seconds", "epoch_cpu_seconds", "versions")


def table(study: Study, curves: bool = False) -> pd.DataFrame:
    """The runs of a study that are in the store, else among the committed results, in the plan's order. curves: with their
    curves, as a dict each."""
    where, committed = store.Store(places.store()), notebook.committed(study)
    told: dict[str, dict[str, Any]] = {}
    for claim in study.claims:
        plan = study.plan(claim)
        for name in map(key, plan):
            mine = told.setdefault(name, {"notebook": study.slug, "profile": study.profile.name, "claims": ""})
            mine |= {k: v for k, v in plan.labels.get(name, {}).items() if k not in mine}
            mine["claims"] = f"{mine['claims']} {claim.id}".strip()
    runs = store.frame(filter(None, (where.get(k) if k in where else committed.get(k) for k in told)))
    labels = pd.DataFrame([told[k] for k in runs["key"]])
    whole = runs.get("curves")
    runs = runs.drop(columns=[c for c in (*LEFT_OUT, *labels) if c in runs])
    flat = pd.concat([labels, runs.map(lambda v: json.dumps(v) if isinstance(v, (list, tuple, dict)) else v)], axis=1)
    return flat.assign(curves=whole) if curves else flat


def write(runs: pd.DataFrame, csv: Path | None, parquet: Path | None) -> None:
    """Raises ReproError where the file cannot be written, or pandas has nothing to write Parquet by."""
    try:
        runs.to_csv(csv, index=False) if csv else runs.to_parquet(parquet, index=False)
    except ImportError:
        raise ReproError(
            "Parquet needs pyarrow, which is not installed: `pip install pyarrow` (the extra `parquet`), or take --csv."
        ) from None
    except OSError as e:
        raise ReproError(f"{csv or parquet} cannot be written ({e}): choose another place.") from e


def compare(runs: pd.DataFrame, first: str, second: str, column: str = "") -> str:
    """Each cell's mean, and their difference with its interval, paired over the seeds that both have.

    first, second: a run's key, or a filter such as "stack=crop,method=SimCLR" that leaves one run a seed. column: the
    linear probe's test accuracy on the first task if none is named. Raises ReproError for a filter that leaves none, or
    several cells, and says in what these differ.
    """
    column = column or kit.column(runs)
    if column not in runs:
        raise ReproError(f"There is no column {column!r}: choose from {', '.join(c for c in runs if '_test' in c)}.")
    a, b = (_cell(runs, text).set_index("seed")[column].astype(float) for text in (first, second))
    if len(a) == len(b) == 1:  # two runs, of whatever seeds
        b.index = a.index
    both = pd.concat([a, b], axis=1, join="inner").dropna().to_numpy()
    if not len(both):
        raise ReproError(f"{first} and {second} have no seed in common: measure more.")
    found, (left, right) = stats.paired(both[:, 0], both[:, 1]), both.mean(0)
    seeds = f"{found.n} seed{'s' * (found.n != 1)}"
    return f"{first}: {left:.2f}\n{second}: {right:.2f}\n{column}, difference, {seeds}: {found.text(2)}"


def draw(runs: pd.DataFrame, first: str, second: str, file: Path) -> None:
    """Write a picture of the curves of two cells, a panel each: the mean over seeds and its interval by epochs. runs: of
    `table` with curves."""
    from repro import figures

    cells = {text: [c for c in _cell(runs, text)["curves"] if c.get("epoch")] for text in (first, second)}
    if not all(cells.values()):
        raise ReproError("One of the two has no curves, as an untrained encoder has none: compare runs that trained.")
    names = [n for n in cells[first][0] if "epoch" not in n and all(n in c for found in cells.values() for c in found)]
    with figures.theme("light"):
        fig, axes = figures.figure(1, len(names), height=3.0, width=3.6 * len(names), squeeze=False)
        for name, ax in zip(names, axes[0]):
            for i, found in enumerate(cells.values()):
                values = [c[name] for c in found]
                x = next(c for n, c in found[0].items() if "epoch" in n and len(c) == len(values[0]))
                figures.band(ax, x, values, "AB"[i], i)
            ax.set(xlabel="epoch", ylabel=name.replace("_", " "))
        fig.suptitle(f"A: {first}\nB: {second}", fontsize=8, x=0.02, ha="left")
        fig.savefig(file)


def _cell(runs: pd.DataFrame, text: str) -> pd.DataFrame:
    found = runs if "=" in text else runs[runs["key"].str.startswith(text)]
    for name, _, value in (part.partition("=") for part in text.split(",") if "=" in text):
        if name not in runs:
            raise ReproError(
                f"There is no column {name!r} to filter by: the first line of `repro results` has them all."
            )
        found = found[[str(x) == value or (isinstance(x, (int, float)) and f"{x:g}" == value) for x in found[name]]]
    if found.empty:
        raise ReproError(f"No run has {text}: `repro results` shows those that there are.")
    if found["seed"].duplicated().any():
        settings = found.loc[:, : "loading" if "loading" in found else "seed"].drop(
            columns=["claims", "cell", "key", "seed"]
        )
        differ = {c: list(dict.fromkeys(settings[c].astype(str))) for c in settings}
        said = "; ".join(f"{c} ({', '.join(values[:6])})" for c, values in differ.items() if len(values) > 1)
        raise ReproError(f"{text} leaves {found['cell'].nunique()} cells: say also {said}.")
    return found


def probe(weights: Path, backbone: str, profile: str, data: str = "", imagenet: bool = False) -> str:
    """A file of weights read by the linear and the kNN probe of a profile, and stored; below it the same backbone at random
    weights, and of notebook 00 what is stored or committed: SimCLR's runs and raw pixels, at the same data and labels."""
    from repro.core.methods import Untrained
    from repro.ssl.weights import method

    spec = profiles.base(profiles.profile(profile, data)).but(backbone=own.backbone(backbone), knn=True)
    specs = [spec.but(method=m) for m in (method(weights, imagenet), Untrained())]
    mine = store.frame(sweep.measure(specs, store.Store(places.store()), workers=1))
    shown = table(study("start_here", profile, data))
    found = pd.concat([mine, shown[shown["claims"] == "stand_in"]], ignore_index=True)
    found["backbone"] = found["backbone"].map(str)
    scores = [c for c in mine if c.startswith(("linear_test_", "knn_test_"))]
    rows = found.groupby(["method", "backbone"], sort=False)
    text = rows[scores].mean().join(rows.size().rename("seeds")).round(2).to_string()
    return f"{mine['data_title'].iloc[0]}, accuracy in percent\n{text}"

"""One long run a method: how good it gets, and after how many minutes of training a nearest-neighbour probe passes a mark.

    repro bench long --profile gpu --epochs 200 --methods simclr byol msr --minutes 9

The methods are simclr, byol, msr, barlow and barlow-8, which sees eight views for a quarter of the epochs.

Others say of CIFAR-10 and ResNet-18: 90 % kNN after 99 minutes and 500 epochs (dkobak/simclr-cifar10, one A100); 84.7,
86.9 and 83.8 % kNN after 200 epochs for SimCLR, BYOL and MoCo (lightly's table, best of the test readings, 98 to 129
minutes on an A6000); BYOL 90.3 and MSR 92.4 % linear after 200 epochs (MSR paper, Table 2).

Runs are stored like those of notebooks: one that is stopped goes on by the same command, and one that is there is only
read. Minutes are of training with making the views, probing apart; marks are passed on the validation split.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from repro.bench.common import options
from repro.claims.kit import tasks
from repro.claims.start_here import EIGHT, TWO, long_runs
from repro.core import places, sweep
from repro.core.profiles import Profile, profile
from repro.core.spec import RunSpec
from repro.core.store import Store, export, frame
from repro.errors import ReproError, Unfinished

METHODS = {"simclr": "SimCLR", "byol": "BYOL", "msr": "MSR", "barlow": TWO, "barlow-8": EIGHT}
MARKS = (80.0, 85.0, 90.0)


def plan(where: Profile, epochs: int, names: list[str]) -> list[RunSpec]:
    """A run of each method, seed 0, as notebook 00 has it (`repro.claims.start_here.long_runs`). Raises ReproError for an
    unknown method or a length below one epoch."""
    if unknown := [n for n in names if n not in METHODS]:
        raise ReproError(f"There is no long run of {unknown[0]!r}: choose from {', '.join(METHODS)}.")
    if epochs < 1:
        raise ReproError(f"epochs count from 1 on, not {epochs}: correct them.")
    made = long_runs(where, epochs)
    return [made[METHODS[name]] for name in dict.fromkeys(names)]


def minutes_to(mark: float, epochs: list[int], accuracy: list[float], epoch_seconds: list[float]) -> float:
    """Minutes of training at the first reading that reaches `mark`, NaN if none does. epochs (n,): when accuracy (n,)
    was read; epoch_seconds: seconds of training up to the end of each epoch."""
    passed = [e for e, a in zip(epochs, accuracy) if a >= mark]
    return epoch_seconds[passed[0] - 1] / 60 if passed else float("nan")


def report(runs: pd.DataFrame) -> pd.DataFrame:
    """A row a run: accuracy of its last epoch on the test split, minutes of training, and to each of MARKS; NaN for what
    a run that diverged did not come to."""
    rows = []
    for _, run in runs.iterrows():
        task, curves = tasks(runs[runs["data"] == run["data"]])[0], run["curves"]
        read = curves.get("probe_epoch", []), curves.get(f"knn_val_{task}", []), run["epoch_seconds"]
        rows.append(
            {
                "method": run["method"], "data": run["data_title"], "backbone": run["backbone"], "epochs": run["epochs"],
                "linear": run.get(f"linear_test_{task}", float("nan")), "kNN": run.get(f"knn_test_{task}", float("nan")),
                "minutes": run["train_seconds"] / 60,
                **{f"to {mark:g} %": minutes_to(mark, *read) for mark in MARKS}, "hardware": run["hardware"],
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def main(argv: list[str]) -> int:
    """`repro bench long`: train what is not stored, and print a row a method."""
    plain = {"profile": "gpu", "data": "", "epochs": 200, "methods": list(METHODS)[:3], "minutes": 0.0}
    args = options(argv, "long", __doc__, **plain, out=Path)
    specs = plan(profile(args.profile, data=args.data), args.epochs, args.methods)
    records = sweep.measure(specs, Store(places.store()), 1, args.minutes)
    if records and args.out:
        export(records, args.out)
    if records:
        print(report(frame(records)).to_string(index=False, float_format="{:.1f}".format, na_rep="not reached"))
    if len(records) < len(specs):
        raise Unfinished(
            f"The time budget is spent with {len(specs) - len(records)} runs to go: run the same command to go on."
        )
    return 0

"""How a representation is probed: claim A10 of the FFCV-SSL paper, and what else the choice of a probe changes.

Two methods, probed after every few epochs of pretraining by four probes, and at the last one by two more that are
trained pass by pass. All probes see the same labels. Curves are of the validation split; what is judged at the last
epoch is read on the test split, at the pass that validation chose.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict
from repro.claims.common import cannot_carry, floor_levels, floors, min_seeds, semantic, trained, verdict
from repro.core.profiles import Profile, base
from repro.core.spec import RunSpec
from repro.ssl.methods import BYOL

EPOCHS = {"smoke": 2, "quick": 2, "gpu": 0.3, "paper": 1}
"""Times the profile's own: whether a probe overfits shows in a long run only, and a minute of a GPU is short."""
CHECKPOINTS = {"gpu": 5, "paper": 20}
"""How many times a run is probed; at smoke and quick after every epoch."""
PASSES = {"smoke": 6, "quick": 100, "gpu": 100, "paper": 100}
"""Of the offline probes over the features, as many as make an MLP overfit."""
BYOL_RATE = {"smoke": 12.0, "quick": 12.0, "gpu": 1.0, "paper": 1.0}  # at smoke and quick notebook 01's best
TITLES = {"SimCLR": "SimCLR", "BYOL": "BYOL"}
PROBES = (("online", "online linear"), ("linear", "offline linear"), ("mlp", "offline MLP"), ("knn", "kNN"))


def plan(profile: Profile) -> list[RunSpec]:
    epochs = max(2, round(profile.epochs * EPOCHS[profile.name]))
    every = max(1, epochs // CHECKPOINTS.get(profile.name, epochs))
    # all labels, for the offline probes too: the online one sees them all as it goes; and standardised features for the
    # online probe too, without which a short run's says little (a pilot's stayed near chance on BYOL)
    probes = {
        "online": True,
        "online_norm": True,
        "mlp": True,
        "knn": True,
        "labels": 0,
        "passes": PASSES[profile.name],
        "choices": True,
    }
    spec = base(profile, epochs=epochs)
    spec = replace(spec, probes=replace(spec.probes, every=every, **probes))
    small = profile.name in ("smoke", "quick")
    byol = replace(
        spec,
        method=BYOL(ema=0.9) if small else BYOL(),  # notebook 01 says why
        optimiser=replace(spec.optimiser, lr=BYOL_RATE[profile.name]),
    )
    runs = [replace(s, seed=seed) for s in (spec, byol) for seed in range(profile.seeds)]
    return runs + floors(profile, mlp=True, knn=True, labels=0)


# ----------------------------------------------------------------------------------------------------------- judging


def _methods(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each method, a row a seed; a diverged one has no curves and is left out."""
    runs = trained(frame).sort_values("seed")
    runs = runs[runs["diverged"] == 0]
    found = {title: runs[runs["method"] == name] for name, title in TITLES.items()}
    return {title: rows for title, rows in found.items() if len(rows)}


def _curves(runs: pd.DataFrame, name: str) -> np.ndarray:
    """(seeds, checkpoints or passes)"""
    return np.array([c[name] for c in runs["curves"]], float)


def _agreement(frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Online and offline linear validation accuracy (seeds, methods x checkpoints) of the seeds that all methods have."""
    task, methods = semantic(frame), _methods(frame)
    seeds = sorted(set.intersection(*(set(m["seed"]) for m in methods.values()))) if methods else []
    both = []
    for name in ("online", "linear"):
        parts = [_curves(m[m["seed"].isin(seeds)], f"{name}_val_{task}") for m in methods.values()]
        both.append(np.concatenate(parts, 1) if seeds else np.empty((0, 0)))
    return *both, seeds


def _mean(frame: pd.DataFrame, column: str) -> np.ndarray:
    """A metric's mean over the methods, by seed."""
    return np.stack([m.set_index("seed")[column] for m in _methods(frame).values()]).mean(0)


def judge(frame: pd.DataFrame) -> Verdict:
    """r > .9 and EQ(2) between online and offline linear; SUP(.5) of the MLP's best pass over its last; EQ(.5) of the
    linear probe's. The pass is chosen on validation and both are read on test, so that best is not above last by
    construction."""
    task, need, methods = semantic(frame), min_seeds(frame), _methods(frame)
    online, offline, seeds = _agreement(frame)
    if not seeds or len(methods) < len(TITLES):
        none = stats.Interval(np.nan, np.nan, np.nan, 0, 0.95)
        sentence = "A method diverged for every seed, so none is compared."
        return verdict(frame, stats.NOT_JUDGED, none, "points", sentence)
    with np.errstate(invalid="ignore"):
        r = stats.paired([np.corrcoef(a, b)[0, 1] for a, b in zip(online, offline)])
    words, said, mlp = [stats.sup(r, 0.9, need, above=0.9)], [], []
    for title, runs in methods.items():
        runs = runs.set_index("seed")

        def test(name: str, runs=runs) -> np.ndarray:
            return runs[f"{name}_{task}"].to_numpy()

        gap, equal = stats.eq(test("online_test"), test("linear_test"), 2.0, need)
        drop = stats.paired(test("mlp_pass_test"), test("mlp_pass_test_last"))
        kept, keeps = stats.eq(test("linear_pass_test"), test("linear_pass_test_last"), 0.5, need)
        words += [equal, stats.sup(drop, 0.5, need), keeps]
        curve = _curves(runs, f"online_val_{task}")
        loss = stats.paired(curve.max(1), curve[:, -1])
        said.append(
            f"{title}: online less offline linear {gap.text()}, the MLP's best pass over its last {drop.text()}, the "
            f"linear probe's {kept.text()}, the online probe's best epoch over its last {loss.text()} (on the split that "
            "chose it)"
        )
        mlp.append(drop)
    common = _common(frame, seeds)
    effect = stats.paired(_mean(common, f"mlp_pass_test_{task}"), _mean(common, f"mlp_pass_test_last_{task}"))
    word, column = stats.combine(words), f"linear_test_{task}"
    weak = [
        f"{title}: {reason}"
        for name, title in TITLES.items()
        if (reason := cannot_carry(frame[frame["method"].isin((name, "Untrained"))], column))
    ]
    highest = max(runs[f"mlp_test_{task}"].mean() for runs in methods.values())
    pixels = floor_levels(frame, f"mlp_test_{task}")["raw pixels"]
    beyond = (
        f" An MLP on raw pixels reaches {pixels:.1f} %, more than on any trained backbone here ({highest:.1f} %): on these "
        "data an MLP says more of the probe than of the features."
        if pixels > highest
        else ""
    )
    sentence = (
        f"Over checkpoints and methods, online and offline linear accuracy correlate with r = {r.text(2)} (asked: above "
        f"0.9). In points, asked to be within 2, at least 0.5, and within 0.5: {'; '.join(said)}. The effect is the "
        f"MLP's best pass over its last.{beyond}"
    )
    if weak:
        word, sentence = stats.NOT_JUDGED, f"Not judged: {'; '.join(weak)}. {sentence}"
    return verdict(frame, word, effect, "points", sentence)


def _common(frame: pd.DataFrame, seeds: list[int]) -> pd.DataFrame:
    return frame[frame["seed"].isin(seeds) | (frame["method"] == "Untrained")]


# ----------------------------------------------------------------------------------------------------------- drawing


def draw(frame: pd.DataFrame) -> Drawing:
    task, methods = semantic(frame), _methods(frame)
    fig, axes = figures.figure(2, 2, height=6.0)
    said = []
    for ax, runs in zip(axes[0], methods.values()):
        at = runs["curves"].iloc[0]["probe_epoch"]
        for i, (name, label) in enumerate(PROBES):
            values = _curves(runs, f"{name}_val_{task}")
            figures.band(ax, at, values, label, i)
            _cross(ax, at, values)
        figures.floors(ax, floor_levels(frame, f"linear_val_{task}"))  # by the linear probe; the MLP's are in panel c
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="epoch of pretraining", ylabel=f"{task} accuracy, validation (%)")
    for i, (title, runs) in enumerate(methods.items()):
        for name, label, dash in (("mlp_pass", "MLP", "-"), ("linear_pass", "linear", "--")):
            values = _curves(runs, f"{name}_val_{task}")
            x = np.arange(1, values.shape[1] + 1)
            figures.band(axes[1, 0], x, values, f"{label}, {title}", i, linestyle=dash)
            best = _cross(axes[1, 0], x, values)
            said.append(f"{title}'s {label} probe is best after pass {best} of {len(x)}")
    by_mlp = {f"{k}, MLP": v for k, v in floor_levels(frame, f"mlp_val_{task}").items()}
    figures.floors(
        axes[1, 0], {f"{k}, linear": v for k, v in floor_levels(frame, f"linear_val_{task}").items()} | by_mlp
    )
    axes[1, 0].set(xlabel="pass of the offline probe over the features", ylabel=f"{task} accuracy, validation (%)")
    for i, (title, runs) in enumerate(methods.items()):
        x, y = (_curves(runs, f"{n}_val_{task}").ravel() for n in ("online", "linear"))
        look = figures.style(i) | {"linestyle": "", "markersize": 3.5, "alpha": 0.75}
        axes[1, 1].plot(x, y, label=title, **look)
    ends = axes[1, 1].get_xlim(), axes[1, 1].get_ylim()
    span = [max(e[0] for e in ends), min(e[1] for e in ends)]
    axes[1, 1].plot(span, span, color=figures.muted(), linewidth=1, linestyle=":")
    figures.floors(axes[1, 1], floor_levels(frame, f"linear_val_{task}"))
    axes[1, 1].set(xlabel="online linear (%)", ylabel="offline linear (%)")
    if methods:
        axes[1, 1].legend(loc="upper left")
    titles = [f"{t}, while it is pretrained" for t in methods]
    figures.panel_labels(axes, (*titles, *[""] * (2 - len(titles)), "probes of the last epoch", "every checkpoint"))
    keep = [f"{n}_{s}_{task}" for n in ("online", "linear", "mlp", "knn", "linear_pass", "mlp_pass", "trainmode",
            "cropped") for s in ("val", "test", "val_last", "test_last")]  # fmt: skip
    table = frame[["method", "backbone", "seed", *[c for c in keep if c in frame]]]
    return Drawing(
        fig, table.sort_values(["method", "backbone", "seed"]).reset_index(drop=True),
        "Above: validation accuracy against the epoch of pretraining by an online linear, an offline linear, an offline "
        f"MLP and a nearest-neighbour probe, a panel a method ({', '.join(methods)}), with the floors; a cross marks each "
        f"curve's best. Below left: accuracy against the pass of an offline probe; {'; '.join(said)}; the floors by an MLP "
        f"probe are {' and '.join(f'{k} {v:.1f} %' for k, v in by_mlp.items())}. Below right: "
        "offline against online linear accuracy, a point a checkpoint.",
    )  # fmt: skip


def _cross(ax, x, values: np.ndarray) -> int:
    """The paper's red cross at the best of a curve's mean; where it is."""
    best = int(values.mean(0).argmax())
    ax.plot(x[best], values.mean(0)[best], "x", color=figures.PALETTE[5], markersize=8, markeredgewidth=2, zorder=6)
    return int(x[best])


def choices(frame: pd.DataFrame) -> pd.DataFrame:
    """What each choice of a protocol reads from the same backbones, on test, and its difference in points from the plain
    one: linear, offline, last epoch, batch norm in eval mode, no augmentation. A row a choice, a column a method."""
    task = semantic(frame)
    rows = {
        "linear, offline (the plain one)": "linear_test",
        "batch norm in train mode": "trainmode_test",
        "fitted on crops and flips": "cropped_test",
        "fitted step by step, last pass": "linear_pass_test_last",
        "online, last epoch": "online_test",
        "MLP, best pass on validation": "mlp_pass_test",
        "MLP, last pass": "mlp_pass_test_last",
        "kNN": "knn_test",
    }
    out: dict[str, dict[str, str]] = {}
    for title, runs in _methods(frame).items():
        plain = runs[f"linear_test_{task}"].to_numpy()
        column = {}
        for label, name in rows.items():
            found = runs[f"{name}_{task}"].to_numpy()
            change = "" if name == "linear_test" else f" ({stats.paired(found, plain).text()})"
            column[label] = f"{found.mean():.1f}{change}"
        curve = _curves(runs, f"online_val_{task}")
        gain = stats.paired(curve.max(1), curve[:, -1])
        column["online, best epoch over last (validation)"] = f"{curve.max(1).mean():.1f} ({gain.text()})"
        out[title] = column
    return pd.DataFrame(out).rename_axis(f"{task} accuracy (%)")


CLAIMS = (Claim("A10", plan, judge, draw),)

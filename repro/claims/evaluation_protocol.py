"""How a representation is probed: claim A10 of the FFCV-SSL paper, and what else the choice of a probe changes.

Two methods, probed after every few epochs of pretraining by four probes, and at the last one by two more that are
trained pass by pass. All probes see the same labels. Curves are of the validation split; what is judged at the last
epoch is read on the test split, at the pass that validation chose.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, kit
from repro.claims.kit import Part, Plan, column, curve, drawing, eq, floor_levels, sup, tasks, verdict
from repro.core.methods import BYOL
from repro.core.profiles import Profile, base


class Scale(NamedTuple):
    """epochs: times the profile's own; whether a probe overfits shows in a long run only, and a minute of a GPU is short.
    byol_rate: at smoke and quick notebook 01's best. checkpoints: how many times a run is probed; 0 for after every epoch.
    passes: of the offline probes over the features, as many as make an MLP overfit."""

    epochs: float
    byol_rate: float
    checkpoints: int
    passes: int = 100


SCALES = {
    "smoke": Scale(2, 12.0, 0, passes=6),
    "quick": Scale(2, 12.0, 0),
    "gpu": Scale(0.3, 1.0, 5),
    "paper": Scale(1, 1.0, 20),
}
TITLES = {"SimCLR": "SimCLR", "BYOL": "BYOL"}
PROBES = {"online": "online linear", "linear": "offline linear", "mlp": "offline MLP", "knn": "kNN"}
CHOICES = {
    "batch norm in train mode": "trainmode_test",
    "fitted on crops and flips": "cropped_test",
    "fitted step by step, last pass": "linear_pass_test_last",
    "online, last epoch": "online_test",
    "MLP, best pass on validation": "mlp_pass_test",
    "MLP, last pass": "mlp_pass_test_last",
    "kNN": "knn_test",
}


def plan(profile: Profile) -> Plan:
    scale = SCALES[profile.name]
    epochs = max(2, round(profile.epochs * scale.epochs))
    # all labels, for the offline probes too: the online one sees them all as it goes; and standardised features for the
    # online probe too, without which a short run's says little (a pilot's stayed near chance on BYOL)
    spec = base(profile, epochs=epochs).but(
        every=max(1, epochs // (scale.checkpoints or epochs)), online=True, online_norm=True, mlp=True, knn=True, labels=0,
        passes=scale.passes, choices=True,
    )  # fmt: skip
    byol = spec.but(method=BYOL(ema=0.9) if profile.small else BYOL(), lr=scale.byol_rate)  # notebook 01 says why .9
    return Plan(profile).add(spec, byol).floors(mlp=True, knn=True, labels=0)


# --- judge ------------------------------------------------------------------------------------------------------------


def _methods(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each method, a row a seed; a diverged one has no curves and is left out."""
    runs = {TITLES[method]: rows[rows["diverged"] == 0] for method, rows in kit.runs_by(frame, "method").items()}
    return {title: rows.set_index("seed") for title, rows in runs.items() if len(rows)}


def judge(frame: pd.DataFrame) -> Verdict:
    """r > .9 and EQ(2) between online and offline linear; SUP(.5) of the MLP's best pass over its last; EQ(.5) of the
    linear probe's. The pass is chosen on validation and both are read on test, so that best is not above last by
    construction. The effect is of the seeds that both methods have."""
    task, methods = tasks(frame)[0], _methods(frame)
    seeds = sorted(set.intersection(*(set(runs.index) for runs in methods.values()))) if methods else []
    if not seeds or len(methods) < len(TITLES):
        none = stats.paired(np.array([np.nan]))
        return verdict(frame, [], none, "points", "A method diverged for every seed, so none is compared.", cannot="")
    both = [runs.loc[seeds] for runs in methods.values()]
    online, offline = (np.concatenate([curve(m, f"{p}_val_{task}") for m in both], 1) for p in ("online", "linear"))
    with np.errstate(invalid="ignore"):
        r = stats.paired([np.corrcoef(a, b)[0, 1] for a, b in zip(online, offline)])
    parts, sentences = [sup(r, 0.9, above=0.9)], []
    for title, runs in methods.items():
        own, sentence = _judge_method(runs, task)
        parts, sentences = [*parts, *own], [*sentences, f"{title}: {sentence}"]
    best, last = (np.mean([m[f"mlp_pass_test{end}_{task}"] for m in both], 0) for end in ("", "_last"))
    return verdict(
        frame, parts, stats.paired(best, last), "points",
        f"Over checkpoints and methods, online and offline linear accuracy correlate with r = {r.text(2)} (asked: above "
        f"0.9). In points, asked to be within 2, at least 0.5, and within 0.5: {'; '.join(sentences)}. The effect is the "
        f"MLP's best pass over its last.{_pixels_by_mlp(frame)}",
        cannot=kit.cannot_carry_each(frame, TITLES),
    )  # fmt: skip


def _judge_method(runs: pd.DataFrame, task: str) -> tuple[list[Part], str]:
    """The three parts that are asked of each method, and their sentence."""

    def test(name: str) -> np.ndarray:
        return runs[f"{name}_{task}"].to_numpy()

    gap, equal = eq(test("online_test"), test("linear_test"), 2.0)
    drop = stats.paired(test("mlp_pass_test"), test("mlp_pass_test_last"))
    kept, keeps = eq(test("linear_pass_test"), test("linear_pass_test_last"), 0.5)
    online = curve(runs, f"online_val_{task}")
    loss = stats.paired(online.max(1), online[:, -1])
    return [equal, sup(drop, 0.5), keeps], (
        f"online less offline linear {gap.text()}, the MLP's best pass over its last {drop.text()}, the linear probe's "
        f"{kept.text()}, the online probe's best epoch over its last {loss.text()} (on the split that chose it)"
    )


def _pixels_by_mlp(frame: pd.DataFrame) -> str:
    """A sentence if an MLP on raw pixels beats the MLP on every method's backbone."""
    mlp = column(frame, probe="mlp")
    pixels, highest = floor_levels(frame, mlp)["raw pixels"], max(r[mlp].mean() for r in _methods(frame).values())
    if not pixels > highest:
        return ""
    return (
        f" An MLP on raw pixels reaches {pixels:.1f} %, more than on any trained backbone here ({highest:.1f} %): on these "
        "data an MLP says more of the probe than of the features."
    )


# --- draw -------------------------------------------------------------------------------------------------------------


def draw(frame: pd.DataFrame) -> Drawing:
    task, methods = tasks(frame)[0], _methods(frame)
    fig, axes = figures.figure(2, 2, height=6.0)
    for ax, runs in zip(axes[0], methods.values()):
        at = runs["curves"].iloc[0]["probe_epoch"]
        for i, (probe, name) in enumerate(PROBES.items()):
            figures.band(ax, at, curve(runs, f"{probe}_val_{task}"), name, i)
            _cross(ax, at, curve(runs, f"{probe}_val_{task}"))
        kit.floors(ax, frame, column(frame, "val"))  # by the linear probe; the MLP's are in panel c
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="epoch of pretraining", ylabel=f"{task} accuracy, validation (%)")
    best = draw_passes(axes[1, 0], frame)
    _draw_agreement(axes[1, 1], frame)
    titles = [f"{t}, while it is pretrained" for t in methods]
    figures.panel_labels(axes, (*titles, *[""] * (2 - len(titles)), "probes of the last epoch", "every checkpoint"))
    by_mlp = " and ".join(f"{name} {level:.1f} %" for name, level in _floors(frame, "mlp", "MLP").items())
    probes = ("online", "linear", "mlp", "knn", "linear_pass", "mlp_pass", "trainmode", "cropped")
    return drawing(
        fig, frame, ["backbone"],
        "Above: validation accuracy against the epoch of pretraining by an online linear, an offline linear, an offline "
        f"MLP and a nearest-neighbour probe, a panel a method ({', '.join(methods)}), with the floors; a cross marks each "
        f"curve's best. Below left: accuracy against the pass of an offline probe; {'; '.join(best)}; the floors by an MLP "
        f"probe are {by_mlp}. Below right: offline against online linear accuracy, a point a checkpoint.",
        [column(frame, s, probe=p) for p in probes for s in ("val", "test", "val_last", "test_last")],
    )  # fmt: skip


def _floors(frame: pd.DataFrame, probe: str, name: str) -> dict[str, float]:
    """The floors' validation accuracy by a probe, with its name."""
    return {f"{k}, {name}": v for k, v in floor_levels(frame, column(frame, "val", probe=probe)).items()}


def draw_passes(ax, frame: pd.DataFrame) -> list[str]:
    """Accuracy against the pass of an offline probe; returns at which pass each is best."""
    best = []
    for i, (title, runs) in enumerate(_methods(frame).items()):
        for probe, name, dash in (("mlp_pass", "MLP", "-"), ("linear_pass", "linear", "--")):
            values = curve(runs, column(frame, "val", probe=probe))
            passes = np.arange(1, values.shape[1] + 1)
            figures.band(ax, passes, values, f"{name}, {title}", i, linestyle=dash)
            at = _cross(ax, passes, values)
            best.append(f"{title}'s {name} probe is best after pass {at} of {len(passes)}")
    figures.floors(ax, _floors(frame, "linear", "linear") | _floors(frame, "mlp", "MLP"))
    ax.set(xlabel="pass of the offline probe over the features", ylabel=f"{tasks(frame)[0]} accuracy, validation (%)")
    return best


def _draw_agreement(ax, frame: pd.DataFrame) -> None:
    """Offline against online linear accuracy, a point a checkpoint, with the line on which they are equal."""
    methods = _methods(frame)
    for i, (title, runs) in enumerate(methods.items()):
        x, y = (curve(runs, column(frame, "val", probe=probe)).ravel() for probe in ("online", "linear"))
        ax.plot(x, y, label=title, **figures.style(i) | {"linestyle": "", "markersize": 3.5, "alpha": 0.75})
    ends = ax.get_xlim(), ax.get_ylim()
    span = [max(e[0] for e in ends), min(e[1] for e in ends)]
    ax.plot(span, span, color=figures.muted(), linewidth=1, linestyle=":")
    kit.floors(ax, frame, column(frame, "val"))
    ax.set(xlabel="online linear (%)", ylabel="offline linear (%)")
    if methods:
        ax.legend(loc="upper left")


def _cross(ax, x, values: np.ndarray) -> int:
    """The paper's red cross at the best of a curve's mean; where it is."""
    best = int(values.mean(0).argmax())
    ax.plot(x[best], values.mean(0)[best], "x", color=figures.PALETTE[5], markersize=8, markeredgewidth=2, zorder=6)
    return int(x[best])


def choices(frame: pd.DataFrame) -> pd.DataFrame:
    """What each choice of a protocol reads from the same backbones, on test, and its difference in points from the plain
    one: linear, offline, last epoch, batch norm in eval mode, no augmentation. A row a choice, a column a method."""
    task, table = tasks(frame)[0], {}
    for title, runs in _methods(frame).items():
        plain, online = runs[f"linear_test_{task}"].to_numpy(), curve(runs, f"online_val_{task}")
        pairs = {name: (runs[f"{choice}_{task}"].to_numpy(), plain) for name, choice in CHOICES.items()}
        pairs["online, best epoch over last (validation)"] = online.max(1), online[:, -1]
        read = {name: f"{a.mean():.1f} ({stats.paired(a, b).text()})" for name, (a, b) in pairs.items()}
        table[title] = {"linear, offline (the plain one)": f"{plain.mean():.1f}"} | read
    return pd.DataFrame(table).rename_axis(f"{task} accuracy (%)")


CLAIMS = (Claim("A10", plan, judge, draw),)

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
from repro.claims import Claim, Drawing, Verdict, kit, registry
from repro.claims.kit import Part, Plan, column, curve, drawing, floor_levels, tasks, verdict
from repro.core.methods import BYOL
from repro.core.profiles import CPU_IMAGES, Profile, base
from repro.stats import eq, sup


class Scale(NamedTuple):
    """epochs, images: times the profile's own; whether a probe overfits shows in a long run only, and a minute of a GPU is
    short. byol_rate: of AdamW at smoke and quick, of SGD at cpu. checkpoints: how many times a run is probed;
    0 for after every epoch. passes: of the offline probes over the features, as many as make an MLP overfit."""

    epochs: float
    byol_rate: float
    checkpoints: int
    passes: int = 100
    images: int = 1


SCALES = {
    "smoke": Scale(2, 4e-3, 0, passes=6),
    "quick": Scale(2, 4e-3, 0),
    "cpu": Scale(2, 0.4, 10, images=2),
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
    scale, standard = SCALES[profile.name], base(profile)
    epochs = max(2, round(profile.epochs * scale.epochs))
    # as many labels for the offline probes as the online one sees as it goes; and standardised features for the online
    # probe too, without which a short run's says little (a pilot's stayed near chance on BYOL)
    spec = standard.but(
        tasks=standard.probes.tasks[:1], epochs=epochs,
        every=max(1, epochs // (scale.checkpoints or epochs)), online=True, online_norm=True, mlp=True,
        knn=True, labels=scale.images * CPU_IMAGES if profile.name == "cpu" else 0, passes=scale.passes, choices=True,
        fraction=min(1.0, scale.images * standard.data.fraction),
    )  # fmt: skip
    byol = spec.but(method=BYOL(), lr=scale.byol_rate)
    if profile.small:  # notebook 07's
        byol = byol.but(method=BYOL(ema=0.9), optimiser="adamw")
    if profile.name == "cpu":  # MSR's recipe for small images; with LARS a pilot's BYOL gained nothing there
        byol = byol.but(method=BYOL(ema=0.97), optimiser="sgd", weight_decay=5e-4, joint=False)
    return Plan(profile).add(spec, byol).floors(mlp=True, knn=True, labels=spec.probes.labels, tasks=spec.probes.tasks)


# --- judge ------------------------------------------------------------------------------------------------------------


def _methods(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each method, a row a seed; a diverged one has no curves and is left out."""
    runs = {TITLES[method]: rows[rows["diverged"] == 0] for method, rows in kit.runs_by(frame, "method").items()}
    return {title: rows for title, rows in runs.items() if len(rows)}


def _lags(frame: pd.DataFrame, runs: pd.DataFrame) -> bool:
    """Whether the online probe does not follow: at half of the checkpoints or more it reads less than a probe on the random
    encoder. Then the backbone's rate is too high for it, which says nothing of online probes."""
    read = curve(runs, column(frame, "val", probe="online")).mean(0)
    return bool((read < floor_levels(frame, column(frame, "val"))["random encoder"]).mean() >= 0.5)


def judge(frame: pd.DataFrame) -> Verdict:
    """A10: `_parts` of each method. One whose online probe does not follow is left out. What the MLP reads counts only
    where it says more of the backbone than of the probe: where the data carry a claim by it, too."""
    methods = _methods(frame)
    kept = {title: runs for title, runs in methods.items() if not _lags(frame, runs)}
    parts = [part for title, runs in kept.items() for part in _parts(runs, tasks(frame)[0], title)]
    said = [
        f"{name} {', '.join(f'{p.effect.mean:.1f} ({title})' for title, p in zip(kept, parts[number::4]))}"
        for number, name in ((0, "Online less offline linear, in points:"), (3, "MLP less linear:"))
        if kept
    ]
    said += [f"{title}'s online probe does not follow" for title in methods if title not in kept]
    return verdict(frame, parts, f"{'; '.join(said)}.", cannot=_cannot(frame, methods))


def _cannot(frame: pd.DataFrame, methods: dict[str, pd.DataFrame]) -> str:
    """Why these data cannot carry the claim; "" if they can."""
    if len(methods) < len(TITLES):
        return "a method diverged for every seed"
    mlp = column(frame, probe="mlp")
    low = kit.cannot_carry_each(frame, TITLES) or kit.at_floor(frame, kit.by(frame, "method"))
    low_mlp = kit.cannot_carry(frame, mlp) or kit.at_floor(frame, kit.by(frame, "method", name=mlp), probe="mlp")
    return low or (f"by an MLP probe, {low_mlp}" if low_mlp else "")


def _parts(runs: pd.DataFrame, task: str, title: str) -> list[Part]:
    """EQ(2) of online and offline linear, SUP(.5) of the MLP's best pass over its last, EQ(.5) of the linear probe's, SUP(1)
    of the MLP over the linear probe. A pass is chosen on validation and both are read on test, so that best is not above
    last by construction."""

    def points(a: str, b: str) -> stats.Interval:
        return stats.paired(*(runs[f"{name}_{task}"].to_numpy(float) for name in (a, b)))

    paper = registry.numbers("A12")  # where the probes' difference is given, for SimCLR
    return [
        eq(f"{title}: online - offline linear", points("online_test", "linear_test"), 2.0),
        sup(f"{title}: MLP, best - last pass", points("mlp_pass_test", "mlp_pass_test_last"), 0.5),
        eq(f"{title}: linear, best - last pass", points("linear_pass_test", "linear_pass_test_last"), 0.5),
        sup(
            f"{title}: MLP - linear", points("mlp_pass_test", "linear_test"), 1.0,
            paper=round(paper["mlp"] - paper["linear"], 2) if title == "SimCLR" else None,
        ),
    ]  # fmt: skip


# --- draw -------------------------------------------------------------------------------------------------------------


def draw(frame: pd.DataFrame) -> Drawing:
    task, methods = tasks(frame)[0], _methods(frame)
    fig = figures.Picture(figsize=(figures.WIDTH, 6.0))
    axes = list(fig.subplot_mosaic("ab;cc").values())
    for ax, runs in zip(axes, methods.values()):
        at = runs["curves"].iloc[0]["probe_epoch"]
        for i, (probe, name) in enumerate(PROBES.items()):
            figures.band(ax, at, curve(runs, f"{probe}_val_{task}"), name, i)
            _cross(ax, at, curve(runs, f"{probe}_val_{task}"))
        kit.floors(ax, frame, column(frame, "val"))  # by the linear probe; the MLP's are in panel c
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="epoch of pretraining", ylabel=f"{task} accuracy, validation (%)")
    best = draw_passes(axes[2], frame)
    titles = [f"{t}, while it is pretrained" for t in methods]
    figures.panel_labels(axes, (*titles, *[""] * (2 - len(titles)), "probes of the last epoch"))
    by_mlp = " and ".join(f"{name} {level:.1f} %" for name, level in _floors(frame, "mlp", "MLP").items())
    probes = ("online", "linear", "mlp", "knn", "linear_pass", "mlp_pass", "trainmode", "cropped")
    return drawing(
        fig, frame, ["backbone"],
        "Above: validation accuracy against the epoch of pretraining by an online linear, an offline linear, an offline "
        f"MLP and a nearest-neighbour probe, a panel a method ({', '.join(methods)}), with the floors; a cross marks each "
        f"curve's best. Below: accuracy against the pass of an offline probe; {'; '.join(best)}; the floors by an MLP "
        f"probe are {by_mlp}.",
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

"""SimCLR on one image at a time: claim A11 of the FFCV-SSL paper.

The positive of an image is the image under Gaussian noise, its only negative a small patch of it. Its knobs are swept one
at a time about a centre; the setting is the one whose validation accuracy, the mean over the tasks, is best, for full
SimCLR and for noise with batch negatives as well; every number shown is of the test split.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, kit
from repro.claims.kit import Plan, floor_levels, page, runs_by, task_columns, tasks, verdict
from repro.core import datasets
from repro.core.methods import InstanceSimCLR
from repro.core.profiles import Profile, base
from repro.core.spec import RunSpec
from repro.stats import sup
from repro.views.recipe import instance, noisy

# points over the random encoder that the instance method must gain, and that it must lack on the semantic task
ABOVE = 5.0
KEPT = 0.75  # share of full SimCLR's gain that the instance method must keep on the other tasks
SIGMAS = (0.1, 0.2, 0.3)
SHARES = (1 / 4, 3 / 8, 1 / 2)  # the patch's side, of the image's: 8, 12 and 16 of 32 pixels
TEMPERATURES = (0.1, 0.2, 0.5)
RATES = {"smoke": (1.2,), "gpu": (0.4, 1.2), "paper": (0.5, 1.0)}  # elsewhere the profile's own
VARIANTS = {"instance": "instance SimCLR", "noise": "noise, batch negatives", "full": "full SimCLR"}
KNOBS = {"patch": "patch (px)", "noise": "noise (std)", "temperature": "temperature", "lr": "learning rate"}

# --- plan -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One setting of the instance method. patch: pixels a side. everywhere: image and patch carry the noise too."""

    patch: int
    noise: float
    temperature: float
    lr: float
    everywhere: bool = False


def _rates(profile: Profile) -> tuple[float, ...]:
    return RATES.get(profile.name, (base(profile).optimiser.lr,))


def settings(profile: Profile) -> list[Setting]:
    """The centre, then what differs from it in one knob; at quick and cpu patches by least and most noise."""
    patches = [round(share * profile.size) for share in SHARES]
    rates = _rates(profile)
    centre = Setting(patches[-1], 0.2, 0.2, rates[-1])
    if profile.name == "smoke":
        return [centre, replace(centre, patch=patches[0])]
    if profile.name in ("quick", "cpu"):
        grid = [replace(centre, patch=p, noise=s) for p in reversed(patches) for s in (SIGMAS[0], SIGMAS[-1])]
        return [*grid, replace(grid[0], everywhere=True)]
    out = [centre, replace(centre, everywhere=True)]
    for knob, levels in (("patch", patches), ("noise", SIGMAS), ("temperature", TEMPERATURES), ("lr", rates)):
        out += [replace(centre, **{knob: level}) for level in levels]
    return list(dict.fromkeys(out))


def run(profile: Profile, setting: Setting) -> RunSpec:
    recipe = instance(setting.patch, setting.noise, profile.size, setting.everywhere)
    return _full(profile).but(recipe=recipe, method=InstanceSimCLR(setting.temperature), lr=setting.lr)


def _full(profile: Profile) -> RunSpec:
    """Full SimCLR; at gpu for a tenth of the profile's epochs, so that a dozen settings take ten minutes."""
    epochs = max(1, profile.epochs // 10) if profile.name == "gpu" else profile.epochs
    return base(profile, epochs=epochs).but(tasks=datasets.tasks(profile.data))


def plan(profile: Profile) -> Plan:
    """The three variants, each with the knobs of its recipe; `differs` names the knobs in which a setting of the instance
    method differs from the centre."""
    plan, full, rates = Plan(profile), _full(profile), _rates(profile)
    centre = asdict(settings(profile)[0])
    for s in settings(profile):
        differs = "".join(knob for knob, value in asdict(s).items() if value != centre[knob])
        knobs = {"patch": s.patch, "noise": s.noise, "everywhere": float(s.everywhere)}
        plan.add(run(profile, s), variant="instance", differs=differs, **knobs)
    plan.add(*full.grid(lr=rates), variant="full")
    for sigma in SIGMAS[1:2] if profile.name in ("smoke", "quick", "cpu") else SIGMAS:
        plan.add(full.but(lr=rates[-1], recipe=noisy(sigma)), variant="noise", noise=sigma, everywhere=0.0)
    return plan.floors(tasks=full.probes.tasks)


# --- judge ------------------------------------------------------------------------------------------------------------


def _mean(runs: pd.DataFrame, split: str) -> np.ndarray:
    """The mean over the tasks (runs,)"""
    return runs[task_columns(runs, split)].mean(axis=1, skipna=False).to_numpy(float)


def best(frame: pd.DataFrame, variant: str) -> pd.DataFrame:
    """The runs of a variant's best setting, by seed: the highest mean validation accuracy, diverged settings left out."""
    cells = runs_by(frame[frame["variant"] == variant], "cell").values()
    return max(cells, key=lambda runs: np.nan_to_num(_mean(runs, "val").mean(), nan=-np.inf))


def _gains(frame: pd.DataFrame, split: str) -> dict[str, np.ndarray]:
    """By variant: points over the random encoder (seeds, tasks), each variant in its best setting."""
    columns = task_columns(frame, split)
    random = frame[(frame["method"] == "Untrained") & (frame["backbone"] != "pixels")].sort_values("seed")
    return {v: best(frame, v)[columns].to_numpy(float) - random[columns].to_numpy(float) for v in VARIANTS}


def judge(frame: pd.DataFrame) -> Verdict:
    """A11. On the semantic task the instance method beats the random encoder, SUP(5), and is far from full SimCLR: full over
    instance SUP(5). On each other task on which full SimCLR gains (validation, whole interval above 0) it is close: over
    the random encoder SUP(5), and over KEPT of full SimCLR's gain SUP(0)."""
    names, test, val = tasks(frame), _gains(frame, "test"), _gains(frame, "val")["full"]
    ours, noise, full = (test[v] for v in VARIANTS)
    gap = stats.paired(full[:, 0], ours[:, 0])
    parts = [
        sup(f"{names[0]}: instance over random encoder", stats.paired(ours[:, 0]), ABOVE),
        sup(f"{names[0]}: full SimCLR over instance", gap, ABOVE),
    ]
    for t in [t for t in range(1, len(names)) if stats.paired(val[:, t]).low > 0]:
        parts.append(sup(f"{names[t]}: instance over random encoder", stats.paired(ours[:, t]), ABOVE))
        share = stats.paired(ours[:, t], KEPT * full[:, t])
        parts.append(sup(f"{names[t]}: instance's gain over {KEPT:.0%} of full SimCLR's", share, 0.0))
    cannot = kit.cannot_carry(frame[frame["variant"].isna() | (frame["variant"] == "full")])
    if not cannot and kit.evidence_of(frame) == "stand-in" and not gap.mean >= ABOVE:
        cannot = f"full SimCLR is {gap.mean:.1f} points over the instance method on {names[0]}: on photographs it is far over"
    means = (stats.paired(gain[:, 0]).mean for gain in (ours, full, noise))
    return verdict(
        frame, parts,
        "On {}, instance SimCLR gains {:.1f} points over a random encoder, full SimCLR {:.1f}, noise against the batch "
        "{:.1f}.".format(names[0], *means),
        cannot=cannot,
    )  # fmt: skip


# --- draw -------------------------------------------------------------------------------------------------------------


def draw(frame: pd.DataFrame) -> Drawing:
    columns, values = task_columns(frame), _by_task(frame)
    levels = pd.DataFrame([floor_levels(frame, c) for c in columns]).mean().to_dict()

    def sweep(ax, knob: str) -> None:
        first = ax.figure.axes[1]
        if ax is not first:
            ax.sharey(first)
            ax.tick_params(labelleft=False)
        _draw_sweep(ax, frame, knob)
        figures.floors(ax, levels, labels=knob == "lr")
        ax.set(xlabel=KNOBS[knob], **({"ylabel": "mean over tasks (%)"} if knob == "patch" else {}))

    said = "; ".join(
        f"{task}: " + ", ".join(f"{name} {v:.1f} %" for name, v in zip(VARIANTS.values(), row))
        for task, row in zip(tasks(frame), values.mean(0))
    )
    return page(
        frame.assign(variant=frame["variant"].fillna("floor")),
        ["variant", "method", "recipe", "patch", "noise", "everywhere", "temperature", "lr"],
        [lambda ax: draw_tasks(ax, frame), *(partial(sweep, knob=knob) for knob in KNOBS)],
        mosaic="aaaa;bcde", height=5.6, height_ratios=(1.5, 1), columns=[*task_columns(frame, "val"), *columns, "diverged"],
        alt="Above: bars of test accuracy by task for instance SimCLR, noise with batch negatives and full SimCLR, with the "
        f"random encoder and raw pixels as lines. {said}. Below: the mean over tasks against the instance method's knobs, "
        "one at a time, with a hollow star where image and patch carry noise too.",
    )  # fmt: skip


def _by_task(frame: pd.DataFrame) -> np.ndarray:
    """Each variant's accuracy in its best setting (seeds, tasks, variants)."""
    return np.stack([best(frame, v)[task_columns(frame)].to_numpy(float) for v in VARIANTS], -1)


def draw_tasks(ax, frame: pd.DataFrame) -> None:
    kit.task_bars(ax, frame, _by_task(frame), VARIANTS.values(), figures.PALETTE, ncols=3)


def _draw_sweep(ax, frame: pd.DataFrame, knob: str) -> None:
    """The instance method's mean accuracy against one knob, the others at the centre; noise with batch negatives where
    it has the same knob."""
    ours, levels = frame[frame["variant"] == "instance"], []
    lines = [ours[ours["differs"].isin(("", knob))], frame[frame["variant"] == "noise"]]
    for i, runs in enumerate(lines[: 1 + (knob == "noise")]):
        means = {level: _mean(cell, "test") for level, cell in sorted(runs_by(runs, knob).items())}
        figures.band(ax, list(means), np.stack(list(means.values()), 1), "", i)
        levels = levels or list(means)
    other = ours[ours["differs"] == "everywhere"]
    if len(other):
        note = "noise on\nall views" if knob == "patch" else ""
        figures.paper_value(ax, _mean(other, "test").mean(), other[knob].iloc[0], note)
    if knob in ("temperature", "lr") and len(levels) > 1:
        kit.log_axis(ax, levels)
    ax.set_xticks(levels, [f"{x:g}" for x in levels])
    ax.margins(x=0.15)


CLAIMS = (Claim("A11", plan, judge, draw),)

"""How many augmentations does SSL need? Claims A8 and A9 of the FFCV-SSL paper.

The six stacks of Figs. 6 and 7, each at a learning rate tuned on the validation split of the semantic task; every number
shown is of the test split. What making a stack's views costs is measured beside what it gains.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd

from repro import data, figures, stats
from repro.bench.views import ViewsSpec
from repro.claims import Claim, Drawing, Verdict
from repro.claims.common import (
    CARRIES,
    floor_levels,
    floors,
    grid,
    min_seeds,
    semantic,
    task_names,
    trained,
    tuned,
    verdict,
)
from repro.core.profiles import Profile, base
from repro.core.spec import Optimiser, RunSpec
from repro.ssl.methods import BarlowTwins
from repro.views.recipe import STACKS, preset

GRAY, ALL = STACKS.index("crop+gray"), STACKS.index("all")
SINGLE = ("crop+solarize", "crop+gray", "crop+blur", "crop+jitter")
CERTAIN = 0.8  # share of bootstraps in which gray must gain most
TITLES = {"SimCLR": "SimCLR", "BarlowTwins": "Barlow Twins"}
RATES = {  # of LARS; AdamW's for Barlow Twins at smoke and quick
    "smoke": {"SimCLR": (1.2,), "BarlowTwins": (0.02,)},
    "quick": {"SimCLR": (1.2, 4.0), "BarlowTwins": (0.02,)},
    "gpu": {"SimCLR": (0.4,), "BarlowTwins": (0.3,)},
    "paper": {"SimCLR": (0.5, 1.0, 2.0), "BarlowTwins": (0.3, 1.0)},
}


def plan(profile: Profile, method: str) -> list[RunSpec]:
    """The six stacks at each rate, probed on every task."""
    return [
        *_runs(profile, method),
        *floors(profile, tasks=data.tasks(profile.data)),
        *_costs(profile),
    ]


def plan_both(profile: Profile) -> list[RunSpec]:
    return [*_runs(profile, "BarlowTwins"), *plan(profile, "SimCLR")]


def _crop(profile: Profile) -> tuple[float, float]:
    """The crop of the profile's own recipe."""
    return base(profile).recipe.views[0].crop


def _runs(profile: Profile, method: str) -> list[RunSpec]:
    spec = base(profile)
    spec = replace(spec, probes=replace(spec.probes, tasks=data.tasks(profile.data)))
    if method == "BarlowTwins" and profile.name in ("gpu", "paper"):
        spec = replace(spec, method=BarlowTwins())
    elif method == "BarlowTwins":
        # lambda by the rule O(1/d). Twice the epochs and half the batch: in as few steps as SimCLR's it stays within ten
        # points of the random encoder, with LARS as with AdamW, and could carry no claim
        spec = replace(
            spec,
            method=BarlowTwins(0.02, 1.0),
            optimiser=Optimiser("adamw"),
            batch_size=spec.batch_size // 2,
            epochs=2 * spec.epochs,
        )
    if profile.name == "gpu":
        spec = replace(spec, epochs=max(1, profile.epochs // 7))  # six stacks by two methods in ten minutes
    cells = [
        replace(spec, recipe=preset(stack, crop=_crop(profile)), optimiser=replace(spec.optimiser, lr=lr))
        for stack in STACKS
        for lr in RATES[profile.name][method]
    ]
    return [replace(c, seed=seed) for c in cells for seed in range(profile.seeds)]


def _costs(profile: Profile) -> list[ViewsSpec]:
    images, repeats = (64, 1) if profile.name == "smoke" else (512, 7)
    spec = ViewsSpec(base(profile).data, _crop(profile), images, repeats)
    return [replace(spec, seed=seed) for seed in range(profile.seeds)]


# ----------------------------------------------------------------------------------------------------------- reading


def _split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(training runs and floors, measurements of the views' cost)"""
    is_run = frame["kind"] == "RunSpec"
    runs, costs = frame[is_run].copy(), frame[~is_run].copy()
    runs.attrs = costs.attrs = dict(frame.attrs)
    return runs, costs


def _methods(runs: pd.DataFrame) -> list[str]:
    return [m for m in TITLES if (runs["method"] == m).any()]


def _by_stack(runs: pd.DataFrame, method: str, task: str) -> tuple[np.ndarray, list[float]]:
    """Test accuracy (seeds, stacks) of a method on a task, each stack at its tuned rate; and that rate by stack."""
    mine = runs[runs["method"] == method].assign(stack=lambda f: f["recipe"].map(_stack))
    validation, (names, rates) = grid(mine, ("stack", "lr"), f"linear_val_{semantic(runs)}")
    test, _ = grid(mine, ("stack", "lr"), f"linear_test_{task}")
    picked, best = tuned(validation, test)
    order = [names.index(s) for s in STACKS]
    return picked[:, order], [rates[best[i]] for i in order]


def _stack(recipe: str) -> str:
    """The stack's name in a recipe's: what stands before the changes of `preset`."""
    return recipe.split(",")[0]


def costs(frame: pd.DataFrame) -> pd.DataFrame:
    """What each stack costs, as ratios to cropping alone: of making its views, and of a whole training with them (both
    methods', each stack's runs paired with cropping's by method, rate and seed; one that diverged stopped early)."""
    runs, measured = _split(frame)
    whole = trained(runs)[lambda f: f["diverged"] == 0]
    mine = whole.assign(stack=lambda f: f["recipe"].map(_stack), seconds=_seconds)
    each = mine.pivot_table(index=["method", "lr", "seed"], columns="stack", values="seconds").reindex(columns=STACKS)
    rows = []
    for stack in STACKS:
        views = measured[f"cost_{stack}"].to_numpy(float)
        micro = measured[f"us_{stack}"].to_numpy(float)
        training = stats.ratio(each[stack].to_numpy(), each[STACKS[0]].to_numpy())
        rows.append((stack, np.median(micro), np.median(views), views.min(), views.max(), training.mean))
    names = ["stack", "µs a view", "views, ratio to crop", "least", "most", "training, ratio to crop"]
    return pd.DataFrame(rows, columns=names)


def _seconds(runs: pd.DataFrame) -> pd.Series:
    """Seconds of training, probing apart: on a CPU the process's own clock, which busy neighbours do not lengthen."""
    clock = "epoch_cpu_seconds" if (runs["device"] == "cpu").all() else "epoch_seconds"
    return runs[clock].map(lambda s: s[-1])


def _why_not(runs: pd.DataFrame) -> str:
    """Why these data cannot carry the claims; "" if they can. Each method must beat both floors on its own."""
    name, column = str(runs["data"].iloc[0]), f"linear_test_{semantic(runs)}"
    if name in ("digits", "digits-placed"):
        return "digits are gray, so that gray and most of the jitter change nothing"
    floor = max(floor_levels(runs, column).values())
    for method in _methods(runs):
        means = [stats.paired(values).mean for values in _by_stack(runs, method, semantic(runs))[0].T]
        best = max((m for m in means if np.isfinite(m)), default=np.nan)
        if not best - floor >= CARRIES:
            title = TITLES[method]
            return (
                f"{title} reaches {best:.1f} %, less than {CARRIES:.0f} points above the higher floor ({floor:.1f} %)"
            )
    return ""


def _verdict(runs: pd.DataFrame, word: str, effect: stats.Interval, sentence: str) -> Verdict:
    why = _why_not(runs)
    if why:
        word, sentence = stats.NOT_JUDGED, f"Not judged: {why}. {sentence}"
    return verdict(runs, word, effect, "points", sentence)


# ----------------------------------------------------------------------------------------------------------- judging


def judge_close(frame: pd.DataFrame) -> Verdict:
    """A8: gray over crop SUP(1), and all augmentations against crop and gray EQ(2), on the semantic task."""
    runs, _ = _split(frame)
    task, need = semantic(runs), min_seeds(runs)
    values, _ = _by_stack(runs, "SimCLR", task)
    gain = stats.paired(values[:, GRAY], values[:, 0])
    rest, equal = stats.eq(values[:, ALL], values[:, GRAY], 2.0, need)
    word = stats.combine([stats.sup(gain, 1.0, need), equal])
    others = {}
    for other in data.tasks(runs["data"].iloc[0])[1:]:
        v, _ = _by_stack(runs, "SimCLR", other)
        others[other] = stats.paired(v[:, ALL], v[:, GRAY]).mean
    said = "; on the other tasks by " + ", ".join(f"{v:.1f} ({k})" for k, v in others.items()) if others else ""
    return _verdict(
        runs, word, rest,
        f"Gray over cropping alone gains {gain.text()} points of {task} accuracy (asked: 1). All augmentations differ from "
        f"crop and gray by {rest.text()} (90 % interval; asked: within 2){said}.",
    )  # fmt: skip


def judge_gray(frame: pd.DataFrame) -> Verdict:
    """A9: for both methods gray over crop SUP(1), and the largest single gain in 80 % of bootstraps; the effect is the
    lesser of the two gains."""
    runs, _ = _split(frame)
    need, words, parts, effects = min_seeds(runs), [], [], []
    for method in _methods(runs):
        gains = _gains(runs, method)
        gain = stats.paired(gains[:, SINGLE.index("crop+gray")])
        shares = stats.p_largest(gains)
        share = shares[SINGLE.index("crop+gray")]
        largest = stats.NOT_JUDGED
        if gain.n >= need:
            first = stats.PARTLY if share == shares.max() else stats.NOT_REPRODUCED
            largest = stats.REPRODUCED if share >= CERTAIN else first
        words += [stats.sup(gain, 1.0, need), largest]
        effects.append(gain)
        parts.append(
            f"{TITLES[method]}: gray gains {gain.text()} and is the largest single gain in {100 * share:.0f} % of "
            f"bootstraps (largest mean: {_most(gains)}){_elsewhere(runs, method)}"
        )
    return _verdict(
        runs, stats.combine(words), min(effects, key=lambda e: e.mean),
        f"{'; '.join(parts)} (asked: 1 point and {100 * CERTAIN:.0f} % for both methods; the lesser gain is given).",
    )  # fmt: skip


def _elsewhere(runs: pd.DataFrame, method: str) -> str:
    """What gray gains a method on the other tasks, at the rate tuned on the semantic one."""
    gains = []
    for task in data.tasks(runs["data"].iloc[0])[1:]:
        values, _ = _by_stack(runs, method, task)
        gain = stats.paired(values[:, STACKS.index("crop+gray")], values[:, STACKS.index("crop")])
        gains.append(f"{gain.mean:.1f} ({task})")
    return f", on the other tasks {', '.join(gains)}" if gains else ""


def _gains(runs: pd.DataFrame, method: str) -> np.ndarray:
    """(seeds, SINGLE) test points of the semantic task over cropping alone."""
    values, _ = _by_stack(runs, method, semantic(runs))
    return values[:, [STACKS.index(s) for s in SINGLE]] - values[:, :1]


def _most(gains: np.ndarray) -> str:
    """Which of SINGLE gains most in the mean over the seeds that have all of them."""
    whole = gains[np.isfinite(gains).all(1)]
    return SINGLE[int(whole.mean(0).argmax())].removeprefix("crop+") if len(whole) else "none"


# ----------------------------------------------------------------------------------------------------------- drawing


def _table(runs: pd.DataFrame) -> pd.DataFrame:
    """The numbers behind a figure: a row a run."""
    task = semantic(runs)
    columns = [f"linear_val_{task}", *[f"linear_test_{t}" for t in data.tasks(runs["data"].iloc[0])], "diverged"]
    axes = ["method", "recipe", "lr", "seed"]
    return runs[[*axes, "backbone", *[c for c in columns if c in runs]]].sort_values(axes).reset_index(drop=True)


def draw_close(frame: pd.DataFrame) -> Drawing:
    runs, _ = _split(frame)
    name, task = runs["data"].iloc[0], semantic(runs)
    tasks = data.tasks(name)
    values = np.stack([_by_stack(runs, "SimCLR", t)[0] for t in tasks], 1)  # (seeds, tasks, stacks)
    fig, (top, low) = figures.figure(2, 1, height=6.0, height_ratios=(1.35, 1))
    levels = [floor_levels(runs, f"linear_test_{t}") for t in tasks]
    figures.bars(top, values, list(STACKS), task_names(name), list(figures.PALETTE), levels)
    top.set_ylabel("linear probe accuracy (%)")
    top.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    table = costs(frame)
    cost, gains = table["views, ratio to crop"].to_numpy(), values[:, 0] - values[:, 0, :1]
    mean, bottom, upper = figures.mean_interval(gains)
    for i, stack in enumerate(STACKS):
        look = {"color": figures.PALETTE[i], "marker": figures.MARKERS[i], "markersize": 7}
        low.plot([cost[i]] * 2, [bottom[i], upper[i]], color=figures.PALETTE[i], linewidth=1.4)
        low.plot([table["least"][i], table["most"][i]], [mean[i]] * 2, color=figures.PALETTE[i], linewidth=1.4)
        low.plot(cost[i], mean[i], linestyle="", **look)
        beside = (7, 5) if i else (7, -12)  # crop itself, at the origin, where a cheap and useless one lies as well
        low.annotate(stack, (cost[i], mean[i]), xytext=beside, textcoords="offset points", fontsize=8)
    low.axhline(0, color=figures.muted(), linewidth=0.9)
    low.set_xlim(0.9, max(cost) * 1.12)
    low.set(xlabel="time to make the views, over cropping alone (×)", ylabel=f"{task}: points over crop")
    low.set_title("what a stack gains, and what its views cost")
    said = ", ".join(f"{s} {v:.1f} % at {c:.1f} times the cost" for s, v, c in zip(STACKS, values[:, 0].mean(0), cost))
    numbers = _table(runs)
    for column in table.columns[1:]:
        numbers[column] = numbers["recipe"].map(_stack).map(dict(zip(table["stack"], table[column])))
    return Drawing(
        fig, numbers,
        "Above: bars of SimCLR's test accuracy by task, a bar a stack of augmentations, with the random encoder's and raw "
        f"pixels' accuracy as lines. Below: points gained on {task} over cropping alone against the time to make the "
        f"views. {task} accuracy and cost: {said}.",
    )  # fmt: skip


def draw_gray(frame: pd.DataFrame) -> Drawing:
    runs, _ = _split(frame)
    task, methods = semantic(runs), _methods(runs)
    fig, axes = figures.figure(2, len(methods), height=5.0, height_ratios=(1.5, 1), squeeze=False)
    said = []
    for j, method in enumerate(methods):
        top, low = axes[:, j]
        top.sharey(axes[0, 0])
        values, _ = _by_stack(runs, method, task)
        mean, bottom, upper = figures.mean_interval(values)
        top.bar(range(len(STACKS)), mean, 0.75, color=figures.PALETTE)
        top.errorbar(
            range(len(STACKS)), mean, [mean - bottom, upper - mean], fmt="none", ecolor=figures.ink(), elinewidth=0.9
        )
        top.set_xticks(range(len(STACKS)), STACKS, fontsize=7.5, rotation=30, ha="right")
        top.set_ylim(bottom=0)
        figures.floors(top, floor_levels(runs, f"linear_test_{task}"), labels=j == len(methods) - 1)
        gains = _gains(runs, method)
        ranks, shares = stats.mean_rank(gains), stats.p_largest(gains)
        for i, stack in enumerate(SINGLE):
            gain, y, look = stats.paired(gains[:, i]), len(SINGLE) - 1 - i, STACKS.index(stack)
            low.plot([gain.low, gain.high], [y, y], color=figures.PALETTE[look], linewidth=2)
            low.plot(gain.mean, y, color=figures.PALETTE[look], marker=figures.MARKERS[look], markersize=6)
        names = [
            f"{stack.removeprefix('crop')}\nrank {rank:.1f}, first in {100 * share:.0f} %"
            for stack, rank, share in zip(SINGLE, ranks, shares)
        ]
        low.set_yticks(range(len(SINGLE)), names[::-1], fontsize=7.5)
        low.set_ylim(-0.6, len(SINGLE) - 0.4)
        low.grid(visible=False, axis="y")
        low.grid(axis="x")
        low.axvline(0, color=figures.ink(), linewidth=0.9)
        low.set_xlabel("points over cropping alone")
        share = shares[SINGLE.index("crop+gray")]
        said.append(f"{TITLES[method]}: {_most(gains)} gains most; gray is first in {100 * share:.0f} % of bootstraps")
    axes[0, 0].set_ylabel(f"{task} accuracy, linear probe (%)")
    figures.panel_labels(axes, [TITLES[m] for m in methods] + ["each alone"] * len(methods))
    return Drawing(
        fig, _table(runs),
        f"Above: bars of {task} accuracy by stack of augmentations, a panel a method, with the floors as lines. Below: what "
        f"each augmentation alone gains over cropping, with its mean rank over bootstraps. {'; '.join(said)}.",
    )  # fmt: skip


CLAIMS = (
    Claim("A8", partial(plan, method="SimCLR"), judge_close, draw_close),
    Claim("A9", plan_both, judge_gray, draw_gray),
)

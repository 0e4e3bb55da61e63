"""How many augmentations does SSL need? Claims A8 and A9 of the FFCV-SSL paper.

The six stacks of Figs. 6 and 7, each at a learning rate tuned on the validation split of the semantic task; every number
shown is of the test split. What making a stack's views costs is measured beside what it gains.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd

from repro import figures, stats
from repro.bench.specs import ViewsSpec
from repro.claims import Claim, Drawing, Verdict, kit
from repro.claims.kit import Cells, Plan, column, drawing, read, task_columns, tasks, verdict
from repro.core.methods import BarlowTwins
from repro.core.profiles import Profile, base, several
from repro.core.spec import Optimiser, RunSpec
from repro.stats import eq, sup
from repro.views.recipe import STACKS, preset

CROP, GRAY, ALL = (STACKS.index(stack) for stack in ("crop", "crop+gray", "all"))
SINGLE = ("crop+solarize", "crop+gray", "crop+blur", "crop+jitter")
SINGLE_GRAY = SINGLE.index("crop+gray")
TITLES = {"SimCLR": "SimCLR", "BarlowTwins": "Barlow Twins"}
RATES = {  # of LARS; AdamW's for Barlow Twins at smoke, quick and cpu
    "smoke": {"SimCLR": (1.2,), "BarlowTwins": (0.02,)},
    "quick": {"SimCLR": (1.2,), "BarlowTwins": (1e-2,)},
    "cpu": {"SimCLR": (1.2,), "BarlowTwins": (3e-3,)},
    "gpu": {"SimCLR": (0.4,), "BarlowTwins": (0.3,)},
    "paper": {"SimCLR": (0.5, 1.0, 2.0), "BarlowTwins": (0.3, 1.0)},
}

# --- plan -------------------------------------------------------------------------------------------------------------


def plan(profile: Profile, methods: tuple[str, ...]) -> Plan:
    """The six stacks at each rate, SimCLR's probed on every task, and what the views of each stack cost."""
    spec = base(profile).but(**several(profile))
    if profile.name == "gpu":  # six stacks by two methods in ten minutes
        spec = spec.but(epochs=max(1, profile.epochs // 7))
    plan, rates = Plan(profile), RATES[profile.name]
    crop = spec.recipe.views[0].crop
    for method in methods:
        own = _barlow_twins(profile, spec) if method == "BarlowTwins" else spec
        for stack in STACKS:
            plan.add(*own.but(recipe=preset(stack, crop=crop)).grid(lr=rates[method]), stack=stack)
    images, repeats = (64, 1) if profile.name == "smoke" else (512, 7)
    return plan.floors(**several(profile)).add(ViewsSpec(spec.data, crop, images, repeats))


def _barlow_twins(profile: Profile, spec: RunSpec) -> RunSpec:
    """The run with Barlow Twins. At smoke, quick and cpu lambda is of order 1/d and AdamW trains it, as the small projectors
    paper has it; at smoke and quick at half the batch: in as few steps as SimCLR's it stays near the random encoder."""
    if profile.name in ("gpu", "paper"):
        return spec.but(method=BarlowTwins(), transfer=())
    method, optimiser = BarlowTwins(0.02, 1.0), Optimiser("adamw")
    batch = spec.batch_size // 2 if profile.small else spec.batch_size
    return spec.but(method=method, optimiser=optimiser, batch_size=batch, transfer=())


# --- read -------------------------------------------------------------------------------------------------------------


def _methods(frame: pd.DataFrame) -> dict[str, str]:
    """The titles of the methods that the frame has."""
    return {method: title for method, title in TITLES.items() if (frame["method"] == method).any()}


def by_stack(frame: pd.DataFrame, method: str, task: str = "") -> Cells:
    """A method's accuracy over stacks and learning rates."""
    return read(frame[frame["method"] == method], "stack", "lr", task=task)


def _gains(frame: pd.DataFrame, method: str) -> np.ndarray:
    """(seeds, SINGLE) test points of the semantic task over cropping alone."""
    values = by_stack(frame, method).tuned()
    return values[:, [STACKS.index(s) for s in SINGLE]] - values[:, [CROP]]


def _largest(gains: np.ndarray) -> str:
    """Which of SINGLE gains most in the mean over the seeds that have all of them, and how much."""
    there = gains[np.isfinite(gains).all(1)]
    if not len(there):
        return "none, as no seed has all of them"
    mean = there.mean(0)
    return f"{SINGLE[int(mean.argmax())].removeprefix('crop+')}, with {mean.max():.1f} points"


def costs(frame: pd.DataFrame) -> pd.DataFrame:
    """What each stack costs, as ratios to cropping alone: of making its views, and of a whole training with them (each
    stack's runs paired with cropping's by method, rate and seed, without those that diverged and so stopped early)."""
    measured, whole = frame[frame["kind"] == "ViewsSpec"], kit.trained(frame)[lambda f: f["diverged"] == 0]
    whole = whole.assign(seconds=[kit.epoch_ends(run)[-1] for _, run in whole.iterrows()])
    each = whole.pivot_table(index=["method", "lr", "seed"], columns="stack", values="seconds").reindex(columns=STACKS)
    rows = []
    for stack in STACKS:
        views, micro = (measured[f"{name}_{stack}"].to_numpy(float) for name in ("cost", "us"))
        training = stats.ratio(each[stack].to_numpy(), each[STACKS[CROP]].to_numpy())
        rows.append((stack, np.median(micro), np.median(views), views.min(), views.max(), training.mean))
    names = ["stack", "µs a view", "views, ratio to crop", "least", "most", "training, ratio to crop"]
    return pd.DataFrame(rows, columns=names)


# --- judge ------------------------------------------------------------------------------------------------------------


def _cannot(frame: pd.DataFrame) -> str:
    """Why these data cannot carry the claims; "" if they can. Each method must beat both floors on its own, and each stack
    the random encoder."""
    if frame["data"].iloc[0] in ("digits", "digits-placed"):
        return "digits are gray, so that gray and most of the jitter change nothing"
    stacks = {
        f"{title}, {s}": by_stack(frame, m).tuned()[:, i]
        for m, title in _methods(frame).items()
        for i, s in enumerate(STACKS)
    }
    return kit.cannot_carry_each(frame, _methods(frame)) or kit.at_floor(frame, stacks)


def judge_close(frame: pd.DataFrame) -> Verdict:
    """A8: gray over crop SUP(1), and all augmentations against crop and gray EQ(2), on the semantic task."""
    values = by_stack(frame, "SimCLR").tuned()
    gain, rest = (stats.paired(values[:, a], values[:, b]) for a, b in ((GRAY, CROP), (ALL, GRAY)))
    return verdict(
        frame, [sup("gray over crop", gain, 1.0), eq("all over crop+gray", rest, 2.0)],
        f"Gray gains {gain.mean:.1f} points over cropping; all augmentations gain {rest.mean:.1f} over crop and gray.",
        headline=1, cannot=_cannot(frame),
    )  # fmt: skip


def judge_gray(frame: pd.DataFrame) -> Verdict:
    """A9: for both methods gray over crop SUP(1), and the largest of the single gains."""
    parts, said = [], []
    for method, title in _methods(frame).items():
        gains = _gains(frame, method)
        parts.append(sup(f"{title}: gray over crop", stats.paired(gains[:, SINGLE_GRAY]), 1.0))
        parts.append(stats.largest(f"{title}: gray over the best other", gains, SINGLE_GRAY))
        said.append(f"{title}: {_largest(gains)}")
    return verdict(
        frame, parts, f"What gains most over cropping: {'; '.join(said)}.", headline=1, cannot=_cannot(frame)
    )


# --- draw -------------------------------------------------------------------------------------------------------------


def _drawing(fig, frame: pd.DataFrame, alt: str, more: Sequence[str] = ()) -> Drawing:
    columns = [column(frame, "val"), *task_columns(frame), "diverged", *more]
    return drawing(fig, frame[frame["kind"] == "RunSpec"], ["recipe", "lr"], alt, columns)


def draw_close(frame: pd.DataFrame) -> Drawing:
    values = np.stack([by_stack(frame, "SimCLR", t).tuned() for t in tasks(frame)], 1)  # (seeds, tasks, stacks)
    table = costs(frame).set_index("stack")
    fig, (top, low) = figures.figure(2, 1, height=6.0, height_ratios=(1.35, 1))
    kit.task_bars(top, frame, values, STACKS, figures.PALETTE, ncols=4)
    _draw_trade(low, values[:, 0] - values[:, 0, [CROP]], table)
    low.set(xlabel="time to make the views, over cropping alone (×)", ylabel=f"{tasks(frame)[0]}: points over crop")
    low.set_title("what a stack gains, and what its views cost")
    cost = table["views, ratio to crop"]
    each = ", ".join(f"{s} {v:.1f} % at {c:.1f} times the cost" for s, v, c in zip(STACKS, values[:, 0].mean(0), cost))
    return _drawing(
        fig, frame.assign(**{name: frame["stack"].map(table[name]) for name in table}),
        "Above: bars of SimCLR's test accuracy by task, a bar a stack of augmentations, with the random encoder's and raw "
        f"pixels' accuracy as lines. Below: points gained on {tasks(frame)[0]} over cropping alone against the time to make "
        f"the views. {tasks(frame)[0]} accuracy and cost: {each}.",
        list(table),
    )  # fmt: skip


def _draw_trade(ax, gains: np.ndarray, table: pd.DataFrame) -> None:
    """Gains (seeds, stacks) against what the views cost, with the interval of the gain and the range of the cost."""
    mean, bottom, upper = figures.mean_interval(gains)
    for i, (stack, row) in enumerate(table.iterrows()):
        cost, colour = row["views, ratio to crop"], figures.PALETTE[i]
        ax.plot([cost, cost], [bottom[i], upper[i]], color=colour, linewidth=1.4)
        ax.plot([row["least"], row["most"]], [mean[i], mean[i]], color=colour, linewidth=1.4)
        ax.plot(cost, mean[i], linestyle="", color=colour, marker=figures.MARKERS[i], markersize=7)
        beside = (7, 5) if i else (7, -12)  # crop itself, at the origin, where a cheap and useless one lies as well
        ax.annotate(stack, (cost, mean[i]), xytext=beside, textcoords="offset points", fontsize=8)
    ax.axhline(0, color=figures.muted(), linewidth=0.9)
    ax.set_xlim(0.9, max(table["views, ratio to crop"]) * 1.12)


def draw_gray(frame: pd.DataFrame) -> Drawing:
    methods, said = _methods(frame), []
    fig, axes = figures.figure(2, len(methods), height=5.0, height_ratios=(1.5, 1), squeeze=False)
    for (method, title), (top, low) in zip(methods.items(), axes.T):
        top.sharey(axes[0, 0])
        values, gains = by_stack(frame, method).tuned(), _gains(frame, method)
        figures.bars(top, values[:, :, None], [""], STACKS)
        top.set_xticks(range(len(STACKS)), STACKS, fontsize=7.5, rotation=30, ha="right")
        kit.floors(top, frame, labels=method == list(methods)[-1])
        figures.intervals(low, {s.removeprefix("crop"): stats.paired(g) for s, g in zip(SINGLE, gains.T)})
        low.set_xlabel("points over cropping alone")
        said.append(f"{title}: {_largest(gains)}")
    axes[0, 0].set_ylabel(kit.label(frame))
    figures.panel_labels(axes, [*methods.values(), *["each alone"] * len(methods)])
    return _drawing(
        fig, frame,
        f"Above: bars of {tasks(frame)[0]} accuracy by stack of augmentations, a panel a method, with the floors as lines. "
        "Below: what each augmentation alone gains over cropping. "
        f"The largest gain: {'; '.join(said)}.",
    )  # fmt: skip


CLAIMS = (
    Claim("A8", partial(plan, methods=("SimCLR",)), judge_close, draw_close),
    Claim("A9", partial(plan, methods=("BarlowTwins", "SimCLR")), judge_gray, draw_gray),
)

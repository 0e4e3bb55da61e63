"""What gradient descent learns first, in models small enough to solve: claims C1 to C3, C9, C14 and C15 (small projectors).

The poster's Fig 3 is itself a toy, so every profile runs the same toys: "gpu" and "paper" only take more seeds and
finer grids, "cpu" is as "quick". The data are ours, made up by `repro.theory`; the paper publishes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, kit
from repro.claims.kit import Plan, page
from repro.core.profiles import Profile
from repro.errors import ReproError
from repro.stats import holds, rise, sup
from repro.theory import CONDITION_HOLDS, OPERATORS, DynamicsSpec, GraphSpec, KernelSpec, Result, ToySpec

LOWER, LOW, HIGH = DRAWN = (0.01, 0.1, 1.0)
"""The betas whose features are drawn for C3. The verdict compares HIGH with LOW: the nearer, harder of the two low
ones."""
SHOWN_VIEWS = (1, 4, 16, 64)  # of C9's embeddings
DIMS = (4, 8)  # of C14's features
OURS = "toy data: ours"
LAWS = {"rows": "law", "steps": "step"}  # of C2's experiments, and what their errors are called
TITLES = {  # of C1's operators, and what the theorem asks of them
    "augmentations": ("augment,\nthen go back", "self-adjoint,\npositive"),
    "lazy walk": ("lazy\nsymmetric walk", "self-adjoint,\npositive"),
    "two-sided walk": ("walk between\ntwo sides", "self-adjoint,\nnot positive"),
    "biased shift": ("shift to\none side", "normal, not\nself-adjoint"),
    "random": ("random", "not normal"),
}

# --- plan -------------------------------------------------------------------------------------------------------------


def _fine(profile: Profile) -> bool:
    return profile.name in ("gpu", "paper")


def _seeds(profile: Profile) -> range:
    """The profile's seeds; where it counts them in GPU runs, four times as many, as a toy takes a second of a CPU."""
    times = 4 if _fine(profile) else 1
    return range(times * profile.first, times * (profile.first + profile.seeds))


def plan_c1(profile: Profile) -> Plan:
    sizes = (3, 5, 9) if _fine(profile) else (5,)
    return Plan(profile).add(*(GraphSpec(operator=o, k=k) for o in OPERATORS for k in sizes), seeds=_seeds(profile))


def plan_c15(profile: Profile) -> Plan:
    """C1's graphs to which the theorem applies, by the usual loss."""
    graphs = [replace(spec, usual=True) for spec in plan_c1(profile) if spec.operator in CONDITION_HOLDS]
    return Plan(profile).add(*(g for g in graphs if g.seed == graphs[0].seed), seeds=_seeds(profile))


def plan_c2(profile: Profile) -> Plan:
    dims, products, starts = (2, 4, 8, 16, 32), (0.1, 0.3, 1.0, 3.0, 10.0), (1e-4,)
    if profile.name == "smoke":
        dims, products = (2, 8), (0.3, 1.0, 3.0)
    if _fine(profile):
        products, starts = (0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0), (1e-3, 1e-4, 1e-5)
    specs = [DynamicsSpec("saddle", d=d, d_beta=p) for d in dims for p in products]
    specs += [DynamicsSpec(e, init=i) for e in ("rows", "steps") for i in starts]
    return Plan(profile).add(*specs, seeds=_seeds(profile))


def plan_c3(profile: Profile) -> Plan:
    """The first seed of the betas that are drawn also keeps its feature space along the way."""
    betas, steps = (0.0, 0.01, 0.03, LOW, 0.3, HIGH, 3.0), 500
    if profile.name == "smoke":
        betas, steps = DRAWN, 60
    if _fine(profile):
        betas = (0.0, 0.01, 0.02, 0.03, 0.05, 0.07, LOW, 0.14, 0.2, 0.3, 0.5, HIGH, 2.0, 3.0)
    plan, seeds = Plan(profile), _seeds(profile)
    for spec in (ToySpec(beta=b, steps=steps) for b in betas):
        kept = replace(spec, snapshots=21 if spec.beta in DRAWN else 0)
        plan.add(kept, seeds=seeds[:1]).add(spec, seeds=seeds[1:])
    return plan


def plan_c14(profile: Profile) -> Plan:
    steps = 60 if profile.name == "smoke" else 500
    return Plan(profile).add(
        *(ToySpec(beta=b, steps=steps, dim=d) for d in DIMS for b in (LOW, HIGH)), seeds=_seeds(profile)
    )


def plan_c9(profile: Profile) -> Plan:
    """The first seed of the views that are drawn also keeps its embedding."""
    plan, seeds = Plan(profile), _seeds(profile)
    for views in (2**i for i in range(9 if _fine(profile) else 4 if profile.name == "smoke" else 7)):
        plan.add(KernelSpec(views=views, keep=views in SHOWN_VIEWS), seeds=seeds[:1])
        plan.add(KernelSpec(views=views), seeds=seeds[1:])
    return plan


# --- read -------------------------------------------------------------------------------------------------------------


def _runs(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind of spec. Raises ReproError if there are none."""
    rows = frame[frame["kind"] == kind] if "kind" in frame else frame.iloc[:0]
    if rows.empty:
        raise ReproError(f"No stored {kind} runs for this figure: measure them first with `repro measure`.")
    return rows


def _saddle(frame: pd.DataFrame) -> pd.DataFrame:
    """C2's escapes from the saddle, with their beta."""
    runs = _runs(frame, "DynamicsSpec")
    return runs[runs["experiment"] == "saddle"].assign(beta=lambda r: r["d_beta"] / r["d"])


def _correlations(saddle: pd.DataFrame) -> np.ndarray:
    """The correlation of log escape time with log predicted rate over the grid, one a seed."""
    cells = saddle.groupby("seed")
    return np.array([np.corrcoef(np.log(c["escape_time"]), np.log(c["rate"]))[0, 1] for _, c in cells])


def _kept(runs: pd.DataFrame) -> dict[float, dict[str, list]]:
    """The curves of a run that kept its features, at each of DRAWN."""
    found = {}
    for beta in DRAWN:
        rows = runs[(runs["beta"] == beta) & (runs["snapshots"] > 0)]
        if rows.empty:
            raise ReproError(f"No stored run kept its features at beta {beta:g}: measure with this claim's own plan.")
        found[beta] = rows.iloc[0]["curves"]
    return found


def _overlaps(frame: pd.DataFrame) -> pd.DataFrame:
    """C9's overlap by seed (rows) and number of views (columns)."""
    return _runs(frame, "KernelSpec").pivot_table(index="seed", columns="views", values="overlap")


# --- judge ------------------------------------------------------------------------------------------------------------

_verdict = partial(kit.verdict, on="toy data (ours)")


def judge_c1(frame: pd.DataFrame) -> Verdict:
    """The overlap's interval lies above .99 where T is self-adjoint and positive. Of each seed the worst run counts."""
    runs = _runs(frame, "GraphSpec")
    applies = runs["operator"].isin(CONDITION_HOLDS)
    worst = stats.paired(runs[applies].groupby("seed")["overlap"].min().to_numpy())
    elsewhere = runs[~applies].groupby("operator")["overlap"].mean()
    return _verdict(
        frame, [sup("overlap where T is self-adjoint and positive", worst, 0.99, 0.99, "overlap")],
        f"Minimisers overlap the largest eigenvalues' functions by {worst.mean:.3f}; for other operators by "
        f"{elsewhere.min():.2f} to {elsewhere.max():.2f}.",
        backbone="no network", evidence="identity or theory",
    )  # fmt: skip


def judge_c2(frame: pd.DataFrame) -> Verdict:
    """Three laws, each held against its criterion; the two that are integrated have no chance in them."""
    runs, laws = _runs(frame, "DynamicsSpec"), []
    for experiment, name, limit in (("rows", "power law at beta 0", 0.01), ("steps", "times of the steps", 0.1)):
        errors = runs[runs["experiment"] == experiment].groupby("seed")[f"{LAWS[experiment]}_error"].max()
        largest = f"largest error < {100 * limit:g} %"
        laws.append(holds(name, errors.max() < limit, stats.paired(100 * errors.to_numpy()), largest, "%"))
    escape = stats.correlation(-_correlations(_saddle(frame)))
    return _verdict(
        frame, [sup("escape rate against the predicted one, logs", escape, 0.95, 0.95, "correlation"), *laws],
        f"Escape and predicted rates correlate by {escape.mean:.3f}; the power law errs by {laws[0].effect.mean:.1g} %, "
        f"step times by {laws[1].effect.mean:.1g} %.",
        backbone="linear network", evidence="identity or theory",
    )  # fmt: skip


def judge_c3(frame: pd.DataFrame) -> Verdict:
    """SUP on s2/s1, high beta over low beta, paired by seed; no size is claimed, so d is 0."""
    runs = _runs(frame, "ToySpec")
    ratio = runs.pivot_table(index="seed", columns="beta", values="singular_ratio").reindex(columns=[LOW, HIGH])
    difference = stats.paired(ratio[HIGH].to_numpy(float), ratio[LOW].to_numpy(float))
    return _verdict(
        frame, [sup(f"beta {HIGH:g} over beta {LOW:g}", difference, 0.0, unit="s2/s1")],
        f"The second singular value is {ratio[LOW].mean():.2f} of the first at beta {LOW:g}, {ratio[HIGH].mean():.2f} at "
        f"beta {HIGH:g}.",
        backbone="MLP 2-64-64-2", evidence="toy",
    )  # fmt: skip


def judge_c14(frame: pd.DataFrame) -> Verdict:
    """SUP(0) on the effective rank, high beta over low beta, at each dimension."""
    ranks = _runs(frame, "ToySpec").pivot_table(index="seed", columns=["dim", "beta"], values="effective_rank")
    ends = {d: (ranks[d, LOW].to_numpy(float), ranks[d, HIGH].to_numpy(float)) for d in DIMS}
    said = "; ".join(
        f"{low.mean():.1f} of {d} at beta {LOW:g}, {high.mean():.1f} at {HIGH:g}" for d, (low, high) in ends.items()
    )
    parts = [
        sup(f"d = {d}: beta {HIGH:g} over beta {LOW:g}", stats.paired(high, low), 0.0, unit="effective rank")
        for d, (low, high) in ends.items()
    ]
    return _verdict(frame, parts, f"Effective rank: {said}.", backbone="MLP 2-64-64-d", evidence="toy")


def judge_c15(frame: pd.DataFrame) -> Verdict:
    """The overlap's interval lies above .99. Of each seed the worst run counts."""
    worst = stats.paired(_runs(frame, "GraphSpec").groupby("seed")["overlap"].min().to_numpy())
    return _verdict(
        frame, [sup("overlap of the two losses' minimisers", worst, 0.99, 0.99, "overlap")],
        f"The two losses' minimisers overlap by {worst.mean:.3f}.", backbone="no network",
        evidence="identity or theory",
    )  # fmt: skip


def judge_c9(frame: pd.DataFrame) -> Verdict:
    """TREND of the overlap with the number of views."""
    overlaps = _overlaps(frame)
    few, many = overlaps.columns.min(), overlaps.columns.max()
    return _verdict(
        frame, [rise("overlap with the true eigenspace by views", overlaps.columns, overlaps.to_numpy())],
        f"The estimated eigenspace overlaps the true one by {overlaps[few].mean():.2f} with {few:g} view"
        f"{'s' if few > 1 else ''}, by {overlaps[many].mean():.2f} with {many:g}.",
        backbone="no network", evidence="toy",
    )  # fmt: skip


# --- draw -------------------------------------------------------------------------------------------------------------

TURN = np.linspace(0, 2 * np.pi, 200)


def _note(fig: Figure, text: str = OURS) -> None:
    fig.supxlabel(text, x=0.995, ha="right", fontsize=7, color=figures.muted())  # the layout keeps its place free


def _page(*args: Any, note: str = OURS, **look: Any) -> Drawing:
    drawn = page(*args, **look)
    _note(drawn.figure, note)
    return drawn


def draw_c1(frame: pd.DataFrame) -> Drawing:
    runs = _runs(frame, "GraphSpec")
    k = 5 if (runs["k"] == 5).any() else int(runs["k"].iloc[0])
    shown = runs[runs["k"] == k]
    names = [o for o in OPERATORS if (shown["operator"] == o).any()]

    def overlaps(ax: Axes) -> None:
        for i, (name, label) in enumerate((("overlap", "largest"), ("overlap_nearest", "nearest to 1"))):
            for x, operator in enumerate(names):
                kit.dots(ax, x + 0.36 * i - 0.18, shown.loc[shown["operator"] == operator, name].to_numpy(float), i)
            ax.plot([], [], **figures.style(i) | {"linestyle": "", "label": f"the {k} eigenvalues {label}"})
        figures.floors(ax, {"asked: .99": 0.99, "chance": k / int(shown["nodes"].iloc[0])})
        ax.set(ylim=(0, 1.06), ylabel="overlap with the minimisers")
        ax.set_xticks(range(len(names)), ["\n".join(TITLES[o]) for o in names], fontsize=7.5)
        ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1.0))

    mean = shown.groupby("operator")["overlap"].mean()
    return _page(
        runs, ("operator", "k"), [overlaps], height=3.6,
        columns=("overlap", "worst_cosine", "overlap_nearest", "loss", "excess", "asymmetry", "smallest"),
        alt="How far the functions that minimise the reformulated objective span the eigenfunctions with the largest "
        "eigenvalues (circles) or with the eigenvalues nearest to 1 (squares), for five averaging operators, a dot a seed. "
        f"Mean overlap with the largest: {'; '.join(f'{OPERATORS[o]} {mean[o]:.2f}' for o in names)}. Only the first "
        "two operators are self-adjoint and positive; a normal one's minimisers span the eigenvalues nearest to 1 all the "
        "same, which are the largest by sign where T is self-adjoint.",
    )  # fmt: skip


def draw_c2(frame: pd.DataFrame) -> Drawing:
    runs, saddle = _runs(frame, "DynamicsSpec"), _saddle(frame)
    return _page(
        runs, ("experiment", "d", "d_beta", "init"),
        [partial(_draw_rows, curves=_first(runs, "rows")), partial(_draw_steps, curves=_first(runs, "steps")),
         partial(_draw_escapes, saddle=saddle), partial(_draw_rates, saddle=saddle)],
        titles=("β = 0: a row keeps only the top mode", "β = 1: modes are learned in steps", "a small d needs a larger β",
                "the product dβ decides"), mosaic="ab;cd", height=5.7,
        columns=("law_error", "alignment", "step_error", "closed_error", "escape_time", "rate", "rate_error"),
        alt="Four panels of a linear network's gradient flow. a: without orthogonalisation the second and later modes of "
        "a row stop far below the first, along the predicted power law. b: with it the modes rise to one in separate "
        "steps, at the predicted times. c: the time to leave a collapsed state falls with beta, later for small "
        "dimensions d. d: drawn against the predicted rate all dimensions fall on one line of slope minus one "
        f"(correlation {_correlations(saddle).mean():.3f}).",
    )  # fmt: skip


def _first(runs: pd.DataFrame, experiment: str) -> dict[str, Any]:
    """The curves of one run of an experiment: the first seed at the middle of the starts measured."""
    rows = runs[runs["experiment"] == experiment].sort_values(["seed", "init"])
    rows = rows[rows["seed"] == rows["seed"].iloc[0]]
    return rows["curves"].iloc[len(rows) // 2]


def _note_inside(ax: Axes, x: float, y: float, text: str) -> None:
    ax.annotate(text, (x, y), xycoords="axes fraction", ha="left" if x < 0.5 else "right", fontsize=7.5,
                color=figures.muted())  # fmt: skip


def _draw_rows(ax: Axes, curves: dict[str, Any]) -> None:
    time, size = np.array(curves["time"]), np.array(curves["size"])
    for i, mode in enumerate(curves["mode"]):
        law = size[i][0] * (size[0] / size[0][0]) ** (1 / mode)  # l_i / l_1 = 1 / i
        _measured_and_law(ax, time, size[i], law, i, 6)
        figures.end_label(ax, time[-1], size[i][-1], f"mode {mode}", figures.PALETTE[i])
    ax.set(yscale="log", xlabel="time", ylabel="|weight| of a row on a mode", xlim=(None, 1.28 * time[-1]))
    _note_inside(ax, 0.03, 0.93, "markers: the law")


def _measured_and_law(ax: Axes, time: np.ndarray, measured: Sequence, law: Sequence, i: int, every: int) -> None:
    look = figures.style(i) | {"linestyle": "", "markersize": 3.8, "markerfacecolor": figures.paper()}
    ax.plot(time, measured, color=look["color"])
    ax.plot(time[::every], law[::every], **look)


def _draw_steps(ax: Axes, curves: dict[str, Any]) -> None:
    # the closed forms belong to modes, the measured curves to eigenvalues: sorted by the time of their step
    time, order = np.array(curves["time"]), np.argsort(curves["predicted_step"])
    for j, (learned, mode) in enumerate(zip(curves["learned"], order)):
        _measured_and_law(ax, time, learned, curves["closed"][mode], j, 5)
        ax.annotate(f"{j + 1}", (curves["step"][j], 0.5), xytext=(-7, 0), textcoords="offset points", ha="center",
                    va="center", fontsize=8, fontweight="bold")  # fmt: skip
    ax.set(xlabel="time", ylabel="eigenvalues of C", ylim=(-0.04, 1.08))
    _note_inside(ax, 0.98, 0.2, "markers:\nclosed form")


TIMES = [3, 5, 10, 20, 50, 100, 200]


def _draw_escapes(ax: Axes, saddle: pd.DataFrame) -> None:
    """The time to leave the saddle against beta, a line a dimension."""
    means = saddle.pivot_table(index="beta", columns="d", values="escape_time")
    for colour, marker, d in zip(figures.ordered(len(means.columns)), figures.MARKERS * 3, means):
        line = means[d].dropna()
        ax.plot(line.index, line, color=colour, marker=marker, label=f"d = {d:g}")
    kit.log_axis(ax, [0.01, 0.1, 1])
    kit.log_axis(ax, TIMES, along="y")
    ax.set(xlabel="β", ylabel="time to leave the saddle")
    ax.legend(fontsize=7.5)


def _draw_rates(ax: Axes, saddle: pd.DataFrame) -> None:
    """The same time against the predicted rate, a mark a run."""
    dims = sorted(saddle["d"].unique())
    for colour, marker, d in zip(figures.ordered(len(dims)), figures.MARKERS * 3, dims):
        cells = saddle[saddle["d"] == d]
        ax.plot(cells["rate"], cells["escape_time"], color=colour, marker=marker, linestyle="", markersize=3.5,
                rasterized=len(saddle) > 200)  # fmt: skip
    rates = np.array([saddle["rate"].min() / 1.15, saddle["rate"].max() * 1.15])
    constant = np.exp(np.log(saddle["escape_time"] * saddle["rate"]).mean())
    ax.plot(rates, constant / rates, color=figures.ink(), linewidth=0.9, zorder=1, label="slope −1")
    kit.log_axis(ax, [0.05, 0.1, 0.2, 0.5, 1, 2, 5])
    kit.log_axis(ax, TIMES, along="y")
    ax.set_xlabel("predicted rate  4 l₂ dβ / (1 + (d − 1) β)")
    ax.legend(fontsize=7.5)


def _clouds(ax: Axes, points: Any, cloud: Sequence[int]) -> list:
    """The eight clouds: the shade says which column of the plane a point comes from, the marker which row."""
    points, cloud = np.asarray(points, float), np.asarray(cloud)
    shades = figures.ordered(4)
    lines = []
    for c in range(8):
        lines += ax.plot(*points[cloud == c].T, linestyle="", marker="o^"[c % 2], color=shades[c // 2], markersize=3.4,
                         markeredgecolor=figures.paper(), markeredgewidth=0.3)  # fmt: skip
    ax.set_aspect("equal")
    ax.grid(visible=False)
    return lines


def draw_c3(frame: pd.DataFrame) -> Drawing:
    runs = _runs(frame, "ToySpec")
    kept, finished = _kept(runs), runs[runs["diverged"] == 0]
    # one scale for all: a collapse is a matter of size
    reach = 1.08 * max(np.abs(points).max() for c in kept.values() for points in (c["inputs"], c["features"][-1]))

    def clouds(ax: Axes, points: Any, cloud: Sequence[int], label: str) -> None:
        _clouds(ax, points, cloud)
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=(-2, 0, 2), yticks=(-2, 0, 2), ylabel=label)
        ax.tick_params(labelleft=label == "8 clouds in the plane")

    shown = [("8 clouds in the plane", kept[HIGH]["inputs"]), ("learned features", kept[LOWER]["features"][-1]),
             *(("", kept[b]["features"][-1]) for b in (LOW, HIGH))]  # fmt: skip
    panels = [partial(clouds, points=points, cloud=kept[HIGH]["cloud"], label=label) for label, points in shown]
    panels.append(partial(_draw_ratio_by_beta, runs=finished))
    ratio = runs.groupby("beta")["singular_ratio"].mean()
    return _page(
        runs, ("beta",), panels, mosaic="abcd;eeee", height=4.4, height_ratios=(1, 1.1),
        titles=["inputs", *(f"β = {b:g}" for b in kept), "s₂/s₁ at the end"],
        columns=("steps", "singular_ratio", "effective_rank", "centroid_accuracy", "whitened_accuracy", "loss", "diverged"),
        alt="a: eight clouds of points in the plane. b to d: the features a network learned from them, one run each at "
        f"beta {LOWER:g}, {LOW:g} and {HIGH:g}, on one scale: the smaller the second singular value, the closer they "
        f"lie to a line. e: the second singular value over the first against beta, seed by seed; on average "
        f"{ratio[LOWER]:.3f}, {ratio[LOW]:.2f} and {ratio[HIGH]:.2f} at these three.",
    )  # fmt: skip


def _draw_ratio_by_beta(ax: Axes, runs: pd.DataFrame) -> None:
    betas = np.array(sorted(runs["beta"].unique()))
    zero = betas[betas > 0].min() / 3.2  # a place for beta 0 on a logarithmic axis
    for _, rows in runs.groupby("seed"):
        x, y = rows.sort_values("beta")[["beta", "singular_ratio"]].to_numpy(float).T
        ax.plot(x[x > 0], y[x > 0], color=figures.PALETTE[0], alpha=0.45, linewidth=0.9, zorder=2)
        ax.plot(np.where(x > 0, x, zero), y, linestyle="", marker="o", markersize=3, color=figures.PALETTE[0], zorder=3)
    ticks = {zero: "0"} if betas[0] == 0 else {}
    ticks |= {b: f"{b:g}" for b in (0.01, 0.1, 1.0) if betas.min() <= b <= betas.max()}
    kit.log_axis(ax, list(ticks), list(ticks.values()))
    kit.log_axis(ax, [0.001, 0.01, 0.1, 1], along="y")
    ax.set(xlabel="β", ylabel="s₂/s₁")
    for beta, word in ((LOW, "low "), (HIGH, "high ")):
        ax.axvline(beta, color=figures.muted(), linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
        ax.text(beta, 0.03, word, transform=ax.get_xaxis_transform(), ha="right", fontsize=7.5, color=figures.muted())


def look(result: Result) -> Figure:
    """One run of the toy that kept its features: inputs, features, and the singular values along training."""
    curves = result.curves
    fig, axes = figures.figure(1, 3, height=2.7)
    _clouds(axes[0], curves["inputs"], curves["cloud"])
    _clouds(axes[1], curves["features"][-1], curves["cloud"])
    reach = max(1.08 * np.abs(np.array(curves["features"][-1])).max(), 0.1)
    axes[1].set(xlim=(-reach, reach), ylim=(-reach, reach))
    for i, name in enumerate(("s1", "s2")):
        axes[2].plot(curves["step"], curves[name], **figures.style(i) | {"marker": ""})
        figures.end_label(axes[2], curves["step"][-1], curves[name][-1], "s₁" if i == 0 else "s₂", figures.PALETTE[i])
    axes[2].set(yscale="log", xlabel="step", ylabel="singular value")
    ratio, near = result.metrics["singular_ratio"], result.metrics["centroid_accuracy"]
    figures.panel_labels(axes, ("inputs", f"features: nearest centroid {near:.0f} %", f"s₂ / s₁ = {ratio:.3f}"))
    _note(fig)
    return fig


def draw_c14(frame: pd.DataFrame) -> Drawing:
    """The singular values of one run along training, a panel a dimension and beta."""
    runs = _runs(frame, "ToySpec")
    shown = [(d, b, runs[runs["dim"].eq(d) & runs["beta"].eq(b)].iloc[0]["curves"]) for d in DIMS for b in (LOW, HIGH)]

    def lines(ax: Axes, curves: dict[str, list], dim: int) -> None:
        for i, colour in enumerate(figures.ordered(dim)):
            ax.plot(curves["step"], curves[f"s{i + 1}"], color=colour)
        ax.set(yscale="log", xlabel="step", ylabel="singular values", ylim=(1e-3, 3))

    rank = runs.groupby(["dim", "beta"])["effective_rank"].mean()
    return _page(
        runs, ("dim", "beta"), [partial(lines, curves=c, dim=d) for d, _, c in shown], mosaic="ab;cd", height=4.6,
        titles=[f"{d} dimensions, β = {b:g}" for d, b, _ in shown],
        columns=("steps", "singular_ratio", "effective_rank", "whitened_accuracy", "loss", "diverged"),
        alt="The singular values of the features along training, a line each, of one run: above of 4 dimensions, below of "
        f"8; left at beta {LOW:g}, right at {HIGH:g}. Mean effective rank: "
        f"{'; '.join(f'd {d}, beta {b:g}: {v:.1f}' for (d, b), v in rank.items())}.",
    )  # fmt: skip


def draw_c15(frame: pd.DataFrame) -> Drawing:
    runs = _runs(frame, "GraphSpec")
    names = [o for o in CONDITION_HOLDS if (runs["operator"] == o).any()]

    def overlaps(ax: Axes) -> None:
        for x, operator in enumerate(names):
            kit.dots(ax, x, runs.loc[runs["operator"] == operator, "overlap"].to_numpy(float), 0)
        figures.floors(ax, {"asked: .99": 0.99, "chance": runs["k"].min() / int(runs["nodes"].iloc[0])})
        ax.set(ylim=(0, 1.06), xlim=(-0.6, len(names) - 0.4), ylabel="overlap of the two\nlosses' minimisers")
        ax.set_xticks(range(len(names)), ["\n".join(TITLES[o]) for o in names], fontsize=7.5)

    mean = runs.groupby("operator")["overlap"].mean()
    return _page(
        runs, ("operator", "k"), [overlaps], height=3.0, columns=("overlap", "worst_cosine", "loss", "excess"),
        alt="How far the minimisers of the usual loss span those of the reformulated one, a dot a seed: "
        f"{'; '.join(f'{OPERATORS[o]} {mean[o]:.3f}' for o in names)}.",
    )  # fmt: skip


def draw_c9(frame: pd.DataFrame) -> Drawing:
    runs, overlaps = _runs(frame, "KernelSpec"), _overlaps(frame)
    kept = runs[runs["keep"].astype(bool)].sort_values("views")

    def curve(ax: Axes) -> None:
        figures.band(ax, overlaps.columns, overlaps.to_numpy())
        kit.log_axis(ax, overlaps.columns)
        ax.set(ylim=(0, 1.03), xlabel="views an image", ylabel="overlap with the true eigenspace")
        figures.floors(ax, {"chance": float(runs["k"].iloc[0]) / float(runs["images"].iloc[0])}, inside=True)

    mean, rings = overlaps.mean(), [partial(_draw_ring, seen=np.array(c["seen"])) for c in kept["curves"]]
    return _page(
        runs, ("views",), [curve, *rings], mosaic={4: "aaabc;aaade", 3: "aaabc;aaad."}.get(len(rings), "aab;aac"),
        titles=["more views, better eigenspace", *(f"{v:g} view{'s' * (v > 1)}" for v in kept["views"])], height=3.4,
        note=f"dashed: the true ring of 60 images; {OURS}", columns=("overlap",),
        alt="a: the overlap of the estimated with the true top eigenspace of the augmentation kernel rises with the "
        f"number of views an image, from {mean.iloc[0]:.2f} at {mean.index[0]:g} to {mean.iloc[-1]:.2f} at "
        f"{mean.index[-1]:g}. Beside, the ring of images as the estimated eigenspace sees it: shrunk or a tangle with few "
        "views, close to the true circle with many.",
    )  # fmt: skip


def _draw_ring(ax: Axes, seen: np.ndarray) -> None:
    """The ring of images as an estimated eigenspace sees it (images, 2), and the true one."""
    ax.plot(np.cos(TURN), np.sin(TURN), color=figures.muted(), linewidth=0.8, linestyle=(0, (4, 2)))
    ax.plot(*np.vstack([seen, seen[:1]]).T, color=figures.PALETTE[0], linewidth=0.7, alpha=0.6)
    ax.plot(*seen.T, linestyle="", marker="o", markersize=2.6, color=figures.PALETTE[0])
    ax.set(aspect="equal", xlim=(-1.62, 1.62), ylim=(-1.62, 1.62), xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)


CLAIMS = (
    Claim("C1", plan_c1, judge_c1, draw_c1),
    Claim("C2", plan_c2, judge_c2, draw_c2),
    Claim("C3", plan_c3, judge_c3, draw_c3),
    Claim("C9", plan_c9, judge_c9, draw_c9),
    Claim("C14", plan_c14, judge_c14, draw_c14),
    Claim("C15", plan_c15, judge_c15, draw_c15),
)

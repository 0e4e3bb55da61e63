"""What claims are made of: a plan whose runs have labels, a frame read by them, a verdict from its parts, a figure.

plan     Plan(profile).add(*base(profile).grid(batch_size=(16, 64), lr=(0.4, 1.2))).floors()
judge    got = read(frame, "batch_size", "lr")
         gain = stats.paired(got.tuned()[:, -1], got.tuned()[:, 0])
         parts = [sup("large over small batches", gain, 1.0, paper=4.2)]
         return verdict(frame, parts, f"Large batches gain {gain.mean:.1f} points over small ones.")
draw     return page(frame, ["batch_size", "lr"], [curves(frame, "lr", by="batch_size")], alt="...")

In every array the first axis is the seed, and NaN stands for a run that diverged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import LogLocator
from numpy.typing import ArrayLike

from repro import figures, stats
from repro.claims import Drawing, Found, Verdict
from repro.core import datasets
from repro.core.methods import Untrained
from repro.core.profiles import PROFILES, Profile, base
from repro.core.spec import DetectSpec, RunSpec, key
from repro.stats import Part

CARRIES = 10.0  # points by which tuned SSL must beat both floors before a stand-in may carry a claim
CELL = 5.0  # points by which each cell that is compared must beat the random encoder
Panel = Callable[[Any], None]

# --- plan -------------------------------------------------------------------------------------------------------------


class Plan(list):
    """The specs of a claim's runs, each once, with labels that say what each run is (its variant, stack, share ...).

    A frame of these runs has the labels as columns, so that judge and draw ask for a run by what the plan called it and
    read nothing back out of its fields. One label is always there: `cell`, shared by the runs that differ in their seed
    alone. labels: by the spec's key.
    """

    def __init__(self, profile: Profile):
        super().__init__()
        self.profile = profile
        self.labels: dict[str, dict[str, Any]] = {}

    def add(self, *specs: Any, seeds: int | Sequence[int] = 0, **labels: Any) -> Plan:
        """Add each spec at every seed of the profile, at the first `seeds`, or at those listed. Raises ValueError for a run
        that the plan has already under another label."""
        first = self.profile.first
        listed = range(first, first + (seeds or self.profile.seeds)) if isinstance(seeds, int) else seeds
        for spec in specs:
            mine = {"cell": key(at_seed(spec, 0)), **labels}
            for seed in listed:
                run = at_seed(spec, seed)
                if key(run) not in self.labels:
                    self.append(run)
                elif self.labels[key(run)] != mine:
                    raise ValueError(f"one run has two labels, {self.labels[key(run)]} and {mine}: {run}")
                self.labels[key(run)] = mine
        return self

    def floors(self, like: RunSpec | None = None, **changes: Any) -> Plan:
        """Add the random encoder at every seed, and raw pixels once: what every accuracy is compared with. like: a run
        whose data and probes they have, the profile's standard one if none is given; changes to it as for `RunSpec.but`.
        """
        floor = (like or base(self.profile)).but(method=Untrained(), **changes)
        return self.add(floor).add(replace(floor, backbone="pixels"), seeds=1)

    def rows(self, runs: pd.DataFrame) -> pd.DataFrame:
        """The rows of this plan's runs in its order, with the labels as columns (None where a run lacks one that others
        have) and the profile's name in `attrs`."""
        order = {k: i for i, k in enumerate(self.labels)}
        rows = runs[runs["key"].isin(order)].sort_values("key", key=lambda keys: keys.map(order))
        rows = rows.reset_index(drop=True).loc[:, lambda r: r.notna().any() | r.empty]
        for name in dict.fromkeys(name for labels in self.labels.values() for name in labels):
            if name in rows:
                raise ValueError(f"the label {name!r} is already a column: give it another name")
            rows[name] = [self.labels[k].get(name) for k in rows["key"]]
        rows.attrs["profile"] = self.profile.name
        return rows


def at_seed(spec: Any, seed: int) -> Any:
    """The spec at a seed, a detector's with the backbone that was trained at it."""
    if isinstance(spec, DetectSpec):
        spec = replace(spec, start=replace(spec.start, seed=seed))
    return replace(spec, seed=seed)


# --- read -------------------------------------------------------------------------------------------------------------


def profile_name(frame: pd.DataFrame) -> str:
    return frame.attrs.get("profile", "quick")


def trained(frame: pd.DataFrame) -> pd.DataFrame:
    """The pretraining runs, without the floors and without specs of another kind."""
    return frame[frame["method"].notna() & (frame["method"] != "Untrained")]


def tasks(frame: pd.DataFrame) -> tuple[str, ...]:
    """The tasks of the frame's data set, of which the first is the semantic one, then those of other sets that its runs
    are probed on."""
    return datasets.tasks(frame["data"].iloc[0]) + tuple(t for s in transfer(frame) for t in datasets.transferred(s))


def transfer(frame: pd.DataFrame) -> tuple[str, ...]:
    """The other data sets that the frame's runs are probed on."""
    return tuple(pd.Series(frame.get("transfer", ()), dtype=object).explode().dropna().unique())


def column(frame: pd.DataFrame, split: str = "test", task: str = "", probe: str = "linear") -> str:
    """The frame's column of a probe's accuracy on a split; of the semantic task if none is named."""
    return f"{probe}_{split}_{task or tasks(frame)[0]}"


def task_columns(frame: pd.DataFrame, split: str = "test") -> list[str]:
    """As `column`, of every task."""
    return [column(frame, split, task) for task in tasks(frame)]


def label(frame: pd.DataFrame) -> str:
    """The axis of the linear probe's accuracy on the semantic task."""
    return f"{tasks(frame)[0]} accuracy, linear probe (%)"


def floor_levels(frame: pd.DataFrame, name: str = "") -> dict[str, float]:
    """The floors' mean in a column, the linear probe's test accuracy if none is named."""
    name = name or column(frame)
    untrained = frame[frame["method"] == "Untrained"]
    pixels = untrained["backbone"] == "pixels"
    return {
        "random encoder": float(untrained.loc[~pixels, name].mean()),
        "raw pixels": float(untrained.loc[pixels, name].mean()),
    }


def runs_by(frame: pd.DataFrame, *axes: str) -> dict[Any, pd.DataFrame]:
    """The trained runs by a label or another column, each part sorted by seed; by several, the keys are tuples. A run
    without the label is left out."""
    runs = trained(frame) if "method" in frame else frame
    return dict(
        iter(runs.sort_values("seed", kind="stable").groupby(axes[0] if len(axes) == 1 else list(axes), sort=False))
    )


def by(frame: pd.DataFrame, *axes: str, name: str = "") -> dict[Any, np.ndarray]:
    """As `runs_by`, of a column alone: each part (seeds,). name: the linear probe's test accuracy if none is given."""
    name = name or column(frame)
    parts = runs_by(frame, *axes)
    return {k: rows[name].to_numpy(float) if name in rows else np.full(len(rows), np.nan) for k, rows in parts.items()}


def curve(runs: pd.DataFrame, name: str) -> np.ndarray:
    """A curve of each run (runs, readings). Leave out what diverged before: such a run lacks the later readings."""
    return np.array([curves[name] for curves in runs["curves"]], float)


def epoch_ends(run: pd.Series) -> np.ndarray:
    """Seconds of training at the end of each epoch (epochs,), views included and probes left out; on a CPU by the process's
    own clock, which busy neighbours do not lengthen."""
    clock = "epoch_cpu_seconds" if str(run.get("device", "cpu")).startswith("cpu") else "epoch_seconds"
    return np.asarray(run[clock], float)


@dataclass(frozen=True)
class Cells:
    """A grid as measured. val, test: accuracy (seeds, *axes), NaN also where a cell is not in the plan; levels: of each
    axis, numbers rising, names in the plan's order; ran: which cells (*axes) are in the plan. What is chosen is chosen on
    `val`, of the semantic task; `test` is of any task and probe."""

    val: np.ndarray
    test: np.ndarray
    levels: list[list]
    ran: np.ndarray

    @property
    def best(self) -> np.ndarray:
        """The index of the best setting of the last axis by the validation mean; one that diverged for a seed never is."""
        return np.where(np.isfinite(self.val), self.val, -np.inf).mean(0).argmax(-1)

    def tuned(self) -> np.ndarray:
        """Test accuracy (seeds, ...) at the best setting of the last axis."""
        at = np.broadcast_to(self.best, self.test.shape[:-1])[..., None]
        return np.take_along_axis(self.test, at, -1)[..., 0]

    @property
    def peaks(self) -> np.ndarray:
        """As `best`, but of the test means: for the words of a figure, never for a choice."""
        return np.where(np.isnan(self.test).any(0), -np.inf, self.test.mean(0)).argmax(-1)


def read(frame: pd.DataFrame, *axes: str, task: str = "", probe: str = "linear", name: str = "") -> Cells:
    """The trained runs of a frame as a grid over some of its columns. name: of the column in the place of the test
    accuracy. Raises ValueError where two runs would share a place in it: then the grid lacks an axis, or the frame holds
    other runs too."""
    rows = trained(frame)
    if rows.duplicated(["seed", *axes]).any():
        raise ValueError(f"several runs have the same seed, {', '.join(axes)}: name the axis in which they differ")
    levels = [_levels(rows[a]) for a in ("seed", *axes)]
    whole = rows.set_index(["seed", *axes]).reindex(pd.MultiIndex.from_product(levels, names=["seed", *axes]))
    val, test = (
        whole[wanted].to_numpy(float).reshape([len(x) for x in levels])
        for wanted in (column(frame, "val"), name or column(frame, "test", task, probe))
    )
    ran = whole["key"].notna().to_numpy().reshape(val.shape).any(0)
    return Cells(val, test, levels[1:], ran)


def _levels(values: pd.Series) -> list:
    found = list(values.unique())
    return found if isinstance(found[0], str) else sorted(found)


# --- judge ------------------------------------------------------------------------------------------------------------


def verdict(
    frame: pd.DataFrame, parts: Sequence[Part], finding: str, *, headline: int = 0,
    cannot: str | None = None, on: str = "", backbone: str = "", evidence: str = "", several: bool = False,
) -> Verdict:  # fmt: skip
    """The word of a claim by those of its parts (`stats.found`, `stats.combine`), at the level that the profile's looks at
    its seeds leave. Not judged with no parts, where a part has too few seeds or cannot be judged, or where the data
    cannot carry the claim.

    finding: what was found, in at most 20 words. headline: the number of the part whose effect stands for the claim.
    cannot: why the data cannot carry the claim ("": they can), in place of that check. on, backbone, evidence: what was
    measured on, where it is not in the frame. several: whether the claim is about all tasks of the frame.
    """
    profile = PROFILES[profile_name(frame)]
    words, need = stats.found(parts, stats.LEVELS[profile.looks]), stats.min_seeds(profile.name)
    if cannot is None:
        cannot = cannot_carry(frame) if not on else ""
    why = [cannot] + [f"{p.name}: {p.cannot}" for p in parts if p.cannot]
    few = not parts or min(p.effect.n for p in parts) < need
    word = stats.NOT_JUDGED if few or any(why) else stats.combine(words)
    said = [f"Not judged: {'; '.join(filter(None, why))}."] * any(why) + [finding]
    if word == stats.INCONCLUSIVE and (open_parts := [p for p, w in zip(parts, words) if w == word and p.needed]):
        needed = max(p.needed for p in open_parts)
        many = f"About {needed}" if needed <= stats.MANY else f"More than {stats.MANY}"
        said.append(f"{many} seeds would decide it.")
    rows = frame if on else trained(frame)
    on = on or " and ".join(sorted(rows["data_title"].unique()))
    if several and transfer(rows):
        on += f", probed on {' and '.join(rows['probed_on'].dropna().unique())}, too"
    backbone = backbone or " and ".join(sorted(rows["backbone"].unique()))
    found = tuple(
        Found(p.name, p.rule, w, *_numbers(p.effect), p.unit, int(p.effect.n),
              p.needed if w == stats.INCONCLUSIVE else 0, p.paper)
        for p, w in zip(parts, words)
    )  # fmt: skip
    first = found[headline] if found else Found("", "", "", None, None, None, "", 0)
    return Verdict(
        word, first.mean, first.low, first.high, first.unit, first.seeds, on, backbone, " ".join(said), finding,
        evidence or (evidence_of_tasks if several else evidence_of)(rows), found,
    )  # fmt: skip


def not_planned(why: str, unit: str) -> Verdict:
    """The verdict on a claim that has no runs at this profile."""
    return Verdict(
        stats.NOT_JUDGED, None, None, None, unit, 0, "", "",
        f"Not judged: {why}; the figure shows the paper's numbers as cited.",
    )  # fmt: skip


def _numbers(effect: stats.Interval) -> list[float | None]:
    return [float(v) if math.isfinite(v) else None for v in (effect.mean, effect.low, effect.high)]


def evidence_of(rows: pd.DataFrame) -> str:
    """The class of evidence of runs by their data: photographs, or made-up images."""
    names = set(rows["data"].dropna()) if "data" in rows else set()
    return "photographs" if names and not names & {*datasets.EMBEDDED, datasets.COCO_SCENES} else "stand-in"


def evidence_of_tasks(rows: pd.DataFrame) -> str:
    """As `evidence_of`, of a claim about all tasks: a stand-in where one of them is of made-up images."""
    return "stand-in" if {*transfer(rows)} & {*datasets.EMBEDDED} else evidence_of(rows)


def cannot_carry(frame: pd.DataFrame, name: str = "") -> str:
    """Why these data cannot carry a claim; "" if they can. The best cell's mean must be CARRIES points above both floors
    where the data stand in for photographs, and CELL points above the random encoder on photographs themselves."""
    name = name or column(frame)
    levels, least = floor_levels(frame, name), CARRIES
    if evidence_of(frame) == "photographs":
        levels, least = {"random encoder": levels["random encoder"]}, CELL
    best, highest = trained(frame).groupby("cell")[name].mean().max(), max(levels, key=levels.get)
    if best - levels[highest] >= least:
        return ""
    above = f"less than {least:.0f} points above the floor {highest} ({levels[highest]:.1f} %)"
    return f"tuned SSL reaches {best:.1f} %, {above}"


def at_floor(frame: pd.DataFrame, cells: Mapping[str, np.ndarray], task: str = "", probe: str = "linear") -> str:
    """Which of the compared cells, by name their accuracies (seeds,), are not CELL points above the random encoder, so
    that comparing them says nothing; "" if none."""
    floor = floor_levels(frame, column(frame, task=task, probe=probe))["random encoder"]
    means = {name: stats.paired(v).mean for name, v in cells.items()}  # NaN where all diverged
    low = [f"{name} ({mean:.1f} %)" for name, mean in means.items() if not mean - floor >= CELL]
    return f"{', '.join(low)} less than {CELL:.0f} points above a random encoder ({floor:.1f} %)" if low else ""


def contrasts(
    scores: Mapping[str, np.ndarray],
    pairs: Iterable[tuple[str, str]],
    d: float,
    paper: Mapping[str, float] | None = None,
) -> list[Part]:
    """One of `scores` (each (seeds,), by name) over another, SUP(d), for each of `pairs`, beside the paper's numbers."""
    return [
        stats.sup(f"{a} over {b}", stats.paired(scores[a], scores[b]), d,
                  paper=round(paper[a] - paper[b], 1) if paper else None)
        for a, b in pairs
    ]  # fmt: skip


def cannot_carry_each(frame: pd.DataFrame, titles: dict[str, str]) -> str:
    """As `cannot_carry`, for each method on its own. titles: by the method's class name."""
    runs = {title: frame[frame["method"].isin((method, "Untrained"))] for method, title in titles.items()}
    return "; ".join(f"{title}: {why}" for title, rows in runs.items() if (why := cannot_carry(rows)))


# --- draw -------------------------------------------------------------------------------------------------------------


def log_axis(ax: Any, levels: Sequence[float] = (), names: Sequence[str] = (), along: str = "x", **look: Any) -> None:
    """A logarithmic axis with a tick at each level and nowhere else; with none, at powers of ten, their doubles and halves."""
    ax.set(**{f"{along}scale": "log"})
    if len(levels):
        (ax.set_xticks if along == "x" else ax.set_yticks)(levels, names or [f"{x:g}" for x in levels], **look)
    else:
        axis = getattr(ax, f"{along}axis")
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
    ax.minorticks_off()


def floors(ax: Any, frame: pd.DataFrame, name: str = "", labels: bool = True) -> None:
    """The floors as lines: `floor_levels` of a column."""
    figures.floors(ax, floor_levels(frame, name), labels)


def curves(
    frame: pd.DataFrame, axis: str, by: str, name: str = "{}", probe: str = "linear", log: bool = True, **look: Any
) -> Panel:
    """A panel: test accuracy against a knob, a line a level of another, with the floors. name: a format of the level."""
    got = read(frame, by, axis, probe=probe)

    def panel(ax: Any) -> None:
        for i, (level, colour) in enumerate(zip(got.levels[0], figures.ordered(len(got.levels[0])))):
            ran = got.ran[i]
            figures.band(ax, np.array(got.levels[1])[ran], got.test[:, i, ran], name.format(level), i, color=colour)
        log_axis(ax, got.levels[1]) if log else ax.set_xticks(got.levels[1])
        floors(ax, frame, column(frame, probe=probe))
        ax.set(**look)

    return panel


def line(frame: pd.DataFrame, axis: str, probe: str = "linear", **look: Any) -> Panel:
    """A panel: test accuracy against one knob, with the floors."""
    got = read(frame, axis, probe=probe)

    def panel(ax: Any) -> None:
        figures.band(ax, got.levels[0], got.test)
        ax.set_xticks(got.levels[0])
        floors(ax, frame, column(frame, probe=probe))
        ax.set(**{"ylabel": label(frame)} | look)

    return panel


def task_bars(
    ax: Any, frame: pd.DataFrame, values: np.ndarray, names: Sequence[str], colours: Sequence, ncols: int
) -> None:
    """Bars by task, with each task's floors as lines. values: (seeds, tasks, bars). ncols: of the legend above."""
    levels = [floor_levels(frame, name) for name in task_columns(frame)]
    figures.bars(ax, values, list(names), [task.replace("_", "\n") for task in tasks(frame)], list(colours), levels)
    ax.set_ylabel("linear probe accuracy (%)")
    ax.legend(ncols=ncols, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def dots(ax: Any, x: float, values: np.ndarray, index: int) -> None:
    """One cell: its seeds as small dots, its mean with the 95 % interval; a cross where all diverged."""
    look = figures.style(index)
    values = values[np.isfinite(values)]
    if not len(values):
        figures.diverged(ax, [x], look["color"])
        return
    mean, low, high = (v[0] for v in figures.mean_interval(values[:, None]))
    spread = np.linspace(-0.12, 0.12, len(values)) if len(values) > 1 else np.zeros(1)
    ax.plot(x + spread, values, ".", color=look["color"], alpha=0.55, markersize=3.5)
    if np.isfinite(low):
        ax.plot([x, x], [low, high], color=look["color"], linewidth=2)
    ax.plot([x], [mean], color=look["color"], marker=look["marker"], markersize=6.5, markeredgecolor=figures.paper())


def dots_beside(
    ax: Any, ours: Mapping[str, ArrayLike], paper: Mapping[str, float], neutral: float | None = None, digits: int = 1
) -> None:
    """Our effects (seeds,) as dots, then the paper's own numbers as stars, each at a place of its own."""
    for i, values in enumerate(ours.values()):
        dots(ax, i, np.asarray(values, float), i)
    for i, value in enumerate(paper.values(), len(ours)):
        figures.paper_value(ax, value, i, text=f"{value:.{digits}f}")
    if neutral is not None:
        ax.axhline(neutral, color=figures.ink(), linewidth=0.8)
    ax.set_xticks(range(len(ours) + len(paper)), [*ours, *paper], fontsize=7.5)
    ax.margins(x=0.1, y=0.15)


def drawing(fig: Any, frame: pd.DataFrame, knobs: Sequence[str], alt: str, columns: Sequence[str] = ()) -> Drawing:
    """A figure with the numbers behind it: a row a run, sorted by method, knobs and seed. columns: shown beside them, the
    linear probe's accuracies if none are named; what the frame lacks is left out."""
    named = knobs if "method" in knobs else ("method", *knobs)
    axes = [k for k in (*named, "seed") if k in frame]
    shown = [*axes, "backbone", *(columns or (column(frame, "val"), column(frame)))]
    table = frame[[c for c in dict.fromkeys(shown) if c in frame]].sort_values(axes)
    return Drawing(fig, table.reset_index(drop=True), alt)


def page(
    frame: pd.DataFrame, knobs: Sequence[str], panels: Sequence[Panel], alt: str, columns: Sequence[str] = (),
    titles: Sequence[str] = (), mosaic: str = "", height: float = 3.4, width: float = figures.WIDTH, **look: Any,
) -> Drawing:  # fmt: skip
    """A figure of panels, each a function of its axes, with their titles; knobs and columns as for `drawing`. mosaic: where
    they are, as for `Figure.subplot_mosaic`, the letters in the panels' order; all in one row if not given."""
    fig = figures.Picture(figsize=(width, height))
    axes = list(fig.subplot_mosaic(mosaic or "abcdefgh"[: len(panels)], **look).values())
    for ax, panel in zip(axes, panels):
        panel(ax)
    if titles:
        figures.panel_labels(axes, titles)
    return drawing(fig, frame, knobs, alt, columns)

"""Small batches: claims A3 to A7 and A16 of the FFCV-SSL paper.

One grid of SimCLR runs (batch x learning rate) serves A3 and A5. Settings are tuned on the validation split of the
semantic task; every number shown is of the test split. A gap is the largest batch's accuracy less the smallest's, with
its sign.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, kit, ledger, registry
from repro.claims.kit import Cells, Panel, Plan, column, curves, page, read, tasks, trained, verdict
from repro.core.methods import BYOL, BarlowTwins, VICReg
from repro.core.profiles import PROFILES, Profile, base, several
from repro.core.spec import RunSpec
from repro.stats import Part, cross, eq, noninf, paired, sup


class Scale(NamedTuple):
    """The grid of a profile. rates: of LARS, times batch / 256, at cpu as factors of the profile's own; adam_rates:
    AdamW's, which A16 takes for Barlow Twins. epochs: 0 for the profile's own. steps: whether A4 also runs at equal steps.
    """

    batches: tuple[int, ...]
    rates: tuple[float, ...]
    temperatures: tuple[float, ...]
    layers: tuple[int, ...]
    adam_rates: tuple[float, ...]
    small_batch: int = 256
    epochs: int = 0
    steps: bool = True


SCALES = {
    "smoke": Scale((16, 64), (0.4, 4.0), (0.1, 0.5), (1, 2), (1e-3, 1e-2), 64),
    "quick": Scale(
        (16, 64, 128), (0.4, 1.2, 4.0, 12.0), (0.05, 0.1, 0.2, 0.5), (1, 2, 3), (1e-3, 3e-3, 1e-2, 3e-2), 64,
        steps=False,
    ),
    "cpu": Scale(
        (32, 128, 512), (1 / 3, 1.0, 3.0, 9.0), (0.025, 0.05, 0.1, 0.2, 0.5, 1.0), (0, 1, 2, 3),
        (3e-4, 1e-3, 3e-3, 1e-2), 128, steps=False,
    ),
    "gpu": Scale((128, 256, 1024), (0.1, 0.4, 1.6), (0.1, 0.2, 0.5), (1, 2, 4), (1e-4, 1e-3, 1e-2), epochs=3),
    "paper": Scale(
        (256, 512, 1024, 2048), (0.1, 0.3, 0.5, 1.0, 2.0, 3.0), (0.1, 0.15, 0.25, 0.5), (1, 2, 3, 4, 5),
        (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    ),
}  # fmt: skip
ADAM_DEFAULT = 1e-3  # PyTorch's own
# --- plan -------------------------------------------------------------------------------------------------------------


def _start(profile: Profile, **changes) -> tuple[RunSpec, Scale]:
    scale = SCALES[profile.name]
    spec = base(profile).but(epochs=scale.epochs or profile.epochs, **changes)
    if profile.name == "cpu":
        scale = scale._replace(rates=tuple(float(f"{spec.optimiser.lr * factor:.2g}") for factor in scale.rates))
    return spec, scale


def small_batch(profile: Profile) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    """The small batch, and the rates of LARS and of AdamW there: notebook 06 shares A16's runs."""
    scale = _start(profile)[1]
    return scale.small_batch, scale.rates, scale.adam_rates


def _methods(profile: Profile) -> tuple[VICReg, BYOL, BarlowTwins]:
    """The published settings on large scales. The small runs take a few hundred steps, in which an EMA of .99 hardly
    moves; VICReg's weights are divided by 25, their ratio kept, since LARS leaves biases and batch norm unscaled; and
    Barlow Twins' lambda is for a projector of 64 outputs, by the small projectors paper's rule lambda = O(1/d)."""
    if profile.small:
        return VICReg(1.0, 1.0, 0.04), BYOL(ema=0.9), BarlowTwins(0.02, 1.0)
    if profile.name == "cpu":
        return VICReg(1.0, 1.0, 0.04), BYOL(ema=0.97), BarlowTwins(0.0051, 0.1)
    return VICReg(), BYOL(), BarlowTwins(0.0051, 0.1)


def plan_rates(profile: Profile, barlow: bool = False) -> Plan:
    """batch x learning rate; SimCLR's runs are probed on every task. At quick and cpu Barlow Twins has the
    smallest and the largest batch."""
    own = {"method": _methods(profile)[2]} if barlow else several(profile)
    spec, scale = _start(profile, **own)
    batches = scale.batches[:: len(scale.batches) - 1] if barlow and profile.name in ("quick", "cpu") else scale.batches
    plan = Plan(profile).add(*spec.grid(batch_size=batches, lr=scale.rates))
    return plan.floors(tasks=spec.probes.tasks, transfer=spec.probes.transfer)


def plan_temperatures(profile: Profile) -> Plan:
    """batch x temperature at equal epochs, and at the number of steps that the largest batch takes, to look at."""
    spec, scale = _start(profile)
    cells, largest = spec.grid(batch_size=scale.batches, temperature=scale.temperatures), max(scale.batches)
    if not scale.steps:
        return Plan(profile).add(*cells, equal="epochs").floors()
    steps = spec.epochs * max(1, ledger.images_of(spec.data) // largest)
    smaller, large = ([c for c in cells if (c.batch_size == largest) is at] for at in (False, True))
    plan = Plan(profile).add(*smaller, equal="epochs").add(*large, equal="epochs and steps")
    return plan.add(*(c.but(steps=steps) for c in smaller), equal="steps").floors()


def plan_layers(profile: Profile) -> Plan:
    spec, scale = _start(profile, mlp=True)
    ends = (min(scale.batches), max(scale.batches))
    return Plan(profile).add(*spec.grid(batch_size=ends, layers=scale.layers)).floors(mlp=True)


def plan_methods(profile: Profile) -> Plan:
    """VICReg and BYOL with LARS, Barlow Twins with AdamW, at one small batch."""
    spec, scale = _start(profile, batch_size=SCALES[profile.name].small_batch)
    vicreg, byol, barlow = (spec.but(method=m) for m in _methods(profile))
    rates = sorted({*scale.rates, spec.optimiser.lr})
    plan = Plan(profile).add(*vicreg.grid(lr=rates), sweep="VICReg, LARS").add(*byol.grid(lr=rates), sweep="BYOL, LARS")
    return plan.add(*barlow.but(optimiser="adamw").grid(lr=scale.adam_rates), sweep="Barlow Twins, AdamW").floors()


# --- judge ------------------------------------------------------------------------------------------------------------


def _by_task(frame: pd.DataFrame) -> tuple[np.ndarray, list[int]]:
    """Test accuracy (seeds, batches, tasks) at each batch's tuned rate; the batches."""
    grids = [read(frame, "batch_size", "lr", task=t) for t in tasks(frame)]
    return np.stack([g.tuned() for g in grids], -1), grids[0].levels[0]


def judge_tasks(frame: pd.DataFrame) -> Verdict:
    """A3, on the tasks that every batch reads CELL points above the random encoder: batch and task interact; the large batch
    gains on the semantic task, SUP(0); and on the others the small one is as good, NONINF(1)."""
    values, batches = _by_task(frame)
    floor = [kit.floor_levels(frame, name)["random encoder"] for name in kit.task_columns(frame)]
    alive = values.mean(0).min(0) - floor >= kit.CELL
    alive[0] = True  # whether the semantic task is read is the data's own rule
    named = [t for t, a in zip(tasks(frame), alive) if a]
    if len(named) < 2:
        return verdict(
            frame, [], "Fewer than two tasks are read.", cannot="the claim needs several tasks that are read"
        )
    values = values[..., alive]
    gap = _gap(values)
    first, rest = paired(gap[:, 0]), paired(-gap[:, 1:].mean(1))
    low = kit.at_floor(frame, {f"{named[0]}, batch {b}": values[:, i, 0] for i, b in enumerate(batches)})
    return verdict(
        frame,
        [stats.interacts("batch and task interact", values), sup(f"large over small batch on {named[0]}", first, 0.0),
         noninf("small over large batch on the other tasks", rest, 1.0)],
        f"Batch {batches[-1]} over {batches[0]}: {first.mean:.1f} points on {named[0]}, {-rest.mean:.1f} on "
        f"{', '.join(named[1:])}.",
        headline=1, cannot=kit.cannot_carry(frame) or low, several=True,
    )  # fmt: skip


def _gap(values: np.ndarray) -> np.ndarray:
    """Of values (seeds, batches, ...): the largest batch's less the smallest's."""
    return values[:, -1] - values[:, 0]


def _cannot(frame: pd.DataFrame, got: Cells, *fixed: int) -> str:
    """Why the smallest and the largest batch cannot be compared at their best and at fixed settings of the last axis: they
    learn too little, or a best one lies on the end of its grid, so that this batch is not tuned."""
    cells, ends = {}, []
    for b in (0, -1):
        batch, best = f"batch {got.levels[0][b]}", got.best[b]
        cells |= {f"{batch} at {got.levels[1][i]:g}": got.test[:, b, i] for i in fixed}
        cells[f"{batch} tuned"] = got.tuned()[:, b]
        ends += [f"{batch} is best at {got.levels[1][best]:g}"] if best in (0, len(got.levels[1]) - 1) else []
    why = kit.cannot_carry(frame) or kit.at_floor(frame, cells)
    return why or (f"not bracketed: {' and '.join(ends)}, the end of its grid" if fixed and ends else "")


def judge_temperature(frame: pd.DataFrame) -> Verdict:
    """A4, at equal epochs as in the paper: a gap at its temperature, SUP(1); equal accuracies with each batch tuned, EQ(2);
    the gap at that end of the paper's range where validation has it wider, over the tuned gap, SUP(1); and CROSS."""
    epochs, paper = at_equal(frame, "epochs"), registry.numbers("A4")
    got = read(epochs, "batch_size", "temperature")
    (small, *_, large), temperatures = got.levels
    ends = [temperatures.index(t) for t in paper["ends"]]
    wide = ends[int(np.nan_to_num(_gap(got.val).mean(0)[ends], nan=-np.inf).argmax())]
    fixed = temperatures.index(paper["temperature"])
    gap, tuned = _gap(got.test), _gap(got.tuned())
    at_fixed, best, shrinks = paired(gap[:, fixed]), paired(tuned), paired(gap[:, wide], tuned)
    return verdict(
        epochs,
        [sup(f"large over small batch at temperature {paper['temperature']:g}", at_fixed, 1.0, paper=paper["gap"]),
         eq("large over small batch, each tuned", best, 2.0),
         sup("the gap at the wider end less the tuned one", shrinks, 1.0),
         cross("each batch's best temperature in its own batch", got.val, got.test)],
        f"Batch {large} leads batch {small} by {at_fixed.mean:.1f} points at temperature {paper['temperature']:g}, by "
        f"{best.mean:.1f} with each tuned.",
        cannot=_cannot(epochs, got, fixed, wide),
    )  # fmt: skip


def at_equal(frame: pd.DataFrame, budget: str) -> pd.DataFrame:
    """A4's runs at equal epochs or at the largest batch's number of steps, with the floors."""
    return frame[frame["equal"].isna() | frame["equal"].str.contains(budget).eq(True)]


def judge_rate(frame: pd.DataFrame) -> Verdict:
    """A5: a gap at one rate, the grid's lowest (the paper's text has .1), SUP(1); it shrinks with each batch tuned, SUP(1);
    then the small batch is as good, NONINF(1); and CROSS."""
    got = read(frame, "batch_size", "lr")
    (small, *_, large), rates = got.levels
    fixed, tuned = _gap(got.test)[:, 0], _gap(got.tuned())
    at_fixed, best, shrinks = paired(fixed), paired(-tuned), paired(fixed, tuned)
    return verdict(
        frame,
        [sup(f"large over small batch at lr {rates[0]:g}", at_fixed, 1.0, paper=registry.numbers("A5")["gap"]),
         sup("that gap less the tuned one", shrinks, 1.0), noninf("small over large batch, each tuned", best, 1.0),
         cross("each batch's best rate in its own batch", got.val, got.test)],
        f"Batch {large} leads batch {small} by {at_fixed.mean:.1f} points at lr {rates[0]:g}, by {-best.mean:.1f} with each "
        "tuned.",
        headline=1, cannot=_cannot(frame, got, 0),
    )  # fmt: skip


def judge_stability(frame: pd.DataFrame) -> Verdict:
    """A6: CROSS, and at the highest rate more runs diverge with the largest batch than with the smallest, SUP(.5) as a share
    of runs."""
    got = read(frame, "batch_size", "lr")
    (small, *_, large), rates = got.levels
    broken = read(frame, "batch_size", "lr", name="diverged").test[..., -1]
    more = paired(_gap(broken))
    best = " and ".join(f"{rates[got.best[b]]:g}" for b in (0, -1))
    return verdict(
        frame,
        [cross("each batch's best rate in its own batch", got.val, got.test),
         sup(f"runs that diverge at lr {rates[-1]:g}, large over small batch", more, 0.5, unit="share of runs")],
        f"Best rates: {best} (batches {small}, {large}); at lr {rates[-1]:g} the large diverges {more.mean:.0%} more often.",
        cannot=_cannot(frame, got),
    )  # fmt: skip


def _depths(values: np.ndarray, layers: list[int]) -> dict[str, np.ndarray]:
    """A7's contrasts (seeds,) of values (seeds, batches, layers), the batches' ends only."""
    at, values = layers.index, values[:, [0, -1]]
    found = {
        "a second layer over one": (values[..., at(2)] - values[..., at(1)]).mean(1),
        "the gap with one layer less that with the most": _gap(values[..., at(1)] - values[..., -1]),
        "the most layers over two": (values[..., -1] - values[..., at(2)]).mean(1),
    }
    return found | (
        {"two layers over no projector": (values[..., at(2)] - values[..., 0]).mean(1)} if 0 in layers else {}
    )


def judge_layers(frame: pd.DataFrame) -> Verdict:
    """A7, by the paper's probe, an MLP, averaged over the smallest and the largest batch: a second layer gains, SUP(1); depth
    narrows the gap between them, SUP(.5); more layers add nothing, EQ(2); any projector helps, SUP(1), where one has none."""
    got, table = read(frame, "batch_size", "layers", probe="mlp"), registry.numbers("A7")
    paper = _depths(np.array([table["accuracy"]]), table["layers"])
    found = {name: paired(v) for name, v in _depths(got.test, got.levels[1]).items()}
    rules = (partial(sup, d=1.0), partial(sup, d=0.5), partial(eq, e=2.0), partial(sup, d=1.0))
    parts = [
        rule(name, effect, paper=round(paper[name][0], 2) if name in paper else None)
        for rule, (name, effect) in zip(rules, found.items())
    ]
    second, narrows, more, *_ = found.values()
    cells = {
        f"batch {b}, layers {n}": got.test[:, i, j]
        for i, b in enumerate(got.levels[0])
        for j, n in enumerate(got.levels[1])
    }
    accuracy = column(frame, probe="mlp")
    return verdict(
        frame, parts,
        f"A second layer gains {second.mean:.1f} points, further ones {more.mean:.1f}; the gap between batches narrows by "
        f"{narrows.mean:.1f}.",
        cannot=kit.cannot_carry(frame, accuracy) or kit.at_floor(frame, cells, probe="mlp"),
    )  # fmt: skip


def _sweeps(frame: pd.DataFrame) -> list[tuple[str, Cells, float]]:
    """(title, accuracy over rates, default rate) of A16's methods. The default is the rate of the profile's SimCLR recipe,
    carried over without tuning; with AdamW, PyTorch's own."""
    lars = base(PROFILES[kit.profile_name(frame)]).optimiser.lr
    return [
        (title, read(runs, "lr"), ADAM_DEFAULT if title.endswith("AdamW") else lars)
        for title, runs in kit.runs_by(frame, "sweep").items()
    ]


def others(got: Cells) -> Iterator[Cells]:
    """For each seed the grid of the others: a cell that they choose has no luck of the seed's own in it."""
    for i in range(len(got.val)):
        rest = np.arange(len(got.val)) != i if len(got.val) > 1 else slice(None)
        yield replace(got, val=got.val[rest], test=got.test[rest])


def at_least(part: Part) -> Part:
    """The part where its best cell lies on the edge of the grid: a better one would only raise its effect, so that it can be
    supported and nothing else: by no number of seeds while its mean is too small."""
    return replace(part, small=1.0, contradicted=1.0, needed=part.needed if part.supported < 1 else 0)


def judge_methods(frame: pd.DataFrame) -> Verdict:
    """A16: for each of the three methods tuning gains over the default rate, SUP(1), each seed at the rate that the others
    choose on validation."""
    parts, defaults = [], {}
    for title, got, default in _sweeps(frame):
        (rates,) = got.levels
        tuned = np.array([got.test[i, rest.best] for i, rest in enumerate(others(got))])
        part = sup(f"{title}: tuned over {default:g}", paired(tuned, got.test[:, rates.index(default)]), 1.0)
        parts.append(at_least(part) if stats.edges(got.val.mean(0, keepdims=True)) else part)
        defaults[f"{title} at {default:g}"] = got.test[:, rates.index(default)]
    titles = {runs["method"].iloc[0]: title for title, runs in kit.runs_by(frame, "sweep").items()}
    said = ", ".join(f"{title.partition(',')[0]} {part.effect.mean:.1f}" for title, part in zip(titles.values(), parts))
    return verdict(
        frame, parts, f"Over a default learning rate tuning gains: {said} points.",
        headline=int(np.argmin([p.effect.mean for p in parts])),
        cannot=kit.cannot_carry_each(frame, titles) or kit.at_floor(frame, defaults),
    )  # fmt: skip


# --- draw -------------------------------------------------------------------------------------------------------------


def _best(frame: pd.DataFrame, axis: str) -> str:
    got = read(frame, "batch_size", axis)
    return ", ".join(f"{got.levels[1][b]:g} for batch {batch}" for batch, b in zip(got.levels[0], got.peaks))


def draw_tasks(frame: pd.DataFrame) -> Drawing:
    values, batches = _by_task(frame)

    def panel(ax) -> None:
        names, colours = [f"batch {b}" for b in batches], figures.ordered(len(batches))
        kit.task_bars(ax, frame, values.swapaxes(1, 2), names, colours, ncols=len(batches) + 2)

    where = "; ".join(f"{t}: batch {batches[b]}" for t, b in zip(tasks(frame), values.mean(0).argmax(0)))
    return page(
        frame, ("batch_size", "lr"), [panel], height=3.4, columns=kit.task_columns(frame),
        alt="Bars of test accuracy by task, one bar a batch size, each at its tuned learning rate, with the random encoder's "
        f"and raw pixels' accuracy as lines. Best batch by task: {where}.",
    )  # fmt: skip


def draw_temperature(frame: pd.DataFrame) -> Drawing:
    epochs, steps = at_equal(frame, "epochs"), at_equal(frame, "steps")
    both = bool(len(trained(steps)))
    axes = ("temperature", "batch_size", "batch {}")
    panels = [curves(epochs, *axes, xlabel="temperature", ylabel=kit.label(frame))]
    panels += [curves(steps, *axes, xlabel="temperature")] if both else []
    sides = "; left all batches see the same number of epochs, right they take the same number of steps" if both else ""
    return page(
        frame, ("batch_size", "temperature", "steps"), panels, titles=("equal epochs", "equal steps")[: len(panels)],
        height=3.3, sharey=True,
        alt=f"Accuracy against SimCLR's temperature, a line a batch size{sides}. "
        f"Best temperature at equal epochs: {_best(epochs, 'temperature')}.",
    )  # fmt: skip


def draw_rate(frame: pd.DataFrame) -> Drawing:
    broken, method = int(trained(frame)["diverged"].sum()), trained(frame)["method"].iloc[0]
    ended = f" {broken} runs diverged and are drawn hollow or as crosses." if broken else ""
    names = {"xlabel": "base learning rate (LARS; times batch / 256)", "ylabel": kit.label(frame)}
    return page(
        frame, ("batch_size", "lr"), [curves(frame, "lr", "batch_size", "batch {}", **names)], height=3.3, width=5.4,
        columns=(column(frame, "val"), column(frame), "diverged"),
        alt=f"Accuracy of {method} against the learning rate, a line a batch size. Best rate: {_best(frame, 'lr')}.{ended}",
    )  # fmt: skip


def draw_layers(frame: pd.DataFrame) -> Drawing:
    titles = {"mlp": "MLP probe, as in Table 1", "linear": "linear probe"}
    panels, said = [], []
    for probe, title in titles.items():
        names = {"xlabel": "projector layers"} | ({} if panels else {"ylabel": f"{tasks(frame)[0]} accuracy (%)"})
        panels.append(curves(frame, "layers", "batch_size", "batch {}", probe, log=False, **names))
        got = read(frame, "batch_size", "layers", probe=probe)
        means = [", ".join(f"{v:.1f}" for v in row) for row in got.test.mean(0)]
        said += [f"{title}, batch {batch}: {m}" for batch, m in zip(got.levels[0], means)]
    return page(
        frame, ("batch_size", "layers"), panels, titles=list(titles.values()), height=3.3,
        columns=[column(frame, s, probe=p) for p in titles for s in ("val", "test")],
        alt=f"Accuracy against the number of projector layers, a line a batch size. Means: {'; '.join(said)}.",
    )  # fmt: skip


def _sweep(frame: pd.DataFrame, got: Cells, default: float, index: int, last: bool) -> Panel:
    """A16's panel of one method, the default rate marked; `last`, where the floors are named."""

    def panel(ax) -> None:
        (rates,) = got.levels
        figures.band(ax, rates, got.test, "", index)
        kit.log_axis(ax, rates, [f"{x:g}" if x >= 0.01 else f"{x:.0e}".replace("e-0", "e-") for x in rates], fontsize=7)
        ax.axvline(default, color=figures.muted(), linestyle=":", linewidth=1)
        ax.annotate("default", (default, 0.02), xycoords=ax.get_xaxis_transform(), xytext=(3, 0),
                    textcoords="offset points", fontsize=7.5, color=figures.muted())  # fmt: skip
        kit.floors(ax, frame, labels=last)
        ax.set(xlabel="learning rate", **({} if index else {"ylabel": kit.label(frame)}))

    return panel


def draw_methods(frame: pd.DataFrame) -> Drawing:
    sweeps = _sweeps(frame)
    said = [f"{t} is best at {got.levels[0][got.peaks]:g}, the default is {default:g}" for t, got, default in sweeps]
    return page(
        frame, ("optimiser", "lr", "batch_size"),
        [_sweep(frame, got, default, i, i == len(sweeps) - 1) for i, (_, got, default) in enumerate(sweeps)],
        titles=[title for title, _, _ in sweeps], height=3.1, sharey=True,
        columns=(column(frame, "val"), column(frame), "diverged"),
        alt=f"Accuracy against the learning rate at one small batch, a panel a method. {'; '.join(said)}.",
    )  # fmt: skip


CLAIMS = (
    Claim("A3", plan_rates, judge_tasks, draw_tasks),
    Claim("A4", plan_temperatures, judge_temperature, draw_temperature),
    Claim("A5", plan_rates, judge_rate, draw_rate),
    Claim("A6", partial(plan_rates, barlow=True), judge_stability, draw_rate),
    Claim("A7", plan_layers, judge_layers, draw_layers),
    Claim("A16", plan_methods, judge_methods, draw_methods),
)

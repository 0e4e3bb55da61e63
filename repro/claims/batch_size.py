"""Small batches: claims A3 to A7 and A16 of the FFCV-SSL paper.

One grid of SimCLR runs (batch x learning rate) serves A3 and A5. Settings are tuned on the validation split of the
semantic task; every number shown is of the test split.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from repro import data, figures, stats
from repro.claims import Claim, Drawing, Verdict, kit, ledger
from repro.claims.kit import Cells, Panel, Part, Plan, column, curves, page, read, sup, tasks, trained, verdict
from repro.core.methods import BYOL, BarlowTwins, VICReg
from repro.core.profiles import PROFILES, Profile, base
from repro.core.spec import RunSpec


class Scale(NamedTuple):
    """The grid of a profile. rates: of LARS, times batch / 256; adam_rates: AdamW's, which A16 takes for Barlow Twins.
    epochs: 0 for the profile's own."""

    batches: tuple[int, ...]
    rates: tuple[float, ...]
    temperatures: tuple[float, ...]
    layers: tuple[int, ...]
    adam_rates: tuple[float, ...]
    small_batch: int = 256
    epochs: int = 0


SCALES = {
    "smoke": Scale((16, 64), (0.4, 4.0), (0.1, 0.5), (1, 2), (1e-3, 1e-2), 64),
    "quick": Scale(
        (16, 64, 256), (0.4, 1.2, 4.0, 12.0), (0.05, 0.1, 0.2, 0.5, 1.0), (1, 2, 3), (1e-3, 3e-3, 1e-2, 3e-2), 64
    ),
    "gpu": Scale((128, 256, 1024), (0.1, 0.4, 1.6), (0.1, 0.2, 0.5), (1, 2, 4), (1e-4, 1e-3, 1e-2), epochs=3),
    "paper": Scale(
        (256, 512, 1024, 2048), (0.1, 0.3, 0.5, 1.0, 2.0, 3.0), (0.1, 0.15, 0.25, 0.5), (1, 2, 3, 4, 5),
        (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    ),
}  # fmt: skip
ADAM_DEFAULT = 1e-3  # PyTorch's own
PUBLISHED = 0.1  # the temperature at which the paper sees the gap

# --- plan -------------------------------------------------------------------------------------------------------------


def _start(profile: Profile, **changes) -> tuple[RunSpec, Scale]:
    scale = SCALES[profile.name]
    return base(profile).but(epochs=scale.epochs or profile.epochs, **changes), scale


def _methods(profile: Profile) -> tuple[VICReg, BYOL, BarlowTwins]:
    """The published settings on large scales. The small runs take a few hundred steps, in which an EMA of .99 hardly
    moves; VICReg's weights are divided by 25, their ratio kept, since LARS leaves biases and batch norm unscaled; and
    Barlow Twins' lambda is for a projector of 64 outputs, by the small projectors paper's rule lambda = O(1/d)."""
    if profile.small:
        return VICReg(1.0, 1.0, 0.04), BYOL(ema=0.9), BarlowTwins(0.02, 1.0)
    return VICReg(), BYOL(), BarlowTwins(0.0051, 0.1)


def plan_rates(profile: Profile, barlow: bool = False) -> Plan:
    """batch x learning rate; SimCLR's runs are probed on every task."""
    own = {"method": _methods(profile)[2]} if barlow else {"tasks": data.tasks(profile.data)}
    spec, scale = _start(profile, **own)
    return Plan(profile).add(*spec.grid(batch_size=scale.batches, lr=scale.rates)).floors(tasks=spec.probes.tasks)


def plan_temperatures(profile: Profile) -> Plan:
    """batch x temperature, at equal epochs, and at the number of steps that the largest batch takes."""
    spec, scale = _start(profile)
    cells, largest = spec.grid(batch_size=scale.batches, temperature=scale.temperatures), max(scale.batches)
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
    """A3: batch and task interact (p < .05), and the best batch differs for at least one task."""
    values, batches = _by_task(frame)
    gain = values[:, -1] - values[:, 0]
    if len(tasks(frame)) < 2:
        one = "These data have one task, and the claim needs several."
        return verdict(frame, [], stats.paired(gain[:, 0]), "points", one, cannot="")
    best, p = values.mean(0).argmax(0), stats.interaction(values)
    parts = [kit.holds(p < 0.05, len(values)), kit.holds(len(set(best.tolist())) > 1, len(values))]
    where = ", ".join(f"{t} {batches[b]}" for t, b in zip(tasks(frame), best))
    return verdict(
        frame, parts, stats.paired(gain[:, 0], gain[:, 1:].mean(1)), "points",
        f"Batch and task interact with {stats.p_text(p)} (asked: below 0.05); the best batch is {where}. The effect is what "
        f"batch {batches[-1]} gains over {batches[0]} on {tasks(frame)[0]}, less its mean gain on the other tasks.",
    )  # fmt: skip


def _in_its_direction(gap: np.ndarray) -> np.ndarray:
    """Counted positive in the direction of its mean, so that noise around zero does not look like a gap."""
    return gap * np.sign(stats.paired(gap).mean)


def _gap(frame: pd.DataFrame, axis: str, fixed: float, name: str) -> tuple[list[Part], stats.Interval, str]:
    """The gap between the largest and the smallest batch shrinks when each is tuned, SUP(1), and the best setting (or the
    largest rate that does not diverge) depends on the batch: the parts, the effect, the sentence."""
    got = read(frame, "batch_size", axis)
    (batches, levels), test, tuned = got.levels, got.test, got.tuned()
    at_fixed = _in_its_direction(test[:, -1, levels.index(fixed)] - test[:, 0, levels.index(fixed)])
    at_best = _in_its_direction(tuned[:, -1] - tuned[:, 0])
    effect = stats.paired(at_fixed, at_best)
    best, p, differs = stats.best_differs(test, min_seeds=0)
    last = np.where(np.isfinite(test), np.arange(len(levels)), -1).max(2)  # (seeds, batches): that did not diverge
    stable = axis == "lr" and np.mean(last.max(1) > last.min(1)) > 0.5
    parts = [sup(effect, 1.0), Part(stats.REPRODUCED if stable else differs, len(test))]
    if effect.high < 0:  # the gap grows with tuning: whatever the best setting does, that is not the claim
        parts = [kit.holds(False, len(test))]
    where = ", ".join(f"{levels[i]:g} for batch {b}" for b, i in zip(batches, best))
    ends = " The largest rate that does not diverge depends on the batch for most seeds." if stable else ""
    return parts, effect, (
        f"The gap between batch {batches[-1]} and {batches[0]} is {stats.paired(at_fixed).text()} points at "
        f"{name} {fixed:g} and {stats.paired(at_best).text()} with each batch tuned; it shrinks by {effect.text()} "
        f"(asked: 1). The best {name} is {where} (batch x {name} interaction {stats.p_text(p)}).{ends}"
    )  # fmt: skip


def judge_temperature(frame: pd.DataFrame) -> Verdict:
    """A4: at equal epochs, whose effect is given, and at equal steps."""
    epochs, steps = at_equal(frame, "epochs"), at_equal(frame, "steps")
    parts, effect, sentence = _gap(epochs, "temperature", PUBLISHED, "temperature")
    more, _, other = _gap(steps, "temperature", PUBLISHED, "temperature")
    return verdict(epochs, parts + more, effect, "points", f"At equal epochs: {sentence} At equal steps: {other}")


def at_equal(frame: pd.DataFrame, budget: str) -> pd.DataFrame:
    """A4's runs at equal epochs or at the largest batch's number of steps, with the floors."""
    return frame[frame["equal"].isna() | frame["equal"].str.contains(budget).eq(True)]


def judge_rate(frame: pd.DataFrame) -> Verdict:
    """A5, A6: the fixed setting is the grid's lowest rate (the paper's text has .1)."""
    parts, effect, sentence = _gap(frame, "lr", min(trained(frame)["lr"]), "learning rate")
    return verdict(frame, parts, effect, "points", sentence)


def judge_layers(frame: pd.DataFrame) -> Verdict:
    """A7: a second layer helps, SUP(1), and depth narrows the gap between the batches, SUP(.5).

    The paper probes with an MLP. Where an MLP on raw pixels beats every probe of a trained backbone, as on the scenes, an
    MLP probe measures the probe: then the linear one judges, and the sentence says so.
    """
    mlp = column(frame, probe="mlp")
    pixels, best = kit.floor_levels(frame, mlp)["raw pixels"], trained(frame).groupby("cell")[mlp].mean().max()
    probe, name = "mlp", "an MLP probe"
    if pixels > best:
        probe, name = "linear", "a linear probe, since an MLP on raw pixels beats every MLP probe here"
    got = read(frame, "batch_size", "layers", probe=probe)
    (batches, layers), values = got.levels, got.test
    second = stats.paired((values[:, :, 1] - values[:, :, 0]).mean(1))
    gap = values[:, -1] - values[:, 0]
    narrows = stats.paired((gap[:, 0] - gap[:, -1]) * np.sign(stats.paired(gap[:, 0]).mean))
    return verdict(
        frame, [sup(second, 1.0), sup(narrows, 0.5)], second, "points",
        f"A second projector layer gains {second.text()} points (asked: 1); from {layers[0]} to {layers[-1]} layers the "
        f"gap between batch {batches[-1]} and {batches[0]} narrows by {narrows.text()} (asked: 0.5). Judged by {name}.",
        accuracy=column(frame, probe=probe),
    )  # fmt: skip


def _sweeps(frame: pd.DataFrame) -> list[tuple[str, Cells, float]]:
    """(title, accuracy over rates, default rate) of A16's methods. The default is the rate of the profile's SimCLR recipe,
    carried over without tuning; with AdamW, PyTorch's own."""
    lars = base(PROFILES[kit.profile_name(frame)]).optimiser.lr
    return [
        (title, read(runs, "lr"), ADAM_DEFAULT if title.endswith("AdamW") else lars)
        for title, runs in kit.runs_by(frame, "sweep").items()
    ]


def judge_methods(frame: pd.DataFrame) -> Verdict:
    """A16: tuning gains over the default rate, SUP(1), for each of the three methods; the effect is the least of them."""
    said, gains = [], []
    for title, got, default in _sweeps(frame):
        (rates,) = got.levels
        gains.append(stats.paired(got.tuned(), got.test[:, rates.index(default)]))
        said.append(f"{title}: {gains[-1].text()} points at {rates[int(got.best)]:g} over {default:g}")
    return verdict(
        frame, [sup(g, 1.0) for g in gains], min(gains, key=lambda g: g.mean), "points",
        f"What tuning the learning rate gains over a default: {'; '.join(said)} (asked: 1 each; the least is given).",
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
    axes = ("temperature", "batch_size", "batch {}")
    return page(
        frame, ("batch_size", "temperature", "steps"),
        [curves(epochs, *axes, xlabel="temperature", ylabel=kit.label(frame)), curves(steps, *axes, xlabel="temperature")],
        titles=("equal epochs", "equal steps"), height=3.3, sharey=True,
        alt="Accuracy against SimCLR's temperature, a line a batch size; left all batches see the same number of epochs, "
        f"right they take the same number of steps. Best temperature at equal epochs: {_best(epochs, 'temperature')}.",
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
    Claim("A6", partial(plan_rates, barlow=True), judge_rate, draw_rate),
    Claim("A7", plan_layers, judge_layers, draw_layers),
    Claim("A16", plan_methods, judge_methods, draw_methods),
)

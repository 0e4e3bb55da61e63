"""Weak targets and a decaying weight: claims B1, B2 and B6 to B9 of the MSR paper.

Runs are shared: the standard BYOL and MSR runs of B1 are also those of B7 and B9. Every number shown is of the test
split; what is chosen (a best beta) is chosen on the validation split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from repro import figures, stats
from repro.bench.specs import StepSpec
from repro.claims import Claim, Drawing, Verdict, kit, registry
from repro.claims.kit import Panel, Plan, by, contrasts, dots, page, read, runs_by
from repro.core.datasets import DATASETS
from repro.core.methods import BYOL, MSR, Method, MoCo, SimCLR, SimSiam, SimSiamMSR
from repro.core.profiles import Profile, base
from repro.core.spec import DataSpec, Optimiser, Projector, RunSpec
from repro.stats import Part, eq, sup
from repro.views.recipe import Recipe, full_blur, preset


class Scale(NamedTuple):
    """tuned: the beta_base of B2 and B8, which the paper tunes by data set; 0.3 is its own on CIFAR. betas: of B7.
    epochs: at quick nearly twice the profile's, since without negatives these methods learn slower and must get above the
    random encoder; at gpu a fifth, so that a few dozen runs take minutes; at cpu those of thrice the profile's views.
    pairs: steps between two readings of their alignment, 0 for none. share: of the profile's images, how many times as
    many. lr, batch: of SGD.
    """

    tuned: float
    betas: tuple[float, ...]
    epochs: int
    pairs: int
    ema: float = 0.99
    queue: int = 4096
    share: float = 1.0
    lr: float = 0.1
    batch: int = 256


SCALES = {
    "smoke": Scale(0.3, (0.0, 0.3, 0.5), 4, 1, 0.9, 512),
    "quick": Scale(0.3, (0.0, 0.3, 0.5), 12, 32, 0.9, 512),
    "cpu": Scale(0.3, (0.0, 0.3, 0.5), 16, 0, 0.97, share=2.0, lr=0.4, batch=128),
    "gpu": Scale(0.3, (0.0, 0.3, 0.5, 1.0), 10, 100),
    "paper": Scale(0.3, (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), 200, 500),
}
BETA = 0.5  # Table 1's beta_base
CONTROL = 0.25  # the mean of a beta that falls from BETA by the cosine, and of one that rises to it
FLAT = (0.2, 0.5)  # the range around the paper's best over which the criterion asks for a flat accuracy
SHIFTS = (0.0, 0.25)  # of made-up images: the share whose object a gray view destroys
SHIFT = 0.25  # where all but B1's trend is measured: destroyed pairs are a minority, as the paper says they are
PAPER_SETS = {"cifar10": 32, "cifar100": 32, "stl10": 64, "tiny_imagenet": 64}
TITLES = {
    "AA": "BYOL, AA", "AW": "BYOL, AW", "WW": "BYOL, WW", "beta 0": "MSR, β 0", "fixed": "MSR, β fixed",
    "decay": "MSR, β decays",
}  # fmt: skip
COMPARED = ("AA", "AW", "beta 0", "fixed", "decay")  # in Table 1, where beta 0 is the other reading of its weak targets

# --- plan -------------------------------------------------------------------------------------------------------------


def _data(profile: Profile, shift: float = SHIFT) -> DataSpec:
    """The profile's data, made-up ones with their knobs; at `paper` the first of the sets of Tables 1 and 2, or the one
    that the reader chose."""
    spec = base(profile).data
    spec = replace(spec, fraction=min(1.0, SCALES[profile.name].share * spec.fraction))
    if profile.made_up:
        options = dict(spec.options) | ({"fragile": shift} if shift else {})
        return replace(spec, options=tuple(sorted(options.items())))
    name = next(iter(PAPER_SETS)) if profile.data == "imagenet" else profile.data
    return DataSpec(name, PAPER_SETS[name]) if profile.name == "paper" and name in PAPER_SETS else spec


def views(profile: Profile) -> dict[str, Recipe]:
    """ "AA", "AW" and "WW": two aggressive views, one of each, two weak ones; "MA": MSR's staged ones (Eq. 3)."""
    # of a made-up image a smaller crop cuts the one object to pieces
    staged = preset("msr", crop=(0.5, 1.0)) if profile.made_up else preset("msr")
    if profile.name == "cpu":
        staged = full_blur(staged)
    weak, aggressive = staged.views[0], replace(staged.views[2], parent=-1)
    two = {"AA": (aggressive, aggressive), "AW": (aggressive, weak), "WW": (weak, weak)}
    return {name: Recipe(f"{name} of {staged.name}", v) for name, v in two.items()} | {"MA": staged}


def standard(profile: Profile, method: Method, kind: str = "MA", shift: float = SHIFT, epochs: int = 0) -> RunSpec:
    """A run of this notebook. gpu and paper: the authors' recipe for small and medium sets; cpu: the same with a rate, an
    EMA and a batch for few steps, and the profile's projector. smoke, quick: a run has hundreds of steps, in which an EMA
    of .99 hardly moves; in pilots of one seed, on validation, SGD took twice the steps to where AdamW brings BYOL on two
    aggressive views and MSR, and LARS at 2 or more lost half of the rank."""
    scale = SCALES[profile.name]
    spec = base(
        profile, data=_data(profile, shift), method=method, recipe=views(profile)[kind],
        epochs=epochs or scale.epochs,
    )  # fmt: skip
    if profile.small:
        return replace(spec, optimiser=Optimiser("adamw", lr=4e-3))
    return replace(
        spec, backbone="resnet18" if (profile.name, spec.backbone) == ("paper", "resnet50") else spec.backbone,
        projector=spec.projector if profile.name == "cpu" else Projector(2, 1024, 128), batch_size=scale.batch,
        joint=False, optimiser=Optimiser("sgd", lr=scale.lr, weight_decay=5e-4, warmup=0.0, lr_end=0.0),
    )  # fmt: skip


def tuned(profile: Profile, **changes) -> RunSpec:
    """MSR at the beta_base of B2."""
    scale = SCALES[profile.name]
    return standard(profile, MSR(scale.tuned, ema=scale.ema), **changes)


def variants(profile: Profile, **changes) -> dict[str, RunSpec]:
    """Table 1's runs, with two weak views and with beta 0. The pairs of BYOL and of MSR with a decaying beta are watched,
    where shift and length are the standard ones."""
    scale, kinds = SCALES[profile.name], views(profile)
    byol = standard(profile, BYOL(scale.ema), "AA", **changes)
    msr = standard(profile, MSR(BETA, ema=scale.ema), **changes)
    watched = {"pairs": scale.pairs if byol == standard(profile, BYOL(scale.ema), "AA") else 0}
    return {
        "AA": byol.but(**watched), "AW": byol.but(recipe=kinds["AW"]), "WW": byol.but(recipe=kinds["WW"]),
        "beta 0": msr.but(beta=0.0), "fixed": msr.but(decay="fixed"), "decay": msr.but(**watched),
    }  # fmt: skip


def _plan(profile: Profile, runs: Iterable[tuple[str, RunSpec]]) -> Plan:
    """Each run, labelled with its variant, at every seed, with the floors of its data."""
    plan, runs = Plan(profile), list(runs)
    for variant, spec in runs:
        plan.add(spec, variant=variant)
    for found in dict.fromkeys(spec.data for _, spec in runs):
        plan.floors(standard(profile, SimSiam(), "AA"), data=found)
    return plan


def plan_variants(profile: Profile) -> Plan:
    """B1: the variants; on made-up images, BYOL and MSR at every shift."""
    runs = list(variants(profile).items())
    for shift in (s for s in SHIFTS if s != SHIFT and profile.made_up):
        runs += [(v, variants(profile, shift=shift)[v]) for v in ("AA", "decay")]
    return _plan(profile, runs)


def lengths(profile: Profile) -> tuple[int, int]:
    """B2's short and long runs, in epochs. The paper's are 200 and 800; below that profile the long ones are the standard
    runs that the other claims need as well, and at quick a quarter of them would end on the floor: half."""
    epochs = SCALES[profile.name].epochs
    return (
        (epochs, 4 * epochs) if profile.name == "paper" else (epochs // (2 if profile.name == "quick" else 4), epochs)
    )


def plan_methods(profile: Profile) -> Plan:
    """B2: five methods, short and four times as long."""
    scale, runs = SCALES[profile.name], []
    for epochs in lengths(profile):
        for title, method in (("SimCLR", SimCLR()), ("MoCo v2", MoCo(ema=scale.ema, queue=scale.queue)),
                              ("SimSiam", SimSiam())):  # fmt: skip
            runs.append((title, standard(profile, method, "AA", epochs=epochs)))
        runs += [("BYOL", variants(profile, epochs=epochs)["AA"]), ("MSR", tuned(profile, epochs=epochs))]
    return _plan(profile, runs)


def plan_time(profile: Profile) -> Plan:
    """B6: whole steps, timed in turn."""
    spec = standard(profile, BYOL())
    return Plan(profile).add(
        StepSpec(
            spec.backbone, spec.data.size or 224, spec.batch_size, spec.projector.width, spec.projector.dim,
            spec.precision, repeats=1 if profile.name == "smoke" else 5,
        )
    )  # fmt: skip


def plan_betas(profile: Profile) -> Plan:
    """B7: beta_base, with the cosine decay."""
    decay = variants(profile)["decay"]
    betas = [b for b in SCALES[profile.name].betas if b != BETA]
    others = [(f"beta {b:g}", decay.but(pairs=0, beta=b)) for b in betas]
    return _plan(profile, [*others, ("decay", decay)])


def plan_simsiam(profile: Profile) -> Plan:
    plain = standard(profile, SimSiam(), "AA")
    msr = plain.but(method=SimSiamMSR(SCALES[profile.name].tuned), recipe=views(profile)["MA"])
    return _plan(profile, [("SimSiam", plain), ("with MSR", msr)])


def plan_premise(profile: Profile) -> Plan:
    """B9: what is aligned when, where pairs are watched; and the decay against a fixed beta of the same mean, at cpu also
    against one that rises to the same mean."""
    runs = variants(profile)
    more = {"control": runs["fixed"].but(beta=CONTROL)}
    if profile.name == "cpu":
        more["rising"] = runs["fixed"].but(decay="rising")
    return _plan(profile, [(v, runs[v]) for v in ("AA", "decay")] + list(more.items()))


# --- judge ------------------------------------------------------------------------------------------------------------


def _usual(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame at the standard shift, where its data have that knob."""
    return frame[frame["fragile"] == SHIFT] if "fragile" in frame else frame


def cannot_carry(frame: pd.DataFrame) -> str:
    """As the kit's. At quick and cpu raw pixels are no floor, and compared cells are held to the random encoder alone:
    small networks without negatives end their first thousands of steps near a linear probe of pixels on thousands of
    labels."""
    return "" if kit.profile_name(frame) in ("quick", "cpu") else kit.cannot_carry(frame)


def _verdict(frame: pd.DataFrame, parts: list[Part], finding: str, cells: dict[str, np.ndarray]) -> Verdict:
    """cells: the accuracies (seeds,) that are compared, by name."""
    frame = _usual(frame)
    return kit.verdict(frame, parts, finding, cannot=cannot_carry(frame) or kit.at_floor(frame, cells))


def _paper(claim: str, frame: pd.DataFrame) -> dict[str, float]:
    """The paper's numbers of a claim on the frame's data set; where it has none, on its first."""
    name, known = frame["data"].iloc[0], registry.numbers(claim)
    title = DATASETS[name].title if name in DATASETS else name
    at = known["data"].index(title) if title in known["data"] else 0
    return {k: v[at] for k, v in known.items() if isinstance(v, list) and len(v) > at}


def judge_variants(frame: pd.DataFrame) -> Verdict:
    """B1: three steps of SUP(.5) each."""
    scores = by(_usual(frame), "variant")
    parts = contrasts(scores, (("AW", "AA"), ("fixed", "AA"), ("decay", "fixed")), 0.5, _paper("B1", frame))
    said = "; ".join(f"{p.name} {p.effect.mean:.1f}" for p in parts)
    return _verdict(frame, parts, f"Gains in points: {said}.", {TITLES[v]: scores[v] for v in COMPARED})


def over_each(scores: dict[str, np.ndarray], paper: dict[str, float]) -> list[Part]:
    """MSR over each other method, SUP(.5)."""
    return contrasts(scores, [("MSR", m) for m in scores if m != "MSR"], 0.5, paper)


def _by_length(frame: pd.DataFrame) -> dict[float, dict[str, np.ndarray]]:
    """B2's accuracies by epochs, the short runs first, and by method."""
    parts = by(_usual(frame), "epochs", "variant")
    return {e: {m: v for (at, m), v in parts.items() if at == e} for e in sorted({e for e, _ in parts})}


def judge_methods(frame: pd.DataFrame) -> Verdict:
    """B2: MSR over each other method after the longer training SUP(.5); its gap to BYOL is larger after the short one,
    SUP(0)."""
    (_, short), (epochs, long) = _by_length(frame).items()
    known = registry.numbers("B2")
    paper = known.get(frame["data"].iloc[0], known["cifar10"])
    parts = over_each(long, {m: v[1] for m, v in paper.items()})
    gap = stats.paired(short["MSR"] - short["BYOL"], long["MSR"] - long["BYOL"])
    cited = np.subtract(paper["MSR"], paper["BYOL"])
    parts.append(sup("gap to BYOL: short less long", gap, 0.0, paper=round(float(cited[0] - cited[1]), 1)))
    said = ", ".join(f"{p.effect.mean:.1f} {p.name.removeprefix('MSR ')}" for p in parts[:-1])
    cells = long | {f"{m}, short": short[m] for m in ("BYOL", "MSR")}
    return _verdict(frame, parts, f"After {epochs:g} epochs MSR gains, in points, {said}.", cells)


def judge_time(frame: pd.DataFrame) -> Verdict:
    """B6: MSR's step over BYOL's, EQ(.10) around 1."""
    paper, ratio = registry.numbers("B6"), stats.ratio(frame["msr_ratio"].to_numpy(float))
    cited = round(paper["MSR"][0] / paper["BYOL"][0], 3)
    return kit.verdict(
        frame, [eq("MSR's step over BYOL's", ratio, 0.10, 1.0, unit="ratio", paper=cited)],
        f"A step of MSR takes {ratio.mean:.3f} times as long as one of BYOL.",
        on=f"random images of {int(frame['size'].iloc[0])} pixels",
    )  # fmt: skip


def judge_betas(frame: pd.DataFrame) -> Verdict:
    """B7: the interior beta_base that validates best over zero, SUP(.3); and EQ(1) between the ends of FLAT."""
    got = read(_usual(frame), "beta")
    (betas,) = got.levels
    test, inside = dict(zip(betas, got.test.T)), [i for i, b in enumerate(betas) if 0 < b < 1]
    best = betas[inside[int(replace(got, val=got.val[:, inside]).best)]]
    low, *_, high = (b for b in betas if FLAT[0] <= b <= FLAT[1])
    gain, change = stats.paired(test[best], test[0.0]), stats.paired(test[high], test[low])
    return _verdict(
        frame, [sup("best interior β_base over 0", gain, 0.3), eq(f"β_base {high:g} over {low:g}", change, 1.0)],
        f"β_base {best:g} gains {gain.mean:.1f} points over 0; from {low:g} to {high:g} accuracy changes by "
        f"{change.mean:.1f}.",
        {f"β_base {b:g}": test[b] for b in sorted({0.0, best, low, high})},
    )  # fmt: skip


def judge_simsiam(frame: pd.DataFrame) -> Verdict:
    """B8: SimSiam with MSR over SimSiam, SUP(1)."""
    scores, paper = by(_usual(frame), "variant"), _paper("B8", frame)
    gain = stats.paired(scores["with MSR"], scores["SimSiam"])
    one = sup("SimSiam with MSR over SimSiam", gain, 1.0, paper=round(paper["MSR"] - paper["SimSiam"], 1))
    return _verdict(frame, [one], f"SimSiam reaches {_said(scores).replace('SimSiam ', '', 1)}.", scores)


class Watched(NamedTuple):
    """What a variant's runs read of their pairs, those left out that diverged. known: whether the data say which pairs are
    destroyed. steps, and the alignment of clean and of lost (destroyed) pairs: (seeds, readings)."""

    known: bool
    steps: np.ndarray
    clean: np.ndarray
    lost: np.ndarray


def _watched(frame: pd.DataFrame, variant: str) -> Watched | None:
    """None where nothing was watched."""
    runs = runs_by(frame, "variant")[variant]
    first, whole = runs["curves"].iloc[0], runs[runs["diverged"] == 0]
    if "pair_step" not in first:
        return None
    return Watched(bool(first["pair_known"][0]), *(kit.curve(whole, f"pair_{k}") for k in ("step", "clean", "lost")))


def late(steps: np.ndarray, alignment: np.ndarray) -> float:
    """How much of its final alignment a kind of pairs gains in the second half of the run, in percent; 0 for one that ends
    no better aligned than the pictures of two images."""
    middle = np.interp(steps[-1] / 2, steps, alignment)
    return 100 * (1 - middle / alignment[-1]) if alignment[-1] > 0 else 0.0


def judge_premise(frame: pd.DataFrame) -> Verdict:
    """B9: the decay over a fixed beta of its mean SUP(.5), and over one that rises, where it is planned; under BYOL on
    aggressive views destroyed pairs gain more of their alignment in the second half of the run than clean ones, and any
    at all: SUP(0) both. Where it is not known which pairs are destroyed, that is inconclusive."""
    scores, seen = by(_usual(frame), "variant"), _watched(_usual(frame), "AA")
    others = {"control": f"fixed {CONTROL:g}", "rising": "rising β"}
    parts = [
        sup(f"decay over {name}", stats.paired(scores["decay"], scores[v]), 0.5)
        for v, name in others.items()
        if v in scores
    ]
    said = "; ".join(f"{p.name} {p.effect.mean:.1f} points" for p in parts)
    shares, unit = "late gain, destroyed over clean pairs", "% of the final alignment"
    if seen and seen.known:
        clean, lost = (np.array([late(*of) for of in zip(seen.steps, c)]) for c in (seen.clean, seen.lost))
        parts.append(sup(shares, stats.paired(lost, clean), 0.0, unit=unit))
        parts.append(sup("late gain of destroyed pairs", stats.paired(lost), 0.0, unit=unit))
        means = [stats.paired(v).mean for v in (lost, clean)]
        said += f"; destroyed pairs gain {means[0]:.0f} % of their alignment late, clean ones {means[1]:.0f} %"
    else:
        parts.append(Part(shares, "SUP(0)", replace(parts[0].effect, mean=np.nan, low=np.nan, high=np.nan), unit))
        said += "; which pairs are destroyed is not known"
    return _verdict(frame, parts, f"{said[0].upper()}{said[1:]}.", scores)


# --- draw -------------------------------------------------------------------------------------------------------------

KNOBS = ("data", "fragile", "method", "recipe", "beta", "decay", "epochs")
TILTED = {"rotation": 35, "ha": "right", "fontsize": 7.5}


def _said(scores: dict[str, np.ndarray]) -> str:
    """The mean of each variant in words."""
    means = {name: stats.paired(v).mean for name, v in scores.items()}
    return ", ".join(f"{name} diverged" if np.isnan(mean) else f"{name} {mean:.1f} %" for name, mean in means.items())


def _lines_beside(ticks: Sequence[str], paper: Sequence, ours: np.ndarray, note: str, **look) -> Panel:
    """Gains in points, ours (seeds, ticks) as a band, and the paper's, a line (ticks,) for each of its sets."""

    def panel(ax) -> None:
        x = range(len(ticks))
        for i, values in enumerate(paper):
            ax.plot(x, values, color=figures.muted(), marker="*", markersize=8, markerfacecolor=figures.paper(),
                    linewidth=0.8, linestyle=":", label="" if i else note)  # fmt: skip
        figures.band(ax, x, ours, "ours")
        ax.axhline(0, color=figures.ink(), linewidth=0.8)
        ax.set_xticks(x, ticks, fontsize=7.5)
        ax.set(xlim=(-0.3, len(x) - 0.3), **look)
        ax.legend(loc="best", fontsize=7)

    return panel


def draw_scores(ax, frame: pd.DataFrame) -> None:
    """Each variant's test accuracy, a dot a seed, with the floors."""
    scores = by(frame, "variant")
    for i, values in enumerate(scores.values()):
        dots(ax, i, values, i)
    ax.set_xticks(range(len(scores)), [TITLES.get(v, v) for v in scores], **TILTED)
    kit.floors(ax, frame)
    ax.set_ylabel(kit.label(frame))


def draw_variants(frame: pd.DataFrame) -> Drawing:
    usual, paper, shown = _usual(frame), registry.numbers("B1"), ("AW", "fixed", "decay")
    scores = by(usual, "variant")
    gains, ticks = np.stack([scores[v] - scores["AA"] for v in shown], 1), [TITLES[v].replace(" ", "\n") for v in shown]
    papers = np.array([np.subtract(paper[v], paper["AA"]) for v in shown]).T
    panels = [
        lambda ax: draw_scores(ax, usual),
        _lines_beside(ticks, papers, gains, "the paper's sets", ylabel="gain over BYOL, AA (points)"),
    ]
    said = _said(scores)
    if "fragile" in frame:
        by_shift = by(frame.assign(shift=frame["fragile"].fillna(0.0)), "shift", "variant")
        shifts = sorted({s for s, _ in by_shift})
        gains_by_shift = np.stack([by_shift[s, "decay"] - by_shift[s, "AA"] for s in shifts], 1)
        panels.append(lambda ax: _draw_shifts(ax, shifts, gains_by_shift))
        means = ", ".join(f"{v:.1f} at {100 * s:.0f} %" for v, s in zip(gains_by_shift.mean(0), shifts))
        said += f"; gain by the share of destroyed images: {means}"
    return page(
        frame, KNOBS, panels, titles=("Table 1's variants", "beside the paper", "by shift")[: len(panels)], height=3.7,
        alt="Test accuracy of BYOL with aggressive (A) and weak (W) views and of MSR, with floors; gains over BYOL with two "
        f"aggressive views beside the paper's. {said}.",
    )  # fmt: skip


def _draw_shifts(ax, shifts: Sequence[float], gains: np.ndarray) -> None:
    figures.band(ax, [100 * s for s in shifts], gains, "", 5)
    ax.axhline(0, color=figures.ink(), linewidth=0.8)
    ax.set(xlabel="images that gray\ndestroys (%)", ylabel="β decays over BYOL, AA (points)")


def draw_methods(frame: pd.DataFrame) -> Drawing:
    lengths, paper = _by_length(frame), registry.numbers("B2")
    values = {m: np.stack([scores[m] for scores in lengths.values()], 1) for m in next(iter(lengths.values()))}

    def accuracy(ax) -> None:
        for i, (method, found) in enumerate(values.items()):
            figures.band(ax, list(lengths), found, method, i)
        kit.log_axis(ax, list(lengths))
        kit.floors(ax, _usual(frame))
        ax.set(xlabel="epochs", ylabel=kit.label(frame))

    sets = [np.subtract(v["MSR"], v["BYOL"]) for v in paper.values() if isinstance(v, dict) and "SimCLR" in v]
    note = f"the paper's sets, {paper['epochs'][0]} and {paper['epochs'][1]} epochs"
    gap = _lines_beside(["short", "four times\nas long"], sets, values["MSR"] - values["BYOL"], note,
                        ylabel="MSR over BYOL (points)")  # fmt: skip
    said = "; ".join(f"{m} {v[:, 0].mean():.1f} then {v[:, 1].mean():.1f}" for m, v in values.items())
    return page(
        frame, KNOBS, [accuracy, gap], titles=("five methods", "MSR over BYOL"), height=3.6,
        alt="Left: accuracy of five methods after short and four times as long training, with floors. Right: "
        f"MSR over BYOL, beside the paper's four sets. Means in percent: {said}.",
    )  # fmt: skip


def draw_time(frame: pd.DataFrame) -> Drawing:
    paper, ratios = registry.numbers("B6"), ["msr_ratio", "independent_ratio"]

    def over(ax) -> None:
        ours = {"MSR": frame["msr_ratio"], "MSR, inde-\npendent": frame["independent_ratio"]}
        cited = {f"paper,\n{n}": m / b for n, b, m in zip(paper["data"], paper["BYOL"], paper["MSR"])}
        kit.dots_beside(ax, ours, cited, neutral=1, digits=3)
        ax.axhspan(0.9, 1.1, color=figures.muted(), alpha=0.15, linewidth=0)
        ax.set_ylabel("time over BYOL's")

    means = ", ".join(f"{k.replace('_', ' ')} {frame[k].mean():.3f}" for k in (*ratios, "staged_ratio"))
    return page(
        frame, ("size", "batch_size"), [over], height=3.2, width=5.4,
        columns=[c for c in frame if c.endswith(("_ms", "_ratio"))],
        alt="Time of a training step over BYOL's, of MSR with staged views and with four independent views, measured in turn, "
        f"beside the paper's three sets; the claim's margin is shaded. Means: {means}.",
    )  # fmt: skip


def draw_betas(frame: pd.DataFrame) -> Drawing:
    got = read(_usual(frame), "beta")
    line = kit.line(_usual(frame), "beta", xlabel="β_base (★ best in the paper's three sets)")

    def panel(ax) -> None:
        line(ax)
        ax.axvspan(*FLAT, color=figures.muted(), alpha=0.13, linewidth=0)
        for at in sorted(set(registry.numbers("B7")["best"])):
            ax.plot([at], [0.97], marker="*", markersize=9, markerfacecolor=figures.paper(), markeredgecolor=figures.ink(),
                    linestyle="", transform=ax.get_xaxis_transform())  # fmt: skip

    means = ", ".join(f"{v:.1f} at {b:g}" for b, v in zip(got.levels[0], got.test.mean(0)))
    return page(
        frame, KNOBS, [panel], height=3.4, width=5.6,
        alt="Test accuracy of MSR against beta_base with the cosine decay, with floors; the range over which it is asked to "
        f"be flat is shaded, the paper's best values are starred. {means}.",
    )  # fmt: skip


def draw_simsiam(frame: pd.DataFrame) -> Drawing:
    scores, paper = by(_usual(frame), "variant"), registry.numbers("B8")

    def gain(ax) -> None:
        cited = {f"paper,\n{d}": m - s for d, s, m in zip(paper["data"], paper["SimSiam"], paper["MSR"])}
        kit.dots_beside(ax, {"ours": scores["with MSR"] - scores["SimSiam"]}, cited, neutral=0)
        ax.set_ylabel("gain (points)")

    return page(
        frame, KNOBS, [lambda ax: draw_scores(ax, _usual(frame)), gain], height=3.3,
        titles=("without a target network", "Table 8, as gains"),
        alt="Left: accuracy of SimSiam with and without MSR, with floors. Right: the gain beside the paper's on its three "
        f"sets. {_said(scores)}.",
    )  # fmt: skip


def _pairs(seen: Watched, title: str) -> tuple[Panel, str]:
    """The alignment of a variant's clean and destroyed pairs along the run, with the middle of the run; and in words."""
    kinds = {"clean": seen.clean, "destroyed" if seen.known else "least contrast": seen.lost}

    def panel(ax) -> None:
        for i, (kind, curve) in enumerate(kinds.items() if len(seen.steps) else ()):
            figures.band(ax, seen.steps[0], curve, kind, i)
        if len(seen.steps):
            ax.axvline(seen.steps[0, -1] / 2, color=figures.muted(), linestyle=figures.LINESTYLES[2], linewidth=1)
        ax.margins(x=0.02)
        ax.set(xlabel="step", ylabel="alignment: cosine above other images'")

    said = [
        f"{kind} pairs end at {curve[:, -1].mean():.2f} and gain "
        f"{np.mean([late(*of) for of in zip(seen.steps, curve)]):.0f} % of it in the second half"
        for kind, curve in kinds.items()
        if len(seen.steps)
    ]
    return panel, f"{title}: {', '.join(said) or 'diverged'}"


def draw_premise(frame: pd.DataFrame) -> Drawing:
    usual = _usual(frame)
    scores, watched = by(usual, "variant"), {v: seen for v in ("AA", "decay") if (seen := _watched(usual, v))}
    panels, said = (
        ([*x] for x in zip(*(_pairs(seen, TITLES[v]) for v, seen in watched.items()))) if watched else ([], [])
    )
    others = {"control": f"fixed {CONTROL:g}", "rising": f"rising to {BETA:g}"}
    gains = {name: stats.paired(scores["decay"], scores[v]) for v, name in others.items() if v in scores}
    said += [f"decay over {name}: {gain.text()} points" for name, gain in gains.items()]

    def timing(ax) -> None:
        figures.intervals(ax, {f"β decays from {BETA:g}\nover {name}": gain for name, gain in gains.items()})
        ax.set_xlabel("points")

    seen = (
        "Alignment of pairs of an aggressive and a weak view against the training step, for pairs whose aggressive view kept "
        "its object and for those where it is destroyed, in BYOL and in MSR; a dotted line marks the middle of the run. "
    ) * bool(watched)
    return page(
        frame, KNOBS, [*panels, timing], titles=[*(TITLES[v] for v in watched), "same mean β"], height=3.5,
        alt=f"{seen}Points by the decay over other betas of the same mean. {'; '.join(said)}.",
    )  # fmt: skip


# --- pictures ---------------------------------------------------------------------------------------------------------


def pictures(profile: Profile, shift: float = SHIFT, count: int = 8) -> Figure:
    """Weak views of the first images and the aggressive ones made from them, like the paper's Fig. 1; those that lost
    their object are framed and crossed, and as many as can be shown come first."""
    import torch

    from repro import data
    from repro.ssl import pairs

    spec = standard(profile, MSR(), shift=shift)
    dataset = data.load(spec.data.name, spec.data.size, spec.data.options)
    found = pairs.make(spec, dataset)
    lost = found.lost[0]
    order = torch.cat([lost.nonzero()[: count // 2, 0], (~lost).nonzero()[:, 0]])[:count]
    plain = found.views * dataset.std.view(3, 1, 1) + dataset.mean.view(3, 1, 1)
    rows = {
        "image": dataset.train.images[found.index[order]].to("cpu").float() / 255,
        "weak view": plain[0, order],
        "aggressive": plain[2, order],
    }
    fig, axes = figures.images({n: r.clamp(0, 1).permute(0, 2, 3, 1).numpy() for n, r in rows.items()}, height=3.1)
    fig.alt = "Images, a weak view of each, and the aggressive view made from it; destroyed ones are marked."
    for ax in (ax for ax, gone in zip(axes[2], lost[order]) if gone):
        ax.spines[:].set(visible=True, color=figures.PALETTE[5], linewidth=3)
        ax.set_xlabel("✗ destroyed" if found.known else "✗ least contrast", color=figures.ink(), fontsize=7.5)
    return fig


CLAIMS = (
    Claim("B1", plan_variants, judge_variants, draw_variants),
    Claim("B2", plan_methods, judge_methods, draw_methods),
    Claim("B6", plan_time, judge_time, draw_time),
    Claim("B7", plan_betas, judge_betas, draw_betas),
    Claim("B8", plan_simsiam, judge_simsiam, draw_simsiam),
    Claim("B9", plan_premise, judge_premise, draw_premise),
)

"""MSR on large data and after fine-tuning: claims B3, B4 and B5 of the MSR paper.

B3 and B4 take ImageNet and a cluster: they are planned at the `paper` profile, and elsewhere their figures show the
paper's numbers as cited. B5 is the real fine-tuning at every scale: on COCO where its folder is given, else on small
scenes in COCO's format.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, kit, msr_beta_decay, registry
from repro.claims.kit import Plan, by, cannot_carry, column, sup, verdict
from repro.core.profiles import PROFILES, Profile, base
from repro.core.spec import DataSpec, DetectSpec, Optimiser, Probes, Projector, RunSpec
from repro.data import coco, scenes
from repro.ssl.methods import BYOL, MSR, Method, MoCo, SimCLR, SimSiam, Supervised, Untrained
from repro.views.recipe import preset

STARTS = {"Untrained": "random", "Supervised": "supervised", "MSR": "MSR"}
BETA = 0.4  # of the paper's large sets


class Quantity(NamedTuple):
    """What is measured of a detector, and where Tables 5 and 6 have it."""

    title: str
    task: str
    schedule: float
    metric: str
    table: str
    place: int


QUANTITIES = (
    Quantity("box", "mask", 1.0, "bbox_AP", "table5", 0),
    Quantity("mask", "mask", 1.0, "segm_AP", "table5", 3),
    Quantity("keypoint", "keypoint", 1.0, "keypoints_AP", "table5", 6),
    Quantity("box, 2x", "mask", 2.0, "bbox_AP", "table6", 0),
    Quantity("mask, 2x", "mask", 2.0, "segm_AP", "table6", 3),
)
JUDGED = QUANTITIES[:3]


class Scale(NamedTuple):
    """How detectors are fine-tuned at a profile. side, images: of data that the reader brings; 0 images for all. The rate
    of the small detectors is the better of .05 and .1 for a seed that is not among those measured."""

    data: DataSpec
    steps: int
    batch: int
    lr: float
    side: int
    images: int
    heads: str = "small"
    schedules: tuple[tuple[str, float], ...] = (("mask", 1.0), ("keypoint", 1.0), ("mask", 2.0))


def _scenes(size: int, images: int) -> DataSpec:
    return DataSpec(coco.SCENES, size, options=(("images", images),))


SCALES = {
    "smoke": Scale(_scenes(64, 8), 2, 2, 0.05, 96, 8, schedules=(("mask", 1.0), ("keypoint", 1.0))),
    "quick": Scale(_scenes(64, 128), 75, 4, 0.05, 128, 256),
    "gpu": Scale(_scenes(128, 1024), 150, 16, 0.05, 256, 4096),
    "paper": Scale(DataSpec("coco", 800), 90_000, 16, 0.02, 800, 0, "full"),
}

# --- plan -------------------------------------------------------------------------------------------------------------


def plan_imagenet100(profile: Profile) -> Plan:
    """B3: the five methods for 100 and 200 epochs, at the paper profile alone."""
    plan, known = Plan(profile), registry.numbers("B3")
    changes = {
        "data": DataSpec("imagenet100", profile.size), "batch_size": known["batch"],
        "optimiser": Optimiser("sgd", lr=0.2, weight_decay=1e-4, warmup=0.0, lr_end=0.0),
    }  # fmt: skip
    for method in (SimCLR(), MoCo(queue=65_536), SimSiam(), BYOL(), MSR(BETA)) if profile.name == "paper" else ():
        plan.add(*(_large(profile, method, epochs).but(**changes) for epochs in known["epochs"]))
    return plan


def plan_imagenet(profile: Profile) -> Plan:
    """B4: BYOL and MSR for 100 and 200 epochs, at the paper profile alone."""
    plan, epochs = Plan(profile), registry.numbers("B4")["epochs"]
    for method in (BYOL(), MSR(BETA)) if profile.name == "paper" else ():
        plan.add(*(_large(profile, method, e) for e in epochs))
    return plan


def _large(profile: Profile, method: Method, epochs: int) -> RunSpec:
    """A run on a large set as the paper describes it: LARS, batch 2048, and Mean Shift's linear probe."""
    staged = preset("msr")
    two = replace(staged, name="aggressive, twice", views=(replace(staged.views[2], parent=-1),) * 2)
    return base(
        profile, method=method, recipe=staged if isinstance(method, MSR) else two, projector=Projector(2, 4096, 256),
        optimiser=Optimiser("lars", lr={100: 0.9, 200: 0.6}[epochs], weight_decay=1e-6, warmup=10 / epochs),
        batch_size=2048, epochs=epochs, joint=False, probes=Probes(tasks=("class",), linear=False, sgd="mean-shift"),
    )  # fmt: skip


def plan_transfer(profile: Profile) -> Plan:
    """B5: detectors of each kind and schedule from a random, a supervised and an MSR backbone of each seed; those
    backbones' own runs, probed by the paper's recipe; raw pixels."""
    starts = _starts(_pretraining(profile))
    plan = Plan(profile).add(*starts)
    if profile.small:
        plan.add(starts[0].but(backbone="pixels", sgd=""), seeds=1)
    return plan.add(*(_detector(profile, s, *kind) for s in starts for kind in SCALES[profile.name].schedules))


def _pretraining(profile: Profile) -> Profile:
    """The profile of the runs that detectors start from: `data` may also name the detectors' data."""
    own = PROFILES[profile.name]
    return replace(profile, data=own.data, size=own.size) if _detectors_data(profile) else profile


def _detectors_data(profile: Profile) -> bool:
    return profile.data in coco.TITLES or coco.is_folder(profile.data)


def _starts(profile: Profile) -> tuple[RunSpec, RunSpec, RunSpec]:
    """A random, a supervised and an MSR backbone."""
    if profile.name == "paper":
        msr = _large(profile, MSR(BETA), 200)
        labelled = msr.but(
            method=Supervised(), projector=Projector(1, 1, 1000), epochs=100, batch_size=256,
            recipe=replace(msr.recipe, name="supervised", views=(preset("simclr").views[0],)),
            optimiser=Optimiser("sgd", lr=0.1, weight_decay=1e-4, warmup=0.05, lr_end=0.0),
        )  # fmt: skip
        return msr.but(method=Untrained()), labelled, msr
    # the standard MSR run of notebook 07, whose beta, rate, length and scenes were chosen there on validation
    msr = msr_beta_decay.tuned(profile)
    if profile.name != "smoke":  # its hundred epochs take longer than all else of a smoke run
        msr = msr.but(sgd="moco")
    classes = len(scenes.SHAPES) if profile.data == "scenes" else 10 if profile.data in ("cifar10", "digits") else 1000
    labelled = base(
        profile, data=msr.data, epochs=msr.epochs, probes=msr.probes, method=Supervised(),
        projector=Projector(1, 128, classes), joint=msr.joint,
    )  # fmt: skip
    return msr.but(method=Untrained()), labelled, msr


def _detector(profile: Profile, start: RunSpec, task: str, schedule: float) -> DetectSpec:
    scale = SCALES[profile.name]
    images, lr = scale.data, scale.lr
    if _detectors_data(profile) and profile.data != coco.SCENES:
        images = DataSpec(profile.data, scale.side, options=(("images", scale.images),) if scale.images else ())
    if profile.name == "paper":
        lr = registry.numbers("B5")["lr"]["keypoint" if task == "keypoint" else f"schedule_{schedule:g}x"]
    return DetectSpec(start, images, task, schedule, scale.steps, scale.batch, lr=lr, heads=scale.heads)


# --- judge ------------------------------------------------------------------------------------------------------------


def judge_large(frame: pd.DataFrame, claim: str) -> Verdict:
    """B3, B4: MSR over BYOL, SUP(.5), and the gap shrinks with longer training."""
    if frame.empty:
        return Verdict(
            stats.NOT_JUDGED, None, None, None, "points", 0, "", "",
            "Not judged: it takes ImageNet and a cluster, and is planned at the paper profile alone; the figure shows "
            "the paper's numbers as cited.",
        )  # fmt: skip
    epochs, scores = registry.numbers(claim)["epochs"], _scores(frame)
    short, long = (scores["MSR", e] - scores["BYOL", e] for e in epochs)
    gain, shrinks = stats.paired(short), stats.paired(short, long)
    return verdict(
        frame, [sup(gain, 0.5), sup(shrinks, 0.0)], gain, "points",
        f"MSR gains {gain.text()} points over BYOL after {epochs[0]} epochs (asked: 0.5), and the gap shrinks by "
        f"{shrinks.text()} to {epochs[1]} epochs.",
        cannot="",
    )  # fmt: skip


def _scores(frame: pd.DataFrame) -> dict[tuple[str, int], np.ndarray]:
    """Test accuracy (seeds,) by method and epochs, of B3 and B4."""
    return by(frame, "method", "epochs", name="sgd_test_class") if len(frame) else {}


def detectors(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["kind"] == "DetectSpec"].dropna(axis=1, how="all")


def _ap(frame: pd.DataFrame, quantity: Quantity) -> dict[str, np.ndarray]:
    """A quantity (seeds,) by the method that the detectors' backbone comes from; empty where none were run."""
    runs = detectors(frame)
    runs = runs[(runs["task"] == quantity.task) & (runs["schedule"] == quantity.schedule)]
    return by(runs, "start", name=quantity.metric)


def judge_transfer(frame: pd.DataFrame) -> Verdict:
    """B5: it runs end to end, and from MSR's weights box, mask and keypoint AP of the 1x schedule are above those from
    random weights, the interval above 0; the effect is that of the boxes. Where detectors find nothing, or MSR's own
    backbone is not above the floors, the data carry no claim."""
    measured = [_ap(frame, quantity) for quantity in JUDGED]
    gains = [stats.paired(ap["MSR"], ap["Untrained"]) for ap in measured]
    compared = "; ".join(
        f"{quantity.title} {gain.text()} AP (over supervised {stats.paired(ap['MSR'], ap['Supervised']).text()})"
        for quantity, gain, ap in zip(JUDGED, gains, measured)
    )
    runs = detectors(frame)
    return verdict(
        runs, [sup(gain, 0.0) for gain in gains], gains[0], "AP",
        f"Fine-tuned and scored by COCO's metric end to end; MSR's weights over random ones, 1x schedule: {compared} "
        "(asked: above 0 for each; the boxes' is given).",
        cannot=_no_claim(frame, float(np.nanmax([ap["MSR"].mean() for ap in measured]))),
        on=runs["data_title"].iloc[0], backbone=runs["backbone"].iloc[0],
    )  # fmt: skip


def _no_claim(frame: pd.DataFrame, reached: float) -> str:
    """Why these data cannot carry the claim; "" if they can."""
    if not reached >= 1.0:
        return f"the detectors hardly find anything (at most {reached:.1f} AP)"
    own = frame[(frame["kind"] == "RunSpec") & (frame["method"] != "Supervised")]
    return cannot_carry(own) if column(own) in own and (own["backbone"] == "pixels").any() else ""


# --- draw -------------------------------------------------------------------------------------------------------------

HATCHES = ("", "///", "...")


def _bars(ax: Axes, groups: list[str], values: list[list[np.ndarray]]) -> None:
    """values[start][group] (seeds,): a bar a start in every group, with its interval where there are seeds."""
    width = 0.8 / len(STARTS)
    for i, (name, of_start) in enumerate(zip(STARTS.values(), values)):
        x = np.arange(len(groups)) + (i - (len(STARTS) - 1) / 2) * width
        columns = [figures.mean_interval(v[:, None]) if len(v) else (np.array([np.nan]),) * 3 for v in of_start]
        mean, low, high = (np.array([c[k][0] for c in columns]) for k in range(3))
        ax.bar(x, np.nan_to_num(mean), width * 0.92, color=figures.PALETTE[i], hatch=HATCHES[i % 3], label=name)
        some = np.isfinite(low)
        ax.errorbar(x[some], mean[some], [(mean - low)[some], (high - mean)[some]], fmt="none",
                    ecolor=figures.ink(), elinewidth=0.9)  # fmt: skip
    ax.set_xticks(range(len(groups)), groups)


def draw_transfer(frame: pd.DataFrame) -> Drawing:
    paper, runs = registry.numbers("B5"), detectors(frame)
    measured = {q.title: ap for q in QUANTITIES if (ap := _ap(frame, q))}
    values = [[ap[start] for ap in measured.values()] for start in STARTS]
    cited = [[np.array([paper[q.table][row][q.place]]) for q in QUANTITIES] for row in ("Random", "Supervised", "MSR")]
    fig, axes = figures.figure(2, 2, height=5.4, gridspec_kw={"width_ratios": (2.6, 1)})
    _bars(axes[0, 0], list(measured), values)
    _bars(axes[1, 0], [q.title for q in QUANTITIES], cited)
    probed = _draw_probe(axes[0, 1], frame)
    _draw_losses(axes[1, 1], runs)
    axes[0, 0].set_ylabel("AP (%), measured")
    axes[1, 0].set_ylabel("AP (%), the paper's")
    axes[0, 0].legend(ncols=3, loc="upper left", title="backbone's weights")
    top = max((float(np.nanmax(v)) for of_start in values for v in of_start), default=0.0)
    axes[0, 0].set_ylim(0, max(1.0, 1.4 * top))
    titles = (runs["data_title"].iloc[0], "linear probe", "the paper on COCO (cited)", "loss, Mask R-CNN")
    figures.panel_labels(axes, titles)
    means = "; ".join(
        f"{title} " + ", ".join(f"{name} {ap[start].mean():.1f}" for start, name in STARTS.items())
        for title, ap in measured.items()
    )
    columns = ["start", "task", "schedule", "seed"]
    metrics = [c for c in runs if c.partition("_")[0] in ("bbox", "segm", "keypoints")]
    table = runs[[*columns, *metrics, "diverged"]].sort_values(columns).reset_index(drop=True)
    return Drawing(
        fig, table,
        f"Bars of COCO's average precision by what is measured, one bar a start of the backbone, above as measured and "
        f"below as the paper gives it on COCO. Measured means: {means}. {probed} Last, the fine-tuning loss against "
        "the step.",
    )  # fmt: skip


def _draw_probe(ax: Axes, frame: pd.DataFrame) -> str:
    """The backbones' accuracy by the paper's probe: bars for the last epoch, a mark for the best that its code gives."""
    own = frame[(frame["kind"] == "RunSpec") & (frame["backbone"] != "pixels")]
    task = kit.tasks(own)[0]
    last, best = f"sgd_test_{task}", f"sgd_test_best_{task}"
    if last not in own:
        last = best = column(own)
    means = own.groupby("method")[list({last, best})].mean()
    for i, start in enumerate(STARTS):
        ax.bar(i, means[last][start], 0.75, color=figures.PALETTE[i], hatch=HATCHES[i])
        if best != last:
            label = "best epoch (by test)" if i == 0 else None
            ax.plot([i - 0.37, i + 0.37], [means[best][start]] * 2, color=figures.ink(), linewidth=1.4, label=label)
    ax.set_xticks(range(len(STARTS)), STARTS.values(), fontsize=7)
    ax.set_ylim(top=1.2 * own.loc[own["method"].isin(list(STARTS)), best].max())
    ends = {start: f"{name} {means[last][start]:.1f}" for start, name in STARTS.items()}
    if best == last:
        ax.set_ylabel(f"{task} accuracy (%)")
        return f"Beside, the backbones' accuracy by a linear probe: {', '.join(ends.values())}."
    ax.set_ylabel(f"{task} accuracy, last epoch (%)")
    ax.legend(loc="upper left", fontsize=7)
    both = ", ".join(f"{end} (best {means[best][start]:.1f})" for start, end in ends.items())
    return f"Beside, the backbones' accuracy by the paper's linear probe at its last epoch and at its best: {both}."


def _draw_losses(ax: Axes, runs: pd.DataFrame) -> None:
    runs = runs[(runs["task"] == "mask") & (runs["schedule"] == 1.0)]
    for i, start in enumerate(STARTS):
        curves = [c for c in runs.loc[runs["start"] == start, "curves"] if c.get("step")]
        shortest = min((len(c["step"]) for c in curves), default=0)
        if shortest:
            losses = np.array([c["loss"][:shortest] for c in curves], float)
            figures.band(ax, curves[0]["step"][:shortest], losses, "", i)
    ax.set_xlabel("step")


def draw_large(frame: pd.DataFrame, claim: str) -> Drawing:
    """B3, B4: the paper's numbers as cited, and beside them what was measured."""
    known, scores = registry.numbers(claim), _scores(frame)
    epochs = known["epochs"]
    title, table = {
        "B3": ("ImageNet-100", known.get("imagenet100")),
        "B4": ("ImageNet-1k", {"BYOL": known.get("byol"), "MSR": known.get("msr")}),
    }[claim]
    fig, ax = figures.figure(height=3.2)
    for i, (name, cited) in enumerate(table.items()):
        look, method = figures.style(i), name.removesuffix(" v2")
        ax.plot(epochs, cited, **look | {"markerfacecolor": figures.paper()})
        figures.end_label(ax, epochs[-1], cited[-1], name, look["color"])
        if all((method, e) in scores for e in epochs):
            ax.plot(epochs, [scores[method, e].mean() for e in epochs], **look)
    ax.set(xticks=epochs, xlabel="epochs of pretraining", ylabel="top-1 accuracy, linear probe (%)", title=title)
    ax.margins(x=0.12)
    for name, fill in (("the paper's, cited", figures.paper()), ("measured", figures.muted()))[: 1 + bool(scores)]:
        ax.plot([], [], "o", color=figures.muted(), markerfacecolor=fill, label=name)
    ax.legend(loc="upper left")
    rows = [{"method": n, "epochs": e, "paper": v} for n, cited in table.items() for e, v in zip(epochs, cited)]
    numbers = "; ".join(f"{name} {cited[0]} and {cited[1]}" for name, cited in table.items())
    return Drawing(
        fig, pd.DataFrame(rows),
        f"{title}: accuracy after {epochs[0]} and {epochs[1]} epochs, a line a method; hollow marks are the paper's "
        f"numbers as cited, {'filled marks are measured' if scores else 'nothing is measured here'}. {numbers}.",
    )  # fmt: skip


def pictures(runs: pd.DataFrame, task: str = "mask", seed: int = 0, count: int = 4) -> Figure:
    """The first validation images, and what the detectors of one seed find in them: one row the annotations, then one a
    start of the backbone, with the 1x schedule."""
    shown = detectors(runs)
    shown = shown[(shown["task"] == task) & (shown["seed"] == seed) & (shown["schedule"] == 1.0)].set_index("start")
    rows = {title: shown["curves"][start]["shown"] for start, title in STARTS.items() if start in shown.index}
    first = shown.iloc[0]
    images = first.get("images")
    options = (("images", images),) if images is not None and math.isfinite(images) else ()
    return picture(coco.load(first["data"], "val", task, options, int(first["size"])), rows, count)


def picture(split: coco.Annotated, rows: dict[str, list[dict]], count: int = 4) -> Figure:
    """Annotations above, then a row for each list of detections, as `repro.detection.run` keeps them."""
    count = min(count, len(split))
    fig, axes = figures.figure(1 + len(rows), count, height=1.5 * (1 + len(rows)), width=1.6 * count, squeeze=False)
    fig.alt = f"Images as annotated, and below them what a detector finds: {', '.join(rows)}."
    for j in range(count):
        target = split.target(j)
        truth = [{"box": [x0, y0, x1 - x0, y1 - y0]} for x0, y0, x1, y1 in target["boxes"].tolist()]
        for k, thing in enumerate(truth):
            thing["name"] = split.categories[sorted(split.categories)[int(target["labels"][k]) - 1]]
            if "keypoints" in target:
                thing["points"] = target["keypoints"][k].flatten().tolist()
            else:
                thing["pixels"] = target["masks"][k].numpy()
        pixels = split.picture(j)
        for ax, things in zip(axes[:, j], (truth, *([f for f in r if f["image"] == j] for r in rows.values()))):
            _draw_things(ax, pixels, things)
    for ax, name in zip(axes[:, 0], ("annotated", *rows)):
        ax.set_ylabel(name)
    return fig


def _draw_things(ax: Axes, pixels: np.ndarray, things: list[dict]) -> None:
    height, width = pixels.shape[:2]
    ax.imshow(pixels, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[:].set_visible(False)
    for k, thing in enumerate(things):
        color = figures.PALETTE[k % len(figures.PALETTE)]
        x, y, w, h = thing["box"]
        # a white line under the coloured one shows on any ground
        for line, width_ in (("white", 2.6), (color, 1.2)):
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), w, h, fill=False, edgecolor=line, linewidth=width_))
        sure = f" {100 * thing['score']:.0f} %" if "score" in thing else ""
        ax.text(x, y - 2, thing["name"] + sure, fontsize=6, color="white",
                bbox={"facecolor": "black", "edgecolor": "none", "pad": 0.6})  # fmt: skip
        mask = thing.get("pixels")
        if "mask" in thing:
            mask = coco.decode({"size": [height, width], "counts": thing["mask"]}, height, width)
        if mask is not None and mask.any():
            ax.contour(mask, [0.5], colors=[color], linewidths=1)
        if "points" in thing:
            ax.plot(thing["points"][::3], thing["points"][1::3], "o", markersize=3, color=color, markeredgecolor="white",
                    markeredgewidth=0.6)  # fmt: skip


CLAIMS = (
    Claim("B3", plan_imagenet100, partial(judge_large, claim="B3"), partial(draw_large, claim="B3")),
    Claim("B4", plan_imagenet, partial(judge_large, claim="B4"), partial(draw_large, claim="B4")),
    Claim("B5", plan_transfer, judge_transfer, draw_transfer),
)

"""MSR on large data and after fine-tuning: claims B3, B4 and B5 of the MSR paper.

B3 and B4 take ImageNet and a cluster: they are planned at the `paper` profile, and elsewhere their figures show the
paper's numbers as cited. B5 is the real fine-tuning: on COCO where its folder is given, else on small scenes in COCO's
format; at `cpu` it is not planned, since photographs would need COCO.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, kit, msr_beta_decay, registry
from repro.claims.kit import Plan, by, column, verdict
from repro.core import datasets
from repro.core.methods import BYOL, MSR, Method, MoCo, SimCLR, SimSiam, Supervised, Untrained
from repro.core.profiles import PROFILES, Profile, base
from repro.core.spec import DataSpec, DetectSpec, Optimiser, Probes, Projector, RunSpec
from repro.stats import sup
from repro.views.recipe import preset

if TYPE_CHECKING:
    from repro.data import coco

WEIGHTS = {"Untrained": "random", "Supervised": "supervised", "MSR": "MSR"}  # of a backbone, by its run's method
BETA = 0.4  # of the paper's large sets
LARGE = "sgd_test_class"  # the column of their accuracy


class Score(NamedTuple):
    """A measured quantity: the detectors it is of, its column, and the table and place where the paper has it."""

    task: str
    schedule: float
    column: str
    table: str
    place: int


SCORES = {
    "box": Score("mask", 1.0, "bbox_AP", "table5", 0),
    "mask": Score("mask", 1.0, "segm_AP", "table5", 3),
    "keypoint": Score("keypoint", 1.0, "keypoints_AP", "table5", 6),
    "box, 2x": Score("mask", 2.0, "bbox_AP", "table6", 0),
    "mask, 2x": Score("mask", 2.0, "segm_AP", "table6", 3),
}
JUDGED = ("box", "mask", "keypoint")


class Scale(NamedTuple):
    """How detectors are fine-tuned at a profile. side, images: of data that the reader brings; 0 images for all."""

    data: DataSpec
    steps: int
    batch: int
    lr: float
    side: int
    images: int
    heads: str = "small"
    schedules: tuple[tuple[str, float], ...] = (("mask", 1.0), ("keypoint", 1.0), ("mask", 2.0))


def _made(size: int, images: int) -> DataSpec:
    return DataSpec(datasets.COCO_SCENES, size, options=(("images", images),))


# The rate of the small detectors is the better of .05 and .1 for a seed that is not among those measured.
SCALES = {
    "smoke": Scale(_made(64, 8), 2, 2, 0.05, 96, 8, schedules=(("mask", 1.0), ("keypoint", 1.0))),
    "quick": Scale(_made(64, 128), 75, 4, 0.05, 128, 256),
    "gpu": Scale(_made(128, 1024), 150, 16, 0.05, 256, 4096),
    "paper": Scale(DataSpec("coco", 800), 90_000, 16, 0.02, 800, 0, "full"),
}


# --- plan -------------------------------------------------------------------------------------------------------------


def plan_imagenet100(profile: Profile) -> Plan:
    """B3: the five methods for 100 and 200 epochs, at the paper profile alone."""
    plan, known = Plan(profile), registry.numbers("B3")
    if profile.name != "paper":
        return plan
    optimiser = Optimiser("sgd", lr=0.2, weight_decay=1e-4, warmup=0.0, lr_end=0.0)
    methods = (SimCLR(), MoCo(queue=65_536), SimSiam(), BYOL(), MSR(BETA))
    for title, method in zip(known["imagenet100"], methods):
        for epochs in known["epochs"]:
            spec = _large(profile, method, epochs).but(data=DataSpec("imagenet100", profile.size), optimiser=optimiser)
            plan.add(spec.but(batch_size=known["batch"]), variant=title)
    return plan


def plan_imagenet(profile: Profile) -> Plan:
    """B4: BYOL and MSR for 100 and 200 epochs, at the paper profile alone."""
    plan = Plan(profile)
    for title, method in (("BYOL", BYOL()), ("MSR", MSR(BETA))) if profile.name == "paper" else ():
        plan.add(*(_large(profile, method, epochs) for epochs in registry.numbers("B4")["epochs"]), variant=title)
    return plan


def _large(profile: Profile, method: Method, epochs: int) -> RunSpec:
    """A run on a large set as the paper describes it: LARS, batch 2048, and Mean Shift's linear probe."""
    staged = preset("msr")
    two = replace(staged, name="aggressive, twice", views=(replace(staged.views[2], parent=-1),) * 2)
    return base(
        profile,
        method=method,
        recipe=staged if isinstance(method, MSR) else two,
        projector=Projector(2, 4096, 256),
        optimiser=Optimiser("lars", lr={100: 0.9, 200: 0.6}[epochs], weight_decay=1e-6, warmup=10 / epochs),
        batch_size=2048,
        epochs=epochs,
        joint=False,
        probes=Probes(tasks=("class",), linear=False, sgd="mean-shift"),
    )


def plan_transfer(profile: Profile) -> Plan:
    """B5: detectors of each kind and schedule from a random, a supervised and an MSR backbone of each seed; those
    backbones' own runs, probed by the paper's recipe; raw pixels. Nothing where the profile has no scale."""
    plan = Plan(profile)
    if profile.name not in SCALES:
        return plan
    starts = _starts(_pretraining(profile))
    plan.add(*starts)
    if profile.small:
        plan.add(starts[0].but(backbone="pixels", sgd=""), seeds=1)
    kinds = SCALES[profile.name].schedules
    return plan.add(*(_detector(profile, start, task, schedule) for start in starts for task, schedule in kinds))


def _pretraining(profile: Profile) -> Profile:
    """The profile of the runs that detectors start from: `data` may also name the detectors' data."""
    if not _detectors_data(profile):
        return profile
    own = PROFILES[profile.name]
    return replace(profile, data=own.data, size=own.size)


def _detectors_data(profile: Profile) -> bool:
    return profile.data in datasets.COCO_TITLES or datasets.is_coco(profile.data)


def _starts(profile: Profile) -> list[RunSpec]:
    """A random, a supervised and an MSR backbone."""
    if profile.name == "paper":
        probes = Probes(tasks=("class",), linear=False, sgd="mean-shift")
        msr = _large(profile, MSR(BETA), 200)
        labelled = replace(
            msr, method=Supervised(), projector=Projector(1, 1, 1000), epochs=100, batch_size=256,
            recipe=replace(msr.recipe, name="supervised", views=(preset("simclr").views[0],)),
            optimiser=Optimiser("sgd", lr=0.1, weight_decay=1e-4, warmup=0.05, lr_end=0.0), probes=probes,
        )  # fmt: skip
        return [msr.but(method=Untrained()), labelled, msr]
    # the standard MSR run of notebook 07, whose beta, rate, length and scenes were chosen there on validation
    msr = msr_beta_decay.tuned(profile)
    if profile.name != "smoke":  # its hundred epochs take longer than all else of a smoke run
        msr = msr.but(sgd="moco")
    classes = {"scenes": 8, "cifar10": 10, "digits": 10}.get(profile.data, 1000)
    labelled = base(profile, data=msr.data, epochs=msr.epochs, probes=msr.probes, method=Supervised())
    return [msr.but(method=Untrained()), labelled.but(projector=Projector(1, 128, classes), joint=msr.joint), msr]


def _detector(profile: Profile, start: RunSpec, task: str, schedule: float) -> DetectSpec:
    scale = SCALES[profile.name]
    found, lr = scale.data, scale.lr
    if _detectors_data(profile) and profile.data != datasets.COCO_SCENES:
        found = DataSpec(profile.data, scale.side, options=(("images", scale.images),) if scale.images else ())
    if profile.name == "paper":
        name = "keypoint" if task == "keypoint" else f"schedule_{schedule:g}x"
        lr = registry.numbers("B5")["lr"][name]
    return DetectSpec(start, found, task, schedule, scale.steps, scale.batch, lr=lr, heads=scale.heads)


# --- judge ------------------------------------------------------------------------------------------------------------


def _not_planned(why: str, unit: str) -> Verdict:
    return Verdict(
        stats.NOT_JUDGED, None, None, None, unit, 0, "", "",
        f"Not judged: {why}; the figure shows the paper's numbers as cited.",
    )  # fmt: skip


def judge_large(claim: str, frame: pd.DataFrame) -> Verdict:
    """B3: MSR over each other method after the longer training, SUP(.5). B4: MSR after the short training over BYOL after the
    long one SUP(0), and after the long one over it SUP(.5)."""
    if frame.empty:
        return _not_planned("it takes ImageNet and a cluster, and is planned at the paper profile alone", "points")
    known = registry.numbers(claim)
    (short, long), scores = known["epochs"], by(frame, "variant", "epochs", name=LARGE)
    if claim == "B3":
        paper = known["imagenet100"]
        parts = msr_beta_decay.over_each({method: scores[method, long] for method in paper}, paper, 1)
        said = ", ".join(f"{p.effect.mean:.1f} {p.name.removeprefix('MSR ')}" for p in parts)
        said = f"After {long} epochs MSR gains, in points, {said}."
    else:
        byol = scores["BYOL", long]
        parts = [
            sup(f"MSR after {epochs} over BYOL after {long}", stats.paired(scores["MSR", epochs], byol), d,
                paper=round(known["msr"][at] - known["byol"][1], 1))
            for at, (epochs, d) in enumerate(((short, 0.0), (long, 0.5)))
        ]  # fmt: skip
        first, then = (p.effect.mean for p in parts)
        said = f"Over BYOL after {long} epochs MSR gains {first:.1f} points after {short}, {then:.1f} after {long}."
    return verdict(frame, parts, said, cannot="")


def detectors(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["kind"] == "DetectSpec"].dropna(axis=1, how="all")


def _ap(frame: pd.DataFrame, title: str) -> dict[str, np.ndarray]:
    """A score (seeds,) by what trained the backbone; {} where no such detectors were run."""
    score, runs = SCORES[title], detectors(frame)
    return by(runs[(runs["task"] == score.task) & (runs["schedule"] == score.schedule)], "start", name=score.column)


def judge_transfer(frame: pd.DataFrame) -> Verdict:
    """B5: from MSR's weights box, mask and keypoint AP of the 1x schedule are above those from random and from supervised
    weights, SUP(0) each. Where detectors find nothing, or MSR's own backbone is not above the floors, the data carry no
    claim."""
    if frame.empty:
        return _not_planned("it takes COCO, and is not planned at this profile", "AP")
    scores, paper = {title: _ap(frame, title) for title in JUDGED}, registry.numbers("B5")
    parts, said = [], []
    for start, other in (("Untrained", "Random"), ("Supervised", "Supervised")):
        for title, ap in scores.items():
            table, place = paper[SCORES[title].table], SCORES[title].place
            gain, cited = stats.paired(ap["MSR"], ap[start]), round(table["MSR"][place] - table[other][place], 1)
            parts.append(sup(f"{title}: MSR over {WEIGHTS[start]}", gain, 0.0, unit="AP", paper=cited))
        three = ", ".join(f"{p.effect.mean:.1f}" for p in parts[-len(scores) :])
        said.append(f"over {WEIGHTS[start]} weights {three}")
    runs, reached = detectors(frame), float(np.nanmax([ap["MSR"].mean() for ap in scores.values()]))
    return verdict(
        runs, parts, f"AP of {', '.join(JUDGED)} from MSR's weights: {'; '.join(said)}.", cannot=_no_claim(frame, reached),
        on=runs["data_title"].iloc[0], backbone=runs["backbone"].iloc[0], evidence=kit.evidence_of(runs),
    )  # fmt: skip


def _no_claim(frame: pd.DataFrame, reached: float) -> str:
    """Why these data cannot carry the claim; "" if they can."""
    if not reached >= 1.0:
        return f"the detectors hardly find anything (at most {reached:.1f} AP)"
    own = frame[(frame["kind"] == "RunSpec") & (frame["method"] != "Supervised")]
    return kit.cannot_carry(own) if column(own) in own and (own["backbone"] == "pixels").any() else ""


# --- draw -------------------------------------------------------------------------------------------------------------

HATCHES = ("", "///", "...")


def _bars(ax: Axes, groups: list[str], names: list[str], values: list[list[np.ndarray]]) -> None:
    """values[name][group] (seeds,): a bar a name in every group, with its interval where there are seeds."""
    width = 0.8 / len(names)
    for i, (name, mine) in enumerate(zip(names, values)):
        x = np.arange(len(groups)) + (i - (len(names) - 1) / 2) * width
        columns = [figures.mean_interval(v[:, None]) if len(v) else (np.array([np.nan]),) * 3 for v in mine]
        mean, low, high = (np.array([c[k][0] for c in columns]) for k in range(3))
        ax.bar(x, np.nan_to_num(mean), width * 0.92, color=figures.PALETTE[i], hatch=HATCHES[i % 3], label=name)
        some = np.isfinite(low)
        ax.errorbar(x[some], mean[some], [(mean - low)[some], (high - mean)[some]], fmt="none",
                    ecolor=figures.ink(), elinewidth=0.9)  # fmt: skip
    ax.set_xticks(range(len(groups)), groups)


def draw_transfer(frame: pd.DataFrame) -> Drawing:
    """The paper's numbers as cited, and above them, where there are, what was measured."""
    paper, names = registry.numbers("B5"), list(WEIGHTS.values())
    cited = [
        [np.array([paper[s.table][row][s.place]]) for s in SCORES.values()] for row in ("Random", "Supervised", "MSR")
    ]
    if frame.empty:
        fig, ax = figures.figure(height=2.9)
        _bars(ax, list(SCORES), names, cited)
        ax.set_ylabel("AP (%), the paper's")
        ax.legend(ncols=3, loc="upper right", title="backbone's weights")
        table = pd.DataFrame({"score": list(SCORES)} | {n: np.concatenate(v) for n, v in zip(names, cited)})
        return Drawing(fig, table, "Bars of average precision as the paper gives it on COCO; nothing is measured here.")
    found = {title: ap for title in SCORES if (ap := _ap(frame, title))}
    measured = [[ap[method] for ap in found.values()] for method in WEIGHTS]
    fig, axes = figures.figure(2, 2, height=5.4, gridspec_kw={"width_ratios": (2.6, 1)})
    _bars(axes[0, 0], list(found), names, measured)
    _bars(axes[1, 0], list(SCORES), names, cited)
    said = _draw_probe(axes[0, 1], frame)
    _draw_losses(axes[1, 1], frame)
    axes[0, 0].set_ylabel("AP (%), measured")
    axes[1, 0].set_ylabel("AP (%), the paper's")
    axes[0, 0].legend(ncols=3, loc="upper left", title="backbone's weights")
    top = max((float(np.nanmax(v)) for mine in measured for v in mine), default=0.0)
    axes[0, 0].set_ylim(0, max(1.0, 1.4 * top))
    runs = detectors(frame)
    figures.panel_labels(
        axes, (runs["data_title"].iloc[0], "linear probe", "the paper on COCO (cited)", "loss, Mask R-CNN")
    )
    means = "; ".join(
        f"{title} " + ", ".join(f"{WEIGHTS[m]} {ap[m].mean():.1f}" for m in WEIGHTS) for title, ap in found.items()
    )
    knobs = ["start", "task", "schedule", "seed"]
    metrics = [c for c in runs if c.partition("_")[0] in ("bbox", "segm", "keypoints")]
    return Drawing(
        fig, runs[[*knobs, *metrics, "diverged"]].sort_values(knobs).reset_index(drop=True),
        f"Bars of COCO's average precision by what is measured, one bar a start of the backbone, above as measured and "
        f"below as the paper gives it on COCO. Measured means: {means}. {said} Last, the fine-tuning loss against "
        "the step.",
    )  # fmt: skip


def _draw_probe(ax: Axes, frame: pd.DataFrame) -> str:
    """The backbones' accuracy by the paper's probe: bars for the last epoch, a mark for the best that its code gives."""
    own = frame[(frame["kind"] == "RunSpec") & (frame["backbone"] != "pixels")]
    task, last, best = kit.tasks(own)[0], column(own, probe="sgd"), column(own, "test_best", probe="sgd")
    if last not in own:
        last = best = column(own)
    runs = own.groupby("method")
    ends, tops = runs[last].mean(), runs[best].mean()
    for i, method in enumerate(WEIGHTS):
        ax.bar(i, ends[method], 0.75, color=figures.PALETTE[i], hatch=HATCHES[i])
        if best != last:
            label = None if i else "best epoch (by test)"
            ax.plot([i - 0.37, i + 0.37], [tops[method]] * 2, color=figures.ink(), linewidth=1.4, label=label)
    ax.set_xticks(range(len(WEIGHTS)), WEIGHTS.values(), fontsize=7)
    ax.set_ylabel(f"{task} accuracy{', last epoch' if best != last else ''} (%)")
    ax.set_ylim(top=1.2 * own[best].max())
    if last == best:
        said = ", ".join(f"{WEIGHTS[m]} {ends[m]:.1f}" for m in WEIGHTS)
        return f"Beside, the backbones' accuracy by a linear probe: {said}."
    ax.legend(loc="upper left", fontsize=7)
    said = ", ".join(f"{WEIGHTS[m]} {ends[m]:.1f} (best {tops[m]:.1f})" for m in WEIGHTS)
    return f"Beside, the backbones' accuracy by the paper's linear probe at its last epoch and at its best: {said}."


def _draw_losses(ax: Axes, frame: pd.DataFrame) -> None:
    runs = detectors(frame)
    runs = runs[(runs["task"] == "mask") & (runs["schedule"] == 1.0)]
    for i, method in enumerate(WEIGHTS):
        curves = [c for c in runs.loc[runs["start"] == method, "curves"] if c.get("step")]
        shortest = min((len(c["step"]) for c in curves), default=0)
        if shortest:
            losses = np.array([c["loss"][:shortest] for c in curves], float)
            figures.band(ax, curves[0]["step"][:shortest], losses, "", i)
    ax.set_xlabel("step")


def draw_large(claim: str, frame: pd.DataFrame) -> Drawing:
    """B3, B4: the paper's numbers as cited, and beside them what was measured."""
    known = registry.numbers(claim)
    epochs, title = known["epochs"], {"B3": "ImageNet-100", "B4": "ImageNet-1k"}[claim]
    paper = known["imagenet100"] if claim == "B3" else {"BYOL": known["byol"], "MSR": known["msr"]}
    measured = {} if frame.empty else by(frame, "variant", "epochs", name=LARGE)
    fig, ax = figures.figure(height=3.2)
    for i, (name, accuracies) in enumerate(paper.items()):
        look = figures.style(i)
        ax.plot(epochs, accuracies, **look | {"markerfacecolor": figures.paper()})
        figures.end_label(ax, epochs[-1], accuracies[-1], name, look["color"])
        if measured:
            ax.plot(epochs, [measured[name, e].mean() for e in epochs], **look)
    ax.set(xticks=epochs, xlabel="epochs of pretraining", ylabel="top-1 accuracy, linear probe (%)", title=title)
    ax.margins(x=0.12)
    for name, fill in (("the paper's, cited", figures.paper()), ("measured", figures.muted()))[: 2 if measured else 1]:
        ax.plot([], [], "o", color=figures.muted(), markerfacecolor=fill, label=name)
    ax.legend(loc="upper left")
    rows = [{"method": n, "epochs": e, "paper": v} for n, values in paper.items() for e, v in zip(epochs, values)]
    said = "; ".join(f"{name} {short} and {long}" for name, (short, long) in paper.items())
    return Drawing(
        fig, pd.DataFrame(rows),
        f"{title}: accuracy after {epochs[0]} and {epochs[1]} epochs, a line a method; hollow marks are the paper's "
        f"numbers as cited, {'filled marks are measured' if measured else 'nothing is measured here'}. {said}.",
    )  # fmt: skip


def pictures(runs: pd.DataFrame, task: str = "mask", seed: int = 0, count: int = 4) -> Figure:
    """The first validation images, and what the detectors of one seed find in them: one row the annotations, then one a
    start of the backbone, with the 1x schedule."""
    if runs.empty:
        fig = figures.figure(height=0.4)[0]
        fig.clear()
        fig.alt = "No detector is measured here."
        return fig
    from repro.data import coco

    found = detectors(runs)
    found = found[(found["task"] == task) & (found["seed"] == seed) & (found["schedule"] == 1.0)]
    rows = {title: found.loc[found["start"] == start, "curves"].iloc[0]["shown"] for start, title in WEIGHTS.items()
            if (found["start"] == start).any()}  # fmt: skip
    first = found.iloc[0]
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
            from repro.data import coco

            mask = coco.decode({"size": [height, width], "counts": thing["mask"]}, height, width)
        if mask is not None and mask.any():
            ax.contour(mask, [0.5], colors=[color], linewidths=1)
        if "points" in thing:
            ax.plot(thing["points"][::3], thing["points"][1::3], "o", markersize=3, color=color, markeredgecolor="white",
                    markeredgewidth=0.6)  # fmt: skip


CLAIMS = (
    Claim("B3", plan_imagenet100, partial(judge_large, "B3"), partial(draw_large, "B3")),
    Claim("B4", plan_imagenet, partial(judge_large, "B4"), partial(draw_large, "B4")),
    Claim("B5", plan_transfer, judge_transfer, draw_transfer),
)

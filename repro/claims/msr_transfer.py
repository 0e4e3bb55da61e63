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
from repro.claims.kit import Plan, by, column, page, verdict
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


def plan_large(claim: str, profile: Profile) -> Plan:
    """B3: five methods on ImageNet-100; B4: BYOL and MSR on ImageNet; both lengths, at the paper profile alone."""
    plan, known = Plan(profile), registry.numbers(claim)
    methods = {
        "SimCLR": SimCLR(),
        "MoCo v2": MoCo(queue=65_536),
        "SimSiam": SimSiam(),
        "BYOL": BYOL(),
        "MSR": MSR(BETA),
    }
    for title in (m for m in methods if m in known["accuracy"] and profile.name == "paper"):
        for spec in (large(profile, methods[title], epochs) for epochs in known["epochs"]):
            if claim == "B3":
                sgd = Optimiser("sgd", lr=0.2, weight_decay=1e-4, warmup=0.0, lr_end=0.0)
                spec = spec.but(data=DataSpec("imagenet100", profile.size), optimiser=sgd, batch_size=known["batch"])
            plan.add(spec, variant=title)
    return plan


def large(profile: Profile, method: Method, epochs: int) -> RunSpec:
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
        msr = large(profile, MSR(BETA), 200)
        labelled = replace(
            msr, method=Supervised(), projector=Projector(1, 1, 1000), epochs=100, batch_size=256,
            recipe=replace(msr.recipe, name="supervised", views=(preset("simclr").views[0],)),
            optimiser=Optimiser("sgd", lr=0.1, weight_decay=1e-4, warmup=0.05, lr_end=0.0), probes=probes,
        )  # fmt: skip
        return [msr.but(method=Untrained()), labelled, msr]
    # the standard MSR run of notebook 07, whose rate and length were chosen there on validation
    msr = msr_beta_decay.tuned(profile)
    if profile.name != "smoke":  # its hundred epochs take longer than all else of a smoke run
        msr = msr.but(sgd="moco")
    classes = {"objects": 8, "cifar10": 10, "digits": 10}.get(profile.data, 1000)
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


def judge_large(claim: str, frame: pd.DataFrame) -> Verdict:
    """B3: MSR over each other method after the longer training, SUP(.5). B4: MSR after the short training over BYOL after the
    long one SUP(0), and after the long one over it SUP(.5)."""
    if frame.empty:
        return kit.not_planned("it takes ImageNet and a cluster, and is planned at the paper profile alone", "points")
    known = registry.numbers(claim)
    (short, long), paper = known["epochs"], {(m, e): v for m, row in known["accuracy"].items()
                                             for e, v in zip(known["epochs"], row)}  # fmt: skip
    scores = by(frame, "variant", "epochs", name=LARGE)
    if claim == "B3":
        of = {m: scores[m, long] for m in known["accuracy"]}
        parts = msr_beta_decay.over_each(of, {m: paper[m, long] for m in of})
    else:
        parts = [
            sup(f"MSR after {e} over BYOL after {long}", stats.paired(scores["MSR", e], scores["BYOL", long]), d,
                paper=round(paper["MSR", e] - paper["BYOL", long], 1))
            for e, d in ((short, 0.0), (long, 0.5))
        ]  # fmt: skip
    said = ", ".join(f"{p.effect.mean:.1f} {p.name.removeprefix('MSR ')}" for p in parts)
    return verdict(frame, parts, f"MSR gains, in points, {said}.", cannot="")


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
        return kit.not_planned("it takes COCO, and is not planned at this profile", "AP")
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


def draw_transfer(frame: pd.DataFrame) -> Drawing:
    """The paper's numbers as cited, and above them, where there are, what was measured."""
    paper, names = registry.numbers("B5"), list(WEIGHTS.values())
    rows = [[paper[s.table][row][s.place] for row in ("Random", "Supervised", "MSR")] for s in SCORES.values()]

    def cited(ax: Axes) -> None:
        figures.bars(ax, np.array([rows]), names, list(SCORES), hatch=True)
        ax.set_ylabel("AP (%), the paper's")

    if frame.empty:
        fig, ax = figures.figure(height=2.9)
        cited(ax)
        ax.legend(ncols=3, loc="upper right", title="backbone's weights")
        table = pd.DataFrame(rows, columns=names, index=pd.Index(SCORES, name="score")).reset_index()
        return Drawing(fig, table, "Bars of average precision as the paper gives it on COCO; nothing is measured here.")
    found, runs = {title: ap for title in SCORES if (ap := _ap(frame, title))}, detectors(frame)
    own = frame[(frame["kind"] == "RunSpec") & (frame["backbone"] != "pixels")]
    probed = [c for c in (column(own, probe="sgd"), column(own, "test_best", probe="sgd")) if c in own] or [column(own)]
    means = own.groupby("method")[probed].mean().loc[list(WEIGHTS)]

    def measured(ax: Axes) -> None:
        values = np.stack([np.stack([ap[m] for m in WEIGHTS], 1) for ap in found.values()], 1)
        figures.bars(ax, values, names, list(found), hatch=True)
        ax.set(ylabel="AP (%), measured", ylim=(0, max(1.0, 1.4 * np.nan_to_num(values).max())))
        ax.legend(ncols=3, loc="upper left", title="backbone's weights")

    def probe(ax: Axes) -> None:
        figures.bars(ax, means.T.to_numpy()[None], names, ["last epoch", "best (by test)"][: len(probed)], hatch=True)
        ax.set(ylabel=f"{kit.tasks(own)[0]} accuracy (%)")

    said = "; ".join(
        f"{title} " + ", ".join(f"{WEIGHTS[m]} {ap[m].mean():.1f}" for m in WEIGHTS) for title, ap in found.items()
    )
    read = "; ".join(
        f"{WEIGHTS[m]} {' and '.join(f'{v:.1f}' for v in row)}" for m, row in zip(means.index, means.values)
    )
    titles = (runs["data_title"].iloc[0], "linear probe", "the paper on COCO (cited)")
    return page(
        runs, ("start", "task", "schedule"), [measured, probe, cited], titles=titles,
        mosaic="ab;cc", height=5.4, width_ratios=(2.6, 1),
        columns=[*(c for c in runs if c.partition("_")[0] in ("bbox", "segm", "keypoints")), "diverged"],
        alt="Bars of COCO's average precision by what is measured, one bar a start of the backbone, above as measured and "
        f"below as the paper gives it on COCO. Measured means: {said}. Beside, the backbones' accuracy by the paper's linear "
        f"probe at its last epoch and at its best: {read}.",
    )  # fmt: skip


def draw_large(claim: str, frame: pd.DataFrame) -> Drawing:
    """B3, B4: the paper's numbers as cited, and beside them what was measured."""
    known = registry.numbers(claim)
    epochs, paper = known["epochs"], known["accuracy"]
    measured = {} if frame.empty else by(frame, "variant", "epochs", name=LARGE)
    fig, ax = figures.figure(height=3.2)
    for i, (name, accuracies) in enumerate(paper.items()):
        look = figures.style(i)
        ax.plot(epochs, accuracies, **look | {"markerfacecolor": figures.paper()})
        figures.end_label(ax, epochs[-1], accuracies[-1], name, look["color"])
        if measured:
            ax.plot(epochs, [measured[name, e].mean() for e in epochs], **look)
    title = f"{known['data']}: hollow, the paper's; filled, measured"
    ax.set(xticks=epochs, xlabel="epochs of pretraining", ylabel="top-1 accuracy, linear probe (%)", title=title)
    ax.margins(x=0.12)
    rows = [{"method": n, "epochs": e, "paper": v} for n, values in paper.items() for e, v in zip(epochs, values)]
    said = "; ".join(f"{name} {short} and {long}" for name, (short, long) in paper.items())
    return Drawing(
        fig, pd.DataFrame(rows),
        f"{known['data']}: accuracy after {epochs[0]} and {epochs[1]} epochs, a line a method; hollow marks are the paper's "
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
    from repro.data import coco

    count = min(count, len(split))
    pictures = [split.picture(j) for j in range(count)]
    height = 1.5 * (1 + len(rows))
    fig, axes = figures.images(dict.fromkeys(("annotated", *rows), pictures), height, width=1.6 * count)
    fig.alt = f"Images as annotated, and below them what a detector finds: {', '.join(rows)}."
    for j in range(count):
        target, size = split.target(j), pictures[j].shape[:2]
        names = [split.categories[sorted(split.categories)[int(label) - 1]] for label in target["labels"]]
        masks, points = target.get("masks", [None] * len(names)), target.get("keypoints", [()] * len(names))
        boxes = [[x0, y0, x1 - x0, y1 - y0] for x0, y0, x1, y1 in target["boxes"].tolist()]
        _draw_things(axes[0, j], list(zip(names, boxes, masks, points)))
        for ax, found in zip(axes[1:, j], rows.values()):
            things = [
                (f"{f['name']} {100 * f['score']:.0f} %", f["box"],
                 coco.decode({"size": [*size], "counts": f["mask"]}, *size) if "mask" in f else None,
                 np.reshape(f.get("points", ()), (-1, 3)))
                for f in found if f["image"] == j
            ]  # fmt: skip
            _draw_things(ax, things)
    return fig


def _draw_things(ax: Axes, things: list[tuple]) -> None:
    """things: (text, box, mask or None, points (n, 3)) of each."""
    for (text, (x, y, w, h), mask, points), color in zip(things, figures.PALETTE * 9):
        for line, width in (("white", 2.6), (color, 1.2)):  # white under the colour shows on any ground
            ax.add_patch(Rectangle((x - 0.5, y - 0.5), w, h, fill=False, edgecolor=line, linewidth=width))
        ax.text(x, y - 2, text, fontsize=6, color="white", bbox={"facecolor": "black", "edgecolor": "none", "pad": 0.6})
        if mask is not None and mask.any():
            ax.contour(mask, [0.5], colors=[color], linewidths=1)
        if len(points):
            ax.plot(*np.asarray(points)[:, :2].T, "o", markersize=3, color=color, markeredgecolor="white")


CLAIMS = (
    *(Claim(c, partial(plan_large, c), partial(judge_large, c), partial(draw_large, c)) for c in ("B3", "B4")),
    Claim("B5", plan_transfer, judge_transfer, draw_transfer),
)

"""Loading: claims A1 and A2 of the FFCV-SSL paper, its Fig. 1 and Table 2.

A1 trains the same SimCLR on the same JPEG files through torchvision, through this project's loader, through it with a
resolution that grows, and in its fast mode, each run alone on the machine, and compares the seconds of training and
loading. For A2 the paper compares one epoch of loading alone, through torchvision and through its fork of FFCV, for five
stacks of augmentations. Here the same stacks go through torchvision and through this project's loader, on the same files
and cores, in turn; FFCV-SSL itself takes part where $REPRO_FFCV_SSL says where it is installed.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from repro import figures, stats
from repro.bench import loader, photographs
from repro.bench.contestants import COLUMNS
from repro.bench.loader import LoaderSpec
from repro.claims import Claim, Drawing, Verdict, kit, registry
from repro.claims.kit import Plan, by, column, curve, page, tasks, trained, verdict
from repro.core.profiles import Profile, base
from repro.core.profiles import profile as find_profile
from repro.core.spec import Loading
from repro.stats import eq, sup
from repro.views.recipe import Recipe, View

# --- A1: accuracy against time ----------------------------------------------------------------------------------------


class Scale(NamedTuple):
    """size, stored: pixels of the views and of the files, so that loading weighs about what it does in the paper: at the
    stand-ins' usual 16 pixels nothing is left for a growing resolution to save. epochs: 0 for the profile's own."""

    size: int
    stored: int
    epochs: int = 0


SCALES = {
    "smoke": Scale(16, 24),
    "quick": Scale(32, 56),
    "cpu": Scale(32, 0, epochs=6),  # CIFAR-10 is loaded as it is
    "gpu": Scale(32, 0, epochs=20),
    "paper": Scale(224, 400),
}
SAVES, FASTER = 0.15, 1.5


def plan_training(profile: Profile) -> Plan:
    """The ways to load the same files, and the floors; the resolution grows over the same part of the run as in the
    paper's code."""
    if Path(profile.data).is_dir() and sum(p.is_dir() for p in Path(profile.data).iterdir()) < 2:
        # photographs without classes can be loaded, not probed
        profile = find_profile(profile.name, seeds=profile.seeds)
    scale = SCALES[profile.name]
    # all labels, since differences of a point are looked for
    spec = base(profile).but(size=scale.size, epochs=scale.epochs or profile.epochs, labels=0)
    spec = spec.but(tasks=spec.probes.tasks[:1])
    small, large = registry.numbers("A1")["resolution"]["ramp"]
    ramp = (4 * round(scale.size * small / large / 4), round(0.7 * spec.epochs), round(0.85 * spec.epochs))
    ours = Loading("ours", scale.stored)
    ways = {
        "torchvision": Loading("torchvision", scale.stored), "ours": ours, "ours, growing": replace(ours, ramp=ramp),
        "ours, fast": replace(ours, fast=True),
    }  # fmt: skip
    plan, probed = Plan(profile), spec.but(every=max(1, spec.epochs // 3))  # on the way, for accuracy against time
    for way, loading in ways.items():
        seeds = 1 if loading.fast else 0  # the fast mode is shown, not judged
        plan.add(probed.but(loading=loading), seeds=seeds, way=way)
    plan.floors(spec).sort(key=lambda s: s.seed)  # in turn, so that a slow hour of the machine meets every way
    return plan


def _ways(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each way to load, by seed; one that diverged, and so stopped early, has no time."""
    runs = trained(frame)
    return kit.runs_by(runs.assign(train_seconds=runs["train_seconds"].where(runs["diverged"] == 0)), "way")


def judge_training(frame: pd.DataFrame) -> Verdict:
    """A1: torchvision's time over ours SUP(1.5, above 1.5), and a growing resolution saves 15 %; accuracies EQ(1)."""
    accuracy = by(frame, "way")
    seconds = {way: runs["train_seconds"].to_numpy(float) for way, runs in _ways(frame).items()}
    faster = stats.ratio(seconds["torchvision"], seconds["ours"])
    shorter = stats.ratio(seconds["ours"], seconds["ours, growing"])
    same = stats.paired(accuracy["ours"], accuracy["torchvision"])
    grown = stats.paired(accuracy["ours, growing"], accuracy["ours"])
    parts = [
        sup("time, torchvision over ours", faster, FASTER, FASTER, "ratio", registry.numbers("A1")["speedup"]),
        eq("accuracy, ours - torchvision", same, 1.0),
        sup("time, ours over growing", shorter, 1 / (1 - SAVES), 1.0, "ratio"),
        eq("accuracy, growing - ours", grown, 1.0),
    ]
    return verdict(
        frame, parts,
        f"Torchvision takes {faster.mean:.2f} times as long as ours (accuracy {-same.mean:+.1f}); growing views take "
        f"{1 / shorter.mean:.0%} of our time ({grown.mean:+.1f}).",
        cannot=kit.cannot_carry(frame) or kit.at_floor(frame, accuracy),
    )  # fmt: skip


def draw_training(frame: pd.DataFrame) -> Drawing:
    ways, published = _ways(frame), registry.numbers("A1")["epoch_seconds"]
    names = (f"torchvision\n(paper {published['torchvision']} s\nan epoch)", f"ours\n(FFCV-SSL\n{published['ffcv_ssl']} s)",
             "ours,\ngrowing", "ours,\nfast mode")  # fmt: skip
    taken = {name: runs["train_seconds"].to_numpy(float) for name, runs in zip(names, ways.values())}

    def against_time(ax) -> None:
        for index, (way, runs) in enumerate(ways.items()):
            whole = runs[runs["diverged"] == 0]
            if len(whole):
                epochs = whole["curves"].iloc[0]["probe_epoch"]
                seconds = np.array([[s[e - 1] for e in epochs] for s in whole["epoch_seconds"]], float)
                figures.band(ax, seconds.mean(0), curve(whole, column(frame, "val")), label=way, index=index)
        kit.floors(ax, frame, column(frame, "val"))
        ax.set(
            xlabel="seconds of training and loading",
            ylabel=f"{tasks(frame)[0]} accuracy, validation (%)",
            xlim=(0, None),
        )

    def whole_runs(ax) -> None:
        kit.dots_beside(ax, taken, {})
        ax.set(ylabel="seconds of a whole run", ylim=(0, None))

    means = {way: (stats.paired(runs[column(frame)]).mean, runs["train_seconds"].mean()) for way, runs in ways.items()}
    each = "; ".join(f"{way}: {accuracy:.1f} % after {seconds:.1f} s" for way, (accuracy, seconds) in means.items())
    return page(
        pd.concat(ways.values()), ("way",), [against_time, whole_runs], height=3.4,
        columns=["train_seconds", column(frame, "val"), column(frame)],
        alt=f"Accuracy against seconds of training, for four ways to load the same files. {each}.",
    )  # fmt: skip


# --- A2: Table 2 ------------------------------------------------------------------------------------------------------


def plan(profile: Profile) -> Plan:
    """One measurement, whose turns are the repeats; on a folder of photographs if the profile's data are one."""
    images = profile.data if Path(profile.data).is_dir() else "synthetic"
    scale = {"count": 512, "seconds": 0.5}
    if profile.name in ("quick", "cpu"):  # a minute or two
        scale = {"count": 64, "seconds": 0.3}
    if profile.name == "smoke":
        scale = {"count": 16, "size": 64, "batch": 8, "workers": 1, "seconds": 0.02, "peers": False}
    turns = max(2 if profile.name == "smoke" else 5, profile.seeds)
    return Plan(profile).add(LoaderSpec(images, repeats=turns, scaling=True, **scale), seeds=1)


def absent() -> list[str]:
    """A sentence for each loader or library that is not installed here."""
    return loader.absent(os.environ.get("REPRO_FFCV_SSL", ""))


def measurements(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a measurement: contestant, column, views, workers, turn, images_s, cpu_ms, memory_mb."""
    curves = frame.loc[frame["kind"] == "LoaderSpec", "curves"].iloc[0]
    return pd.DataFrame({name: values for name, values in curves.items() if name != "first_s"})


def _shares(rows: pd.DataFrame) -> np.ndarray:
    """(turns, stacks) Percent of our full stack's CPU time that each stack adds to the one before it, decoding being part
    of the first, as in the paper's table."""
    mine = rows[(rows["contestant"] == "ours") & (rows["views"] == 2) & (rows["workers"] == rows["workers"].max())]
    cpu = mine.pivot_table(index="turn", columns="column", values="cpu_ms")[list(COLUMNS)].to_numpy()
    return 100 * np.diff(cpu, axis=1, prepend=0) / cpu[:, -1:]


def judge(frame: pd.DataFrame) -> Verdict:
    """A2: ours is faster for every stack, SUP(1, above 1) each, and jitter is the costliest of its stages."""
    rows, published = measurements(frame), registry.numbers("A2")
    faster = [stats.ratio(turns) for turns in loader.ratios(rows, "torchvision").T]
    shares, theirs = _shares(rows), np.diff(published["seconds"]["ffcv_ssl"], prepend=0)
    last = len(COLUMNS) - 1
    jitter = stats.largest("colour jitter over the costliest other stage", shares, last, "% of the full stack")
    lead = 100 * (theirs[-1] - theirs[:-1].max()) / theirs.sum()
    source = frame.loc[frame["kind"] == "LoaderSpec", "images"].iloc[0]
    took, stages = shares.mean(0), ("crops with decoding", *COLUMNS[1:])
    return verdict(
        frame,
        [
            *(
                sup(f"{stack}: time, torchvision over ours", interval, 1.0, 1.0, "ratio", paper)
                for stack, interval, paper in zip(COLUMNS, faster, published["ratio"])
            ),
            replace(jitter, paper=round(float(lead), 1)),
        ],
        f"Torchvision takes {min(f.mean for f in faster):.1f} to {max(f.mean for f in faster):.1f} times our time; "
        f"jitter takes {took[-1]:.0f} % of ours, {stages[took.argmax()]} {took.max():.0f} %.",
        headline=last, on=loader.title(LoaderSpec(images=source)), backbone="no network",
        evidence="stand-in" if source == "synthetic" else "photographs",
    )  # fmt: skip


def draw(frame: pd.DataFrame) -> Drawing:
    rows = measurements(frame)
    table = _table(rows)
    ratio = table.loc[table["contestant"] == "torchvision", "ours_over_it"]
    limit = table.loc[table["contestant"] == "ours", "share_of_limit"].min()
    fig = figures.Picture(figsize=(figures.WIDTH, 6.4))
    for ax, panel in zip(fig.subplot_mosaic("a;b").values(), (_draw_speed, _draw_scaling)):
        panel(ax, rows)
    return Drawing(
        fig, table,
        f"Images loaded a second for five stacks of augmentations. Ours is {ratio.min():.1f} to {ratio.max():.1f} times as "
        f"fast as torchvision and reaches {limit:.0%} or more of the decoder's speed. Below: CPU time against the number "
        "of views.",
    )  # fmt: skip


def _draw_speed(ax, rows: pd.DataFrame) -> None:
    two = rows[(rows["views"] == 2) & (rows["workers"] == rows["workers"].max())]
    for index, name in enumerate(n for n in rows["contestant"].unique() if n != "decode"):
        values = two[two["contestant"] == name].pivot_table(index="turn", columns="column", values="images_s")
        measured = [k for k, stack in enumerate(COLUMNS) if stack in values]
        figures.band(ax, measured, values[[COLUMNS[k] for k in measured]].to_numpy(), label=name, index=index)
    limit = two.loc[two["contestant"] == "decode", "images_s"].median()
    figures.floors(ax, {"decoding alone": limit})
    ours = np.exp(np.log(loader.ratios(rows, "torchvision")).mean(0))
    published = registry.numbers("A2")["ratio"]
    labels = [f"{c}\n{a:.1f} x torchvision\n(paper {b:.1f} x)" for c, a, b in zip(COLUMNS, ours, published)]
    title = "Two views, each stack on the one before"
    ax.set(yscale="log", xticks=range(len(COLUMNS)), ylabel="images a second", title=title)
    ax.set_xticklabels(labels)
    ax.set_xlim(-0.3, len(COLUMNS) - 0.3)


def _draw_scaling(ax, rows: pd.DataFrame) -> None:
    mine = rows[
        (rows["contestant"] == "ours") & (rows["column"] == COLUMNS[-1]) & (rows["workers"] == rows["workers"].max())
    ]
    cpu = mine.pivot_table(index="turn", columns="views", values="cpu_ms")
    views = list(cpu.columns)
    figures.band(ax, views, cpu.to_numpy() / cpu[[2]].to_numpy(), label="ours", index=0)
    ax.plot(views, [v / 2 for v in views], color=figures.muted(), linestyle=":", linewidth=1)
    figures.end_label(ax, views[-1], views[-1] / 2, "one decode\na view", figures.muted(), fontsize=7.5)
    ax.set(xticks=views, xlabel="views of an image", ylabel="CPU time, of two views", title="More views of one decode")


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    """Medians: a row a contestant and stack, and a last one for decoding alone."""
    speed, cpu, share = loader.medians(rows, "images_s"), loader.medians(rows, "cpu_ms"), loader.share_of_limit(rows)
    published, out = registry.numbers("A2")["ratio"], []
    for name in (n for n in rows["contestant"].unique() if n != "decode"):
        over = loader.ratios(rows, name) if name != "ours" else np.ones((1, len(COLUMNS)))
        for stack, turns, paper in zip(COLUMNS, over.T, published):
            if not np.isnan(speed.loc[name, stack]):
                out.append({
                    "contestant": name, "stack": stack, "images_s": speed.loc[name, stack],
                    "cpu_ms": cpu.loc[name, stack], "share_of_limit": share.loc[name, stack],
                    "ours_over_it": np.nanmedian(turns),
                    "paper_ffcv_ssl_over_torchvision": paper if name == "torchvision" else np.nan,
                })  # fmt: skip
    alone = rows.loc[rows["contestant"] == "decode", ["images_s", "cpu_ms"]].median()
    return pd.DataFrame([*out, {"contestant": "decode", "stack": "", **alone, "share_of_limit": 1.0}])


# --- our loader, beside the claims ------------------------------------------------------------------------------------


@contextmanager
def _photographs(count: int) -> Iterator[Path]:
    """A .beton file of synthetic photographs."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "images.beton"
        photographs.pack(photographs.synthetic(Path(scratch), count), file, raw=False)
        yield file


def fast_mode() -> pd.DataFrame:
    """How far the fast mode is from the exact one, in grey levels of 255: the views of the paper's recipe made from
    synthetic photographs, all and those parts that differ."""
    from repro.loader.loader import Loader

    crops = View(crop=(0.08, 1.0))
    jitter = replace(crops, jitter=1.0, saturation=0.2)
    recipes = {
        "crops": crops, "jitter without hue": replace(jitter, hue=0.0), "jitter": jitter,
        "full stack": replace(jitter, jitter=0.8, gray=0.2, blur=0.5, solarize=0.1),
    }  # fmt: skip
    rows = {}
    with _photographs(32) as file:
        for name, view in recipes.items():
            exact, fast = (
                next(Loader(file, Recipe(name, (view,)), 32, 96, fast=f).epoch()).views.int() for f in (False, True)
            )
            error = (exact - fast).abs().float().numpy()
            rows[name] = {"mean": error.mean(), "99th percentile": np.percentile(error, 99)}
    return pd.DataFrame(rows).T.rename_axis("views").round(1)


CLAIMS = (Claim("A1", plan_training, judge_training, draw_training), Claim("A2", plan, judge, draw))

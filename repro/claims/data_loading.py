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
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from repro import figures, stats
from repro.bench import loader, photographs
from repro.bench.contestants import COLUMNS
from repro.bench.loader import LoaderSpec
from repro.claims import Claim, Drawing, Verdict, registry
from repro.claims.common import floor_levels, min_seeds, semantic, trained, verdict
from repro.core.profiles import Profile, base
from repro.core.profiles import profile as find_profile
from repro.core.spec import Loading, RunSpec
from repro.loader.loader import Loader
from repro.ssl.methods import Untrained
from repro.views.recipe import Recipe, View, repeat

PARTS = ("decode", "crop", "blur", "gray", "solarize", "jitter")


# --- A1: accuracy against time ---------------------------------------------------------------------------------------

# Pixels of the views and of the files, so that loading weighs about what it does in the paper: at the stand-ins' usual 16
# pixels nothing is left for a growing resolution to save. CIFAR-10 is loaded as it is.
SIZES = {"smoke": (16, 24), "quick": (32, 56), "gpu": (32, 0), "paper": (224, 400)}
EPOCHS = {"gpu": 20}  # nine runs, three of them through torchvision
IMAGES = {"quick": 1536}  # twenty runs, one after the other, within two minutes
ARMS = ("torchvision", "ours", "ours, growing", "ours, fast")
SAVES, FASTER = 0.15, 1.5


def plan_training(profile: Profile) -> list[RunSpec]:
    """Ways to load the same files x seeds, and the floors; the resolution grows over the same part of the run as
    in the paper's code."""
    if Path(profile.data).is_dir() and sum(p.is_dir() for p in Path(profile.data).iterdir()) < 2:
        profile = find_profile(
            profile.name, seeds=profile.seeds
        )  # photographs without classes can be loaded, not probed
    size, stored = SIZES[profile.name]
    spec = base(profile)
    data = replace(spec.data, size=size)
    if profile.name in IMAGES and not profile.data.startswith("digits"):  # which are fewer, or know no such option
        data = replace(data, options=(("images", IMAGES[profile.name]),))
    spec = replace(spec, data=data, epochs=EPOCHS.get(profile.name, spec.epochs))
    small, large = registry.numbers("A1")["resolution"]["ramp"]
    ramp = (4 * round(size * small / large / 4), round(0.7 * spec.epochs), round(0.85 * spec.epochs))
    ours = Loading("ours", stored)
    loadings = (Loading("torchvision", stored), ours, replace(ours, ramp=ramp), replace(ours, fast=True))
    # all labels, since differences of a point are looked for; and probes on the way, for accuracy against time
    trained = replace(spec, probes=replace(spec.probes, labels=0, every=max(1, spec.epochs // 3)))
    floor = replace(spec, method=Untrained(), probes=replace(spec.probes, labels=0))
    runs = [replace(trained, loading=way, seed=seed) for seed in range(profile.seeds) for way in loadings]
    return [*(replace(floor, seed=s) for s in range(profile.seeds)), replace(floor, backbone="pixels"), *runs]


def arms(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The runs of each way to load, by seed; one that diverged, and so stopped early, has no time."""
    runs = trained(frame).copy()
    runs["train_seconds"] = runs["train_seconds"].where(runs["diverged"] == 0)
    growing = runs["ramp"].map(len) > 0
    name = runs["loading"].where(~growing, "ours, growing").where(~runs["fast"].eq(True), "ours, fast")
    return {arm: runs[name == arm].sort_values("seed").set_index("seed", drop=False) for arm in ARMS}


def judge_training(frame: pd.DataFrame) -> Verdict:
    column, enough, ways = f"linear_test_{semantic(frame)}", min_seeds(frame), arms(frame)
    seconds = {arm: runs["train_seconds"].to_numpy(float) for arm, runs in ways.items()}
    accuracy = {arm: runs[column].to_numpy(float) for arm, runs in ways.items()}
    faster = stats.ratio(seconds["torchvision"], seconds["ours"])
    saved = stats.ratio(seconds["ours, growing"], seconds["ours"])  # what is left
    same, same_word = stats.eq(accuracy["ours"], accuracy["torchvision"], 1.0, enough)
    grown, grown_word = stats.eq(accuracy["ours, growing"], accuracy["ours"], 1.0, enough)
    fast, _ = stats.eq(accuracy["ours, fast"], accuracy["ours"], 1.0, enough)
    shorter = stats.ratio(seconds["ours"], seconds["ours, growing"])
    words = [
        stats.sup(faster, FASTER, enough, above=FASTER), same_word,
        stats.sup(shorter, 1 / (1 - SAVES), enough, above=1.0), grown_word,
    ]  # fmt: skip
    published = registry.numbers("A1")["speedup"]
    sentence = (
        f"Training takes {faster.text(2)} times as long through torchvision as through ours (paper {published:g}), at "
        f"{same.text(2)} points of accuracy from ours less torchvision (90 %); the growing resolution saves "
        f"{1 - saved.mean:.0%} of our time, at {grown.text(2)} points; the fast mode, not judged, changes accuracy by "
        f"{fast.text(2)} points."
    )
    return verdict(frame, stats.combine(words), faster, "ratio", sentence, column)


def draw_training(frame: pd.DataFrame) -> Drawing:
    task, ways = semantic(frame), arms(frame)
    fig, (left, right) = figures.figure(1, 2, height=3.4)
    table = []
    for index, (arm, runs) in enumerate(ways.items()):
        whole = runs[runs["diverged"] == 0]
        curves = whole["curves"].tolist()
        if curves:
            epochs = curves[0]["probe_epoch"]
            seconds = np.array([[s[e - 1] for e in epochs] for s in whole["epoch_seconds"]], float)
            values = np.array([c[f"linear_val_{task}"] for c in curves], float)
            figures.band(left, seconds.mean(0), values, label=arm, index=index)
        total = runs["train_seconds"].to_numpy(float)
        mean, low, high = figures.mean_interval(total[:, None])
        look = figures.style(index)
        right.barh(index, mean[0], height=0.55, color=look["color"])
        if np.isfinite(low[0]):
            right.plot([max(0.0, low[0]), high[0]], [index, index], color=figures.ink(), linewidth=1.2)
        right.plot(total, np.full(len(total), index + 0.38), ".", color=figures.muted(), markersize=3)
        for seed, t in zip(runs["seed"], total):
            row = runs.loc[seed]
            table.append(
                {
                    "loading": arm, "seed": seed, "train_seconds": t,
                    "linear_val": row[f"linear_val_{task}"], "linear_test": row[f"linear_test_{task}"],
                }
            )  # fmt: skip
    figures.floors(left, floor_levels(frame, f"linear_val_{task}"))
    left.set(xlabel="seconds of training and loading", ylabel=f"{task} accuracy, validation (%)", xlim=(0, None))
    published = registry.numbers("A1")["epoch_seconds"]
    right.set(yticks=range(len(ways)), xlabel="seconds of a whole run", xlim=(0, None))
    right.set_yticklabels(
        [
            f"torchvision\n(paper {published['torchvision']} s an epoch)",
            f"ours\n(FFCV-SSL {published['ffcv_ssl']} s)",
            "ours,\ngrowing",
            "ours,\nfast mode",
        ]
    )
    right.invert_yaxis()
    right.grid(axis="y", visible=False)
    table = pd.DataFrame(table)
    mean = table.groupby("loading", sort=False)[["train_seconds", "linear_test"]].mean()
    alt = "Accuracy against seconds of training, for four ways to load the same files. " + "; ".join(
        f"{arm}: {row.linear_test:.1f} % after {row.train_seconds:.1f} s" for arm, row in mean.iterrows()
    )
    return Drawing(fig, table, alt + ".")


# --- A2: Table 2 -----------------------------------------------------------------------------------------------------


def plan(profile: Profile) -> list[LoaderSpec]:
    """One measurement, whose turns are the repeats; on a folder of photographs if the profile's data are one."""
    images = profile.data if Path(profile.data).is_dir() else "synthetic"
    if profile.name == "smoke":
        return [LoaderSpec(images, 16, 64, 8, 1, max(2, profile.seeds), 0.02, peers=False, scaling=True)]
    count, seconds = {"quick": (64, 0.3)}.get(profile.name, (512, 0.5))  # quick: all of it within a minute or two
    return [LoaderSpec(images, count, repeats=max(5, profile.seeds), seconds=seconds, scaling=True)]


def absent() -> list[str]:
    """A sentence for each loader or library that is not installed here."""
    return loader.absent(os.environ.get("REPRO_FFCV_SSL", ""))


def measurements(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a measurement: contestant, column, views, workers, turn, images_s, cpu_ms, memory_mb."""
    found = frame.loc[frame["kind"] == "LoaderSpec", "curves"].iloc[0]
    curves = {name: values for name, values in found.items() if name != "first_s"}
    return pd.DataFrame(curves)


def parts(rows: pd.DataFrame, name: str) -> dict[str, float]:
    """CPU milliseconds an image of each part of the full stack: what each stack adds to the one before it (median).

    Only ours has a decode of its own; another loader's is part of its crop.
    """
    cpu = loader.medians(rows, "cpu_ms")
    stacks = cpu.loc[name, list(COLUMNS)].to_numpy()
    decode = cpu.loc["decode", COLUMNS[0]] if name == "ours" else 0.0
    added = [decode, stacks[0] - decode, *np.diff(stacks)]
    return {part: max(0.0, float(ms)) for part, ms in zip(PARTS, added)}


def judge(frame: pd.DataFrame) -> Verdict:
    rows = measurements(frame)
    faster = loader.ratios(rows, "torchvision")
    intervals = [stats.ratio(faster[:, k]) for k in range(len(COLUMNS))]
    enough = stats.min_seeds(frame.attrs.get("profile", "quick"))
    words = [stats.sup(interval, 1.0, enough, above=1.0) for interval in intervals]
    mine = parts(rows, "ours")
    largest = max(mine, key=mine.get)
    word = stats.combine(words)
    if largest == "jitter" and word == stats.REPRODUCED:
        word = stats.PARTLY
    published = registry.numbers("A2")["ratio"]
    texts = [
        f"{column} {interval.text(1)} (paper {paper:g})"
        for column, interval, paper in zip(COLUMNS, intervals, published)
    ]
    last = intervals[-1]
    sentence = (
        f"Torchvision's time over ours: {', '.join(texts)}; of our full stack's {sum(mine.values()):.2f} CPU ms an image, "
        f"jitter takes {mine['jitter']:.2f}, the largest part is {_WORDS[largest]} with {mine[largest]:.2f}."
    )
    numbers = [None if np.isnan(v) else float(v) for v in (last.mean, last.low, last.high)]
    source = frame.loc[frame["kind"] == "LoaderSpec", "images"].iloc[0]
    images = loader.title(LoaderSpec(images=source))
    return Verdict(word, *numbers, "ratio", int(last.n), images, "no network", sentence)


_WORDS = {
    "decode": "decoding",
    "crop": "crop and resize",
    "blur": "blur",
    "gray": "gray",
    "solarize": "solarize",
    "jitter": "colour jitter",
}


def draw(frame: pd.DataFrame) -> Drawing:
    rows = measurements(frame)
    names = [n for n in rows["contestant"].unique() if n != "decode"]
    fig, grid = figures.figure(2, 2, height=6.4)
    for ax in grid[0]:
        ax.remove()
    _draw_speed(fig.add_subplot(grid[0, 0].get_gridspec()[0, :]), rows, names)
    _draw_parts(grid[1, 0], rows)
    _draw_scaling(grid[1, 1], rows)
    table = _table(rows, names)
    ratio = table.loc[table["contestant"] == "torchvision", "ours_over_it"]
    alt = (
        f"Images loaded a second for five stacks of augmentations. Ours is {ratio.min():.1f} to {ratio.max():.1f} times as "
        f"fast as torchvision and reaches {table.loc[table['contestant'] == 'ours', 'share_of_limit'].min():.0%} or more of "
        f"the decoder's speed. Below: CPU time by part, and CPU time against the number of views."
    )
    return Drawing(fig, table, alt)


def _draw_speed(ax, rows: pd.DataFrame, names: list[str]) -> None:
    two = rows[(rows["views"] == 2) & (rows["workers"] == rows["workers"].max())]
    for index, name in enumerate(names):
        mine = two[two["contestant"] == name]
        values = mine.pivot_table(index="turn", columns="column", values="images_s").reindex(columns=list(COLUMNS))
        measured = [k for k, column in enumerate(COLUMNS) if values[column].notna().any()]
        figures.band(ax, measured, values.to_numpy()[:, measured], label=name, index=index)
    limit = two.loc[two["contestant"] == "decode", "images_s"].median()
    figures.floors(ax, {"decoding alone": limit})
    ours = np.exp(np.log(loader.ratios(rows, "torchvision")).mean(0))
    published = registry.numbers("A2")["ratio"]
    labels = [f"{c}\n{a:.1f} x torchvision\n(paper {b:.1f} x)" for c, a, b in zip(COLUMNS, ours, published)]
    ax.set(
        yscale="log",
        xticks=range(len(COLUMNS)),
        ylabel="images a second",
        title="Two views, each stack on the one before",
    )
    ax.set_xticklabels(labels)
    ax.set_xlim(-0.3, len(COLUMNS) - 0.3)


def _draw_parts(ax, rows: pd.DataFrame) -> None:
    colours = figures.ordered(len(PARTS))
    for y, name in enumerate(("torchvision", "ours")):
        left = 0.0
        for part, colour in zip(PARTS, colours):
            ms = parts(rows, name)[part]
            ax.barh(y, ms, left=left, color=colour, height=0.55, label=_WORDS[part] if y else None)
            left += ms
        ax.text(left, y, f" {left:.2g}", va="center", color=figures.ink(), fontsize=8)
    ax.set(yticks=(0, 1), xlabel="CPU ms an image", title="Where the time goes")
    ax.set_yticklabels(("torchvision", "ours"))
    ax.grid(axis="y", visible=False)
    ax.set_xlim(0, 1.15 * sum(parts(rows, "torchvision").values()))
    ax.legend(loc="lower center", bbox_to_anchor=(0.45, -0.62), ncols=3)


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


def _table(rows: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    speed, cpu, share = loader.medians(rows, "images_s"), loader.medians(rows, "cpu_ms"), loader.share_of_limit(rows)
    published = registry.numbers("A2")["ratio"]
    out = []
    for name in names:
        over = np.nanmedian(loader.ratios(rows, name), axis=0) if name != "ours" else np.ones(len(COLUMNS))
        for k, column in enumerate(COLUMNS):
            if np.isnan(speed.loc[name, column]):
                continue
            out.append(
                {
                    "contestant": name, "stack": column, "images_s": speed.loc[name, column],
                    "cpu_ms": cpu.loc[name, column], "share_of_limit": share.loc[name, column], "ours_over_it": over[k],
                    "paper_ffcv_ssl_over_torchvision": published[k] if name == "torchvision" else np.nan,
                }
            )  # fmt: skip
    decode = rows[rows["contestant"] == "decode"]
    limit = {
        "contestant": "decode",
        "stack": "",
        "images_s": decode["images_s"].median(),
        "cpu_ms": decode["cpu_ms"].median(),
    }
    return pd.DataFrame([*out, limit | {"share_of_limit": 1.0}])


def fast_mode() -> pd.DataFrame:
    """How far the fast mode is from the exact one, in grey levels of 255: the views of the paper's recipe made from
    synthetic photographs, all and those parts that differ."""
    everything = View(crop=(0.08, 1.0), jitter=0.8, saturation=0.2, gray=0.2, blur=0.5, solarize=0.1)
    recipes = {
        "crops": View(crop=(0.08, 1.0)),
        "jitter without hue": View(crop=(0.08, 1.0), jitter=1.0, saturation=0.2, hue=0.0),
        "jitter": View(crop=(0.08, 1.0), jitter=1.0, saturation=0.2),
        "full stack": everything,
    }
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        files = photographs.synthetic(Path(scratch), 32)
        photographs.pack(files, Path(scratch) / "images.beton", raw=False)
        for name, view in recipes.items():
            exact, fast = (
                next(Loader(Path(scratch) / "images.beton", Recipe(name, (view,)), 32, 96, fast=f).epoch()).views.int()
                for f in (False, True)
            )
            error = (exact - fast).abs().float().numpy()
            rows.append({"views": name, "mean": error.mean(), "99th percentile": np.percentile(error, 99)})
    return pd.DataFrame(rows).set_index("views").round(1)


def views_and_cost(jitter: float, blur: float, gray: float, views: int, size: int, fast: bool) -> Figure:
    """Two photographs' views, and the CPU milliseconds that decoding one image and making its views take."""
    recipe = repeat(Recipe("chosen", (View(crop=(0.08, 1.0), jitter=jitter, blur=blur, gray=gray),)), views)
    with tempfile.TemporaryDirectory() as scratch:
        files = photographs.synthetic(Path(scratch), 16)
        photographs.pack(files, Path(scratch) / "images.beton", raw=False)
        source = Loader(Path(scratch) / "images.beton", recipe, 16, size, workers=1, shuffle=False, fast=fast)
        batch = next(source.epoch(0))
        took = []
        for epoch in range(5):
            begun = time.process_time()
            next(source.epoch(epoch))
            took.append(1000 * (time.process_time() - begun) / 16)
    fig, axes = figures.figure(2, views, height=0.6 + 2 * figures.WIDTH / max(views, 4), squeeze=False)
    for row, image in zip(axes, (0, 1)):
        for ax, view in zip(row, batch.views[:, image]):
            ax.imshow(view.permute(1, 2, 0).numpy())
            ax.set_axis_off()
    fig.suptitle(f"{np.median(took):.2f} CPU ms an image, decoding included", fontsize=9)
    return fig


CLAIMS = (Claim("A1", plan_training, judge_training, draw_training), Claim("A2", plan, judge, draw))

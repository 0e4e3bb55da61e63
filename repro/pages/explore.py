"""The knobs at the end of the notebooks: widgets that train small runs, or draw views, while the reader watches.

They are for looking, not for evidence: what they train goes into the store like any run, but into no verdict.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from repro import data, figures
from repro.claims import instance_simclr as claim_instance
from repro.claims import kit, msr_beta_decay, start_here
from repro.claims import single_gpu as gpu_grids
from repro.claims.kit import by, floor_levels, trained
from repro.core import places, store, sweep
from repro.core.methods import DECAYS, MSR, SimCLR
from repro.core.profiles import base
from repro.core.spec import DetectSpec, key
from repro.errors import ReproError
from repro.pages import notebook
from repro.ssl.methods import beta_at
from repro.views.recipe import Recipe, View, preset


def _panel(knobs: dict[str, Any], draw: Callable[..., Any], alt: str) -> Any:
    """Knobs above a picture that is drawn anew whenever one moves."""
    import ipywidgets as widgets

    # An HTML widget and not an Output widget: papermill's client answers an Output's messages on the channel on which it
    # waits for the cell's end, and now and then that swallows the end's arrival; it then waits for ever.
    picture = widgets.HTML()

    def update(_: Any = None) -> None:
        try:
            with figures.theme("light"):
                png = io.BytesIO()
                draw(**{name: knob.value for name, knob in knobs.items()}).savefig(png, format="png", dpi=100)
        except ReproError as e:
            picture.value = f"<p>{html.escape(str(e))}</p>"
            return
        shown = base64.b64encode(png.getvalue()).decode()
        picture.value = f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{shown}">'

    for knob in knobs.values():
        knob.observe(update, names="value")
    update()
    box = widgets.HBox(list(knobs.values()), layout=widgets.Layout(flex_flow="row wrap"))
    return widgets.VBox([box, picture])


def _slider(options: Any, value: Any, name: str) -> Any:
    import ipywidgets as widgets

    return widgets.SelectionSlider(options=options, value=value, description=name, continuous_update=False)


def views(study: Any) -> Any:
    """Move the strengths of the augmentations and see what two views of the same images become."""
    shares = (0.0, 0.2, 0.5, 0.8, 1.0)
    knobs = {
        "crop": _slider((0.1, 0.2, 0.35, 0.5, 0.75, 1.0), 0.5, "crop from"),
        "jitter": _slider(shares, 0.8, "jitter p"),
        "hue": _slider((0.0, 0.05, 0.1, 0.2, 0.5), 0.1, "hue"),
        "gray": _slider(shares, 0.2, "gray p"),
        "blur": _slider(shares, 0.0, "blur p"),
        "solarize": _slider(shares, 0.0, "solarize p"),
        "noise": _slider((0.0, 0.05, 0.1, 0.2), 0.0, "noise"),
    }

    def draw(crop: float, jitter: float, hue: float, gray: float, blur: float, solarize: float, noise: float) -> Any:
        view = View(crop=(crop, 1.0), jitter=jitter, hue=hue, gray=gray, blur=blur, solarize=solarize, noise=noise)
        return start_here.pictures(study.profile.data, Recipe("explored", (view, view)), study.profile.size)

    return _panel(knobs, draw, "Images and two views of each under the chosen augmentations.")


def _found(runs: pd.DataFrame, spec: Any) -> pd.Series | None:
    """The row of a run: read where it is stored, else trained, with all columns of `runs`, NaN for what one that diverged
    lacks; None where a time budget stopped it."""
    same = runs[runs["key"] == key(spec)]
    if same.empty:
        same = store.frame(sweep.measure([spec], store.Store(places.store()), workers=1, quiet=True))
        same = same.reindex(columns=[*dict.fromkeys([*same, *runs])])
    return None if same.empty else same.iloc[0]


def evaluation_protocol(study: Any, runs: pd.DataFrame) -> Any:
    """Choose a method and how many labels the offline probes get; the backbone is trained and both are fitted pass by
    pass, unless that is stored."""
    plan = [s for s in study.plan(study.claims[0]) if type(s.method).__name__ != "Untrained" and s.seed == 0]
    methods = {type(s.method).__name__: s for s in plan}
    knobs = {
        "method": _slider(list(methods), next(iter(methods)), "method"),
        "labels": _slider([("64", 64), ("256", 256), ("1024", 1024), ("all", 0)], 0, "labels"),
    }
    task = kit.tasks(runs)[0]

    def draw(method: str, labels: int) -> Any:
        spec = methods[method]
        row = _found(runs, replace(spec, probes=replace(spec.probes, labels=labels)))
        fig, ax = figures.figure(height=3.0, width=5.4)
        for i, (name, label) in enumerate((("linear_pass", "linear"), ("mlp_pass", "MLP"))):
            curve = [] if row is None else row["curves"].get(f"{name}_val_{task}", [])
            if curve:
                figures.band(ax, np.arange(1, len(curve) + 1), [curve], label, i)
                best = int(np.argmax(curve))
                ax.plot(best + 1, curve[best], "x", color=figures.PALETTE[5], markersize=8, markeredgewidth=2)
        figures.floors(ax, floor_levels(runs, f"linear_val_{task}"))
        ax.set(xlabel="pass of the probe over the features", ylabel=f"{task} accuracy, validation (%)")
        return fig

    return _panel(knobs, draw, "Accuracy of a linear and an MLP probe against the pass over the features.")


def single_gpu(study: Any, runs: pd.DataFrame) -> Any:
    """Choose a method, its loss parameter and rate, whether its two branches differ as in the authors' code, and whether
    to probe every layer of the projector; the run is trained unless it is stored."""
    grids = {g.title: g for g in gpu_grids.GRIDS}
    levels = {t: gpu_grids.levels(g, study.profile) for t, g in grids.items()}
    sizes = range(max(len(a) for a, _ in levels.values())), range(max(len(b) for _, b in levels.values()))
    knobs = {
        "method": _slider(list(grids), "SimCLR", "method"),
        "level": _slider([(f"step {i + 1}", i) for i in sizes[0]], 0, "loss parameter"),
        "rate": _slider([(f"step {i + 1}", i) for i in sizes[1]], 0, "learning rate"),
        "branches": _slider(["alike", "two"], "alike", "branches"),
        "layers": _slider([("backbone", False), ("every layer", True)], False, "probe"),
    }
    task, mine = kit.tasks(runs)[0], notebook.rows(study, runs, study.claims[-1])
    column = f"linear_test_{task}"

    def draw(method: str, level: int, rate: int, branches: str, layers: bool) -> Any:
        g, (values, rates) = grids[method], levels[method]
        value, lr = values[min(level, len(values) - 1)], rates[min(rate, len(rates) - 1)]
        spec = gpu_grids.run(study.profile, g, value, lr)
        if branches == "two":
            name = "ffcv-ssl-small" if spec.data.size <= 64 else "ffcv-ssl"
            spec = replace(spec, recipe=preset(name, crop=spec.recipe.views[0].crop))
        row = _found(runs, replace(spec, probes=replace(spec.probes, depths=layers)))
        fig, axes = figures.figure(1, 2, height=3.0, gridspec_kw={"width_ratios": (1.6, 1)})
        cells = gpu_grids.cells(mine, g)
        for i, (x, colour) in enumerate(zip(cells.levels[0], figures.ordered(len(cells.levels[0])))):
            figures.band(axes[0], cells.levels[1], cells.test[:, i], f"{x:g}", i, color=colour)
        score = float("nan") if row is None else float(row.get(column, float("nan")))
        axes[0].plot(lr, score, marker="*", markersize=14, color=figures.PALETTE[1], linestyle="")
        axes[0].set(xscale="log", xlabel="learning rate", ylabel=f"{task} accuracy (%)")
        axes[0].set_xticks(cells.levels[1], [f"{r:g}" for r in cells.levels[1]], fontsize=7)
        axes[0].minorticks_off()
        axes[0].set_title(f"{g.title}, {g.symbol} {value:g}, lr {lr:g}: {score:.1f} %", fontsize=8)
        depth = [] if row is None else [row.get(f"layer{k}_test_{task}") for k in range(1, spec.projector.layers + 1)]
        shown = [score, *[float(d) for d in depth if d is not None and np.isfinite(d)]]
        axes[1].bar(range(len(shown)), shown, width=0.6, color=figures.ordered(len(shown)))
        axes[1].set_xticks(range(len(shown)), ["backbone", *[f"layer {k}" for k in range(1, len(shown))]], fontsize=7)
        axes[1].set_title("probed behind", fontsize=8)
        for i, ax in enumerate(axes):
            figures.floors(ax, floor_levels(runs, column), labels=i == 1)
        return fig

    alt = "Accuracy against the learning rate, with the chosen run as a star, and by the layer that is probed."
    return _panel(knobs, draw, alt)


def augmentations(study: Any) -> Any:
    """Choose the images and how strong each augmentation is; see two views of each, and what making them costs here."""
    from repro.bench import views as bench

    shares, strengths = (0.0, 0.2, 0.5, 0.8, 1.0), (0.0, 0.2, 0.4, 0.8)
    spec = base(study.profile)
    knobs = {
        "first": _slider(range(0, 60, 6), 0, "images from"),
        "crop": _slider((0.08, 0.2, 0.35, 0.5, 0.75, 1.0), 0.5, "crop from"),
        "jitter": _slider(shares, 0.0, "jitter p"),
        "strength": _slider(strengths, 0.4, "its strength"),
        "hue": _slider((0.0, 0.05, 0.1, 0.2, 0.5), 0.1, "its hue"),
        "gray": _slider(shares, 0.2, "gray p"),
        "blur": _slider(shares, 0.0, "blur p"),
        "sigma": _slider((0.5, 1.0, 2.0, 4.0), 2.0, "its sigma"),
        "solarize": _slider(shares, 0.0, "solarize p"),
        "threshold": _slider((0.0, 0.25, 0.5, 0.75), 0.5, "it inverts from"),
    }

    def draw(first: int, crop: float, strength: float, sigma: float, **rest: float) -> Any:
        same = {"brightness": strength, "contrast": strength, "saturation": strength, "sigma": (0.1, sigma)}
        view = View(crop=(crop, 1.0), **same, **rest)
        recipe, plain = Recipe("explored", (view, view)), Recipe("crop", (View(crop=(crop, 1.0)),) * 2)
        fig = start_here.pictures(spec.data.name, recipe, spec.data.size, first=first, options=spec.data.options)
        fig.suptitle(
            f"time to make these views: {bench.cost(spec.data, recipe, plain):.1f} x cropping alone", fontsize=9
        )
        return fig

    return _panel(knobs, draw, "Images and two views of each under the chosen augmentations, with their cost.")


def data_loading() -> Any:
    """Choose augmentations, views and resolution, and see the views with what they cost here and now.

    The milliseconds are of one core, for one JPEG of 300 by 400 pixels or so.
    """
    import ipywidgets as widgets

    from repro.claims.data_loading import views_and_cost

    shares = (0.0, 0.2, 0.5, 0.8, 1.0)
    knobs = {
        "jitter": _slider(shares, 0.8, "jitter p"),
        "blur": _slider(shares, 0.5, "blur p"),
        "gray": _slider(shares, 0.2, "gray p"),
        "views": _slider((2, 4, 8), 2, "views"),
        "size": _slider((64, 96, 160, 224), 160, "pixels"),
        "fast": widgets.Checkbox(value=False, description="fast mode"),
    }
    return _panel(knobs, views_and_cost, "Views of two photographs under the chosen augmentations, with their cost.")


def instance_simclr(study: Any, runs: pd.DataFrame) -> Any:
    """Choose patch, noise and temperature; the three views are drawn, and the run is trained (seconds on the embedded
    data) unless it is stored, and drawn beside what the other variants reach on each task."""
    size, tasks = study.profile.size, data.tasks(study.profile.data)
    centre, mine = claim_instance.settings(study.profile)[0], notebook.rows(study, runs, study.claims[0])
    patches = sorted({round(size * k / 16) for k in range(2, 15, 2)} | {centre.patch})
    knobs = {
        "patch": _slider(patches, centre.patch, "patch (px)"),
        "noise": _slider((0.0, 0.05, 0.1, 0.2, 0.3, 0.5), centre.noise, "noise"),
        "temperature": _slider((0.05, 0.1, 0.2, 0.5, 1.0), centre.temperature, "temperature"),
        "everywhere": _slider((("the positive", False), ("all views", True)), False, "noise on"),
    }
    columns = [f"linear_test_{t}" for t in tasks]
    reached = {name: claim_instance.best(mine, v)[columns].mean() for v, name in claim_instance.VARIANTS.items()}
    levels = [floor_levels(runs, c) for c in columns]

    def draw(**chosen: Any) -> Any:
        spec = claim_instance.run(study.profile, replace(centre, **chosen))
        row = _found(runs, spec)
        fig = Figure(figsize=(figures.WIDTH, 6.4))
        top, low = fig.subfigures(2, 1, height_ratios=(1.5, 1))
        names = ("itself", "positive", "negative")
        start_here.pictures(
            spec.data.name, spec.recipe, spec.data.size, names=names, options=spec.data.options, into=top
        )
        ax = low.subplots()
        for i, (name, values) in enumerate(reached.items()):
            ax.plot(values.to_numpy(), linestyle="", color=figures.PALETTE[i], marker=figures.MARKERS[i], label=name)
        yours = np.full(len(columns), np.nan) if row is None else row[columns].to_numpy(float)
        ax.plot(yours, linestyle="", marker="*", markersize=12, color=figures.ink(), label="yours, one seed")
        for dash, name in (("-", "random encoder"), (":", "raw pixels")):
            x = np.arange(len(tasks))
            heights = [level[name] for level in levels]
            ax.hlines(heights, x - 0.35, x + 0.35, color=figures.muted(), linestyle=dash, linewidth=1.2, label=name)
        ax.set_xticks(range(len(tasks)), tasks)
        ax.set_ylabel("accuracy (%)")
        ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        return fig

    return _panel(knobs, draw, "Images, their positives and negatives, and the accuracy by task of the chosen run.")


def batch_size(study: Any, runs: pd.DataFrame) -> Any:
    """Choose batch, temperature and learning rate; the run is trained (seconds on the embedded data) unless it is
    stored, and drawn among the stored ones."""
    spec = base(study.profile)
    mine = trained(runs[(runs["method"] == "SimCLR") | (runs["method"] == "Untrained")])
    batches = sorted({int(b) for b in mine["batch_size"]})
    rates = sorted({float(x) for x in mine["lr"]} | {spec.optimiser.lr})
    temperatures = sorted({float(t) for t in mine["temperature"].dropna()} | {0.07, 0.15, 0.3})
    knobs = {
        "batch": _slider(batches, batches[0], "batch"),
        "temperature": _slider(temperatures, SimCLR().temperature, "temperature"),
        "rate": _slider(rates, spec.optimiser.lr, "lr"),
    }
    column = kit.column(runs)

    def draw(batch: int, temperature: float, rate: float) -> Any:
        chosen = replace(
            spec,
            batch_size=batch,
            method=SimCLR(temperature),
            optimiser=replace(spec.optimiser, lr=rate),
        )
        same = mine[(mine["batch_size"] == batch) & (mine["temperature"] == temperature) & (mine["lr"] == rate)]
        same = same[same["steps"] == 0] if "steps" in same else same
        if study.stored and not same.empty:
            score = float(same[column].iloc[0])
        else:
            row = _found(runs, chosen)
            score = float("nan") if row is None else float(row[column])
        fig, ax = figures.figure(height=3.0, width=5.4)
        for i, b in enumerate(batches):
            line = mine[(mine["batch_size"] == b) & (mine["lr"] == spec.optimiser.lr)]
            line = line[line["steps"] == 0] if "steps" in line else line
            mean = line.groupby("temperature")[column].mean()
            colour = figures.ordered(len(batches))[i]
            figures.band(ax, mean.index, np.array([mean]), f"batch {b}", i, color=colour)
        ax.plot(temperature, score, marker="*", markersize=14, color=figures.PALETTE[1], linestyle="")
        ax.annotate(f"yours: {score:.1f} %", (temperature, score), xytext=(8, 6), textcoords="offset points")
        figures.floors(ax, floor_levels(runs, column))
        ax.set(xlabel="temperature", ylabel=f"{kit.tasks(runs)[0]} accuracy (%)", xscale="log")
        ax.set_xticks(temperatures, [f"{t:g}" for t in temperatures], fontsize=7)
        ax.minorticks_off()
        return fig

    return _panel(knobs, draw, "Accuracy against temperature for each batch size, with the chosen run as a star.")


def small_projectors(study: Any, runs: pd.DataFrame) -> Any:
    """Choose the projector's dimension and d x beta; the run is trained (seconds on the embedded data) unless it is
    stored, and drawn among the stored ones."""
    from repro.claims import small_projectors as claim

    profile, column = claim.staged(study.profile), kit.column(runs)
    mine = trained(notebook.rows(study, runs, study.claims[0]))
    dims = sorted(int(d) for d in mine["dim"].unique())
    products = sorted({float(f"{p:.3g}") for p in mine["dim"] * mine["beta"]} | {0.5, 2.0, 10.0})
    knobs = {
        "dim": _slider(sorted({*dims, 16, 64, 256}), dims[0], "d"),
        "product": _slider(products, 5.0 if 5.0 in products else products[-1], "d × β"),
    }

    def draw(dim: int, product: float) -> Any:
        row = _found(runs, claim.authors_run(profile, dim, product / dim, spectrum=True))
        fig, axes = figures.figure(1, 2, height=3.0)
        for ax, name, label in zip(axes, (column, "projection_rank"), ("accuracy (%)", "directions spanned")):
            claim.draw_hills(ax, mine, name, legend=name == column)
            if row is not None:
                ax.plot(product, row[name], marker="*", markersize=14, color=figures.PALETTE[1], linestyle="")
            ax.set_ylabel(label)
        axes[0].legend(fontsize=7)
        figures.floors(axes[0], floor_levels(runs, column))
        said = f"yours: {row[column]:.1f} %" if row is not None else "stopped"
        figures.panel_labels(axes, (f"d = {dim}, β = {product / dim:.2g}: {said}", "of the projections"))
        return fig

    return _panel(
        knobs, draw, "Accuracy and the projections' rank against d times beta, with the chosen run as a star."
    )


def multi_augmentation(study: Any, runs: pd.DataFrame) -> Any:
    """Choose views, share of the images and epochs; the run is trained (seconds on the embedded data) unless it is
    stored, and drawn among the ends of the stored ones by training time."""
    from repro.claims import multi_augmentation as claim
    from repro.claims.small_projectors import authors_run, plain_log, staged

    profile = staged(study.profile)
    mine = notebook.rows(study, runs, notebook.find(study, "C7"))
    found, column = claim.cells(mine), kit.column(mine)
    least = claim.EPOCHS[profile.name]
    knobs = {
        "views": _slider(claim.VIEWS, claim.VIEWS[0], "views"),
        "share": _slider(claim.FRACTIONS, 1.0, "images"),
        "epochs": _slider((least, 2 * least, 4 * least), least, "epochs"),
    }

    def draw(views: int, share: float, epochs: int) -> Any:
        dim, cell = int(mine["dim"].max()), claim.Cell(views, share, epochs // least)
        spec = authors_run(profile, dim, claim.chosen_beta(views), views, epochs, share)
        row = _found(runs, spec) if cell not in found else found[cell].iloc[0]
        fig, ax = figures.figure(height=3.2, width=5.6)
        for i, m in enumerate(claim.VIEWS):
            ends = [(claim.seconds(r)[-1], 100 - r[column]) for c, rows in found.items() if c.views == m
                    for _, r in rows.iterrows()]  # fmt: skip
            ax.plot(
                *np.array(ends).T, label=f"{m} views", **figures.style(i) | {"linestyle": ""}, markersize=4, alpha=0.7
            )
        if row is not None:
            x, y = claim.seconds(row)[-1], 100 - row[column]
            ax.plot(x, y, marker="*", markersize=14, color=figures.ink(), linestyle="")
            ax.annotate(f"yours: {y:.1f} %, {x:.1f} s", (x, y), xytext=(8, 6), textcoords="offset points")
        plain_log(ax, "x")
        ax.legend()
        ax.set(xlabel="training seconds", ylabel="test error (%)")
        return fig

    return _panel(knobs, draw, "Test error against training time of all runs, with the chosen run as a star.")


def msr(study: Any, runs: pd.DataFrame) -> Any:
    """Choose beta_base, how it decays and, on scenes, how many images a gray view destroys; the run is trained (seconds
    on the embedded data) unless it is stored, and drawn among the measured ones."""
    profile = study.profile
    spec = msr_beta_decay.standard(profile, MSR())
    scale, mine = msr_beta_decay.SCALES[profile.name], notebook.rows(study, runs, study.claims[0])
    column = kit.column(mine)
    shifts = msr_beta_decay.SHIFTS if profile.data == "scenes" else (0.0,)
    standard = msr_beta_decay.SHIFT if profile.data == "scenes" else 0.0
    knobs = {
        "beta": _slider((0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0), msr_beta_decay.BETA, "beta_base"),
        "decay": _slider(DECAYS, "cosine", "decay"),
        "shift": _slider(shifts, standard, "destroyed"),
    }

    def draw(beta: float, decay: str, shift: float) -> Any:
        method = replace(spec.method, beta=beta, decay=decay, ema=scale.ema)
        chosen = msr_beta_decay.standard(profile, method, shift=shift)
        found = runs[runs["key"].isin({key(chosen), key(chosen.but(pairs=scale.pairs))})]
        row = _found(runs, chosen) if found.empty else found.iloc[0]
        score = float("nan") if row is None else float(row[column])
        fig, (left, right) = figures.figure(1, 2, height=3.0)
        share = np.linspace(0, 1, 101)
        left.plot(share, [beta_at(method, p) for p in share])
        left.set(xlabel="share of the run", ylabel="weight of the aggressive pair", ylim=(-0.02, 1.02))
        level = mine[mine["fragile"].fillna(0.0) == shift] if "fragile" in mine else mine
        for i, (name, scores) in enumerate(by(level, "variant").items()):
            right.plot([i], [scores.mean()], **figures.style(i))
            figures.end_label(right, i, scores.mean(), name, figures.PALETTE[i % 6], 7)
        right.plot(-1, score, marker="*", markersize=14, color=figures.PALETTE[1], linestyle="")
        right.annotate(f"yours: {score:.1f} %", (-1, score), xytext=(6, 8), textcoords="offset points")
        figures.floors(right, floor_levels(level, column))
        right.set(xticks=[], ylabel=f"{kit.tasks(mine)[0]} accuracy (%)", xlim=(-1.5, 7))
        return fig

    return _panel(
        knobs, draw, "The weight of the aggressive pair along the run, and the chosen run's accuracy as a star."
    )


def msr_transfer(study: Any, runs: pd.DataFrame) -> Any:
    """Choose the backbone's weights, the kind of detector and the steps; it is fine-tuned (seconds on the small scenes)
    unless it is stored, and shows what it finds."""
    from repro.claims import msr_transfer as transfer
    from repro.data import coco

    plan = [s for s in study.plan(study.claims[-1]) if isinstance(s, DetectSpec)]
    detectors = {(transfer.WEIGHTS[type(s.start.method).__name__], s.task): s for s in plan if s.seed == 0}
    first = plan[0]
    lengths = sorted({max(1, first.steps * k // 4) for k in (1, 2, 4, 8, 16)})
    knobs = {
        "start": _slider(list(transfer.WEIGHTS.values()), "MSR", "weights"),
        "task": _slider(["mask", "keypoint"], "mask", "detector"),
        "steps": _slider(lengths, first.steps, "steps"),
    }

    def draw(start: str, task: str, steps: int) -> Any:
        spec = replace(detectors[start, task], steps=steps, schedule=1.0)
        row = _found(runs, spec)
        if row is None:
            return figures.figure(height=1.0)[0]
        split = coco.load(spec.data.name, "val", task, spec.data.options, spec.data.size)
        fig = transfer.picture(split, {start: row["curves"].get("shown", [])})
        kinds = ("bbox", "segm") if task == "mask" else ("bbox", "keypoints")
        said = ", ".join(f"{k} AP {row.get(f'{k}_AP', float('nan')):.1f}" for k in kinds)
        fig.suptitle(f"{start} weights, {steps} steps: {said}", fontsize=9)
        return fig

    return _panel(knobs, draw, "Validation images, annotated and as the chosen detector finds them.")


def feature_learning_2d() -> Any:
    """Move beta or the number of steps, and the toy trains anew (about a second). The longer runs show that a low beta is
    late rather than stuck."""
    import ipywidgets as widgets

    from repro import theory
    from repro.claims import feature_learning_2d as claim

    betas = (0.0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 3.0)
    knobs = {
        "beta": _slider(betas, claim.LOW, "β"),
        "steps": _slider((100, 250, 500, 1000, 2000), 500, "steps"),
        "seed": widgets.BoundedIntText(value=0, min=0, max=999, description="seed"),
    }

    def draw(**chosen: Any) -> Any:
        return claim.look(theory.run(theory.ToySpec(**chosen, snapshots=2)))

    return _panel(knobs, draw, "The toy's inputs, its features under the chosen beta, and their singular values.")

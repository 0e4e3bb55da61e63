"""The knobs at the notebooks' ends: widgets that draw views, or a chosen run as a star in its claim's own figure.

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

from repro import figures
from repro.claims import kit, start_here
from repro.core import places, store, sweep
from repro.core.methods import DECAYS, MSR, SimCLR
from repro.core.profiles import base
from repro.core.spec import RunSpec, key
from repro.errors import ReproError
from repro.pages import notebook
from repro.pages.notebook import Study
from repro.views.recipe import Recipe, View, preset

SHARES = (0.0, 0.2, 0.5, 0.8, 1.0)


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
        except (ReproError, ModuleNotFoundError) as e:  # what trains needs torch; stored results do not
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


def _run(study: Study, runs: pd.DataFrame, spec: Any) -> pd.DataFrame:
    """The row of the spec's run, or of one planned for this study that is read otherwise; else it is trained, or read from
    the store.

    Its columns are those of `runs` too, NaN for what a run that diverged lacks. Raises ReproError if it was stopped.
    """
    same = {key(spec)}
    if isinstance(spec, RunSpec):
        same |= {k for k, s in study.specs.items() if isinstance(s, RunSpec) and replace(s, probes=spec.probes) == spec}
    stored = runs[runs["key"].isin(same)]
    if len(stored):
        return stored.head(1)
    found = store.frame(sweep.measure([spec], store.Store(places.store()), workers=1, quiet=True))
    if found.empty:
        raise ReproError("The run was stopped before its end: move a knob to go on.")
    return found.reindex(columns=[*dict.fromkeys([*found, *runs])])


def _score(run: pd.DataFrame) -> float:
    """A run's accuracy: of the linear probe, on the semantic task's test split."""
    return float(run[kit.column(run)].iloc[0])


def _star(ax: Any, x: Any, y: Any, text: str = "") -> None:
    """The chosen run among the others; its text begins "yours"."""
    ax.plot(x, y, marker="*", markersize=14, color=figures.ink(), linestyle="", zorder=7, label="yours, one seed")
    if text:
        ax.annotate(f"yours: {text}", (x, y), xytext=(8, 6), textcoords="offset points", zorder=7)


def _among(
    study: Study, runs: pd.DataFrame, knobs: dict[str, Any], make: Callable[..., RunSpec], panel: Callable[..., None],
    x: Callable, alt: str, y: Callable[[pd.DataFrame], float] = _score,
) -> Any:  # fmt: skip
    """Knobs above a claim's own panel, in which the run that they make is a star. panel(ax, **chosen) draws the others;
    x(run, **chosen), y(run): where the star is."""

    def draw(**chosen: Any) -> Any:
        run = _run(study, runs, make(**chosen))
        fig, ax = figures.figure(height=3.2, width=5.6)
        panel(ax, **chosen)
        _star(ax, x(run, **chosen), y(run), f"{y(run):.1f} %")
        return fig

    return _panel(knobs, draw, f"{alt}, with the chosen run as a star.")


# --- views ------------------------------------------------------------------------------------------------------------


def views(study: Study) -> Any:
    """Choose the images and how strong each augmentation is; see two views of each, and what making them costs here."""
    from repro.bench import views as bench

    spec = base(study.profile)
    knobs = {
        "first": _slider(range(0, 60, 6), 0, "images from"),
        "crop": _slider((0.08, 0.2, 0.35, 0.5, 0.75, 1.0), 0.5, "crop from"),
        "jitter": _slider(SHARES, 0.0, "jitter p"),
        "strength": _slider((0.0, 0.2, 0.4, 0.8), 0.4, "its strength"),
        "hue": _slider((0.0, 0.05, 0.1, 0.2, 0.5), 0.1, "its hue"),
        "gray": _slider(SHARES, 0.2, "gray p"),
        "blur": _slider(SHARES, 0.0, "blur p"),
        "sigma": _slider((0.5, 1.0, 2.0, 4.0), 2.0, "its sigma"),
        "solarize": _slider(SHARES, 0.0, "solarize p"),
        "threshold": _slider((0.0, 0.25, 0.5, 0.75), 0.5, "it inverts from"),
        "noise": _slider((0.0, 0.05, 0.1, 0.2), 0.0, "noise"),
    }

    def draw(first: int, crop: float, strength: float, sigma: float, **rest: float) -> Any:
        same = {"brightness": strength, "contrast": strength, "saturation": strength, "sigma": (0.1, sigma)}
        view = View(crop=(crop, 1.0), **same, **rest)
        recipe, plain = Recipe("explored", (view, view)), Recipe("crop", (View(crop=(crop, 1.0)),) * 2)
        fig = start_here.pictures(spec.data.name, recipe, spec.data.size, first=first, options=spec.data.options)
        cost = bench.cost(spec.data, recipe, plain)
        fig.suptitle(f"time to make these views: {cost:.1f} x cropping alone", fontsize=9)
        return fig

    return _panel(knobs, draw, "Images and two views of each under the chosen augmentations, with their cost.")


# --- a run in its claim's figure: trained (seconds on the embedded data) unless it is stored ----------------------------


def batch_size(study: Study, runs: pd.DataFrame) -> Any:
    """Choose batch, temperature and learning rate."""
    from repro.claims import batch_size as claim

    frame = claim.at_equal(notebook.rows(study, runs, notebook.find(study, "A4")), "epochs")
    spec = base(study.profile, epochs=int(frame["epochs"].max()))
    (batches, temperatures), usual = kit.read(frame, "batch_size", "temperature").levels, SimCLR().temperature
    rates = {*runs.loc[runs["method"] == "SimCLR", "lr"].dropna(), spec.optimiser.lr}
    knobs = {
        "batch_size": _slider([int(b) for b in batches], int(batches[0]), "batch"),
        "temperature": _slider(sorted({*temperatures, usual, 0.07, 0.15, 0.3}), usual, "temperature"),
        "lr": _slider(sorted(rates), spec.optimiser.lr, "lr"),
    }
    panel = kit.curves(frame, "temperature", "batch_size", "batch {}", xlabel="temperature", ylabel=kit.label(frame))
    return _among(
        study, runs, knobs, spec.but, lambda ax, **_: panel(ax), lambda _, temperature, **__: temperature,
        "Accuracy against temperature for each batch size",
    )  # fmt: skip


def evaluation_protocol(study: Study, runs: pd.DataFrame) -> Any:
    """Choose a method and how many labels the offline probes get, which are fitted pass by pass."""
    from repro.claims import evaluation_protocol as claim

    frame = notebook.rows(study, runs, study.claims[0])
    plan = [s for s in study.plan(study.claims[0]) if s.seed == 0]
    methods = {name: s for s in plan if (name := type(s.method).__name__) != "Untrained"}
    knobs = {
        "method": _slider(list(methods), next(iter(methods)), "method"),
        "labels": _slider([("64", 64), ("256", 256), ("1024", 1024), ("all", 0)], 0, "labels"),
    }

    def draw(method: str, labels: int) -> Any:
        run = _run(study, runs, methods[method].but(labels=labels)).dropna(axis=1, how="all")
        if run["diverged"].iloc[0]:
            raise ReproError("This run diverged, so that its probes read nothing: choose another.")
        fig, ax = figures.figure(height=3.0, width=5.4)
        claim.draw_passes(ax, pd.concat([frame[frame["method"] == "Untrained"], run]))
        return fig

    return _panel(knobs, draw, "Accuracy of a linear and an MLP probe against the pass over the features.")


def single_gpu(study: Study, runs: pd.DataFrame) -> Any:
    """Choose a method, its loss parameter and rate, whether its two branches differ as in the authors' code, and behind
    which layer of the projector it is probed."""
    from repro.claims import single_gpu as claim

    grids = {g.title: g for g in claim.GRIDS}
    levels = {title: claim.levels(g, study.profile) for title, g in grids.items()}
    steps = [[(f"step {i + 1}", i) for i in range(max(map(len, of)))] for of in zip(*levels.values())]
    probed = [("backbone", 0), *((f"layer {k + 1}", k + 1) for k in range(base(study.profile).projector.layers))]
    knobs = {
        "method": _slider(list(grids), "SimCLR", "method"),
        "level": _slider(steps[0], 0, "loss parameter"),
        "rate": _slider(steps[1], 0, "learning rate"),
        "branches": _slider(["alike", "two"], "alike", "branches"),
        "layer": _slider(probed, 0, "probe behind"),
    }

    def setting(method: str, level: int, rate: int) -> tuple[float, float]:
        values, rates = levels[method]
        return values[min(level, len(values) - 1)], rates[min(rate, len(rates) - 1)]

    def make(branches: str, layer: int, **cell: Any) -> RunSpec:
        spec = claim.run(study.profile, grids[cell["method"]], *setting(**cell)).but(depths=layer > 0)
        name = "ffcv-ssl-small" if spec.data.size <= 64 else "ffcv-ssl"
        return replace(spec, recipe=preset(name, crop=spec.recipe.views[0].crop)) if branches == "two" else spec

    def panel(ax: Any, method: str, level: int, rate: int, **_: Any) -> None:
        g, (value, lr) = grids[method], setting(method, level, rate)
        frame = notebook.rows(study, runs, notebook.find(study, g.claim))
        kit.curves(frame, "lr", "level", "{:g}", xlabel="learning rate", ylabel=kit.label(frame))(ax)
        ax.set_title(f"{g.title}, {g.symbol} {value:g}, lr {lr:g}", fontsize=8)

    def accuracy(run: pd.DataFrame) -> float:
        layer = knobs["layer"].value
        return float(run[kit.column(run, probe=f"layer{layer}" if layer else "linear")].iloc[0])

    return _among(
        study, runs, knobs, make, panel, lambda _, branches, layer, **cell: setting(**cell)[1],
        "Accuracy against the learning rate, by loss parameter", accuracy,
    )  # fmt: skip


def instance_simclr(study: Study, runs: pd.DataFrame) -> Any:
    """Choose patch, noise and temperature; the star is beside what the other variants reach on each task."""
    from repro.claims import instance_simclr as claim

    size, centre = study.profile.size, claim.settings(study.profile)[0]
    frame = notebook.rows(study, runs, study.claims[0])
    patches = sorted({round(size * k / 16) for k in range(2, 15, 2)} | {centre.patch})
    knobs = {
        "patch": _slider(patches, centre.patch, "patch (px)"),
        "noise": _slider((0.0, 0.05, 0.1, 0.2, 0.3, 0.5), centre.noise, "noise"),
        "temperature": _slider((0.05, 0.1, 0.2, 0.5, 1.0), centre.temperature, "temperature"),
        "everywhere": _slider((("the positive", False), ("all views", True)), False, "noise on"),
    }

    def draw(**chosen: Any) -> Any:
        spec = claim.run(study.profile, replace(centre, **chosen))
        run, names = _run(study, runs, spec), ("itself", "positive", "negative")
        fig = figures.Figure(figsize=(figures.WIDTH, 6.4))
        top, low = fig.subfigures(2, 1, height_ratios=(1.5, 1))
        start_here.pictures(spec.data.name, spec.recipe, size, names=names, options=spec.data.options, into=top)
        ax = low.subplots()
        claim.draw_tasks(ax, frame)
        accuracy = run[kit.task_columns(frame)].iloc[0].to_numpy(float)
        _star(ax, np.arange(len(accuracy)), accuracy)
        ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), fontsize=7)
        return fig

    return _panel(knobs, draw, "Images, their positives and negatives, and the accuracy by task of the chosen run.")


def small_projectors(study: Study, runs: pd.DataFrame) -> Any:
    """Choose the projector's dimension and d x beta."""
    from repro.claims import small_projectors as claim

    profile, rows = claim.sets(study.profile)[0], notebook.rows(study, runs, study.claims[0])
    trained = kit.trained(frame := next(iter(claim.by_set(rows).values())))
    dims = sorted(int(d) for d in trained["dim"].unique())
    products = sorted({float(f"{p:.3g}") for p in trained["dim"] * trained["beta"]} | {0.5, 2.0, 10.0})
    knobs = {
        "dim": _slider(sorted({*dims, 16, 64, 256}), dims[0], "d"),
        "product": _slider(products, 5.0 if 5.0 in products else products[-1], "d × β"),
    }

    return _among(
        study, runs, knobs, lambda dim, product: claim.authors_run(profile, dim, product / dim, spectrum=True),
        lambda ax, **_: claim.hills(frame, "", kit.label(frame))(ax),
        lambda _, product, **__: product, "Accuracy against d times beta, a line a dimension",
    )  # fmt: skip


def multi_augmentation(study: Study, runs: pd.DataFrame) -> Any:
    """Choose views, share of the images and epochs; the star is among the ends of the stored runs by training time."""
    from repro.claims import multi_augmentation as claim
    from repro.claims.small_projectors import by_set, sets

    profile, rows = sets(study.profile)[0], notebook.rows(study, runs, notebook.find(study, "C7"))
    frame, least = next(iter(by_set(rows).values())), claim.EPOCHS[profile.name]
    knobs = {
        "views": _slider(claim.VIEWS, claim.VIEWS[0], "views"),
        "share": _slider(claim.FRACTIONS, 1.0, "images"),
        "epochs": _slider((least, 2 * least, 4 * least), least, "epochs"),
    }

    return _among(
        study, runs, knobs,
        lambda views, share, epochs: claim.run_of(profile, claim.Cell(views, share, epochs // least)),
        lambda ax, **_: claim.draw_ends(ax, frame, claim.curves(frame)),
        lambda run, **_: claim.seconds(run.iloc[0])[-1], "Test error against training time at equal epochs",
        lambda run: 100 - _score(run),
    )  # fmt: skip


def msr(study: Study, runs: pd.DataFrame) -> Any:
    """Choose beta_base, how it decays and, on made-up images, how many images a gray view destroys."""
    from repro.claims import msr_beta_decay as claim

    profile, scale = study.profile, claim.SCALES[study.profile.name]
    frame = notebook.rows(study, runs, study.claims[0])
    made_up = profile.made_up
    knobs = {
        "beta": _slider([i / 10 for i in range(11)], claim.BETA, "beta_base"),
        "decay": _slider(DECAYS, "cosine", "decay"),
        "shift": _slider(claim.SHIFTS if made_up else (0.0,), claim.SHIFT if made_up else 0.0, "destroyed"),
    }

    def make(shift: float, **chosen: Any) -> RunSpec:
        return claim.standard(profile, MSR(**chosen, ema=scale.ema), shift=shift)

    def panel(ax: Any, shift: float, **_: Any) -> None:
        claim.draw_scores(ax, frame[frame["fragile"].fillna(0.0) == shift] if "fragile" in frame else frame)
        ax.set_xlim(-1.5, None)

    return _among(study, runs, knobs, make, panel, lambda *_, **__: -1, "Accuracy of the variants")


def msr_transfer(study: Study, runs: pd.DataFrame) -> Any:
    """Choose the backbone's weights, the kind of detector and the steps; see what it finds."""
    from repro.claims import msr_transfer as claim

    plan = [s for s in study.plan(study.claims[-1]) if type(s).__name__ == "DetectSpec" and s.seed == 0]
    if not plan:
        return f"No detector is planned at profile {study.profile.name}."
    detectors = {(claim.WEIGHTS[type(s.start.method).__name__], s.task): s for s in plan}
    lengths = sorted({max(1, plan[0].steps * k // 4) for k in (1, 2, 4, 8, 16)})
    knobs = {
        "start": _slider(list(claim.WEIGHTS.values()), "MSR", "weights"),
        "task": _slider(["mask", "keypoint"], "mask", "detector"),
        "steps": _slider(lengths, plan[0].steps, "steps"),
    }

    def draw(start: str, task: str, steps: int) -> Any:
        from repro.data import coco

        spec = replace(detectors[start, task], steps=steps, schedule=1.0)
        run = _run(study, runs, spec).iloc[0]
        split = coco.load(spec.data.name, "val", task, spec.data.options, spec.data.size)
        fig = claim.picture(split, {start: run["curves"].get("shown", [])})
        kinds = ("bbox", "segm") if task == "mask" else ("bbox", "keypoints")
        reached = ", ".join(f"{k} AP {run.get(f'{k}_AP', float('nan')):.1f}" for k in kinds)
        fig.suptitle(f"{start} weights, {steps} steps: {reached}", fontsize=9)
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

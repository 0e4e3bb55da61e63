"""The knobs at the end of the notebooks: widgets that train small runs, or draw views, while the reader watches.

They are for looking, not for evidence: what they train goes into the store like any run, but into no verdict.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from repro import figures, places, store, sweep
from repro.claims import start_here
from repro.claims.common import floor_levels, semantic, trained
from repro.methods import SimCLR
from repro.profiles import base
from repro.views.recipe import Recipe, View


def _panel(knobs: dict[str, Any], draw: Callable[..., Any], alt: str) -> Any:
    """Knobs above a picture that is drawn anew whenever one moves."""
    import ipywidgets as widgets
    from IPython.display import Image, display

    picture = widgets.Output()

    def update(_: Any = None) -> None:
        with figures.theme("light"):
            png = io.BytesIO()
            draw(**{name: knob.value for name, knob in knobs.items()}).savefig(png, format="png", dpi=100)
        with picture:
            picture.clear_output(wait=True)
            display(Image(data=png.getvalue(), alt=alt))

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
    column = f"linear_test_{semantic(runs)}"

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
            found = sweep.measure([chosen], store.Store(places.store()), workers=1, quiet=True)
            score = float(store.frame(found)[column].iloc[0]) if found else float("nan")
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
        ax.set(xlabel="temperature", ylabel=f"{semantic(runs)} accuracy (%)", xscale="log")
        ax.set_xticks(temperatures, [f"{t:g}" for t in temperatures], fontsize=7)
        ax.minorticks_off()
        return fig

    return _panel(knobs, draw, "Accuracy against temperature for each batch size, with the chosen run as a star.")

"""One style for every figure, the marks they share, and saving them with their numbers and their provenance.

A figure is drawn twice by the same function, once under each theme, so nothing may carry a fixed colour:
take colours from PALETTE ("C0" to "C5", which the theme in force fills), `ordered` for values with an order (batch
sizes, betas), and `ink`, `muted`, `paper` for the rest. Every colour comes with a marker and a line style, so a gray
print reads as well.

    def draw(frame):
        fig, ax = figure()
        band(ax, frame.batch.unique(), values, label="tuned", index=0)
        floors(ax, {"random encoder": 18.0, "raw pixels": 40.0})
        return Drawing(fig, table, alt="Accuracy rises with ...")

    save(lambda: draw(frame), folder, "A4", caption(frame, "quick"), "batch_size", "quick")

May import core and stats. A first reader need not enter.
"""

# ruff: noqa: F401  (the names that the room offers)
from repro.figures.labels import end_label, floors, panel_labels, paper_value
from repro.figures.marks import band, bars, diverged, heat, intervals, mean_interval
from repro.figures.picture import Figure, Picture, figure, images
from repro.figures.saving import caption, save, show
from repro.figures.style import (
    LINESTYLES,
    MARKERS,
    PALETTE,
    SIGNS,
    VERDICTS,
    WIDTH,
    contrast,
    ink,
    muted,
    ordered,
    paper,
    style,
    text_colour,
    theme,
    word_colour,
)

"""What every claim's tests ask of it: whatever a reader makes of the knobs, there is a figure and a verdict."""

from __future__ import annotations

import pytest

from repro import figures
from repro.pages import notebook

KNOBS = {
    "smoke": {"profile": "smoke"},
    "one task": {"profile": "quick", "data": "digits"},
    "one seed": {"profile": "quick", "seeds": 1},
    "gpu": {"profile": "gpu"},
}


def every_study(slug: str):
    """Parametrises a test with studies of one notebook."""
    return pytest.mark.parametrize("study", [notebook.study(slug, **k) for k in KNOBS.values()], ids=list(KNOBS))


def check_finished(claim, runs, rows: int | None = None) -> None:
    """The claim draws `runs` in both themes, with a table of so many rows (all), and judges them."""
    for theme in ("light", "dark"):
        with figures.theme(theme):
            drawn = claim.draw(runs)
    assert drawn.alt
    assert len(drawn.table) == (len(runs) if rows is None else rows)
    assert claim.judge(runs).data == "made up (stand-in)"

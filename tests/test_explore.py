"""The knobs at the notebooks' ends draw anew when moved, say in words what fails, and never stop papermill."""

import ipywidgets
import pytest

from repro import figures, theory
from repro.core import places
from repro.errors import ReproError
from repro.pages import explore


def test_moving_a_knob_trains_the_toy_anew(monkeypatch):
    trained = []

    def short(spec):
        trained.append(spec)
        return whole(theory.ToySpec(beta=spec.beta, steps=60, snapshots=2))

    whole = theory.run
    monkeypatch.setattr(theory, "run", short)
    knobs, picture = explore.feature_learning_2d().children
    before = picture.value
    knobs.children[0].value = 1.0
    assert [spec.beta for spec in trained] == [0.1, 1.0]
    assert picture.value != before
    assert 'alt="The toy' in picture.value


def test_a_knob_that_cannot_be_drawn_says_why_and_goes_on():
    def draw(size):
        if size == 2:
            raise ReproError("There is no data set <of that size>: choose another.")
        return figures.figure(height=1.0)[0]

    knobs, picture = explore._panel({"size": explore._slider((1, 2), 2, "size")}, draw, "An empty figure.").children
    assert picture.value == "<p>There is no data set &lt;of that size&gt;: choose another.</p>"
    knobs.children[0].value = 1
    assert picture.value.startswith('<img alt="An empty figure."')


@pytest.mark.parametrize("room", ["repro", "notebooks"])
def test_no_output_widget_is_shown_where_papermill_waits(room):
    # papermill's client answers it on the socket it waits on, and then may wait for ever (see explore._panel)
    assert hasattr(ipywidgets, "Output")
    files = [p for p in (places.root() / room).rglob("*") if p.suffix in (".py", ".ipynb")]
    assert files
    assert not [p.name for p in files if "Output(" in p.read_text() or "interact(" in p.read_text()]

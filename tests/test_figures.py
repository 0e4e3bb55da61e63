"""Colours that everyone can tell apart, marks that say what they mean, figures saved whole and the same each time."""

import base64
import io
import itertools
import json
import os
import re
import subprocess
import sys
from types import SimpleNamespace

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from repro import figures
from repro.core import io as core_io
from repro.errors import ReproError
from repro.figures import picture, saving
from repro.figures.style import COLOURS

THEMES = ("light", "dark")
# Machado, Oliveira and Fernandes 2009, full severity: linear RGB as each kind of eye sees it.
EYES = {
    "normal": np.eye(3),
    "protanope": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranope": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanope": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


def lab(color, eye="normal"):
    """CIE Lab of a colour as an eye sees it; distances of about 10 and more are plain at a glance."""
    c = np.array(to_rgb(color))
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.array(EYES[eye]) @ linear, 0, 1)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = matrix @ linear / [0.9505, 1, 1.089]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def drawing(seed=0, alt="Accuracy rises with batch size."):
    values = np.random.default_rng(seed).normal([60, 64, 65], 1, (5, 3))
    fig, ax = figures.figure()
    figures.band(ax, [1, 2, 3], values, label="tuned")
    figures.band(ax, [1, 2, 3], values - 3, label="not tuned", index=1)
    figures.floors(ax, {"random encoder": 52.0, "raw pixels": 51.8})
    return SimpleNamespace(figure=fig, table=pd.DataFrame({"batch": [1, 2, 3], "mean": values.mean(axis=0)}), alt=alt)


# --- colours


@pytest.mark.parametrize("name", THEMES)
def test_every_colour_stands_out_from_its_ground(name):
    with figures.theme(name):
        marks = [*figures.PALETTE, *figures.ordered(5), figures.muted(), figures.ink()]
        assert min(figures.contrast(c, figures.paper()) for c in marks) >= 3
        texts = [figures.text_colour(c) for c in marks]
        assert min(figures.contrast(c, figures.paper()) for c in texts) >= 4.5


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize("name", THEMES)
def test_palette_is_told_apart_by_every_eye(name, eye):
    points = [lab(c, eye) for c in COLOURS[name]]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(points, 2)) >= 10


@pytest.mark.parametrize("name", THEMES)
def test_ordered_colours_go_away_from_the_ground(name):
    with figures.theme(name):
        steps = [figures.contrast(c, figures.paper()) for c in figures.ordered(6)]
        assert steps == sorted(steps)
        assert len(figures.ordered(1)) == 1


def test_gray_print_can_tell_series_apart():
    """Where two grays come close, marker and line style differ: no two series share either."""
    looks = [figures.style(i) for i in range(len(figures.PALETTE))]
    for part in ("marker", "linestyle"):
        assert len({look[part] for look in looks}) == len(looks)


def test_verdicts_differ_in_sign_and_read_on_both_grounds():
    assert len({v.sign for v in figures.VERDICTS.values()}) == len(figures.VERDICTS)
    for verdict in figures.VERDICTS.values():
        assert figures.contrast(verdict.light, "#f4f4f0") >= 4.5
        assert figures.contrast(verdict.dark, "#1d2126") >= 4.5


def test_contrast_is_wcag():
    assert figures.contrast("black", "white") == pytest.approx(21)
    assert figures.contrast("#777777", "white") == pytest.approx(4.478, abs=1e-3)


def test_theme_leaves_the_settings_as_it_found_them():
    before = dict(mpl.rcParams)
    with figures.theme("dark"):
        assert mpl.rcParams["text.color"] != before["text.color"]
    assert dict(mpl.rcParams) == before


def test_unknown_theme_says_which_there_are():
    with pytest.raises(ReproError, match="choose light or dark"), figures.theme("sepia"):
        pass


# --- marks


def test_mean_interval_by_hand():
    mean, low, high = figures.mean_interval([[1.0], [2.0], [3.0]])
    assert mean == pytest.approx(2)
    assert high - mean == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)  # t(0.975, 2 degrees), sd 1
    assert mean - low == pytest.approx(high - mean)


def test_mean_interval_leaves_out_diverged_runs():
    nan = np.nan
    mean, low, high = figures.mean_interval([[1.0, 5.0, nan], [2.0, nan, nan], [3.0, nan, nan]])
    assert mean[:2] == pytest.approx([2, 5])
    assert np.isnan([mean[2], low[1], high[1], low[2], high[2]]).all()


def test_band_shows_where_runs_diverged():
    nan = np.nan
    with figures.theme():
        fig, ax = figures.figure()
        figures.band(ax, [1, 2, 3], [[1.0, 2.0, nan], [1.1, nan, nan]], label="batch 256")
        crosses = [line for line in ax.lines if line.get_marker() == "x"]
        hollow = [line for line in ax.lines if line.get_markerfacecolor() == figures.paper()]
        labels = [t for t in ax.texts if t.get_text() == "batch 256"]
        fig.draw_without_rendering()
    assert [list(line.get_xdata()) for line in crosses] == [[3]]
    assert [list(line.get_xdata()) for line in hollow] == [[2]]
    assert labels[0].xy == (2, 2)  # at the last run that did not diverge


def test_band_of_two_seeds_goes_from_one_to_the_other():
    with figures.theme():
        ax = figures.figure()[1]
        figures.band(ax, [1, 2], [[10.0, 20.0], [30.0, 22.0]])
    heights = ax.collections[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == (10, 30)


def test_band_all_diverged_draws_only_crosses():
    with figures.theme():
        fig, ax = figures.figure()
        figures.band(ax, [1, 2], np.full((3, 2), np.nan), label="lost")
        fig.draw_without_rendering()
    assert not ax.texts
    assert sum(line.get_marker() == "x" for line in ax.lines) == 1


def test_band_of_the_wrong_shape_says_what_it_needs():
    with figures.theme(), pytest.raises(ValueError, match="one column for each x"):
        figures.band(figures.figure()[1], [1, 2, 3], np.zeros((5, 2)))


def test_labels_at_line_ends_never_overlap():
    with figures.theme():
        fig, ax = figures.figure()
        for i in range(6):
            figures.band(ax, [0, 1], [[0, 1 + 0.001 * i]] * 3, label=f"method {i}", index=i)
        figures.floors(ax, {"chance": 1.0, "pixels": 0.2})
        fig.savefig(os.devnull, format="svg")
        boxes = sorted((t.get_window_extent() for t in ax.texts), key=lambda b: b.y0)
        order = [t.get_text() for t in sorted(ax.texts, key=lambda t: t.get_window_extent().y0)]
    assert all(below.y1 <= above.y0 + 0.5 for below, above in itertools.pairwise(boxes))
    assert [name for name in order if name.startswith("method")] == [f"method {i}" for i in range(6)]


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_labels_at_line_ends_stay_in_the_figure(scale):
    with figures.theme():
        fig, ax = figures.figure()
        figures.band(ax, [0, 500], [[1.0, 2.0]] * 2, label="a method of long name")
        figures.floors(ax, {"a floor of a longer name yet": 1.5})
        ax.set_yscale(scale)
        fig.savefig(os.devnull, format="svg")
        assert max(t.get_window_extent().x1 for t in ax.texts) <= fig.bbox.x1


def test_heat_marks_diverged():
    table = pd.DataFrame([[1.0, 9.0], [np.nan, 3.0]], index=["a", "b"], columns=["c", "d"])
    with figures.theme():
        fig, ax = figures.figure()
        figures.heat(ax, table, "accuracy")
        fig.draw_without_rendering()
    assert [t.get_position() for t in ax.texts if t.get_text() == "×"] == [(0.5, 1.5)]


# --- saving


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures") / "new"
    figures.save(drawing, folder, "A4", "Data: scenes.", "batch_size", "quick")
    return folder


def test_save_writes_the_five_files(saved):
    assert sorted(p.name for p in saved.iterdir()) == ["A4-dark.svg", "A4.csv", "A4.json", "A4.png", "A4.svg"]
    about = json.loads((saved / "A4.json").read_text())
    alt = "Accuracy rises with batch size."
    assert about == {"id": "A4", "slug": "batch_size", "profile": "quick", "alt": alt, "caption": "Data: scenes."}
    pd.testing.assert_frame_equal(pd.read_csv(saved / "A4.csv"), drawing().table, rtol=1e-12)
    with Image.open(saved / "A4.png") as png:
        assert png.size == (round(7.2 * 160), round(3.2 * 160))


def test_saved_bytes_are_the_same_in_every_process(saved, tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_figures as t; "
    code += "paths = t.figures.save(t.drawing, sys.argv[2], 'A4', 'Data: scenes.', 'batch_size', 'quick'); "
    code += "print(len(paths))"
    here, env = os.path.dirname(__file__), {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", code, here, str(tmp_path)]
    assert subprocess.run(command, check=True, env=env, capture_output=True, text=True).stdout == "5\n"
    for path in saved.iterdir():
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


def test_themes_share_the_layout(saved):
    light, dark = ((saved / f"A4{s}.svg").read_text() for s in ("", "-dark"))
    assert light != dark

    def shapes(svg):  # without colours, and without the ids hashed from them
        return re.sub(r"#[0-9a-f]{6}\b|m[0-9a-f]{10}", "", svg)

    assert shapes(light) == shapes(dark)


def test_svg_carries_its_own_glyphs_and_no_date(saved):
    svg = (saved / "A4.svg").read_text()
    assert "<text" not in svg
    assert "font-family" not in svg
    assert "dc:date" not in svg
    assert len(svg) < saving.SVG_LIMIT


def test_shortened_numbers_move_nothing_by_more_than_a_hundredth_of_a_point():
    with figures.theme():
        fig = drawing().figure
        raw = io.StringIO()
        with mpl.rc_context({"svg.hashsalt": "A4"}):
            fig.savefig(raw, format="svg", transparent=True, metadata={"Date": None})
        short = picture.svg(fig, "A4", "x").decode()

    def coordinates(svg):
        return [float(v) for d in re.findall(r' d="([^"]*)"', svg) for v in re.findall(r"-?\d+\.?\d*", d)]

    assert np.abs(np.subtract(coordinates(raw.getvalue()), coordinates(short))).max() <= 0.00501
    assert len(short) < len(raw.getvalue())


def test_nothing_is_written_when_a_theme_fails(tmp_path):
    calls = []

    def fails_second():
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("dark")
        return drawing()

    with pytest.raises(RuntimeError):
        figures.save(fails_second, tmp_path, "A4", "", "batch_size", "quick")
    assert list(tmp_path.iterdir()) == []


def test_a_figure_without_alt_text_is_refused(tmp_path):
    with pytest.raises(ReproError, match="say in words"):
        figures.save(lambda: drawing(alt=" "), tmp_path, "A4", "", "batch_size", "quick")
    assert list(tmp_path.iterdir()) == []


def test_a_heavy_svg_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "SVG_LIMIT", 1000)
    with pytest.warns(UserWarning, match="rasterized=True"):
        figures.save(drawing, tmp_path, "A4", "", "batch_size", "quick")


def test_an_unwritable_folder_is_told_in_one_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(core_io.os, "replace", full)
    with pytest.raises(ReproError, match="is full"):
        figures.save(drawing, tmp_path, "A4", "", "batch_size", "quick")
    assert list(tmp_path.iterdir()) == []


def test_show_marks_the_output_for_the_gallery(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    figures.save(drawing, tmp_path, "A4", "", "batch_size", "quick")
    figures.show(tmp_path, "A4")
    (args, options) = shown[0]
    assert options["metadata"]["image/png"]["width"] == round(96 * drawing().figure.get_figwidth())
    assert options["metadata"]["repro"] == {"figure": "A4"}
    assert options["metadata"]["image/png"]["alt"] == "Accuracy rises with batch size."
    assert set(args[0]) == {"image/png", "text/plain"}


# --- captions


def test_a_figure_as_a_cells_last_value_is_a_picture():
    """Also without pyplot, whose import is what makes IPython show figures; in the theme it was drawn in."""
    from IPython.core.formatters import DisplayFormatter

    with figures.theme("light"):
        fig, ax = figures.figure(height=2.0, width=3.0)
        ax.plot([0, 1])
    fig.alt = "A line."
    data, meta = DisplayFormatter().format(fig)
    assert data["text/plain"] == "A line."
    assert meta["image/png"]["alt"] == "A line."
    assert meta["image/png"]["width"] == 288
    shown = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert shown.size == (3 * picture.DPI, 2 * picture.DPI)


def test_caption_tells_where_the_numbers_come_from():
    frame = pd.DataFrame(
        {
            "data_title": ["scenes (stand-in)"] * 2,
            "backbone": ["convnet"] * 2,
            "seed": [0, 1],
            "wall_seconds": [100.0, 80.0],
            "hardware": ["some CPU, 2 cores"] * 2,
            "commit": ["034df11aaaaa+"] * 2,
            "versions": [{"python": "3.11.7", "torch": "2.11.0"}] * 2,
            "started": ["2025-01-02T03:04:05", "2025-01-03T03:04:05"],
        }
    )
    assert figures.caption(frame, "quick") == (
        "Data: scenes (stand-in), convnet; profile quick: 2 runs over 2 seeds, 3.0 min in all; "
        "measured on some CPU, 2 cores; commit 034df11+; python 3.11.7, torch 2.11.0; 2025-01-03."
    )


def test_caption_leaves_out_what_is_not_known():
    nothing = "The paper's numbers, as cited; nothing is measured at profile smoke."
    assert figures.caption(pd.DataFrame(), "smoke") == nothing
    frame = pd.DataFrame({"seed": [1], "data_title": [None], "wall_seconds": [np.nan]})
    assert figures.caption(frame, "gpu") == "Profile gpu: 1 run over 1 seed."

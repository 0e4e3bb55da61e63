"""The built gallery: complete, self-contained, its links and images all there; and seen by a real browser."""

import base64
import itertools
import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import nbformat
import nbformat.v4 as v4
import pandas as pd
import pytest
from bs4 import BeautifulSoup
from matplotlib.colors import to_rgb

from repro import figures
from repro.claims import Found, Verdict
from repro.claims.registry import load
from repro.core import places
from repro.errors import ReproError
from repro.pages import gallery as gallery_module
from repro.pages.gallery import build
from repro.pages.gallery.build import _natural, _swap, outcome
from repro.pages.gallery.render import clean, inline, markdown, render

PIXEL = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()
WIDGETS = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"


def drawing():
    fig, ax = figures.figure()
    figures.band(ax, [1, 2, 3], [[60.0, 64, 65], [61, 63, 66]], label="tuned")
    rows = pd.DataFrame({"batch": range(50), "accuracy": [60.123456789] * 50})
    return SimpleNamespace(figure=fig, table=rows, alt='Accuracy rises, and "flattens" <at the end>.')


def verdict(word, effect=2.1, low=1.2, high=3.0, unit="points", sentence="The gap shrinks by 2.1 points."):
    return {
        "verdict": word,
        "effect": effect,
        "low": low,
        "high": high,
        "unit": unit,
        "seeds": 5,
        "data": "scenes (stand-in)",
        "backbone": "convnet",
        "sentence": sentence,
    }


def shown(mark=None, **data):
    return v4.new_output("display_data", data=data, metadata={"repro": mark} if mark else {})


def notebook():
    figure = v4.new_output("display_data", data={"image/png": PIXEL}, metadata={"repro": {"figure": "A3"}})
    marked = shown({"figure": "A4"}, **{"text/html": f'<img src="data:image/png;base64,{PIXEL}">'})
    cells = [
        v4.new_markdown_cell(
            "# Large batches help *some* tasks\n\nWith $\\tau = 0.1$:\n\n$$\\ell(a,b) = 2 - 2\\cos(a,b)$$\n\n"
            "Next: [loading](05_data_loading.ipynb), [start](00_start_here.ipynb#hello), "
            "[the README](../README.md), [the paper](https://arxiv.org/abs/2303.01986). Costs `$5`."
        ),
        v4.new_code_cell('profile = "smoke"', metadata={"tags": ["parameters"]}),
        v4.new_code_cell('profile = "quick"', metadata={"tags": ["injected-parameters"]}),
        v4.new_markdown_cell("## Measure\n\n# Not a second title\n\n## Measure"),
        v4.new_code_cell(
            "measure()",
            outputs=[
                v4.new_output("stream", name="stdout", text="<75> "),  # printed as one line, sent in two pieces
                v4.new_output("stream", name="stdout", text="runs\n"),
                v4.new_output("stream", name="stderr", text="  1%|\r100%|done\n"),
            ],
        ),
        v4.new_code_cell(
            'show("A3")',
            outputs=[
                figure,
                shown({"caption": "A3"}, **{"text/html": "<p><small>Data: scenes (stand-in).</small></p>"}),
            ],
        ),
        v4.new_code_cell('show("A4")', outputs=[marked]),
        v4.new_code_cell('show("A3")', outputs=[figure]),
        v4.new_code_cell('verdict("A4")', outputs=[shown({"verdict": "A4"}, **{"text/html": "<b>own words</b>"})]),
        v4.new_code_cell('verdict("A6")', outputs=[shown({"verdict": "A6"}, **{"text/html": "<b>kept words</b>"})]),
        v4.new_code_cell(
            "runs",
            outputs=[
                shown(
                    **{
                        "text/html": '<style>td{color:red}</style><script>alert(1)</script><table onclick="x()">'
                        '<tr><td style="color:red;text-align:right">7</td></tr></table>'
                        '<img src="https://e.org/x.png" alt="lost">'
                    }
                )
            ],
        ),
        v4.new_code_cell("play()", outputs=[shown(**{VIEW: {"model_id": "box"}, "text/plain": "interactive(...)"})]),
        v4.new_code_cell("film()", outputs=[shown(**{"image/gif": PIXEL})]),
    ]
    nb = v4.new_notebook(cells=cells)
    nb.metadata["papermill"] = {"output_path": "/home/someone/build/01_batch_size.ipynb"}
    picture = {"output_type": "display_data", "data": {"image/png": PIXEL}, "metadata": {"image/png": {"alt": "knob"}}}
    nb.metadata["widgets"] = {
        WIDGETS: {
            "state": {
                "box": {"model_name": "VBoxModel", "state": {"children": [f"IPY_MODEL_{c}" for c in "sdoxh"]}},
                "s": {"model_name": "FloatSliderModel", "state": {"description": "tau:", "value": 0.2}},
                "d": {
                    "model_name": "DropdownModel",
                    "state": {"description": "batch", "_options_labels": ["16", "64"], "index": 1},
                },
                "o": {"model_name": "OutputModel", "state": {"outputs": [picture]}},
                "h": {
                    "model_name": "HTMLModel",
                    "state": {"value": f'<img alt="drawn" src="data:image/png;base64,{PIXEL}"><script>0</script>'},
                },
            }
        }
    }
    return nb


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Figures of two profiles and executed notebooks of one."""
    root = tmp_path_factory.mktemp("sources")
    quick, gpu = root / "figures/quick/batch_size", root / "figures/gpu/batch_size"
    for name in ("A3", "A4"):
        figures.save(drawing, quick, name, "Data: scenes (stand-in).", "batch_size", "quick")
    shutil.copytree(quick, gpu)
    (quick / "runs.jsonl").write_text("{}\n")
    part = {"name": "the gap shrinks", "rule": "SUP(1)", "word": "supported", "mean": 2.1, "low": 1.2, "high": 3.0}
    part |= {"unit": "points", "seeds": 5, "needed": 0, "paper": 4.5}
    other = part | {"name": "the best differs", "rule": "CROSS", "word": "too small", "mean": -0.4, "paper": None}
    mixed = verdict("mixed") | {"evidence": "stand-in", "finding": "2.1 points.", "parts": [part, other]}
    unjudged = verdict("not judged", None, None, None) | {"evidence": "toy", "parts": [part]}
    worded = {"A3": verdict("reproduced") | {"evidence": "stand-in"}, "A4": mixed, "A5": unjudged}
    (quick / "verdicts.json").write_text(json.dumps(worded))
    (gpu / "verdicts.json").write_text(json.dumps({"A3": verdict("contradicted", -0.4, -1, -0.2)}))
    runs = root / "notebooks/quick"
    runs.mkdir(parents=True)
    nbformat.write(notebook(), runs / "01_batch_size.ipynb")
    nbformat.write(
        v4.new_notebook(cells=[v4.new_markdown_cell("# Start here\n## Hello")]), runs / "00_start_here.ipynb"
    )
    return root


@pytest.fixture(scope="module")
def gallery(sources, tmp_path_factory):
    out = tmp_path_factory.mktemp("built") / "gallery"
    build("all", sources / "figures", sources / "notebooks", out)
    return out


@pytest.fixture(scope="module")
def pages(gallery):
    return {str(p.relative_to(gallery)): BeautifulSoup(p.read_text(), "html.parser") for p in gallery.rglob("*.html")}


@pytest.fixture(scope="module")
def page(pages):
    return pages["quick/batch_size.html"]


# --- the whole


def test_pages_are_those_with_something_to_show(pages):
    shown = {name for name in pages if not name.startswith("reference/")}
    assert shown == {"index.html", "quick/batch_size.html", "quick/start_here.html", "gpu/batch_size.html"}


def test_what_is_not_drawn_here_is_shown_from_the_results_beneath(sources, tmp_path):
    own = tmp_path / "own" / "quick" / "batch_size"
    shutil.copytree(sources / "figures/quick/batch_size", own)
    (own / "verdicts.json").write_text(json.dumps({"A3": verdict("contradicted", -0.4, -1, -0.2)}))
    out = tmp_path / "g"
    build("all", tmp_path / "own", tmp_path / "none", out, beneath=sources / "figures")
    told = {p: BeautifulSoup((out / p / "batch_size.html").read_text(), "html.parser") for p in ("quick", "gpu")}
    assert "contradicted" in told["quick"].find(id="verdict-A3").text  # drawn here
    assert told["gpu"].find(id="figure-A4")  # from beneath
    assert "reproduced" not in told["quick"].find(id="verdict-A3").text


@pytest.mark.parametrize("address", ["", "someone/companion"])
def test_pages_lead_to_colab_where_the_repository_has_an_address(sources, tmp_path, monkeypatch, address):
    monkeypatch.setattr(places, "address", lambda: address)
    build("gpu", sources / "figures", tmp_path / "none", tmp_path / "g")
    page = BeautifulSoup((tmp_path / "g/gpu/batch_size.html").read_text(), "html.parser")
    links = [a["href"] for a in page.find_all("a") if a.text == "Open in Colab"]
    wanted = f"https://colab.research.google.com/github/{address}/blob/main/notebooks/01_batch_size.ipynb"
    assert links == [wanted] * bool(address)


def test_every_link_and_image_leads_somewhere(gallery, pages):
    seen = 0
    for name, soup in pages.items():
        refs = [(t, t.get(a)) for t in soup.find_all(True) for a in ("href", "src", "srcset") if t.get(a)]
        for tag, ref in refs:
            parts = urlsplit(ref)
            if parts.scheme == "data":
                continue
            if parts.scheme:
                assert tag.name == "a", f"{name} loads {ref}"
                continue
            target = (gallery / name).parent / unquote(parts.path) if parts.path else gallery / name
            assert target.is_file(), f"{name}: {ref}"
            if parts.fragment:
                other = BeautifulSoup(target.read_text(), "html.parser")
                assert other.find(id=parts.fragment) is not None, f"{name}: {ref}"
            seen += 1
    assert seen > 50


def test_nothing_is_loaded_from_elsewhere_and_nothing_runs(gallery, pages):
    for name, soup in pages.items():
        scripts = soup.find_all("script")
        assert [s.get("src") for s in scripts] == [None] * (name == "index.html"), name  # the search box
        assert not soup.find_all(["iframe", "object", "embed", "style", "form"]), name
        assert not [t for t in soup.find_all(True) if any(a.startswith("on") for a in t.attrs)], name
    css = (gallery / "style.css").read_text()
    assert "url(" not in css
    assert "@import" not in css


def test_pages_are_sound_html(pages):
    for name, soup in pages.items():
        assert soup.html["lang"] == "en"
        assert soup.find("main", id="main")
        assert soup.find("a", class_="skip")["href"] == "#main"
        assert len(soup.find_all("h1")) == 1, name
        levels = [int(h.name[1]) for h in soup.find_all(["h1", "h2", "h3", "h4"])]
        assert all(b <= a + 1 for a, b in itertools.pairwise(levels)), f"{name} skips a level: {levels}"
        ids = [t["id"] for t in soup.find_all(id=True)]
        assert len(ids) == len(set(ids)), name
        assert all(img.has_attr("alt") for img in soup.find_all("img")), name


def test_building_twice_gives_the_same_bytes(sources, gallery, tmp_path):
    build(["quick", "gpu"], sources / "figures", sources / "notebooks", tmp_path / "g")
    for path in gallery.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (tmp_path / "g" / path.relative_to(gallery)).read_bytes(), path


def test_a_rebuild_replaces_the_whole_and_leaves_nothing_beside(sources, tmp_path):
    out = tmp_path / "gallery"
    build("quick", sources / "figures", sources / "notebooks", out)
    (out / "stale.html").write_text("old")
    build("quick", sources / "figures", sources / "notebooks", out)
    assert not (out / "stale.html").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["gallery"]


def test_a_failed_build_leaves_the_old_gallery(sources, tmp_path):
    out, figs = tmp_path / "gallery", tmp_path / "figures"
    build("quick", sources / "figures", sources / "notebooks", out)
    before = (out / "index.html").read_bytes()
    (figs / "quick/batch_size").mkdir(parents=True)
    (figs / "quick/batch_size/verdicts.json").write_text("{")
    with pytest.raises(ReproError, match=r"verdicts\.json is broken"):
        build("quick", figs, sources / "notebooks", out)
    assert (out / "index.html").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures", "gallery"]


def test_a_folder_that_is_no_gallery_is_not_replaced(sources, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ReproError, match="choose an empty or new folder"):
        build("quick", sources / "figures", sources / "notebooks", tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_unknown_profile_names_the_known(sources, tmp_path):
    with pytest.raises(ReproError, match="choose all or one of smoke, quick, cpu, gpu, paper"):
        build("fast", sources / "figures", sources / "notebooks", tmp_path / "g")


def test_a_broken_notebook_is_named(sources, tmp_path):
    (tmp_path / "nb/quick").mkdir(parents=True)
    (tmp_path / "nb/quick/01_batch_size.ipynb").write_text("{}")
    with pytest.raises(ReproError, match=r"01_batch_size\.ipynb cannot be read"):
        build("quick", sources / "figures", tmp_path / "nb", tmp_path / "g")


def test_without_figures_and_notebooks_all_is_not_yet(tmp_path):
    index = build("all", tmp_path / "none", tmp_path / "none", tmp_path / "g")
    soup = BeautifulSoup(index.read_text(), "html.parser")
    badges = {b.get_text(" ", strip=True) for b in soup.find_all(class_="badge")}
    assert badges == {"· not yet"}
    assert len(soup.select(".claims > li")) == len(load().claims)


# --- the index


def test_index_lists_every_claim_and_counts_the_verdicts(pages):
    index = pages["index.html"]
    rows = {li.find(class_="id").get_text(): li for li in index.select(".claims > li")}
    assert set(rows) == set(load().claims)
    counts = [[li.get_text(" ", strip=True) for li in ul.find_all("li")] for ul in index.find_all(class_="counts")]
    n = len(rows)
    assert counts == [
        ["stand-in", "✓ 1 reproduced", "◐ 1 mixed"],
        ["toy", "– 1 not judged"],
        [f"· {n - 3} not yet"],
        ["✗ 1 contradicted", f"· {n - 1} not yet"],  # of a verdict that names no class
    ]
    badges = [b.get_text(" ", strip=True) for b in rows["A3"].find_all(class_="badge")]
    assert badges == ["✓ reproduced", "✗ contradicted"]


def test_index_links_a_claim_to_its_figure_and_verdict(pages):
    index = pages["index.html"]
    hrefs = {a["href"] for a in index.find_all("a")}
    assert {"quick/batch_size.html#verdict-A4", "gpu/batch_size.html#figure-A4", "quick/start_here.html"} <= hrefs


def test_claim_map_is_in_order(pages):
    ids = [li.get_text(" ", strip=True).split()[0] for li in pages["index.html"].select(".map li")]
    half = ids[: len(ids) // 2]
    assert half == sorted(load().claims, key=_natural)


def test_index_begins_with_a_sentence_a_claim_the_strongest_evidence_first(pages):
    index = pages["index.html"]
    found = {li.find(class_="id").get_text(): li for li in index.select(".found > li")}
    assert list(found) == ["A3", "A4", "A5"]  # two on stand-ins, then a toy
    assert "2.1 points. quick, stand-in. The claim: SimCLR's gap" in found["A4"].get_text(" ", strip=True)
    order = [index.find(id=name).sourceline for name in ("found", "forests", "standing", "part-1")]
    assert order == sorted(order)


def test_without_scripts_the_index_has_filters_and_no_search_box(pages, gallery):
    index, css = pages["index.html"], (gallery / "style.css").read_text()
    assert index.find(id="find").has_attr("hidden")  # until the script shows it
    tags = {tag for row in index.select(".row") for tag in row["data-v"].split()}
    for radio in index.select(".filter input[id^=on-]"):
        assert f":has(#{radio['id']}:checked)" in css
        assert radio["id"].removeprefix("on-") in tags | {"inconclusive"}
    assert all(f":has(#{r['id']}:checked)" in css for r in index.select(".filter input[name=paper]")[1:])


def test_reference_has_every_public_function_and_the_losses_with_equation_and_example(pages):
    import repro.ssl.losses as losses

    page = pages["reference/methods.html"]
    names = {h["id"] for h in page.find_all("h3")}
    assert {
        f"repro.ssl.losses.{n}" for n, v in vars(losses).items() if getattr(v, "__module__", "") == losses.__name__
    } <= names
    assert "repro.core.methods.SimCLR" in names
    section = page.find(id="repro.ssl.losses.nt_xent").find_all_next(["math", "pre"], limit=2)
    assert section[0].name == "math"
    assert section[1].get_text().split()[-1] == "0.2395"
    assert pages["reference/core.html"].find(id="repro.core.store.Store.put")
    assert not pages["reference/core.html"].find(id=re.compile(r"\._"))


# --- a notebook's page


def test_title_comes_from_the_notebook(page, pages):
    assert page.h1.decode_contents() == "Large batches help <em>some</em> tasks"
    assert page.title.get_text() == "Large batches help some tasks · quick"
    assert pages["gpu/batch_size.html"].h1.get_text() == "Large batches help some tasks"


def test_math_is_mathml(page):
    maths = page.find_all("math")
    assert {m.get("display") for m in maths} == {"inline", "block"}
    assert "\\tau" not in page.get_text()
    assert "$5" in page.get_text()  # code is no math
    assert not [p for p in page.find_all("p") if p.find("div")]


def test_a_figure_stands_once_in_place_of_its_bitmap(page):
    for claim in ("A3", "A4"):
        assert len(page.find_all(id=f"figure-{claim}")) == 1
    assert page.find("p", class_="again").a["href"] == "#figure-A3"
    assert page.get_text().count("Data: scenes (stand-in).") == 2  # once a figure
    inside = page.select("article .outputs img")
    assert not [i for i in inside if i.get("alt") == "Output of the cell above" and not i.find_parent("details")]


def test_a_figure_has_two_themes_alt_caption_downloads_and_numbers(page):
    figure = page.find(id="figure-A4")
    source, img = figure.picture.source, figure.picture.img
    assert source["media"] == "(prefers-color-scheme: dark)"
    assert (source["srcset"], img["src"]) == ("batch_size/A4-dark.svg", "batch_size/A4.svg")
    assert img["alt"] == 'Accuracy rises, and "flattens" <at the end>.'
    assert (img["width"], img["height"]) == ("691", "307")  # 7.2 x 3.2 inches in CSS pixels
    assert "Data: scenes (stand-in)." in figure.figcaption.get_text()
    files = [a["href"].removeprefix("batch_size/") for a in figure.select(".files a")]
    assert files == ["A4.svg", "A4-dark.svg", "A4.png", "A4.csv"]
    assert len(figure.select("tbody tr")) == 40
    assert "10 more rows" in figure.get_text()
    assert figure.select("tbody td")[1].get_text() == "60.123"


def test_a_verdict_is_word_and_sign_beside_paper_measure_and_criterion(page):
    entry = load().claims["A4"]
    card = page.find(id="verdict-A4")
    text = card.get_text(" ", strip=True)
    assert "◐ mixed" in text
    assert entry.headline in text
    assert entry.criterion in text
    assert "the gap shrinks: 2.10 [1.20, 3.00] points (the paper: 4.5)" in text
    assert "stand-in: 5 seeds, scenes (stand-in), convnet" in text
    assert "The gap shrinks by 2.1 points." in text


def test_parts_stand_in_a_table_and_have_no_word_where_the_claim_is_not_judged(page):
    def rows(claim):
        return [[td.get_text(" ", strip=True) for td in tr.find_all("td")] for tr in page.select(f"#{claim} .parts tr")]

    assert rows("verdict-A4")[1:] == [
        ["the gap shrinks", "2.10 [1.20, 3.00] points", "SUP(1)", "4.5", "✓ supported"],
        ["the best differs", "−0.40 [1.20, 3.00] points", "CROSS", "", "< too small"],
    ]
    assert [row[-1] for row in rows("verdict-A5")[1:]] == ["– not judged"]


def test_every_word_has_its_colour(gallery):
    css = (gallery / "style.css").read_text()
    for word in figures.SIGNS:
        assert (
            re.search(rf"\.{word.replace(' ', '-')}\b[^{{]*{{ --v: var\(--([\w-]+)\)", css)[1] in css.split("@media")[0]
        )


def test_the_index_shows_the_forest_of_a_profile_with_parts(gallery, pages):
    (forest,) = pages["index.html"].select(".forest")
    assert forest.img["src"] == "quick/forest.svg"
    assert "3 parts of the claims at profile quick: 1 supported, 1 too small, 1 not judged" in forest.img["alt"]
    assert (gallery / "quick/forest.csv").read_text().count("A4") == 2
    assert not (gallery / "gpu/forest.svg").exists()


def test_contradictions_are_shown(page):
    notes = [n.get_text(" ", strip=True) for n in page.select("#verdict-A5 .note")]
    for note, (kind, _, text) in zip(notes, (n.partition(": ") for n in load().claims["A5"].notes), strict=True):
        assert note == f"{kind}. {text[0].upper()}{text[1:]}"


def test_verdicts_take_the_place_of_marked_outputs_where_there_is_one(page):
    assert "own words" not in page.get_text()
    assert "kept words" in page.get_text()  # A6 has no stored verdict
    order = [t["id"] for t in page.select("[id^=figure-], [id^=verdict-]")]
    assert order[:4] == ["figure-A3", "verdict-A3", "figure-A4", "verdict-A4"]
    others = {e.id for e in load().claims.values() if e.slug == "batch_size"} - {"A3", "A4"}
    assert set(order[4:]) == {f"verdict-{i}" for i in others}


def test_the_executed_notebook_can_be_downloaded_and_names_no_folder(gallery, page):
    href = page.select_one(".title .files a")["href"]
    text = (gallery / "quick" / href).read_text()
    assert "/home/someone" not in text
    assert nbformat.reads(text, as_version=4).cells[2].metadata.tags == ["injected-parameters"]


def test_links_between_notebooks_become_links_between_pages(page):
    prose = page.find("div", class_="prose")
    assert [a["href"] for a in prose.find_all("a")] == ["start_here.html#hello", "https://arxiv.org/abs/2303.01986"]
    assert "loading" in prose.get_text()  # its page does not exist, so it is text
    assert "the README" in prose.get_text()


def test_code_is_folded_and_parameters_are_open(page):
    folds = {d.summary.span.get_text(): d for d in page.select("details.code") if d.summary.span}
    assert folds["Parameters of this run"].has_attr("open")
    assert not folds["Parameters and their defaults"].has_attr("open")
    assert 'profile = "smoke"' in folds["Parameters and their defaults"].get_text()


def test_outputs_are_cleaned(page):
    cell = page.select_one("div.html td")
    assert cell["style"] == "text-align:right;"
    assert cell.find_parent("div", class_="scroll")
    assert "alert(1)" not in page.get_text()
    assert "lost" in page.get_text()  # the alt text of an image that would come from elsewhere
    assert "<75> runs" in page.get_text()
    messages = next(d for d in page.select("details.code") if d.summary.get_text() == "Messages")
    assert messages.pre.get_text() == "100%|done\n"


def test_a_widget_is_shown_as_it_stood(page):
    widget = page.find(class_="widget")
    assert [li.get_text(" ", strip=True) for li in widget.find_all("li")] == ["tau 0.2", "batch 64"]
    assert [img["alt"] for img in widget.find_all("img")] == ["knob", "drawn"]
    assert not widget.script
    assert "notebooks/01_batch_size.ipynb" in widget.get_text()
    assert "interactive(...)" not in page.get_text()


def test_a_film_can_be_folded_away(page):
    assert page.select_one("details.film[open] img")["src"].startswith("data:image/gif")


def test_contents_list_the_sections(page):
    contents = [a["href"] for a in page.select("nav.contents a")]
    assert contents == ["#measure", "#not-a-second-title", "#measure-2", "#other-claims"]


def test_profiles_link_to_each_other(page, pages):
    assert [a["href"] for a in page.select("nav.profiles a")] == ["../quick/batch_size.html", "../gpu/batch_size.html"]
    assert page.select_one("nav.profiles [aria-current]").get_text() == "quick"
    gpu = pages["gpu/batch_size.html"]
    assert "has not been executed at profile gpu" in gpu.get_text()
    assert gpu.find(id="figure-A3")


def test_unexecuted_notebooks_give_titles(sources, tmp_path):
    (tmp_path / "nb").mkdir()
    nbformat.write(
        v4.new_notebook(cells=[v4.new_markdown_cell("# A fast loader\nx")]), tmp_path / "nb/05_data_loading.ipynb"
    )
    index = build("gpu", sources / "figures", tmp_path / "none", tmp_path / "g", notebooks=tmp_path / "nb")
    titles = [h.get_text() for h in BeautifulSoup(index.read_text(), "html.parser").select("h3")]
    assert "A fast loader" in titles
    assert "Instance SimCLR" in titles


# --- pieces


def test_numbers_have_real_minus_signs_and_names_keep_their_hyphens():
    part = Found("CIFAR-10, batch -1", "EQ(2 around -1)", "supported", -0.04, -0.12, 0.041, "points", 5, paper=-0.1)
    shown = outcome(Verdict("mixed", -0.04, -0.12, 0.041, "points", 5, "CIFAR-10", "convnet", "", parts=(part,)))
    measured = "−0.040 [−0.120, 0.041] points"
    assert shown.effect == f"CIFAR-10, batch −1: {measured} (the paper: −0.1)"
    assert shown.parts == [("CIFAR-10, batch −1", measured, "EQ(2 around −1)", "−0.1", "supported")]
    assert outcome(Verdict("not judged", None, None, None, "points", 0, "", "", "")).effect == ""


def test_clean_lets_nothing_through_that_runs_or_loads():
    dirty = (
        '<a href="javascript:x()">a</a><a href=" https://e.org">b</a><svg onload="x()"><circle/></svg>'
        '<img src="x.png" alt="c"><img src="data:text/html,x"><p style="background:url(https://e.org);font-weight:bold">d</p>'
        '<iframe src="https://e.org"></iframe><math><mi>x</mi></math><!-- hidden --><base href="https://e.org">'
    )
    assert clean(dirty) == 'a<a href="https://e.org">b</a>c<p style="font-weight:bold;">d</p><math><mi>x</mi></math>'


def test_math_that_cannot_be_converted_is_shown_as_written():
    assert "<code>\\begin{nope</code>" in markdown("$\\begin{nope$")


def test_inline_is_one_line_without_paragraph():
    assert inline("a *b* < c") == "a <em>b</em> &lt; c"
    assert inline("p < .05 and beta_base, 3 * 4 * 5") == "p &lt; .05 and beta_base, 3 * 4 * 5"


def test_an_error_output_is_shown():
    cell = v4.new_code_cell(
        "x", outputs=[v4.new_output("error", ename="E", evalue="v", traceback=["\x1b[31mE\x1b[0m: v"])]
    )
    html = render(v4.new_notebook(cells=[cell]), lambda *_: None, lambda _: None, "x")[0]
    assert '<pre class="scroll text error" tabindex="0">E: v</pre>' in html


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_colour_reads_on_every_ground(theme):
    css = (Path(gallery_module.__file__).parent / "style.css").read_text()
    block = css.split("@media (prefers-color-scheme: dark)")[theme == "dark"].split("@media")[0]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    assert {"paper", "tint", "ink", "quiet", "accent"} < set(colours)
    verdicts = [getattr(v, theme) for v in figures.VERDICTS.values()]
    texts = [v for k, v in colours.items() if k not in ("paper", "tint", "rule")] + verdicts
    for ground in (colours["paper"], colours["tint"]):
        assert min(figures.contrast(text, ground) for text in texts) >= 4.5
    for verdict in verdicts:  # a claim's cell on the index is tinted with 11 % of its own colour
        tinted = [0.11 * a + 0.89 * b for a, b in zip(to_rgb(verdict), to_rgb(colours["paper"]))]
        assert figures.contrast(verdict, tinted) >= 4.5


# --- a real browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars --allow-file-access-from-files "
    "--virtual-time-budget=10000 --dump-dom"
)


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_the_page_whole(gallery, tmp_path, width, dark):
    """Each page in a frame: every image decoded and in the right theme, no sideways scrolling."""
    names = sorted(str(p.relative_to(gallery)) for p in gallery.rglob("*.html"))
    names = [n for n in names if not n.startswith("reference/") or n.endswith("methods.html")]
    style = f"position:absolute;left:0;top:0;width:{width}px;height:12000px;border:0"
    probe = tmp_path / "probe.html"
    probe.write_text(
        "".join(f'<iframe src="{(gallery / n).as_uri()}" style="{style}"></iframe>' for n in names)
        + """<pre id="out"></pre><script>
        const look = ({contentWindow: f}) => {
          const d = f.document, body = f.getComputedStyle(d.body);
          return {heading: d.querySelector("h1").textContent, width: d.documentElement.scrollWidth,
            images: [...d.images].map(i => [i.currentSrc.slice(-40), i.naturalWidth, i.getBoundingClientRect().width]),
            ground: body.backgroundColor, ink: body.color};
        };
        onload = () => { out.textContent = JSON.stringify([...document.querySelectorAll("iframe")].map(look)) };
        </script>"""
    )
    theme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", *theme]
    command += [f"--window-size={width + 200},12000", probe.as_uri()]  # tall enough for what loads lazily
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    seen = json.loads(BeautifulSoup(done.stdout, "html.parser").find(id="out").get_text())
    assert len(seen) == len(names)
    for page in seen:
        assert page["heading"]
        assert page["width"] <= width, page["heading"]
        for src, natural, drawn in page["images"]:
            assert natural > 0, src
            assert drawn > 0, src
            if ".svg" in src:
                assert src.endswith("-dark.svg") == dark, src
        ground, ink = (_rgb(page[k]) for k in ("ground", "ink"))
        assert figures.contrast(ground, ink) > 7
        assert (sum(ground) < sum(ink)) == dark
    assert sum(len(page["images"]) for page in seen) >= 8


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_filter_and_a_search_leave_what_fits(gallery, tmp_path):
    probe = tmp_path / "probe.html"
    probe.write_text(
        f'<iframe src="{(gallery / "index.html").as_uri()}" style="width:1200px;height:900px"></iframe><pre id="out"></pre>'
        """<script>
        onload = () => {
          const d = document.querySelector("iframe").contentDocument, all = (s) => [...d.querySelectorAll(s)];
          const there = (s) => all(s).filter(r => r.checkVisibility());
          const seen = () => there(".claims > .row").map(r => r.querySelector(".id").textContent);
          const pick = (id) => { d.getElementById(id).checked = true; return seen(); };
          const find = (text) => { d.getElementById("find").value = text;
            d.getElementById("find").dispatchEvent(new Event("input")); return seen(); };
          const said = () => there(".found > .row:first-of-type .one").map(o => o.dataset.p);
          const told = {said: [said()], mixed: pick("on-mixed"), gpu: pick("on-gpu")};
          pick("on-contradicted"); told.both = seen(); told.said.push(said());
          all(".filter fieldset label:first-of-type input").forEach(i => i.checked = true);
          told.msr = pick("paper-msr"); told.papers = there(".paper").length;
          told.found = find("simsiam as well");
          out.textContent = JSON.stringify(told);
        };
        </script>"""
    )
    command = [CHROMIUM, *FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    told = json.loads(BeautifulSoup(done.stdout, "html.parser").find(id="out").get_text())
    assert told["said"] == [["quick"], ["gpu"]]  # A3: the stronger evidence, then that of the profile
    assert told["mixed"] == ["A4"]
    assert told["gpu"] == []  # mixed at gpu
    assert told["both"] == ["A3"]
    assert set(told["msr"]) == {e.id for e in load().claims.values() if e.paper == "msr"}
    assert (told["papers"], told["found"]) == (1, ["B8"])


def _rgb(css):
    return tuple(int(v) / 255 for v in css[css.index("(") + 1 : -1].split(",")[:3])


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_a_browser_takes_a_picture(gallery, tmp_path):
    from PIL import Image

    target = tmp_path / "page.png"
    flags = [f for f in FLAGS.split() if f != "--dump-dom"]
    command = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={target}"]
    page = Path(gallery / "quick/batch_size.html").as_uri()
    subprocess.run([*command, "--window-size=900,1200", page], capture_output=True, timeout=60)
    with Image.open(target) as shot:
        assert shot.size == (900, 1200)
        assert len(shot.convert("RGB").getcolors(2**24)) > 50  # not a blank page


def test_two_processes_may_build_at_once(tmp_path):
    """Each puts its gallery in place while the other does, and one of the two is there whole."""

    def puts(name: str) -> None:
        for i in range(100):
            new = tmp_path / f".new-{name}-{i}"
            new.mkdir()
            (new / "index.html").write_text(name)
            _swap(new, tmp_path / "gallery")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(puts, "ab"))
    assert [p.name for p in tmp_path.iterdir()] == ["gallery"]
    assert (tmp_path / "gallery" / "index.html").read_text() in "ab"

"""An executed notebook as HTML, by nbconvert: math as MathML, outputs sanitised, figures and verdicts in place of their
bitmaps.

This project's outputs carry marks: `metadata.repro = {"figure": "A3"}`, and likewise "caption" and "verdict". The page
puts its own block (themed SVG, caption, downloads) where a mark stands.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from copy import deepcopy
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from bs4 import BeautifulSoup
from latex2mathml.converter import convert as latex_to_mathml
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from nbconvert.preprocessors.sanitize import SanitizeHTML
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif")
Block = Callable[[str, str], str | None]
Link = Callable[[str], str | None]


def nowhere(href: str) -> str | None:
    return None


def render(nb: Any, block: Block, link: Link, name: str) -> tuple[str, list[tuple[str, str]]]:
    """A notebook (nbformat 4 node) without its title as HTML, and (anchor, text) of each section.

    block(kind, id) gives the HTML that takes the place of a marked output, or None to keep the cell's own.
    link(href) gives where a relative link leads in the gallery, or None if nowhere: then only its text stays.
    name: of the notebook file, for the note that stands in for a widget.
    """
    nb, headings = deepcopy(nb), {}
    state = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    nb, _ = CoalesceStreamsPreprocessor().preprocess(nb, {})
    if nb.cells and nb.cells[0].cell_type == "markdown":
        nb.cells[0].source = re.sub(r"\A\s*#(?!#).*\n?", "", nb.cells[0].source)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = markdown(cell.source, headings, link, cell.get("attachments", {}))
        elif cell.cell_type == "code":
            cell.outputs = [o for output in cell.outputs if (o := _output(output, block, link, state, name))]
    exporter = HTMLExporter(
        template_name="body",
        extra_template_basedirs=[str(Path(__file__).with_name("templates"))],
        default_preprocessors=[],
    )
    exporter.register_filter("python", lambda code: highlight(code, PythonLexer(), HtmlFormatter(nowrap=True)))
    exporter.register_filter("first_line", _first_line)
    body, _ = exporter.from_notebook_node(nb)
    return body, [(anchor, text) for anchor, (level, text) in headings.items() if level == 2]


def _first_line(code: str) -> str:
    return next((line for line in code.splitlines() if line.strip() and not line.startswith("#")), "")


def marks(nb: Any) -> set[tuple[str, str]]:
    """The (kind, id) of every marked output."""
    return {m for cell in nb.cells if cell.cell_type == "code" for o in cell.outputs for m in _marks(o)}


def _marks(output: Any) -> list[tuple[str, str]]:
    return [(kind, str(claim)) for kind, claim in output.get("metadata", {}).get("repro", {}).items()]


# --- markdown and math ------------------------------------------------------------------------------------------------


def math(latex: str, display: str = "inline") -> str:
    """LaTeX as MathML; what cannot be converted is shown as it was written."""
    try:
        return latex_to_mathml(latex.strip(), display=display)
    except Exception:  # latex2mathml has no common base class for its parse errors
        return f"<code>{escape(latex.strip())}</code>"


class _Renderer(IPythonRenderer):
    """Markdown to HTML with MathML; headings start at h2, since the page's h1 is the notebook's title."""

    def __init__(self, headings: dict[str, tuple[int, str]], attachments: dict[str, Any]):
        super().__init__(escape=False, exclude_anchor_links=True, attachments=attachments)
        self.headings = headings

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        level, plain = max(level, 2), BeautifulSoup(text, "html.parser").get_text()
        anchor = base = re.sub(r"\W+", "-", plain.lower()).strip("-") or "section"
        n = 1
        while anchor in self.headings:
            anchor = f"{base}-{(n := n + 1)}"
        self.headings[anchor] = level, plain
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def block_math(self, body: str) -> str:
        return f'<div class="scroll math">{math(body, "block")}</div>'

    def inline_math(self, body: str) -> str:
        return math(body)

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")


def markdown(
    text: str,
    headings: dict[str, tuple[int, str]] | None = None,
    link: Link = nowhere,
    attachments: dict[str, Any] | None = None,
) -> str:
    """Markdown as clean HTML. `headings` collects each heading's level and text by its id."""
    renderer = _Renderer({} if headings is None else headings, attachments or {})
    # a block of math is a paragraph to the parser, but a <div> may not stand in a <p>
    html = re.sub(r'<p>(<div class="scroll math">.*?</div>)</p>', r"\1", MarkdownWithMath(renderer).render(text))
    return clean(html, link)


def inline(text: str) -> str:
    """One line of markdown, without its paragraph."""
    html = markdown(text).strip()
    return html[3:-4] if html.startswith("<p>") and html.count("<p>") == 1 and html.endswith("</p>") else html


# --- outputs ----------------------------------------------------------------------------------------------------------


def _output(output: Any, block: Block, link: Link, state: dict[str, Any], name: str) -> Any:
    """An output as the template takes it: streams and errors as they are, text, or HTML that may stand on a page; None
    for one that shows nothing."""
    if output.output_type in ("stream", "error"):
        return output
    html = _html(output, block, link, state, name)
    if html is None:
        data = {"text/plain": output.data.get("text/plain", "")}
    elif html:
        data = {"text/html": html}
    else:
        return None
    return nbformat.v4.new_output("display_data", data=data)


def _html(output: Any, block: Block, link: Link, state: dict[str, Any], name: str) -> str | None:
    blocks = [block(*mark) for mark in _marks(output)]
    if any(html is not None for html in blocks):
        return "\n".join(html for html in blocks if html)
    data, meta = output.get("data", {}), output.get("metadata", {})
    if WIDGET in data:
        return _widget(data[WIDGET].get("model_id", ""), state, block, link, name)
    if "text/html" in data:
        return f'<div class="scroll html">{clean(data["text/html"], link)}</div>'
    if "text/markdown" in data:
        return f'<div class="prose">{markdown(data["text/markdown"], link=link)}</div>'
    for mime in IMAGES:
        if mime in data:
            return _image(mime, data[mime], meta.get(mime, {}))
    if "text/latex" in data:
        latex = data["text/latex"].strip().strip("$")
        return f'<div class="scroll math">{math(latex.removeprefix(chr(92) + "displaystyle"), "block")}</div>'
    return None


def _image(mime: str, data: str, meta: dict[str, Any]) -> str:
    if mime == "image/svg+xml":
        data = base64.b64encode(data.encode()).decode()
    alt = escape(str(meta.get("alt", "Output of the cell above")), quote=True)
    width = f' width="{int(meta["width"])}"' if "width" in meta else ""
    image = f'<p class="image"><img src="data:{mime};base64,{"".join(data.split())}" alt="{alt}"{width}></p>'
    if mime == "image/gif":  # whoever is disturbed by motion can fold it away
        return f'<details class="film" open><summary>Animation</summary>{image}</details>'
    return image


def _widget(model_id: str, state: dict[str, Any], block: Block, link: Link, name: str) -> str:
    """A widget as it stood when the notebook ran: its knobs' values and what it last showed, and how to move them."""
    knobs, shown = [], []
    for model in _models(model_id, state):
        kind, values = model.get("model_name", ""), model.get("state", {})
        if kind == "OutputModel":
            outputs = [nbformat.from_dict(o) for o in values.get("outputs", [])]
            shown += [html for o in outputs if (html := _html(o, block, link, state, name))]
        elif kind == "HTMLModel":
            shown.append(clean(str(values.get("value", "")), link))
        elif values.get("description") and (value := _knob_value(values)) is not None:
            label = re.sub(r"\s*:\s*$", "", str(values["description"]))
            knobs.append(f"<li>{escape(label)} <output>{escape(value)}</output></li>")
    knob_list = f"<ul>{''.join(knobs)}</ul>" if knobs else ""
    return (
        f'<div class="widget"><p><strong>Interactive</strong> in JupyterLab: open '
        f"<code>notebooks/{escape(name)}.ipynb</code> to move this yourself.</p>{knob_list}{''.join(shown)}</div>"
    )


def _models(model_id: str, state: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A widget's model and those inside it."""
    if model_id in state:
        yield state[model_id]
        for child in state[model_id].get("state", {}).get("children", []):
            yield from _models(str(child).removeprefix("IPY_MODEL_"), state)


def _knob_value(values: dict[str, Any]) -> str | None:
    labels, value = values.get("_options_labels"), values.get("value")
    if labels and isinstance(index := values.get("index"), int):
        return str(labels[index])
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, (int, str)) else None


# --- cleaning ---------------------------------------------------------------------------------------------------------

_HTML = """a abbr b blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption figure h2 h3
h4 h5 h6 hr i img ins kbd li mark ol output p pre q s samp section small span strong sub summary sup table tbody td
tfoot th thead time tr u ul var"""
_MATHML = """math menclose merror mfenced mfrac mi mmultiscripts mn mo mover mpadded mphantom mprescripts mroot mrow ms
mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover none"""
_ATTRIBUTES = """id class title alt width height colspan rowspan scope headers lang dir start reversed open datetime role
tabindex href src style xmlns display mathvariant stretchy fence separator form lspace rspace accent accentunder
columnalign rowspacing columnspacing linethickness mathsize minsize maxsize movablelimits symmetric largeop displaystyle
scriptlevel depth voffset notation columnlines rowlines"""
_SANITISER = SanitizeHTML(
    tags=[*_HTML.split(), *_MATHML.split()],
    attributes=_ATTRIBUTES.split(),
    styles=["text-align", "font-weight", "font-style", "white-space", "vertical-align"],
    strip=True,
)


def clean(html: str, link: Link = nowhere) -> str:
    """HTML with only what a quiet page needs: no scripts, no handlers, nothing loaded from elsewhere, no colours of its
    own (they would not follow the reader's theme)."""
    soup, pictures = BeautifulSoup(html, "html.parser"), []
    for tag in soup.find_all(["script", "style", "template", "noscript", "head"]):
        tag.decompose()  # with the text in it, which the sanitiser would keep
    for tag in soup.find_all("h1"):
        tag.name = "h2"
    for tag in soup.find_all("a"):
        href = str(tag.get("href", "")).strip()
        if href.startswith(("https://", "http://", "mailto:", "#")) or (href := link(href) or ""):
            tag["href"] = href
        else:
            tag.unwrap()
    for tag in soup.find_all("img"):
        if str(tag.get("src", "")).startswith("data:image/"):
            pictures.append(tag["src"])  # the sanitiser takes data for a dangerous link
            tag["src"] = f"#picture-{len(pictures)}"
        else:
            tag.replace_with(tag.get("alt", ""))
    for table in soup.find_all("table"):
        if not (table.parent and "scroll" in table.parent.get("class", [])):
            table.wrap(soup.new_tag("div", attrs={"class": "scroll", "tabindex": "0"}))
    html = _SANITISER.sanitize_html_tags(str(soup))
    for i, picture in enumerate(pictures, 1):
        html = html.replace(f'src="#picture-{i}"', f'src="{escape(picture)}"')
    return html

"""An executed notebook as HTML: math as MathML, outputs cleaned, figures and verdicts in place of their bitmaps.

Cells of this project mark their outputs: `metadata.repro.figure = "A3"` or `<!-- repro:figure A3 -->` in the HTML of a
figure, likewise "verdict". The page puts its own block (themed SVG, caption, downloads) where the mark stands.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import groupby
from typing import Any

import nbformat
from bs4 import BeautifulSoup, Comment, Tag
from latex2mathml.converter import convert as latex_to_mathml
from nbconvert.filters.ansi import strip_ansi
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

WIDGET = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
MARK = re.compile(r"<!--\s*repro:(figure|verdict)\s+([\w.-]+)\s*-->")
IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif")


@dataclass
class Rendered:
    """title: the first H1, as HTML. body: the rest. contents: (anchor, text) of each H2."""

    title: str = ""
    body: str = ""
    contents: list[tuple[str, str]] = field(default_factory=list)


def render(nb: Any, block: Callable[[str, str], str | None], link: Callable[[str], str | None], name: str) -> Rendered:
    """Render a notebook (nbformat 4 node).

    block(kind, id) gives the HTML that takes the place of a marked figure or verdict, or None to keep the cell's own.
    link(href) gives where a relative link leads in the gallery, or None if nowhere: then only its text stays.
    name: of the notebook file, for the note that stands in for a widget.
    """
    out = Rendered()
    parts: list[str] = []
    anchors: set[str] = set()
    state = nb.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            source = cell.source
            if not out.title and (m := re.match(r"\s*#(?!#)\s*(.+?)\s*#*\s*(?:\n|$)", source)):
                out.title, source = inline(m[1]), source[m.end() :]
            if source.strip():
                attachments = {k: dict(v) for k, v in cell.get("attachments", {}).items()}
                parts.append(f'<div class="prose">{markdown(source, anchors, out.contents, link, attachments)}</div>')
        elif cell.cell_type == "code" and cell.source.strip():
            parts.append(_code(cell))
            shown: list[str] = []
            for output in _joined(cell.outputs):
                html = _output(output, block, link, state, name)
                if html and not _repeats(output, html, shown):
                    shown.append(html)
            if shown:
                parts.append('<div class="outputs">' + "\n".join(shown) + "</div>")
    out.body = "\n".join(parts)
    return out


def _joined(outputs: list[Any]) -> Iterator[Any]:
    """The outputs, with neighbouring pieces of one stream as one: a kernel sends what is printed by time, not by line."""
    for (kind, name), group in groupby(outputs, key=lambda o: (o.output_type, o.get("name"))):
        if kind == "stream":
            yield nbformat.v4.new_output("stream", name=name, text="".join(_text(o.text) for o in group))
        else:
            yield from group


def marks(nb: Any) -> set[tuple[str, str]]:
    """The (kind, id) of every marked output."""
    outputs = (o for cell in nb.cells if cell.cell_type == "code" for o in cell.outputs)
    return {m for o in outputs for m in _marks(o)}


# --- markdown and math ------------------------------------------------------------------------------------------------


def math(latex: str, display: str = "inline") -> str:
    """LaTeX as MathML; what cannot be converted is shown as it was written."""
    latex = latex.strip()
    try:
        return latex_to_mathml(latex, display=display)
    except Exception:  # latex2mathml has no common base class for its parse errors
        return f"<code>{escape(latex)}</code>"


class _Renderer(IPythonRenderer):
    """Markdown to HTML with MathML; headings start at h2, since the page's h1 is the notebook's title."""

    def __init__(self, anchors: set[str], contents: list[tuple[str, str]], attachments: dict[str, Any]):
        super().__init__(escape=False, exclude_anchor_links=True, attachments=attachments)
        self.anchors, self.contents = anchors, contents

    def heading(self, text: str, level: int, **attrs: Any) -> str:
        level = min(max(level, 2), 6)
        plain = BeautifulSoup(text, "html.parser").get_text()
        anchor = base = re.sub(r"\W+", "-", plain.lower()).strip("-") or "section"
        n = 1
        while anchor in self.anchors:
            n += 1
            anchor = f"{base}-{n}"
        self.anchors.add(anchor)
        if level == 2:
            self.contents.append((anchor, plain))
        return f'<h{level} id="{anchor}">{text}</h{level}>\n'

    def block_math(self, body: str) -> str:
        return f'<div class="scroll math">{math(body, "block")}</div>'

    def inline_math(self, body: str) -> str:
        return math(body)

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(rf"\begin{{{name}}}{body}\end{{{name}}}")


def markdown(
    text: str,
    anchors: set[str] | None = None,
    contents: list[tuple[str, str]] | None = None,
    link: Callable[[str], str | None] = lambda href: None,
    attachments: dict[str, Any] | None = None,
) -> str:
    """Markdown as clean HTML. `anchors` and `contents` collect the headings' ids and the (id, text) of each h2."""
    renderer = _Renderer(set() if anchors is None else anchors, [] if contents is None else contents, attachments or {})
    # a block of math is a paragraph to the parser, but a <div> may not stand in a <p>
    html = re.sub(r'<p>(<div class="scroll math">.*?</div>)</p>', r"\1", MarkdownWithMath(renderer).render(text))
    return clean(html, link)


def inline(text: str) -> str:
    """One line of markdown, without its paragraph."""
    html = markdown(text).strip()
    return html[3:-4] if html.startswith("<p>") and html.count("<p>") == 1 and html.endswith("</p>") else html


# --- cells and outputs ------------------------------------------------------------------------------------------------


def _code(cell: Any) -> str:
    tags = cell.metadata.get("tags", [])
    if "remove-input" in tags or "remove_input" in tags:
        return ""
    title, is_open = "Code", ""
    if "injected-parameters" in tags:
        title, is_open = "Parameters of this run", " open"
    elif "parameters" in tags:
        title = "Parameters and their defaults"
    elif re.match(r"\s*(import|from)\b", cell.source):
        title = "Imports"
    first = next((line for line in cell.source.splitlines() if line.strip() and not line.startswith("#")), "")
    hint = f" <code>{escape(first)}</code>" if title == "Code" else ""
    code = highlight(cell.source, PythonLexer(), HtmlFormatter(nowrap=True))
    return (
        f'<details class="code"{is_open}><summary><span>{title}</span>{hint}</summary>'
        f'<pre class="scroll" tabindex="0"><code>{code}</code></pre></details>'
    )


def _marks(output: Any) -> list[tuple[str, str]]:
    meta = output.get("metadata", {}).get("repro", {})
    found = [(kind, str(meta[kind])) for kind in ("figure", "verdict") if kind in meta]
    return found + [(m[1], m[2]) for m in MARK.finditer(_text(output.get("data", {}).get("text/html", "")))]


def _output(
    output: Any,
    block: Callable[[str, str], str | None],
    link: Callable[[str], str | None],
    state: dict[str, Any],
    name: str,
) -> str:
    kind = output.output_type
    if kind == "stream":
        text = _terminal(_text(output.text))
        if not text.strip():
            return ""
        pre = f'<pre class="scroll text" tabindex="0">{text}</pre>'
        return f'<details class="code"><summary>Messages</summary>{pre}</details>' if output.name == "stderr" else pre
    if kind == "error":
        text = _terminal("\n".join(output.get("traceback") or [f"{output.ename}: {output.evalue}"]))
        return f'<pre class="scroll text error" tabindex="0">{text}</pre>'
    blocks = [block(*mark) for mark in dict.fromkeys(_marks(output))]
    if any(html is not None for html in blocks):
        return "\n".join(html for html in blocks if html)
    data, meta = output.get("data", {}), output.get("metadata", {})
    if WIDGET in data:
        return _widget(data[WIDGET].get("model_id", ""), state, block, link, name)
    if "text/html" in data:
        return f'<div class="scroll html">{clean(_text(data["text/html"]), link)}</div>'
    if "text/markdown" in data:
        return f'<div class="prose">{markdown(_text(data["text/markdown"]), link=link)}</div>'
    for mime in IMAGES:
        if mime in data:
            return _image(mime, _text(data[mime]), meta.get(mime) or meta)
    if "text/latex" in data:
        latex = _text(data["text/latex"]).strip().strip("$")
        return f'<div class="scroll math">{math(latex.removeprefix(chr(92) + "displaystyle"), "block")}</div>'
    if "text/plain" in data:
        return f'<pre class="scroll text" tabindex="0">{_terminal(_text(data["text/plain"]))}</pre>'
    return ""


def _repeats(output: Any, html: str, shown: list[str]) -> bool:
    """Whether an output only says again what the figure's block above it says: its caption."""
    if _marks(output) or "text/html" not in output.get("data", {}) or not shown or "<figure" not in shown[-1]:
        return False
    text = BeautifulSoup(html, "html.parser").get_text().strip()
    return bool(text) and text in BeautifulSoup(shown[-1], "html.parser").get_text()


def _image(mime: str, data: str, meta: dict[str, Any]) -> str:
    if mime == "image/svg+xml":
        data = base64.b64encode(data.encode()).decode()
    alt = escape(str(meta.get("alt", "Output of the cell above")), quote=True)
    size = "".join(f' {k}="{int(meta[k])}"' for k in ("width", "height") if isinstance(meta.get(k), (int, float)))
    image = f'<p class="image"><img src="data:{mime};base64,{"".join(data.split())}" alt="{alt}"{size}></p>'
    if mime == "image/gif":  # whoever is disturbed by motion can fold it away
        return f'<details class="film" open><summary>Animation</summary>{image}</details>'
    return image


def _widget(
    model_id: str,
    state: dict[str, Any],
    block: Callable[[str, str], str | None],
    link: Callable[[str], str | None],
    name: str,
) -> str:
    """A widget as it stood when the notebook ran: its knobs' values and what it last showed, and how to move them."""
    knobs, shown = [], []
    for model in _models(model_id, state):
        kind, values = model.get("model_name", ""), model.get("state", {})
        if kind == "OutputModel":
            outputs = [nbformat.from_dict(o) for o in values.get("outputs", [])]
            shown += [html for o in outputs if (html := _output(o, block, link, state, name))]
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


def _models(model_id: str, state: dict[str, Any], seen: set[str] | None = None) -> Iterator[dict[str, Any]]:
    seen = set() if seen is None else seen
    if model_id in seen or model_id not in state:
        return
    seen.add(model_id)
    yield state[model_id]
    for child in state[model_id].get("state", {}).get("children", []):
        yield from _models(str(child).removeprefix("IPY_MODEL_"), state, seen)


def _knob_value(values: dict[str, Any]) -> str | None:
    labels = values.get("_options_labels")
    if labels and isinstance(index := values.get("index"), int):
        return str(labels[index])
    value = values.get("value")
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value) if isinstance(value, (int, str)) else None


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def _terminal(text: str) -> str:
    """Terminal output as HTML: a progress bar's carriage returns leave its last state only."""
    lines = [line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n")]
    return escape(strip_ansi("\n".join(lines)))


# --- cleaning ---------------------------------------------------------------------------------------------------------

_DROP = {"script", "style", "iframe", "object", "embed", "link", "meta", "base", "form", "template", "noscript", "head"}
_HTML = """a abbr b blockquote br caption cite code col colgroup dd del details dfn div dl dt em figcaption figure h2 h3
h4 h5 h6 hr i img ins kbd li mark ol output p pre q s samp section small span strong sub summary sup table tbody td
tfoot th thead time tr u ul var video"""
_MATHML = """math annotation maction menclose merror mfenced mfrac mi mmultiscripts mn mo mover mpadded mphantom
mprescripts mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable mtd mtext mtr munder munderover semantics none"""
_HTML_ATTRIBUTES = """id class title alt width height colspan rowspan scope headers lang dir start reversed open
datetime role tabindex loop controls muted autoplay type style"""
_MATHML_ATTRIBUTES = """xmlns display mathvariant stretchy fence separator form lspace rspace accent accentunder
columnalign rowspacing columnspacing linethickness mathcolor mathsize minsize maxsize movablelimits symmetric
largeop displaystyle scriptlevel depth voffset notation columnlines rowlines"""
_TAGS = {*_HTML.split(), *_MATHML.split()}
_ATTRIBUTES = {*_HTML_ATTRIBUTES.split(), *_MATHML_ATTRIBUTES.split()}
_STYLES = {"text-align", "font-weight", "font-style", "white-space", "vertical-align"}


def clean(html: str, link: Callable[[str], str | None] = lambda href: None) -> str:
    """HTML with only what a quiet page needs: no scripts, no handlers, nothing loaded from elsewhere, no colours of its
    own (they would not follow the reader's theme)."""
    soup = BeautifulSoup(html, "html.parser")
    for comment in soup.find_all(string=lambda s: isinstance(s, Comment)):
        comment.extract()
    for tag in list(soup.find_all(True)):
        if tag.decomposed or tag.parent is None:
            continue
        if tag.name in _DROP:
            tag.decompose()
        elif tag.name == "h1":
            tag.name = "h2"
        elif tag.name not in _TAGS:
            tag.unwrap()
        if not tag.decomposed:
            _clean_attributes(tag, link)
    for table in soup.find_all("table"):
        if not (table.parent and "scroll" in table.parent.get("class", [])):
            table.wrap(soup.new_tag("div", attrs={"class": "scroll", "tabindex": "0"}))
    return str(soup)


def _clean_attributes(tag: Tag, link: Callable[[str], str | None]) -> None:
    for name in list(tag.attrs):
        value = tag.attrs[name]
        if name == "src" and str(value).startswith(("data:image/", "data:video/")):
            continue
        if name == "href" and tag.name == "a":
            href = str(value).strip()
            if not href.startswith(("https://", "http://", "mailto:", "#")) and (href := link(href) or "") == "":
                del tag.attrs[name]
            else:
                tag.attrs[name] = href
        elif name == "style":
            rules = [r for r in str(value).split(";") if r.split(":")[0].strip().lower() in _STYLES]
            if rules:
                tag.attrs[name] = ";".join(rules)
            else:
                del tag.attrs[name]
        elif name not in _ATTRIBUTES:
            del tag.attrs[name]
    if tag.name == "img" and "src" not in tag.attrs:
        tag.replace_with(tag.get("alt", ""))
    elif tag.name == "a" and "href" not in tag.attrs:
        tag.unwrap()

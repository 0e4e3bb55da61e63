"""The public functions and classes of the package as pages, read from the sources: nothing is imported for it."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from pathlib import Path
from typing import NamedTuple

from repro.pages.gallery.render import markdown

PACKAGE = Path(__file__).resolve().parents[2]
METHODS = ("ssl/losses.py", "core/methods.py", "ssl/methods.py")  # a page of their own: the losses and their knobs


class Thing(NamedTuple):
    """A function, a class or a method of one. signature: as it is written; doc: HTML."""

    name: str
    signature: str
    doc: str


class Module(NamedTuple):
    name: str
    doc: str
    things: list[Thing]


def pages() -> dict[str, list[Module]]:
    """By the page's name: "methods", and each room of the package."""
    rooms: dict[str, list[Module]] = {"methods": [_module(PACKAGE / file) for file in METHODS]}
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).parts
        rooms.setdefault(inside[0] if len(inside) > 1 else "package", []).append(_module(path))
    return {room: [m for m in modules if m.doc or m.things] for room, modules in rooms.items()}


@functools.cache
def _module(path: Path) -> Module:
    tree = ast.parse(path.read_text())
    name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    things = []
    for node in _public(tree):
        things.append(_thing(node, ""))
        if isinstance(node, ast.ClassDef):
            things += [_thing(inner, f"{node.name}.") for inner in _public(node) if ast.get_docstring(inner)]
    return Module(name, _html(ast.get_docstring(tree)), things)


def _public(tree: ast.Module | ast.ClassDef) -> list[ast.FunctionDef | ast.ClassDef]:
    return [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and not n.name.startswith("_")]


def _thing(node: ast.FunctionDef | ast.ClassDef, before: str) -> Thing:
    if isinstance(node, ast.FunctionDef):
        result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        signature = f"({ast.unparse(node.args)}){result}"
    else:
        fields = [ast.unparse(n) for n in node.body if isinstance(n, ast.AnnAssign)]
        signature = f"({', '.join(fields)})" if fields else ""
    return Thing(before + node.name, signature, _html(ast.get_docstring(node)))


def _html(doc: str | None) -> str:
    """A docstring as HTML: its formulas as math, its examples as code, what looks like a tag as it was written."""
    text = re.sub(r"(`[^`]*`)|<", lambda m: m[1] or "&lt;", inspect.cleandoc(doc or ""))
    return markdown(re.sub(r"(?m)^>>> .*(?:\n.+)*", r"```\n\g<0>\n```", text))

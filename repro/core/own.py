"""What a reader brings in a file of their own, named "my_method.py:MyLoss": a method, a backbone, or a recipe of views.

The file is read by its path, in every process that needs it, and its SHA-256 is part of a run's key: a changed file is a
new run. It is one file: what it imports from beside itself is not in the hash, and is not found.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from repro.core import places
from repro.errors import ReproError
from repro.views.recipe import Recipe, View


@dataclass(frozen=True)
class Own:
    """name: in the file. sha256: of the file. options: a method's knobs, as (name, value) pairs sorted by name. file: its
    path, from the checkout's folder where it lies in it; no part of the key."""

    name: str
    sha256: str
    options: tuple[tuple[str, Any], ...] = ()
    file: str = field(default="", compare=False)

    def __str__(self) -> str:
        return self.name


def is_own(text: str) -> bool:
    """Whether a parameter's value names something in a file, as "my_method.py:MyLoss" does."""
    return ".py:" in text or text.endswith(".py")


def absolute(text: str) -> str:
    """The same name with the file's whole path, for a process that runs in another folder."""
    path, _, name = text.rpartition(":")
    return f"{_path(path)}:{name}" if is_own(text) else text


def _path(text: str) -> Path:
    """A file of the current folder, or else of notebooks/."""
    path = Path(text).expanduser()
    found = next((p for p in (path, places.notebooks() / path) if p.is_file()), None)
    if found is None:
        raise ReproError(f"There is no file {text}: name one as in my_method.py:MyLoss, from the current folder.")
    return found.resolve()


def find(text: str) -> Own:
    """What `text` names, with its file's hash. Raises ReproError for a file or a name that is not there."""
    file, _, name = text.rpartition(":")
    if not (file and name):
        raise ReproError(f"{text!r} names nothing in a file: write the file and the name, as in my_method.py:MyLoss.")
    path = _path(file)
    inside = path.is_relative_to(places.root().resolve())
    shown = str(path.relative_to(places.root().resolve()) if inside else path)
    own = Own(name, hashlib.sha256(path.read_bytes()).hexdigest(), file=shown)
    load(own)
    return own


def load(own: Own) -> Any:
    """The class, function or value itself. Raises ReproError, also where the file is no longer the one that was found."""
    module = _module(own.file, own.sha256)
    if not hasattr(module, own.name):
        theirs = ", ".join(k for k, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__)
        raise ReproError(f"{own.file} has no {own.name}: it has {theirs or 'no class and no function'}.")
    return getattr(module, own.name)


@functools.lru_cache(maxsize=32)
def _module(file: str, sha256: str) -> ModuleType:
    path = places.root() / file
    if not path.is_file():
        raise ReproError(f"There is no file {path}: put it back, or name another.")
    source = path.read_bytes()
    if hashlib.sha256(source).hexdigest() != sha256:
        raise ReproError(f"{file} was changed while its runs were being measured: run again, which makes new ones.")
    module = ModuleType(f"repro_own_{sha256[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look themselves up there
    with blamed(file):
        exec(compile(source, module.__file__, "exec"), vars(module))
    return module


@contextlib.contextmanager
def blamed(file: str) -> Iterator[None]:
    """An exception in a reader's code, as one sentence with the file and the line in it."""
    try:
        yield
    except (ReproError, MemoryError):
        raise
    except Exception as e:
        if type(e).__name__ == "OutOfMemoryError":  # torch's, which is no MemoryError and is answered elsewhere
            raise
        path = str(places.root() / file)
        lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename == path]
        line = e.lineno if isinstance(e, SyntaxError) and e.filename == path else lines[-1] if lines else 1
        said = str(e).strip().splitlines()[0] if str(e).strip() else "no message"
        raise ReproError(f"{file}, line {line}: {type(e).__name__}: {said}") from e


def where(own: Own, thing: Any = None) -> str:
    """ "my_method.py, line 12": where the thing (`load`) or one of its methods begins."""
    code = getattr(thing if thing is not None else load(own), "__code__", None)
    if code is None:
        lines = (places.root() / own.file).read_text().splitlines()
        return f"{own.file}, line {next((i for i, s in enumerate(lines, 1) if s.startswith(f'class {own.name}')), 1)}"
    return f"{own.file}, line {code.co_firstlineno}"


def method(text: str, **knobs: Any) -> Own:
    """A method of a reader's: a frozen dataclass with `loss(self, z, progress)`, at the knobs named and else at its own."""
    own = find(text)
    cls = load(own)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen):
        raise ReproError(f"{where(own)}: {own.name} is no frozen dataclass: write @dataclass(frozen=True) above it.")
    if not callable(getattr(cls, "loss", None)):
        raise ReproError(f"{where(own)}: {own.name} has no loss: give it a method loss(self, z, progress).")
    made = made_of(dataclasses.replace(own, options=tuple(knobs.items())))
    values = tuple(sorted((f.name, getattr(made, f.name)) for f in dataclasses.fields(cls)))
    for name, value in values:
        if not isinstance(value, (int, float, str)):
            raise ReproError(f"{where(own)}: the knob {name} is {value!r}: make it a number, a text or a truth value.")
    return dataclasses.replace(own, options=values)


def made_of(method: Any) -> Any:
    """A reader's method with its knobs, whose loss may be called; a built-in one as it is."""
    if not isinstance(method, Own):
        return method
    try:
        return load(method)(**dict(method.options))
    except TypeError as e:  # a knob without a default, or one that there is not
        raise ReproError(f"{where(method)}: {e}: give every knob a default, and name no other.") from e


def backbone(text: str) -> str | Own:
    """A built-in backbone's name as it is, or a reader's function of (size), which returns (module, features)."""
    if not is_own(text):
        return text
    own = find(text)
    if not callable(load(own)):
        raise ReproError(f"{own.file}: {own.name} is no function of (size): write one that returns (module, features).")
    return own


def recipe(text: str) -> Recipe:
    """A recipe of a reader's: a Recipe, a View of which two are made, or several Views."""
    own = find(text)
    made = load(own)
    views = (made, made) if isinstance(made, View) else made.views if isinstance(made, Recipe) else made
    if not (isinstance(views, (tuple, list)) and views and all(isinstance(v, View) for v in views)):
        raise ReproError(f"{own.file}: {own.name} is no View: write a repro.views.recipe.View, or a tuple of them.")
    return Recipe(made.name if isinstance(made, Recipe) else own.name, tuple(views))

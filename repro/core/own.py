"""What a reader brings in a file of their own, named "my_method.py:MyLoss": a method, a backbone, or a recipe of views.

The file is read by its path, in every process that needs it, and its SHA-256 is part of a run's key: a changed file is a
new run. It is one file: what it imports from beside itself is not in the hash, and is not found.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from repro.core import places
from repro.errors import ReproError
from repro.views.recipe import Recipe, View, preset


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


def absolute(text: str) -> str:
    """The same name with the file's whole path, for other folders: of the current folder, or else of notebooks/."""
    file, _, name = text.rpartition(":")
    if ".py" not in text:
        return text
    path = next((p for p in (Path(file).expanduser(), places.notebooks() / file) if p.is_file()), None)
    if path is None or not name:
        raise ReproError(f"There is no file {file or name}: name it and what is in it, as in my_method.py:MyLoss.")
    return f"{path.resolve()}:{name}"


def find(text: str) -> tuple[Own, Any]:
    """What `text` names, with its file's hash, and the thing itself."""
    file, _, name = absolute(text).rpartition(":")
    path, root = Path(file), places.root().resolve()
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    own = Own(name, hashlib.sha256(path.read_bytes()).hexdigest(), file=str(shown))
    return own, load(own)


def load(own: Own) -> Any:
    """The class, function or value itself. Raises ReproError, also where the file is no longer the one that was found."""
    module = _module(own.file, own.sha256)
    if not hasattr(module, own.name):
        theirs = ", ".join(k for k, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__)
        raise ReproError(f"{own.file} has no {own.name}: it has {theirs or 'no class and no function'}.")
    return getattr(module, own.name)


@functools.lru_cache(maxsize=32)
def _module(file: str, sha256: str) -> ModuleType:
    source = path.read_bytes() if (path := places.root() / file).is_file() else b""
    if hashlib.sha256(source).hexdigest() != sha256:
        raise ReproError(f"{file} was changed while its runs were being measured: run again, which makes new ones.")
    module = ModuleType(f"repro_own_{sha256[:16]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look themselves up there
    with blamed(file):
        exec(compile(source, module.__file__, "exec"), vars(module))
    return module


@contextlib.contextmanager
def blamed(file: str, thing: Any = None) -> Iterator[None]:
    """An exception in a reader's code as one sentence, with the last line of theirs, or else with that of the thing."""
    try:
        yield
    except Exception as e:
        if isinstance(e, ReproError) or type(e).__name__ == "OutOfMemoryError":  # torch's, which is answered elsewhere
            raise
        path = str(places.root() / file)
        lines = [f.lineno for f in traceback.extract_tb(e.__traceback__) if f.filename == path]
        line = e.lineno if isinstance(e, SyntaxError) else lines[-1] if lines else _line(thing)
        raise ReproError(f"{file}, line {line}: {type(e).__name__}: {(str(e).splitlines() or [''])[0]}") from e


def _line(thing: Any) -> int:
    try:
        return inspect.getsourcelines(thing)[1]
    except (TypeError, OSError):
        return 1


def wrong(own: Own, thing: Any, what: str) -> ReproError:
    return ReproError(f"{own.file}, line {_line(thing)}: {own.name} {what}: mend it.")


def method(text: str, **knobs: Any) -> Own:
    """A method of a reader's: a frozen dataclass with `loss(self, z, progress)`, at the knobs named and else at its own."""
    own, cls = find(text)
    if not (isinstance(cls, type) and dataclasses.is_dataclass(cls) and cls.__dataclass_params__.frozen):
        raise wrong(own, cls, "is no frozen dataclass (@dataclass(frozen=True))")
    if not callable(getattr(cls, "loss", None)):
        raise wrong(own, cls, "has no method loss(self, z, progress)")
    made = made_of(dataclasses.replace(own, options=tuple(knobs.items())))
    values = tuple(sorted((f.name, getattr(made, f.name)) for f in dataclasses.fields(cls)))
    if bad := [name for name, value in values if not isinstance(value, (int, float, str))]:
        raise wrong(own, cls, f"has a knob {bad[0]} that is no number, text or truth value")
    return dataclasses.replace(own, options=values)


def made_of(method: Any) -> Any:
    """A reader's method with its knobs, whose loss may be called; a built-in one as it is."""
    if not isinstance(method, Own):
        return method
    with blamed(method.file, cls := load(method)):
        return cls(**dict(method.options))


def backbone(text: str) -> str | Own:
    """A built-in backbone's name as it is, or a reader's function of (size), which returns (module, features)."""
    return find(text)[0] if ".py" in text else text


def recipe(text: str) -> Recipe:
    """A recipe by name, or a reader's: a Recipe, a View of which two are made, or a tuple of Views."""
    if ".py" not in text:
        return preset(text)
    own, made = find(text)
    views = (made, made) if isinstance(made, View) else getattr(made, "views", made)
    if not (isinstance(views, tuple) and all(isinstance(v, View) for v in views)):
        raise wrong(own, made, "is no View, and no tuple of Views (repro.views.recipe)")
    return Recipe(own.name, views)

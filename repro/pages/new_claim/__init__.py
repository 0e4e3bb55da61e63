"""A new claim: its registry entry, module, notebook and test, written from the templates beside this file.

The templates are a whole claim, that accuracy rises with the projector's layers: it runs as it is, and what is the
claim's own (knob, criterion, sentences) is to be replaced. A first reader need not enter.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from string import Template

from repro.claims import registry
from repro.core.io import write_atomic
from repro.errors import ReproError

ROOT = Path(__file__).resolve().parents[3]


def write(claim: str, slug: str, paper: str = "", sentence: str = "", root: Path = ROOT) -> list[Path]:
    """Write the four files of a claim into the checkout `root`; their paths.

    claim: an id that no claim has, e.g. "C13". slug: of its module and notebook, e.g. "projector_depth". paper: its key
    in the registry, "" for a claim of your own. Raises ReproError, and writes nothing, for a name that is wrong or taken.
    """
    file = root / "repro" / "claims" / "registry.toml"
    known = registry.load(file)
    if not re.fullmatch(r"[A-Z]\d+", claim) or claim in known.claims:
        raise ReproError(f"{claim!r} cannot be a new claim: give a letter and a number that no claim has.")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", slug) or slug in known.notebooks:
        raise ReproError(
            f"{slug!r} cannot be a new notebook: give lower-case words that no notebook has, as in my_claim."
        )
    if paper and paper not in known.papers:
        raise ReproError(f"There is no paper {paper!r}: choose from {', '.join(filter(None, known.papers))}, or none.")
    number = 1 + max(int(name[:2]) for name in known.notebooks.values())
    sentence = sentence or "Accuracy rises with the number of layers of the projector."
    notebook = f"{number:02d}_{slug}"
    words = {
        "id": claim,
        "slug": slug,
        "notebook": notebook,
        "claim": sentence,
        "title": sentence.rstrip("."),
        "paper": paper,
    }
    files = {
        file: _inserted(
            file.read_text(), claim, _filled("registry.toml", {k: json.dumps(v) for k, v in words.items()})
        ),
        root / "repro" / "claims" / f"{slug}.py": _filled("module.txt", words),
        root / "notebooks" / f"{notebook}.ipynb": _filled(
            "notebook.json", {k: json.dumps(v)[1:-1] for k, v in words.items()}
        ),
        root / "tests" / f"test_claim_{slug}.py": _filled("test.txt", words),
    }
    for path, text in files.items():
        write_atomic(path, text)
    return list(files)


def _filled(name: str, words: dict[str, str]) -> str:
    return Template(Path(__file__).with_name(name).read_text()).substitute(words)


def _inserted(text: str, claim: str, entry: str) -> str:
    """The registry with a new entry behind the last claim of the same letter, else at its end. A line `paper = ""` of a
    claim that has none is left out."""
    entry = entry.replace('paper = ""\n', "")
    before = re.findall(rf'(?ms)^id = "{claim[0]}\d+"$.*?(?=^\[\[|^# =|\Z)', text)
    if not before:
        return f"{text.rstrip()}\n\n{entry}"
    head, last, tail = text.rpartition(before[-1])
    return f"{head}{last.rstrip()}\n\n{entry}\n{tail}".rstrip() + "\n"

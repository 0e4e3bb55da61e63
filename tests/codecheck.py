"""codecheck.yml: each committed figure and the command that makes it. `python tests/codecheck.py` writes it anew."""

from __future__ import annotations

from pathlib import Path

import yaml

from repro import claims
from repro.core.profiles import PROFILES

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "codecheck.yml"
HEAD = """\
---
# Each committed figure with the command that makes it, as https://codecheck.org.uk asks of authors; what it makes lies in
# build/figures/. What a codechecker finds (codechecker, report, certificate, summary) is theirs to add. Written by
# tests/codecheck.py.
"""


def manifest() -> list[dict[str, str]]:
    """A profile's forest plot, then its figures in the notebooks' order."""
    out = []
    for profile in PROFILES:
        folder = ROOT / "figures" / profile
        if (folder / "forest.svg").is_file():
            out.append(
                (folder / "forest.svg", f"every part of every claim at {profile}: repro claims --readme README.md")
            )
        for slug in claims.notebooks():
            command = f"make reproduce PROFILE={profile} NOTEBOOKS={slug}"
            for path in sorted((folder / slug).glob("*.svg")):
                if not path.stem.endswith("-dark"):
                    out.append((path, f"{path.stem} at {profile}: {command}"))
    return [{"file": path.relative_to(ROOT).as_posix(), "comment": comment} for path, comment in out]


def text() -> str:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    document = {
        "version": "https://codecheck.org.uk/spec/config/1.0/",
        "paper": {"title": cited["title"], "authors": [{"name": a["name"]} for a in cited["authors"]]},
        "manifest": manifest(),
    }
    return HEAD + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=200)


if __name__ == "__main__":
    FILE.write_text(text())

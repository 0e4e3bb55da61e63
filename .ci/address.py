"""Write the repository's public address, OWNER/NAME on GitHub, where readers need it.

    python .ci/address.py OWNER/NAME

pyproject.toml gets it (the gallery's pages link to Colab by it), the README a badge, CITATION.cff its repository-code, and
every notebook a first cell that fetches and installs the repository in Colab, and does nothing elsewhere. Run again, it
replaces what it wrote.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COLAB = "https://colab.research.google.com/github"
CELL = """\
import sys

if "google.colab" in sys.modules:  # there, and only there: fetch the repository and install it, some minutes
    import os
    import subprocess

    subprocess.run(["git", "clone", "-q", "--depth", "1", "https://github.com/{address}", "companion"], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-e", "companion"], check=True)
    sys.path.insert(0, os.path.abspath("companion"))
    os.chdir("companion/notebooks")
"""


def main(address: str, root: Path = ROOT) -> None:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", address):
        sys.exit(f"An address is OWNER/NAME as GitHub has it, not {address!r}.")
    url, first = f"https://github.com/{address}", sorted((root / "notebooks").glob("*.ipynb"))[0].name
    _line(
        root / "pyproject.toml",
        r"\[project.urls\]\n.*\n\n",
        f'[project.urls]\nRepository = "{url}"\n\n',
        "[project.scripts]",
    )
    _line(root / "CITATION.cff", r"repository-code: .*\n", f'repository-code: "{url}"\n', "license:")
    badge = f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({COLAB}/{address}/blob/main/notebooks/{first})"
    _line(root / "README.md", r"\[!\[Open in Colab\].*\n\n", f"{badge}\n\n", "Joint-embedding")
    for path in (root / "notebooks").glob("*.ipynb"):
        book = json.loads(path.read_text(encoding="utf-8"))
        cells = [c for c in book["cells"] if c.get("id") != "colab"]
        cell = {"cell_type": "code", "execution_count": None, "id": "colab", "metadata": {}, "outputs": []}
        source = CELL.format(address=address).rstrip("\n").splitlines(keepends=True)
        book["cells"] = [cells[0], cell | {"source": source}, *cells[1:]]
        path.write_text(json.dumps(book, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _line(path: Path, old: str, new: str, before: str) -> None:
    """Take out what is there, and put the new text before the first line that begins so."""
    text = re.sub(old, "", path.read_text(encoding="utf-8"))
    at = re.search(rf"^{re.escape(before)}", text, re.M).start()
    path.write_text(text[:at] + new + text[at:], encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])

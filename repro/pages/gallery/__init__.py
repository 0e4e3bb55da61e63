"""The gallery: the executed notebooks, their figures, numbers and verdicts as plain web pages.

No network, nothing but files that link to each other: it opens from a disk and is served by any web server. One script of a
few lines, the index's search box, which is not there without it; the filters beside it are CSS.

A first reader need not enter.
"""

from repro.pages.gallery.build import build

__all__ = ["build"]

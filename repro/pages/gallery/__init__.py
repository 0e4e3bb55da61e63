"""The gallery: the executed notebooks, their figures, numbers and verdicts as plain web pages.

No script, no network, nothing but files that link to each other: it opens from a disk and is served by any web server.

A first reader need not enter.
"""

from repro.pages.gallery.build import build

__all__ = ["build"]

"""The gallery: the executed notebooks, their figures, numbers and verdicts as plain web pages.

No script, no network, nothing but files that link to each other: it opens from a disk and is served by any web server.
"""

from repro.gallery.build import build

__all__ = ["build"]

"""An executable companion to three papers on joint-embedding self-supervised learning.

Notebooks call `study`, `measure`, `show` and `verdict`; everything else is in the modules, each of which says what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from repro.pages.notebook import costs, judge, measure, overview, show, study, takeaways, verdict, watch
    from repro.ssl.weights import load

__all__ = ["costs", "judge", "load", "measure", "overview", "show", "study", "takeaways", "verdict", "watch"]


def __getattr__(name: str) -> Any:
    """`repro.study(...)` and its companions, imported when first used: importing repro stays quick."""
    if name == "load":
        from repro.ssl import weights

        return weights.load
    if name in __all__:
        from repro.pages import notebook

        return getattr(notebook, name)
    raise AttributeError(f"module 'repro' has no attribute {name!r}")

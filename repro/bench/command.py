"""The command lines of the small benchmarks: options from defaults, and one table with a heading."""

from __future__ import annotations

import argparse
from typing import Any

import pandas as pd
import torch


def options(argv: list[str], name: str, about: str | None, **defaults: Any) -> argparse.Namespace:
    """The options of `repro bench <name>`, each of its default's type; a list takes several values, a tuple of texts is
    what to choose from, the first being the default. On a CPU torch is set to one thread, whose time is measured."""
    parser = argparse.ArgumentParser(prog=f"repro bench {name}", description=(about or "").split("\n")[0])
    for option, default in defaults.items():
        if isinstance(default, tuple):
            parser.add_argument(f"--{option}", choices=default, default=default[0])
        elif isinstance(default, list):
            parser.add_argument(f"--{option}", type=type(default[0]), nargs="+", default=default)
        else:
            parser.add_argument(f"--{option}", type=type(default), default=default)
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    return parser.parse_args(argv)


def show(what: str, repeats: int, rows: list[dict[str, Any]]) -> int:
    """Print what was measured, on what, and a table with a column for each key of the rows; the exit code 0."""
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "one thread of a CPU"
    print(f"{what}, on {where}; medians of {repeats}")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.2f}".format, na_rep=""))
    return 0

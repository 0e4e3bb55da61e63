"""What the benchmarks share: the clock, ways in turn, the options of a command line, and one table."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Container, Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:  # claims that plan benchmarks are judged without torch
    import torch


def now(device: torch.device, wall: bool = False) -> float:
    """Seconds: on a GPU of the wall, once the GPU has done all its work; on a CPU of this process, which busy neighbours do
    not lengthen, or of the wall."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize()
    return time.perf_counter() if wall or device.type == "cuda" else time.process_time()


def in_turn(
    ways: Mapping[str, Callable[[], float]],
    repeats: int,
    after: Callable[[dict], None] = lambda taken: None,
    may_fail: Container[str] = (),
) -> dict[str, list[float]]:
    """What each way takes in each of `repeats` turns, so that a slow moment of the machine meets all; every other turn goes
    backwards. One more turn comes first, which compiles and is not counted. `after` gets what is there after each turn.
    One of `may_fail` that cannot run here is left out, and that is said."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repeats + 1):
        for name in list(taken)[:: 1 if turn % 2 else -1]:
            try:
                taken[name] += [ways[name]()][not turn :]
            except (RuntimeError, OSError) as e:  # a peer's workers may lack shared memory, say
                if name not in may_fail:
                    raise
                print(f"{name} cannot run here and is left out: {e}", file=sys.stderr, flush=True)
                del taken[name]
        if turn:
            after(taken)
    return taken


def ratio(taken: Mapping[str, list[float]], a: str, b: str) -> float:
    """The median over turns of what `a` takes over what `b` takes in the same turn."""
    return statistics.median(x / y for x, y in zip(taken[a], taken[b]))


def options(argv: list[str], name: str, about: str | None, **defaults: Any) -> argparse.Namespace:
    """The options of `repro bench <name>`, each of its default's type: a list takes several values, an empty one the option
    several times, a tuple is what to choose from, the first being the default, False is a switch, and a type has no
    default. On a CPU torch is set to one thread, whose time is measured."""
    parser = argparse.ArgumentParser(
        prog=f"repro bench {name}", description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option, default in defaults.items():
        if default is False:
            how: dict[str, Any] = {"action": "store_true"}
        elif isinstance(default, tuple):
            how = {"choices": default, "default": default[0], "help": f"default: {default[0]}"}
        elif default == []:
            how = {"action": "append", "default": []}
        elif isinstance(default, list):
            how = {"type": type(default[0]), "nargs": "+", "default": default, "help": f"default: {default}"}
        elif isinstance(default, type):
            how = {"type": default}
        else:
            how = {"type": type(default), "default": default, "help": f"default: {default!r}"}
        parser.add_argument(f"--{option.replace('_', '-')}", **how)
    import torch

    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    return parser.parse_args(argv)


def show(what: str, repeats: int, rows: list[dict[str, Any]]) -> int:
    """Print what was measured, on what, and a table with a column for each key of the rows; the exit code 0."""
    import torch

    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "one thread of a CPU"
    print(f"{what}, on {where}; medians of {repeats}")
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.2f}".format, na_rep=""))
    return 0

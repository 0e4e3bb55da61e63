"""Table 2 of the FFCV-SSL paper: how fast views are loaded, ours beside its peers and beside the limit of the decoder.

    repro bench loader [--images FOLDER] [--count 256] [--workers 2] [--repeats 5] [--ffcv-ssl PATH] [--scaling]

Every loader runs in its own process and all are measured in turn, so that what else the machine does hits them alike;
ratios are of measurements of the same turn. Medians are printed. FFCV takes part where it is installed, its pipeline made
of our operation (`repro.loader.operations`); FFCV-SSL where --ffcv-ssl is the folder that its package `ffcv` lies in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import importlib.util
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from repro.bench import photographs
from repro.bench.common import options
from repro.bench.contestants import COLUMNS, STOCK, serve
from repro.core import places
from repro.core.lock import alone
from repro.core.spec import whole
from repro.core.store import Result
from repro.cores import cores
from repro.errors import ReproError
from repro.loader import jpeg

NAMES = ("decode", "ours", "ours fast", "torchvision", "torchvision v2")
SSL = ("FFCV-SSL", "FFCV-SSL as shipped")
PATIENCE = 900.0  # seconds after which a loader is taken to hang: FFCV-SSL compiles for minutes


@dataclass(frozen=True)
class LoaderSpec:
    """A measurement of loaders.

    images: "synthetic", or a folder of JPEGs. count: how many of them. size: pixels a side of the views. batch.
    workers: threads or processes of each loader; 0 for one a core. repeats: turns. seconds: of one measurement, at
    least. kernel: of the blur; 0 for torchvision's (5, 9) of the paper's code, and 9 for ours. raw: store pixels, not
    JPEGs. scaling: also 1, 2, ... workers and 2, 4, 8 views. peers: all of NAMES,
    or ours, the decoder and torchvision on Pillow.

    curves: one list a column of the measurements: contestant, column, views, workers, turn, images_s (images a second),
    cpu_ms (CPU milliseconds an image), memory_mb (of its processes alone).
    """

    images: str = "synthetic"
    count: int = 256
    size: int = 224
    batch: int = 32
    workers: int = 0
    repeats: int = 5
    seconds: float = 0.5
    kernel: int = 0
    raw: bool = False
    scaling: bool = False
    peers: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        whole(self, count=1, size=1, batch=1, repeats=1)
        if self.kernel and self.kernel % 2 == 0:
            raise ReproError(f"The blur's kernel is an odd number of pixels, not {self.kernel}: correct it.")


def title(spec: LoaderSpec) -> str:
    """What to call the images in figures."""
    if spec.images == "synthetic":
        return "synthetic photographs (stand-in)"
    from repro.data import folder

    return folder.title(Path(spec.images))


def run(spec: LoaderSpec) -> Result:
    """Measure. The numbers depend on the machine; $REPRO_FFCV_SSL, if set, is where FFCV-SSL's package lies."""
    rows, _ = measure(spec, os.environ.get("REPRO_FFCV_SSL", ""))
    return Result({"diverged": 0.0}, {name: [row[name] for row in rows] for name in rows[0]})


def has_ffcv() -> bool:
    return importlib.util.find_spec("ffcv") is not None


def absent(ffcv_ssl: str = "") -> list[str]:
    """A sentence for each thing that is not installed here, on what is measured without it."""
    stock = (
        "FFCV is not installed here, so its pipeline of our views is left out; our loader reads .beton files by itself."
    )
    ssl = "FFCV-SSL is left out: name the folder of its package with --ffcv-ssl or $REPRO_FFCV_SSL to measure it."
    return [stock] * (not has_ffcv()) + [ssl] * (not ffcv_ssl)


def measure(spec: LoaderSpec, ffcv_ssl: str = "", say=lambda text: None, stock: bool = False) -> tuple[list[dict], int]:
    """The measurements as rows, and the number of images. stock: with FFCV as well.

    An FFCV or FFCV-SSL that does not run here is left out, which one sentence on the standard error says.
    """
    jpeg.library()  # without it there is nothing to measure, and it says so itself
    workers = spec.workers or cores()
    few = ("decode", "ours", "torchvision")
    names = [*(NAMES if spec.peers else few), *[STOCK] * stock, *(SSL if ffcv_ssl else ())]
    with alone(), tempfile.TemporaryDirectory() as scratch:
        if spec.images == "synthetic":
            files = photographs.synthetic(places.root() / "build" / "bench" / "photographs", spec.count, spec.seed)
        else:
            files = photographs.found(Path(spec.images), spec.count)
        if len(files) < spec.batch:
            raise ReproError(f"A batch of {spec.batch} does not fit {len(files)} images: choose a smaller batch.")
        packed = Path(scratch) / "images.beton"
        photographs.pack(files, packed, spec.raw)
        job = {
            "beton": str(packed), "files": [str(f) for f in files], "batch": spec.batch, "size": spec.size,
            "kernel": spec.kernel or 9, "peer_kernel": [spec.kernel] * 2 if spec.kernel else [5, 9], "ffcv_ssl": ffcv_ssl,
        }  # fmt: skip
        rows: list[dict] = []
        failed: set[str] = set()
        with contextlib.ExitStack() as stack:
            running = {name: stack.enter_context(_Contestant(job | {"name": name})) for name in names}
            for turn in range(spec.repeats):
                for name, column, views, threads in _order(spec, names, workers):
                    say(f"turn {turn + 1} of {spec.repeats}: {name}, {column}, {views} views, {threads} workers")
                    if name in failed:
                        continue
                    try:
                        got = running[name].ask(column, views, threads, spec.seconds)
                    except ReproError as e:
                        if name not in (STOCK, *SSL):
                            raise
                        failed.add(name)
                        print(f"{e} It is left out.", file=sys.stderr, flush=True)
                        continue
                    rows.append(
                        {
                            "contestant": name, "column": column, "views": views, "workers": threads, "turn": turn,
                            "images_s": got["images"] / got["seconds"], "cpu_ms": 1000 * got["cpu"] / got["images"],
                            "memory_mb": got["memory"] / 2**20,
                        }
                    )  # fmt: skip
    return rows, len(files)


def _order(spec: LoaderSpec, names: Sequence[str], workers: int) -> Iterator[tuple[str, str, int, int]]:
    """What one turn measures: (contestant, column, views, workers)."""
    for column in COLUMNS:
        for name in names:
            if name == "decode" and column != COLUMNS[0]:
                continue  # it knows no augmentation: measured once a turn ...
            if name == "FFCV-SSL as shipped" and column in (COLUMNS[0], "+gray", "+solarize"):
                continue
            yield name, column, 2, workers
    yield "decode", COLUMNS[0], 2, workers  # ... and once more at its end
    if spec.scaling:
        for threads in range(1, workers):
            yield "ours", COLUMNS[-1], 2, threads
            yield "decode", COLUMNS[0], 2, threads
        for views in (4, 8):
            yield "ours", COLUMNS[-1], views, workers


class _Contestant:
    """A process that runs `repro.bench.contestants.serve`."""

    def __init__(self, job: dict):
        context = multiprocessing.get_context("spawn")  # a new Python, which has imported nothing
        self.name, (self.pipe, theirs) = job["name"], context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, job))
        self.process.start()
        theirs.close()

    def __enter__(self) -> _Contestant:
        return self

    def __exit__(self, *_) -> None:
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def ask(self, column: str, views: int, workers: int, seconds: float) -> dict:
        answer: dict | str = f"no answer for {PATIENCE:.0f} s"
        try:
            self.pipe.send((column, views, workers, seconds))
            if self.pipe.poll(PATIENCE):
                answer = self.pipe.recv()
        except (EOFError, OSError):
            answer = "its process died"
        if isinstance(answer, str):
            raise ReproError(f"The loader {self.name!r} failed at {column!r} ({answer}): mend it or leave it out.")
        return answer


# --- tables -----------------------------------------------------------------------------------------------------------


def medians(rows: pd.DataFrame, value: str, workers: int | None = None) -> pd.DataFrame:
    """Medians over the turns: a row for each contestant, a column for each stack, NaN where it was not measured."""
    workers = rows["workers"].max() if workers is None else workers
    chosen = rows[(rows["views"] == 2) & (rows["workers"] == workers)]
    table = chosen.pivot_table(index="contestant", columns="column", values=value, aggfunc="median", sort=False)
    return table.reindex(columns=[c for c in COLUMNS if c in table])


def ratios(rows: pd.DataFrame, over: str, value: str = "images_s") -> np.ndarray:
    """How many times as fast ours is as `over`: (turns, stacks), each from measurements of one turn."""
    chosen = rows[(rows["views"] == 2) & (rows["workers"] == rows["workers"].max()) & rows["column"].isin(COLUMNS)]
    # the decoder and ours are measured more than once a turn
    table = chosen.pivot_table(index=["contestant", "turn"], columns="column", values=value, aggfunc="mean")
    table = table.reindex(columns=list(COLUMNS))
    a, b = table.loc["ours"].to_numpy(), table.loc[over].to_numpy()
    return b / a if value == "cpu_ms" else a / b


def share_of_limit(rows: pd.DataFrame) -> pd.DataFrame:
    """Each contestant's images a second, of the decoder's alone on the same cores."""
    speed = medians(rows, "images_s")
    return speed / speed.loc["decode", COLUMNS[0]]


def beside_ffcv() -> pd.DataFrame:
    """Images a second of ours, torchvision and, where it is installed, stock FFCV with our operation: as `medians`."""
    spec = LoaderSpec(count=64, repeats=3, seconds=0.2, peers=False)
    rows, _ = measure(spec, stock=has_ffcv())
    return medians(pd.DataFrame(rows), "images_s")


def report(rows: pd.DataFrame) -> str:
    """The tables as text."""
    peers = [n for n in rows["contestant"].unique() if n not in ("decode", "ours")]

    def over(value: str) -> pd.DataFrame:
        frame = pd.DataFrame({n: pd.DataFrame(ratios(rows, n, value), columns=COLUMNS).median() for n in peers})
        return frame.T.dropna(how="all")

    alike = (rows["contestant"] == "decode") | ((rows["contestant"] == "ours") & (rows["column"] == COLUMNS[-1]))
    tables = {
        "Images a second (median; two views an image)": medians(rows, "images_s"),
        "CPU milliseconds an image (median)": medians(rows, "cpu_ms"),
        "Share of the decoder's speed": share_of_limit(rows),
        "Ours is so many times as fast as (median of the turns' ratios, by time)": over("images_s"),
        "Ours is so many times as fast as (median of the turns' ratios, by CPU time)": over("cpu_ms"),
        "The full stack and decoding alone, by views and workers (medians)": rows[alike]
        .groupby(["contestant", "views", "workers"])[["images_s", "cpu_ms", "memory_mb"]]
        .median(),
    }
    out = [f"{name}\n{table.to_string(float_format='{:.2f}'.format, na_rep='')}\n" for name, table in tables.items()]
    memory = rows.groupby("contestant", sort=False)["memory_mb"].median()
    return "\n".join([*out, f"Memory of their processes, MiB: {', '.join(f'{n} {m:.0f}' for n, m in memory.items())}"])


def main(argv: list[str]) -> int:
    """`repro bench loader`: measure and print the tables."""
    fields = {f.name: f.default for f in dataclasses.fields(LoaderSpec) if f.name not in ("peers", "seed")}
    args = vars(options(argv, "loader", f"{__doc__}\n{LoaderSpec.__doc__}", **fields, ffcv_ssl="", out=Path))
    ffcv_ssl, out = args.pop("ffcv_ssl"), args.pop("out")
    if ffcv_ssl and not (Path(ffcv_ssl) / "ffcv").is_dir():
        raise ReproError(f"There is no package ffcv in {ffcv_ssl}: give the folder that holds it.")
    spec = LoaderSpec(**args)
    for sentence in absent(ffcv_ssl):
        print(sentence, file=sys.stderr)
    say = functools.partial(print, file=sys.stderr, flush=True)
    rows, images = measure(spec, ffcv_ssl, say, stock=has_ffcv())
    frame = pd.DataFrame(rows)
    if out:
        frame.to_csv(out, index=False)
    workers = frame["workers"].max()
    print(f"{images} images, {title(spec)}, batch {spec.batch}, {workers} workers, {spec.repeats} turns\n")
    print(report(frame))
    return 0

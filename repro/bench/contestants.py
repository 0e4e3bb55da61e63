"""The loaders that are compared, each in a process of its own that measures when it is asked to."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from types import ModuleType

    from repro.views.recipe import Recipe, View

COLUMNS = ("crops", "+blur", "+gray", "+solarize", "+jitter")  # each on top of those before it, as in Table 2
BRIGHTNESS, CONTRAST, SATURATION, HUE = 0.4, 0.4, 0.2, 0.1  # the recipe of the FFCV-SSL paper's code


def chances(column: str, branch: int) -> dict[str, float]:
    """The probability of each augmentation in one of the recipe's two branches: blur on the first, solarize on the
    second."""
    n = COLUMNS.index(column)
    return {
        "blur": float(n >= 1 and branch == 0),
        "gray": 0.2 * (n >= 2),
        "solarize": 0.2 * (n >= 3 and branch == 1),
        "jitter": 0.8 * (n >= 4),
    }


STOCK = "FFCV, our views"  # stock FFCV with our operation

Epoch = Callable[[], int]  # one pass over the data; the number of images


def recipe_of(job: dict, column: str, views: int) -> Recipe:
    from repro.views.recipe import Recipe, View

    jitter = {"brightness": BRIGHTNESS, "contrast": CONTRAST, "saturation": SATURATION, "hue": HUE}
    look = jitter | {"crop": (0.08, 1.0), "kernel": job["kernel"]}
    return Recipe(column, tuple(View(**look, **chances(column, v % 2)) for v in range(views)))


def ours(job: dict, column: str, views: int, workers: int) -> Epoch:
    from repro.loader.loader import Loader

    fast = job["name"] == "ours fast"
    recipe = recipe_of(job, column, views)
    loader = Loader(job["beton"], recipe, job["batch"], job["size"], workers=workers, fast=fast)
    epochs = iter(range(1 << 30))
    return lambda: sum(len(batch.index) for batch in loader.epoch(next(epochs)))


_stock: dict[tuple[int, int], tuple] = {}  # FFCV compiles its pipeline in every process: one for all stacks


def stock_ffcv(job: dict, column: str, views: int, workers: int) -> Epoch:
    """FFCV's own loader with our operation: as written in `repro.loader.operations`."""
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor

    from repro.loader.operations import Views

    recipe = recipe_of(job, column, views)
    if (views, workers) not in _stock:
        operation = Views(recipe, job["size"])
        loader = Loader(
            job["beton"], batch_size=job["batch"], num_workers=workers, order=OrderOption.RANDOM, os_cache=True, seed=0,
            drop_last=True, pipelines={"image": [operation, ToTensor()]},
        )  # fmt: skip
        _stock[views, workers] = operation, loader
    operation, loader = _stock[views, workers]
    epochs = iter(range(1 << 30))

    def epoch() -> int:
        operation.recipe = recipe
        operation.prepare(next(epochs))
        return sum(len(batch[0]) for batch in loader)

    return epoch


def decode(job: dict, column: str, views: int, workers: int) -> Epoch:
    """libjpeg-turbo alone, on the same bytes and as many threads: what no loader of whole JPEGs can be faster than."""
    import numpy as np

    from repro.loader import beton, compiled, jpeg

    file = beton.read(job["beton"])
    count = len(file) // job["batch"] * job["batch"]
    places = (file.offsets, file.lengths, file.heights, file.widths, file.kinds, np.arange(len(file)))
    compiled.warm_up()
    decoders = [jpeg.Decoder() for _ in range(workers)]
    nothing = (np.empty((0, compiled.central(1.0).shape[1])), np.empty(0, np.int64), 8, False)

    def work(decoder: jpeg.Decoder, begin: int, end: int) -> None:
        to = (np.empty((0, 1), np.uint8), np.empty((0, 1), np.float32), 1, 1)
        compiled.make_views(file.data, *places, begin, end, *nothing, decoder.address, *to)

    def epoch() -> int:
        cuts = [count * k // workers for k in range(workers + 1)]
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(work, decoders, cuts[:-1], cuts[1:]))
        return count

    return epoch


def augmentations(T: ModuleType, view: View, size: int, kernel: Sequence[int]) -> list:
    """A view as transforms of `T`, either of torchvision's modules of them, on Pillow's images or tensors."""
    jitter = T.ColorJitter(view.brightness, view.contrast, view.saturation, view.hue)
    blur = T.GaussianBlur(tuple(kernel), view.sigma)
    steps = [T.RandomResizedCrop(size, view.crop, view.ratio, antialias=True), T.RandomHorizontalFlip(view.flip)]
    steps += [T.RandomApply([jitter], view.jitter)] * (view.jitter > 0)
    steps += [T.RandomGrayscale(view.gray)] * (view.gray > 0)
    steps += [T.RandomApply([blur], view.blur) if view.blur < 1 else blur] * (view.blur > 0)
    return steps + [T.RandomSolarize(round(255 * view.threshold), view.solarize)] * (view.solarize > 0)


class Files:
    """A data set of the job's image files under torchvision's transforms, those on Pillow's images or the second ones on
    uint8 tensors; an item is (column, views, number of the file)."""

    def __init__(self, job: dict):
        self.job, self.known, self.second = job, {}, job["name"] == "torchvision v2"

    def __len__(self) -> int:
        return len(self.job["files"])

    def __getitem__(self, item: tuple[str, int, int]):
        column, views, number = item
        image, key = self.read(self.job["files"][number]), (column, views)
        if key not in self.known:
            self.known[key] = self.branches(recipe_of(self.job, column, views))
        return [branch(image) for branch in self.known[key]]

    def read(self, file: str):
        if self.second:
            from torchvision.io import ImageReadMode, decode_jpeg, read_file

            return decode_jpeg(read_file(file), ImageReadMode.RGB)
        from PIL import Image

        with Image.open(file) as image:
            return image.convert("RGB")

    def branches(self, recipe: Recipe) -> list:
        if self.second:
            from torchvision.transforms import v2 as T
        else:
            from torchvision import transforms as T
        last = [] if self.second else [T.PILToTensor()]
        steps = [augmentations(T, v, self.job["size"], self.job["peer_kernel"]) for v in recipe.views]
        return [T.Compose(made + last) for made in steps]


_feeds: dict[int, tuple[list, object]] = {}  # by workers, which stay: what is to be loaded next, and its DataLoader


def torchvision(job: dict, column: str, views: int, workers: int) -> Epoch:
    import torch
    from torch.utils.data import DataLoader

    if workers not in _feeds:
        torch.manual_seed(0)
        wanted, images = [], Files(job)
        loader = DataLoader(images, batch_sampler=wanted, num_workers=workers, persistent_workers=True)
        _feeds[workers] = wanted, loader
    wanted, loader = _feeds[workers]

    def epoch() -> int:
        order = torch.randperm(len(job["files"])).split(job["batch"])
        wanted[:] = [[(column, views, n) for n in b.tolist()] for b in order if len(b) == job["batch"]]
        return sum(len(batch[0]) for batch in loader)

    return epoch


def ffcv_ssl(job: dict, column: str, views: int, workers: int) -> Epoch:
    """The paper's own fork of FFCV, from the path it was installed to: one pipeline, and one decode, a view."""
    import scipy.signal

    scipy.signal.gaussian = scipy.signal.windows.gaussian  # moved since its last commit
    import ffcv
    from ffcv import transforms as T
    from ffcv.fields.basics import IntDecoder
    from ffcv.loader import OrderOption
    from torchvision.transforms import GaussianBlur

    def pipeline(p: dict[str, float]) -> list:
        steps = [T.RandomResizedCrop((job["size"], job["size"])), T.RandomHorizontalFlip()]
        steps += [T.RandomColorJitter(p["jitter"], BRIGHTNESS, CONTRAST, SATURATION, HUE)] * (p["jitter"] > 0)
        steps += [T.RandomGrayscale(p["gray"])] * (p["gray"] > 0)
        own = job["name"] == "FFCV-SSL as shipped"
        steps += [T.GaussianBlur(p["blur"])] * (own and p["blur"] > 0)
        steps += [T.RandomSolarization(p["solarize"], 128)] * (p["solarize"] > 0)
        steps += [T.ToTensor(), T.ToTorchImage()]
        return steps + [GaussianBlur(tuple(job["peer_kernel"]), (0.1, 2.0))] * (not own and p["blur"] > 0)

    names = ["image"] + [f"image_{v}" for v in range(views - 1)]
    pipelines = {name: pipeline(chances(column, v % 2)) for v, name in enumerate(names)}
    loader = ffcv.Loader(
        job["beton"], batch_size=job["batch"], num_workers=workers, order=OrderOption.RANDOM, os_cache=True, seed=0,
        drop_last=True, pipelines={"image": pipelines.pop("image"), "label": [IntDecoder(), T.ToTensor()], **pipelines},
        custom_field_mapper=dict.fromkeys(names[1:], "image"),
    )  # fmt: skip
    return lambda: sum(len(batch[0]) for batch in loader)


CONTESTANTS = {
    "decode": decode,
    "ours": ours,
    "ours fast": ours,
    STOCK: stock_ffcv,
    "torchvision": torchvision,
    "torchvision v2": torchvision,
    "FFCV-SSL": ffcv_ssl,
    "FFCV-SSL as shipped": ffcv_ssl,
}


def serve(pipe: Connection, job: dict) -> None:
    """Answer each (column, views, workers, seconds) that comes through the pipe by the images, seconds, CPU seconds (of all
    processes and threads) and memory of one measurement, or by a sentence on what went wrong, which is the last."""
    for stream in (1, 2):  # what libraries print is for nobody
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    os.environ["OMP_NUM_THREADS"] = "1"  # before any library starts its threads
    if job["name"].startswith("FFCV-SSL"):
        sys.path.insert(0, job["ffcv_ssl"])
    warnings.simplefilter("ignore")
    import psutil
    import torch

    torch.set_num_threads(1)
    here, epochs = psutil.Process(), {}

    def used() -> float:
        times = [process.cpu_times() for process in here.children(recursive=True)]
        # of this one finer than the hundredths of a second that are known of other processes
        return time.process_time() + sum(t.user + t.system for t in times)

    def measure(key: tuple[str, int, int], least: float) -> dict[str, float]:
        if key not in epochs:
            if job["name"].startswith("ours"):
                epochs.clear()  # loaders keep the memory of their batches
            epochs[key] = CONTESTANTS[job["name"]](job, *key)
            epochs[key]()
        images, begun, cpu = 0, time.monotonic(), used()
        while images == 0 or time.monotonic() - begun < least:
            images += epochs[key]()
        seconds, cpu = time.monotonic() - begun, used() - cpu
        memory = sum(p.memory_full_info().uss for p in (here, *here.children(recursive=True)))
        return {"images": images, "seconds": seconds, "cpu": cpu, "memory": memory}

    try:
        while True:
            *key, seconds = pipe.recv()
            pipe.send(measure(tuple(key), seconds))
    except EOFError:  # nobody asks any more
        return
    except Exception as e:
        pipe.send(f"{type(e).__name__}: {str(e).strip().splitlines()[-1] if str(e).strip() else 'no message'}")

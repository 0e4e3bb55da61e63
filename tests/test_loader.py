"""The loader: one stream of views whatever the workers, batches and interruptions; and errors that end it in a sentence."""

import errno
import gc
import io
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import numpy as np
import pytest
import reference
import torch
from PIL import Image

from repro.errors import ReproError
from repro.loader import beton, compiled, loader, plain
from repro.loader.jpeg import decodes
from repro.loader.loader import Loader
from repro.loader.plain import PlainLoader
from repro.views.recipe import Recipe, View, preset

COUNT = 26
ALL = preset("all", blur=0.5)


def picture(i: int) -> Image.Image:
    """A smooth picture, of another size for each number."""
    rng = np.random.default_rng(i)
    small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
    return small.resize((60 + 7 * (i % 5), 50 + 9 * (i % 4)), Image.Resampling.BICUBIC)


def jpeg(i: int) -> bytes:
    out = io.BytesIO()
    picture(i).save(out, "JPEG", quality=92)
    return out.getvalue()


def pixels(i: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg(i))).convert("RGB"))


def encode(i: int) -> beton.Encoded:
    image = picture(i)
    return beton.Encoded(jpeg(i), image.height, image.width, raw=False)


def encode_raw(i: int) -> beton.Encoded:
    image = pixels(i)
    return beton.Encoded(image.tobytes(), *image.shape[:2], raw=True)


LABELS = {"class": [i % 3 for i in range(COUNT)], "distance": [i / 4 for i in range(COUNT)]}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("beton") / "photos.beton"
    beton.write(path, encode, LABELS)
    return path


def views(loader: Loader, epoch: int = 0, first: int = 0) -> dict[int, torch.Tensor]:
    """Each sample's views (V, 3, S, S), in the order in which they came."""
    out = {}
    for batch in loader.epoch(epoch, first):
        for k, number in enumerate(batch.index.tolist()):
            out[number] = batch.views[:, k].clone()
    return out


def same(a: dict[int, torch.Tensor], b: dict[int, torch.Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[k], b[k]) for k in a)


def mean_difference(a: dict[int, torch.Tensor], b: dict[int, torch.Tensor]) -> float:
    """In grey levels of 255."""
    return float(torch.stack([(a[k].float() - b[k].float()).abs().mean() for k in a]).mean())


# --- the stream -------------------------------------------------------------------------------------------------------


def test_views_are_the_references(path):
    found = views(Loader(path, ALL, 5, 40, seed=3, drop_last=False), epoch=2)
    assert sorted(found) == list(range(COUNT))
    for i in range(0, COUNT, 3):
        image = torch.from_numpy(pixels(i).copy()).permute(2, 0, 1)[None]
        wanted = reference.make(image, ALL, 3, 2, torch.tensor([i]), 40)[:, 0]
        difference = torch.where((wanted - 0.5).abs() < 1e-3, 0.0, (found[i] / 255 - wanted).abs())
        assert difference.max() < 1.5 / 255  # rounded to a grey level


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 4, 26])
def test_the_stream_depends_on_no_worker_and_no_batch(path, workers, batch):
    wanted = views(Loader(path, ALL, 7, 32, workers=1, drop_last=False), epoch=1)
    assert same(wanted, views(Loader(path, ALL, batch, 32, workers=workers, drop_last=False), epoch=1))


def test_an_epoch_goes_on_from_any_batch(path):
    whole, part = (Loader(path, ALL, 4, 32, workers=2) for _ in range(2))
    wanted = views(whole, 5)
    assert same({k: wanted[k] for k in list(wanted)[12:]}, views(part, 5, first=3))


def test_epochs_and_seeds_differ_and_repeat(path):
    def of(seed, epoch):
        return views(Loader(path, ALL, 13, 32, seed=seed), epoch)

    first = of(0, 0)
    assert same(first, of(0, 0))
    for other in (of(0, 1), of(1, 0)):
        assert list(other) != list(first)
        assert not any(torch.equal(other[k], first[k]) for k in first)


def test_seeds_do_not_give_shifted_copies():
    by_seed = [loader.Order(500, "", 10, seed) for seed in range(3)]
    orders = {(s, e): np.concatenate(by_seed[s].batches(e)) for s in range(3) for e in range(3)}
    assert len({o.tobytes() for o in orders.values()}) == 9


def test_raw_and_compressed_storage_give_the_same_views(path, tmp_path):
    beton.write(tmp_path / "raw.beton", encode_raw, LABELS)
    beton.write(tmp_path / "mixed.beton", lambda i: encode_raw(i) if i % 2 else encode(i), LABELS)
    wanted = views(Loader(path, ALL, 13, 32))
    assert same(wanted, views(Loader(tmp_path / "raw.beton", ALL, 13, 32)))
    assert same(wanted, views(Loader(tmp_path / "mixed.beton", ALL, 13, 32)))


def test_a_batch_is_not_overwritten_while_it_is_held(path):
    source = Loader(path, ALL, 2, 32)
    held = list(source.epoch(0))
    assert all(torch.equal(a.views, b.views) for a, b in zip(held, source.epoch(0)))
    assert len({batch.views.data_ptr() for batch in held}) == len(held)
    addresses = [batch.views.data_ptr() for batch in source.epoch(0)]
    assert len(set(addresses)) < len(addresses)  # but memory is used again when it is not
    assert {batch.views.data_ptr() for batch in source.epoch(1)} & set(addresses)  # in later epochs, too
    assert len(source._memory.arrays) < len(held)  # and what was held is not kept for ever


_GROWTH = """
import sys
from repro.loader.jpeg import decodes
from repro.loader.loader import Loader
from repro.views.recipe import preset

def anonymous():  # MiB that are the process's own, not the file's
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) / 1024

def most(path):
    source = Loader(path, preset("crop"), 64, 64, workers=2)  # an epoch is as large as its file
    return max(anonymous() for epoch in range(2) for batch in source.epoch(epoch))

few = most(sys.argv[1])
print(most(sys.argv[2]) - few)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="Only Linux tells a process's own memory.")
def test_memory_does_not_grow_with_the_data_set(tmp_path):
    side, counts = 128, (128, 1024)
    image = beton.Encoded(bytes(3 * side * side), side, side, raw=True)
    paths = [tmp_path / f"{count}.beton" for count in counts]
    for path, count in zip(paths, counts):
        beton.write(path, lambda i: image, {"class": [0] * count})
    more = paths[1].stat().st_size - paths[0].stat().st_size
    done = subprocess.run([sys.executable, "-c", _GROWTH, *map(str, paths)], capture_output=True, text=True, check=True)
    assert float(done.stdout) < more / 2**20 / 3


def test_labels_and_numbers_belong_to_their_pictures(path):
    source = Loader(path, preset("none"), 4, 16)
    for batch in source.epoch(0):
        assert list(batch.labels) == ["class", "distance"]
        assert batch.labels["class"].tolist() == [LABELS["class"][i] for i in batch.index]
        for view, i in zip(batch.views[0], batch.index.tolist()):
            whole = Image.fromarray(pixels(i)).resize((16, 16), Image.Resampling.BILINEAR)
            assert np.abs(np.asarray(whole).astype(int) - view.permute(1, 2, 0).numpy()).max() <= 2
    assert next(Loader(path, ALL, 4, 16).epoch()).labels["distance"].dtype == torch.float64


@pytest.mark.parametrize("drop_last", [True, False])
def test_an_epoch_has_each_sample_once(drop_last):
    batches = loader.Order(103, "", 5, 0, drop_last=drop_last).batches(4)
    assert [len(b) for b in batches] == [5] * 20 + [3] * (not drop_last)
    seen = np.concatenate(batches).tolist()
    assert len(set(seen)) == len(seen)
    assert drop_last or sorted(seen) == list(range(103))


def test_a_part_of_the_data_keeps_its_numbers(path):
    whole, part = views(Loader(path, ALL, 26, 32)), views(Loader(path, ALL, 2, 32, indices=[3, 8, 20, 21]))
    assert sorted(part) == [3, 8, 20, 21]
    assert all(torch.equal(part[i], whole[i]) for i in part)
    with pytest.raises(ReproError, match="an index lies outside"):
        Loader(path, ALL, 2, 32, indices=[26])


def test_resolution_grows_with_the_epoch(path):
    size = loader.ramp(160, 192, 70, 85)
    assert [size(e) for e in (0, 70, 73, 78, 85, 99)] == [160, 160, 160, 192, 192, 192]
    size = loader.ramp(64, 224, 10, 30)
    assert [size(e) for e in (10, 14, 20, 30)] == [64, 96, 128 if size(20) == 128 else 160, 224]
    source = Loader(path, ALL, 13, loader.ramp(32, 64, 0, 1))
    assert [next(source.epoch(e)).views.shape[-1] for e in range(2)] == [32, 64]


def test_evaluation_takes_the_middle_square(path):
    found = views(Loader(path, None, 13, 24, shuffle=False, central=0.875))
    assert list(found) == list(range(COUNT))
    for i in (0, 7):
        image = Image.fromarray(pixels(i))
        side = round(0.875 * min(image.size))
        left, top = (image.width - side) // 2, (image.height - side) // 2
        middle = image.crop((left, top, left + side, top + side)).resize((24, 24), Image.Resampling.BILINEAR)
        assert np.abs(np.asarray(middle).astype(int) - found[i][0].permute(1, 2, 0).numpy()).max() <= 2


def test_staged_views_are_made_from_their_parents(path):
    plain = preset("msr", jitter=0.0, gray=0.0, blur=0.0)
    for view in views(Loader(path, plain, 13, 32)).values():
        assert torch.equal(view[0], view[2])
        assert torch.equal(view[1], view[3])
    assert not all(torch.equal(v[0], v[2]) for v in views(Loader(path, preset("msr"), 13, 32)).values())


def test_fast_mode_is_near(path):
    without = Recipe("crop", (View(),))
    assert same(views(Loader(path, without, 13, 32)), views(Loader(path, without, 13, 32), 0))
    whole = Recipe("whole", (View(crop=(1, 1), flip=0.0, jitter=1.0),))
    exact, fast = (views(Loader(path, whole, 13, 48, fast=f)) for f in (False, True))
    assert 0.1 < mean_difference(exact, fast) < 8
    mild = Recipe("mild", (replace(whole.views[0], hue=0.0, brightness=0.1, contrast=0.1, saturation=0.1),))
    exact, fast = (views(Loader(path, mild, 13, 48, fast=f)) for f in (False, True))
    assert mean_difference(exact, fast) < 2


def test_fast_mode_decodes_large_images_small(tmp_path):
    y, x = np.mgrid[0:512, 0:640]
    smooth = np.stack((x / 640, y / 512, (x + y) / 1152), 2)
    image = Image.fromarray((smooth * 255).astype(np.uint8))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    beton.write(tmp_path / "a.beton", lambda i: beton.Encoded(file.getvalue(), 512, 640, False), {"class": [0]})
    crop = Recipe("crop", (View(crop=(0.3, 1.0)),))
    exact, fast = (views(Loader(tmp_path / "a.beton", crop, 1, 32, fast=f)) for f in (False, True))
    assert (exact[0].int() - fast[0].int()).abs().float().mean() < 2


# --- files and errors -------------------------------------------------------------------------------------------------


def test_a_damaged_sample_is_named_and_ends_the_epoch(path, tmp_path):
    file = beton.read(path)
    content = bytearray(path.read_bytes())
    content[int(file.offsets[11]) + 200 : int(file.offsets[11] + file.lengths[11])] = bytes(int(file.lengths[11]) - 200)
    broken = tmp_path / "broken.beton"
    broken.write_bytes(content)
    source = Loader(broken, ALL, 2, 32, workers=2, shuffle=False)
    came = []
    with pytest.raises(ReproError, match=r"^Sample 11 of .*broken\.beton cannot be decoded"):
        came.extend(batch.index[0].item() for batch in source.epoch(0))
    assert came == [0, 2, 4, 6, 8]
    good = Loader(broken, ALL, 2, 32, indices=[i for i in range(COUNT) if i != 11])
    assert len(views(good)) == 24


def test_any_error_in_a_worker_ends_the_epoch(path, monkeypatch):
    source = Loader(path, ALL, 2, 32, workers=2)
    next(source.epoch(0))

    def fail(*args):
        raise MemoryError("no memory for this one")

    monkeypatch.setattr(compiled, "make_views", fail)
    fail.signatures = [()]
    with pytest.raises(MemoryError, match="no memory for this one"):
        list(source.epoch(0))


def test_an_epoch_left_in_the_middle_leaves_no_threads(path):
    source = Loader(path, ALL, 2, 32, workers=3)
    epoch = source.epoch(0)
    next(epoch)
    epoch.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("loader")]


def test_bad_files_are_told_in_one_sentence(path, tmp_path):
    content = path.read_bytes()
    cases = {
        "There is no file": None,
        "is truncated": content[: len(content) - 100],
        "is truncated ": content[: len(content) // 2],
        "is truncated  ": content[:10],
        "is not a .beton file of version 2": b"\xff\xd8\xff\xe0" + bytes(2000),
        "was never finished": content[:16] + bytes(8) + content[24:],
    }
    for k, (sentence, data) in enumerate(cases.items()):
        file = tmp_path / f"{k}.beton"
        if data is not None:
            file.write_bytes(data)
        with pytest.raises(ReproError, match=sentence.strip()) as e:
            Loader(file, ALL, 2)
        assert str(file) in str(e.value)
        assert str(e.value).count("\n") == 0


SIZES = {  # of a sample's place in the table, its pointer or its bytes
    "larger by one": lambda pointer, size: (pointer, size + 1),
    "smaller by one": lambda pointer, size: (pointer, size - 1),
    "half": lambda pointer, size: (pointer, size // 2),
    "twice": lambda pointer, size: (pointer, 2 * size),
    "none": lambda pointer, size: (pointer, 0),
    "beyond the file": lambda pointer, size: (pointer, 2**63),
    "below zero": lambda pointer, size: (pointer, 2**64 - 5),
    "outside": lambda pointer, size: (2**64 - 9, size),
    "elsewhere": lambda pointer, size: (pointer + 7, size),
}


@pytest.mark.parametrize("number", [0, 11, COUNT - 1])
@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize("change", SIZES)
def test_a_sample_whose_place_disagrees_with_its_data_is_named(path, tmp_path, change, raw, number):
    file = tmp_path / "x.beton"
    if raw:
        beton.write(file, encode_raw, LABELS)
    content = bytearray((file if raw else path).read_bytes())
    table = int(np.frombuffer(content, "<u8", 1, 16)[0])
    place = np.frombuffer(content, "<u8", offset=table).reshape(-1, 3)[number]
    wanted = SIZES[change](int(place[1]), int(place[2]))
    if change in ("outside", "elsewhere"):  # the row and the table of places agree, and both are wrong
        at = content.index(place[1].tobytes())
        content[at : at + 8] = np.uint64(wanted[0]).tobytes()
    place[1:] = wanted
    file.write_bytes(content)
    with pytest.raises(ReproError, match=r"^Sample \d+ of .*x\.beton is damaged") as e:
        beton.read(file)
    named = int(str(e.value).split()[1])
    moved = change in ("outside", "elsewhere")
    assert named == number or (moved and named == number - 1)  # the one before it ends too early, too


@pytest.mark.parametrize("sides", [(4000, 4000), (8, 8), (0, 0), (65535, 65535)])
def test_a_sample_of_other_sides_than_its_jpeg_is_named(path, tmp_path, sides):
    file = beton.read(path)
    content, image = bytearray(path.read_bytes()), np.zeros(1, beton._IMAGE)
    image["width"], image["height"], image["pointer"] = file.widths[11], file.heights[11], file.offsets[11]
    at = content.index(image.tobytes())
    image["width"], image["height"] = sides
    content[at : at + image.nbytes] = image.tobytes()
    (tmp_path / "x.beton").write_bytes(content)
    with pytest.raises(ReproError, match=r"^Sample 11 of .*x\.beton "):
        list(Loader(tmp_path / "x.beton", ALL, 2, 32, workers=1).epoch(0))


@pytest.mark.parametrize("left", [0, 5000, 20_000, 30_000, 40_000] * 4)
def test_a_file_that_is_cut_while_it_is_read_is_told(path, tmp_path, left):
    shutil.copy(path, tmp_path / "x.beton")
    source = Loader(tmp_path / "x.beton", ALL, 2, 32, workers=2)
    epoch = source.epoch(0)
    next(epoch)
    os.truncate(tmp_path / "x.beton", left)
    with pytest.raises(ReproError, match=r"x\.beton changed while it was read"):
        list(epoch)


def test_a_jpeg_with_something_behind_its_end_is_not_stored_as_it_is():
    image = picture(3)
    assert decodes(jpeg(3), image.width, image.height)
    assert not decodes(jpeg(3) + bytes(2), image.width, image.height)


def test_a_file_of_other_fields_is_told_in_one_sentence(path, tmp_path):
    content = path.read_bytes()
    (tmp_path / "a.beton").write_bytes(content.replace(b"image", b"photo", 1))
    with pytest.raises(ReproError, match=r"was made for other fields \(photo, class, distance; an image and numbers"):
        Loader(tmp_path / "a.beton", ALL, 2)


def test_options_that_cannot_be(path):
    with pytest.raises(ReproError, match="leaves no full batch of 27"):
        Loader(path, ALL, 27)
    with pytest.raises(ReproError, match="batch of 1 or more"):
        Loader(path, ALL, 0)


def test_writing_that_is_interrupted_goes_on_after_the_last_full_page(tmp_path):
    whole, part = tmp_path / "whole.beton", tmp_path / "part.beton"
    beton.write(whole, encode_raw, LABELS, "same", page=1 << 16)
    done = []

    def until(stop):
        def one(i):
            if i == stop:
                raise KeyboardInterrupt
            done.append(i)
            return encode_raw(i)

        return one

    for stop in (9, 20):
        with pytest.raises(KeyboardInterrupt):
            beton.write(part, until(stop), LABELS, "same", page=1 << 16)
        assert not part.exists()
    beton.write(part, until(None), LABELS, "same", page=1 << 16)
    assert part.read_bytes() == whole.read_bytes()
    assert len(done) < 2 * COUNT  # most was not done again
    assert sorted(os.listdir(tmp_path)) == ["part.beton", "whole.beton"]


def test_another_content_does_not_go_on_from_what_is_there(tmp_path):
    file = tmp_path / "a.beton"

    def stop(i):
        if i == 20:
            raise KeyboardInterrupt
        return encode_raw(i)

    with pytest.raises(KeyboardInterrupt):
        beton.write(file, stop, LABELS, "one", page=1 << 16)
    done = []
    beton.write(file, lambda i: done.append(i) or encode(i), LABELS, "other", page=1 << 16)
    assert sorted(done) == list(range(COUNT))


def test_a_full_disk_leaves_no_file_of_that_name(tmp_path, monkeypatch):
    file, sync, calls = tmp_path / "a.beton", os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ReproError, match="is full: free some space and run the same command again"):
        beton.write(file, encode_raw, LABELS, page=1 << 16)
    assert not file.exists()
    monkeypatch.setattr(os, "fsync", sync)
    beton.write(file, encode_raw, LABELS, page=1 << 16)
    assert len(beton.read(file)) == COUNT


def test_an_image_larger_than_a_page_is_refused(tmp_path):
    with pytest.raises(ReproError, match="choose larger pages"):
        beton.write(tmp_path / "a.beton", encode_raw, LABELS, page=1 << 12)


# --- the other loaders ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for i in range(COUNT):
        (folder / f"{i:02}.jpg").write_bytes(jpeg(i))
    return sorted(folder.iterdir())


def test_torchvision_loads_the_same_batches(path, files):
    recipe = Recipe("noisy", (*preset("all").views, View(crop=(0.5, 1.0), noise=0.05)))
    ours = Loader(path, recipe, 13, 32, seed=1)
    plain = PlainLoader(files, recipe, 13, 32, seed=1, workers=1)
    for a, b in zip(ours.epoch(2), plain.epoch(2), strict=True):
        assert torch.equal(a.index, b.index)
        assert (a.views.int() - b.views.int()).abs().float().mean() < 2  # Pillow rounds after each step


def test_torchvisions_workers_are_started_once(files):
    source = PlainLoader(files, ALL, 5, lambda epoch: 16 + 8 * epoch, seed=1, workers=1)
    before = {p.pid for p in multiprocessing.active_children()}
    next(source.epoch(0))  # and no further
    started = {p.pid for p in multiprocessing.active_children()} - before
    assert len(started) == 1
    wanted = list(PlainLoader(files, ALL, 5, 24, seed=1, workers=1).epoch(1))
    for a, b in zip(source.epoch(1), wanted, strict=True):
        assert torch.equal(a.index, b.index)
        assert torch.equal(a.views, b.views)
    assert started <= {p.pid for p in multiprocessing.active_children()}


def test_torchvision_without_shared_memory_is_one_sentence(files, monkeypatch, tmp_path):
    monkeypatch.setattr(plain, "SHM", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(2**26, 2**26, 2**19))
    source = PlainLoader(files, ALL, 16, 64, workers=2)
    with pytest.raises(ReproError, match=r"has 0 MiB free, and torchvision's loader needs \d+ for its 2 processes"):
        next(source.epoch(0))


def test_torchvisions_workers_outlive_a_signal_to_the_whole_group(files):
    source = PlainLoader(files, ALL, 2, 32, workers=2)
    epoch = source.epoch(0)
    next(epoch)
    workers = multiprocessing.active_children()
    for number in (signal.SIGTERM, signal.SIGINT):
        for worker in workers:
            os.kill(worker.pid, number)
        next(epoch)
    assert len(list(epoch)) == len(source) - 3
    assert all(worker.is_alive() for worker in workers)
    del epoch, source
    gc.collect()
    assert not multiprocessing.active_children()


def test_torchvision_names_a_broken_file(files, tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(jpeg(0)[:300])
    source = PlainLoader([*files[:3], broken], ALL, 2, 32, shuffle=False, workers=1)
    with pytest.raises(ReproError, match=r"^The image .*broken\.jpg cannot be read"):
        list(source.epoch(0))


def test_ffcvs_own_loader_gives_the_same_views(path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # FFCV 1.0.2 is older than what it imports
        pytest.importorskip("ffcv", reason="FFCV is not installed (uv sync --group ffcv)", exc_type=ImportError)
        from ffcv.loader import Loader as Stock
        from ffcv.loader import OrderOption
        from ffcv.transforms import ToTensor

        from repro.loader.operations import Views

        operation = Views(ALL, 48, seed=2)
        stock = Stock(
            str(path), 7, 2, order=OrderOption.SEQUENTIAL, drop_last=False, pipelines={"image": [operation, ToTensor()]}
        )
        for epoch, size in ((0, 48), (3, 32)):
            wanted = views(Loader(path, ALL, 26, size, seed=2), epoch)
            operation.prepare(epoch, size)
            batches = []
            thread = threading.Thread(
                target=lambda b=batches: b.extend((i.clone(), c.clone()) for i, c, _ in stock), daemon=True
            )
            thread.start()
            thread.join(120)  # FFCV's loader waits for ever after an error
            assert not thread.is_alive()
            torch.set_num_threads(1)  # FFCV has set its workers' number for OpenMP, which is torch's as well
            images, classes = (torch.cat(part) for part in zip(*batches))
            assert classes.ravel().tolist() == LABELS["class"]
            assert all(torch.equal(image, wanted[number]) for number, image in enumerate(images))
        assert operation.damaged == -1


def test_nothing_but_the_operation_needs_ffcv():
    code = "import sys, repro.loader.loader, repro.loader.plain; sys.exit('ffcv' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

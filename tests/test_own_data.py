"""A reader's own folder of images: one meaning of its path everywhere, and its runs know which images they saw."""

import os
import secrets
import shutil

import common
import numpy as np
import pytest
from PIL import Image

from repro import cli, data
from repro.core import datasets, places, sweep
from repro.core.methods import SimCLR, Untrained
from repro.core.profiles import profile
from repro.core.spec import DataSpec, Loading, key
from repro.core.store import Store
from repro.data import content as content_of
from repro.pages import notebook


@pytest.fixture
def images(tmp_path):
    """A folder of two classes, sixty JPEGs each."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("cats", "dogs")):
        (tmp_path / "images" / name).mkdir(parents=True)
        for i in range(60):
            pixels = rng.integers(0, 256, (12, 12, 3), np.uint8) // 2 + 100 * number
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "images" / name / f"{i}.jpg")
    return tmp_path / "images"


@pytest.fixture(autouse=True)
def _own_build(tmp_path, monkeypatch):
    """What is kept in build/ is the test's own."""
    monkeypatch.setattr(places, "root", lambda: tmp_path)


# -------------------------------------------------------------------------------------------------------------- paths


def test_a_path_is_absolute_where_it_is_given_and_a_name_stays_a_name(images, monkeypatch):
    monkeypatch.chdir(images.parent)
    (images.parent / "objects").mkdir()
    for given in ("images", "./images", "images/", str(images)):
        assert profile("quick", given).data == str(images)
        (spec, *_) = notebook.study("start_here", "smoke", data=given).specs.values()
        assert spec.data.name == str(images)
    assert [profile("quick", name).data for name in ("objects", "digits", "cifar10", "nowhere")] == [
        "objects", "digits", "cifar10", "nowhere",
    ]  # fmt: skip
    parsed = cli._parser().parse_args(["measure", "--data", "images", "--store", "s", "--out", "o"])
    assert (parsed.data, parsed.store, parsed.out) == (str(images), images.parent / "s", images.parent / "o")


def test_a_kernel_in_notebooks_finds_the_checkouts_data_and_means_the_same_folders(images, tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "data").mkdir()
    for name in ("store", "figures", "data"):
        monkeypatch.delenv(f"REPRO_{name.upper()}", raising=False)
    for here in (tmp_path, tmp_path / "notebooks"):
        monkeypatch.chdir(here)
        assert datasets.root() == tmp_path / "data"
        with monkeypatch.context() as told:
            for name in ("store", "figures", "data"):
                told.setenv(f"REPRO_{name.upper()}", f"my/{name}")
            assert places.store() == tmp_path / "my" / "store"
            assert places.drawn() == tmp_path / "my" / "figures"
            assert datasets.root() == tmp_path / "my" / "data"
        assert profile("quick", "images").data == str(images)


# ------------------------------------------------------------------------------------------------------------- content


@pytest.fixture
def on(tiny):
    """on(folder, ...): a quick run on it."""

    def made(folder, **changes):
        spec = tiny(data=DataSpec(str(folder), 12), method=Untrained(), batch_size=16, probes={"tasks": ("class",)})
        return spec.but(**changes)

    return made


def swap(images, *numbers):
    """Each cat of these numbers becomes a dog and the other way round, as files of other bytes and the same names."""
    for n in numbers:
        a, b = images / "cats" / f"{n}.jpg", images / "dogs" / f"{n}.jpg"
        one, other = a.read_bytes(), b.read_bytes()
        a.write_bytes(other), b.write_bytes(one)


def test_a_fingerprint_is_of_names_and_bytes_and_is_quick_the_second_time(images, tmp_path, monkeypatch):
    first = data.fingerprint(str(images))
    assert len(first) == 16
    assert data.fingerprint(str(images)) == first
    copy = tmp_path / "copy"
    shutil.copytree(images, copy)
    assert data.fingerprint(str(copy)) == first
    (copy / "cats" / "notes.txt").write_text("no image")
    assert data.fingerprint(str(copy)) == first
    (copy / "cats" / "7.jpg").rename(copy / "dogs" / "77.jpg")
    assert data.fingerprint(str(copy)) != first
    status = (images / "cats" / "3.jpg").stat()
    content = bytearray((images / "cats" / "3.jpg").read_bytes())
    content[-9] ^= 1
    (images / "cats" / "3.jpg").write_bytes(content)  # the same size, and the same time as far as anybody can set it
    os.utime(images / "cats" / "3.jpg", ns=(status.st_atime_ns, status.st_mtime_ns))
    second = data.fingerprint(str(images))
    assert second != first
    assert content_of.changed(first, second) == "1 of 120 files"
    assert content_of.changed("unknown", second) == ""
    monkeypatch.setattr(content_of, "SETTLED", -(10**18))
    data.fingerprint(str(images))
    monkeypatch.setattr("hashlib.file_digest", None)  # no file is read again
    assert data.fingerprint(str(images)) == second
    assert [data.fingerprint(name) for name in ("objects", "digits", "cifar10", "nowhere")] == [""] * 4


def test_other_images_are_measured_anew_and_the_old_runs_are_kept(images, on, store, capsys):
    specs = [on(images, seed=s) for s in (0, 1)]
    old = sweep.measure(specs, store, workers=1, quiet=True)
    assert [r.provenance["data_id"] for r in old] == [data.fingerprint(str(images))] * 2
    assert sweep.measure(specs, store, workers=1, quiet=True) == old
    capsys.readouterr()
    swap(images, *range(25))
    new = sweep.measure(specs, store, workers=1, quiet=True)
    assert capsys.readouterr().err == (
        f"repro: The images of {images} have changed (50 of 120 files) since 2 runs were measured: they are measured "
        f"anew; the old ones are kept in {store.root / '.before'}.\n"
    )
    assert [r.metrics for r in new] != [r.metrics for r in old]
    assert len(list(store.root.glob(".before/*/run.json"))) == 2
    assert sweep.measure(specs, store, workers=1, quiet=True) == new
    assert capsys.readouterr().err == ""


def test_runs_without_a_data_id_and_runs_whose_images_are_gone_count(images, on, store):
    (record,) = sweep.measure([on(images)], store, workers=1, quiet=True)
    path = store.root / record.key / "run.json"
    path.write_text(path.read_text().replace('"data_id"', '"data_was"'))
    swap(images, 1)
    sweep.measure([on(images)], store, workers=1, quiet=True)
    assert store.get(record.key).provenance["data_was"] == record.provenance["data_id"]
    path.write_text(path.read_text().replace('"data_was"', '"data_id"'))
    shutil.rmtree(images)
    assert sweep.measure([on(images)], store, workers=1, quiet=True) == [record]


def test_a_checkpoint_of_other_images_is_not_gone_on_from(images, tiny, store):
    spec = tiny(data=DataSpec(str(images), 12), batch_size=16, epochs=2, probes={"tasks": ("class",)})

    def stop(step, *_):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep.measure([spec], store, workers=1, quiet=True, watch=stop, checkpoint_seconds=0.0)
    assert store.left(key(spec))
    swap(images, *range(25))
    seen = []
    sweep.measure([spec], store, workers=1, quiet=True, watch=lambda step, *_: seen.append(step))
    assert seen[0] == 1


def test_a_set_prepared_anew_is_measured_anew(on, store, tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "data"))
    prepare(tmp_path / "data" / "mine", 0)
    old = sweep.measure([on("mine")], store, workers=1, quiet=True)
    assert sweep.measure([on("mine")], store, workers=1, quiet=True) == old
    prepare(tmp_path / "data" / "mine", 1)
    new = sweep.measure([on("mine")], store, workers=1, quiet=True)
    assert new[0].provenance["data_id"] != old[0].provenance["data_id"]


def prepare(folder, seed):
    rng = np.random.default_rng(seed)
    for split in ("train", "test"):
        pixels = rng.integers(0, 256, (40, 12, 12, 3), np.uint8)
        items = {split: common.Items(pixels, {"label": [i % 2 for i in range(40)]})}
        common.prepare(folder, "mine", items, {"label": ["a", "b"]}, common.Storage(raw=1.0), quiet=True)


# ------------------------------------------------------------------------------------------------------ derived files


@pytest.mark.parametrize("way", ["ours", "torchvision"])
def test_files_made_of_a_folder_are_made_anew_when_it_changes_and_when_it_grows(images, on, store, way):
    spec = on(images, loading=Loading(way, stored=12), method=SimCLR(), epochs=1)

    def measured():
        folder = Store(store.root / secrets.token_hex(4))  # none has stored it
        return sweep.measure([spec], folder, workers=1, quiet=True)[0].curves["loss"]

    first = measured()
    assert measured() == first
    swap(images, *range(25))
    second = measured()
    assert second != first
    for i in range(60, 90):
        shutil.copy(images / "dogs" / f"{i - 60}.jpg", images / "dogs" / f"{i}.jpg")
    assert measured() not in (first, second)

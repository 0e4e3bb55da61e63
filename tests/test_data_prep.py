"""Every script of data_prep/ on a small tree of its layout; what it writes, records, refuses and goes on from."""

import hashlib
import io
import json
import os
import pickle
import runpy
import shutil
import socket
import sys
import urllib.request
import zipfile
from dataclasses import replace
from pathlib import Path

import common
import numpy as np
import pytest
import torch
from PIL import Image

from repro import data
from repro.cli import main
from repro.core import datasets
from repro.core.methods import Untrained
from repro.core.profiles import base, profile
from repro.core.spec import DataSpec, Loading
from repro.data import coco, disk, prepared
from repro.errors import ReproError
from repro.loader import beton
from repro.loader.loader import Images, Loader
from repro.ssl import feed, train

SCRIPTS = Path(__file__).parent.parent / "data_prep"


def picture(path: Path, number: int, size: tuple[int, int] = (40, 30), **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    small.resize(size, Image.Resampling.BICUBIC).save(path, **options)


def class_tree(folder: Path, classes: str = "ab", each: int = 3, inner: str = "", suffix: str = ".jpg") -> None:
    for k, name in enumerate(classes):
        for i in range(each):
            picture(folder / f"n{name}" / inner / f"{name}{i}{suffix}", 100 * k + i)


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Run a script on `--folder tmp_path/source` into tmp_path/data/<name>; its exit code and what it said."""
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "data"))

    def go(script: str, *options: str) -> tuple[int, str]:
        source = () if "--folder" in options or "--download" in options else ("--folder", str(tmp_path / "source"))
        monkeypatch.setattr(sys, "argv", [script, *source, "--workers", "1", *options])
        try:
            runpy.run_path(str(SCRIPTS / script), run_name="__main__")
            code = 0
        except SystemExit as e:
            code = e.code
        return code, capsys.readouterr().err

    return go


@pytest.fixture
def any_count(monkeypatch):
    """The official numbers of images do not hold for the trees of these tests."""
    prepare = common.prepare
    monkeypatch.setattr(common, "prepare", lambda *args, **_: prepare(*args[:6], quiet=True))


def labels(tmp_path: Path, name: str, split: str, task: str = "label") -> list[int]:
    return beton.read(tmp_path / "data" / name / f"{split}.beton").labels[task].tolist()


# --- layouts ----------------------------------------------------------------------------------------------------------


def test_class_folders_with_splits(run, tmp_path):
    for split, each in (("train", 3), ("test", 2)):
        class_tree(tmp_path / "source" / split, "abc", each)
    code, said = run("class_folder.py")
    assert code == 0, said
    folder = tmp_path / "data" / "source"
    assert labels(tmp_path, "source", "train") == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    about = json.loads((folder / "train.json").read_text())
    assert about["classes"] == {"label": ["na", "nb", "nc"]}
    assert about["counts"] == {"label": [3, 3, 3]}
    assert about["images"] == 9
    assert about["sha256"] == hashlib.sha256((folder / "train.beton").read_bytes()).hexdigest()
    assert sorted(p.name for p in folder.iterdir()) == ["test.beton", "test.json", "train.beton", "train.json"]


def test_class_folders_without_splits(run, tmp_path):
    class_tree(tmp_path / "source", "ab", 40)
    assert run("class_folder.py")[0] == 0
    sizes = [len(labels(tmp_path, "source", split)) for split in datasets.SPLITS]
    assert sum(sizes) == 80
    assert sizes[0] > 40 > sizes[2] > sizes[1] > 0


def test_tiny_imagenet(run, any_count, tmp_path):
    source = tmp_path / "source"
    class_tree(source / "train", "ab", 2, "images", ".JPEG")
    for i in range(4):
        picture(source / "val" / "images" / f"val_{i}.JPEG", i)
    rows = [f"val_{i}.JPEG\tn{'ba'[i % 2]}\t0\t0\t62\t62\n" for i in range(4)]
    (source / "val" / "val_annotations.txt").write_text("".join(rows))
    (source / "wnids.txt").write_text("nb\nna\n")
    assert run("tiny_imagenet.py")[0] == 0
    assert labels(tmp_path, "tiny_imagenet", "train") == [0, 0, 1, 1]
    assert labels(tmp_path, "tiny_imagenet", "val") == [1, 0, 1, 0]
    (source / "val" / "images" / "val_2.JPEG").unlink()
    code, said = run("tiny_imagenet.py")
    assert code == 2
    assert "names val_2.JPEG of class 'nb', which is missing" in said


def test_tiny_imagenet_s_archive_is_unpacked(run, any_count, tmp_path):
    inside = tmp_path / "tiny-imagenet-200"
    class_tree(inside / "train", "ab", 2, "images", ".JPEG")
    class_tree(inside / "val", "ab", 1, "images", ".JPEG")
    (tmp_path / "source").mkdir()
    with zipfile.ZipFile(tmp_path / "source" / "tiny-imagenet-200.zip", "w") as archive:
        for path in inside.rglob("*.JPEG"):
            archive.write(path, path.relative_to(tmp_path))
    code, said = run("tiny_imagenet.py")
    assert code == 0, said
    assert labels(tmp_path, "tiny_imagenet", "train") == [0, 0, 1, 1]


def test_tiny_imagenet_is_downloaded(run, any_count, tmp_path, monkeypatch):
    folder = tmp_path / "tiny-imagenet-200"
    class_tree(folder / "train", "ab", 2, "images", ".JPEG")
    class_tree(folder / "val", "ab", 1, "images", ".JPEG")
    archive = Path(shutil.make_archive(str(tmp_path / "host" / folder.name), "zip", tmp_path, folder.name))

    def fetch(url: str, root: Path, md5: str) -> None:
        assert url.endswith(archive.name)
        assert len(md5) == 32
        root.mkdir(parents=True)
        shutil.copy(archive, root)

    monkeypatch.setattr("torchvision.datasets.utils.download_url", fetch)
    code, said = run("tiny_imagenet.py", "--download")
    assert code == 0, said
    assert labels(tmp_path, "tiny_imagenet", "val") == [0, 1]
    assert run("tiny_imagenet.py", "--download")[0] == 0  # what is unpacked is not fetched again


def test_another_archive_is_told(run, tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "cifar-10-python.tar.gz").write_bytes(b"something else")
    code, said = run("cifar10.py")
    assert code == 2
    assert "is not the official archive (its MD5 differs)" in said


def test_imagenet_and_its_hundred_classes(run, any_count, tmp_path):
    for split in ("train", "val"):
        class_tree(tmp_path / "source" / split, "abcd", 2, suffix=".JPEG")
    assert run("imagenet.py")[0] == 0
    assert labels(tmp_path, "imagenet", "val") == [0, 0, 1, 1, 2, 2, 3, 3]
    (tmp_path / "classes.txt").write_text("nd\nnb\n")
    assert run("imagenet100.py", "--classes", str(tmp_path / "classes.txt"))[0] == 0
    assert json.loads((tmp_path / "data/imagenet100/train.json").read_text())["classes"] == {"label": ["nb", "nd"]}
    assert labels(tmp_path, "imagenet100", "train") == [0, 0, 1, 1]
    (tmp_path / "classes.txt").write_text("nd\nnx\n")
    code, said = run("imagenet100.py", "--classes", str(tmp_path / "classes.txt"))
    assert code == 2
    assert "nx" in said


def test_eurosat(run, any_count, tmp_path):
    class_tree(tmp_path / "source" / "2750", "abc", 30)
    assert run("eurosat.py")[0] == 0
    assert sum(len(labels(tmp_path, "eurosat", split)) for split in datasets.SPLITS) == 90


def test_clevr_count_and_distance(run, tmp_path):
    source = tmp_path / "source" / "CLEVR_v1.0"
    depths = {"train": [[9.2, 12], [7.9], [11, 10.5, 10.1]], "val": [[8.0], [9.9]]}
    for split, found in depths.items():
        scenes = []
        for i, near in enumerate(found):
            name = f"CLEVR_{split}_{i:06}.png"
            picture(source / "images" / split / name, i)
            things = [{"pixel_coords": [1, 2, d]} for d in near + [12.5] * (3 + i - len(near))]
            scenes.append({"image_filename": name, "objects": things})
        (source / "scenes").mkdir(exist_ok=True)
        (source / "scenes" / f"CLEVR_{split}_scenes.json").write_text(json.dumps({"scenes": scenes}))
    # of eight counts the tree has three: the check of empty classes is for the real set
    code, said = run("clevr.py")
    assert code == 2
    assert "no image of class '6' in train" in said


def test_clevr_labels(tmp_path, run, monkeypatch):
    source = tmp_path / "source"
    (source / "scenes").mkdir(parents=True)
    near = [7.0, 8.0, 8.4, 8.5, 9.2, 9.7, 10.0, 14.0]
    for split in ("train", "val"):
        scenes = []
        for i, depth in enumerate(near):
            name = f"CLEVR_{split}_{i:06}.png"
            picture(source / "images" / split / name, i)
            things = [{"pixel_coords": [1, 2, d]} for d in [depth] + [15.0] * (2 + i)]
            scenes.append({"image_filename": name, "objects": things})
        (source / "scenes" / f"CLEVR_{split}_scenes.json").write_text(json.dumps({"scenes": scenes}))
    code, said = run("clevr.py")
    assert code == 0, said
    assert labels(tmp_path, "clevr", "val", "count") == list(range(8))  # 3 to 10 objects
    assert labels(tmp_path, "clevr", "train", "distance") == [0, 1, 1, 2, 3, 4, 5, 5]


def test_inaturalist_of_2018(run, tmp_path):
    source = tmp_path / "source"
    for split, files in (("train", ["b/2.jpg", "a/1.jpg", "a/3.jpg"]), ("val", ["b/9.jpg"])):
        for i, name in enumerate(files):
            picture(source / "train_val2018" / name, i)
        content = {
            "categories": [{"id": 7, "name": "owl"}, {"id": 3, "name": "fern"}],
            "images": [{"id": i, "file_name": f"train_val2018/{name}"} for i, name in enumerate(files)],
            "annotations": [{"image_id": i, "category_id": 7 if name[0] == "b" else 3} for i, name in enumerate(files)],
        }
        (source / f"{split}2018.json").write_text(json.dumps(content))
    assert run("inaturalist.py")[0] == 0
    assert labels(tmp_path, "inaturalist", "train") == [0, 0, 1]
    assert labels(tmp_path, "inaturalist", "val") == [1]


def test_inaturalist_of_2021(run, tmp_path):
    class_tree(tmp_path / "source" / "2021_train_mini", "abc", 2)
    class_tree(tmp_path / "source" / "2021_valid", "abc", 1)
    assert run("inaturalist.py")[0] == 0
    assert labels(tmp_path, "inaturalist", "val") == [0, 1, 2]


def test_places365(run, tmp_path):
    source = tmp_path / "source"
    (source / "x").mkdir(parents=True)
    (source / "categories_places365.txt").write_text("/a/airfield 0\n/b/bar 1\n")
    for split, folder, names in (
        ("train_standard", "data_256", ["/a/airfield/1.jpg", "/b/bar/2.jpg"]), ("val", "val_256", ["V1.jpg"])
    ):  # fmt: skip
        for i, name in enumerate(names):
            picture(source / folder / name.lstrip("/"), i)
        (source / f"places365_{split}.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(names)))
    assert run("places365.py")[0] == 0
    assert labels(tmp_path, "places365", "train") == [0, 1]


def test_coco_is_checked_and_linked(run, tmp_path):
    source = tmp_path / "source"
    coco.write_scenes(source, 3, 3)
    code, said = run("coco.py")
    assert code == 0, said
    assert (tmp_path / "data/coco").resolve() == source
    assert len(coco.load("coco", "val", "keypoint")) == 3
    assert dict((n, state) for n, _, state in prepared.table())["coco"] == f"there: {source}"
    # what is not unpacked yet is; what is missing is told
    (source / "annotations").rename(tmp_path / "annotations")
    with zipfile.ZipFile(source / "annotations_trainval2017.zip", "w") as archive:
        for path in (tmp_path / "annotations").iterdir():
            archive.write(path, f"annotations/{path.name}")
    assert run("coco.py")[0] == 0
    assert (source / "annotations/instances_val2017.json").is_file()
    shutil.rmtree(source / "val2017")
    code, said = run("coco.py")
    assert code == 2
    assert "lacks val2017/ (or val2017.zip): complete the download" in said
    (source / "val2017.zip").write_bytes(b"no archive")
    code, said = run("coco.py")
    assert code == 2
    assert "val2017.zip cannot be unpacked" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_is_stored_losslessly(run, any_count, tmp_path, monkeypatch, classes):
    from torchvision.datasets import cifar

    monkeypatch.setattr(cifar, "check_integrity", lambda *_: True)  # the sums are those of the real files
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2 * classes, 3072), dtype=np.uint8)
    found = list(range(classes)) * 2
    if classes == 10:
        folder, key, meta = tmp_path / "source/cifar-10-batches-py", "labels", "label_names"
        parts = {**{f"data_batch_{i + 1}": slice(4 * i, 4 * i + 4) for i in range(5)}, "test_batch": slice(0, 5)}
    else:
        folder, key, meta = tmp_path / "source/cifar-100-python", "fine_labels", "fine_label_names"
        parts = {"train": slice(None), "test": slice(0, 5)}
    folder.mkdir(parents=True)
    for name, part in parts.items():
        (folder / name).write_bytes(pickle.dumps({"data": pixels[part], key: found[part]}))
    (folder / ("meta" if classes == 100 else "batches.meta")).write_bytes(
        pickle.dumps({meta: [f"class {i}" for i in range(classes)]})
    )
    code, said = run(f"cifar{classes}.py")
    assert code == 0, said
    (train, _, test), names, title = prepared.load(f"cifar{classes}")
    assert title == f"CIFAR-{classes}"
    assert len(names["label"]) == classes
    assert torch.equal(test[0].to("cpu"), torch.from_numpy(pixels[:5]).view(-1, 3, 32, 32))
    assert test[1]["label"].tolist() == found[:5]
    assert train[0].shape[1:] == (3, 32, 32)


def test_stl10_has_its_unlabelled_images(run, any_count, tmp_path, monkeypatch):
    from torchvision.datasets import STL10

    monkeypatch.setattr(STL10, "_check_integrity", lambda self: True)
    folder = tmp_path / "source" / "stl10_binary"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name, count in (("train", 10), ("unlabeled", 4), ("test", 10)):
        rng.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8).tofile(folder / f"{name}_X.bin")
    for name in ("train", "test"):
        np.arange(1, 11, dtype=np.uint8).tofile(folder / f"{name}_y.bin")
    (folder / "class_names.txt").write_text("\n".join("abcdefghij"))
    code, said = run("stl10.py")
    assert code == 0, said
    assert labels(tmp_path, "stl10", "train") == [*range(10), -1, -1, -1, -1]


# --- storage ----------------------------------------------------------------------------------------------------------


def items(folder: Path, count: int = 6, **options) -> common.Items:
    for i in range(count):
        picture(folder / f"{i}.jpg", i, **options)
    return common.Items(sorted(folder.iterdir()), {"label": [i % 2 for i in range(count)]})


def prepare(out: Path, found: common.Items, **storage) -> beton.Beton:
    common.prepare(out, "test", {"train": found}, {"label": ["a", "b"]}, common.Storage(**storage), quiet=True)
    return beton.read(out / "train.beton")


def test_jpegs_are_kept_byte_for_byte(tmp_path):
    found = items(tmp_path / "in")
    file = prepare(tmp_path / "out", found)
    for i, path in enumerate(found.images):
        assert file.data[file.offsets[i] : file.offsets[i] + file.lengths[i]].tobytes() == path.read_bytes()
    again = prepare(tmp_path / "again", found, reencode=True, quality=30)
    assert (again.lengths < file.lengths).all()


def test_resolution_is_the_longer_side(tmp_path):
    found = items(tmp_path / "in", size=(80, 60))
    file = prepare(tmp_path / "out", found, resolution=40)
    assert set(zip(file.widths.tolist(), file.heights.tolist())) == {(40, 30)}
    assert set(prepare(tmp_path / "same", found, resolution=100).widths.tolist()) == {80}


def test_a_share_is_stored_raw(tmp_path):
    found = items(tmp_path / "in", 40)
    file = prepare(tmp_path / "out", found, raw=0.5)
    raw = np.flatnonzero(file.kinds == beton.RAW)
    assert 10 < len(raw) < 30
    image = np.asarray(Image.open(found.images[raw[0]]))
    assert file.data[file.offsets[raw[0]] :][: image.size].tobytes() == image.tobytes()
    assert (prepare(tmp_path / "all", found, raw=1.0).kinds == beton.RAW).all()


def test_an_unreadable_image_is_named_and_nothing_is_left_under_the_name(run, tmp_path):
    class_tree(tmp_path / "source" / "train", "ab", 4)
    class_tree(tmp_path / "source" / "test", "ab", 1)
    broken = tmp_path / "source" / "train" / "nb" / "b2.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    code, said = run("class_folder.py")
    assert code == 2
    assert f"The image {broken} cannot be read" in said
    assert "Traceback" not in said
    assert not (tmp_path / "data/source/train.beton").exists()
    broken.write_bytes(whole)
    assert run("class_folder.py")[0] == 0
    assert len(labels(tmp_path, "source", "train")) == 8


def test_a_jpeg_that_the_loader_could_not_decode_is_made_anew(tmp_path):
    found = items(tmp_path / "in")
    content = found.images[0].read_bytes()
    with Image.open(io.BytesIO(content)) as image:
        image.load()
    # rubbish before a marker: Pillow passes over it, libjpeg-turbo complains
    at = content.index(b"\xff\xda")
    found.images[0].write_bytes(content[:at] + b"rubbish" + content[at:])
    file = prepare(tmp_path / "out", found)
    assert file.lengths[0] != found.images[0].stat().st_size
    assert sum(len(b.index) for b in Loader(file.path, None, 2, 16).epoch()) == 6


def test_what_is_there_and_the_same_stays(tmp_path):
    found = items(tmp_path / "in")
    first = prepare(tmp_path / "out", found).path.stat()
    assert prepare(tmp_path / "out", found).path.stat().st_mtime_ns == first.st_mtime_ns
    assert prepare(tmp_path / "out", found, quality=50, reencode=True).path.stat().st_mtime_ns > first.st_mtime_ns


def test_counts_are_checked(tmp_path):
    found = items(tmp_path / "in")
    storage = common.Storage()
    with pytest.raises(ReproError, match="test has 7 images in train, but 6 were found"):
        common.prepare(tmp_path / "out", "test", {"train": found}, {"label": ["a", "b"]}, storage, 1, {"train": 7})
    with pytest.raises(ReproError, match="no image of class 'c' in train"):
        common.prepare(tmp_path / "out", "test", {"train": found}, {"label": ["a", "b", "c"]}, storage)
    with pytest.raises(ReproError, match="lies beyond its 1 classes"):
        common.prepare(tmp_path / "out", "test", {"train": found}, {"label": ["a"]}, storage)
    assert not (tmp_path / "out").exists()


def test_a_set_that_is_not_whole_is_refused(run, tmp_path):
    source = tmp_path / "source"
    class_tree(source, "abcdefghij")
    assert "EuroSAT has 27000 images, but 30 were found: complete the download" in run("eurosat.py")[1]
    class_tree(source / "train")
    class_tree(source / "val")
    assert "ImageNet-1k has 1281167 images in train, but 6 were found" in run("imagenet.py")[1]
    assert "Tiny ImageNet has 100000 images in train, but 6 were found" in run("tiny_imagenet.py")[1]


def test_a_silent_host_is_given_up(monkeypatch):
    monkeypatch.setattr(common, "PATIENCE", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/cifar.tar.gz"
        with pytest.raises(ReproError) as e:
            common.downloaded(lambda: urllib.request.urlopen(url), "CIFAR-10", url)
    assert f"(timed out): try again, or fetch {url} by hand into a folder and give that with --folder." in str(e.value)
    assert socket.getdefaulttimeout() is None


def test_files_of_ffcv_and_a_train_split_alone_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    prepare(tmp_path / "mine", items(tmp_path / "in"))
    with pytest.raises(ReproError, match="mine holds no prepared train and test or val"):
        data.load("mine", 32)
    shutil.copy(tmp_path / "mine" / "train.beton", tmp_path / "mine" / "test.beton")
    (tmp_path / "mine" / "train.json").unlink()
    with pytest.raises(ReproError, match="without a whole record of their classes"):
        data.load("mine", 32)


@pytest.mark.parametrize(
    "damage",
    [
        None, [], {"classes": None}, {"classes": ["a"]}, {"classes": {"label": ["a"]}}, {"classes": {"colour": ["a"]}},
        {"images": "6"}, {"sha256": 3}, {"splits": None}, {"title": 3},
    ],
    ids=repr,
)  # fmt: skip
def test_a_damaged_or_foreign_record_is_one_sentence(tmp_path, monkeypatch, damage):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    prepare(tmp_path / "mine", items(tmp_path / "in"))
    about = tmp_path / "mine" / "train.json"
    shutil.copy(tmp_path / "mine" / "train.beton", tmp_path / "mine" / "test.beton")
    about.write_text(json.dumps({**json.loads(about.read_text()), **damage} if damage else damage))
    with pytest.raises(ReproError, match=r"a whole record of their classes|labels of other classes than train.json"):
        data.load("mine", 32)
    assert prepared.table()


def test_preparing_that_is_stopped_between_splits_or_at_a_checksum_goes_on_and_is_not_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    found, summed, encoded = items(tmp_path / "in"), [], []

    def stops(path: Path) -> str:
        summed.append(path.name)
        if len(summed) == 3:
            raise KeyboardInterrupt
        return "0" * 64

    def counted(*args, encode=common.encode):
        encoded.append(args)
        return encode(*args)

    monkeypatch.setattr(common, "checksum", stops)
    monkeypatch.setattr(common, "encode", counted)
    splits = dict.fromkeys(("train", "val", "test"), found)
    again = (tmp_path / "mine", "Mine", splits, {"label": ["a", "b"]}, common.Storage())
    with pytest.raises(KeyboardInterrupt):
        common.prepare(*again, quiet=True)
    assert "test without a record" in str(prepared.table())
    (tmp_path / "mine" / "test.beton").rename(tmp_path / "aside")  # as it is before the last split is written
    with pytest.raises(
        ReproError, match="mine holds no prepared test: prepare them with a script in data_prep/, which goes"
    ):
        data.require("mine")
    (tmp_path / "aside").rename(tmp_path / "mine" / "test.beton")
    encoded.clear()
    common.prepare(*again, quiet=True)
    assert encoded == []
    assert summed == ["train.beton", "val.beton", "test.beton", "test.beton"]
    data.require("mine")


def test_a_set_whose_folder_has_changed_is_told(run, tmp_path, monkeypatch, capsys):
    """The same number of files with other pixels, also from an older archive; prepared again, it is quiet."""
    source = tmp_path / "source"
    for part, count in (("train", 4), ("test", 2)):
        class_tree(source / part, "ab", count)
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "data"))

    def told() -> str:
        prepared._tell_changed.cache_clear()
        capsys.readouterr()
        prepared.load("source", 16)
        return capsys.readouterr().err

    assert run("class_folder.py")[0] == 0
    assert told() == ""
    for part, seconds in (("train", 9), ("test", -9e5)):
        path = next((source / part).rglob("*.jpg"))
        picture(path, 9)
        os.utime(path, (path.stat().st_mtime + seconds,) * 2)
        assert f"The images of {source} have changed since" in told()
        assert run("class_folder.py")[0] == 0
        assert told() == ""


def test_bad_options_and_folders_are_told_in_a_sentence(run, tmp_path):
    cases = {
        ("class_folder.py",): "is missing: give the folder that holds the images with --folder",
        ("imagenet.py",): "is missing: give the folder that holds the images with --folder",
        ("clevr.py",): "are missing: give the folder CLEVR_v1.0 with --folder",
        ("places365.py",): "is missing: give the folder of Places365's files with --folder",
        ("cifar10.py",): "lacks cifar-10-batches-py/batches.meta and 6 more, and cifar-10-python.tar.gz to unpack",
        ("cifar100.py",): "lacks cifar-100-python/meta and 2 more, and cifar-100-python.tar.gz to unpack",
        ("stl10.py",): "lacks stl10_binary/train_X.bin and 4 more, and stl10_binary.tar.gz to unpack",
        ("coco.py",): "lacks train2017/ (or train2017.zip), val2017/ (or val2017.zip), annotations/",
    }
    for command, sentence in cases.items():
        code, said = run(*command)
        assert code == 2
        assert sentence in said
        assert said.count("\n") == 1
    class_tree(tmp_path / "source" / "train")
    class_tree(tmp_path / "source" / "test")
    code, said = run("class_folder.py", "--quality", "0")
    assert code == 2
    assert "a quality from 1 to 100" in said


# --- what is there ----------------------------------------------------------------------------------------------------


def test_validation_is_of_images_with_a_label(tmp_path, monkeypatch):
    """As in STL-10, of whose train images one in twenty-one has a label; the rest are pretrained on."""
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    pixels = np.random.default_rng(0).integers(0, 256, (330, 8, 8, 3), np.uint8)
    train = common.Items(pixels[:300], {"label": [i % 2 if i < 100 else -1 for i in range(300)]})
    splits = {"train": train, "test": common.Items(pixels[300:], {"label": [i % 2 for i in range(30)]})}
    common.prepare(tmp_path / "some", "Some", splits, {"label": ["a", "b"]}, common.Storage(raw=1.0), quiet=True)
    found = data.load("some")
    assert set(found.val.labels["class"].tolist()) == {0, 1}
    assert len(found.val.images) + len(found.train.images) == 300
    assert (found.train.labels["class"] == -1).sum() == 200


def test_the_table_tells_what_is_there_and_how_to_get_the_rest(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    rows = {name: state for name, _, state in prepared.table()}
    assert set(rows) == set(datasets.PREPARED)
    assert rows["cifar10"] == "missing: python data_prep/cifar10.py --download"
    scripts = {datasets.DATASETS[name].script.split()[0] for name in datasets.PREPARED}
    assert {p.name for p in SCRIPTS.glob("*.py")} == scripts | {"class_folder.py", "common.py"}
    file = prepare(tmp_path / "mine", items(tmp_path / "in"))
    state = {name: state for name, _, state in prepared.table()}["mine"]
    assert state == f"prepared: train 6, sha256 {common.checksum(file.path)[:8]}"


def test_a_prepared_set_is_read_into_memory(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    found = items(tmp_path / "in", 60, size=(30, 30))
    splits = {"train": common.take(found, range(50)), "test": common.take(found, range(50, 60))}
    common.prepare(tmp_path / "mine", "Mine", splits, {"label": ["a", "b"]}, common.Storage(), quiet=True)
    (train, val, test), classes, title = prepared.load("mine")
    assert (title, classes) == ("Mine", {"label": ["a", "b"]})
    assert len(train[0]) + len(val[0]) == 50
    assert 0 < len(val[0]) < 15
    assert torch.equal(
        test[0].to("cpu")[3], torch.from_numpy(np.asarray(Image.open(found.images[53])).copy()).permute(2, 0, 1)
    )
    assert prepared.load("mine", 16)[0][0][0].shape[1:] == (3, 16, 16)
    mine = data.load("mine", 16)
    assert (data.title("mine"), data.tasks("mine"), mine.tasks) == ("Mine", ("class",), {"class": 2})
    assert mine.test.images.shape == (10, 3, 16, 16)
    assert mine.test.labels["class"].tolist() == [i % 2 for i in range(50, 60)]
    assert len(data.load("mine", 16, (("images", 20),)).train.images) == 20
    assert main(["data", "list"]) == 0
    listed = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert "embedded" in listed["objects"]
    assert "prepared: train 50, sha256" in listed["mine"]
    assert "missing: python data_prep/eurosat.py --download" in listed["eurosat"]
    with pytest.raises(ReproError, match=r"stl10 is missing: prepare it with `python data_prep/stl10\.py --download`"):
        data.load("stl10")
    with pytest.raises(ReproError, match=r"prepare them with python data_prep/stl10\.py --download"):
        prepared.load("stl10")
    other = prepare(tmp_path / "other", items(tmp_path / "in2", size=(31, 20)))
    common.prepare(
        tmp_path / "other",
        "x",
        {"test": items(tmp_path / "in3")},
        {"label": ["a", "b"]},
        common.Storage(),
        quiet=True,
    )
    assert len(other) == 6
    with pytest.raises(ReproError, match="say which size they shall have"):
        prepared.load("other")


# --- sets that memory has no room for ---------------------------------------------------------------------------------


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    """A prepared set of upright and lying images; photographs(limit) loads it with so many bytes of memory."""
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(disk.places, "root", lambda: tmp_path)
    for i in range(80):
        picture(tmp_path / "in" / f"{i:02}.jpg", i, (40, 30) if i % 3 else (28, 36))
    found = common.Items(sorted((tmp_path / "in").iterdir()), {"label": [i % 2 for i in range(80)]})
    splits = {"train": common.take(found, range(60)), "test": common.take(found, range(60, 80))}
    common.prepare(tmp_path / "data/mine", "Mine", splits, {"label": ["a", "b"]}, common.Storage(), quiet=True)

    def load(limit: int = data.MEMORY, options=()) -> data.Dataset:
        monkeypatch.setattr(data, "MEMORY", limit)
        data.load.cache_clear()
        return data.load("mine", 16, options)

    yield load
    data.load.cache_clear()


def probed(loading: Loading, **changes):
    spec = base(profile("smoke", data="mine"), data=DataSpec("mine", 16), batch_size=8, epochs=2, loading=loading)
    wanted = replace(spec.probes, labels=30, choices=True, knn=True, mlp=True, spectrum=True)
    return replace(spec, probes=wanted, **changes)


def test_a_set_too_large_for_memory_is_decoded_on_demand(photographs, monkeypatch):
    whole = photographs()
    wanted = train.run(probed(Loading("ours")))
    floor = train.run(probed(Loading(), method=Untrained()))
    with monkeypatch.context() as patch:
        patch.setattr(data, "CENTRAL", 1.0)  # as what is in memory is cut
        large = photographs(1000)
        for mine, theirs in zip((large.train, large.val, large.test), (whole.train, whole.val, whole.test)):
            assert isinstance(mine.images, Images)
            assert mine.images.shape == theirs.images.shape
            assert torch.equal(mine.images.to("cpu"), theirs.images)
            assert torch.equal(torch.cat([*mine.images.split(7)]), theirs.images)
            odd = torch.arange(len(mine.images)) % 2 == 1
            for part in (odd, odd.nonzero()[:, 0], slice(1, None, 2)):
                assert torch.equal(mine.images[part].to("cpu"), theirs.images[odd])
        assert torch.equal(large.mean, whole.mean)
        assert torch.equal(large.std, whole.std)
        for loading, found in ((Loading("ours"), wanted), (Loading(), floor)):
            again = train.run(probed(loading, **({} if found is wanted else {"method": Untrained()})))
            # crops are not of the middle square any more, but of the whole image
            same = [k for k in found.metrics if not k.startswith(("cropped", "alpha"))]
            assert {k: again.metrics[k] for k in same} == {k: found.metrics[k] for k in same}
    large = photographs(1000)
    file = datasets.root() / "mine" / "test.beton"
    ((field, *_),) = Loader(file, None, 20, 16, shuffle=False).epoch()
    assert torch.equal(large.test.images.to("cpu"), field[0])
    with pytest.raises(ReproError, match=r"Mine at 16 px is too large .* give loading=Loading\(\"ours\"\)"):
        train.run(probed(Loading()))
    few = photographs(40 * 3 * 16 * 16, (("images", 20),))
    assert torch.equal(few.train.images, whole.train.images[torch.isin(whole.train.numbers, few.train.numbers)])


@pytest.mark.parametrize("limit", [1000, data.MEMORY])
def test_training_cuts_whole_images_out_of_the_prepared_file(photographs, limit):
    known, spec = photographs(limit), probed(Loading("ours"), seed=3)
    file = datasets.root() / "mine" / "train.beton"
    assert disk.beton_of("mine", 0) == file
    assert sorted([*known.train.numbers.tolist(), *known.val.numbers.tolist()]) == list(range(60))
    chosen = data.subset(known.train, 0.5, 3)
    fed = list(feed.batches_from_files(spec, known.train, chosen, torch.device("cpu"), 1, 7))
    assert [step for step, _, _ in fed] == list(range(1, 7))
    source = Loader(file, spec.recipe, 8, 16, seed=3, indices=known.train.numbers[chosen].numpy())
    wanted = [batch for epoch in range(3) for batch in source.epoch(epoch)][1:7]
    held = set(known.val.numbers.tolist())
    for (_, index, views), batch in zip(fed, wanted, strict=True):
        assert torch.equal(views, batch.views.float() / 255)
        assert torch.equal(known.train.numbers[chosen][index], batch.index)
        assert torch.equal(known.train.labels["class"][chosen][index], batch.labels["label"])
        assert not held & set(batch.index.tolist())
    assert not (disk.places.root() / "build").exists()


def test_files_of_another_size_are_the_same_whatever_the_memory(photographs):
    made = []
    for limit in (data.MEMORY, 1000):
        photographs(limit)
        file = disk.beton_of("mine", 24)
        made.append(file.read_bytes())
        file.unlink()
    assert made[0] == made[1]


def test_torchvision_reads_the_prepared_images_as_files(photographs):
    known, spec = photographs(), probed(Loading("torchvision"))
    chosen = torch.arange(len(known.train.images))
    way = Loading("ours")
    ours, theirs = (
        list(feed.batches_from_files(replace(spec, loading=w), known.train, chosen, torch.device("cpu"), 0, 2))
        for w in (way, spec.loading)
    )
    for (_, index, views), (_, same, near) in zip(ours, theirs, strict=True):
        assert torch.equal(index, same)
        assert (views - near).abs().mean() < 0.01


def test_paper_trains_from_prepared_files(photographs, tmp_path):
    assert base(profile("paper")).loading.name == base(profile("paper", data="mine")).loading.name == "ours"
    assert not base(profile("paper")).timed
    for name in ("objects", str(tmp_path)):
        assert base(profile("paper", data=name)).loading == Loading()
    assert all(base(profile(p)).loading == Loading() for p in ("smoke", "quick", "gpu"))

"""A reader's own folder of images: one meaning of its path everywhere, and its runs know which images they saw."""

import numpy as np
import pytest
from PIL import Image

from repro import cli
from repro.core import datasets, places
from repro.core.profiles import profile
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


# -------------------------------------------------------------------------------------------------------------- paths


def test_a_path_is_absolute_where_it_is_given_and_a_name_stays_a_name(images, monkeypatch):
    monkeypatch.chdir(images.parent)
    (images.parent / "scenes").mkdir()
    for given in ("images", "./images", "images/", str(images)):
        assert profile("quick", given).data == str(images)
        (spec, *_) = notebook.study("start_here", "smoke", data=given).specs.values()
        assert spec.data.name == str(images)
    assert [profile("quick", name).data for name in ("scenes", "digits", "cifar10", "nowhere")] == [
        "scenes", "digits", "cifar10", "nowhere",
    ]  # fmt: skip
    parsed = cli._parser().parse_args(["measure", "--data", "images", "--store", "s", "--out", "o"])
    assert (parsed.data, parsed.store, parsed.out) == (str(images), images.parent / "s", images.parent / "o")


def test_a_kernel_in_notebooks_finds_the_checkouts_data_and_means_the_same_folders(images, tmp_path, monkeypatch):
    monkeypatch.setattr(places, "root", lambda: tmp_path)
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

"""An odd image is the same picture, mean colour and orientation, through every reader; or refused by the same sentence."""

import ctypes
from pathlib import Path

import common
import numpy as np
import pytest
import torch
from PIL import Image

from repro.bench import contestants, photographs
from repro.data import check, disk, folder, tree
from repro.errors import ReproError
from repro.loader import beton, jpeg, plain
from repro.loader.loader import Loader
from repro.views.recipe import preset

SIZE = 32
Y, X = np.mgrid[0:64, 0:64] / 64
TRUE = (np.stack([0.9 - 0.6 * X, 0.2 + 0.5 * Y, 0.3 + 0.4 * X * Y], 2) * 255).round().astype(np.uint8)
GRAY = np.asarray(Image.fromarray(TRUE).convert("L"))[..., None].repeat(3, 2)


def ycck(path: Path) -> None:
    """As Photoshop writes: libjpeg-turbo's own CMYK, inverted."""
    library = jpeg.library()
    library.tjInitCompress.restype = ctypes.c_void_p
    handle, data, size = ctypes.c_void_p(library.tjInitCompress()), ctypes.c_void_p(), ctypes.c_ulong()
    ink = np.ascontiguousarray(255 - np.asarray(Image.fromarray(TRUE).convert("CMYK")))
    library.tjCompress2(
        handle, ink.ctypes.data_as(ctypes.c_void_p), 64, 0, 64, 11, ctypes.byref(data), ctypes.byref(size), 0, 95, 0
    )
    path.write_bytes(ctypes.string_at(data, size.value))


def made(kind: str, path: Path) -> tuple[Path, np.ndarray]:
    """An image file and what every reader is to show of it."""
    image, options, want = Image.fromarray(TRUE), {}, TRUE
    if kind == "ycck":
        ycck(path)
        return path, want
    if kind == "cmyk":
        image, options = image.convert("CMYK"), {"quality": 95}
    elif kind == "gray":
        image, want = image.convert("L"), GRAY
    elif kind.startswith("orientation"):  # of the EXIF data: nobody heeds it
        exif = Image.Exif()
        exif[check.ORIENTATION] = int(kind[-1])
        options = {"exif": exif, "quality": 95}
    elif kind == "palette":
        path = path.with_suffix(".png")
        image, options = image.convert("P", palette=Image.Palette.ADAPTIVE), {"transparency": bytes(range(256))}
    elif kind == "transparent":
        path = path.with_suffix(".png")
        image.putalpha(Image.fromarray(TRUE[..., 0]))
    elif kind == "16 bits":
        path, image, want = path.with_suffix(".png"), Image.fromarray(GRAY[..., 0].astype(np.uint16) * 257), GRAY
    elif kind == "animated":
        options = {"format": "WEBP", "save_all": True, "append_images": [Image.fromarray(255 - TRUE)], "quality": 95}
    image.save(path, **options)
    return path, want


def decoded(path: Path, tmp_path: Path, raw: float) -> np.ndarray:
    """Through data_prep/ and our loader."""
    stored = common.encode(path, 0, common.Storage(raw=raw, quality=95))
    beton.write(tmp_path / "one.beton", lambda i: stored, {"label": [0]})
    loader = Loader(tmp_path / "one.beton", None, 1, SIZE, central=1.0, workers=1, drop_last=False)
    return next(loader.epoch()).views[0, 0].permute(1, 2, 0).numpy()


def by_torchvision(path: Path) -> np.ndarray:
    """As a worker of the torchvision loader makes it."""
    views, _ = plain._Views([path], preset("none"), 0)[(0, SIZE, 0)]
    if isinstance(views, str):
        raise ReproError(views)
    return views[0].permute(1, 2, 0).numpy()


def by_contestant(name: str, path: Path) -> np.ndarray:
    image = contestants.Files({"name": name, "files": [str(path)]}).read(str(path))
    return image.permute(1, 2, 0).numpy() if isinstance(image, torch.Tensor) else np.asarray(image)


def means(picture: np.ndarray) -> np.ndarray:
    """Mean colours of its quarters, which tell how it is turned."""
    return np.stack([h.mean((0, 1)) for half in np.split(picture.astype(float), 2) for h in np.split(half, 2, 1)])


KINDS = (
    "plain",
    "cmyk",
    "ycck",
    "gray",
    "orientation 3",
    "orientation 6",
    "palette",
    "transparent",
    "16 bits",
    "animated",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_reader_shows_the_same_picture(tmp_path, kind):
    (tmp_path / "in").mkdir()
    path, want = made(kind, tmp_path / "in" / "0.jpg")
    shown = {
        "folder": folder._image(path, SIZE),
        "beton": decoded(path, tmp_path, 0.0),
        "raw": decoded(path, tmp_path, 1.0),
        "torchvision": by_torchvision(path),
        "unpacked": by_torchvision(disk.unpacked(tmp_path / "one.beton")[0]),
    }
    if kind in ("plain", "orientation 3", "orientation 6"):
        (taken,) = photographs.found(tmp_path / "in", 1)
        for name in ("torchvision", "torchvision v2"):
            shown[f"contestant {name}"] = by_contestant(name, taken)
        photographs.pack([taken], tmp_path / "packed.beton", raw=False)
        shown["packed"] = by_torchvision(disk.unpacked(tmp_path / "packed.beton")[0])
    else:  # what is no JPEG in colours is not measured
        with pytest.raises(ReproError, match="has 0 colour JPEGs"):
            photographs.found(tmp_path / "in", 1)
    for reader, picture in shown.items():
        assert np.abs(means(picture) - means(want)).max() < 4, reader


@pytest.mark.parametrize("kind", ["cut", "text", "too large"])
def test_every_reader_refuses_by_the_same_sentence(tmp_path, monkeypatch, kind):
    path, _ = made("plain", tmp_path / "0.jpg")
    if kind == "too large":
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    else:
        path.write_bytes(path.read_bytes()[:-200] if kind == "cut" else b"no image")
    readers = [lambda: folder._image(path, SIZE), lambda: decoded(path, tmp_path, 0.0), lambda: by_torchvision(path)]
    if kind != "cut":  # it reads headers alone, and libjpeg-turbo
        readers.append(lambda: photographs.found(tmp_path, 1))
    said = set()
    for reader in readers:
        with pytest.raises(ReproError) as caught:
            reader()
        said.add(str(caught.value))
    assert said == {check.look(path).broken}
    assert said.pop().startswith(f"The image {path} cannot be read (")


def test_an_animated_gif_is_passed_over_and_counted(tmp_path):
    frames = [Image.fromarray(TRUE), Image.fromarray(255 - TRUE)]
    frames[0].save(tmp_path / "0.gif", save_all=True, append_images=frames[1:])
    passed = tree.Counter()
    assert tree.images(tmp_path, passed) == []
    assert passed == {"of the ending .gif": 1}

"""Tiny ImageNet: the folder `tiny-imagenet-200` as Stanford's CS231n publishes it (tiny-imagenet-200.zip), 64 pixels.

--folder is that folder, or one in which the archive tiny-imagenet-200.zip lies.
Its train/ has <class>/images/, its val/ one folder with val_annotations.txt; a val/ sorted into class folders will do.

    python data_prep/tiny_imagenet.py --download
"""

import common
from torchvision.datasets.utils import download_url

from repro.errors import ReproError

URL, MD5 = "http://cs231n.stanford.edu/tiny-imagenet-200.zip", "90528d7ca1a48142e341f4ef8d21d0de"


def main(args) -> None:
    if args.download and not (args.folder / "tiny-imagenet-200").is_dir():
        common.downloaded(lambda: download_url(URL, args.folder, md5=MD5), "Tiny ImageNet", URL)
    inner = args.folder / "tiny-imagenet-200"
    if not (args.folder / "train").is_dir() and not inner.is_dir() and (args.folder / f"{inner.name}.zip").is_file():
        common.unpack(args.folder / f"{inner.name}.zip", args.folder, inner.name)
    args.folder = inner if inner.is_dir() else args.folder
    listed = args.folder / "wnids.txt"
    names = sorted(listed.read_text().split()) if listed.is_file() else []
    inner = "images" if any(args.folder.glob("train/*/images")) else ""
    train, names = common.tree(args.folder / "train", names, inner)
    splits = {"train": train, "val": validation(args.folder / "val", names)}
    common.finish(args, "Tiny ImageNet", splits, {"label": names}, {"train": 100_000, "val": 10_000})


def validation(folder, names: list[str]) -> common.Items:
    annotations = folder / "val_annotations.txt"
    if not annotations.is_file():
        return common.tree(folder, names, "images" if any(folder.glob("*/images")) else "")[0]
    rows = [line.split("\t")[:2] for line in annotations.read_text().splitlines() if line.strip()]
    images = [folder / "images" / file for file, _ in rows]
    for image, (_, name) in zip(images, rows):
        if not image.is_file() or name not in names:
            raise ReproError(
                f"{annotations} names {image.name} of class {name!r}, which is missing: complete the download."
            )
    return common.Items(images, {"label": [names.index(name) for _, name in rows]})


if __name__ == "__main__":
    common.script("tiny_imagenet", main, download=True)

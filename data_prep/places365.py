"""Places365-Standard (Zhou et al. 2017), the small images of 256 pixels: through torchvision, or a folder with its
data_256/, val_256/, categories_places365.txt, places365_train_standard.txt and places365_val.txt.

    python data_prep/places365.py --download
"""

import common
from torchvision.datasets import Places365

from repro.errors import ReproError


def main(args) -> None:
    if args.download:
        for split, images in (("train-standard", "data_256_standard"), ("val", "val_256")):
            if (args.folder / images).is_dir():
                continue  # torchvision refuses to unpack twice
            common.downloaded(lambda s=split: Places365(args.folder, s, small=True, download=True), "Places365")
    names = [name for name, _ in rows(args.folder / "categories_places365.txt")]
    lists = {
        "train": (args.folder / "places365_train_standard.txt", args.folder / "data_256_standard"),
        "val": (args.folder / "places365_val.txt", args.folder / "val_256"),
    }
    splits = {}
    for split, (file, folder) in lists.items():
        folder = folder if folder.is_dir() else args.folder / folder.name.removesuffix("_standard")
        listed = rows(file)
        images = [folder / name.lstrip("/") for name, _ in listed]
        for image in images:
            if not image.is_file():
                raise ReproError(f"{file.name} names the image {image}, which is missing: complete the download.")
        splits[split] = common.Items(images, {"label": [label for _, label in listed]})
    common.finish(args, "Places365", splits, {"label": names})


def rows(file) -> list[tuple[str, int]]:
    """The (name, number) lines of one of its lists."""
    try:
        return [(line.split()[0], int(line.split()[1])) for line in file.read_text().splitlines() if line.strip()]
    except FileNotFoundError:
        raise ReproError(f"The list {file} is missing: give the folder of Places365's files with --folder.") from None
    except (ValueError, IndexError) as e:
        raise ReproError(f"The list {file} cannot be read ({e}): download it again.") from e


if __name__ == "__main__":
    common.script("places365", main, download=True)

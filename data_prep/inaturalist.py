"""iNaturalist: the 2018 set (Van Horn et al.) with its train2018.json and val2018.json, or the 2021 set's class folders.

--download gets 2021_train_mini and 2021_valid through torchvision. The 2018 files are named in their .json, below the
folder: train_val2018/<group>/<species>/<image>.

    python data_prep/inaturalist.py --folder inat2018 --resolution 500
"""

import json

import common
from torchvision.datasets import INaturalist

from repro.errors import ReproError


def main(args) -> None:
    if args.download:
        for version in ("2021_train_mini", "2021_valid"):
            if (args.folder / version).is_dir():
                continue  # torchvision refuses to unpack twice
            common.downloaded(lambda v=version: INaturalist(args.folder, v, download=True), "iNaturalist")
    lists = {split: args.folder / f"{split}2018.json" for split in ("train", "val")}
    if lists["train"].is_file():
        splits, names = {}, []
        for split, file in lists.items():
            splits[split], names = annotated(args.folder, file)
        common.finish(args, "iNaturalist 2018", splits, {"label": names})
        return
    trains = [args.folder / name for name in ("2021_train", "2021_train_mini", "train", "train_mini")]
    train = next((folder for folder in trains if folder.is_dir()), trains[0])
    vals = [args.folder / name for name in ("2021_valid", "val")]
    items, names = common.tree(train)
    val, _ = common.tree(next((folder for folder in vals if folder.is_dir()), vals[0]), names)
    common.finish(args, "iNaturalist 2021", {"train": items, "val": val}, {"label": names})


def annotated(folder, file) -> tuple[common.Items, list[str]]:
    try:
        found = json.loads(file.read_text())
        names = {c["id"]: str(c["name"]) for c in found["categories"]}
        label = {a["image_id"]: a["category_id"] for a in found["annotations"]}
        rows = sorted((i["file_name"], label[i["id"]]) for i in found["images"])
    except FileNotFoundError:
        raise ReproError(f"The list {file} is missing: put it beside the images.") from None
    except (ValueError, KeyError, TypeError) as e:
        raise ReproError(f"The list {file} cannot be read ({e!r}): download it again.") from e
    order = {number: k for k, number in enumerate(sorted(names))}
    images = [folder / name for name, _ in rows]
    for image in images:
        if not image.is_file():
            raise ReproError(f"{file.name} names the image {image}, which is missing: complete the download.")
    return common.Items(images, {"label": [order[c] for _, c in rows]}), [names[c] for c in sorted(names)]


if __name__ == "__main__":
    common.script("inaturalist", main, download=True)

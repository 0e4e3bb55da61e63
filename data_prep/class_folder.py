"""Any folder of class folders: FOLDER/<class>/<image>, or FOLDER/train/... with FOLDER/val or FOLDER/test.

A folder without splits is divided 70 / 10 / 20 by a hash of each file's name.

    python data_prep/class_folder.py --folder my_images --out data/my_images
"""

from repro.data import prepared


def main(args) -> None:
    if (args.folder / "train").is_dir():
        train, names = prepared.tree(args.folder / "train")
        others = {s: prepared.tree(args.folder / s, names)[0] for s in ("val", "test") if (args.folder / s).is_dir()}
        splits = {"train": train, **others}
    else:
        items, names = prepared.tree(args.folder)
        splits = prepared.divide(items)
    prepared.finish(args, args.folder.resolve().name, splits, {"label": names})


if __name__ == "__main__":
    prepared.script("", main)

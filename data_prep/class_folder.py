"""Any folder of class folders: FOLDER/<class>/<image>, or FOLDER/train/... with FOLDER/val or FOLDER/test.

Splits are known by their usual names (train, training, val, validation, test, testing, ...). A folder without splits is
divided 70 / 10 / 20 by a hash of each file's name.

    python data_prep/class_folder.py --folder my_images --out data/my_images
"""

import common

from repro.data import folder, tree
from repro.errors import ReproError


def main(args) -> None:
    if not args.folder.is_dir():
        raise ReproError(f"The folder {args.folder} is missing: give the folder that holds the images with --folder.")
    layout = tree.find(args.folder)
    parts = layout.files if layout.splits else tree.divide(layout.files[""])
    for sentence in folder.remarks(args.folder, layout, parts):
        print(f"{tree.shown(args.folder)}: {sentence}.")
    for split, group in parts.items():
        if not group:
            raise ReproError(f"So few images leave none for {split}: add some, or bring train/ and test/ folders.")
    classes = [tree.shown(name) for name in layout.classes]
    splits = {split: common.labelled(group) for split, group in parts.items()}
    source = args.folder.resolve()
    common.finish(args, tree.shown(source.name), splits, {"label": classes}, source=tree.shown(source))


if __name__ == "__main__":
    common.script("", main)

"""ImageNet-100: 100 classes of an ImageNet folder, named by a list of one class a line.

The usual list is that of Tian et al., Contrastive Multiview Coding (imagenet100.txt of github.com/HobbitLong/CMC).

    python data_prep/imagenet100.py --folder IMAGENET --classes imagenet100.txt --resolution 500
"""

import common

from repro.errors import ReproError


def main(args) -> None:
    if not args.classes.is_file():
        raise ReproError(f"The list of classes {args.classes} is missing: give a text file with one class a line.")
    names = sorted(args.classes.read_text().split())
    if len(names) != len(set(names)):
        raise ReproError(f"The list of classes {args.classes} names a class twice: correct it.")
    splits = {split: common.tree(args.folder / split, names)[0] for split in ("train", "val")}
    common.finish(args, f"ImageNet-{len(names)}", splits, {"label": names})


if __name__ == "__main__":
    common.script("imagenet100", main, classes="!text file of the classes' folder names")

"""ImageNet-1k (Russakovsky et al. 2015): a folder with train/<class>/ and val/<class>/, or the official archives.

The archives (ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz) are unpacked by torchvision.
FFCV-SSL's own files: --resolution 500 --quality 90 --raw 0.5.

    python data_prep/imagenet.py --folder IMAGENET --resolution 500
"""

import common
from torchvision.datasets import ImageNet


def main(args) -> None:
    if (args.folder / "ILSVRC2012_devkit_t12.tar.gz").is_file():
        for split in ("train", "val"):
            common.downloaded(lambda split=split: ImageNet(args.folder, split), "ImageNet")
    train, names = common.tree(args.folder / "train")
    val, _ = common.tree(args.folder / "val", names)
    expect = {"train": 1_281_167, "val": 50_000}  # imagenet100.py takes a part
    common.finish(args, "ImageNet-1k", {"train": train, "val": val}, {"label": names}, expect)


if __name__ == "__main__":
    common.script("imagenet", main)

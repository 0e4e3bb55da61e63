"""ImageNet-1k (Russakovsky et al. 2015): a folder with train/<class>/ and val/<class>/, or the official archives.

The archives (ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz) are unpacked by torchvision.
FFCV-SSL's own files: --resolution 500 --quality 90 --raw 0.5.

    python data_prep/imagenet.py --folder IMAGENET --resolution 500
"""

from torchvision.datasets import ImageNet

from repro.data import prepared


def main(args) -> None:
    if (args.folder / "ILSVRC2012_devkit_t12.tar.gz").is_file():
        for split in ("train", "val"):
            prepared.downloaded(lambda split=split: ImageNet(args.folder, split), "ImageNet")
    train, names = prepared.tree(args.folder / "train")
    val, _ = prepared.tree(args.folder / "val", names)
    expect = {"train": 1_281_167, "val": 50_000} if len(names) == 1000 else None
    prepared.finish(args, "ImageNet-1k", {"train": train, "val": val}, {"label": names}, expect)


if __name__ == "__main__":
    prepared.script("imagenet", main)

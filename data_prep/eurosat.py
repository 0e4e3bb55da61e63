"""EuroSAT (Helber et al. 2019), RGB, 64 pixels, 27,000 images through torchvision, or a folder of its 10 class folders.

It has no official splits: 70 / 10 / 20 by a hash of each file's name.

    python data_prep/eurosat.py --download
"""

import common
from torchvision.datasets import EuroSAT


def main(args) -> None:
    folder = args.folder
    if args.download:
        common.downloaded(lambda: EuroSAT(args.folder, download=True), "EuroSAT")
    for inner in ("eurosat/2750", "2750", "EuroSAT_RGB"):
        folder = args.folder / inner if (args.folder / inner).is_dir() else folder
    items, names = common.tree(folder)
    common.finish(args, "EuroSAT", common.divide(items), {"label": names}, {"": 27_000})


if __name__ == "__main__":
    common.script("eurosat", main, download=True)

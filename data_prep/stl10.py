"""STL-10 (Coates et al. 2011) through torchvision: 96 pixels; train is the 5,000 labelled images and then the 100,000
unlabelled ones, whose label is -1; test has 8,000.

    python data_prep/stl10.py --download
"""

import common
from torchvision.datasets import STL10


def main(args) -> None:
    names = [f"{STL10.base_folder}/{name}" for name, _ in STL10.train_list + STL10.test_list]
    fetch = args.download or common.packed(args.folder, names, STL10.filename, STL10.tgz_md5)

    def get(split: str) -> STL10:
        return common.downloaded(lambda: STL10(args.folder, split, download=fetch), "STL-10", STL10.url)

    sets = {"train": get("train+unlabeled"), "test": get("test")}
    splits = {
        split: common.Items(found.data.transpose(0, 2, 3, 1), {"label": found.labels.astype("int64")})
        for split, found in sets.items()
    }
    common.finish(args, "STL-10", splits, {"label": sets["test"].classes}, EXPECT)


EXPECT = {"train": 105_000, "test": 8_000}

if __name__ == "__main__":
    common.script("stl10", main, download=True)

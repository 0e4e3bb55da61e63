"""CIFAR-10 (Krizhevsky 2009) through torchvision: 50,000 train and 10,000 test images of 32 pixels, stored losslessly.

python data_prep/cifar10.py --download
"""

from torchvision.datasets import CIFAR10

from repro.data import prepared


def main(args) -> None:
    names = [CIFAR10.meta["filename"], *(name for name, _ in CIFAR10.train_list + CIFAR10.test_list)]
    names = [f"{CIFAR10.base_folder}/{name}" for name in names]
    fetch = args.download or prepared.packed(args.folder, names, CIFAR10.filename, CIFAR10.tgz_md5)

    def get(train: bool) -> CIFAR10:
        return prepared.downloaded(lambda: CIFAR10(args.folder, train, download=fetch), "CIFAR-10")

    sets = {"train": get(True), "test": get(False)}
    splits = {split: prepared.Items(found.data, {"label": found.targets}) for split, found in sets.items()}
    prepared.finish(args, "CIFAR-10", splits, {"label": sets["train"].classes}, EXPECT, raw=1.0)


EXPECT = {"train": 50_000, "test": 10_000}

if __name__ == "__main__":
    prepared.script("cifar10", main, download=True)

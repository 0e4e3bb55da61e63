"""CIFAR-100 (Krizhevsky 2009) through torchvision: 50,000 train and 10,000 test images of 32 pixels, stored losslessly.

python data_prep/cifar100.py --download
"""

from torchvision.datasets import CIFAR100

from repro.data import prepared


def main(args) -> None:
    names = [CIFAR100.meta["filename"], *(name for name, _ in CIFAR100.train_list + CIFAR100.test_list)]
    names = [f"{CIFAR100.base_folder}/{name}" for name in names]
    fetch = args.download or prepared.packed(args.folder, names, CIFAR100.filename, CIFAR100.tgz_md5)

    def get(train: bool) -> CIFAR100:
        return prepared.downloaded(lambda: CIFAR100(args.folder, train, download=fetch), "CIFAR-100")

    sets = {"train": get(True), "test": get(False)}
    splits = {split: prepared.Items(found.data, {"label": found.targets}) for split, found in sets.items()}
    prepared.finish(args, "CIFAR-100", splits, {"label": sets["train"].classes}, EXPECT, raw=1.0)


EXPECT = {"train": 50_000, "test": 10_000}

if __name__ == "__main__":
    prepared.script("cifar100", main, download=True)

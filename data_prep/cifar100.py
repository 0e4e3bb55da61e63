"""CIFAR-100 (Krizhevsky 2009) through torchvision: 50,000 train and 10,000 test images of 32 pixels, stored losslessly.

python data_prep/cifar100.py --download
"""

import common
from torchvision.datasets import CIFAR100

if __name__ == "__main__":
    common.script("cifar100", lambda args: common.cifar(args, CIFAR100, "CIFAR-100"), download=True)

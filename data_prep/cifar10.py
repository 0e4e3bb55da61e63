"""CIFAR-10 (Krizhevsky 2009) through torchvision: 50,000 train and 10,000 test images of 32 pixels, stored losslessly.

python data_prep/cifar10.py --download
"""

import common
from torchvision.datasets import CIFAR10

if __name__ == "__main__":
    common.script("cifar10", lambda args: common.cifar(args, CIFAR10, "CIFAR-10"), download=True)

"""CIFAR-100 (Krizhevsky 2009) through torchvision: 50,000 train and 10,000 test images of 32 pixels, stored losslessly.

python data_prep/cifar100.py --download
"""

from torchvision.datasets import CIFAR100

from repro.data import prepared

if __name__ == "__main__":
    prepared.script("cifar100", lambda args: prepared.cifar(args, CIFAR100, "CIFAR-100"), download=True)

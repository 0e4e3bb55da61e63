"""CIFAR-10 (Krizhevsky 2009) through torchvision: 50,000 train and 10,000 test images of 32 pixels, stored losslessly.

python data_prep/cifar10.py --download
"""

from torchvision.datasets import CIFAR10

from repro.data import prepared

if __name__ == "__main__":
    prepared.script("cifar10", lambda args: prepared.cifar(args, CIFAR10, "CIFAR-10"), download=True)

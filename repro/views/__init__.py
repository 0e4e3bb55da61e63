"""Views: a recipe is data, its parameters are drawn by counter-based random numbers, its back ends apply them.

recipe.py   what the augmentations are (the papers' presets by name)
draw.py     parameters of each view, a pure function of (seed, epoch, sample index, view number)
batched.py  applied by torch, a whole batch at once, on CPU or GPU

A second back end, compiled for the CPU, is `repro.loader.compiled`; torchvision's, one image at a time, is what the tests
compare both with. May import nothing else of the house. A first reader reads all of it.
"""

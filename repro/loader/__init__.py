"""The loader: `.beton` files of images, and views compiled for the CPU. A library of its own inside the house.

beton.py, jpeg.py   FFCV's file format, read and written; libjpeg-turbo
loader.py           batches of views out of a file
compiled.py         the views, compiled by numba: the same pictures as `repro.views.batched`
plain.py            the same through torchvision and PIL, one image at a time
operations.py       the compiled views as an operation of FFCV's own pipelines

May import views, and from the core how a process is stopped and where things lie. A first reader need not enter.
"""

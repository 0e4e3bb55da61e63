"""The core: a run as a value, measured once, kept whole.

spec.py        what a run is, and its key
methods.py     the methods' hyper-parameters
datasets.py    the data sets by name: a row each
profiles.py    the four scales, and each one's standard run
sweep.py       measure many runs: skip what is stored, share the rest among processes, go on where it stopped
store.py       runs on disk, whole or not at all
io.py, lock.py, stopping.py, progress.py, places.py, provenance.py
               writing files, a measurement alone on the machine, being stopped, the bar, where things are, where from

May import views (a spec holds a recipe). A first reader starts here, with spec.py.
"""

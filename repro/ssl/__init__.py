"""Self-supervised learning: one training loop and its parts.

train.py                  the loop
step.py, feed.py          a training step; where its views come from
methods.py, losses.py     what SimCLR, Barlow Twins, VICReg, BYOL, MoCo, SimSiam, MSR ... train, and their losses
networks.py, optim.py     backbones and projectors; LARS and schedules
probing.py, probes.py     what a run's probes read; how they are fitted
spectra.py, pairs.py      eigenspectra; how clean and destroyed pairs align
engine.py, checkpoint.py  how a step runs on a GPU; a loop's state on disk
trial.py                  steps on made-up images: do they fit into memory?
ranks.py                  one run on several processes
weights.py                backbones as files of other libraries, and theirs to be probed

May import views, loader, core and data. A first reader reads train.py, step.py, methods.py and losses.py; the last six
lines can wait.
"""

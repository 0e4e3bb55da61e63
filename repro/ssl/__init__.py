"""Self-supervised learning: one training loop and its parts.

train.py                 the loop, its checkpoints, and what its probes read
methods.py, losses.py    SimCLR, Barlow Twins, VICReg, BYOL, MoCo, SimSiam, MSR ... as values, and their losses
networks.py, optim.py    backbones and projectors; LARS and schedules
probes.py, spectra.py    reading a backbone: accuracy; eigenspectrum
engine.py, pairs.py      how a step runs on a GPU; how clean and destroyed pairs align

May import views, loader, core and data. A first reader reads train.py, methods.py and losses.py; engine.py and pairs.py
can wait.
"""

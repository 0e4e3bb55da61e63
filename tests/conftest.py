"""What all tests share: one thread, a store that is nobody's, and training runs that take a fraction of a second."""

import os
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

from repro.core.profiles import PROFILES, base
from repro.core.store import Store

torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _nobodys_places(tmp_path_factory):
    """No test reads or writes the runs, figures and data sets of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("places")
        patch.setenv("REPRO_DATA_OF_USER", os.environ.get("REPRO_DATA", "data"))
        for name in ("store", "figures", "data"):
            patch.setenv(f"REPRO_{name.upper()}", str(folder / name))
        yield


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def tiny():
    """tiny(epochs=2, ...): the smoke profile's standard run, four steps an epoch, with changes to it."""
    spec = base(PROFILES["smoke"])

    def changed(probes=None, **changes):
        made = replace(spec, **changes)
        return replace(made, probes=replace(made.probes, **probes)) if probes else made

    return changed

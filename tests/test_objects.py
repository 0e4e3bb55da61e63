"""Made-up objects: a stand-in whose classes several cues give away."""

import numpy as np
import pytest

from repro import data
from repro.core.profiles import base, profile
from repro.data import objects
from repro.errors import ReproError

GRAY = np.array([0.2989, 0.587, 0.114])[:, None, None]


def test_they_are_the_same_every_time_and_every_task_has_all_its_classes():
    (first, labels), (again, _) = objects.render(512, 16, 3), objects.render(512, 16, 3)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, objects.render(512, 16, 4)[0])
    for task, classes in objects.TASKS.items():
        assert set(labels[task]) == set(range(classes))


def test_a_cue_is_the_class_s_own_as_often_as_it_says():
    _, labels = objects.render(4096, 16, 0)
    own = (labels["ground"] == labels["class"] % 4).mean()
    assert own == pytest.approx(objects.CUES["ground"] + (1 - objects.CUES["ground"]) / 4, abs=0.03)


@pytest.mark.parametrize(("fragile", "gray_shows_it"), [(0.0, True), (1.0, False)])
def test_gray_hides_a_fragile_object_and_colour_does_not(fragile, gray_shows_it):
    whole, bare = (objects.render(256, 16, 0, fragile, bare=b)[0] / 255 for b in (False, True))
    colour, gray = abs(whole - bare).mean((1, 2, 3)), abs(((whole - bare) * GRAY).sum(1)).mean((1, 2))
    assert np.median(colour) > 0.06
    kept = np.median(gray / colour)
    assert kept > 0.8 if gray_shows_it else kept < 0.2


def test_they_are_a_data_set_with_knobs():
    found = data.load("objects", 16, (("fragile", 0.5), ("images", 256)))
    assert found.stand_in
    assert found.tasks == objects.TASKS
    assert len(found.train.images) == 256
    spec = base(profile("quick", "objects"))
    assert (dict(spec.data.options)["images"], spec.probes.labels, spec.probes.redrawn) == (4096, 2048, True)
    with pytest.raises(ReproError, match="Objects have no knob 'texture': choose from images, fragile"):
        data.load("objects", 16, (("texture", 0.5),))
    with pytest.raises(ReproError, match="at least 16 pixels"):
        objects.render(4, 8, 0)

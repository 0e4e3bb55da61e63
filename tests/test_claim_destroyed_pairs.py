"""The verdicts on claims B11 and B12, on frames made up to hold or to break them; and what the judge counts as lost."""

from dataclasses import replace

import pytest
from studies import check_finished, every_study, made_up

from repro.claims.destroyed_pairs import CLAIMS, TITLES, pairs, plan
from repro.core.profiles import profile
from repro.core.spec import key
from repro.pages import notebook
from repro.ssl import train
from repro.views.recipe import Recipe

SHARES, OPERATIONS = CLAIMS
STUDY = notebook.study("destroyed_pairs", profile="quick")


def frame(study=STUDY, claim=SHARES, **lost):
    """A frame in which so many percent of pairs are lost, 2 where nothing is said, a little apart by seed."""

    def more(spec):
        if not spec.probes.lost or spec.method != plan(study.profile)[0].method:
            return ({},)
        some = int(key(spec), 16) % 7 / 20
        return (
            {
                f"lost_{name}_test_{spec.probes.tasks[0]}": lost.get(name, 2.0) + some * (i + 1) / 4
                for i, name in enumerate(TITLES)
            },
        )

    return made_up(claim, study, lambda spec, task: 80.0, more)


@pytest.mark.parametrize(
    ("lost", "word"),
    [({"all": 9.0}, "reproduced"), ({"all": 2.0}, "mixed"), ({"all": 30.0}, "mixed"), ({"all": 60.0}, "mixed")],
)
def test_a_small_minority_is_lost(lost, word):
    assert SHARES.judge(frame(**lost)).verdict == word


def test_each_operation_must_lose_pairs():
    each = {"jitter": 8.0, "gray": 12.0, "blur": 6.0}
    assert OPERATIONS.judge(frame(**each)).verdict == "reproduced"
    assert OPERATIONS.judge(frame(**each | {"gray": 2.0})).verdict == "mixed"
    assert OPERATIONS.judge(frame()).verdict == "contradicted"


@every_study("destroyed_pairs")
def test_any_study_is_judged_and_drawn(study):
    for claim in CLAIMS:
        check_finished(claim, frame(study, claim, all=9.0))


def test_the_second_views_come_from_the_first_and_differ_by_one_operation():
    for recipe in pairs(profile("cpu")):
        weak, second = recipe.views
        changed = {k for k in ("jitter", "gray", "blur", "noise") if getattr(second, k) != getattr(weak, k)}
        assert changed == {"all": {"jitter", "gray", "blur"}, "crop": set()}.get(recipe.name, {recipe.name})
        assert second.parent == (-1 if recipe.name == "crop" else 0)


def test_a_view_equal_to_its_parent_is_never_lost_and_a_black_one_nearly_always():
    spec = plan(profile("smoke"))[0]
    weak = spec.probes.lost[0].views[0]
    same = Recipe("same", (weak, replace(weak, parent=0)))
    dark = Recipe("dark", (weak, replace(weak, parent=0, noise=5.0)))
    found = train.run(spec.but(lost=(same, dark), epochs=3)).metrics
    assert found["lost_same_test_class"] == 0.0
    assert found["lost_dark_test_class"] > 40

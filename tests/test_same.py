"""Plans ask for the runs they asked for, and the committed runs give their verdicts and figures (see `same.py`)."""

from __future__ import annotations

import pytest
import same

from repro import claims


def test_keys_are_stored_of_every_plan():
    wanted = {k.split()[0] for k in same.stored_keys()}
    assert wanted == {claim.id for slug in claims.notebooks() for claim in claims.of(slug)}


@pytest.mark.parametrize("slug", claims.notebooks())
def test_plans_ask_for_the_same_runs(slug):
    assert same.changed_keys(slug) == []


@pytest.mark.filterwarnings("ignore:All-NaN slice")  # of a contestant that measured nothing
@pytest.mark.parametrize("path", same.committed(claims.notebooks()), ids=lambda p: p.parent.name)
def test_committed_runs_give_the_same_verdicts_and_figures(path, tmp_path):
    assert same.changed_results(path, tmp_path, exact=False) == []


def test_a_changed_file_is_noticed(tmp_path):
    a, b = tmp_path / "a.svg", tmp_path / "b.svg"
    texts = {
        '<use id="p0123456789" x="1.00" fill="#0f4a94"/>': True,
        '<use id="pabcdef0123" x="1.00" fill="#0f4a94"/>': True,  # another processor's last bit
        '<use id="p0123456789" x="1.50" fill="#0f4a94"/>': False,
        '<use id="p0123456789" x="1.00" fill="#0f4a95"/>': False,
        '<use id="p0123456789" x="1.00" y="1.00" fill="#0f4a94"/>': False,
    }
    a.write_text(next(iter(texts)))
    for text, expected in texts.items():
        b.write_text(text)
        assert [same.same_file(a, b, exact) for exact in (True, False)] == [expected, expected], text
    b.write_text('<use id="p0123456789" x="1.01" fill="#0f4a94"/>')
    assert [same.same_file(a, b, exact) for exact in (True, False)] == [False, True]

"""Claims C1 to C3, C9, C14 and C15: what they plan, how they judge made-up numbers, and that they draw the measured ones."""

import numpy as np
import pandas as pd
import pytest

from repro import figures
from repro.claims import feature_learning_2d as claim
from repro.core.profiles import PROFILES
from repro.core.spec import key, to_dict
from repro.core.store import Record, frame
from repro.errors import ReproError
from repro.figures import picture, saving
from repro.theory import (
    CONDITION_HOLDS,
    OPERATORS,
    DynamicsSpec,
    GraphSpec,
    KernelSpec,
    ToySpec,
    run,
)

CLAIMS = {c.id: c for c in claim.CLAIMS}


def as_frame(specs, results):
    return frame([Record(key(s), type(s).__name__, to_dict(s), r[0], r[1], {}) for s, r in zip(specs, results)])


@pytest.fixture(scope="module")
def smoke():
    """Every claim's smoke plan, measured, in one frame as a notebook has it."""
    specs = [s for c in claim.CLAIMS for s in c.plan(PROFILES["smoke"])]
    results = [run(s) for s in specs]
    return as_frame(specs, [(r.metrics, r.curves) for r in results])


# -------------------------------------------------------------------------------------------------------------- plan


def of(name, frame):
    """The rows of a claim's own runs."""
    return CLAIMS[name].plan(PROFILES["smoke"]).rows(frame)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=str)
@pytest.mark.parametrize("name", CLAIMS)
def test_plans_are_distinct_runs_over_enough_seeds(name, profile):
    specs = CLAIMS[name].plan(profile)
    assert len({key(s) for s in specs}) == len(specs)
    seeds = {s.seed for s in specs}
    assert len(seeds) >= (5 if profile.judged else 1)
    assert len(seeds) >= profile.seeds
    assert specs == CLAIMS[name].plan(profile)


def test_quick_plans_the_grids_of_the_claims():
    saddle = {(s.d, s.d_beta) for s in CLAIMS["C2"].plan(PROFILES["quick"]) if s.experiment == "saddle"}
    assert saddle == {(d, p) for d in (2, 4, 8, 16, 32) for p in (0.1, 0.3, 1, 3, 10)}
    assert {s.operator for s in CLAIMS["C1"].plan(PROFILES["quick"])} == set(OPERATORS)
    assert {0.0, claim.LOW, claim.HIGH} <= {s.beta for s in CLAIMS["C3"].plan(PROFILES["quick"])}
    assert {s.steps for s in CLAIMS["C3"].plan(PROFILES["quick"])} == {500}
    assert {s.views for s in CLAIMS["C9"].plan(PROFILES["quick"])} == {1, 2, 4, 8, 16, 32, 64}


@pytest.mark.parametrize("name", CLAIMS)
def test_larger_profiles_only_add_to_quick(name):
    """The toy is the paper's own kind of experiment: no profile changes it, they refine it."""
    quick, paper = (CLAIMS[name].plan(PROFILES[p]) for p in ("quick", "paper"))
    assert len(paper) > len(quick)
    assert {key(s) for s in quick} <= {key(s) for s in paper}


# ------------------------------------------------------------------------------------------------------------- judge


def c1(overlaps, elsewhere=0.5):
    specs = [GraphSpec(operator=o, seed=s) for s in range(len(overlaps)) for o in OPERATORS]
    results = [({"overlap": overlaps[s.seed] if s.operator in CONDITION_HOLDS else elsewhere}, {}) for s in specs]
    return claim.judge_c1(as_frame(specs, results))


def test_c1_asks_for_more_than_99_percent_on_every_count():
    assert c1([0.999, 1, 1, 1, 0.9995]).verdict == "reproduced"
    assert c1([0.97, 1, 1, 1, 1]).verdict == "inconclusive"
    assert c1([0.9, 0.91, 0.9, 0.9, 0.92]).verdict == "contradicted"
    assert c1([1, 1, 1]).verdict == "not judged"


def test_c1_does_not_ask_the_counter_examples_but_reports_them():
    verdict = c1([1.0] * 5, elsewhere=0.123)
    assert (verdict.verdict, verdict.evidence) == ("reproduced", "identity or theory")
    assert "0.12" in verdict.sentence


def c2(law=1e-6, step=0.01, noise=0.0, seeds=5):
    """Made-up runs; the errors belong to the last seed alone, as the worst run is to count."""
    specs, results = [], []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        specs += [DynamicsSpec("rows", seed=seed), DynamicsSpec("steps", seed=seed)]
        worst = seed == seeds - 1
        results += [({"law_error": worst * law}, {}), ({"step_error": worst * step}, {})]
        for i, rate in enumerate((0.1, 0.3, 1.0, 3.0)):
            specs.append(DynamicsSpec("saddle", d_beta=i + 1.0, seed=seed))
            time = 5 / rate * np.exp(rng.normal(0.01, 0.001) + noise * rng.standard_normal())
            results.append(({"rate": rate, "escape_time": time}, {}))
    return claim.judge_c2(as_frame(specs, results))


def test_c2_asks_for_all_three_laws():
    held = c2()
    assert held.verdict == "reproduced"
    assert 0.95 < held.low <= held.effect <= held.high
    words = {"law": c2(law=0.02), "step": c2(step=0.2), "noise": c2(noise=3)}
    assert {name: [part.word for part in found.parts] for name, found in words.items()} == {
        "law": ["supported", "contradicted", "supported"],
        "step": ["supported", "supported", "contradicted"],
        "noise": ["contradicted", "supported", "supported"],
    }
    assert c2(seeds=2).verdict == "not judged"


def c3(low, high):
    specs = [ToySpec(beta=b, seed=s) for b in (claim.LOW, claim.HIGH) for s in range(len(low))]
    ratios = [*low, *high]
    return claim.judge_c3(as_frame(specs, [({"singular_ratio": r, "centroid_accuracy": 80.0}, {}) for r in ratios]))


def test_c3_compares_the_ratios_seed_by_seed():
    verdict = c3([0.1, 0.2, 0.1, 0.0, 0.1], [0.9, 1.0, 0.9, 0.8, 0.9])
    assert verdict.verdict == "reproduced"
    assert verdict.effect == pytest.approx(0.8)
    assert c3([0.1, 0.2, 0.1, 0.0, 0.1], [0.9, 0.0, 0.0, 0.0, 0.1]).verdict == "inconclusive"
    assert c3([0.9] * 5, [0.5, 0.6, 0.5, 0.6, 0.5]).verdict == "contradicted"
    assert c3([0.1] * 3, [0.9, 0.8, 0.9]).verdict == "not judged"


def test_c3_leaves_a_diverged_run_out_and_says_how_many_seeds_remain():
    verdict = c3([0.1] * 6, [0.9, 0.8, float("nan"), 0.9, 0.9, 0.8])
    assert (verdict.verdict, verdict.seeds) == ("reproduced", 5)
    assert c3([0.1] * 5, [0.9, 0.8, float("nan"), 0.9, 0.9]).verdict == "not judged"


def c14(low, high):
    specs = [
        ToySpec(beta=b, dim=d, seed=s) for d in claim.DIMS for b in (claim.LOW, claim.HIGH) for s in range(len(low))
    ]
    return claim.judge_c14(as_frame(specs, [({"effective_rank": r}, {}) for r in [*low, *high] * len(claim.DIMS)]))


def test_c14_asks_for_more_rank_under_strong_orthogonalisation():
    few, many = [1.1, 1.2, 1.0, 1.1, 1.3], [3.8, 3.9, 3.7, 3.8, 3.9]
    assert c14(few, many).verdict == "reproduced"
    assert c14(many, few).verdict == "contradicted"


def c15(overlaps):
    specs = [GraphSpec(operator=o, usual=True, seed=s) for s in range(len(overlaps)) for o in CONDITION_HOLDS]
    return claim.judge_c15(as_frame(specs, [({"overlap": overlaps[s.seed]}, {}) for s in specs]))


def test_c15_asks_for_one_span():
    assert c15([1.0, 0.9999, 1.0, 0.9998, 1.0]).verdict == "reproduced"
    assert c15([0.5, 0.6, 0.5, 0.6, 0.5]).verdict == "contradicted"


def c9(rows):
    specs = [KernelSpec(views=2**m, seed=s) for s, row in enumerate(rows) for m in range(len(row))]
    return claim.judge_c9(as_frame(specs, [({"overlap": v}, {}) for row in rows for v in row]))


def test_c9_asks_for_a_rise():
    rise = [[0.1, 0.2, 0.4, 0.6 + 0.01 * s] for s in range(5)]
    assert c9(rise).verdict == "reproduced"
    assert c9([r[::-1] for r in rise]).verdict == "contradicted"
    assert c9(rise[:4]).verdict == "not judged"
    mixed = [[0.1, 0.2, 0.3, 0.4], *([[0.2, 0.1, 0.2, 0.1]] * 4)]
    assert c9(mixed).verdict == "inconclusive"


@pytest.mark.parametrize("name", CLAIMS)
def test_verdicts_say_that_the_data_are_ours(name, smoke):
    verdict = CLAIMS[name].judge(of(name, smoke))
    assert verdict.verdict == "not judged"  # two seeds
    assert "ours" in verdict.data
    assert verdict.seeds == PROFILES["smoke"].seeds
    assert verdict.evidence == ("identity or theory" if name in ("C1", "C2", "C15") else "toy")
    assert len(verdict.finding.split()) <= 20


# -------------------------------------------------------------------------------------------------------------- draw


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", CLAIMS)
def test_figures_draw_under_both_themes_with_their_numbers_and_alt_text(name, mode, smoke):
    with figures.theme(mode):
        drawing = CLAIMS[name].draw(of(name, smoke))
        svg = picture.svg(drawing.figure, name, drawing.alt)
    assert len(svg) < saving.SVG_LIMIT
    assert len(drawing.table) > 0
    assert "seed" in drawing.table
    assert "nan" not in drawing.alt
    assert len(drawing.alt) > 100


def test_the_drawn_table_holds_the_measured_numbers(smoke):
    table = CLAIMS["C9"].draw(of("C9", smoke)).table.set_index(["views", "seed"])["overlap"]
    spec = KernelSpec(views=4, seed=1)
    assert table[(4, 1)] == run(spec).metrics["overlap"]


@pytest.mark.parametrize("name", CLAIMS)
def test_without_runs_a_person_is_told_what_to_do(name, smoke):
    for nothing in (smoke.iloc[:0], pd.DataFrame()):
        with pytest.raises(ReproError, match="measure"):
            CLAIMS[name].judge(nothing)
        with pytest.raises(ReproError, match="measure"):
            CLAIMS[name].draw(nothing)


def test_without_kept_features_the_toy_figure_says_so(smoke):
    smoke = of("C3", smoke)
    plain = smoke[~((smoke["kind"] == "ToySpec") & (smoke["snapshots"] > 0))]
    with pytest.raises(ReproError, match="kept its features"):
        CLAIMS["C3"].draw(plain)

"""Claims C5 to C8: what they plan, how they judge made-up numbers, and that they draw them."""

import math

import numpy as np
import pandas as pd
import pytest
from studies import made_up

from repro import figures
from repro.bench.loss import LossSpec, run
from repro.claims import multi_augmentation as claim
from repro.claims import registry
from repro.claims.multi_augmentation import Cell
from repro.core.datasets import tasks
from repro.core.methods import Untrained
from repro.core.profiles import PROFILES, base
from repro.core.spec import key, to_dict
from repro.core.store import Record, frame
from repro.pages import notebook

QUICK = PROFILES["quick"]
CLAIMS = {c.id: c for c in claim.CLAIMS}


def learned(views, fraction, epochs, gain=6.0, few=6.0, speed=1.0):
    """Accuracy after so many epochs: rises with the steps, more views by `gain` a doubling, fewer images cost `few` a
    halving; `speed` is how many times faster more views learn."""
    steps = epochs * fraction * (speed if views > 2 else 1.0)
    return 90 + gain * math.log2(views / 2) + few * math.log2(fraction) - 40 * math.exp(-steps / 12) - 10


def synthetic(claim_id, seeds=5, noise=0.3, floor=20.0, profile="quick", **hill):
    """The runs of a claim's plan with made-up numbers."""
    rng = np.random.default_rng(1)
    of_seed = noise * rng.standard_normal(5)
    whole = base(PROFILES[profile]).data.fraction
    task = tasks(claim.sets(PROFILES[profile])[0].data)[0]

    def measured(spec):
        own = of_seed[spec.seed] + 0.3 * noise * rng.standard_normal()
        if isinstance(spec.method, Untrained):
            return {f"{p}_{s}_{task}": floor + own for p in ("linear", "averaged") for s in ("val", "test")}, {}, {}
        views, fraction, every = len(spec.recipe.views), spec.data.fraction / whole, spec.probes.every
        epochs = list(range(1, spec.epochs + 1))
        at = epochs[every - 1 :: every] if every else []
        curve = [learned(views, fraction, e, **hill) + own for e in at]
        value = learned(views, fraction, spec.epochs, **hill) + own
        metrics = {
            f"linear_val_{task}": value,
            f"linear_test_{task}": value,
            "steps_done": 20.0 * spec.epochs * fraction,
        }
        if spec.probes.averaged:
            metrics |= {f"averaged_val_{task}": value + 2, f"averaged_test_{task}": value + 2}
        times = [0.5 + 0.1 * views * fraction * e for e in epochs]  # half a second of hiccup in the first epoch
        timing = {"epoch_seconds": [3 * s for s in times], "epoch_cpu_seconds": times, "device": "cpu"}
        return metrics, {"epoch": epochs, "probe_epoch": at, f"linear_val_{task}": curve}, timing

    study = notebook.study("multi_augmentation", profile)
    frame = made_up(CLAIMS[claim_id], study, lambda spec, task: 0.0, measured)
    return frame[frame["seed"] < seeds]


# -------------------------------------------------------------------------------------------------------------- plan


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("claim_id", CLAIMS)
def test_plans_are_distinct_runs_over_all_seeds(name, claim_id):
    specs = CLAIMS[claim_id].plan(PROFILES[name])
    assert len({key(s) for s in specs}) == len(specs)
    assert {s.seed for s in specs} == set(range(PROFILES[name].seeds))


def test_the_claims_share_their_runs():
    keys = {c: {key(s) for s in CLAIMS[c].plan(QUICK)} for c in ("C5", "C6", "C7")}
    assert len(keys["C5"] & keys["C7"]) >= 25
    assert len(keys["C6"] & keys["C7"]) >= 50
    assert len(keys["C5"] | keys["C6"] | keys["C7"]) < 0.6 * sum(map(len, keys.values()))


def test_views_betas_and_dimension_are_the_authors():
    said = registry.numbers("C5")
    specs = [s for s in CLAIMS["C7"].plan(QUICK) if not isinstance(s.method, Untrained)]
    assert {(len(s.recipe.views), s.method.beta) for s in specs} == set(zip(said["views"], said["beta"]))
    assert {s.projector.dim for s in specs} == {said["dim"]}
    assert {s.optimiser.schedule for s in specs} == {"constant"}  # so that a checkpoint is a shorter run
    averaged = {s.probes.averaged for s in CLAIMS["C5"].plan(QUICK)}
    assert averaged == {0, said["test_views"]}


def test_controls_have_equal_compute():
    def views_seen(s):
        return len(s.recipe.views) * s.data.fraction * s.epochs

    def seen_by(*cells):
        return {views_seen(claim.run_of(claim.sets(QUICK)[0], cell)) for cell in cells}

    assert seen_by(*claim.EQUAL_COMPUTE) == seen_by(Cell(2))
    assert len(claim.EQUAL_COMPUTE) == 2
    assert len(seen_by(*claim.EQUAL_VIEWS, Cell(8))) == 1


# ---------------------------------------------------------------------------------------------------------------- C5


def words(found):
    return [part.word for part in found.parts]


def test_c5_more_views_are_better():
    found = claim.judge_views(synthetic("C5", gain=12.0))
    assert (found.verdict, len(found.parts)) == ("reproduced", 4)
    assert found.effect == pytest.approx(12, abs=0.3)


def test_c5_other_outcomes():
    small = claim.judge_views(synthetic("C5", gain=0.3))
    assert (small.verdict, words(small)[0]) == ("contradicted", "too small")
    assert set(words(claim.judge_views(synthetic("C5", gain=-2.0)))) == {"contradicted"}
    assert claim.judge_views(synthetic("C5", seeds=4)).verdict == "not judged"
    assert claim.judge_views(synthetic("C5", floor=85.0)).verdict == "not judged"


def test_c5_equal_views_are_another_question():
    """Views that only learn a step's worth each: ahead at equal epochs, level at equal views."""
    found = claim.judge_views(synthetic("C5", gain=0.0, speed=2.0, noise=0.05))
    assert found.verdict == "mixed"
    assert dict(zip((part.name for part in found.parts), words(found))) == {
        "4 over 2 views, equal epochs": "supported",
        "8 over 2 views, equal epochs": "supported",
        "4 over 2 views, equal views": "too small",
        "8 over 2 views, equal views": "contradicted",  # 10 epochs at twice the speed, against 40
    }


def test_c5_at_cpu_asks_two_views_in_the_form_of_more_too():
    runs = synthetic("C5", profile="cpu", gain=12.0)
    assert sorted(runs.loc[runs["form"].eq("mean"), "beta"].unique()) == [0.01, 0.02]
    found = claim.judge_views(runs)
    assert (found.verdict, len(found.parts)) == ("reproduced", 5)
    best = runs["form"].eq("mean") & (runs["beta"] == 0.01)
    runs.loc[best, [c for c in runs if c.startswith("linear_")]] += 12.0
    assert words(claim.judge_views(runs)) == ["supported"] * 4 + ["too small"]


def test_curves_start_at_the_random_encoder_and_time_leaves_hiccups_out():
    runs = synthetic("C5", noise=0.0, floor=45.0)
    epochs, times, accuracy = claim.curves(runs)[Cell(4)]
    assert epochs[0] == 0
    assert times[:, 0].tolist() == [0.0] * 5
    assert accuracy[:, 0] == pytest.approx(45.0)
    assert times[:, -1] == pytest.approx(0.4 * epochs[-1])  # without the half second of the first epoch
    on_gpu = runs.iloc[0].copy()
    on_gpu["device"] = "cuda"
    assert claim.seconds(on_gpu)[-1] == pytest.approx(3 * claim.seconds(runs.iloc[0])[-1])


def test_the_last_fifth_is_counted():
    runs = synthetic("C5", noise=0.0)
    gained = claim.last_fifth(claim.curves(runs)[Cell(2, 1.0, 4)]).mean
    assert gained == pytest.approx(learned(2, 1.0, 40) - learned(2, 1.0, 32), abs=0.01)


# ---------------------------------------------------------------------------------------------------------------- C6


def test_c6_views_make_up_for_images():
    found = claim.judge_fractions(synthetic("C6", gain=6.0, few=4.0, speed=4.0))
    assert (found.verdict, len(found.parts)) == ("reproduced", 3)
    far = claim.judge_fractions(synthetic("C6", gain=14.0, few=3.0, speed=2.0))
    assert far.verdict == "reproduced"  # better is as good
    assert far.effect > 5


def test_c6_other_outcomes():
    behind = claim.judge_fractions(synthetic("C6", gain=4.0, few=9.0, speed=2.0))
    assert behind.verdict == "mixed"  # better than two views on half, but not as good as on all
    assert behind.effect < -3
    assert set(words(claim.judge_fractions(synthetic("C6", gain=-3.0)))) == {"contradicted"}
    assert claim.judge_fractions(synthetic("C6", seeds=3)).verdict == "not judged"


def test_c6_at_cpu_asks_the_scarce_runs_too():
    runs = synthetic("C6", profile="cpu", gain=6.0, few=6.0, speed=2.0)
    assert claim._scarce(claim.cells(runs)) == [Cell(2, 0.05, 10), Cell(8, 0.05, 10), claim.UNIQUE]
    found = claim.judge_fractions(runs)
    assert found.parts[3].name == "8 on 5 % against 2 on 20 %, long runs"
    assert found.verdict in ("reproduced", "mixed")


def test_a_share_is_of_the_profiles_images():
    specs = [s for s in CLAIMS["C6"].plan(PROFILES["cpu"]) if not isinstance(s.method, Untrained)]
    images = sorted({round(45_000 * s.data.fraction) for s in specs})
    assert images == [500, 2000, 2500, 5000, 10_000]
    assert {n % s.batch_size for n in images for s in specs} == {0}


# ---------------------------------------------------------------------------------------------------------------- C7


def test_c7_faster_and_not():
    fast = claim.judge_time(synthetic("C7", speed=4.0, gain=6.0, few=1.0, noise=0.05))
    assert fast.verdict == "reproduced"
    assert fast.low > 1.2
    assert {part.paper for part in fast.parts} == {registry.numbers("C7")["speedup"]}
    slow = claim.judge_time(synthetic("C7", speed=0.7, gain=0.0, few=1.0, noise=0.05))
    assert (slow.verdict, set(words(slow))) == ("contradicted", {"contradicted"})
    assert claim.judge_time(synthetic("C7", seeds=2)).verdict == "not judged"


def test_c7_targets_are_fixed_by_two_views_on_all_of_the_data():
    found = claim.curves(synthetic("C7", noise=0.0))
    end, middle = claim.judged_targets(found).values()
    assert end == pytest.approx(100 - learned(2, 1.0, 10))
    assert middle == pytest.approx(100 - (learned(2, 1.0, 10) + learned(2, 1.0, 2)) / 2)


def test_c7_a_target_that_more_views_miss_is_not_judged():
    runs = synthetic("C7", noise=0.05, gain=-20.0, few=1.0)
    found = claim.judge_time(runs)
    assert found.verdict == "not judged"
    assert "not reached by both" in found.sentence


def test_time_to_a_target_is_between_the_checkpoints():
    t, error = np.array([0.0, 2.0, 4.0]), np.array([50.0, 40.0, 20.0])
    assert claim._first_below(t, error, 45.0) == pytest.approx(1.0)
    assert claim._first_below(t, error, 30.0) == pytest.approx(3.0)
    assert claim._first_below(t, error, 20.0) == pytest.approx(4.0)
    assert claim._first_below(t, error, 60.0) == 0.0
    assert math.isinf(claim._first_below(t, error, 10.0))


def test_a_seed_is_timed_in_the_cell_that_wins_on_the_others():
    a, b = Cell(4), Cell(8)
    times = pd.DataFrame({a: [1.0, 1.0, 1.0, 9.0], b: [2.0, 2.0, 2.0, 2.0]})
    assert claim.fastest(times, [a, b]).tolist() == [2.0, 2.0, 2.0, 9.0]  # the lucky ones do not choose for themselves
    times[a] = [math.inf] * 4
    assert claim.fastest(times, [a]).map(math.isinf).all()
    assert claim.fastest(times, [a, b]).tolist() == [2.0] * 4


# ---------------------------------------------------------------------------------------------------------------- C8


def loss_frame(seeds=5, error=0.0):
    records = []
    for m in (2, 4):
        for seed in range(seeds):
            spec = LossSpec(m, 8, 4, 1, seed)
            found = run(spec)
            metrics = found.metrics | {"identity_error": found.metrics["identity_error"] + error}
            records.append(Record(key(spec), "LossSpec", to_dict(spec), metrics, {}, found.timing))
    out = frame(records)
    out.attrs["profile"] = "quick"
    return out


def test_c8_judges_the_identity():
    good = claim.judge_loss(loss_frame())
    assert (good.verdict, good.evidence) == ("reproduced", "identity or theory")
    assert (good.effect, good.unit) == (pytest.approx(1.0), "power")  # memory grows as the views
    assert good.parts[1].mean < 1e-12
    assert words(claim.judge_loss(loss_frame(error=1e-5))) == ["supported", "contradicted"]
    assert claim.judge_loss(loss_frame(seeds=2)).verdict == "not judged"


# -------------------------------------------------------------------------------------------------------------- draw


@pytest.mark.parametrize("claim_id", ["C5", "C6", "C7", "C8"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figures_say_what_they_show(claim_id, theme, tmp_path):
    runs = loss_frame() if claim_id == "C8" else synthetic(claim_id, speed=2.0)
    with figures.theme(theme):
        drawing = CLAIMS[claim_id].draw(runs)
        drawing.figure.savefig(tmp_path / "figure.png", dpi=40)
    assert len(drawing.table) == len(runs)
    assert len(drawing.alt) > 150
    assert "nan" not in drawing.alt
    if claim_id != "C8":
        assert drawing.table["seconds"].gt(0).sum() == (runs["method"] != "Untrained").sum()


def test_smoke_is_drawn_and_never_judged():
    study = notebook.study("multi_augmentation", "smoke")
    for claim_id in ("C5", "C6", "C7"):
        runs = synthetic(claim_id, profile="smoke")
        with figures.theme("light"):
            assert CLAIMS[claim_id].draw(runs).figure.axes
        measured = runs.drop(columns=["cell", "views", "share", "times", "factor", "form"])
        assert notebook.judge(study, measured, claim_id).verdict == "not judged"

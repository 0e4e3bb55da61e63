"""Claims C4 and C10: what they plan, how they judge made-up numbers, and that they draw them."""

import math
import re

import numpy as np
import pytest
from studies import made_up

from repro import figures
from repro.claims import registry
from repro.claims import small_projectors as claim
from repro.core.methods import BarlowMultiView, Untrained
from repro.core.profiles import PROFILES, profile
from repro.core.spec import key
from repro.pages import notebook

QUICK = PROFILES["quick"]
DIMS = (8, 32, 128, 512)


def accuracy(dim, product, best=5.0, height=80.0, drop=0.0, power=1.0):
    """A hill over log(d beta) whose top may move with the dimension by (d / 512)^(1 - power) and sink by `drop` a
    factor of four in d."""
    at = best * (dim / 512) ** (1 - power)
    return height - drop * math.log(512 / dim, 4) - 6 * math.log10(product / at) ** 2


def synthetic(noise=0.2, floor=40.0, profile_="quick", seeds=5, **hill):
    """Every run of C4's plan with made-up numbers."""
    rng = np.random.default_rng(0)

    def spectra(spec):
        rank, alpha = math.nan, 1.2
        if not isinstance(spec.method, Untrained):
            dim, beta = spec.projector.dim, spec.method.beta
            rank = min(dim, 8 * dim * beta) if hill.get("power", 1.0) else dim
            alpha = 1.8 - 0.1 * math.log10(dim * beta) + 0.01 * rng.standard_normal()
        return [{"projection_rank": rank, "alpha": alpha, "rankme": 40.0}]

    def hill_of(spec, task):
        return accuracy(spec.projector.dim, spec.projector.dim * spec.method.beta, **hill) + noise * rng.normal()

    study = notebook.study("small_projectors", profile_)
    frame = made_up(claim.CLAIMS[0], study, hill_of, spectra, noise=0.0, floors=(floor, floor))
    return frame[frame["seed"] < seeds]


# -------------------------------------------------------------------------------------------------------------- plan


@pytest.mark.parametrize("name", PROFILES)
def test_plans_are_distinct_and_the_authors_recipe(name):
    specs = claim.plan(PROFILES[name])
    assert len({key(s) for s in specs}) == len(specs)
    trained = [s for s in specs if isinstance(s.method, BarlowMultiView)]
    for s in trained:
        assert (s.projector.layers, s.projector.width) == (2, s.projector.dim)
        assert (s.optimiser.name, s.optimiser.weight_decay, s.optimiser.schedule) == ("adamw", 1e-6, "constant")
        assert len(s.recipe.views) == 2
        assert s.probes.spectrum
    assert {s.seed for s in trained} == set(range(PROFILES[name].seeds))
    floors = [s for s in specs if isinstance(s.method, Untrained)]
    assert {s.backbone for s in floors} == {s.backbone for s in trained} | {"pixels"}
    assert {(s.data.name, s.data.size) for s in floors} == {(s.data.name, s.data.size) for s in trained}
    assert {s.probes.labels for s in specs} == {trained[0].probes.labels}


def test_quick_plans_the_grid_of_the_claim():
    trained = [s for s in claim.plan(QUICK) if isinstance(s.method, BarlowMultiView)]
    cells = {(s.projector.dim, s.method.beta) for s in trained}
    assert {(d, p / d) for d in DIMS for p in (0.05, 0.2, 1.0, 5.0, 20.0)} <= cells
    assert {(d, 5 / 512) for d in DIMS} <= cells
    assert len(trained) == 5 * len(cells)
    assert {s.data.name for s in trained} == {"digits-placed"}
    assert all(v.flip == 0 and v.jitter == 0 for s in trained for v in s.recipe.views)


def test_large_scales_use_the_authors_betas():
    numbers = registry.numbers("C4")
    gpu = {(s.projector.dim, s.method.beta) for s in claim.plan(PROFILES["gpu"]) if hasattr(s.method, "beta")}
    assert (256, numbers["fixed_beta"]) in gpu
    paper = {(s.projector.dim, s.method.beta) for s in claim.plan(PROFILES["paper"]) if hasattr(s.method, "beta")}
    chosen = numbers["beta"]["imagenet100"]
    assert set(zip(chosen["d"], chosen["beta"])) <= paper


def test_a_readers_own_data_and_backbone_are_kept(tmp_path):
    made = claim.plan(profile("quick", data=str(tmp_path), backbone="resnet18", seeds=2))
    assert {s.data.name for s in made} == {str(tmp_path)}
    assert {s.backbone for s in made} == {"resnet18", "pixels"}
    assert {s.seed for s in made} == {0, 1}
    assert claim.plan(profile("quick", data="digits"))[0].data.name == "digits"


# ------------------------------------------------------------------------------------------------------------- judge


def words(found):
    return [part.word for part in found.parts]


def test_reproduced_where_small_matches_large_at_one_over_d():
    found = claim.judge(synthetic())
    assert (found.verdict, found.seeds, found.unit) == ("reproduced", 5, "%")
    assert found.low < 100 < found.high  # all of the loss is regained
    assert found.parts[1].mean == pytest.approx(accuracy(512, 5) - accuracy(32, 5 / 16), abs=0.5)
    assert found.parts[3].mean == pytest.approx(-1, abs=0.05)
    assert "stand-in" in found.data


def test_fewer_outputs_than_two_a_class_are_not_judged():
    runs = synthetic()
    runs.loc[runs["dim"] == 8, ["linear_val_digit", "linear_test_digit"]] -= 20.0
    assert words(claim.judge(runs)) == words(claim.judge(synthetic())) == ["supported"] * 4


def test_mixed_where_a_small_projector_stays_behind():
    found = claim.judge(synthetic(drop=3.0))
    assert (found.verdict, words(found)[2]) == ("mixed", "contradicted")
    assert found.parts[2].mean == pytest.approx(-6, abs=0.5)


def test_the_weakest_dimension_decides_whether_tuned_ones_match():
    rng = np.random.default_rng(0)
    tuned = {d: 80 + 0.1 * rng.standard_normal(5) for d in (32, 128, 512)}
    assert claim._match(tuned).word() == "supported"
    assert claim._match(tuned | {32: tuned[32] + 5}).word() == "supported"  # better is as good
    assert claim._match(tuned | {128: tuned[128] - 5}).word() == "contradicted"


def test_contradicted_where_one_beta_serves_all():
    """The best beta does not depend on d (so d beta does), and small projectors are far behind even when tuned."""
    found = claim.judge(synthetic(power=0.0, best=3.0, drop=4.0))
    assert words(found)[2:] == ["contradicted"] * 2
    assert found.parts[3].mean == pytest.approx(0, abs=0.1)


def test_nothing_is_regained_of_a_loss_that_is_none():
    assert math.isnan(claim._regained(np.full(5, -1.0), np.ones(5)).mean)
    share = claim._regained(np.array([4.0, 5, 6, math.nan]), np.array([2.0, 2.5, 3, 9]))
    assert (share.mean, share.low, share.n) == (pytest.approx(50), pytest.approx(50), 3)
    noisy = claim._regained(np.array([4.0, 5, 6, 5, 5]), np.array([3.0, 2.5, 2, 2, 3]))
    assert noisy.low < 50 < noisy.high


def test_the_fixed_beta_is_the_largest_projectors_best_by_validation():
    runs = synthetic(profile_="cpu", noise=0.0, best=20.0)
    assert sorted(runs.loc[runs["fixed"].eq(True), "beta"].unique()) == [5 / 1024, 20 / 1024]
    beta, fixed = claim._fixed(runs)
    assert beta == 20 / 1024
    assert fixed[64] == pytest.approx(accuracy(64, 1.25, best=20.0))
    assert claim._fixed(synthetic(profile_="cpu", noise=0.0))[0] == 5 / 1024


def test_best_betas_on_the_edge_are_not_judged():
    found = claim.judge(synthetic(best=20.0))
    assert (found.verdict, "edge of their grid" in found.sentence) == ("not judged", True)


def test_not_judged_with_few_seeds_or_low_accuracy():
    assert claim.judge(synthetic(seeds=4)).verdict == "not judged"
    low = claim.judge(synthetic(floor=75.0))
    assert low.verdict == "not judged"
    assert "less than 10 points above the floor" in low.sentence


def test_alpha_is_never_judged():
    found = claim.judge_alpha(synthetic())
    assert found.verdict == "not judged"
    assert float(re.search(r"changes by (\S+)", found.sentence)[1]) == pytest.approx(-0.1 * math.log10(400), abs=0.05)
    assert found.sentence.startswith("Shown, not judged")


# --------------------------------------------------------------------------------------------------------- its parts


def test_the_best_beta_lies_between_the_points_of_the_grid():
    betas = np.array([0.01, 0.1, 1.0, 10.0])
    values = -((np.log10(betas) - 0.3) ** 2)
    beta, inside = claim.best_beta(betas, values)
    assert beta == pytest.approx(10**0.3, rel=1e-6)
    assert inside
    assert claim.best_beta(betas, np.array([4.0, 3, 2, 1])) == (0.01, False)
    assert claim.best_beta(betas, np.array([1.0, 2, 3, 4])) == (10.0, False)
    beta, inside = claim.best_beta(betas, np.array([1.0, 5.0, math.nan, 2.0]))  # beside a diverged run
    assert (beta, inside) == (0.1, True)


def test_every_seed_has_a_best_beta_by_validation():
    best = claim.best_betas(synthetic(noise=0.0))
    assert len(best) == len(DIMS) * 5
    assert best["inside"].all()
    assert (best["beta"] * best["dim"]).to_numpy() == pytest.approx(5.0, rel=0.05)


def test_tuning_reads_validation_and_reports_test():
    runs = synthetic(noise=0.0)
    runs.loc[(runs["product"] == 20) & (runs["dim"] == 8), "linear_test_digit"] = 99.0  # better on test alone
    assert claim.by_dim(runs)[8].tuned() == pytest.approx(accuracy(8, 5.0))


def test_a_diverged_beta_is_never_the_best():
    runs = synthetic(noise=0.0)
    runs.loc[(runs["dim"] == 32) & (runs["product"] == 5) & (runs["seed"] == 2), "linear_val_digit"] = math.nan
    got = claim.by_dim(runs)[32]
    assert got.levels[0][int(got.best)] * 32 != pytest.approx(5.0)


@pytest.mark.parametrize("draw", [claim.draw, claim.draw_alpha])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figures_say_what_they_show(draw, theme, tmp_path):
    runs = synthetic()
    with figures.theme(theme):
        drawing = draw(runs)
        drawing.figure.savefig(tmp_path / "figure.png", dpi=40)
    assert len(drawing.table) == len(runs)
    assert "nan" not in drawing.alt
    assert len(drawing.alt) > 150


def test_the_authors_betas_are_overlaid():
    with figures.theme("light"):
        drawing = claim.draw(synthetic())
    marks = {round(float(x), 6) for line in drawing.figure.axes[1].lines for x in line.get_ydata()}
    for chosen in registry.numbers("C4")["beta"].values():
        assert {round(b, 6) for b in chosen["beta"]} <= marks


def test_smoke_is_drawn_and_never_judged():
    study, runs = notebook.study("small_projectors", "smoke"), synthetic(profile_="smoke")
    with figures.theme("light"):
        assert claim.draw(runs).table["seed"].nunique() == 2
    measured = runs.drop(columns=["cell", "product", "fixed"])
    assert notebook.judge(study, measured, "C4").verdict == "not judged"


def test_the_papers_scale_is_the_authors_on_each_of_their_sets():
    trained = [s for s in claim.plan(PROFILES["paper"]) if isinstance(s.method, BarlowMultiView)]
    chosen = registry.numbers("C4")["beta"]
    for name, known in claim.AUTHORED.items():
        runs = [s for s in trained if s.data.name == name]
        assert {(s.data.size, s.backbone, s.epochs, s.batch_size) for s in runs} == {known[:4]}
        assert set(zip(chosen[name]["d"], chosen[name]["beta"])) <= {(s.projector.dim, s.method.beta) for s in runs}
        assert {key(s) for s in claim.plan(profile("paper", data=name))} <= {
            key(s) for s in claim.plan(PROFILES["paper"])
        }
    assert {s.data.name for s in trained} == set(claim.AUTHORED)
    own = claim.plan(profile("paper", data="stl10", backbone="resnet18"))
    assert {s.backbone for s in own} == {"resnet18", "pixels"}


def test_several_sets_are_judged_each_and_drawn_by_the_first():
    study = notebook.study("small_projectors", "paper", seeds=3)
    spectra = {"projection_rank": 30.0, "alpha": 1.0, "rankme": 9.0}
    frame = made_up(
        study.claims[0],
        study,
        lambda spec, task: 80 - 3 * abs(math.log(spec.projector.dim * spec.method.beta / 5)),
        more=lambda spec: (spectra, {}, {"data_title": spec.data.name}),
    )
    found = study.claims[0].judge(frame)
    assert found.data == "cifar10 and stl10 and imagenet100"
    alone = [claim.judge(frame[frame["data"] == name]) for name in claim.AUTHORED]
    assert len(found.parts) == sum(len(v.parts) for v in alone)
    assert found.parts[0].name.startswith("cifar10: ")
    drawn = study.claims[0].draw(frame)
    assert drawn.alt.startswith("Drawn is cifar10; these words, the table and the verdict are also of stl10 and image")
    assert " stl10: a: test accuracy" in drawn.alt
    assert len(drawn.table) == len(frame)

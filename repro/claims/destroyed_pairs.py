"""The premise of MSR, measured: claims B11 and B12. Do aggressive views destroy what an image shows, how often, and which of
their operations does it?

The judge is a supervised network that is trained on weak and on aggressive views of labelled images, so that neither kind
is new to it. A pair is a weak view of a test image and a view made from it (MSR, Eq. 3), of the same crop. It is lost if
the judge reads the first right and the second wrong. How fickle the judge is, faint noise on the second view says, which
no person would see.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from repro import figures, stats
from repro.claims import Claim, Drawing, Verdict, kit
from repro.claims.kit import Plan, column, drawing, tasks, trained, verdict
from repro.claims.msr_beta_decay import views
from repro.core.methods import Supervised
from repro.core.profiles import Profile, base
from repro.core.spec import Optimiser, Projector
from repro.stats import sup
from repro.views.recipe import Recipe

FAINT = 0.02  # standard deviation of the noise, of 1: five of 255 grey levels
MINORITY, RARE = 50.0, 10.0  # percent of pairs
CLASSES = 1000  # outputs of the judge: enough for the largest set
OPERATIONS = {"jitter": "colour jitter", "gray": "gray", "blur": "blur"}
TITLES = {
    "noise": "faint noise\n(control)",
    **OPERATIONS,
    "all": "all, as MSR\ndraws them",
    "crop": "another\nweak crop",
}


def pairs(profile: Profile) -> tuple[Recipe, ...]:
    """Two views each, by the names of TITLES: a weak one, and one made from it by a single operation, or by all of them
    with the probabilities of MSR's aggressive view, or another weak one."""
    weak, _, aggressive, _ = views(profile)["MA"].views
    whole = replace(aggressive, parent=0)
    plain = replace(whole, jitter=0.0, gray=0.0, blur=0.0)
    second = {name: replace(plain, **{name: 1.0}) for name in OPERATIONS}
    second |= {"noise": replace(plain, noise=FAINT), "all": whole, "crop": weak}
    return tuple(Recipe(name, (weak, second[name])) for name in TITLES)


def shown(profile: Profile) -> Recipe:
    """A weak view and the second views of all pairs, to look at."""
    made = pairs(profile)
    return Recipe("pairs", (made[0].views[0], *(p.views[1] for p in made)))


def plan(profile: Profile) -> Plan:
    """The judge at every seed, on twice the profile's images, and the floors that it must beat. Its rate validated best in
    pilots of one seed: at quick of 1e-3, 3e-3 and 1e-2, at cpu of 1e-3 and 3e-3."""
    spec = base(profile, method=Supervised(), recipe=views(profile)["MA"])
    spec = spec.but(fraction=min(1.0, 2 * spec.data.fraction), lost=pairs(profile))
    judge = spec.but(
        projector=Projector(1, 128, CLASSES), optimiser=Optimiser("adamw", lr=1e-2 if profile.small else 3e-3)
    )
    return Plan(profile).add(judge).floors()


def shares(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    """Lost pairs in percent, (seeds,), by the second view."""
    runs = trained(frame).sort_values("seed")
    found = runs.reindex(columns=[f"lost_{name}_test_{tasks(frame)[0]}" for name in TITLES])  # none where all diverged
    return dict(zip(TITLES, found.to_numpy(float).T))


def _over_control(lost: dict[str, np.ndarray], name: str) -> stats.Interval:
    return stats.paired(lost[name], lost["noise"])


def judge_shares(frame: pd.DataFrame) -> Verdict:
    """B11. All operations together lose pairs beyond the control, SUP(1); the lost are a minority, and beyond the control
    they are rare: SUP(0) of what they lack to MINORITY and to RARE."""
    lost = shares(frame)
    beyond = _over_control(lost, "all")
    parts = [
        sup("lost by aggressive views, over faint noise", beyond, 1.0),
        sup(f"{MINORITY:.0f} % less the lost", stats.paired(MINORITY - lost["all"]), 0.0),
        sup(f"{RARE:.0f} % less the lost over faint noise", stats.paired(RARE - (lost["all"] - lost["noise"])), 0.0),
    ]
    return verdict(
        frame, parts,
        f"A judge loses {lost['all'].mean():.1f} % of aggressive views, {lost['noise'].mean():.1f} % of views under faint "
        "noise.",
    )  # fmt: skip


def judge_operations(frame: pd.DataFrame) -> Verdict:
    """B12. Colour jitter, gray and blur, always and alone, each lose pairs beyond the control: SUP(1)."""
    lost = shares(frame)
    gains = {title: _over_control(lost, name) for name, title in OPERATIONS.items()}
    said = ", ".join(f"{title} {gain.mean:.1f}" for title, gain in gains.items())
    return verdict(
        frame, [sup(f"{title}, over faint noise", gain, 1.0) for title, gain in gains.items()],
        f"Alone, over faint noise, in points of lost pairs: {said}.",
    )  # fmt: skip


def draw(frame: pd.DataFrame) -> Drawing:
    lost = shares(frame)
    fig, ax = figures.figure(height=3.4, width=6.4)
    for i, values in enumerate(lost.values()):
        kit.dots(ax, i, values, i)
    ax.set_xticks(range(len(TITLES)), TITLES.values())
    ax.set(ylabel="pairs lost by the judge (%)", ylim=(0, None))
    said = "; ".join(f"{TITLES[name]} {v.mean():.1f} %".replace("\n", " ") for name, v in lost.items())
    right = trained(frame)[column(frame)].mean()
    alt = f"The share of pairs that a judge of {right:.1f} % accuracy loses, by what makes the second view: {said}."
    return drawing(fig, frame, ["method"], alt, [*(f"lost_{n}_test_{tasks(frame)[0]}" for n in TITLES), column(frame)])


CLAIMS = (Claim("B11", plan, judge_shares, draw), Claim("B12", plan, judge_operations, draw))

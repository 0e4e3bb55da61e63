"""Verdicts as they are stored, and as table and gallery write them: numbers, seeds, data."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from repro.claims import Found, Verdict, registry
from repro.core.io import built
from repro.errors import ReproError

# The words of repro.stats and repro.figures, whose imports (scipy, matplotlib) would make listing claims slow.
WORDS = ("reproduced", "mixed", "contradicted", "inconclusive", "not judged", "not yet")
NOT_JUDGED, NOT_YET = WORDS[4:]


def load(file: Path) -> dict[str, Verdict]:
    """The verdicts by claim in <profile>/<slug>/verdicts.json; {} where there is no such file. Raises ReproError for a
    file that is broken. A number that is not finite is None."""
    if not file.exists():
        return {}
    profile, slug = file.parts[-3:-1]
    again = f"run the notebook {slug} at the profile {profile} again, which writes it anew"
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        return {claim: _verdict(values, claim, profile, slug) for claim, values in raw.items()}
    except (OSError, ValueError, AttributeError) as e:
        raise ReproError(f"{file} is broken (it holds no JSON object of verdicts by claim): {again}.") from e
    except ReproError as e:
        raise ReproError(f"{file} is broken ({str(e).removesuffix(': mend the file.')}): {again}.") from e


def _verdict(values: dict[str, Any], claim: str, profile: str, slug: str) -> Verdict:
    if claim not in registry.load().claims or registry.entry(claim).slug != slug:
        raise ReproError(f"{claim} is no claim of {slug}")
    parts = tuple(built(Found, _finite(part), f"{claim}: a part") for part in values.get("parts", []))
    found = built(Verdict, _finite(values) | {"parts": parts}, claim)
    if found.verdict not in WORDS[:5]:
        raise ReproError(f"{claim} has the unknown verdict {found.verdict!r}")
    if profile == "smoke" and found.verdict != NOT_JUDGED:
        raise ReproError(f"{claim} has a verdict, and smoke is never judged")
    return found


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}


def numbers(values: Sequence[float | None], sign: str = "") -> list[str]:
    """Numbers that stand beside each other: equal decimals, three digits of the largest, powers of ten below 0.001; ""
    for None. sign "+": also where a number is not negative."""
    largest = max((abs(v) for v in values if v is not None), default=0)
    decimals = 1 if largest == 0 else max(0, 2 - math.floor(math.log10(largest)))
    form = f"{sign}.1e" if 0 < largest < 1e-3 else f"{sign}.{decimals}f"
    return ["" if v is None else f"{v:{form}}" for v in values]


def effect(verdict: Verdict) -> str:
    """The effect with its interval, for example "1.23 [-0.50, 2.90] points"; "" where there is none."""
    mean, low, high = numbers((verdict.effect, verdict.low, verdict.high))
    return f"{mean}{f' [{low}, {high}]' if low and high else ''} {verdict.unit}".rstrip() if mean else ""


def basis(verdict: Verdict) -> str:
    """What a verdict rests on, for example "5 seeds, colour scenes (stand-in), convnet"."""
    seeds = f"{verdict.seeds} seed{'s' * (verdict.seeds != 1)}"
    return ", ".join(part for part in (seeds, verdict.data, verdict.backbone) if part)

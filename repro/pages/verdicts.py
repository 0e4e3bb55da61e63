"""Verdicts as they are stored, and as table and gallery write them: numbers, seeds, data."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from repro.claims import EVIDENCE, Found, Verdict, registry
from repro.core.io import built
from repro.errors import ReproError

# The words of repro.stats and repro.figures, whose imports (scipy, matplotlib) would make listing claims slow.
WORDS = ("reproduced", "mixed", "contradicted", "inconclusive", "not judged", "not yet")
INCONCLUSIVE, NOT_JUDGED, NOT_YET = WORDS[3:]
SUPPORTED = "supported"


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


def numbers(values: Sequence[float | None]) -> list[str]:
    """Numbers that stand beside each other: equal decimals, three digits of the largest, powers of ten below 0.001; "" for
    None."""
    largest = max((abs(v) for v in values if v is not None), default=0)
    decimals = 1 if largest == 0 else max(0, 2 - math.floor(math.log10(largest)))
    form = ".1e" if 0 < largest < 1e-3 else f".{decimals}f"
    return ["" if v is None else f"{v:{form}}" for v in values]


def interval(mean: float | None, low: float | None, high: float | None, unit: str) -> str:
    """A number with its interval, for example "1.23 [-0.50, 2.90] points"; "" where there is none."""
    middle, left, right = numbers((mean, low, high))
    return f"{middle}{f' [{left}, {right}]' if left and right else ''} {unit}".rstrip() if middle else ""


def effect(verdict: Verdict) -> str:
    """The effect that stands for the claim: its contrast, its interval, and the paper's number where it has one."""
    whole = (verdict.effect, verdict.low, verdict.high)
    measured, part = interval(*whole, verdict.unit), next((p for p in verdict.parts if _whole(p) == whole), None)
    if not (measured and part):
        return measured
    return f"{part.name}: {measured}{f' (the paper: {paper(part)})' * (part.paper is not None)}"


PARTS = ("part", "measured", "asked", "the paper", "word")


def parts(verdict: Verdict) -> list[Found]:
    """Its parts; they have no word of their own where the claim is not judged."""
    judged = verdict.verdict != NOT_JUDGED
    return [p if judged else replace(p, word=NOT_JUDGED, needed=0) for p in verdict.parts]


def cells(part: Found) -> tuple[str, ...]:
    """A part in words under the heads of PARTS."""
    return part.name, interval(*_whole(part), part.unit), part.rule, paper(part), part.word


def paper(part: Found) -> str:
    return "" if part.paper is None else f"{part.paper:g}"


def _whole(part: Found) -> tuple[float | None, float | None, float | None]:
    return part.mean, part.low, part.high


def counted(found: Iterable[tuple[str, str]]) -> list[tuple[str, list[tuple[str, int]]]]:
    """How often there is each word, by class of evidence, the strongest first; from (class, word) of each claim. Claims
    without a class come last: nothing is measured of them."""
    counts = Counter(found)
    classes = [(c, [(w, counts[c, w]) for w in WORDS if counts[c, w]]) for c in (*EVIDENCE[::-1], "")]
    return [(c, words) for c, words in classes if words]


def stability(a: Path, b: Path) -> str:
    """How many parts that both sides judge have the same word, of the notebooks that both sides have; a, b: folders that
    hold verdicts.json, or such files."""
    sides = [{k: p.word for k, p in _judged(path).items()} for path in (a, b)]
    there = set.intersection(*({k[0] for k in side} for side in sides))
    one, other = ({k: w for k, w in side.items() if k[0] in there} for side in sides)
    both = [k for k in one if k in other]
    differ = [k for k in both if one[k] != other[k]]
    against = sum(SUPPORTED in p and INCONCLUSIVE not in p for p in ({one[k], other[k]} for k in differ))
    same = (
        f"{len(both) - len(differ)} of {len(both)} parts ({1 - len(differ) / max(1, len(both)):.0%}) have the same word"
    )
    lines = [
        f"{len(there)} notebook{'s' * (len(there) != 1)}, {same}, {against} contradict each other, "
        f"{len(one.keys() ^ other.keys())} are judged on one side only."
    ]
    return "\n".join([*lines, *(f"{' '.join(k[:2])}, {k[2]}: {one[k]} / {other[k]}" for k in differ)])


def _judged(path: Path) -> dict[tuple[str, str, str], Found]:
    """The judged parts under a path by (folder, claim, name)."""
    files = sorted(path.rglob("verdicts.json")) if path.is_dir() else [path] * path.is_file()
    if not files:
        raise ReproError(f"There is no verdicts.json in {path}: name a folder of figures, or such a file.")
    found = {(f, claim): v for f in files for claim, v in load(f.absolute()).items() if v.verdict != NOT_JUDGED}
    top = path if path.is_dir() else path.parent
    return {(str(f.parent.relative_to(top)), c, p.name): p for (f, c), v in found.items() for p in v.parts}


def basis(verdict: Verdict) -> str:
    """What a verdict rests on, for example "5 seeds, made-up objects (stand-in), convnet-thin"."""
    seeds = f"{verdict.seeds} seed{'s' * (verdict.seeds != 1)}"
    return ", ".join(part for part in (seeds, verdict.data, verdict.backbone) if part)

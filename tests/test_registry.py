"""The registry says what the papers say, and the table says what registry and stored verdicts say."""

import itertools
import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest

from repro import claims, cli, stats
from repro.bench import engine
from repro.claims import Verdict
from repro.claims.registry import FILE, OWN, entry, load, numbers
from repro.core import places
from repro.core.store import Record, export
from repro.errors import ReproError
from repro.figures import VERDICTS
from repro.pages import forest, notebook, table, verdicts

IDS = list(load().claims)
KEYS = {"id", "paper", "source", "claim", "notebook", "smallest_profile", "verdicts"}
VERDICT_KEYS = {"verdict", "effect", "low", "high", "unit", "seeds", "data", "backbone"}
VERDICT_KEYS |= {"finding", "evidence", "parts"}
ENTRIES = pytest.mark.parametrize("claim", load().claims.values(), ids=lambda e: e.id)

# ---------------------------------------------------------------------------------------------- the papers' numbers


def current(readme, rows):
    text, filled = table.filled(readme, rows)
    return filled == text


def test_every_claim_once_and_in_order():
    for letter, numbers_ in itertools.groupby(IDS, key=lambda claim: claim[0]):
        found = [int(claim[1:]) for claim in numbers_]
        withdrawn = {"B": {10}}.get(letter, set())
        assert found == [n for n in range(1, found[-1] + 1) if n not in withdrawn], letter
    papers = {(e.id[0], e.paper) for e in load().claims.values() if e.paper}
    assert papers == {("A", "democratizing"), ("B", "msr"), ("C", "small_projectors")}


def test_every_notebook_has_its_file_and_module():
    for slug, name in claims.notebooks().items():
        assert (places.notebooks() / f"{name}.ipynb").is_file()
        assert {e.id for e in load().claims.values() if e.slug == slug} <= {c.id for c in claims.of(slug)}


def test_papers():
    papers = {key: paper for key, paper in load().papers.items() if key}
    assert {key: paper.arxiv for key, paper in papers.items()} == {
        "democratizing": "2303.01986",
        "msr": "2206.01999",
        "small_projectors": "2312.10725",
    }
    assert papers["msr"].cited == "Bai et al. 2022"
    assert len({paper.bibtex for paper in papers.values()}) == len(papers)
    assert all(paper.url.endswith(paper.arxiv) for paper in papers.values())


@ENTRIES
def test_entries_are_plain_sentences(claim):
    for text in (claim.claim, claim.criterion):
        assert text.endswith(".")
        assert text[0].isupper()
        assert "  " not in text
    assert len(claim.claim) <= 140  # fits a table
    assert len(claim.headline) <= 130
    assert len(claim.quote.split()) <= 40
    assert all(re.match(r"(Contradiction|Found|Open|Elsewhere): ", note) for note in claim.notes)


def test_headlines_type_no_number():
    templates = re.findall(r'^headline = "(.*)"$', FILE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(templates) == sum(bool(e.headline) for e in load().claims.values())
    for template in templates:
        typed = re.sub(r"\{[^}]*\}|(CIFAR|STL|ImageNet)-\d+|\b[12]x:|A100", "", template)
        assert not re.search(r"\d", typed), template


def test_golden_numbers():
    a7 = numbers("A7")
    assert np.array(a7["accuracy"]).shape == (len(a7["batch"]), len(a7["layers"])) == (5, 5)
    assert a7["accuracy"][0] == [57.8, 66.8, 66.8, 66.8, 66.8]
    assert [row[0] for row in a7["accuracy"]] == [57.8, 59.3, 60.2, 61.3, 62.0]
    assert numbers("A2")["minutes"]["torchvision"] == ["7:00", "9:25", "9:26", "9:30", "13:20"]
    assert numbers("A2")["seconds"]["ffcv_ssl"] == [90, 96, 118, 127, 420]
    assert numbers("A8")["crop_gray"] == 63.5
    assert numbers("B1")["decay"] == [92.2, 68.1, 93.0, 54.4, 83.5]
    assert numbers("B2")["tiny_imagenet"]["MSR"] == [54.9, 56.7]
    assert numbers("B3")["accuracy"]["MoCo v2"] == [80.9, 83.9]
    assert numbers("B4")["accuracy"]["MSR"] == [71.4, 73.1]
    assert numbers("B5")["table6"]["MSR"] == [42.7, 62.9, 47.1, 38.5, 60.0, 41.4]
    assert numbers("B8")["MSR"] == [63.8, 89.9, 84.0]
    assert numbers("C5")["beta"] == [0.02, 0.01, 0.01]
    assert dict(zip(*numbers("C4")["beta"]["imagenet100"].values()))[2048] == 0.007
    assert entry("A4").headline == "gap 4 % at tau 0.1, gone when tuned"
    assert entry("A2").headline.endswith("4.67 and 1.90 x")


def test_derived_numbers_follow_from_the_tables():
    a1, a2, a7, b6 = (numbers(claim) for claim in ("A1", "A2", "A7", "B6"))
    assert a1["speedup"] == round(a1["epoch_seconds"]["torchvision"] / a1["epoch_seconds"]["ffcv_ssl"], 2)
    for loader, times in a2["minutes"].items():
        assert a2["seconds"][loader] == [60 * int(t.split(":")[0]) + int(t.split(":")[1]) for t in times]
    slow, fast = np.array(a2["seconds"]["torchvision"]), np.array(a2["seconds"]["ffcv_ssl"])
    assert a2["ratio"] == (slow / fast).round(2).tolist()
    accuracy = np.array(a7["accuracy"])
    assert a7["gap_to_largest"] == (accuracy[-1] - accuracy[0]).round(1).tolist()
    assert b6["overhead"] == (100 * (np.array(b6["MSR"]) / np.array(b6["BYOL"]) - 1)).round(1).tolist()
    assert numbers("A3")["tasks_total"] == len(numbers("A3")["tasks"])


def test_optima_on_an_edge_are_noted():
    edges = {}
    for claim in ("A12", "A13", "A14", "A15"):
        grid, best = numbers(claim)["grid"], numbers(claim)["best"]
        assert all(best[axis] in grid[axis] for axis in grid)
        edges[claim] = {axis for axis in grid if best[axis] in (min(grid[axis]), max(grid[axis]))}
        assert any("edge" in note for note in entry(claim).notes) == bool(edges[claim])
    assert edges == {"A12": set(), "A13": {"coefficient"}, "A14": {"lambd", "lr"}, "A15": {"momentum", "lr"}}


def test_numbers_that_appear_twice_agree():
    a17 = numbers("A17")
    grids = {"SimCLR": "A12", "VICReg": "A13", "Barlow Twins": "A14", "BYOL": "A15"}
    assert a17["best"] == {method: numbers(claim)["linear"] for method, claim in grids.items()}
    assert a17["range"] == round(max(a17["best"].values()) - min(a17["best"].values()), 1)
    b1, b2, b3, b4, b8 = (numbers(claim) for claim in ("B1", "B2", "B3", "B4", "B8"))
    small = [b2[data]["BYOL"][0] for data in ("cifar10", "cifar100", "stl10", "tiny_imagenet")]
    assert b1["AA"] == [*small, b3["accuracy"]["BYOL"][0]]  # aggressive views on both sides are BYOL
    assert b8["SimSiam"] == [b2["cifar100"]["SimSiam"][0], b2["stl10"]["SimSiam"][0], b3["accuracy"]["SimSiam"][1]]
    top1 = {(row["method"], row["epochs"]): row["top1"] for row in b4["rows"]}
    assert b4["accuracy"]["BYOL"] == [top1["BYOL", epochs] for epochs in b4["epochs"]]
    assert b4["accuracy"]["MSR"] == [top1["MSR", epochs] for epochs in b4["epochs"]]
    assert (b4["byol_300"], b4["supervised"]) == (top1["BYOL", 300], top1["Supervised", 100])


def test_tables_are_complete():
    b5 = numbers("B5")
    for name in ("5", "6"):
        assert {len(row) for row in b5[f"table{name}"].values()} == {len(b5[f"columns{name}"])}
    assert math.isnan(b5["table5"]["JCL"][0])  # the paper reports no boxes for it
    methods = {"SimCLR", "MoCo v2", "SimSiam", "BYOL", "MSR"}
    for data in ("cifar10", "cifar100", "stl10", "tiny_imagenet"):
        assert set(numbers("B2")[data]) == set(numbers("B2")["sd_200"][data]) == methods
        assert {len(pair) for pair in numbers("B2")[data].values()} == {2}


def test_slopes_follow_from_the_betas():
    c4 = numbers("C4")
    for data, table_ in c4["beta"].items():
        assert len(table_["d"]) == len(table_["beta"])
        fit = stats.st.linregress(np.log(table_["d"]), np.log(table_["beta"]))
        half = stats.st.t.ppf(0.975, len(table_["d"]) - 2) * fit.stderr
        assert fit.slope - half < -1 < fit.slope + half < 0
        assert fit.slope == pytest.approx(c4["slope"][data], abs=0.005)
        assert fit.stderr == pytest.approx(c4["slope_se"][data], abs=0.005)


# ------------------------------------------------------------------------------------------------------- loading


def test_numbers_are_a_copy():
    numbers("A7")["accuracy"][0][0] = 0.0
    assert numbers("A7")["accuracy"][0][0] == 57.8


def test_unknown_claim():
    with pytest.raises(ReproError, match=r"There is no claim 'A99': choose one of A1, A2"):
        entry("A99")


def test_needs_no_torch():
    code = "import sys, repro.pages.table, repro.claims.registry as r; r.load(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


CLAIM = """
[papers.p]
title = "T"
authors = ["A B", "C D"]
year = 2020
venue = "V"
arxiv = ""
url = ""
code = ""
bibtex = "b"
[[claim]]
id = "Z1"
paper = "p"
source = "Fig. 1"
claim = "C."
quote = ""
notebook = "01_batch_size"
smallest_profile = "quick"
criterion = "C."
rule = "R"
unit = "points"
headline = "{x[0]} of {y[k]}"
notes = ["n"]
numbers = { x = [1.5], y = { k = 2 } }
"""


def test_a_registry_elsewhere(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(CLAIM)
    claim = load(file).claims["Z1"]
    assert (claim.headline, claim.slug, claim.notes) == ("1.5 of 2", "batch_size", ("n",))
    assert hash(claim) == hash(load(file).claims["Z1"])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('criterion = "C."\n', "", "claim Z1 missing 1 required positional argument: 'criterion': mend"),
        ('unit = "points"', 'unit = "points"\ncolour = "red"', "unexpected keyword argument 'colour'"),
        ('unit = "points"', "unit = 3", "claim Z1 has unit = 3, which is not of type str"),
        ('notes = ["n"]', 'notes = "n"', "claim Z1 has notes = 'n', which is not of type tuple"),
        ("year = 2020", 'year = "2020"', "paper p has year = '2020', which is not of type int"),
        ('paper = "p"', 'paper = "q"', "has paper 'q': choose one of p"),
        ('"01_batch_size"', '"batch_size"', "has notebook 'batch_size': write a number and a slug"),
        (
            'rule = "R"',
            'evidence = "hearsay"',
            "claim Z1 has evidence 'hearsay': choose one of identity or theory, toy",
        ),
        ('bibtex = "b"', 'data = ["mnist"]', "paper p has data 'mnist': choose one of objects"),
        ('"quick"', '"fast"', "has the profile 'fast': choose one of smoke"),
        ('rule = "R"', 'shown = { fast = "x" }', "has the profile 'fast': choose one of smoke"),
        ("{y[k]}", "{y[l]}", "claim Z1 has a headline that its numbers cannot fill in"),
        ("{x[0]}", "{x[7]}", "claim Z1 has a headline that its numbers cannot fill in"),
        ("{x[0]}", "{", "claim Z1 has a headline that its numbers cannot fill in"),
        ("year = 2020", "year = ", "cannot be read"),
    ],
)
def test_a_broken_registry_says_where(tmp_path, old, new, message):
    file = tmp_path / "r.toml"
    assert old in CLAIM
    file.write_text(CLAIM.replace(old, new))
    with pytest.raises(ReproError, match=re.escape(message)):
        load(file)


def test_an_own_claim_needs_four_fields(tmp_path):
    file = tmp_path / "r.toml"
    own = '[[claim]]\nid = "Z1"\nclaim = "C."\nnotebook = "12_deep"\ncriterion = "C."\n'
    file.write_text('start = "00_begin"\n' + own + own.replace("Z1", "Z2").replace("12_deep", "01_wide"))
    registry = load(file)
    assert registry.notebooks == {"begin": "00_begin", "wide": "01_wide", "deep": "12_deep"}
    assert registry.papers == {"": OWN}
    assert (registry.claims["Z1"].headline, registry.claims["Z1"].numbers) == ("", {})


def test_a_claim_twice(tmp_path):
    file = tmp_path / "r.toml"
    file.write_text(CLAIM + CLAIM[CLAIM.index("[[claim]]") :])
    with pytest.raises(ReproError, match="Z1 is there twice"):
        load(file)


# ------------------------------------------------------------------------------------------------------- the table

VERDICT = {
    "verdict": "mixed",
    "effect": 1.234,
    "low": -0.5,
    "high": 2.9,
    "unit": "points",
    "seeds": 5,
    "data": "scenes",
    "backbone": "convnet",
    "sentence": "The gap shrank by 1.2 points.",
}
PART = {
    "name": "the gap shrinks",
    "rule": "SUP(1)",
    "word": "inconclusive",
    "mean": 1.234,
    "low": -0.5,
    "high": 2.9,
    "unit": "points",
    "seeds": 5,
    "needed": 20,
    "paper": 4.0,
}


@pytest.fixture
def repository(tmp_path):
    """A checkout with one notebook, 01_batch_size, and its verdicts at quick; call it with those to write."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_batch_size.ipynb").write_text("{}")

    def write(verdicts, profile="quick", slug="batch_size"):
        folder = tmp_path / "figures" / profile / slug
        folder.mkdir(parents=True, exist_ok=True)
        text = verdicts if isinstance(verdicts, str) else json.dumps(verdicts)
        (folder / "verdicts.json").write_text(text)
        return tmp_path / "figures"

    return write


def verdicts_of(rows):
    return {row.entry.id: row.verdicts for row in rows if row.verdicts}


def of(rows, *wanted):
    return [row for row in rows if row.entry.id in wanted]


def test_json_has_exactly_the_promised_keys(repository):
    rows = table.rows(repository({"A3": VERDICT}))
    told = json.loads(table.as_json(rows))
    assert [row["id"] for row in told] == IDS
    assert all(set(row) == KEYS for row in told)
    (a3,) = [row for row in told if row["verdicts"]]
    assert (a3["id"], a3["paper"], a3["source"], a3["notebook"]) == ("A3", "democratizing", "Fig. 2", "01_batch_size")
    assert set(a3["verdicts"]) == {"quick"}
    assert set(a3["verdicts"]["quick"]) == VERDICT_KEYS
    assert a3["verdicts"]["quick"]["effect"] == 1.234
    assert verdicts_of(rows) == {"A3": {"quick": Verdict(**VERDICT)}}


def test_rows_merge_profiles_in_order(repository):
    for profile in ("gpu", "quick", "smoke"):
        root = repository({"A3": {**VERDICT, "verdict": "not judged"}}, profile)
    assert list(verdicts_of(table.rows(root))["A3"]) == ["smoke", "quick", "gpu"]


def test_a_claim_without_its_notebook_is_not_yet(repository):
    repository({"A3": VERDICT})
    root = repository({"B7": VERDICT}, slug="msr_beta_decay")
    rows = table.rows(root)
    assert set(verdicts_of(rows)) == {"A3"}
    text = table.as_markdown(of(rows, "B6", "B7"), root.parent / "notebooks")
    assert text.count("· not yet") == 2  # in one column: no profile has a verdict on them
    assert text.startswith("- `quick`: 2 not yet.\n")


def test_json_has_no_nan(repository):
    root = repository({"A3": {**VERDICT, "low": math.nan, "high": math.inf}})
    rows = table.rows(root)
    (a3,) = json.loads(table.as_json(of(rows, "A3")))
    assert (a3["verdicts"]["quick"]["low"], a3["verdicts"]["quick"]["high"]) == (None, None)


@pytest.mark.parametrize(
    ("verdicts", "message"),
    [
        ("{", "no JSON object of verdicts by claim"),
        ("[]", "no JSON object of verdicts by claim"),
        ({"A3": 7}, "no JSON object of verdicts by claim"),
        ({"Z9": VERDICT}, "Z9 is no claim of batch_size"),
        ({"B1": VERDICT}, "B1 is no claim of batch_size"),
        ({"A3": {"verdict": "mixed"}}, "A3 missing 8 required positional arguments: 'effect', 'low'"),
        ({"A3": {**VERDICT, "extra": 1}}, "A3 got an unexpected keyword argument 'extra'"),
        ({"A3": {**VERDICT, "verdict": "confirmed"}}, "unknown verdict 'confirmed'"),
        ({"A3": {**VERDICT, "verdict": "not yet"}}, "unknown verdict"),
        ({"A3": {**VERDICT, "effect": "1.2"}}, "A3 has effect = '1.2', which is not of type float | None"),
        ({"A3": {**VERDICT, "seeds": None}}, "A3 has seeds = None, which is not of type int"),
        ({"A3": {**VERDICT, "data": None}}, "A3 has data = None, which is not of type str"),
    ],
)
def test_broken_verdicts_name_the_file(repository, verdicts, message):
    root = repository(verdicts)
    with pytest.raises(ReproError, match=re.escape(message)) as error:
        table.rows(root)
    assert str(root / "quick" / "batch_size" / "verdicts.json") in str(error.value)
    assert "\n" not in str(error.value)


def test_smoke_is_never_judged(repository):
    with pytest.raises(ReproError, match="smoke is never judged"):
        table.rows(repository({"A3": VERDICT}, "smoke"))


def test_missing_roots(tmp_path):
    with pytest.raises(ReproError, match="There is no folder"):
        table.rows(tmp_path / "nowhere")
    (tmp_path / "figures").mkdir()
    assert verdicts_of(table.rows(tmp_path / "figures")) == {}


def test_text_fits_a_terminal(repository):
    root = repository({"A3": VERDICT, "A4": {**VERDICT, "verdict": "reproduced", "data": "long " * 20}})
    text = table.as_text(table.rows(root))
    assert max(map(len, text.splitlines())) <= 120
    assert "mixed" in text
    assert "1.23 [-0.50, 2.90] points" in text
    assert "5 seeds, scenes, convnet" in text
    assert f"quick: 1 reproduced, 1 mixed, {len(IDS) - 2} not yet." in text
    assert "gpu" not in text
    repository({"A3": VERDICT}, "gpu")
    wide = table.as_text(table.rows(repository({"A3": VERDICT}, "cpu")))
    assert max(map(len, wide.splitlines())) <= 120
    assert re.search(r"^id +claim +cpu +quick +gpu$", wide, re.MULTILINE)
    shown = [line.split()[0] for line in text.splitlines() if re.match(r"[A-D]\d+ ", line)]
    assert shown == IDS


@pytest.mark.parametrize(
    ("numbers_", "shown"),
    [
        ((12.34, 10.0, 15.0), "12.3 [10.0, 15.0] points"),
        ((0.0123, -0.001, 0.03), "0.0123 [-0.0010, 0.0300] points"),
        ((1234.5, 1000.0, 1500.0), "1234 [1000, 1500] points"),
        ((0.0, 0.0, 0.0), "0.0 [0.0, 0.0] points"),
        ((2.5, None, None), "2.50 points"),
        ((3, 2, 4), "3.00 [2.00, 4.00] points"),
        ((2.3e-16, 0.0, 3e-16), "2.3e-16 [0.0e+00, 3.0e-16] points"),
    ],
)
def test_effects_are_rounded_to_their_size(repository, numbers_, shown):
    verdict = {**VERDICT, **dict(zip(("effect", "low", "high"), numbers_))}
    assert f"<br>{shown}<br>" in table.as_markdown(table.rows(repository({"A3": verdict})))


def test_a_verdict_without_an_effect(repository):
    verdict = {**VERDICT, "effect": None, "low": None, "high": None, "unit": "", "seeds": 1}
    text = table.as_markdown(table.rows(repository({"A3": verdict})))
    assert "◐ mixed<br>1 seed, scenes, convnet" in text
    assert "None" not in text


def test_markdown(repository):
    root = repository({"A3": {**VERDICT, "data": "a|b"}})
    text = table.as_markdown(table.rows(root), root.parent / "notebooks")
    lines = text.splitlines()
    body = [line for line in lines if re.match(r"\| \[?[A-D]\d+", line)]
    assert len(body) == len(IDS)
    # Every row has the header's three cells, even where a text holds a bar.
    assert {len(re.split(r"(?<!\\)\|", line)) for line in body} == {5}
    a3, b1 = body[IDS.index("A3")], body[IDS.index("B1")]
    assert a3.startswith("| [A3](notebooks/01_batch_size.ipynb) Which batch size")
    assert "◐ mixed<br>1.23 [-0.50, 2.90] points<br>5 seeds, a\\|b, convnet |" in a3
    assert b1.startswith("| B1 ")
    assert entry("B1").headline in b1


def test_update_readme(repository):
    root = repository({"A3": VERDICT})
    rows = table.rows(root)
    readme = root.parent / "README.md"
    readme.write_text(f"# Title\n\nabove\n{table.BEGIN}\nold\n{table.END}\nbelow\n")
    assert not current(readme, rows)
    assert table.update_readme(readme, rows) is True
    text = readme.read_text()
    assert text.startswith(f"# Title\n\nabove\n{table.BEGIN}\n\n- `quick`: ")
    assert text.endswith(f"\n\n{table.END}\nbelow\n")
    assert "old" not in text
    assert "[A3](notebooks/01_batch_size.ipynb)" in text
    assert current(readme, rows)
    assert table.update_readme(readme, rows) is False
    repository({"A3": {**VERDICT, "verdict": "contradicted"}})
    assert not current(readme, table.rows(root))
    assert [file.name for file in readme.parent.iterdir() if "README" in file.name] == ["README.md"]


def test_parts_and_evidence_are_told(repository):
    judged = VERDICT | {"evidence": "photographs", "finding": "It shrank.", "parts": [PART]}
    root = repository({"A3": judged, "A4": judged | {"verdict": "not judged", "evidence": "toy"}})
    rows = table.rows(root)
    text = table.as_markdown(of(rows, "A3", "A4", "A5"))
    assert text.startswith("- `quick`: photographs: 1 mixed; toy: 1 not judged; 1 not yet.\n")
    measured = "the gap shrinks: 1.23 [-0.50, 2.90] points (the paper: 4)"
    assert f"◐ mixed<br>{measured}<br>It shrank.<br>photographs: 5 seeds, scenes, convnet" in text
    (a3,) = json.loads(table.as_json(of(rows, "A3")))
    assert a3["verdicts"]["quick"]["parts"] == [PART]
    a3, a4 = (row.verdicts["quick"] for row in of(rows, "A3", "A4"))
    assert [p.word for v in (a3, a4) for p in verdicts.parts(v)] == ["inconclusive", "not judged"]


def test_the_readme_shows_the_strongest_forest(repository):
    judged = VERDICT | {
        "evidence": "stand-in",
        "parts": [
            PART,
            PART | {"unit": "ratio"},
            PART | {"unit": "rho", "low": None},
            PART | {"unit": "ratio", "low": 0.9},
        ],
    }
    for profile in ("quick", "cpu"):
        root = repository({"A3": judged}, profile)
    readme, rows = root.parent / "README.md", table.rows(root)
    readme.write_text(f"{table.BEGIN}\n{table.END}\n")
    assert table.update_readme(readme, rows)
    assert 'srcset="figures/cpu/forest-dark.svg"><img src="figures/cpu/forest.svg" alt="' in readme.read_text()
    assert all((root / profile / "forest.csv").read_text().count("A3") == 4 for profile in ("quick", "cpu"))
    assert current(readme, rows)


@pytest.mark.parametrize(
    ("rule", "zone"),
    [
        ("SUP(0.5)", (0.5, math.inf)),
        ("SUP(1.2, above 1)", (1.2, math.inf)),
        ("EQ(2)", (-2, 2)),
        ("EQ(0.3 around -1)", (-1.3, -0.7)),
        ("NONINF(1.5)", (-1.5, math.inf)),
        ("LARGEST", (0, math.inf)),
        ("TREND", None),
    ],
)
def test_a_rule_asks_for_a_zone(rule, zone):
    assert forest.asked(rule) == (zone and pytest.approx(zone))


def test_the_rules_of_stats_have_their_zones():
    gain = stats.paired(np.arange(5.0))
    parts = [stats.sup("", gain, 1, above=0.5), stats.eq("", gain, 2, around=5), stats.noninf("", gain, 1.5)]
    assert [forest.asked(p.rule) for p in parts] == [(1, math.inf), (3, 7), (-1.5, math.inf)]


def test_stability_counts_the_parts_that_agree(tmp_path, capsys):
    def figures(place, *words):
        parts = [PART | {"name": name, "word": word} for name, word in zip("pqr", words)]
        folder = tmp_path / place / "quick" / "batch_size"
        folder.mkdir(parents=True)
        other = VERDICT | {"verdict": "not judged", "parts": [PART]}
        (folder / "verdicts.json").write_text(json.dumps({"A3": VERDICT | {"parts": parts}, "A4": other}))
        return tmp_path / place

    a, b = figures("a", "supported", "inconclusive", "too small"), figures("b", "supported", "contradicted")
    assert cli.main(["claims", "--stability", str(a), str(b)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "1 notebook, 1 of 2 parts (50%) have the same word, 0 contradict each other, 1 are judged on one side only.",
        "quick/batch_size A3, q: inconclusive / contradicted",
    ]
    file = a / "quick" / "batch_size" / "verdicts.json"
    assert verdicts.stability(file, file).startswith("1 notebook, 3 of 3 parts (100%)")
    assert cli.main(["claims", "--stability", str(a), str(tmp_path / "none")]) == 2
    assert "There is no verdicts.json in" in capsys.readouterr().err


def test_the_readme_says_how_far_processors_differ(tmp_path):
    assert table.processors(tmp_path) == "not measured yet"

    def ran(notebook, hardware, *accuracies):
        records = [
            Record(f"{seed:016x}", "RunSpec", {"seed": seed}, {"linear_test_class": accuracy, "diverged": 0}, {},
                   {"hardware": f"{hardware}, 2 cores", "train_seconds": 1.0})
            for seed, accuracy in enumerate(accuracies)
        ]  # fmt: skip
        export(records, tmp_path / "cpu" / notebook / "runs.jsonl")

    ran("batch_size", "A", 50.0, 52.0, 90.0)
    assert table.processors(tmp_path) == "not measured yet"
    ran("single_gpu", "B", 51.0, 51.0)
    ran("augmentations", "B", 51.0)  # the same run once more says nothing more
    assert (
        table.processors(tmp_path)
        == "2 runs of A and B deviate by 0.71 points between the processors, by 1.00 between seeds"
    )


@pytest.mark.parametrize("text", ["", table.BEGIN, f"{table.END} {table.BEGIN}", f"{table.BEGIN * 2} {table.END}"])
def test_readme_without_markers(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(ReproError, match="needs one line"):
        table.update_readme(readme, [])
    assert readme.read_text() == text
    with pytest.raises(ReproError, match="cannot be read"):
        table.update_readme(tmp_path / "no.md", [])


def test_words_have_signs():
    assert tuple(VERDICTS) == verdicts.WORDS == (*stats.WORDS, verdicts.NOT_YET)
    assert (verdicts.INCONCLUSIVE, verdicts.NOT_JUDGED) == (stats.INCONCLUSIVE, stats.NOT_JUDGED)
    assert verdicts.SUPPORTED == stats.SUPPORTED


def test_checks_that_are_no_claims_are_not_kept_among_verdicts(tmp_path):
    notebook.keep(notebook.study("start_here", profile="smoke"), tmp_path, {"checks": None})
    assert verdicts.load(tmp_path / "smoke" / "start_here" / "verdicts.json") == {}


def test_the_readme_says_how_many_words_stayed_in_another_measurement(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"<!-- again:begin --><!-- again:end -->{table.BEGIN}{table.END}")
    for place, word in (("quick", "supported"), ("again/other-seeds/quick", "contradicted")):
        folder = tmp_path / "figures" / place / "batch_size"
        folder.mkdir(parents=True)
        (folder / "verdicts.json").write_text(json.dumps({"A3": VERDICT | {"parts": [PART | {"word": word}]}}))
    assert table.update_readme(readme, [])
    assert (
        "other-seeds: 1 notebook, 0 of 1 parts (0%) have the same word, 1 contradict each other" in readme.read_text()
    )


def test_the_readme_says_how_far_the_seeds_decide_and_how_fast_a_step_is(tmp_path):
    assert table.spread(tmp_path) == table.step(tmp_path) == "not measured yet"
    folder = tmp_path / "cpu" / "batch_size"
    folder.mkdir(parents=True)
    part = PART | {
        "mean": 1.0,
        "low": 1.0 - 2.776,
        "high": 1.0 + 2.776,
        "unit": "points",
        "seeds": 5,
    }  # error 1, by t(4)
    (folder / "verdicts.json").write_text(json.dumps({"A3": VERDICT | {"parts": [part, part | {"unit": "ratio"}]}}))
    assert "| `batch_size` | 2.2 | 2.8 | 2.8 |" in table.spread(tmp_path).splitlines()
    (tmp_path / "cpu" / "engine.json").write_text("{}")
    with pytest.raises(ReproError, match=r"engine\.json is broken"):
        table.step(tmp_path)
    seconds = {part: [0.5 * n] for n, part in enumerate(engine.PARTS, 1)} | {"a peer": [6.0]}
    measured = {"seconds": seconds, "batch": 16, "views": 2, "flops": 5.0, "ceiling": 320.0, "precision": "float32",
                "precisions": {"a peer": "bfloat16"}, "hardware": "a processor", "commit": "0123456789ab+"}  # fmt: skip
    (tmp_path / "cpu" / "engine.json").write_text(json.dumps(measured))
    said = "in float32 16 views/s, 25% of a matrix product's rate, 3.0 times as many as a peer in bfloat16 (5)"
    assert table.step(tmp_path) == f"{said} (a processor, commit 0123456789ab+)"

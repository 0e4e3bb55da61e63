"""The loaders' benchmark and claim A2: what is measured in which order, what the tables and the verdict say of it."""

import json
import multiprocessing
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from repro import figures, stats
from repro.bench import contestants, loader, peers, photographs
from repro.bench import engine as step_engine
from repro.bench.contestants import COLUMNS
from repro.bench.loader import LoaderSpec
from repro.claims import data_loading
from repro.core import store
from repro.core.profiles import profile
from repro.core.spec import key, to_dict
from repro.errors import ReproError


def rows(jitter: float = 0.2, slow: float = 6.0, turns: int = 5) -> pd.DataFrame:
    """Made-up measurements: decoding takes 1 CPU ms an image, a crop .4, blur .1, jitter `jitter`; torchvision `slow`
    times as long; two workers; a little noise."""
    rng = np.random.default_rng(0)
    cost = dict(zip(COLUMNS, np.cumsum([1.4, 0.1, 0.02, 0.02, jitter])))
    out = []

    def add(name, column, views, workers, turn, ms):
        ms = ms * rng.uniform(0.97, 1.03)
        speed = 1000 * workers / ms
        out.append((name, column, views, workers, turn, speed, ms, 100.0))

    for turn in range(turns):
        for column, ms in cost.items():
            add("ours", column, 2, 2, turn, ms)
            add("torchvision", column, 2, 2, turn, slow * ms)
        add("decode", "crops", 2, 2, turn, 1.0)
        add("decode", "crops", 2, 1, turn, 1.0)
        add("ours", "+jitter", 2, 1, turn, cost["+jitter"])
        add("ours", "+jitter", 4, 2, turn, 2.4)
        add("ours", "+jitter", 8, 2, turn, 4.0)
    names = ["contestant", "column", "views", "workers", "turn", "images_s", "cpu_ms", "memory_mb"]
    return pd.DataFrame(out, columns=names)


def frame(measured: pd.DataFrame, name: str = "quick") -> pd.DataFrame:
    curves = {column: measured[column].tolist() for column in measured}
    out = pd.DataFrame([{"key": "k", "kind": "LoaderSpec", "images": "synthetic", "seed": 0, "curves": curves}])
    out.attrs["profile"] = name
    return out


# --- tables -----------------------------------------------------------------------------------------------------------


def test_ratios_are_of_one_turn():
    measured = rows()
    doubled = measured.copy()
    doubled.loc[doubled["turn"] == 3, "images_s"] *= 10  # a turn in which the machine was ten times as fast
    for table in (measured, doubled):
        found = loader.ratios(table, "torchvision")
        assert found.shape == (5, 5)
        assert np.allclose(found, 6, rtol=0.07)
    assert np.allclose(loader.ratios(measured, "torchvision", "cpu_ms"), 6, rtol=0.07)


def test_the_limit_is_the_decoder_on_the_same_cores():
    share = loader.share_of_limit(rows())
    assert share.loc["decode", "crops"] == pytest.approx(1)
    assert share.loc["ours", "crops"] == pytest.approx(1 / 1.4, rel=0.05)
    assert loader.medians(rows(), "images_s", workers=1).loc["ours", "+jitter"] == pytest.approx(1000 / 1.74, rel=0.05)


def test_the_report_has_every_number_that_must_hold():
    text = loader.report(rows())
    for part in (
        "Images a second", "CPU milliseconds", "Share of the decoder's speed", "Ours is so many times as fast",
        "by views and workers", "Memory of their processes, MiB: ours 100",
    ):  # fmt: skip
        assert part in text


def test_a_turn_measures_all_in_turn():
    names = [*loader.NAMES, *loader.SSL]
    spec = LoaderSpec(scaling=True)
    order = list(loader._order(spec, names, 4))
    assert len(order) == len(set(order)) + 1  # the decoder, at the beginning and at the end
    for name in ("ours", "ours fast", "torchvision", "torchvision v2", "FFCV-SSL"):
        assert [c for n, c, v, w in order if (n, v, w) == (name, 2, 4)][:5] == list(COLUMNS)
    assert [c for n, c, _, _ in order if n == "FFCV-SSL as shipped"] == ["+blur", "+jitter"]
    assert {w for n, c, v, w in order if n == "ours" and c == "+jitter" and v == 2} == {1, 2, 3, 4}
    assert {v for n, c, v, w in order if n == "ours" and c == "+jitter"} == {2, 4, 8}


def test_the_stacks_are_the_papers():
    first, second = ([contestants.chances(c, b) for c in COLUMNS] for b in (0, 1))
    assert [p["blur"] for p in first] == [0, 1, 1, 1, 1]
    assert [p["blur"] for p in second] == [0] * 5
    assert [p["solarize"] for p in first] == [0] * 5
    assert [p["solarize"] for p in second] == [0, 0, 0, 0.2, 0.2]
    for branch in (first, second):
        assert [p["gray"] for p in branch] == [0, 0, 0.2, 0.2, 0.2]
        assert [p["jitter"] for p in branch] == [0, 0, 0, 0, 0.8]


# --- the claim --------------------------------------------------------------------------------------------------------


def test_every_profile_plans_one_measurement():
    for name in ("smoke", "quick", "cpu", "gpu", "paper"):
        specs = data_loading.plan(profile(name))
        assert len(specs) == 1
        assert specs[0].repeats >= (2 if name == "smoke" else 5)
        assert key(specs[0]) == key(data_loading.plan(profile(name))[0])


def test_faster_everywhere_and_jitter_costliest_is_reproduced():
    found = data_loading.judge(frame(rows(jitter=3.0)))
    assert found.verdict == stats.REPRODUCED
    assert found.effect == pytest.approx(6, rel=0.05)
    assert found.low < found.effect < found.high
    assert found.seeds == 5
    assert "stand-in" in found.data
    assert found.evidence == "stand-in"
    assert [p.paper for p in found.parts] == [4.67, 5.89, 4.8, 4.49, 1.9, 48.3]
    assert found.parts[-1].mean == pytest.approx(100 * (3 - 1.4) / 4.54, abs=3)


def test_a_cheap_jitter_contradicts_half_of_the_claim():
    found = data_loading.judge(frame(rows()))
    assert found.verdict == stats.MIXED
    assert [p.word for p in found.parts] == [*["supported"] * 5, "contradicted"]
    assert "crops with decoding" in found.finding
    assert len(found.finding.split()) <= 20


def test_other_verdicts():
    assert data_loading.judge(frame(rows(slow=0.5))).verdict == stats.CONTRADICTED
    assert data_loading.judge(frame(rows(turns=2))).verdict == stats.NOT_JUDGED


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_and_its_numbers(theme):
    with figures.theme(theme):
        drawing = data_loading.draw(frame(rows()))
        drawing.figure.canvas.draw()
    table = drawing.table
    assert set(table["contestant"]) == {"ours", "torchvision", "decode"}
    assert table["paper_ffcv_ssl_over_torchvision"].dropna().tolist() == [4.67, 5.89, 4.8, 4.49, 1.9]
    assert table.loc[table["contestant"] == "torchvision", "ours_over_it"].between(5.5, 6.5).all()
    assert "as fast as torchvision" in drawing.alt


# --- images -----------------------------------------------------------------------------------------------------------


def test_synthetic_photographs_are_the_same_every_time(tmp_path):
    a, b = photographs.synthetic(tmp_path / "a", 3), photographs.synthetic(tmp_path / "b", 3)
    assert [p.read_bytes() for p in a] == [p.read_bytes() for p in b]
    for path in a:
        with Image.open(path) as image:
            assert image.format == "JPEG"
            assert 256 <= min(image.size) <= max(image.size) <= 500
            assert np.asarray(image).std() > 10
    assert photographs.synthetic(tmp_path / "a", 3, seed=1)[0].read_bytes() != a[0].read_bytes()


def test_a_folder_needs_photographs(tmp_path):
    with pytest.raises(ReproError, match="There is no folder"):
        photographs.found(tmp_path / "none", 10)
    photographs.synthetic(tmp_path, 3)
    with pytest.raises(ReproError, match="has 3 colour JPEGs, and a measurement needs 8 or more"):
        photographs.found(tmp_path, 10)
    photographs.synthetic(tmp_path, 9)
    Image.new("L", (50, 50)).save(tmp_path / "0.jpg")
    assert [p.name for p in photographs.found(tmp_path, 8)] == [f"0-{i:05}.jpg" for i in range(8)]


# --- measuring --------------------------------------------------------------------------------------------------------


def test_a_measurement_from_end_to_end(tmp_path):
    photographs.synthetic(tmp_path, 8)
    spec = LoaderSpec(str(tmp_path), 8, 32, 4, 1, 1, 0.01, peers=False)
    result = loader.run(spec)
    stored = store.frame([store.Record("k", "LoaderSpec", to_dict(spec), result.metrics, result.curves, {})])
    measured = data_loading.measurements(stored)
    judged = data_loading.judge(stored)
    assert (judged.data, judged.evidence) == (tmp_path.name, "photographs")
    assert set(measured["contestant"]) == {"decode", "ours", "torchvision"}
    assert (measured[["images_s", "memory_mb"]] > 0).all(axis=None)
    assert (measured.loc[measured["contestant"] == "ours", "cpu_ms"] > 0).all()
    assert json.loads(json.dumps(result.curves)) == result.curves
    assert loader.title(spec) == tmp_path.name


def test_an_ffcv_that_does_not_run_is_left_out_and_told(tmp_path, monkeypatch, capsys):
    class Stub(loader._Contestant):
        def __init__(self, job):
            self.name = job["name"]

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def ask(self, column, views, workers, seconds):
            if self.name in (loader.STOCK, *loader.SSL):
                raise ReproError(f"The loader {self.name!r} ended.")
            return {"images": 8, "seconds": 1.0, "cpu": 2.0, "memory": 2**20}

    monkeypatch.setattr(loader, "_Contestant", Stub)
    photographs.synthetic(tmp_path, 8)
    measured, _ = loader.measure(LoaderSpec(str(tmp_path), 8, 32, 4, 1, 2), "somewhere", stock=True)
    assert {row["contestant"] for row in measured} == set(loader.NAMES)
    told = capsys.readouterr().err.splitlines()
    assert told == [f"The loader {name!r} ended. It is left out." for name in (loader.STOCK, *loader.SSL)]


def test_what_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr(loader.importlib.util, "find_spec", lambda name: None)
    assert [s.split()[0] for s in loader.absent()] == ["FFCV", "FFCV-SSL"]
    monkeypatch.setattr(loader.importlib.util, "find_spec", lambda name: object())
    assert loader.absent("path") == []


def test_a_loader_that_fails_is_named_instead_of_waited_for(tmp_path, monkeypatch):
    files = photographs.synthetic(tmp_path, 2)
    job = {"name": "torchvision", "files": [str(f) for f in files], "batch": 2, "size": 8, "peer_kernel": [3, 3]}
    with (
        loader._Contestant(job | {"files": [str(tmp_path / "missing.jpg")] * 2}) as broken,
        pytest.raises(ReproError, match=r"The loader 'torchvision' failed at 'crops' \(.*missing\.jpg"),
    ):
        broken.ask("crops", 2, 1, 0.01)


def test_options_that_cannot_be():
    with pytest.raises(ReproError, match="count must be a whole number from 1 on"):
        LoaderSpec(count=0)
    with pytest.raises(ReproError, match="odd number"):
        LoaderSpec(kernel=4)
    with pytest.raises(ReproError, match="There is no package ffcv in"):
        loader.main(["--ffcv-ssl", "/nowhere"])
    with pytest.raises(ReproError, match="There is no folder /nowhere"):
        loader.main(["--images", "/nowhere"])


# --- a step beside its peers ------------------------------------------------------------------------------------------


def test_a_view_of_a_resnet_costs_what_is_known():
    assert step_engine.flops(step_engine.spec_of("resnet18", 8, "float32"), 32) == pytest.approx(3 * 1.11e9, rel=0.01)


def test_the_parts_of_a_step_add_up_and_ratios_are_of_one_turn():
    seconds = {"views": [1.0, 1.0, 10.0], "forward": [3.0, 3.0, 30.0], "backward": [7.0, 7.0, 70.0],
               "optimiser": [8.0, 8.0, 80.0], "a peer": [24.0, 24.0, 240.0]}  # fmt: skip
    found = {"seconds": seconds, "batch": 16, "views": 2, "flops": 5.0, "ceiling": 100.0}
    said = step_engine.summary(found)
    assert [said[f"{p}_ms"] for p in step_engine.PARTS] == [1000, 2000, 4000, 1000]
    assert said["views_s"] == 32 / 8
    assert said["share"] == 4 * 5 / 100
    assert said["a peer_ratio"] == 3
    assert said["a peer_views_s"] == 32 / 24


def test_the_plain_peer_trains():
    spec = step_engine.spec_of("convnet", 4, "float32")
    images = torch.randint(0, 256, (8, 3, 16, 16), dtype=torch.uint8)
    peer = peers.plain(spec, images, 1)
    before = [p.clone() for p in peer.learner.trained()]
    items = [peer.pictures[i][0] for i in range(4)]
    peer.step([torch.stack(views) for views in zip(*items)])
    assert all(torch.isfinite(p).all() for p in peer.learner.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, peer.learner.trained()))


def test_a_peers_clock_begins_after_what_its_workers_made_ahead_and_they_never_run_out_of_work(monkeypatch):
    trained, began = [], []

    def loader(pictures, batch_sampler, **_):
        return ((torch.zeros(2, len(batch), 1), None) for batch in batch_sampler)

    def clock(*_, **__):
        began.append(len(trained))
        return 0.5 * len(trained)

    monkeypatch.setattr(peers, "DataLoader", loader)
    monkeypatch.setattr(step_engine, "now", clock)
    images = torch.zeros(8, 3, 16, 16, dtype=torch.uint8)
    peer = replace(peers.plain(step_engine.spec_of("convnet", 4, "float32"), images, 3), step=trained.append)
    assert step_engine._pace(peer, torch.device("cpu")) == 0.5
    assert began == [peer.ahead, 3 * peer.ahead] == [6, 18]


def test_a_profiles_own_step_is_measured_on_all_cores_and_threads_are_as_before(monkeypatch, tmp_path):
    before, run, threads, out = torch.get_num_threads(), step_engine.Ours.run, set(), tmp_path / "engine.json"

    def seen(*given, **named):
        threads.add(torch.get_num_threads())
        return run(*given, **named)

    monkeypatch.setattr(step_engine, "cores", lambda: 2)
    monkeypatch.setattr(step_engine.Ours, "run", seen)
    assert (
        step_engine.main(["--profile", "smoke", "--steps", "1", "--repeats", "1", "--no-peers", "--out", str(out)]) == 0
    )
    found = json.loads(out.read_text())
    assert (found["backbone"], found["size"], found["batch"], found["precision"]) == ("convnet", 16, 64, "float32")
    assert threads == {2}
    assert torch.get_num_threads() == before == 1


def test_a_step_is_measured_from_end_to_end(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(peers, "has_lightly", lambda: False)
    out = tmp_path / "engine.json"
    options = "--backbone convnet --size 16 --batch 8 --steps 1 --repeats 1 --workers 1 --out"
    assert step_engine.main([*options.split(), str(out)]) == 0
    text = capsys.readouterr().out
    for part in ("SimCLR, convnet, 16 px, batch 8", "GFLOP forward and backward", "ours (as it is written)", "optimiser",
                 "plain torchvision (float32, 1 workers)", "of ours"):  # fmt: skip
        assert part in text
    assert json.loads(out.read_text())["summary"]["views_s"] > 0
    assert not multiprocessing.active_children()


def test_an_engine_that_cannot_be_measured_is_one_sentence():
    with pytest.raises(ReproError, match="batch must be 2 or more, not 1"):
        step_engine.main(["--batch", "1"])
    if not torch.cuda.is_available():
        with pytest.raises(ReproError, match="There is no GPU here whose memory"):
            step_engine.main(["--memory"])

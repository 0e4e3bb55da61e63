"""What a person sees while runs are measured: one line that says how far it is, and every epoch of every run."""

import io
import json

import pytest

from repro.core import progress, sweep
from repro.core.progress import Progress
from repro.core.spec import key
from repro.errors import ReproError
from repro.pages import logs
from repro.ssl import train


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_says_how_far_and_how_long(clock):
    shown = Progress(10, {"a": 60.0, "b": 240.0, "c": 300.0}, quiet=True, pace=2.0)
    shown.part = "notebook 3 of 12"
    assert shown.line() == "notebook 3 of 12, 7 of 10 runs, about 5 min left"
    clock[0] += 60
    shown.hear("a")
    shown.hear("a")  # another process says so too
    assert shown.line() == "notebook 3 of 12, 8 of 10 runs, about 6 min left"  # this machine does one a second
    shown.hear("b")
    shown.hear("c")
    shown.part = ""
    assert shown.line() == "10 of 10 runs, in 60 s"
    assert Progress(2, {"a": 1.0}, quiet=True).line() == "1 of 2 runs"  # nothing is known yet


def test_the_first_steps_tell_no_time_and_no_loss(clock):
    shown = Progress(2, {"a": 1.0, "b": 1.0}, quiet=True)
    clock[0] += 30
    shown.step(1, 1000, float("nan"))
    assert shown.line() == "0 of 2 runs, step 1 of 1000"
    shown.step(500, 1000, 2.5)
    assert shown.line() == "0 of 2 runs, about 2 min left, step 500 of 1000, loss 2.500"


def test_a_terminal_has_one_line_in_place_and_a_log_a_line_now_and_then(clock, monkeypatch):
    def told(stream):
        monkeypatch.setattr("sys.stderr", stream)
        with Progress(100, dict.fromkeys(map(str, range(100)), 1.0)) as shown:
            for i in range(100):
                clock[0] += 1
                shown.hear(str(i))
        return stream.getvalue()

    lines = told(Terminal()).split("\r\x1b[K")
    assert len(lines) > 90
    assert "\n" not in "".join(lines[:-1])
    assert lines[-1] == "100 of 100 runs, in 2 min\n"
    log = told(io.StringIO())
    assert 3 <= len(log.splitlines()) <= 6
    assert log.isascii()
    assert log.replace("\n", "").isprintable()


def test_every_epoch_is_told_once_and_kept_with_the_run(store, tiny, monkeypatch):
    spec, seen, real, stopped = tiny(epochs=3, probes={"every": 2}), [], train.run, []

    def stopping(spec, scratch, tick, *rest):
        def stop(step, steps, loss):
            tick(step, steps, loss)
            if step == 9 and not stopped:  # after two epochs
                stopped.append(step)
                raise sweep.Stopped

        return real(spec, scratch, stop, *rest)

    monkeypatch.setattr(train, "run", stopping)
    with pytest.raises(KeyboardInterrupt):
        sweep.measure([spec], store, workers=1, quiet=True, checkpoint_seconds=1e9, log=seen.append)
    (store.scratch(key(spec)) / "checkpoint.pt").unlink()  # it goes on from the beginning
    [record] = sweep.measure([spec], store, workers=1, quiet=True, log=seen.append)
    assert [line["epoch"] for line in seen] == [1, 2, 3]
    assert [line["loss"] for line in seen] == record.curves["loss"]
    assert {"run": key(spec), "step": 12, "steps": 12}.items() <= seen[-1].items()
    assert seen[-1]["linear_test_class"] == record.metrics["linear_test_class"]
    assert "linear_val_class" in seen[1]
    assert "linear_val_class" not in seen[0]
    lines = (store.root / record.key / "epochs.jsonl").read_text().splitlines()
    assert [{"run": record.key, **json.loads(line)} for line in lines] == seen


def test_workers_tell_a_readers_function(store, tiny, tmp_path):
    (tmp_path / "my_log.py").write_text(
        "from pathlib import Path\n\ndef write(line):\n"
        "    with Path(__file__).with_name('seen').open('a') as f:\n        print(line['run'], file=f)\n"
    )
    specs = [tiny(steps=1, seed=seed, probes={"linear": False}) for seed in range(2)]
    sweep.measure(specs, store, workers=2, quiet=True, log=logs.of(f"{tmp_path}/my_log.py:write"))
    assert sorted((tmp_path / "seen").read_text().split()) == sorted(map(key, specs))


def test_a_log_that_cannot_be_is_one_sentence(tmp_path):
    assert logs.of("") is None
    with pytest.raises(ReproError, match="Nothing is known to log to by 'wandb'"):
        logs.of("wandb")
    (tmp_path / "my_log.py").write_text("def write(line):\n    return line['accuracy']\n")
    with pytest.raises(ReproError, match=r"my_log\.py, line 2: KeyError"):
        logs.of(f"{tmp_path}/my_log.py:write")({})


def test_tensorboard_gets_the_numbers(tmp_path):
    pytest.importorskip("tensorboard")
    logs.of(f"tensorboard:{tmp_path}")({"run": "abc", "epoch": 1, "loss": 2.5})
    assert list((tmp_path / "abc").glob("events.out.tfevents.*"))

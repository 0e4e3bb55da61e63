"""Bad input at the command line: one sentence that says what to do, exit code 2, and nothing lost."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from PIL import Image

from repro import cli
from repro.core import datasets, places
from repro.core.store import FORMAT, Store
from repro.errors import ReproError
from repro.pages import execute, notebook

ROOT = Path(__file__).parent.parent


@pytest.fixture
def said(capsys, monkeypatch):
    """said(*words): what `repro` says on stderr when it ends with 2, checked to be one sentence."""
    monkeypatch.chdir(ROOT)

    def run(*words: object, code: int = 2) -> str:
        ended = cli.main([str(w) for w in words])
        err = capsys.readouterr().err
        assert ended == code, err
        # before the sentence there may be lines of progress, never a traceback
        *before, last = err.strip().splitlines()
        assert last.startswith("repro: ")
        assert last.endswith(".")
        assert "Traceback" not in err
        assert not [line for line in before if line.startswith("repro: ") and "has no image of the class" not in line]
        assert len(last) < 400
        return last

    return run


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def measured(store: Path, *more: object) -> int:
    return cli.main([str(w) for w in ("measure", "start_here", *SMOKE, "--store", store, *more)])


SMOKE = ("--profile", "smoke", "--workers", "1")


# -------------------------------------------------------------------------------------------- names, types, numbers


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ("measure --profile laptop", "Unknown profile 'laptop': choose one of smoke, quick, cpu, gpu, paper"),
        ("run --profile laptop", "Unknown profile 'laptop'"),
        ("measure batchsize", "There is no notebook 'batchsize': choose from"),
        ("run batchsize", "There is no notebook 'batchsize'"),
        ("run batch_size -p sedes=3", "has no parameter 'sedes': choose from profile, data"),
        ("run batch_size --profile smoke -p seeds=three", "The parameter seeds must be of type int, not 'three'"),
        ("run batch_size --profile smoke -p minutes=long", "The parameter minutes must be of type float"),
        ("run batch_size --profile smoke -p seeds", "given as NAME=VALUE, not 'seeds'"),
        ("run batch_size --profile smoke -p minutes=-1", "repro: The time budget cannot be -1.0 minutes"),
        (
            "run batch_size --profile smoke -p results=some",
            "repro: The parameter results must be one of measure, stored",
        ),
        ("run -p sedes=3", "has no parameter 'sedes'"),
        ("run batch_size --profile smoke -p seeds=-2", "cannot be -2"),
        ("run batch_size -p profile=laptop", "Unknown profile 'laptop'"),
        ("measure --seeds three", "invalid int value: 'three'"),
        ("measure --minutes soon", "invalid float value: 'soon'"),
        ("measure A8 --profile smoke --out build", "--out takes the results of whole notebooks"),
        ("measure A99 --profile smoke", "There is no notebook 'A99': choose from"),
        ("measure --profile smoke --seeds -1", "cannot be -1"),
        ("measure start_here --profile smoke --minutes -1", "cannot be -1.0 minutes"),
        ("measure start_here --profile smoke --minutes nan", "cannot be nan minutes"),
        ("measure start_here --profile smoke --workers -1", "workers cannot be -1"),
        ("measure start_here --profile smoke --data nowhere", "There is no data set 'nowhere': choose one of"),
        ("measure start_here --profile gpu --workers 1", "cifar10 is missing"),
        (
            "measure start_here --profile smoke --data " + "a" * 300,
            "aaa cannot be used (File name too long): choose another",
        ),
        ("frobnicate", "invalid choice: 'frobnicate'"),
        ("", "required: COMMAND"),
        ("bench nothing", "There is no benchmark 'nothing': choose from loader, engine"),
        ("bench photographs", "There is no benchmark 'photographs'"),
        ("claims --figures nowhere", "There is no folder nowhere"),
        ("claims --readme nowhere.md", "nowhere.md cannot be read"),
        ("gallery --figures nowhere", "nowhere"),
        ("gallery --profile laptop", "laptop"),
        ("gallery --out README.md/inside", "The gallery cannot be written to"),
        (
            "run batch_size --profile quick --from-results -p data=digits",
            "no committed results of batch_size with these parameters at profile quick",
        ),
    ],
)
def test_one_sentence(said, tmp_path, words, part):
    words = words.split()
    if words[:2] == ["measure", "start_here"]:
        words += ["--store", str(tmp_path)]
    assert part in said(*words)


def test_help_is_there_for_every_command(capsys):
    commands = next(a for a in cli._parser()._actions if a.choices).choices
    for words in ([], *([name] for name in commands)):
        with pytest.raises(SystemExit) as ended:
            cli._parser().parse_args([*words, "--help"])
        assert ended.value.code == 0
        assert "usage: repro" in capsys.readouterr().out


def test_it_is_so_for_a_process_too(tmp_path):
    end = subprocess.run(
        [sys.executable, "-m", "repro", "measure", "--profile", "laptop"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "REPRO_STORE": str(tmp_path)},
    )  # fmt: skip
    assert end.returncode == 2
    assert end.stdout == ""
    assert end.stderr == "repro: Unknown profile 'laptop': choose one of smoke, quick, cpu, gpu, paper.\n"


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"slug": "batchsize"}, "no notebook 'batchsize'"),
        ({"profile": "laptop"}, "Unknown profile"),
        ({"profile": 3}, "The parameter profile must be text, not 3"),
        ({"seeds": "3"}, "The parameter seeds must be a whole number, not '3'"),
        ({"seeds": 2.5}, "must be a whole number"),
        ({"seeds": True}, "must be a whole number"),
        ({"seeds": -1}, "cannot be -1"),
        ({"minutes": "3"}, "must be a number"),
        ({"minutes": -3}, "cannot be -3 minutes"),
        ({"data": None}, "must be text"),
        ({"backbone": ["resnet18"]}, "must be text"),
        ({"results": "committed"}, "one of measure, stored"),
    ],
)
def test_a_notebooks_parameters_are_checked_however_they_came(given, part):
    """papermill hands over what it is given; `study` looks at it."""
    with pytest.raises(ReproError, match=part) as caught:
        notebook.study(**{"slug": "batch_size", **given})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("slug", execute.available())
def test_papermill_gets_typed_values_of_known_names_only(slug):
    known = execute.parameters(slug)
    assert execute.check(slug, {}) == {}
    assert execute.check(slug, {"profile": "quick", "seeds": "3", "minutes": "2"}) == {
        "profile": "quick", "seeds": 3, "minutes": 2.0,
    }  # fmt: skip
    assert known["profile"] == "smoke"
    with pytest.raises(ReproError, match="has no parameter 'Profile'"):
        execute.check(slug, {"Profile": "quick"})
    with pytest.raises(ReproError, match="must be of type int"):
        execute.check(slug, {"seeds": "3.0"})


@pytest.fixture
def ran(monkeypatch, tmp_path):
    """ran(*words): what `repro run` would measure, (specs, minutes) a notebook, and then execute: jobs and profile."""
    from repro.core import sweep
    from repro.pages import table

    def run(*words: str) -> tuple[list, list, str]:
        measured, executed = [], []

        def measure(specs, store, workers, minutes, *_, **__):
            measured.append((specs, minutes))
            return [None] * len({sweep.key(s) for s in specs})

        monkeypatch.setattr(sweep, "measure", measure)
        monkeypatch.setattr(execute, "execute", lambda jobs, profile, **_: executed.extend((jobs, profile)) or {})
        monkeypatch.setattr(cli, "_build_gallery", lambda *given: tmp_path)
        monkeypatch.setattr(table, "rows", lambda *_: [])
        assert cli.main(["run", *words]) == 0
        return measured, *executed

    return run


def test_run_heeds_a_notebooks_own_parameters(ran):
    measured, jobs, where = ran("evaluation_protocol", "-p", "profile=smoke", "-p", "minutes=3", "-p", "data=digits")
    ((specs, minutes),) = measured
    assert minutes == 3
    assert {s.data.name for s in specs} == {"digits"}
    assert jobs == [("evaluation_protocol", {"profile": "smoke", "minutes": 3.0, "data": "digits"})]
    assert where == "smoke"
    ((_, minutes),) = ran("evaluation_protocol", "--profile", "smoke", "--minutes", "2")[0]
    assert 1.9 < minutes <= 2
    assert ran("evaluation_protocol", "-p", "results=stored")[0] == []


def test_with_all_notebooks_a_parameter_is_for_those_that_have_it(ran):
    _, jobs, _ = ran("--profile", "smoke", "-p", "data=digits")
    assert [slug for slug, given in jobs if "data" not in given] == ["feature_learning_2d"]
    assert len(jobs) == len(execute.available())


def test_kernels_which_run_in_another_folder_get_absolute_paths(ran, images, monkeypatch):
    monkeypatch.chdir(images.parent)
    for name in ("STORE", "DATA", "FIGURES"):
        monkeypatch.setenv(f"REPRO_{name}", "mine")
    measured, jobs, _ = ran("evaluation_protocol", "-p", "profile=smoke", "-p", "data=images")
    assert {s.data.name for s in measured[0][0]} == {str(images)}
    assert jobs == [("evaluation_protocol", {"profile": "smoke", "data": str(images)})]
    assert {os.environ[f"REPRO_{name}"] for name in ("STORE", "DATA", "FIGURES")} == {str(images.parent / "mine")}


def test_a_package_without_notebooks_says_where_they_are(said, monkeypatch, tmp_path):
    monkeypatch.setattr(places, "notebooks", lambda: tmp_path)
    assert "holds no notebooks: run this in a checkout of the repository" in said("run", "--profile", "smoke")


def test_a_folder_that_cannot_be_written_is_named(said, monkeypatch):
    def fails(*_):
        raise OSError(30, "Read-only file system", "/there/build")

    monkeypatch.setattr(cli, "_data", fails)
    assert said("data", "list") == (
        "repro: /there/build cannot be written (Read-only file system): check its permissions and run again; stored runs "
        "are intact."
    )


def test_missing_data_are_named_before_anything_is_measured(said, monkeypatch, tmp_path):
    from repro.core import sweep

    monkeypatch.setattr(sweep, "measure", None)
    for command in (("measure", "--store", tmp_path / "store"), ("run",)):
        said_so = said(*command, "batch_size", "evaluation_protocol", "--profile", "gpu")
        assert "The data set cifar10 is missing: prepare it with `python data_prep/cifar10.py --download`" in said_so
    monkeypatch.setattr(datasets, "is_prepared", lambda name: name == "cifar10")
    assert "The data set tiny_imagenet is missing: prepare it" in said("measure", "batch_size", "--profile", "cpu")


def test_an_odd_machine_measures(tmp_path):
    """A folder of temporary files whose name is too long for sockets, no locks, no affinity, no standard error, another
    encoding than UTF-8, and a store whose name is in none."""
    long = tmp_path / ("a" * 90)
    long.mkdir()
    script = "import os, sys, runpy; sys.modules['fcntl'] = sys.stderr = None; del os.sched_getaffinity; "
    script += "runpy.run_module('repro', run_name='__main__')"
    odd = {"TMPDIR": str(long), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = (
        "measure",
        "destroyed_pairs",
        "--profile",
        "smoke",
        "--workers",
        "2",
        "--store",
        str(tmp_path / "st\udcff"),
    )
    for command in (("-c", script), ("-m", "repro")):
        end = subprocess.run(
            [sys.executable, *command, *words],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=900, env={**os.environ, **odd},
        )  # fmt: skip
        assert "5 of 5 runs stored in" in end.stdout, end.stderr
        assert "Traceback" not in end.stderr


def test_a_notebook_that_fails_or_whose_kernel_dies_does_not_stop_the_others(monkeypatch, tmp_path):
    """One sentence each, with notebook and cell; the last one is executed."""
    slugs = execute.available()[:3]
    cells = ("import os; os.kill(os.getpid(), 9)", "raise KeyError('a')", "1 + 1")
    for slug, source in zip(slugs, cells):
        parts = [nbformat.v4.new_code_cell(text) for text in ("x = 1", source, "2")]
        nbformat.write(nbformat.v4.new_notebook(cells=parts), tmp_path / f"{execute.claims.notebooks()[slug]}.ipynb")
    monkeypatch.setattr(places, "notebooks", lambda: tmp_path)
    monkeypatch.setattr(places, "executed", lambda: tmp_path / "out")
    said = execute.execute([(slug, {}) for slug in slugs], "smoke")
    kept = tmp_path / "out" / "smoke" / "01_batch_size.failed.ipynb"
    assert said == {
        slugs[0]: "00_start_here did not finish in cell 2 (DeadKernelError: Kernel died): run it again to go on.",
        slugs[1]: f"01_batch_size stopped in cell 2: KeyError: 'a' (see {kept})",
    }
    assert sorted(p.name for p in kept.parent.iterdir()) == [kept.name, "02_augmentations.ipynb"]


def test_a_notebook_that_cannot_be_measured_does_not_stop_the_others(said, monkeypatch, tmp_path):
    from repro.core import sweep
    from repro.pages import table

    def measure(specs, *_, **__):
        if len(specs) > 20:
            raise ReproError("A stored run is damaged: delete it.")
        return [None] * len(specs)

    executed = []
    monkeypatch.setattr(sweep, "measure", measure)
    monkeypatch.setattr(execute, "execute", lambda jobs, *_, **__: executed.extend(slug for slug, _ in jobs) or {})
    monkeypatch.setattr(cli, "_build_gallery", lambda *given: tmp_path)
    monkeypatch.setattr(table, "rows", lambda *_: [])
    assert said("run", "batch_size", "start_here", "--profile", "smoke") == "repro: A stored run is damaged: delete it."
    assert executed == ["start_here"]


def test_results_that_are_not_there_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr(places, "reference", lambda: tmp_path)
    with pytest.raises(ReproError, match="no committed results of start_here"):
        notebook.measure(notebook.study("start_here", results="stored"))


# ------------------------------------------------------------------------------------------------------------ images


@pytest.fixture
def images(tmp_path):
    """A folder of two classes, thirty JPEGs each."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "images"
    for number, name in enumerate(("cats", "dogs")):
        (folder / name).mkdir(parents=True)
        for i in range(30):
            pixels = rng.integers(0, 256, (40, 36, 3), np.uint8) // 2 + 100 * number
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.jpg")
    return folder


def with_truncated_jpeg(folder):
    path = folder / "dogs" / "7.jpg"
    path.write_bytes(path.read_bytes()[:300])
    return f"The image {path} cannot be read"


def with_text_for_an_image(folder):
    (folder / "dogs" / "7.jpg").write_text("no image")
    return "dogs/7.jpg cannot be read"


def with_an_empty_image(folder):
    (folder / "dogs" / "7.jpg").write_bytes(b"")
    return "dogs/7.jpg cannot be read"


def with_an_empty_class(folder):
    (folder / "ants").mkdir()
    return "ants holds no images: add some, or remove the folder"


def with_one_class(folder):
    shutil.rmtree(folder / "dogs")
    return "holds 1 class folders and needs two or more"


def with_no_class(folder):
    for path in folder.iterdir():
        shutil.rmtree(path)
    return "holds 0 class folders"


def with_test_alone(folder):
    (folder / "test").mkdir()
    for name in ("cats", "dogs"):
        (folder / name).rename(folder / "test" / name)
    return "holds test/ but no train/: add train/"


def with_a_test_class_that_train_lacks(folder):
    for part in ("train", "test"):
        shutil.copytree(folder / "cats", folder / part / "cats")
        shutil.copytree(folder / "dogs", folder / part / "dogs")
    shutil.rmtree(folder / "dogs")
    (folder / "cats").rename(folder / "test" / "eels")
    return "holds the class 'eels'"


def with_a_folder_beside_train(folder):
    for part in ("train", "test"):
        shutil.copytree(folder / "cats", folder / part / "cats")
        shutil.copytree(folder / "dogs", folder / part / "dogs")
    shutil.rmtree(folder / "dogs")
    (folder / "cats").rename(folder / "unlabeled")
    return "holds train/ and beside it unlabeled/, which is no split of class folders"


def with_two_folders_of_one_meaning(folder):
    for part in ("train", "valid", "Validation"):
        shutil.copytree(folder / "cats", folder / part / "cats")
        shutil.copytree(folder / "dogs", folder / part / "dogs")
    for name in ("cats", "dogs"):
        shutil.rmtree(folder / name)
    return "holds Validation/ and valid/, which both mean val"


def with_splits_inside_of_classes(folder):
    for name in ("cats", "dogs"):
        (folder / name).rename(folder / "train")
        (folder / name).mkdir()
        (folder / "train").rename(folder / name / "train")
        shutil.copytree(folder / name / "train", folder / name / "test")
    shutil.rmtree(folder / "cats" / "test")
    shutil.copytree(folder / "cats" / "train", folder / "cats" / "extra")
    shutil.copytree(folder / "cats" / "train", folder / "dogs" / "extra")
    return "hold only folders, extra, train in each of them"


def with_loose_images_in_splits(folder):
    (folder / "cats").rename(folder / "train")
    (folder / "dogs").rename(folder / "test")
    return "holds test/ and train/, whose names are of splits and not of classes"


def with_splits_of_other_names(folder):
    for part, classes in (("images_train", ("cats", "dogs")), ("images_test", ("cats",))):
        for name in classes:
            shutil.copytree(folder / name, folder / part / name)
    for name in ("cats", "dogs"):
        shutil.rmtree(folder / name)
    return "holds images_test/ and images_train/, whose names are of splits"


def with_a_folder_that_cannot_be_listed(folder):
    (folder / "dogs" / "more").mkdir()
    return "dogs/more cannot be read (Permission denied): check its permissions"


def with_floats_for_pixels(folder):
    (folder / "dogs" / "7.ppm").write_bytes(b"Pf\n4 4\n-1.0\n" + np.linspace(0, 1, 16, dtype="<f4").tobytes())
    return "dogs/7.ppm cannot be read"  # "its pixels are fractions of an unknown whole"; Pillow 10 knows no such format


def with_a_test_of_loose_images(folder):
    (folder / "test").mkdir()
    (folder / "train").mkdir()
    shutil.copy(folder / "dogs" / "1.jpg", folder / "test" / "1.jpg")
    for name in ("cats", "dogs"):
        (folder / name).rename(folder / "train" / name)
    return "holds train/ and beside it test/, which is no split of class folders"


def with_too_few_images(folder):
    for path in [*folder.glob("cats/*"), *folder.glob("dogs/*")]:
        if path.name != "3.jpg":
            path.unlink()
    return "leaves no image for"


def test_train_alone_is_split_like_a_folder_without_it(images, tmp_path):
    from repro.data import folder

    before, classes = folder.read(images, 16)
    images.rename(tmp_path / "train")
    images.mkdir()
    (tmp_path / "train").rename(images / "train")
    after, same = folder.read(images, 16)
    assert same == classes == ["cats", "dogs"]
    for (x, labels), (y, again) in zip(before, after):
        assert (x == y).all()
        assert (labels == again).all()


def test_hidden_files_and_notes_are_no_images(images):
    """macOS leaves ._NAME.jpg beside every image it copies."""
    from repro.data import folder

    before, _ = folder.read(images, 16)
    (images / "dogs" / "._7.jpg").write_bytes(b"no image")
    (images / "dogs" / "notes.txt").write_text("no image")
    after, _ = folder.read(images, 16)
    assert [len(x) for x, _ in after] == [len(x) for x, _ in before]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Train", "", "Test"), ("training", "", "testing"), ("training_set", "", "test_set"), ("train", "valid", ""),
        ("train", "validation", ""), ("train2017", "val2017", ""), ("train", "dev", "test"), ("TRAIN", "Val", "TEST"),
    ],
)  # fmt: skip
def test_splits_are_known_by_their_usual_names(images, tmp_path, train, val, test):
    """The split that is read at the end holds other images than train, and none is lost."""
    from repro.data import folder, tree

    for number, name in enumerate(n for n in (train, val, test) if n):
        for c in ("cats", "dogs"):
            (tmp_path / "set" / name / c).mkdir(parents=True)
            for i in range(10 * number, 10 * number + 10):
                shutil.copy(images / c / f"{i}.jpg", tmp_path / "set" / name / c / f"{i}.jpg")
    layout = tree.find(tmp_path / "set")
    assert {s: p.name for s, p in layout.splits.items()} == {
        s: n for s, n in (("train", train), ("val", val), ("test", test)) if n
    }
    parts = folder.splits(layout)
    assert {p.parent.parent.name for p, _ in parts["test"]} == {test or val}
    assert len(parts["test"]) == 20
    assert {p.parent.parent.name for p, _ in parts["val"]} <= {val if val and test else train}
    assert sum(map(len, parts.values())) == 20 * (bool(val) + bool(test) + 1)


def test_a_class_may_be_called_train(images):
    from repro.data import folder

    (images / "cats").rename(images / "train")
    _, classes = folder.read(images, 16)
    assert classes == ["dogs", "train"]


def test_what_is_no_image_of_the_readers_is_passed_over_and_counted(images, tmp_path, capsys):
    from repro.data import folder, tree

    before = [len(x) for x, _ in folder.read(images, 16)[0]]
    for hidden in (".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git", "lost+found"):
        (images / "dogs" / hidden).mkdir()
        shutil.copy(images / "dogs" / "7.jpg", images / "dogs" / hidden / "7-copy.jpg")
        (images / hidden).mkdir()
        shutil.copy(images / "dogs" / "7.jpg", images / hidden / "7-copy.jpg")
    (images / "dogs" / "notes.gif").write_bytes(b"GIF")
    (images / "dogs" / "Thumbs.db").write_bytes(b"x")
    (images / "dogs" / "gone.jpg").symlink_to("/nowhere.jpg")
    os.mkfifo(images / "dogs" / "pipe.jpg")  # opening it would wait for ever
    layout = tree.find(images)
    assert layout.classes == ["cats", "dogs"]
    assert layout.passed == {
        "in hidden or system folders": 5, "of the ending .gif": 1, "hidden or system files": 1, "broken links or no files": 2
    }  # fmt: skip
    assert [len(x) for x, _ in folder.read(images, 16)[0]] == before
    folder.tell(images)
    assert "passed over: 2 broken links or no files, 1 hidden or system files" in capsys.readouterr().err


def test_links_to_folders_are_followed_once(images, tmp_path):
    from repro.data import tree

    (images / "cats").rename(tmp_path / "elsewhere")
    (images / "cats").mkdir()
    (images / "cats" / "linked").symlink_to(tmp_path / "elsewhere")
    (images / "dogs" / "up").symlink_to(images / "dogs")
    (images / "dogs" / "out").symlink_to(images)
    files = tree.find(images).files[""]
    assert [sum(n == c for _, n in files) for c in (0, 1)] == [30, 30]


def test_names_of_any_bytes_are_read_and_shown(images):
    from repro.data import folder

    strange = os.fsencode(images) + b"/gro\xdfe"
    os.mkdir(strange)
    for i in range(30):
        shutil.copy(images / "dogs" / f"{i}.jpg", strange + b"/%d\xe4.jpg" % i)
    _, classes = folder.read(images, 16)
    assert classes == ["cats", "dogs", "gro\ufffde"]
    for content in ("Große Hunde".encode("latin-1"), "Große Hunde".encode("utf-16"), "Große Hunde".encode("utf-8-sig")):
        (images / "NAME.txt").write_bytes(content + "\n".encode("utf-16-le" if content[:2] == b"\xff\xfe" else "ascii"))
        assert folder.title(images) == "Große Hunde"


def test_what_is_odd_of_a_folder_is_told_once_before_it_is_measured(images, tmp_path, capsys):
    """By the command: its workers would say it once each."""
    shutil.copytree(images, tmp_path / "set" / "test")
    shutil.copytree(images, tmp_path / "set" / "train")
    (tmp_path / "set" / "train" / "cats" / "notes.gif").write_bytes(b"GIF")
    (images / "cats" / "2.jpg").write_bytes((images / "dogs" / "2.jpg").read_bytes())
    (images / "cats").rename(images / "Dogs")
    passed, copies = "passed over: 1 of the ending .gif.", "60 images lie in two splits or more, byte for byte."
    twins, both = "'Dogs' is the name of two classes but for", "1 images lie in two classes or more, byte for byte."
    for folder, sentences in ((tmp_path / "set", (passed, copies)), (images, (twins, both))):
        notebook.require([notebook.study("start_here", "smoke", data=str(folder))] * 2, Store(tmp_path / "store"))
        said = capsys.readouterr().err
        assert [said.count(f"repro: {folder}: {sentence}") for sentence in sentences] == [1, 1], said


def test_a_class_is_never_without_an_image_to_train_on(images, capsys):
    from repro.data import folder, tree

    for i in range(40):
        (images / f"rare{i}").mkdir()
        shutil.copy(images / "dogs" / "3.jpg", images / f"rare{i}" / f"{i}.jpg")
    parts = tree.divide(tree.find(images).files[""])
    assert {n for _, n in parts["train"]} == set(range(42))
    assert sum(map(len, parts.values())) == 100
    folder.tell(images)
    assert "test has no image of the class 'rare0' and 39 more" in capsys.readouterr().err


def test_a_folder_of_thousands_of_classes_is_split_by_class_and_quickly_tried(tmp_path):
    """Each class has an image to train on, prepared or not; a small part of it is small, and costs no product of classes
    and images."""
    from repro import data
    from repro.data import folder, tree

    classes, one = 1000, tmp_path / "one.png"
    Image.new("RGB", (8, 8)).save(one)
    for i in range(classes):
        (tmp_path / "images" / f"c{i:05}").mkdir(parents=True)
        for j in range(2):
            os.link(one, tmp_path / "images" / f"c{i:05}" / f"{j}.png")
    layout = tree.find(tmp_path / "images")
    parts = folder.splits(layout)
    assert {number for _, number in parts["train"]} == set(range(classes))
    assert sum(map(len, parts.values())) == 2 * classes
    loaded = data.load(str(tmp_path / "images"), 16, (("images", 64),))
    assert 32 <= len(loaded.train.images) <= 64
    assert loaded.tasks == {"class": classes}
    split = data.Split(loaded.train.images, {"class": torch.arange(20_000) // 4})
    assert (torch.bincount(split.labels["class"][data.subset(split, 0.5, 0)]) == 2).all()


def test_a_folder_is_checked_before_a_night_of_measuring(images, capsys):
    """How it is understood, every file that cannot be read, copies: exact, across classes, and encoded anew."""
    with_truncated_jpeg(images)
    with_text_for_an_image(images)
    (images / "cats" / "8.jpg").write_bytes(b"")
    x, y = np.meshgrid(np.linspace(0, 255, 48), np.linspace(0, 255, 48))
    gradient = Image.fromarray(np.stack([x, y, 255 - x], 2).astype(np.uint8))
    for folder in ("cats", "dogs"):
        gradient.save(images / folder / "the same.jpg", quality=95)
    for i in range(20):  # somewhere among train and test, whatever the hash says
        gradient.rotate(90).save(images / "dogs" / f"turned{i}.jpg", quality=60 + i)
    exif = Image.Exif()
    exif[0x0112] = 6
    gradient.save(images / "dogs" / "exif.jpg", exif=exif)
    assert cli.main(["data", "check", str(images)]) == 0
    said = capsys.readouterr().out
    for part in (
        "images: 2 classes, 83 images", "by a hash of each file's name", "dogs/7.jpg cannot be read (",
        "cats/8.jpg cannot be read (",
        "1 images lie in two classes or more, byte for byte", "test images look like an image of train",
        "shorter side: 36 to 48 pixels", "modes: 81 RGB", "1 images carry an EXIF orientation",
        "train images as 32 x 32 pixels, of each the middle square, in memory; resnet18, 50 epochs in batches of 256",
    ):  # fmt: skip
        assert part in said, said
    assert said.count("cannot be read (") == 2
    assert cli.main(["data", "check"]) == 2
    assert cli.main(["data", "check", str(images / "nowhere")]) == 2
    assert "There is no folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage",
    [
        with_truncated_jpeg, with_text_for_an_image, with_an_empty_image, with_an_empty_class, with_one_class,
        with_no_class, with_test_alone, with_a_test_class_that_train_lacks, with_too_few_images,
        with_a_folder_beside_train, with_two_folders_of_one_meaning, with_splits_inside_of_classes,
        with_a_test_of_loose_images, with_loose_images_in_splits, with_splits_of_other_names,
        with_a_folder_that_cannot_be_listed, with_floats_for_pixels,
    ],
)  # fmt: skip
def test_a_broken_folder_of_images(said, images, tmp_path, damage, monkeypatch):
    part, scandir = damage(images), os.scandir

    def listed(path="."):
        if str(path).endswith("dogs/more"):  # root may list what nobody else may
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", listed)
    before = snapshot(images)
    words = ("measure", "start_here", *SMOKE, "--seeds", 1, "--store", tmp_path / "store", "--data", images)
    assert part in said(*words)
    assert snapshot(images) == before


def test_a_mended_folder_of_images_is_measured(said, images, tmp_path):
    """Mending goes on from the same command; NAME.txt is the name that figures print, or the folder's own."""
    whole = snapshot(images)
    with_truncated_jpeg(images)
    words = ("measure", "start_here", *SMOKE, "--seeds", 1, "--store", tmp_path / "store", "--data", images)
    said(*words)
    for name, content in whole.items():
        (images / name).write_bytes(content)
    assert cli.main(list(map(str, words))) == 2  # thirty images are too few for the plan's batches: said, not thrown
    for name in ("cats", "dogs"):
        for i in range(30, 200):
            shutil.copy(images / name / f"{i % 30}.jpg", images / name / f"{i}.jpg")
    (images / "NAME.txt").write_text("")
    from repro import data

    data.load.cache_clear()
    assert cli.main(list(map(str, words))) == 0
    store = Store(tmp_path / "store")
    assert {store.get(k).provenance["data_title"] for k in store.keys()} == {"images"}  # noqa: SIM118


# ------------------------------------------------------------------------------------------------------- stored runs


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A store with start_here's smoke runs."""
    folder = tmp_path_factory.mktemp("filled") / "store"
    assert measured(folder) == 0
    return folder


@pytest.mark.parametrize("damage", ["cut", "zeros", "foreign"])
def test_a_damaged_or_foreign_run(said, filled, tmp_path, damage):
    store = tmp_path / "store"
    shutil.copytree(filled, store)
    victim = sorted(store.glob("[!.]*/run.json"))[1]
    text = victim.read_text()
    if damage == "foreign":
        victim.write_text(json.dumps({**json.loads(text), "format": FORMAT + 1}))
    else:
        victim.write_text(text[: len(text) // 2] if damage == "cut" else "\0" * len(text))
    before = snapshot(store)
    sentence = said("measure", "start_here", *SMOKE, "--store", store)
    assert str(victim) in sentence
    assert ("another version" if damage == "foreign" else "damaged: delete the folder") in sentence
    assert snapshot(store) == before
    shutil.rmtree(victim.parent)  # as the sentence says
    assert measured(store) == 0
    again, first = json.loads(victim.read_text()), json.loads(text)
    assert again["metrics"] == first["metrics"]
    assert again["curves"] == first["curves"]


def test_runs_of_other_seeds_stay_when_more_are_measured(filled, tmp_path):
    store = tmp_path / "store"
    shutil.copytree(filled, store)
    before = snapshot(store)
    assert measured(store, "--seeds", 3) == 0
    after = snapshot(store)
    assert {k: after[k] for k in before} == before
    assert len(after) > len(before)


def test_a_store_that_cannot_be_written(said, filled, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    assert "cannot be made" in said("measure", "start_here", *SMOKE, "--store", tmp_path / "file")
    monkeypatch.setattr(os, "access", lambda *_: False)
    before = snapshot(filled)
    assert measured(filled) == 0  # what is stored is read
    assert "cannot be written" in said("measure", "batch_size", *SMOKE, "--store", filled)
    assert snapshot(filled) == before


def test_a_disk_that_fills_up(said, filled, tmp_path, monkeypatch):
    """At each moment of writing in turn: what was stored is whole, and with space again the command goes on."""
    store = tmp_path / "store"
    fsync = os.fsync
    for left in (0, 1, random.Random(0).randrange(2, 5)):
        shutil.rmtree(store, ignore_errors=True)
        count = [left]

        def full(handle, count=count):
            count[0] -= 1
            if count[0] < 0:
                raise OSError(28, "No space left on device")
            fsync(handle)

        monkeypatch.setattr(os, "fsync", full)
        assert "is full: free some space and run again" in said("measure", "start_here", *SMOKE, "--store", store)
        monkeypatch.setattr(os, "fsync", fsync)
        for name in Store(store).keys():  # noqa: SIM118
            Store(store).get(name)
        assert not list(store.glob(".tmp-*"))
    assert measured(store) == 0
    strip = {k: json.loads(v)["metrics"] for k, v in snapshot(filled).items() if k.endswith("run.json")}
    assert {k: json.loads(v)["metrics"] for k, v in snapshot(store).items() if k.endswith("run.json")} == strip


def test_a_spent_time_budget_is_said_and_goes_on(said, filled, tmp_path):
    store = tmp_path / "store"
    words = ("measure", "start_here", *SMOKE, "--store", store)
    assert "to go: run the same command to go on" in said(*words, "--minutes", 1e-6, code=75)
    assert measured(store) == 0
    assert sorted(p.name for p in store.glob("[!.]*")) == sorted(p.name for p in filled.glob("[!.]*"))


@pytest.mark.parametrize(
    "source", ["seeds = (", "seeds = 2 + two", "a, b = 1, 2", "seeds = range(3)", "study.seeds = 3"],
    ids=["cut", "a name", "two at once", "a call", "a field"],
)  # fmt: skip
def test_an_edited_parameters_cell_that_cannot_be_read(tmp_path, monkeypatch, source):
    path = tmp_path / "01_batch_size.ipynb"
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["parameters"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    monkeypatch.setattr(places, "notebooks", lambda: tmp_path)
    with pytest.raises(ReproError, match=r"parameters cell of .*01_batch_size.ipynb cannot be read"):
        execute.parameters("batch_size")
    path.write_text("{")
    with pytest.raises(ReproError, match="is no notebook"):
        execute.parameters("batch_size")

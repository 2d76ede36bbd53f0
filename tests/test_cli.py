import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
from typer.testing import CliRunner

from bnnlib import bench, studies
from bnnlib.cli import _Console, app, main
from bnnlib.data import samples
from bnnlib.studies import Run
from bnnlib.training import Settings


def bnnlib(*arguments, **environment):
    """What the command does, without the start of a process, which takes longer than most of what is asked here."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", ["bnnlib", *arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    sys.modules.pop("mine", None)  # a study of one's own: the next test has another
    return SimpleNamespace(returncode=ended.value.code or 0, stdout=out.getvalue(), stderr=err.getvalue())


def process(*arguments, **environment):
    """The same as a user starts it."""
    return subprocess.run(
        [sys.executable, "-m", "bnnlib.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("arguments", "taught"),
    [
        ((), ["data", "study", "bench", "pack", "predict", "export", "check"]),
        (("pack",), ["Id of a finished run", "Example"]),
        (("predict",), ["--top", "WAV", "Example"]),
        (("export", "c"), ["--name", "C99", "Example"]),
        (("export", "onnx"), ["standard operators", "Example"]),
        (("export", "wasm"), ["WebAssembly", "offline", "Example"]),
        (("export", "biometrics"), ["369,153", "--weights", "Example"]),
        (("check", "biometrics"), ["369,153", "Example"]),
        (("data",), ["status", "fetch", "sample"]),
        (("study",), ["list", "run", "show"]),
        (("study", "run"), ["--workers", "--threads", "--results", "Example"]),
    ],
)
def test_help_teaches(arguments, taught):
    text = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "120"}).output
    assert all(word in text for word in taught)


def test_unknown_names_end_in_one_line_and_status_two():
    for call, arguments in (
        (process, ("study", "run", "nope")),
        (bnnlib, ("study", "show", "nope")),
        (bnnlib, ("data", "fetch", "nope")),
    ):
        done = call(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: no ")
        assert "known: " in done.stderr
        assert "Traceback" not in done.stderr


def test_a_network_of_signs_is_exported_and_checked(tmp_path):
    from safetensors.torch import save_file

    from bnnlib import models
    from bnnlib.packed.biometrics import SignNetwork

    model = models.BinaryBiometrics("larq-approx-sign")
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    text = tmp_path / "net.txt"
    done = bnnlib("export", "biometrics", str(text), "--weights", str(tmp_path / "net.safetensors"))
    assert done.returncode == 0, done.stderr
    assert (SignNetwork.read_text(text).values() == model.sign_network().values()).all()
    done = bnnlib("check", "biometrics", str(text))
    assert done.returncode == 0
    assert "369,153 values, each 1 or -1" in done.stdout
    lines = text.read_text().splitlines()
    text.write_text("\n".join([*lines[:70_000], "0", *lines[70_001:]]) + "\n")
    done = bnnlib("check", "biometrics", str(text))
    assert done.returncode == 2
    assert "line 70,001: must be 1 or -1, it is '0'" in done.stderr
    for content, message in (
        ("1.0\n" * 369_153, "line 1: must be 1 or -1, it is '1.0'"),
        ("1\n" * 900_000, "must have 369,153 lines, it has 738,306 and more"),
    ):
        text.write_text(content)
        assert message in bnnlib("check", "biometrics", str(text)).stderr
    done = bnnlib("export", "biometrics", str(tmp_path / "other.txt"), "--weights", str(text))
    assert done.stderr.startswith(f"error: {text} is no safetensors file: ")
    other = models.BinaryBiometrics("larq-approx-sign", variant="batch-norm")
    save_file(other.state_dict(), tmp_path / "norm.safetensors")
    done = bnnlib("export", "biometrics", str(tmp_path / "other.txt"), "--weights", str(tmp_path / "norm.safetensors"))
    assert "is no state dict of the all-binary network: " in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "other.txt").exists()


def test_without_a_trained_network_the_export_says_what_to_run(tmp_path):
    done = bnnlib("export", "biometrics", str(tmp_path / "net.txt"), "--results", str(tmp_path))
    assert done.returncode == 2
    assert "bnnlib study run speaker-gender --run all-binary-agreeing-s0-" in done.stderr
    assert not (tmp_path / "net.txt").exists()


RUN = 'Run("a", "float", "mlp", "FashionMNIST", Settings(epochs=1), "quick", {"train_size": 300}, {}, {"width": 8})'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("STUDY = (", "mine.py ends in an error: SyntaxError: '(' was never closed"),
        ("import nothing_of_that_name", "mine.py ends in an error: ModuleNotFoundError: No module named"),
        (f"STUDY = Study('s', '?', ({RUN.replace('float', 'flaot')},))", "no method 'flaot'; known: float,"),
        (f"STUDY = Study('s', '?', ({RUN.replace('train_size', 'size')},))", "FashionMNIST has no option size; known:"),
        (f"STUDY = Study('s', '?', ({RUN},))", "nothing can be written in taken/s"),
    ],
)
def test_a_study_of_ones_own_that_cannot_run_ends_in_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("a file where a folder should be")
    imports = "from bnnlib.studies import Run, Study\nfrom bnnlib.training import Settings\n"
    (tmp_path / "mine.py").write_text(imports + text)
    results = "taken" if "nothing can be written" in message else "results"
    done = bnnlib("study", "run", "mine.py", "--results", results, "--work", "work")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.splitlines()) == 1


def test_what_no_sample_is_cut_of_and_a_class_no_script_can_have_are_said(tmp_path):
    done = bnnlib("data", "sample", "CIFAR10", "--to", str(tmp_path))
    assert done.stderr.startswith("error: no sample is cut of CIFAR10; there can be one of FashionMNIST, MNIST")
    done = bnnlib("export", "onnx", "fashion-mnist-1-bit", str(tmp_path))
    assert "the ONNX file needs a name" in done.stderr
    np.save(tmp_path / "nan.npy", np.full((1, 28, 28), np.nan, np.float32))
    done = bnnlib("predict", "fashion-mnist-1-bit", str(tmp_path / "nan.npy"))
    assert "nan.npy: it has values that are not finite" in done.stderr


def test_results_of_ones_own_study_lie_beside_it_and_an_interrupt_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    imports = "from bnnlib.studies import Run, Study\nfrom bnnlib.training import Settings\n"
    (tmp_path / "mine.py").write_text(f"{imports}STUDY = Study('own', '?', ({RUN},), checkpoints={{'a'}})")
    done = process("study", "run", "mine.py", "--work", "work")
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "results" / "own" / "runs").glob("*.json")
    done = bnnlib("pack", run.stem, "net.safetensors", "--study", "mine.py")
    assert "the same class on 500 of 500 validation samples" in done.stdout, done.stderr
    assert list(studies.results("mine.py").runs().index) == [run.stem]
    assert studies.comparison("mine.py").loc["a", "seeds"] == 1
    sys.modules.pop("mine")
    shown = bnnlib("study", "show", "mine.py", "--results", "elsewhere").stdout
    assert "looked in elsewhere/own" in shown

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(studies, "execute", interrupted)
    told = CliRunner().invoke(app, ["study", "run", "mine.py"])
    assert told.exit_code == 130
    assert "interrupted: 1 of 1 runs are finished; the same command goes on" in told.output


def test_study_list_shows_every_study_and_show_what_is_missing(tmp_path):
    listed = bnnlib("study", "list", "--results", str(tmp_path), COLUMNS="200").stdout
    assert all(name in listed for name in studies.STUDIES)
    assert "0 of 15" in listed
    shown = bnnlib("study", "show", "fashion-headline", "--results", str(tmp_path)).stdout
    assert "No run is finished yet: bnnlib study run fashion-headline" in shown


def test_study_run_and_show_with_rows(tmp_path, monkeypatch):
    settings = Settings(epochs=1, batch_size=100, device="cpu")
    options = {"data_options": {"train_size": 200}, "model_options": {"width": 8}}
    run = Run("toy arm", "float", "mlp", "FashionMNIST", settings, "quick", **options)
    monkeypatch.setitem(studies.STUDIES, "toy", studies.Study("toy", "Does it run?", (run,)))
    options = ["--results", str(tmp_path), "--work", str(tmp_path / "work")]
    done = CliRunner().invoke(app, ["study", "run", "toy", "--workers", "1", *options])
    assert done.exit_code == 0, done.output
    assert "runs done now: 1; finished: 1 of 1" in done.output
    shown = CliRunner().invoke(app, ["study", "show", "toy", "--results", str(tmp_path)], env={"COLUMNS": "200"}).output
    assert "toy arm" in shown
    assert "toy-arm" in shown  # the rest of the id may stand on the next line


def test_bench_steps_stores_its_table_with_provenance(tmp_path):
    done = bnnlib("bench", "steps", "--model", "mlp", "--batch-size", "8", "--rounds", "3", "--results", str(tmp_path))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "bench" / "steps-mlp.csv").read_text()
    assert "binaryconnect-stochastic" in text
    assert "processor" in text


def test_bench_arms_times_the_networks_of_a_study_as_they_are(tmp_path, monkeypatch):
    runs = [
        Run(f"{width} units", "float", "mlp", "FashionMNIST", Settings(seed=seed), model_options={"width": width})
        for seed in range(2)
        for width in (16, 512)
    ]
    monkeypatch.setitem(studies.STUDIES, "toy", studies.Study("toy", "Which is slower?", tuple(runs)))
    options = ["--batch-size", "32", "--rounds", "3", "--results", str(tmp_path)]
    done = CliRunner().invoke(app, ["bench", "arms", "toy", *options])
    assert done.exit_code == 0, done.output
    (table,) = bench.stored(tmp_path / "bench" / "arms-toy.csv").values()
    assert table["arm"].tolist() == ["16 units", "512 units"]
    assert table["ratio"].iloc[0] == 1
    assert table["peak_ratio"].iloc[1] > 2


def test_names_with_brackets_do_not_break_messages(tmp_path):
    done = bnnlib("data", "status", BNNLIB_DATA=str(tmp_path / "[old]"), XDG_CACHE_HOME=str(tmp_path), COLUMNS="200")
    assert done.returncode == 0
    done = bnnlib("data", "fetch", "[/data/x]")
    assert done.returncode == 2
    assert "no data set '[/data/x]'" in done.stderr


def test_data_status_tells_absence_without_failing(tmp_path):
    done = bnnlib("data", "status", BNNLIB_DATA="", XDG_CACHE_HOME=str(tmp_path), COLUMNS="200")
    assert done.returncode == 0
    assert "absent" in done.stdout


def test_data_status_fails_on_a_corrupt_file(tmp_path):
    place = tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    done = bnnlib("data", "status", BNNLIB_DATA=str(tmp_path), XDG_CACHE_HOME=str(tmp_path), COLUMNS="400")
    assert done.returncode == 1
    assert "corrupt" in done.stdout


def test_an_unreadable_data_file_is_a_row_and_the_others_follow(tmp_path):
    (tmp_path / "FashionMNIST" / "raw" / "train-images-idx3-ubyte.gz").mkdir(parents=True)
    done = bnnlib("data", "status", BNNLIB_DATA=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert done.returncode == 1
    assert "unreadable" in done.stdout
    assert done.stdout.count("run: bnnlib data fetch MNIST") == 4


def test_data_sample_writes_to_the_folder_that_is_named(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(samples, "make", lambda name, to: asked.append((name, to)) or [])
    assert CliRunner().invoke(app, ["data", "sample", "MNIST", "--to", str(tmp_path)]).exit_code == 0
    assert asked == [("MNIST", tmp_path)]


@pytest.mark.parametrize("columns", ["40", "80"])
def test_nothing_is_cut_in_a_pipe(tmp_path, columns):
    folder = tmp_path / ("a-folder-with-a-long-name-" * 6)
    place = folder / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    done = bnnlib("data", "status", BNNLIB_DATA=str(folder), XDG_CACHE_HOME=str(tmp_path), COLUMNS=columns)
    (line,) = [line for line in done.stdout.splitlines() if "corrupt" in line]
    assert str(place) in line
    assert "put the official file there." in line
    assert "…" not in done.stdout


def test_a_screen_still_has_its_width():
    console = _Console(force_terminal=True, width=60, height=25, file=io.StringIO())
    assert console.size.width == 60
    assert _Console(file=io.StringIO()).size.width > 1000


def test_an_ascii_terminal_is_printed_to(tmp_path):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    folder = tmp_path / "données"
    place = folder / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"damaged")
    done = process("data", "status", BNNLIB_DATA=str(folder), XDG_CACHE_HOME=str(tmp_path), **ascii_only)
    assert done.returncode == 1, done.stderr
    assert "corrupt" in done.stdout
    assert done.stdout.isascii()


def test_the_package_runs_as_a_module_and_says_its_version():
    done = subprocess.run([sys.executable, "-m", "bnnlib", "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"bnnlib {version('bnnlib')}\n")


def test_bench_steps_lists_the_models_that_it_knows(monkeypatch):
    from bnnlib import models

    monkeypatch.delitem(models.MODELS, "wave-net", raising=False)  # another test's own network, in this process
    done = bnnlib("bench", "steps", "--model", "nope")
    assert done.returncode == 2
    known = (
        "binary-biometrics, command-cnn, compact-cnn, mlp, mobilenet-v2, resnet18, resnet20, separable-cnn, wake-word"
    )
    assert done.stderr == f"error: no model 'nope'; known: {known}\n"


def test_bench_matmul_refuses_sizes_without_room_before_anything_is_made(tmp_path):
    done = bnnlib("bench", "matmul", "--size", "1000000x1000000x1000000", "--results", str(tmp_path / "mine"))
    assert done.returncode == 2
    needed = 52 * 10**12 / 2**30  # 16 bytes for each of 2 x 10^12 signs, 20 for each of 10^12 products
    assert f"1000000x1000000x1000000 needs about {needed:,.1f} GiB of memory and " in done.stderr
    assert "GiB are available: choose a smaller size" in done.stderr
    assert not (tmp_path / "mine").exists()


def test_a_kept_run_is_packed_and_says_what_it_sees(tmp_path):
    from PIL import Image

    from bnnlib.data.idx import read_idx

    done = bnnlib("pack", "nothing", str(tmp_path / "net"))
    assert done.returncode == 2
    assert "deterministic-s0-704886a9" in done.stderr  # what there is
    images = read_idx(samples.find("FashionMNIST", "raw/t10k-images-idx3-ubyte.gz"))
    labels = read_idx(samples.find("FashionMNIST", "raw/t10k-labels-idx1-ubyte.gz"))
    net = tmp_path / "net.safetensors"
    packed_of_a_run("deterministic-s0-704886a9").save(net)
    trousers = images[labels == 1][0]
    Image.fromarray(trousers).save(tmp_path / "trousers.png")
    Image.fromarray(trousers).resize((100, 100), Image.Resampling.BILINEAR).convert("RGB").save(tmp_path / "large.png")
    done = bnnlib("predict", str(net), str(tmp_path / "trousers.png"), str(tmp_path / "large.png"), "--top", "1")
    assert done.returncode == 0, done.stderr
    assert [line.split(": ")[1].split()[0] for line in done.stdout.splitlines()] == ["Trouser", "Trouser"]
    done = bnnlib("export", "c", str(net), str(tmp_path / "c"), "--name", "shoes")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"shoes.h", "shoes.c"}
    done = bnnlib("export", "onnx", str(net), str(tmp_path / "shoes.onnx"))
    assert done.returncode == 0, done.stderr
    assert b"MaxPool" in (tmp_path / "shoes.onnx").read_bytes()
    done = bnnlib("export", "wasm", str(net), str(tmp_path / "Shoes.js"))
    assert done.returncode == 0, done.stderr
    assert "class Shoes" in (tmp_path / "Shoes.js").read_text()
    (tmp_path / "text.png").write_text("no image")
    assert "no image that can be read" in bnnlib("predict", str(net), str(tmp_path / "text.png")).stderr
    assert "damaged" in bnnlib("predict", str(tmp_path / "text.png"), str(tmp_path / "trousers.png")).stderr
    by_name = bnnlib("predict", "fashion-mnist-1-bit", str(tmp_path / "trousers.png"), "--top", "1")
    assert "Trouser" in by_name.stdout
    unknown = bnnlib("predict", "shoes", str(tmp_path / "trousers.png"))
    assert unknown.returncode
    assert "there is no file shoes; the networks that come with the library are fashion-mnist-1-bit" in unknown.stderr


def packed_of_a_run(run_id):
    """The packed network of a run of the course, as `bnnlib pack` makes it, without its data set."""
    from safetensors.torch import load_file

    from bnnlib import data, pack
    from bnnlib.data import inputs

    _, run, weights = studies.kept(run_id)
    model = run.build_model()
    model.load_state_dict(load_file(weights))
    splits = data.load("FashionMNIST", "quick")
    return pack(model, classes=splits.classes, about={"input": inputs.described(splits)})

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from bnnlib import studies
from bnnlib.cli import app
from bnnlib.studies import Run
from bnnlib.training import Settings


def bnnlib(*arguments, **environment):
    import os

    return subprocess.run(
        [sys.executable, "-m", "bnnlib.cli", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("arguments", "taught"),
    [
        ((), ["data", "study"]),
        (("data",), ["status", "fetch", "sample"]),
        (("study",), ["list", "run", "show"]),
        (("study", "run"), ["--workers", "--threads", "--results", "Example"]),
    ],
)
def test_help_teaches(arguments, taught):
    text = CliRunner().invoke(app, [*arguments, "--help"], env={"COLUMNS": "120"}).output
    assert all(word in text for word in taught)


def test_unknown_names_end_in_one_line_and_status_two():
    for arguments in (("study", "run", "nope"), ("study", "show", "nope"), ("data", "fetch", "nope")):
        done = bnnlib(*arguments)
        assert done.returncode == 2
        assert done.stderr.startswith("error: no ")
        assert "known: " in done.stderr
        assert "Traceback" not in done.stderr


def test_study_list_shows_every_study_and_show_what_is_missing(tmp_path):
    listed = bnnlib("study", "list", "--results", str(tmp_path), COLUMNS="200").stdout
    assert all(name in listed for name in studies.STUDIES)
    assert "0 of 15" in listed
    shown = bnnlib("study", "show", "fashion-binaryconnect", "--results", str(tmp_path)).stdout
    assert "No run is finished yet: bnnlib study run fashion-binaryconnect" in shown


def test_study_run_and_show_with_rows(tmp_path, monkeypatch):
    settings = Settings(epochs=1, batch_size=100, device="cpu")
    run = Run("toy arm", "float", "mlp", "FashionMNIST", settings, "quick", 200, model_options={"width": 8})
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

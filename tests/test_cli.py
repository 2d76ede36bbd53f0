import subprocess
import sys

import pytest
from typer.testing import CliRunner

from bnnlib.cli import app


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


def test_study_list_shows_every_study(tmp_path):
    done = bnnlib("study", "list", "--help")
    assert done.returncode == 0
    shown = bnnlib("study", "show", "fashion-binaryconnect", "--results", str(tmp_path)).stdout
    assert "No run is finished yet: bnnlib study run fashion-binaryconnect" in shown


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

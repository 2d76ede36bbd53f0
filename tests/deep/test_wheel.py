"""The wheel holds the package and nothing that lies about beside it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from checkout import copy_checkout, tracked_files

STRAY = (
    "stray.c",
    "notes.txt",
    "__pycache__/stale.cpython-311.pyc",
    "data/samples/MNIST/raw/copied.gz",
    "kernels/.ipynb_checkpoints/packing-checkpoint.py",
    "layers/__pycache__/stale.cpython-311.pyc",
)


def run(*command, **options):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a checkout in which other files lie about."""
    folder = tmp_path_factory.mktemp("wheel")
    copy_checkout(folder / "checkout")
    for name in STRAY:
        path = folder / "checkout" / "bnnlib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("stray")
    build = ["-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, folder / "checkout"]
    run(sys.executable, *build)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the wheel's content, and what to set so that it is imported and the checkout is not."""
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", target, wheel)
    packages = Path(np.__file__).parents[1]
    return target, {**os.environ, "PYTHONPATH": f"{target}{os.pathsep}{packages}"}


def test_the_wheel_holds_the_package_and_nothing_else(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    compiled = {name for name in held if name.startswith("bnnlib/kernels/_kernels.")}
    tracked = {path.as_posix() for path in tracked_files() if path.parts[0] == "bnnlib"}
    sources = {name for name in tracked if name.startswith("bnnlib/kernels/") and not name.endswith(".py")}
    assert held - compiled == tracked - sources
    assert len(compiled) == 1
    assert compiled.pop().endswith((".so", ".pyd"))


def test_the_installed_kernels_run(installed, tmp_path):
    target, environment = installed
    code = (
        "import bnnlib, bnnlib.kernels, numpy as np; x = np.ones((2, 70), np.float32); "
        "print(bnnlib.kernels.__file__, bnnlib.kernels.matmul(*[bnnlib.kernels.pack(x)] * 2, 70).tolist())"
    )
    # -S: no site, so that an editable installation of the checkout is not found
    said = run(sys.executable, "-S", "-c", code, cwd=tmp_path, env=environment)
    assert said.startswith(str(target))
    assert said.endswith("[[70, 70], [70, 70]]\n")


def test_the_installed_package_is_not_written_to_by_data_sample(installed, tmp_path):
    _, environment = installed
    command = [sys.executable, "-S", "-m", "bnnlib.cli", "data", "sample"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert "--to FOLDER" in done.stderr

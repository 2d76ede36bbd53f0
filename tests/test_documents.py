"""README, CONTRIBUTING and the reference keep their word."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bnnlib.training import accuracy

ROOT = Path(__file__).parents[1]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "bnnlib/data/samples/README.md"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_and_images_exist(name):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / name).read_text()):
        if "://" not in target:
            assert ((ROOT / name).parent / target).exists(), target


def test_the_python_of_the_readme_runs(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert blocks
    done = subprocess.run([sys.executable, "-c", "\n".join(blocks)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", ["xnor-port", "binaryconnect-stochastic", "ir-net", "float"])
def test_the_loop_of_the_reference_trains(method):
    (loop,) = re.findall(r"```python\n(.*?)```", (ROOT / "book" / "reference.md").read_text(), re.S)
    assert loop.count('"xnor-port"') == 1
    made = {}
    torch.manual_seed(0)
    exec(loop.replace("xnor-port", method), made)
    test = made["splits"].test
    with torch.no_grad():
        assert accuracy(made["model"](test.inputs(slice(None))).argmax(1), test.labels) > 60


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text()
    for name in DOCUMENTS[:2]:
        for target in re.findall(r"\bmake ([a-z-]+)", (ROOT / name).read_text()):
            if target not in ("are", "is"):
                assert re.search(rf"^{target}:", makefile, re.M), target


def test_the_paths_that_contributing_names_exist():
    for path in re.findall(r"`((?:bnnlib|tests|tools|book)/[\w./]+)`", (ROOT / "CONTRIBUTING.md").read_text()):
        if "NAME" not in path and "PAPER" not in path:
            assert (ROOT / path).exists(), path

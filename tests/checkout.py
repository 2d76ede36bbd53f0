"""Copies of this checkout for tests that build or install it."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def tracked_files():
    """Paths that git tracks, relative to the root; the test is skipped outside a git checkout."""
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [Path(name) for name in listed.stdout.split("\0")[:-1] if (ROOT / name).is_file()]


def copy_checkout(folder):
    """The tracked files as they stand, copied to a folder."""
    for path in tracked_files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, folder / path)

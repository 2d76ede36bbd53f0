"""Where a figure was made is told truthfully."""

import subprocess

import numpy as np

from bnnlib import provenance
from bnnlib.provenance import PeakMemory


def git(folder, *arguments):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)


def test_the_repository_around_an_installed_copy_says_nothing_about_it(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "bnnlib"
    package.mkdir(parents=True)
    for name in ("__init__.py", "provenance.py"):
        (package / name).write_text("")
    (tmp_path / "own.txt").write_text("somebody's project")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "own.txt")
    git(tmp_path, "commit", "-qm", "theirs")
    monkeypatch.setattr(provenance, "__file__", str(package / "provenance.py"))
    assert provenance.commit.__wrapped__() == "unknown"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "now it is tracked")
    assert len(provenance.commit.__wrapped__()) == 10
    (package / "__init__.py").write_text("changed")
    assert provenance.commit.__wrapped__().endswith("+")


def test_the_largest_size_of_a_process_is_seen():
    with PeakMemory() as before:
        pass
    with PeakMemory() as memory:
        room = np.ones(40_000_000)  # 320 MB
        del room
    assert memory.mb > before.mb + 150

import shutil
import subprocess

import numpy as np
import pytest

from bnnlib.data import samples, sources


@pytest.fixture
def whole(monkeypatch):
    """A data set that is its own sample, so that cutting needs no download."""
    monkeypatch.setattr(sources, "fetch", lambda name, file: samples.FOLDER / name / file)


def test_a_sample_is_written_to_the_folder_that_is_named_and_nowhere_else(whole, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in samples.FOLDER.rglob("*.gz")}
    written = samples.make("FashionMNIST", tmp_path / "mine")
    assert len(written) == 4
    assert all(path.is_relative_to(tmp_path / "mine") for path in written)
    assert (tmp_path / "mine" / "checksums.json").exists()
    assert {path: path.stat().st_mtime_ns for path in samples.FOLDER.rglob("*.gz")} == before


def test_an_installed_package_is_not_written_to(whole, monkeypatch, tmp_path):
    installed = tmp_path / "site-packages" / "samples"
    shutil.copytree(samples.FOLDER, installed)
    monkeypatch.setattr(samples, "FOLDER", installed)
    before = sorted(installed.rglob("*"))
    with pytest.raises(ValueError, match="--to FOLDER") as caught:
        samples.make("FashionMNIST")
    assert str(installed) in str(caught.value)
    assert sorted(installed.rglob("*")) == before


def test_a_source_checkout_is_known_by_what_git_tracks(monkeypatch, tmp_path):
    folder = tmp_path / "checkout" / "samples"
    folder.mkdir(parents=True)
    (folder / "checksums.json").write_text("{}")
    monkeypatch.setattr(samples, "FOLDER", folder)
    git = ["git", "-C", str(folder)]
    if subprocess.run([*git, "init", "-q"]).returncode:
        pytest.skip("no git here")
    assert not samples.in_checkout()  # as in a virtual environment within a checkout
    subprocess.run([*git, "add", "checksums.json"], check=True)
    assert samples.in_checkout()


def test_a_file_in_the_place_of_the_folder_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "occupied").write_text("")
    with pytest.raises(NotADirectoryError, match="occupied is a file"):
        samples.make("FashionMNIST", tmp_path / "occupied")


def test_a_recording_is_encoded_the_same_every_time_and_decodes():
    from bnnlib.data.recordings import decoded
    from bnnlib.data.samples.speech import opus

    sound = (8000 * np.sin(np.arange(16_000) / 10)).astype(np.int16)
    first, second, other = opus(sound, "yes/1"), opus(sound, "yes/1"), opus(sound, "yes/2")
    assert first == second != other  # the stream's serial number follows from the name
    assert np.corrcoef(decoded(first, "it"), sound)[0, 1] > 0.99
    assert np.array_equal(decoded(first, "it"), decoded(other, "it"))

"""Files are whole or absent, and damage is noticed."""

import os
import time

import pytest

from bnnlib.files import Damaged, probe, replaced, sealed, sweep, unsealed


def test_writing_into_place_is_all_or_nothing(tmp_path):
    path = tmp_path / "file.txt"
    path.write_text("old")

    def fail(partial):
        partial.write_text("ha" * 600_000)
        raise OSError(28, "No space left on device")

    with pytest.raises(
        OSError, match=r"no space left for .*file\.txt: 1,200,000 bytes or more are needed, [\d,]+ are free"
    ):
        replaced(path, fail)
    with pytest.raises(OSError, match="5,000,000 bytes are needed"):
        replaced(path, fail, size=5_000_000)
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]
    assert path.read_text() == "old"


def test_other_errors_of_writing_pass_through(tmp_path):
    with pytest.raises(ZeroDivisionError):
        replaced(tmp_path / "file", lambda partial: 1 / 0)
    assert list(tmp_path.iterdir()) == []


def test_a_sealed_file_gives_its_content_back_or_is_refused(tmp_path):
    path, content = tmp_path / "file", bytes(range(256)) * 4
    path.write_bytes(sealed(content))
    assert unsealed(path) == content
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        with pytest.raises(Damaged, match="delete it to begin anew"):
            unsealed(path)
    for end in (0, 10, 40, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(Damaged, match="delete it to begin anew"):
            unsealed(path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    probe(tmp_path / "new" / "folder")
    assert list((tmp_path / "new" / "folder").iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"nothing can be written in .*file"):
        probe(tmp_path / "file")


def test_only_old_partial_files_are_swept(tmp_path):
    old, young, other = (tmp_path / name for name in (".a.1.partial", ".b.2.partial", "c.partial"))
    for path in (old, young, other):
        path.write_text("")
    for path in (old, other):
        os.utime(path, (time.time() - 4000,) * 2)
    assert sweep(tmp_path) == [old]
    assert young.exists()
    assert other.exists()
    assert sweep(tmp_path / "absent") == []

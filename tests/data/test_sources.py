import gzip
import hashlib
import os
import shutil
import threading
from contextlib import suppress
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler

import pytest

from bnnlib.data import DataCorrupt, DataNotFound, samples, sources

FILE = "raw/t10k-labels-idx1-ubyte.gz"
SAMPLE = samples.FOLDER / "FashionMNIST" / FILE
CONTENT = sources.Content(SAMPLE.stat().st_size, sources.sha256(SAMPLE))


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A source of one small file, an empty cache folder and no $BNNLIB_DATA."""
    known = sources.Source("Toy", "http://127.0.0.1:9/", {FILE: CONTENT}, "none")
    monkeypatch.setitem(sources.SOURCES, "Toy", known)
    monkeypatch.delenv("BNNLIB_DATA", raising=False)
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    return known


@pytest.fixture
def server(monkeypatch, toy, tmp_path):
    """A local server of the file; set `toy_files` content by writing into the folder it returns."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    http = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=http.serve_forever, daemon=True).start()
    served = sources.Source("Toy", f"http://127.0.0.1:{http.server_port}/", toy.files, "none")
    monkeypatch.setitem(sources.SOURCES, "Toy", served)
    yield folder
    http.shutdown()
    http.server_close()


def test_data_folder_comes_first_and_is_not_written_to(toy, monkeypatch, tmp_path):
    place = tmp_path / "mine" / "Toy" / FILE
    place.parent.mkdir(parents=True)
    shutil.copy(SAMPLE, place)
    for folder in (place.parent, place.parent.parent, tmp_path / "mine"):
        folder.chmod(0o555)
    monkeypatch.setenv("BNNLIB_DATA", str(tmp_path / "mine"))
    try:
        assert sources.fetch("Toy", FILE) == place
        assert [p.name for p in (tmp_path / "mine").rglob("*") if p.is_file()] == [place.name]
        assert not (tmp_path / "cache").exists()
    finally:
        for folder in (tmp_path / "mine", place.parent.parent, place.parent):
            folder.chmod(0o755)


def test_a_download_is_verified_and_kept_in_the_cache(toy, server, tmp_path):
    shutil.copy(SAMPLE, server / os.path.basename(FILE))
    path = sources.fetch("Toy", FILE, progress=True)
    assert path == tmp_path / "cache" / "Toy" / FILE
    assert path.read_bytes() == SAMPLE.read_bytes()
    (server / os.path.basename(FILE)).unlink()
    assert sources.fetch("Toy", FILE) == path  # the second time nothing is asked of the server


def test_a_download_of_another_file_leaves_nothing_behind(toy, server, tmp_path):
    (server / os.path.basename(FILE)).write_bytes(b"not the file")
    with pytest.raises(DataCorrupt, match="sent another file than expected"):
        sources.fetch("Toy", FILE)
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


def test_a_download_stops_at_the_size_that_the_file_should_have(toy, monkeypatch, tmp_path):
    sent = 0

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self):
            nonlocal sent
            self.send_response(200)
            self.end_headers()
            with suppress(ConnectionError):
                while sent < 2**28:  # or this test would not end either
                    sent += self.wfile.write(bytes(2**16))

        def log_message(self, *arguments):
            pass

    http = HTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=http.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{http.server_port}/"
    monkeypatch.setitem(sources.SOURCES, "Toy", sources.Source("Toy", address, toy.files, "none"))
    try:
        with pytest.raises(DataCorrupt, match=rf"more than the {CONTENT.size:,} bytes") as caught:
            sources.fetch("Toy", FILE)
    finally:
        http.shutdown()
        http.server_close()
    assert address in str(caught.value)
    assert sent < 2**25  # what lay between server and client
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []


def test_what_killed_downloads_left_is_removed_and_nothing_else(toy, server, tmp_path):
    shutil.copy(SAMPLE, server / os.path.basename(FILE))
    folder = (tmp_path / "cache" / "Toy" / FILE).parent
    folder.mkdir(parents=True)
    killed, running, other = folder / "tmpab12_x9z", folder / "tmpcd34_y8w", folder / "notes.txt"
    for path in (killed, running, other):
        path.write_text("half a file")
    for path in (killed, other):
        os.utime(path, (0, 0))
    sources.fetch("Toy", FILE)
    assert sorted(folder.iterdir()) == sorted([running, other, folder / os.path.basename(FILE)])


def test_a_missing_file_on_the_server_is_said_with_all_three_places(toy, server, tmp_path):
    with pytest.raises(DataNotFound) as caught:
        sources.fetch("Toy", FILE)
    message = str(caught.value)
    assert "$BNNLIB_DATA: not set" in message
    assert str(tmp_path / "cache" / "Toy" / FILE) in message
    assert "404" in message


def test_without_network_the_error_names_three_places_and_what_to_do(toy, monkeypatch, tmp_path):
    monkeypatch.setenv("BNNLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(DataNotFound) as caught:
        sources.fetch("Toy", FILE)
    message = str(caught.value)
    for part in (
        str(tmp_path / "nowhere"),
        str(tmp_path / "cache"),
        "http://127.0.0.1:9/",
        "bnnlib data fetch Toy",
        "BNNLIB_DATA",
    ):
        assert part in message
    assert "quick" not in message  # there is no sample of it
    monkeypatch.setitem(sources.SOURCES, "MNIST", replace(toy, name="MNIST"))
    monkeypatch.setitem(sources.SOURCES, "FashionMNIST", replace(toy, name="FashionMNIST"))
    for name, word in (
        ("FashionMNIST", 'or use profile="quick"'),
        ("MNIST", "in the environment variable BNNLIB_DATA."),
    ):
        with pytest.raises(DataNotFound, match=word):
            sources.fetch(name, FILE)


@pytest.mark.parametrize("damage", [lambda b: b[:-7], lambda b: b[:50] + b"X" + b[51:], lambda b: b""])
def test_a_truncated_or_altered_file_is_named_with_both_checksums(toy, monkeypatch, tmp_path, damage):
    place = tmp_path / "mine" / "Toy" / FILE
    place.parent.mkdir(parents=True)
    content = damage(SAMPLE.read_bytes())
    place.write_bytes(content)
    monkeypatch.setenv("BNNLIB_DATA", str(tmp_path / "mine"))
    with pytest.raises(DataCorrupt) as caught:
        sources.fetch("Toy", FILE)
    message = str(caught.value)
    assert str(place) in message
    assert toy.files[FILE].sha256 in message
    assert hashlib.sha256(content).hexdigest() in message


def test_a_cache_folder_that_cannot_be_made_is_said(toy, monkeypatch, tmp_path):
    (tmp_path / "occupied").write_text("a file where a folder should be")
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "occupied" / "cache")
    with pytest.raises(DataNotFound, match="occupied"):
        sources.fetch("Toy", FILE)


def test_status_tells_absent_ok_and_corrupt(toy, monkeypatch, tmp_path):
    monkeypatch.setattr(sources, "SOURCES", {"Toy": toy})
    monkeypatch.setenv("BNNLIB_DATA", str(tmp_path))
    place = tmp_path / "Toy" / FILE
    assert [row["state"] for row in sources.status()] == ["absent"]
    place.parent.mkdir(parents=True)
    shutil.copy(SAMPLE, place)
    assert [row["state"] for row in sources.status()] == ["ok"]
    place.write_bytes(gzip.compress(b"other"))
    assert [row["state"] for row in sources.status()] == ["corrupt"]


def test_status_verifies_another_layout_where_its_content_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv("BNNLIB_DATA", str(tmp_path))
    (tmp_path / "CIFAR10").mkdir()
    for file, state in (("cifar10-jpeg-train.tar.xz", "present"), ("cifar-10-python.tar.gz", "corrupt")):
        (tmp_path / "CIFAR10" / file).write_bytes(b"something")
        assert next(row["state"] for row in sources.status() if row["data set"] == "CIFAR10") == state


def test_a_folder_in_the_place_of_a_file_is_unreadable_and_the_other_files_are_still_told(toy, monkeypatch, tmp_path):
    good = sources.Source("Good", toy.url, toy.files, "none")
    monkeypatch.setattr(sources, "SOURCES", {"Toy": toy, "Good": good})
    monkeypatch.setenv("BNNLIB_DATA", str(tmp_path))
    (tmp_path / "Toy" / FILE).mkdir(parents=True)
    (tmp_path / "Good" / FILE).parent.mkdir(parents=True)
    shutil.copy(SAMPLE, tmp_path / "Good" / FILE)
    rows = sources.status()
    assert [row["state"] for row in rows] == ["unreadable", "ok"]
    assert "should be a file and is a folder" in rows[0]["where"]
    with pytest.raises(sources.DataUnreadable, match="is a folder"):
        sources.fetch("Toy", FILE)


def test_a_file_that_may_not_be_read_is_unreadable(toy, monkeypatch, tmp_path):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sources, "SOURCES", {"Toy": toy})
    monkeypatch.setattr(sources, "sha256", refuse)  # root may read every file: chmod would prove nothing
    monkeypatch.setenv("BNNLIB_DATA", str(tmp_path))
    (tmp_path / "Toy" / FILE).parent.mkdir(parents=True)
    shutil.copy(SAMPLE, tmp_path / "Toy" / FILE)
    (row,) = sources.status()
    assert row["state"] == "unreadable"
    assert f"{tmp_path / 'Toy' / FILE} can't be read: Permission denied" in row["where"]


def test_the_recorded_sizes_are_those_of_the_official_files():
    for name, known in sources.SOURCES.items():
        for file, content in known.files.items():
            if (path := sources.find(name, file)) is not None:
                assert path.stat().st_size == content.size


def test_unknown_data_sets_are_listed():
    with pytest.raises(ValueError, match="known: FashionMNIST, MNIST"):
        sources.source("ImageNet")

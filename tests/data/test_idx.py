import gzip
import tracemalloc

import numpy as np
import pytest

from bnnlib.data import DataCorrupt
from bnnlib.data.idx import idx_bytes, read_idx


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x05abc"),  # announces five, holds three
        gzip.compress(b"\x00\x00\x0d\x01\x00\x00\x00\x00"),  # of floats
        gzip.compress(b""),
        gzip.compress(b"\x00\x00\x08\x03\x00\x00\x00\x05"),  # ends within the sizes
        b"not gzip",
        gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x03abc")[:-6],
        gzip.compress(b"\x00\x00\x08\x01\x00\x00\x00\x02abc"),  # announces two, holds three
        gzip.compress(b"\x00\x00\x08\x50" + b"\x00\x00\x00\x01" * 80 + b"a"),  # of 80 dimensions
    ],
    ids=["too short", "of floats", "empty", "ends within the sizes", "not gzip", "truncated", "too long", "80-D"],
)
def test_a_bad_idx_file_is_named(tmp_path, content):
    path = tmp_path / "bad.gz"
    path.write_bytes(content)
    with pytest.raises(DataCorrupt, match=r"bad\.gz"):
        read_idx(path)


def most_memory(call):
    """The most bytes that Python and NumPy have allocated at a time during a call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ([5], r"shape \(5,\), 5 bytes, and holds more"),  # 64 MiB of zeros follow
        ([2**32 - 1, 2**32 - 1], r"cannot hold so many"),
    ],
)
def test_a_gzip_bomb_takes_no_more_memory_than_its_header_announces(tmp_path, sizes, message):
    path = tmp_path / "bomb.gz"
    header = bytes([0, 0, 8, len(sizes)]) + np.array(sizes, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + bytes(2**26)))

    def read():
        with pytest.raises(DataCorrupt, match=message):
            read_idx(path)

    assert most_memory(read) < 2**22


def test_a_missing_file_is_not_called_corrupt(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_idx(tmp_path / "nowhere.gz")


def test_idx_by_hand(tmp_path):
    path = tmp_path / "two.gz"
    path.write_bytes(gzip.compress(b"\x00\x00\x08\x02\x00\x00\x00\x02\x00\x00\x00\x03" + bytes(range(6))))
    np.testing.assert_array_equal(read_idx(path), [[0, 1, 2], [3, 4, 5]])


def test_written_arrays_are_read_again_and_the_bytes_do_not_depend_on_the_clock(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (3, 4, 5), np.uint8)
    path = tmp_path / "array.gz"
    path.write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path), array)
    assert path.read_bytes()[4:8] == bytes(4)  # the time in the gzip header

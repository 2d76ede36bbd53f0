"""The IDX format, in which MNIST and its successors are distributed."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from bnnlib.data.sources import DataCorrupt

__all__ = ["idx_bytes", "read_idx"]

MOST_INFLATED = 1032  # bytes from one byte of deflate: a match of 258 bytes takes two bits or more
PIECE = 2**20  # bytes inflated at a time


def read_idx(path: Path) -> np.ndarray:
    """The array in a gzipped IDX file of unsigned bytes, of the shape that its header announces.

    Never takes more memory than the header announces, nor believes one that announces more than the file can hold.

    Raises:
        DataCorrupt: the file is no such file, or its length does not fit its header.
        OSError: the file can't be opened.
    """
    with path.open("rb") as compressed, gzip.GzipFile(fileobj=compressed) as file:
        try:
            return _read(file, path)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataCorrupt(f"{path} is not a whole gzip file: {error}") from error


def _read(file: gzip.GzipFile, path: Path) -> np.ndarray:
    start = file.read(4)
    if len(start) < 4 or start[:3] != b"\x00\x00\x08":
        raise DataCorrupt(f"{path} does not begin like an IDX file of bytes: {start.hex()}")
    dimensions = start[3]
    sizes = file.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataCorrupt(f"{path} announces {dimensions} dimensions and ends within their sizes")
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    announced = math.prod(shape)
    on_disk = path.stat().st_size
    if announced > MOST_INFLATED * on_disk:
        raise DataCorrupt(
            f"{path} announces shape {shape}, {announced:,} bytes; a gzip file of {on_disk:,} bytes cannot hold so many"
        )
    content = np.empty(announced, np.uint8)
    filled = 0
    while filled < announced and (received := file.readinto(content[filled : filled + PIECE])):
        filled += received
    if filled < announced:
        raise DataCorrupt(f"{path} announces shape {shape}, {announced:,} bytes, and holds {filled:,}")
    if file.read(1):  # this also compares gzip's own checksum
        raise DataCorrupt(f"{path} announces shape {shape}, {announced:,} bytes, and holds more")
    try:
        return content.reshape(shape)
    except ValueError as error:  # more dimensions or a larger (and empty) shape than NumPy has
        raise DataCorrupt(f"{path} announces shape {shape}, which no array has: {error}") from error


def idx_bytes(array: np.ndarray) -> bytes:
    """A uint8 array as the content of a gzipped IDX file; the same array gives the same bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes(), 9, mtime=0)

"""The IDX format, in which MNIST and its successors are distributed."""

import gzip
import zlib
from pathlib import Path

import numpy as np

from bnnlib.data.sources import DataCorrupt

__all__ = ["idx_bytes", "read_idx"]


def read_idx(path: Path) -> np.ndarray:
    """The array in a gzipped IDX file of unsigned bytes.

    Raises:
        DataCorrupt: the file is no such file, or its length does not fit its header.
    """
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataCorrupt(f"{path} is not a whole gzip file: {error}") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DataCorrupt(f"{path} does not begin like an IDX file of bytes: {content[:4].hex()}")
    dimensions = content[3]
    if len(content) < 4 + 4 * dimensions:
        raise DataCorrupt(f"{path} announces {dimensions} dimensions and ends within their sizes")
    shape = tuple(np.frombuffer(content, ">u4", dimensions, 4))
    if len(content) != 4 + 4 * dimensions + np.prod(shape, dtype=np.int64):
        raise DataCorrupt(f"{path} announces shape {shape} and holds {len(content):,} bytes")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def idx_bytes(array: np.ndarray) -> bytes:
    """A uint8 array as the content of a gzipped IDX file; the same array gives the same bytes."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes(), 9, mtime=0)

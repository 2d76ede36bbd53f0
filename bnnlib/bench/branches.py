"""IE-Net's branches on bits: all of them in one convolution against one convolution for each."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from bnnlib import kernels
from bnnlib.bench.products import signs
from bnnlib.bench.timing import side_by_side

__all__ = ["STAGES", "measure_branches"]

# (channels = filters, height = width): the stages of a ResNet-18 on images of 32 x 32
STAGES = ((64, 32), (128, 16), (256, 8), (512, 4))


def measure_branches(
    branches: Iterable[int] = (2, 3),
    stages: Iterable[tuple[int, int]] = STAGES,
    *,
    images: int = 1,
    rounds: int = 25,
    progress: Callable[[dict], None] = lambda row: None,
) -> pd.DataFrame:
    """Times a 3x3 convolution with padding 1 of K branches that share their weights, on one thread.

    The baseline is K calls of :func:`bnnlib.kernels.conv2d`, one for each branch. Against it: one call that takes the
    branches as further images, their bits given, and the same with :func:`bnnlib.kernels.pack_branches` in the call,
    against a baseline that packs as well.

    Args:
        branches: values of K.
        stages: (channels = filters, height = width).
        images: of a batch.
        rounds: turns of each contender that count.
        progress: called with each row when it is measured.

    Returns:
        A row for each (K, stage, contender), see :func:`bnnlib.bench.side_by_side`: ``branches``, ``images``,
        ``channels``, ``size``, ``contender``, times in milliseconds, and ratios to the K calls that do the same.
    """
    rows = []
    for count in branches:
        for channels, size in stages:
            for name, together, apart in _contenders(count, images, channels, size):
                assert np.array_equal(together(), np.concatenate(apart())), "one convolution gives the sums of all"
                table = side_by_side({"apart": apart, name: together}, rounds=rounds).reset_index()
                row = {"branches": count, "images": images, "channels": channels, "size": size}
                row |= table.iloc[1].to_dict() | {"ms_apart": table["ms"].iloc[0]}
                rows.append(row)
                progress(row)
    return pd.DataFrame(rows).round(4)


def _contenders(count: int, images: int, channels: int, size: int):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((images, size, size, channels)).astype(np.float32)
    shifts = rng.normal(0, 0.3, (count, channels)).astype(np.float32)
    filters = kernels.prepack_filters(signs((channels, channels, 3, 3), 1))
    all_bits = kernels.pack_branches(x, shifts, "NHWC")
    each_bits = np.split(all_bits, count)

    def packed(rows) -> np.ndarray:
        return kernels.conv2d(kernels.pack_branches(x, rows, "NHWC"), filters, padding=1)

    yield (
        "one convolution",
        lambda: kernels.conv2d(all_bits, filters, padding=1),
        lambda: [kernels.conv2d(bits, filters, padding=1) for bits in each_bits],
    )
    yield "one convolution, packing in the call", lambda: packed(shifts), lambda: [packed(row[None]) for row in shifts]

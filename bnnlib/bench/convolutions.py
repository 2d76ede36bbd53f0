"""3x3 convolutions on bits against PyTorch's float32 and int8 convolutions, in pairs."""

import warnings
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import conv2d

from bnnlib import kernels
from bnnlib.bench.products import RATIOS, packing_ratios, signs
from bnnlib.bench.timing import side_by_side

__all__ = ["SHAPES", "measure_convolutions"]

# (images, channels = filters, height = width): the stages of a ResNet-18 on images of 224 x 224, at batch 1 and 32
SHAPES = [(batch, channels, size) for batch in (1, 32) for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7))]


def measure_convolutions(
    shapes: Iterable[tuple[int, int, int]] = SHAPES,
    *,
    rounds: int = 15,
    at_least: float = 0.02,
    cold: bool = True,
    progress: Callable[[dict], None] = lambda row: None,
) -> pd.DataFrame:
    """Times a 3x3 convolution with zero padding 1 on one thread, ours on bits against PyTorch's. No ``out``
    is given, since PyTorch's take none: each call allocates its result, ours on a cache line where it is large.

    Returns:
        A row for each shape and contender (float32 in both memory formats, each also with weights reordered beforehand,
        int8 of torch's quantized backend, whose sums are rounded to 8 bits, ours with its NHWC activations packed in
        the call, ours with thresholds to bits): ``ms``, ``gmacs``, the ``ratio`` of its time to ours on packed images
        and ``ratio_packing`` to ours with NHWC packing, both with quartiles, and ``caches`` ("warm" or "cold").
    """
    rows = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for images, channels, size in shapes:
            x, w = signs((images, channels, size, size), 1), signs((channels, channels, 3, 3), 2)
            last = np.ascontiguousarray(x.transpose(0, 2, 3, 1))
            bits, filters = kernels.pack_images(last, "NHWC"), kernels.prepack_filters(w)
            thresholds = np.zeros(channels, np.int32)

            def ours(bits=bits, filters=filters):
                return kernels.conv2d(bits, filters, padding=1)

            def packing(last=last, filters=filters):
                return kernels.conv2d(kernels.pack_images(last, "NHWC"), filters, padding=1)

            def to_bits(bits=bits, filters=filters, thresholds=thresholds):
                return kernels.conv2d_threshold(bits, filters, thresholds, padding=1)

            contenders = {"bnnlib, packing NHWC in the call": packing, "bnnlib, thresholds to bits": to_bits}
            contenders |= _torch(x, w)
            macs = images * size * size * channels * channels * 9
            runs = [(name, call, "warm") for name, call in contenders.items()]
            runs += [(name, call, "cold") for name, call in contenders.items() if cold and name.startswith("torch")]
            for name, call, caches in runs:
                pair = side_by_side({"ours": ours, name: call}, rounds=rounds, at_least=at_least, cold=caches == "cold")
                again = None
                if name.startswith("torch") and caches == "warm":
                    again = side_by_side({"ours": packing, name: call}, rounds=rounds, at_least=at_least)
                row = {
                    "images": images, "channels": channels, "size": size, "contender": name, "threads": 1,
                    "caches": caches, "ms": pair.loc[name, "ms"], "gmacs": macs / pair.loc[name, "ms"] / 1e6,
                    "gmacs_ours": macs / pair.loc["ours", "ms"] / 1e6,
                    **{column: pair.loc[name, column] for column in RATIOS},
                    **packing_ratios(again, name),
                }  # fmt: skip
                rows.append(row)
                progress(row)
    finally:
        torch.set_num_threads(threads)
    return pd.DataFrame(rows).round(5)


def _reordered(image: torch.Tensor, filters: torch.Tensor) -> Callable[[], object]:
    """What a frozen graph of torch.compile calls: oneDNN's convolution with weights reordered beforehand."""
    geometry = [1, 1], [1, 1], [1, 1], 1  # padding, stride, dilation, groups
    ready = torch.ops.mkldnn._reorder_convolution_weight(filters, *geometry, list(image.shape))
    return lambda: torch.ops.mkldnn._convolution_pointwise(image, ready, None, *geometry, "none", [], "")


def _torch(x: np.ndarray, w: np.ndarray) -> dict[str, Callable[[], object]]:
    contenders = {}
    for layout in (torch.contiguous_format, torch.channels_last):
        image, filters = (torch.from_numpy(v).contiguous(memory_format=layout) for v in (x, w))
        name = "channels last" if layout == torch.channels_last else "channels first"
        contenders[f"torch float32, {name}"] = lambda image=image, filters=filters: conv2d(image, filters, padding=1)
        if torch.backends.mkldnn.is_available():
            contenders[f"torch float32, {name}, reordered"] = _reordered(image, filters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch's quantized tensors are to move to another package
        image = torch.quantize_per_tensor(torch.from_numpy(x), 1.0, 128, torch.quint8)
        image = image.contiguous(memory_format=torch.channels_last)
        filters = torch.quantize_per_tensor(torch.from_numpy(w), 1.0, 0, torch.qint8)
    packed = torch.ops.quantized.conv2d_prepack(filters, None, [1, 1], [1, 1], [1, 1], 1)
    contenders["torch int8"] = lambda: torch.ops.quantized.conv2d(image, packed, 64.0, 128)
    return contenders

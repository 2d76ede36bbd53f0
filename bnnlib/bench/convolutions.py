"""3x3 convolutions on bits against PyTorch's float32 and int8 convolutions and OpenVINO's binary one, in pairs."""

import warnings
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
import torch
from torch.nn.functional import conv2d

from bnnlib import kernels
from bnnlib.bench.engines import openvino_convolution
from bnnlib.bench.pairs import Contender, Skipped, limited_to, measure_pair, prepared, versions
from bnnlib.bench.products import signs

__all__ = ["SHAPES", "Convolution", "contenders", "measure_convolutions"]

# (images, channels = filters, height = width): the stages of a ResNet-18 on images of 224 x 224, at batch 1 and 32
SHAPES = [(batch, channels, size) for batch in (1, 32) for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7))]


class Convolution:
    """Our 3x3 convolution with zero padding 1 of one shape, which allocates its result.

    Attributes:
        x, w: signs as float32, (N, C, H, W) and (C, C, 3, 3).
        last: x with channels last.
        bits, filters: both packed.
        macs: multiply-accumulates, those with the padding included.
    """

    def __init__(self, images: int, channels: int, size: int):
        self.x, self.w = signs((images, channels, size, size), 1), signs((channels, channels, 3, 3), 2)
        self.last = np.ascontiguousarray(self.x.transpose(0, 2, 3, 1))
        self.bits, self.filters = kernels.pack_images(self.last, "NHWC"), kernels.prepack_filters(self.w)
        self.thresholds = np.zeros(channels, np.int32)
        self.macs = images * size * size * channels * channels * 9

    def packed(self) -> np.ndarray:
        return kernels.conv2d(self.bits, self.filters, padding=1)

    def packing(self) -> np.ndarray:
        return kernels.conv2d(kernels.pack_images(self.last, "NHWC"), self.filters, padding=1)

    def to_bits(self) -> np.ndarray:
        return kernels.conv2d_threshold(self.bits, self.filters, self.thresholds, padding=1)


def measure_convolutions(
    shapes: Iterable[tuple[int, int, int]] = SHAPES,
    *,
    rounds: int = 15,
    at_least: float = 0.02,
    cold: bool = True,
    progress: Callable[[dict], None] = lambda row: None,
    skipped: Callable[[str, str], None] = lambda name, why: None,
) -> pd.DataFrame:
    """Times a 3x3 convolution with zero padding 1 on one thread, ours on bits against PyTorch's and OpenVINO's.

    No ``out`` is given, since PyTorch's take none: each call allocates its result, ours at a cache line if it is large.
    OpenVINO's result lies in an array of its own; it is timed where its convolution is installed and exact.

    Args:
        shapes: (images, channels = filters, height = width).
        rounds, at_least: as for :func:`side_by_side`.
        cold: also with caches flushed before each call, for PyTorch's.
        progress: called with each row when it is measured.
        skipped: as for :func:`bnnlib.bench.measure_products`.

    Returns:
        A row for each shape and contender (ours with NHWC activations packed in the call, ours with thresholds to bits,
        float32 in both memory formats, each also with weights reordered beforehand, int8 of torch's quantized backend,
        whose sums are rounded to 8 bits, and OpenVINO's BinaryConvolution, which takes floats and binarises them in the
        call): ``images``, ``channels``, ``size``, the columns of :func:`bnnlib.bench.pairs.measure_pair`, and
        OpenVINO's ``version``.
    """
    rows = []
    with limited_to(1):
        for images, channels, size in shapes:
            convolution = Convolution(images, channels, size)
            for contender in contenders(convolution, cold, skipped):
                pair = measure_pair(convolution, contender, rounds=rounds, at_least=at_least)
                row = {"images": images, "channels": channels, "size": size, **pair}
                rows.append(row)
                progress(row)
    return pd.DataFrame(rows).round(5)


def contenders(
    convolution: Convolution, cold: bool, skipped: Callable[[str, str], None] = lambda name, why: None
) -> Iterator[Contender]:
    """What is timed against our convolution: its variants, PyTorch's, those again with cold caches, then OpenVINO's."""
    yield Contender("bnnlib, packing NHWC in the call", convolution.packing)
    yield Contender("bnnlib, thresholds to bits", convolution.to_bits)
    rivals = _torch(convolution.x, convolution.w)
    for name, call in rivals.items():
        yield Contender(name, call, against_packing=True)
    for name, call in rivals.items() if cold else ():
        yield Contender(name, call, cold=True)
    name, needs = "OpenVINO BinaryConvolution", ("openvino",)
    try:
        call = prepared(
            lambda: openvino_convolution(convolution.x, convolution.w),
            lambda result: np.array_equal(result, convolution.packed()),
            needs=needs,
        )
    except Skipped as why:
        skipped(name, str(why))
    else:
        yield Contender(name, call, against_packing=True, columns=versions(needs))


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

"""IE-Net's branches: on bits, all in one convolution against one for each; and what a step of training costs."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
import torch

from bnnlib import catalogue, kernels, models
from bnnlib.bench.products import signs
from bnnlib.bench.steps import check_precision, peak_bytes, training_step
from bnnlib.bench.timing import side_by_side
from bnnlib.packed.summary import summary
from bnnlib.training import seeded

__all__ = ["COSTS", "STAGES", "measure_branch_costs", "measure_branches"]

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


# contender -> its branches and their mixing; None for float
COSTS: dict[str, tuple[int, str] | None] = {
    "float": None,
    **{f"K = {count}": (count, "scalar") for count in (1, 2, 3)},
    **{f"K = {count}, a factor for each channel": (count, "channel") for count in (2, 3)},
}


def measure_branch_costs(
    model: str = "resnet18",
    width: float | None = None,
    *,
    batch_size: int = 128,
    rounds: int = 5,
    precision: str = "float32",
) -> pd.DataFrame:
    """What IE-Net's branches cost beside the float network: a step of training, memory, bytes, operations.

    All networks stay in memory and take turns on the same batch, with torch's present number of threads. IE-Net's
    ResNets have its authors' block: one shortcut around two convolutions, with a binary projection.

    Args:
        model: a name of ``bnnlib.models.MODELS`` that takes images of 32 x 32 and a width.
        width: of the network; None for its full width.
        batch_size: images of a step.
        rounds: turns of each contender that count.
        precision: ``"float32"``, or ``"bf16"`` for autocast.

    Returns:
        A row for each contender of :data:`COSTS`: median milliseconds of a step and its ratio to float's with
        quartiles; ``peak_mb``, the peak of the megabytes that a step allocates on top of network, optimiser's state and
        batch; ``packed_bytes``, of the packed network, and ``stored_bytes``, of its parameters and buffers as PyTorch
        keeps them; multiply-accumulates of an image, ``macs_1`` on bits and ``macs_32`` with a real number in them.

    Raises:
        ValueError: the model or the precision is unknown.
    """
    if model not in models.MODELS:
        raise ValueError(f"no model {model!r}; known: {', '.join(models.MODELS)}")
    check_precision(precision)
    options = {} if width is None else {"width": width}
    shape = models.MODELS[model].input_shape
    seeded(0)
    images = torch.randn(batch_size, *shape).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 10, (batch_size,))
    steps, rows = {}, []
    for name, mixed in COSTS.items():
        method, more = catalogue.get("float"), options
        if mixed:
            method = catalogue.get("ie-net").varied(branches=mixed[0], mixing=mixed[1])
            more = options | ({"projection": "method"} if model.startswith("resnet") else {})
        net = models.build(model, method, **more)
        counted = summary(net, shape)
        kept = sum(tensor.numel() * tensor.element_size() for tensor in net.state_dict().values())
        rows.append(
            {
                "packed_bytes": counted.bytes,
                "stored_bytes": kept,
                "macs_1": counted.macs(1),
                "macs_32": counted.macs(32),
            }
        )
        steps[name] = training_step(net, method, images, labels, precision)
    table = side_by_side(steps, rounds=rounds).reset_index(names="contender")
    table["peak_mb"] = [peak_bytes(step) / 1e6 for step in steps.values()]
    table["peak_ratio"] = table["peak_mb"] / table["peak_mb"].iloc[0]
    table = pd.concat([table.round(4), pd.DataFrame(rows)], axis=1)
    full = models.options_of(model)["width"]
    for at, (name, value) in enumerate({"model": model, "width": width or full, "precision": precision}.items()):
        table.insert(at, name, value)
    return table.assign(batch_size=batch_size)

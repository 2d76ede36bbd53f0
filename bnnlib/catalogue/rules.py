"""The rules by which a layer stays real: one book for the networks of the studies and for ``binarize``."""

from collections.abc import Sequence

from bnnlib.catalogue.method import Method


def why_real(
    method: Method, weight_shape: Sequence[int], *, groups: int = 1, place: str | None = None,
    padding_mode: str = "zeros",
) -> str | None:  # fmt: skip
    """Why a layer stays real under a method, or None where it is quantized.

    A layer stays real if, in this order,

    1. the method keeps every weight and activation real (``float``) and prunes none;
    2. it is the first or the last layer and the method's record keeps that one real;
    3. a filter sees one input channel only and the method centres weights over the input channels: all would be zero;
    4. it is depthwise, and activations are quantized: the sum of nine signs has a handful of values;
    5. a filter is a single weight: nothing would be left of it but a sign;
    6. it pads with anything but zeros, and the method is XNOR-Net's procedure, whose layers pad with zeros.

    A convolution with one input channel and no groups (the first of a grey image or of a spectrogram) is no depthwise
    one, and only rules 2 and 3 concern it.

    Args:
        method: the record.
        weight_shape: (outputs, inputs per group, kernel ...).
        groups: of a convolution.
        place: ``"first"``, ``"last"`` or None.
        padding_mode: of a convolution.
    """
    _, inputs, *kernel = weight_shape
    if not method.quantizes and not method.prunes:
        return f"{method.name} keeps every weight real"
    if place in method.real_layers:
        return f"{place} layer, real under {method.name}"
    if inputs == 1 and method.centring:
        return f"one input channel per group: {method.name} centres over it, and the layer would be dead"
    if inputs == 1 and groups > 1 and method.activation_bits < 32:
        return "depthwise: a filter sees one channel only; kept real where activations are quantized"
    if inputs == 1 and all(size == 1 for size in kernel):
        return "filters of a single weight: nothing is left to learn but its sign"
    if padding_mode != "zeros" and method.centring:
        return f"padding_mode {padding_mode!r} is not supported by {method.name}"
    return None


def takes_eight_bits(method: Method, place: str | None, first_last: str) -> bool:
    """Whether a layer that stays real becomes one of 8 bits: the first and the last do with ``first_last="int8"``."""
    return place is not None and first_last == "int8" and method.quantizes

"""How a method's block becomes torch modules: the one place where networks obey block order, norms and real layers."""

import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from torch import nn

from bnnlib import catalogue
from bnnlib.catalogue import FIRST_LAST, Method, eight_bit, takes_eight_bits, why_real
from bnnlib.layers import BRANCHED, PLAIN, BinLinear, HardTanh, LayerFamily, Residual, RPReLU

Place = Literal["first", "last"] | None


class _Kinds(NamedTuple):
    """What differs with the number of dimensions of a map."""

    conv: Callable[[LayerFamily], type[nn.Module]]
    norm: type[nn.Module]
    largest: type[nn.Module]
    average: type[nn.Module]
    channel_axis: int  # counted from the end


_KINDS = {
    1: _Kinds(lambda family: family.conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d, -2),
    2: _Kinds(lambda family: family.conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AvgPool2d, -3),
}


BRANCHES = ("branches", "mixing")  # options of layers in branches only


class Builder:
    """Builds the layers of one network under one method.

    Args:
        method: a name of ``bnnlib.methods``, or the record to obey.
        first_last: what a first or last layer that the method keeps real becomes: ``"real"``, or ``"int8"`` (weights
            and input of 8 bits by LSQ), with which all of the network's sums are integers.

    The network tells :meth:`conv` and :meth:`linear` which layer is its first (its input is data, real under every
    method) and its last (no activation follows). :func:`bnnlib.catalogue.why_real` decides what stays real.

    Raises:
        ValueError: ``first_last`` is neither.
    """

    def __init__(self, method: str | Method, first_last: str = "real"):
        if first_last not in FIRST_LAST:
            raise ValueError(f"first_last must be one of {', '.join(FIRST_LAST)}, received {first_last!r}")
        self.method = catalogue.get(method)
        self.first_last = first_last

    def conv(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        *,
        stride: int = 1,
        padding: int = 1,
        groups: int = 1,
        pool: bool = False,
        residual: bool | None = None,
        projection: Literal["real", "method"] = "real",
        dimensions: int = 2,
        place: Place = None,
    ) -> list[nn.Module]:
        """A convolution, halved by max pooling if asked, with its norm, activation and shortcut.

        A shortcut that the method's block has is built where it needs no weights: input and output have the same
        number of channels and, but for stride and pooling, the same size. Stride and pooling are averages on it.

        Args:
            in_channels, out_channels, kernel_size, stride, padding, groups: of the convolution.
            pool: whether max pooling over 2 follows.
            residual: True for a shortcut under every method, so that a method's network and its float twin have the
                same layers; False for none; None for the one that the method's block has, if any. Where channels or
                size change, True makes it a projection: the averages, then a convolution of kernel 1, then a norm.
            projection: ``"real"``, or ``"method"`` for a projection quantized like any other layer; IE-Net's, as its
                authors have it, is one binary convolution without branches or shifts.
            dimensions: 2 for images, (N, C, H, W), 1 for sequences, (N, C, L).
            place: ``"first"``, ``"last"`` or None: where in the network the layer is.

        Returns:
            The modules in order; the output has (size + 2 padding - kernel) // stride + 1 values along each axis, half
            as many (rounded down) if pooled.

        Raises:
            ValueError: ``dimensions``, ``projection`` or ``place`` is none of its values; ``residual`` where the
                padding doesn't keep the size.
        """
        if dimensions not in _KINDS:
            raise ValueError(f"dimensions must be 1 or 2, received {dimensions!r}")
        if projection not in ("real", "method"):
            raise ValueError(f'projection must be "real" or "method", received {projection!r}')
        kinds = _KINDS[dimensions]
        same_size = 2 * padding == kernel_size - 1
        if residual and not same_size:
            raise ValueError(
                f"a shortcut needs a padding that keeps the size, (kernel_size - 1) / 2, received kernel_size "
                f"{kernel_size} and padding {padding}"
            )
        shape = (out_channels, in_channels // groups, *(kernel_size,) * dimensions)
        family, arguments = self._family(shape, place, groups)
        layer = kinds.conv(family)(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, **arguments
        )  # fmt: skip
        # a stride of s keeps every s-th value, the first included, so the average over s rounds up as well
        averages = [kinds.average(stride, ceil_mode=True)] if stride > 1 else []
        averages += [kinds.average(2)] if pool else []
        around: list[nn.Module] | None = None
        if residual and (in_channels != out_channels or averages):
            around = averages + self._projection(in_channels, out_channels, dimensions, projection)
        elif residual or (residual is None and same_size and in_channels == out_channels and _takes_codes(layer)):
            around = averages
        return self._block(
            layer, kinds.norm, out_channels, kinds.channel_axis, [kinds.largest(2)] if pool else [],
            _in_turn(around), place, always=bool(residual),
        )  # fmt: skip

    def basic_block(
        self, in_channels: int, out_channels: int, *, stride: int = 1, projection: Literal["real", "method"] = "real"
    ) -> list[nn.Module]:
        """Two 3x3 convolutions with their norms and activations, and one shortcut around both: of ResNet (He et al.
        2016, fig. 5, left). The second activation follows the sum.

        Args:
            in_channels, out_channels: of the block.
            stride: of the first convolution.
            projection: as in :meth:`conv`, where channels or size change.
        """
        second, activation = _split(self.conv(out_channels, out_channels, residual=False))
        inside = [*self.conv(in_channels, out_channels, stride=stride, residual=False), *second]
        around: list[nn.Module] = []
        if stride > 1 or in_channels != out_channels:
            around = [nn.AvgPool2d(stride, ceil_mode=True)] if stride > 1 else []
            around += self._projection(in_channels, out_channels, 2, projection)
        return [Residual(nn.Sequential(*inside), _in_turn(around)), *activation]

    def inverted_residual(
        self, in_channels: int, out_channels: int, *, expansion: int, stride: int = 1
    ) -> list[nn.Module]:
        """A 1x1 convolution to ``expansion`` times as many channels (none for 1), a depthwise 3x3, and a 1x1
        convolution without an activation; a shortcut around all where nothing changes: of MobileNetV2 (Sandler et al.
        2018, table 1).

        Args:
            in_channels, out_channels: of the block.
            expansion: how many times as many channels the depthwise convolution has.
            stride: of the depthwise convolution.
        """
        hidden = in_channels * expansion
        inside = self.conv(in_channels, hidden, 1, padding=0, residual=False) if expansion > 1 else []
        inside += self.conv(hidden, hidden, stride=stride, groups=hidden, residual=False)
        inside += _split(self.conv(hidden, out_channels, 1, padding=0, residual=False))[0]
        if stride == 1 and in_channels == out_channels:
            return [Residual(nn.Sequential(*inside), nn.Identity())]
        return inside

    def linear(self, in_features: int, out_features: int, *, place: Place = None) -> list[nn.Module]:
        """A fully connected layer with its norm and, unless it is the last, its activation.

        Args:
            in_features, out_features: of the layer; the input is (N, in_features).
            place: ``"first"``, ``"last"`` or None: where in the network the layer is.

        Raises:
            ValueError: ``place`` is none of these.
        """
        family, arguments = self._family((out_features, in_features), place)
        layer = family.linear(in_features, out_features, **arguments)
        return self._block(layer, nn.BatchNorm1d, out_features, -1, [], None, place)

    def _family(
        self, weight_shape: tuple[int, ...], place: Place, groups: int = 1
    ) -> tuple[LayerFamily, dict[str, Any]]:
        """The family that a layer of that weight is built from, and the arguments of its constructor."""
        if place not in ("first", "last", None):
            raise ValueError(f'place must be "first", "last" or None, received {place!r}')
        method = self.method
        arguments = {"bias": not method.batch_norm}  # a batch norm's offset makes a bias superfluous
        reason = why_real(method, weight_shape, groups=groups, place=place)
        if reason is None:
            quantizers = method.quantizers(weight_shape[1] * groups, weight_shape[0], real_input=place == "first")
            return method.layers, arguments | dict(method.layer_options) | quantizers
        if method.quantizes and place not in method.real_layers:
            warnings.warn(f"a layer with a weight of {tuple(weight_shape)} stays real: {reason}", stacklevel=4)
        return PLAIN, arguments | (eight_bit() if takes_eight_bits(method, place, self.first_last) else {})

    def _projection(self, in_channels: int, out_channels: int, dimensions: int, projection: str) -> list[nn.Module]:
        kinds = _KINDS[dimensions]
        family, arguments = PLAIN, {"bias": not self.method.batch_norm}
        if projection == "method":
            family, arguments = self._family((out_channels, in_channels, *(1,) * dimensions), None)
            if family is BRANCHED:  # its authors' shortcut is one binary convolution, without branches and shifts
                family, arguments = PLAIN, {k: v for k, v in arguments.items() if k not in BRANCHES}
        norm = [kinds.norm(out_channels)] if self.method.batch_norm else []
        return [kinds.conv(family)(in_channels, out_channels, 1, **arguments), *norm]

    def _block(
        self, layer: nn.Module, norm: Callable, channels: int, channel_axis: int, pool: list[nn.Module],
        around: nn.Module | None, place: Place, always: bool = False,
    ) -> list[nn.Module]:  # fmt: skip
        parts: dict[str, list[nn.Module]] = {
            "layer": [layer],
            "pool": pool,
            "norm": [norm(channels)] if self.method.batch_norm else [],
            "relu": [nn.ReLU(inplace=True)],
            "hardtanh": [HardTanh()],
            "rprelu": [RPReLU(channels, channel_axis=channel_axis)],
        }
        block = list(self.method.block)
        if always and "shortcut" not in block:
            block.insert(block.index("norm") + 1, "shortcut")
        built: list[nn.Module] = []
        for name in block:
            if name == "shortcut":
                built = [Residual(nn.Sequential(*built), around)] if around is not None else built
            elif not (place == "last" and name in ("relu", "hardtanh", "rprelu")):
                built += parts[name]
        return built


def dropped(share: float) -> list[nn.Module]:
    """Dropout of that share, as a list to add to a network's layers; none for 0.

    Raises:
        ValueError: a share outside [0, 1).
    """
    if not 0 <= share < 1:
        raise ValueError(f"dropout must lie in [0, 1), received {share}")
    return [nn.Dropout(share)] if share else []


def _split(block: list[nn.Module]) -> tuple[list[nn.Module], list[nn.Module]]:
    """A block without its activation, and the activation, if it ends with one."""
    at = len(block) - isinstance(block[-1], nn.ReLU | HardTanh | RPReLU)
    return block[:at], block[at:]


def _takes_codes(layer: nn.Module) -> bool:
    return not isinstance(layer, BinLinear) and layer.input_quantizer.bits is not None


def _in_turn(modules: list[nn.Module] | None) -> nn.Module | None:
    """The modules one after another as one module; none of them leaves its input as it is."""
    if modules is None or len(modules) == 1:
        return modules[0] if modules else None
    return nn.Sequential(*modules) if modules else nn.Identity()

"""A packed network as ONNX, in standard operators alone, for any runtime that reads the format.

A runtime computes in float32 with a weight for each bit: this is for the reach of the format, not for its speed or size
(codes are kept as int8). A sign is ``Where(x >= 0, 1, -1)``, because ONNX's ``Sign`` has three values. Whole sums below
2^24 are exact in float32, in whatever order a runtime adds. Where all sums are such, scales, biases and norms are
computed in float64 and rounded to float32 afterwards, which is as good as PyTorch's single rounding, so that no code
changes.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bnnlib.files import replaced
from bnnlib.packed.network import Network, checked
from bnnlib.packed.operations import (
    Add,
    AveragePool,
    Bias,
    Clip,
    Flatten,
    Geometry,
    InputScale,
    Levels,
    MaxPool,
    Multiply,
    Norm,
    Operation,
    Product,
    Scale,
    Shape,
    Sign,
    Slope,
)

__all__ = ["onnx_model", "write_onnx"]

OPSET, IR_VERSION = 21, 10
INPUT, SCORES = "input", "scores"


def write_onnx(network: Network, path: Path | str) -> None:
    """Writes a packed network as an ONNX file, whole or not at all; see :func:`onnx_model`.

    Raises:
        TypeError: it is no packed network.
        RuntimeError: the package ``onnx`` is not installed.
        OSError: the file could not be written.
    """
    path = Path(path)
    if not path.name or path.is_dir():
        raise IsADirectoryError(f"the ONNX file needs a name, such as network.onnx; {path} is a folder")
    content = onnx_model(network).SerializeToString()
    replaced(path, lambda partial: partial.write_bytes(content))


def onnx_model(network: Network):
    """A packed network as an ``onnx.ModelProto``.

    Its input ``input`` is float32, (N, and then the network's ``input_shape``) as
    :meth:`~bnnlib.packed.runtime.PackedModel.scores` takes it, its output ``scores`` float32, (N, classes). The names
    of the classes and what the network says of itself are JSON in the model's metadata.

    Raises:
        RuntimeError: the package ``onnx`` is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise RuntimeError("ONNX files are written by its own package, which is not installed: pip install onnx") from (
            error
        )
    writer = _Writer(checked(network))
    classes = network.shapes[network.operations[-1].output][2]
    float32 = onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        writer.nodes(),
        "packed",
        [onnx.helper.make_tensor_value_info(INPUT, float32, ("N", *network.input_shape))],
        [onnx.helper.make_tensor_value_info(SCORES, float32, ("N", classes))],
        list(writer.constants.values()),
    )
    model = onnx.helper.make_model(
        graph,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="bnnlib",
    )
    onnx.helper.set_model_props(
        model, {"classes": json.dumps(list(network.classes)), "about": json.dumps(dict(network.about))}
    )
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass(frozen=True)
class _Value:
    """A value of the graph: a map (N, C, H, W), or, flat, (N, C)."""

    name: str
    shape: Shape
    flat: bool = False


@dataclass
class _Writer:
    network: Network
    made: list = field(default_factory=list)
    constants: dict = field(default_factory=dict)
    values: dict[str, _Value] = field(default_factory=dict)

    def nodes(self) -> list:
        """All nodes, in the order in which they run."""
        height, width, channels = self.network.shapes["input"]
        flat = len(self.network.input_shape) == 1
        given = _Value(INPUT, (height, width, channels), flat)
        if len(self.network.input_shape) == 2:
            given = _Value(self._reshaped(INPUT, (0, channels, 1, width)), given.shape)
        self.values["input"] = given
        for operation in self.network.operations:
            values = [self.values[name] for name in operation.inputs]
            shape, flat = self.network.shapes[operation.output], values[0].flat
            name = _WRITERS[type(operation)](self, operation, *values)
            if isinstance(name, _Value):
                self.values[operation.output] = name
            else:
                self.values[operation.output] = _Value(name, shape, flat)
        last = self.values[self.network.operations[-1].output]
        self._node("Flatten", [last.name], output=SCORES)
        return self.made

    # nodes and constants

    def _node(self, kind: str, inputs: list[str], output: str | None = None, **attributes) -> str:
        from onnx import helper

        output = output or f"{kind.lower()}_{len(self.made)}"
        self.made.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def _constant(self, values, dtype=np.float32) -> str:
        """The name of a constant; equal ones are kept once."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(values, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self.constants:
            self.constants[key] = numpy_helper.from_array(array, f"constant_{len(self.constants)}")
        return self.constants[key].name

    def _per_channel(self, values: np.ndarray, value: _Value, dtype=np.float32) -> str:
        """A constant for each channel, or one for all, in a shape that goes with a value."""
        return self._constant(values if value.flat else values.reshape(-1, 1, 1), dtype)

    def _reshaped(self, name: str, shape: tuple[int, ...]) -> str:
        """0 keeps an axis as it is: the batch."""
        return self._node("Reshape", [name, self._constant(shape, np.int64)])

    def _as_map(self, value: _Value) -> str:
        return self._reshaped(value.name, (0, value.shape[2], 1, 1)) if value.flat else value.name

    def _as_vector(self, value: _Value) -> str:
        """(N, C * H * W), channel by channel."""
        return value.name if value.flat else self._node("Flatten", [value.name])

    # one function for each kind of operation: the name of its output, or, where that has another rank, a value

    def sign(self, operation: Sign, value: _Value) -> str:
        name = value.name
        if operation.shift is not None:
            by_pixel = operation.shift.ndim == 3
            shift = operation.shift.transpose(2, 0, 1) if by_pixel and not value.flat else operation.shift.reshape(-1)
            shift = self._constant(shift) if by_pixel else self._per_channel(shift, value)
            name = self._node("Add", [name, shift])
        compared = self._node("Greater" if operation.strict else "GreaterOrEqual", [name, self._constant(0)])
        return self._node("Where", [compared, self._constant(1), self._constant(-1)])

    def levels(self, operation: Levels, value: _Value) -> str:
        if operation.step is None:
            scaled = self._node("Mul", [value.name, self._constant(operation.levels)])
        else:
            scaled = self._node("Div", [value.name, self._constant(operation.step.reshape(()))])
        bounds = [self._constant(operation.low), self._constant(operation.high)]
        return self._node("Round", [self._node("Clip", [scaled, *bounds])])

    def product(self, operation: Product, value: _Value) -> _Value:
        shape, geometry = self.network.shapes[operation.output], operation.geometry
        weights = operation.weights.values.transpose(0, 3, 1, 2)
        whole_map = geometry.kernel == value.shape[:2] and not any(geometry.padding) and operation.groups == 1
        if whole_map:
            matrix = self._weights(weights.reshape(len(weights), -1), operation)
            return _Value(self._node("Gemm", [self._as_vector(value), matrix], transB=1), shape, flat=True)
        name = self._as_map(value)
        if operation.pad_value and any(geometry.padding):
            top, bottom, left, right = geometry.padding
            pads = self._constant((0, 0, top, left, 0, 0, bottom, right), np.int64)
            name = self._node("Pad", [name, pads, self._constant(operation.pad_value)])
            geometry = geometry._replace(padding=(0, 0, 0, 0))
        inputs = [name, self._weights(weights, operation)]
        return _Value(self._node("Conv", inputs, group=operation.groups, **_window(geometry)), shape)

    def _weights(self, weights: np.ndarray, operation: Product) -> str:
        if operation.weights.bits == 32:
            return self._constant(weights)
        from onnx import TensorProto

        name = self._constant(weights, np.int8 if operation.weights.largest < 128 else np.int16)
        return self._node("Cast", [name], to=TensorProto.FLOAT)

    def _arithmetic(self, value: _Value, *steps: tuple[str, np.ndarray]) -> str:
        """``Mul`` and ``Add`` by numbers for each channel. Where codes depend on their roundings, in float64, which a
        runtime does not merge into the product before."""
        from onnx import TensorProto

        exact = self.network.exact
        name = self._node("Cast", [value.name], to=TensorProto.DOUBLE) if exact else value.name
        for kind, numbers in steps:
            name = self._node(kind, [name, self._per_channel(numbers, value, np.float64 if exact else np.float32)])
        return self._node("Cast", [name], to=TensorProto.FLOAT) if exact else name

    def scale(self, operation: Scale, value: _Value) -> str:
        return self._arithmetic(value, ("Mul", operation.values))

    def bias(self, operation: Bias, value: _Value) -> str:
        return self._arithmetic(value, ("Add", operation.values))

    def norm(self, operation: Norm, value: _Value) -> str:
        return self._arithmetic(value, ("Mul", operation.multiplier), ("Add", operation.offset))

    def clip(self, operation: Clip, value: _Value) -> str:
        if (operation.low, operation.high) == (0, float("inf")):
            return self._node("Relu", [value.name])
        return self._node("Clip", [value.name, self._constant(operation.low), self._constant(operation.high)])

    def slope(self, operation: Slope, value: _Value) -> str:
        name = value.name
        if operation.before is not None:
            name = self._node("Add", [name, self._per_channel(operation.before, value)])
        name = self._node("PRelu", [name, self._per_channel(operation.slope, value)])
        if operation.after is not None:
            name = self._node("Add", [name, self._per_channel(operation.after, value)])
        return name

    def max_pool(self, operation: MaxPool, value: _Value) -> _Value:
        name = self._node("MaxPool", [self._as_map(value)], **_window(operation.geometry))
        return _Value(name, self.network.shapes[operation.output])

    def average_pool(self, operation: AveragePool, value: _Value) -> _Value:
        geometry = operation.whole()
        sums = self._window_sums(self._as_map(value), value.shape[2], geometry, 1.0)
        counts = self._constant(operation.counts(*value.shape[:2]))
        return _Value(self._node("Div", [sums, counts]), self.network.shapes[operation.output])

    def _window_sums(self, name: str, channels: int, geometry: Geometry, each: float) -> str:
        ones = self._constant(np.full((channels, 1, *geometry.kernel), each))
        return self._node("Conv", [name, ones], group=channels, **_window(geometry))

    def flatten(self, operation: Flatten, value: _Value) -> _Value:
        return _Value(self._as_vector(value), self.network.shapes[operation.output], flat=True)

    def add(self, operation: Add, first: _Value, second: _Value) -> _Value:
        flat = first.flat and second.flat
        names = [value.name if flat else self._as_map(value) for value in (first, second)]
        return _Value(self._node("Add", names), first.shape, flat)

    def input_scale(self, operation: InputScale, value: _Value) -> _Value:
        height, width, channels = value.shape
        sizes = self._node("Abs", [self._as_map(value)])
        sizes = self._reshaped(sizes, (0, operation.groups, channels // operation.groups, height, width))
        means = self._node("ReduceMean", [sizes, self._constant([2], np.int64)], keepdims=0)
        share = 1 / np.prod(operation.geometry.kernel)
        sums = self._window_sums(means, operation.groups, operation.geometry, share)
        return _Value(sums, self.network.shapes[operation.output])

    def multiply(self, operation: Multiply, value: _Value, by: _Value) -> _Value:
        (height, width, channels), groups = value.shape, by.shape[2]
        each = self._reshaped(self._as_map(value), (0, groups, channels // groups, height, width))
        factors = self._reshaped(self._as_map(by), (0, groups, 1, height, width))
        product = self._node("Mul", [each, factors])
        return _Value(self._reshaped(product, (0, channels, height, width)), value.shape)


def _window(geometry: Geometry) -> dict[str, tuple[int, ...]]:
    top, bottom, left, right = geometry.padding
    return {
        "kernel_shape": geometry.kernel, "strides": geometry.stride, "dilations": geometry.dilation,
        "pads": (top, left, bottom, right),
    }  # fmt: skip


_WRITERS: dict[type[Operation], Callable] = {
    Sign: _Writer.sign,
    Levels: _Writer.levels,
    Product: _Writer.product,
    Scale: _Writer.scale,
    Bias: _Writer.bias,
    Norm: _Writer.norm,
    Clip: _Writer.clip,
    Slope: _Writer.slope,
    MaxPool: _Writer.max_pool,
    AveragePool: _Writer.average_pool,
    Flatten: _Writer.flatten,
    Add: _Writer.add,
    InputScale: _Writer.input_scale,
    Multiply: _Writer.multiply,
}

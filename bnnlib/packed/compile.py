"""``pack``: a trained PyTorch network as a :class:`~bnnlib.packed.runtime.PackedModel`, which needs no PyTorch.

The network is followed through its graph. Each layer becomes a product of small whole numbers, with what makes its
input one of them before it. The scale of its weights is folded into the batch norm that follows, where one does; a
negative one turns the signs of the filter's weights, which changes no sum but its sign.
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bnnlib.graph import Node, NotTraceable, spellings, trace
from bnnlib.layers import HardTanh, QuantizedLayer, RPReLU
from bnnlib.packed.layout import scale_is_folded
from bnnlib.packed.operations import (
    LARGEST_CODE,
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
    Sign,
    Slope,
    Weights,
    fused_multiply_add,
)
from bnnlib.packed.runtime import PackedModel
from bnnlib.packed.thresholds import settled
from bnnlib.quantizers import LSQ, DoReFaActivation, Identity, NotPackable, Quantizer
from bnnlib.quantizers import Sign as SignQuantizer

__all__ = ["pack"]

_NORM = nn.modules.batchnorm._BatchNorm


@torch.no_grad()
def pack(
    model: nn.Module,
    input_shape: Sequence[int] | None = None,
    *,
    classes: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
) -> PackedModel:
    """A trained network as bits.

    Args:
        model: built from layers of this library or of PyTorch: linear, one- and two-dimensional convolutions, batch
            norms, max, average and global pooling, ReLU, hard tanh, PReLU, RPReLU, shortcuts, flatten. It is read in
            eval mode and left as it was.
        input_shape: of one input, without the batch axis: (C, H, W), (C, L) or (F,); by default the model's
            ``input_shape``.
        classes: names of the classes, kept in the file.
        about: plain data to be kept in the file as well.

    Raises:
        NotPackable: the network has an operation, or a quantizer values, that a packed network has no form for; the
            message names it. So does a network whose scores are plainly others when it is packed.
        ValueError: the model doesn't take that shape, there are more or fewer names than scores, or ``about`` is no
            plain data.

    The packed network has the bytes that :func:`bnnlib.summary` counts; where a scale can't be folded into the norm
    after it without moving a code, it is kept apart, and the file is so much larger.
    """
    shape = _checked_shape(model, input_shape)
    _refuse_what_is_not_seen(model)
    try:
        about = json.loads(json.dumps(dict(about or {})))
    except (TypeError, ValueError) as error:
        raise ValueError(f"about must be plain data, as JSON has it: {error}") from error
    modes = {module: module.training for module in model.modules()}
    try:
        compiler = _Compiler(shape)
        for node in trace(model.eval()).nodes:
            compiler.emit(node)
        operations = settled(compiler.operations, compiler.unfolded)
        packed = PackedModel(shape, tuple(operations), tuple(classes), about)
        _compare(model, packed)
    except NotTraceable as error:
        raise NotPackable(str(error)) from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    return packed


def _checked_shape(model: nn.Module, given: Sequence[int] | None) -> tuple[int, ...]:
    shape = getattr(model, "input_shape", None) if given is None else given
    sizes = tuple(shape) if isinstance(shape, Sequence) else ()
    if not 1 <= len(sizes) <= 3 or any(not isinstance(size, int) or size < 1 for size in sizes):
        missing = ": the model has none of its own, so it must be given" if shape is None else ""
        raise ValueError(
            f"input_shape must be (C, H, W), (C, L) or (F,) of positive numbers, received {shape!r}{missing}"
        )
    return sizes


def _refuse_what_is_not_seen(model: nn.Module) -> None:
    """The graph shows calls of modules, not what hooks add to them, nor what a class of one's own computes."""
    for name, module in model.named_modules():
        if module._forward_hooks or module._forward_pre_hooks:
            raise NotPackable(
                f"{name or 'the network'} has forward hooks, which may change what it computes: remove them"
            )
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise NotPackable(f"{name} is {tensor.dtype}; a packed network computes in float32: model.float()")
        if not tensor.isfinite().all():
            raise NotPackable(f"{name} holds values that are not finite: the training has failed, or its data hold NaN")


def _compare(model: nn.Module, packed: PackedModel) -> None:
    """Refuses a packed network that is plainly another one: whatever the graph did not show has that effect."""
    x = np.random.default_rng(0).standard_normal((4, *packed.input_shape)).astype(np.float32)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    theirs, ours = model(torch.from_numpy(x).to(device)).cpu().numpy(), packed.scores(x)
    if theirs.shape != ours.shape:
        raise NotPackable(f"the network returns scores of shape {theirs.shape}, packed it would return {ours.shape}")
    apart = np.abs(theirs - ours).mean()
    if not apart <= 0.25 * np.abs(theirs - theirs.mean()).mean() + 1e-5 * (1 + np.abs(theirs).mean()):
        raise NotPackable(
            f"packed, the network would have other scores (on average {apart:.2g} apart, on random inputs): it "
            "computes something that its graph doesn't show"
        )


@dataclass(frozen=True)
class _Value:
    """What a node of the graph has become.

    Attributes:
        name, shape: of the value that the operations make: height, width, channels.
        flat: PyTorch has it as (N, F).
        waiting: what is still to be done to each channel, ``x * scale + bias``, or is folded into a norm.
    """

    name: str
    shape: tuple[int, int, int]
    flat: bool
    waiting: tuple[np.ndarray, np.ndarray | None] | None = None


class _Compiler:
    """Emits operations, node by node.

    Attributes:
        operations: so far.
        unfolded: norm's output -> the operations that it stands for, as PyTorch computes them.
    """

    def __init__(self, input_shape: tuple[int, ...]):
        self.input_shape = input_shape
        self.operations: list[Operation] = []
        self.unfolded: dict[str, tuple[Operation, ...]] = {}
        self.values: dict[Node, _Value] = {}
        self.shapes: dict[str, tuple[int, int, int]] = {}
        self.made: dict[tuple, tuple] = {}  # weights and norms of modules that are called more than once

    def emit(self, node: Node) -> None:
        if node.kind == "input":
            if self.values:
                raise NotPackable("the network takes more than one input")
            *sizes, last = self.input_shape
            shape = {0: (1, 1, last), 1: (1, last, sizes[0] if sizes else 0)}.get(len(sizes))
            self.shapes["input"] = shape or (sizes[1], last, sizes[0])
            self.values[node] = _Value("input", self.shapes["input"], len(self.input_shape) == 1)
        elif node.kind == "output":
            self._settle_output(node)
        elif node.kind == "attribute":
            raise NotPackable(
                f"the network reads {node.target!r} by itself: only layers and norms have parameters here"
            )
        else:
            try:
                made = self._emitted(node)
            except (NotPackable, ValueError) as error:  # with the place as the user knows it
                told = str(error)
                told = told.removeprefix(node.name) if told.startswith(node.name) else f": {told}"
                raise type(error)(node.where + told) from error
            if _in_place(node) and isinstance(node.input, Node):
                # whoever reads the same tensor afterwards reads what it has become
                changed = self.values[node.input].name
                for other, value in self.values.items():
                    if value.name == changed:
                        self.values[other] = replace(made, flat=value.flat)
            self.values[node] = made

    # values

    def _add(self, operation: Operation, flat: bool, waiting=None) -> _Value:
        shape = operation.shape(*(self.shapes[name] for name in operation.inputs))
        self.shapes[operation.output] = shape
        self.operations.append(operation)
        return _Value(operation.output, shape, flat, waiting)

    def _taken(self, node: Node, place: int = 0) -> _Value:
        given = node.arguments[place] if len(node.arguments) > place else None
        if not isinstance(given, Node):
            raise NotPackable(f"{node.name} ({node.what}) takes {given!r}: a map is expected")
        return self.values[given]

    def _done(self, value: _Value) -> _Value:
        """The value with nothing waiting."""
        if value.waiting is None:
            return value
        scale, bias = value.waiting
        done = f"{value.name}.scaled"
        if done in self.shapes:
            return _Value(f"{done}.biased" if bias is not None else done, value.shape, value.flat)
        made = self._add(Scale((value.name,), done, values=scale), value.flat)
        return made if bias is None else self._add(Bias((done,), f"{done}.biased", values=bias), value.flat)

    def _as_vector(self, value: _Value) -> _Value:
        """A flat value as a single pixel, in PyTorch's order."""
        value = self._done(value)
        if not value.flat or value.shape[:2] == (1, 1):
            return value
        name = f"{value.name}.flat"
        if name in self.shapes:
            return _Value(name, self.shapes[name], True)
        return self._add(Flatten((value.name,), name), True)

    def _settle_output(self, node: Node) -> None:
        given = node.arguments[0]
        if not isinstance(given, Node):
            raise NotPackable("the network must return one tensor of scores (N, classes)")
        value = self._as_vector(self.values[given])
        if value.shape[:2] != (1, 1) or not value.flat:
            raise NotPackable(f"the network must return scores (N, classes), it returns maps of {value.shape}")
        if not self.operations or self.operations[-1].output != value.name:
            raise NotPackable("the network's last operation doesn't make its scores")

    # nodes

    def _emitted(self, node: Node) -> _Value:
        module = node.module
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            return self._layer(node, module)
        if isinstance(module, _NORM):
            return self._norm(node, module)
        for kinds, names, method in _HANDLED:
            if isinstance(module, kinds) or (module is None and node.function in names):
                return method(self, node)
        hint = (
            "; flatten by nn.Flatten() or torch.flatten(x, 1)" if node.function in ("size", "view", "reshape") else ""
        )
        raise NotPackable(f"{node.name}: a packed network has no form for {node.what}{hint}")

    def _passed(self, node: Node) -> _Value:
        return self._taken(node)

    def _dropped(self, node: Node) -> _Value:
        if node.module is None and node.argument(2, "training", True) and node.argument(1, "p", 0.5):
            raise NotPackable(f"{node.name}: {node.what} also drops in eval mode; give it training=self.training")
        return self._taken(node)

    def _flattened(self, node: Node) -> _Value:
        module = node.module
        start = module.start_dim if module is not None else node.argument(1, "start_dim", 0)
        end = module.end_dim if module is not None else node.argument(2, "end_dim", -1)
        if (start, end) != (1, -1):
            raise NotPackable(f"{node.name}: flatten must leave the batch and join the rest, (1, -1), not {start, end}")
        return replace(self._taken(node), flat=True)

    def _clipped(self, node: Node) -> _Value:
        module, value = node.module, self._taken(node)
        low, high = 0.0, math.inf
        if isinstance(module, HardTanh):
            low, high = -1.0, 1.0
        elif isinstance(module, nn.Hardtanh):  # ReLU6 is one
            low, high = float(module.min_val), float(module.max_val)
        elif module is None and node.function in _HARD_TANH:
            low, high = float(node.argument(1, "min_val", -1.0)), float(node.argument(2, "max_val", 1.0))
        waiting = value.waiting
        if waiting is not None and (waiting[1] is not None or (low, high) != (0.0, math.inf)):
            value, waiting = self._done(value), None  # only a ReLU lets a positive scale through
        return self._add(Clip((value.name,), node.name, low, high), value.flat, waiting)

    def _sloped(self, node: Node) -> _Value:
        module, value = node.module, self._as_vector(self._taken(node))
        if isinstance(module, RPReLU):
            self._check_channels(node, value, module.channel_axis)
            arrays = {"slope": module.slope, "before": module.before, "after": module.after}
        else:
            arrays = {"slope": module.weight}
        arrays = {name: _array(tensor) for name, tensor in arrays.items()}
        return self._add(Slope((value.name,), node.name, **arrays), value.flat)

    def _check_channels(self, node: Node, value: _Value, axis: int | None) -> None:
        expected = -1 if value.flat else -2 if len(self.input_shape) == 2 else -3
        if axis is not None and axis != expected:
            raise NotPackable(f"{node.name}: channels on axis {axis}, where the map has them on axis {expected}")

    def _pooled(self, node: Node) -> _Value:
        module = node.module
        if module is None:
            raise NotPackable(f"{node.name}: write {node.what} as a module, nn.MaxPool2d and the like")
        value = self._taken(node)
        if value.flat or len(self.input_shape) - 1 != (1 if isinstance(module, _POOLS[1]) else 2):
            raise NotPackable(f"{node.name}: {node.what} of {'a flat tensor' if value.flat else 'another kind of map'}")
        if isinstance(module, (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)):
            if set(np.ravel(module.output_size)) != {1}:
                raise NotPackable(f"{node.name}: {node.what} to {module.output_size}; only global pooling, to 1")
            geometry = Geometry(value.shape[:2], value.shape[:2])
            largest, overhang, counts = isinstance(module, (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)), (0, 0), True
        else:
            largest = isinstance(module, (nn.MaxPool1d, nn.MaxPool2d))
            geometry, overhang = self._pooling_window(module, value.shape)
            counts = getattr(module, "count_include_pad", True)
            if getattr(module, "divisor_override", None) or getattr(module, "return_indices", False):
                raise NotPackable(f"{node.name}: divisor_override and return_indices have no form here")
        if largest:
            top, bottom, left, right = geometry.padding
            geometry = geometry._replace(padding=(top, bottom + overhang[0], left, right + overhang[1]))
            return self._add(MaxPool((value.name,), node.name, geometry), False, value.waiting)
        if value.waiting is not None and value.waiting[1] is not None:
            value = self._done(value)
        return self._add(AveragePool((value.name,), node.name, geometry, counts, overhang), False, value.waiting)

    @staticmethod
    def _pooling_window(module: nn.Module, shape: tuple[int, int, int]) -> tuple[Geometry, tuple[int, int]]:
        one = isinstance(module, (nn.MaxPool1d, nn.AvgPool1d))
        kernel, stride = _pair(module.kernel_size, one), _pair(module.stride, one)
        height, width = _pair(module.padding, one, 0)
        dilation = _pair(getattr(module, "dilation", 1), one)
        geometry = Geometry(kernel, stride, (height, height, width, width), dilation)
        overhang = [0, 0]
        if module.ceil_mode:
            for axis, (size, padding) in enumerate(zip(shape[:2], (height, width), strict=True)):
                left = size + 2 * padding - geometry.covered()[axis]
                outputs = -(-left // stride[axis]) + 1
                if (outputs - 1) * stride[axis] >= size + padding:  # a window must begin inside the map
                    outputs -= 1
                overhang[axis] = max(0, (outputs - 1) * stride[axis] - left)
        return geometry, (overhang[0], overhang[1])

    def _added(self, node: Node) -> _Value:
        if node.options.get("alpha", 1) != 1:
            raise NotPackable(f"{node.name}: a sum with alpha {node.options['alpha']}")
        first, second = (self._done(self._taken(node, place)) for place in (0, 1))
        if first.flat and first.shape != second.shape:
            first, second = self._as_vector(first), self._as_vector(second)
        if first.flat != second.flat or first.shape != second.shape:
            raise NotPackable(f"{node.name}: a sum of maps of {first.shape} and {second.shape}")
        return self._add(Add((first.name, second.name), node.name), first.flat)

    def _norm(self, node: Node, module: nn.Module) -> _Value:
        value = self._taken(node)
        if value.flat and value.shape[:2] != (1, 1):
            value = self._as_vector(value)
        multiplier, offset = self._once((id(module),), lambda: norm_constants(module))
        exact = Norm((value.name,), node.name, multiplier=multiplier, offset=offset)
        if value.waiting is None:
            return self._add(exact, value.flat)
        scale, bias = value.waiting
        before: list[Operation] = [Scale((), "", values=scale)]
        if bias is not None:
            before.append(Bias((), "", values=bias))
        self.unfolded[node.name] = (*before, exact)

        def folded() -> tuple[np.ndarray, np.ndarray]:
            by = np.float32(multiplier * np.broadcast_to(scale, multiplier.shape))
            return by, offset if bias is None else fused_multiply_add(bias, multiplier, offset)

        key = id(module), scale.tobytes(), b"" if bias is None else bias.tobytes()
        multiplier_folded, offset_folded = self._once(key, folded)
        return self._add(replace(exact, multiplier=multiplier_folded, offset=offset_folded), value.flat)

    def _once(self, key: tuple, make: Callable[[], tuple]) -> tuple:
        """What was made for that key before, or is made now: a module that is called twice is packed once."""
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def _layer(self, node: Node, layer: nn.Linear | nn.Conv1d | nn.Conv2d) -> _Value:
        value = self._done(self._taken(node))
        name = node.name
        linear = isinstance(layer, nn.Linear)
        if linear and not value.flat:
            raise NotPackable(f"{name}: a linear layer over an axis of a map; flatten it first")
        if not linear and (value.flat or (len(self.input_shape) == 3) != isinstance(layer, nn.Conv2d)):
            raise NotPackable(f"{name}: {node.what} of an input of shape {self.input_shape}")
        for function in ("forward", "product", "_exact", "_mixed", "_op", "input_scale", "_conv_forward"):
            _of_the_library(name, layer, function)
        geometry = self._geometry(name, layer, value)
        ours = isinstance(layer, QuantizedLayer)
        quantizers = (layer.weight_quantizer, layer.input_quantizer) if ours else (Identity(), Identity())
        key = id(layer), value.shape if linear else None
        weights, scale = self._once(key, lambda: self._weights(name, layer, quantizers[0], value))
        options = {
            "geometry": geometry, "groups": getattr(layer, "groups", 1), "weights": weights,
            "pad_value": int(getattr(layer, "pad_value", 0)),
        }  # fmt: skip
        bias = None if layer.bias is None else _array(layer.bias)
        if hasattr(layer, "mix"):
            made, factor = self._branches(name, layer, value, options)
            if bias is not None:
                alpha = getattr(layer.weight_quantizer, "alpha", torch.ones(()))
                bias = _array(layer.bias * alpha * (1 + layer.mix.sum(0)))
        else:
            codes, factor = self._codes(name, quantizers[1], value)
            made = self._add(Product((codes.name,), name, **options), value.flat or linear)
        if ours and layer.input_scale(torch.zeros(_like(self.input_shape, value, linear))) is not None:
            groups = options["groups"]
            sizes = self._add(InputScale((value.name,), f"{name}.input_scale", geometry, groups), False)
            made = self._add(Multiply((made.name, sizes.name), f"{name}.times_input_scale"), linear)
        scale = (scale * factor).astype(np.float32)
        made = replace(made, flat=linear)
        if bool((scale == 1).all()) and bias is None:
            return made
        made = replace(made, waiting=(scale, bias))
        input_bits = quantizers[1].bits or 32
        return made if scale_is_folded(weights.bits, input_bits) else self._done(made)

    def _branches(self, name: str, layer, value: _Value, options) -> tuple[_Value, np.float32]:
        """IE-Net's sum over branches: products of the same weights, each with its shifted signs and its factor."""
        total = None
        codes = [
            self._codes(f"{name}.branch{branch}", layer.input_quantizer, value, shift)[0]
            for branch, shift in enumerate(layer.shift)
        ]  # all before the first product: the runtime takes them in one call
        for branch, of_branch in enumerate(codes):
            product = self._add(Product((of_branch.name,), f"{name}.branch{branch}.sums", **options), False)
            if total is None:
                total = product
                continue
            mix = _array(layer.mix[branch - 1])
            part = self._add(Scale((product.name,), f"{name}.branch{branch}.mixed", values=mix), False)
            total = self._add(Add((total.name, part.name), f"{name}.upto{branch}"), False)
        return total, np.float32(1)

    def _geometry(self, name: str, layer, value: _Value) -> Geometry:
        if isinstance(layer, nn.Linear):
            return Geometry(value.shape[:2])
        if layer.padding_mode != "zeros":
            raise NotPackable(f"{name}: padding_mode {layer.padding_mode!r}; only zeros")
        one = isinstance(layer, nn.Conv1d)
        around = list(layer._reversed_padding_repeated_twice)  # left, right[, top, bottom]
        left, right, top, bottom = [*around, 0, 0] if one else around
        return Geometry(
            _pair(layer.kernel_size, one), _pair(layer.stride, one), (top, bottom, left, right),
            _pair(layer.dilation, one),
        )  # fmt: skip

    def _weights(self, name: str, layer, quantizer: Quantizer, value: _Value) -> tuple[Weights, np.ndarray]:
        """A layer's weights, channels last, and their scale: (O,) or (1,), positive or zero."""
        if isinstance(getattr(quantizer, "quantizer", quantizer), Identity):  # perhaps pruned
            codes, scale, bits = quantizer.value(layer.weight), torch.ones(1), 32
        elif quantizer.bits is None:
            raise NotPackable(f"{name}: the weight quantizer {quantizer!r} has no codes of some bits")
        else:
            codes, scale = quantizer.codes(layer.weight)
            bits = quantizer.bits
        codes, scale = _array(codes), _array(scale).reshape(-1)
        negative = np.broadcast_to(scale < 0, len(codes))
        codes = np.where(negative.reshape(-1, *(1,) * (codes.ndim - 1)), -codes, codes)
        if codes.ndim == 2:
            height, width, channels = value.shape
            if codes.shape[1] != height * width * channels:
                raise ValueError(
                    f"{name}: the layer takes {codes.shape[1]} features, it gets {height * width * channels}"
                )
            codes = codes.reshape(len(codes), channels, height, width)
        codes = (codes[:, :, None] if codes.ndim == 3 else codes).transpose(0, 2, 3, 1)
        codes = np.ascontiguousarray(codes)
        if bits == 32:
            return Weights(codes.astype(np.float32), 32), np.ones(1, np.float32)
        return _on_grid(name, codes, bits), np.abs(scale)

    def _codes(
        self, name: str, quantizer: Quantizer, value: _Value, shift: Tensor | None = None
    ) -> tuple[_Value, float]:
        """The codes of a layer's input, and their scale."""
        if isinstance(quantizer, Identity):
            return value, np.float32(1)
        _of_the_library(name, quantizer, "codes")
        if isinstance(quantizer, SignQuantizer):
            if quantizer.zero == 0:
                raise NotPackable(f"{name}: the sign of the input has three values, with sign(0) = 0")
            shift = getattr(quantizer, "shift", None) if shift is None else shift
            array = None if shift is None else self._over_map(_array(shift), value)
            return self._add(
                Sign((value.name,), f"{name}.signs", quantizer.zero < 0, shift=array), value.flat
            ), np.float32(1)
        if isinstance(quantizer, LSQ):
            step = _array(quantizer.codes(quantizer.step.new_zeros(1))[1]).reshape(1)
            if quantizer.high > LARGEST_CODE:
                raise NotPackable(f"{name}: input codes of {quantizer.bits} bits; up to {LARGEST_CODE} can be packed")
            levels = Levels((value.name,), f"{name}.codes", quantizer.low, quantizer.high, step=step)
            return self._add(levels, value.flat), step[0]
        if isinstance(quantizer, DoReFaActivation):
            low = 0 if quantizer.low == 0 else -quantizer.levels
            if quantizer.levels > LARGEST_CODE:
                raise NotPackable(f"{name}: input codes of {quantizer.bits} bits; up to {LARGEST_CODE} can be packed")
            levels = Levels((value.name,), f"{name}.codes", low, quantizer.levels, quantizer.levels)
            return self._add(levels, value.flat), np.float32(1 / quantizer.levels)
        raise NotPackable(f"{name}: a packed network has no form for the input quantizer {quantizer!r}")

    @staticmethod
    def _over_map(shift: np.ndarray, value: _Value) -> np.ndarray:
        """A shift of each feature, where the features are a map, as (H, W, C)."""
        height, width, channels = value.shape
        if len(shift) == channels:
            return shift
        return np.ascontiguousarray(shift.reshape(channels, height, width).transpose(1, 2, 0))


def norm_constants(module: nn.Module) -> tuple[np.ndarray, np.ndarray]:
    """Multiplier and offset of a batch norm in eval mode, float32, bit for bit what PyTorch uses on contiguous maps:
    ``a = gamma * (1 / sqrt(var + eps))`` and ``c = beta - mean * a``, rounded once. It then computes ``x * a + c``,
    rounded once too.

    Warns:
        UserWarning: PyTorch computes it otherwise on this machine, so that codes near a threshold may differ.
    """
    if module.running_mean is None:
        raise NotPackable("a batch norm without running statistics is different for every batch")
    mean, variance = _array(module.running_mean), _array(module.running_var)
    multiplier = np.float32(1) / np.sqrt(variance + np.float32(module.eps))
    if module.weight is not None:
        multiplier = multiplier * _array(module.weight)
    offset = np.zeros(len(mean), np.float32) if module.bias is None else _array(module.bias)
    offset = fused_multiply_add(-mean, multiplier, offset)
    numbers = np.arange(-64, 65, dtype=np.float32)[:, None].repeat(len(mean), 1)
    theirs = nn.functional.batch_norm(
        torch.from_numpy(numbers), *(_cpu(module, name) for name in ("running_mean", "running_var", "weight", "bias")),
        eps=module.eps,
    )  # fmt: skip
    if not np.array_equal(theirs.numpy(), fused_multiply_add(numbers, multiplier, offset)):
        warnings.warn(
            "PyTorch computes batch norms in another way on this machine: codes of sums that lie next to a threshold "
            "may differ from the trained network's",
            stacklevel=2,
        )
    return multiplier, offset


def _of_the_library(name: str, module: nn.Module, function: str) -> None:
    """Refuses a class that computes in a way of its own."""
    home = getattr(getattr(type(module), function, None), "__module__", "bnnlib.")
    if not home.startswith(("bnnlib.", "torch.")):
        raise NotPackable(f"{name}: {type(module).__name__} has a {function} of its own, which packing can't see into")


def _in_place(node: Node) -> bool:
    """Whether an operation changes the tensor that it is given."""
    if node.module is not None:
        return bool(getattr(node.module, "inplace", False))
    name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return bool(node.options.get("inplace")) or (name.endswith("_") and not name.endswith("__")) or name == "iadd"


def _cpu(module: nn.Module, name: str) -> Tensor | None:
    tensor = getattr(module, name)
    return None if tensor is None else tensor.detach().cpu().to(torch.float32)


def _on_grid(name: str, codes: np.ndarray, bits: int) -> Weights:
    """Codes as weights on the grid of their width: odd ones where no code is even, as signs and DoReFa's are."""
    if bits > 8:
        raise NotPackable(f"{name}: weights of {bits} bits; a packed network has codes of 8 bits at most, or float32")
    whole = codes.astype(np.int16)
    if not np.array_equal(whole, codes):
        raise NotPackable(f"{name}: the weights' codes are not whole numbers")
    odd = bool((whole & 1).all())
    if bits == 1 and not odd:
        raise NotPackable(f"{name}: {(whole == 0).sum()} weights are exactly 0, a third value beside +1 and -1")
    first, stride = (1 - 2**bits, 2) if odd and np.abs(whole).max(initial=0) < 2**bits else (-(2 ** (bits - 1)), 1)
    if whole.min(initial=0) < first or whole.max(initial=0) > first + stride * (2**bits - 1):
        first = 1 - 2 ** (bits - 1)  # negated codes, or -1, 0, 1
    if whole.min(initial=first) < first or whole.max(initial=first) > first + stride * (2**bits - 1):
        raise NotPackable(f"{name}: codes in {whole.min()}..{whole.max()} are more than {bits} bits hold")
    return Weights(whole, bits, first, stride)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().to(torch.float32).numpy().copy()


def _pair(value, one_dimensional: bool, filler: int = 1) -> tuple[int, int]:
    if isinstance(value, int):
        return (filler, value) if one_dimensional else (value, value)
    value = tuple(value)
    return (filler, value[0]) if one_dimensional else (value[0], value[1])


def _like(input_shape: tuple[int, ...], value: _Value, linear: bool) -> tuple[int, ...]:
    """The shape of a batch of one as the layer takes it."""
    height, width, channels = value.shape
    if linear:
        return (1, height * width * channels)
    return (1, channels, width) if len(input_shape) == 2 else (1, channels, height, width)


_HARD_TANH = spellings("hardtanh")
_POOLS = {
    1: (nn.MaxPool1d, nn.AvgPool1d, nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d),
    2: (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d),
}
_HANDLED = (
    ((nn.Identity,), spellings("contiguous"), _Compiler._passed),
    ((nn.Dropout, nn.Dropout1d, nn.Dropout2d), spellings("dropout"), _Compiler._dropped),
    ((nn.Flatten,), spellings("flatten"), _Compiler._flattened),
    ((nn.ReLU, HardTanh, nn.Hardtanh), spellings("relu") | _HARD_TANH, _Compiler._clipped),
    ((nn.PReLU, RPReLU), frozenset(), _Compiler._sloped),
    (
        (*_POOLS[1], *_POOLS[2]),
        spellings("max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool2d"),
        _Compiler._pooled,
    ),
    ((), spellings("add", "iadd"), _Compiler._added),
)  # fmt: skip

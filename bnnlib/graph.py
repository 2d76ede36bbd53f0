"""Who feeds whom in a torch network, for whoever changes, counts or packs one.

:func:`trace` follows one forward pass with torch.fx, without data, and gives a :class:`Graph` of :class:`Node`. It sees
through every module but torch's own, the library's layers and activations, and torch's stacks of transformer layers.
"""

import builtins
import inspect
import operator
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import fx, nn

from bnnlib.layers import HardTanh, QuantizedLayer, RPReLU
from bnnlib.quantizers import Quantizer

__all__ = ["Channels", "Graph", "Node", "NotTraceable", "registered_names", "spellings", "trace"]


class NotTraceable(ValueError):
    """The forward pass cannot be followed without data; the message says why."""


@dataclass(eq=False)
class Node:
    """One operation of a forward pass.

    Attributes:
        name: unique in its graph.
        kind: what it is; an ``"attribute"`` is a parameter or buffer that the network reads by itself.
        module: the module that is called, or None.
        target: the name of that module (the first of several) or attribute, the function, or a tensor method's name.
        arguments, options: positional and named arguments, with nodes in place of tensors.
        fed_by: the nodes among its arguments.
        feeds: the nodes that take its output, in the order of execution.
    """

    name: str
    kind: Literal["input", "attribute", "module", "function", "output"]
    module: nn.Module | None
    target: str | Callable
    arguments: tuple
    options: dict[str, Any]
    fed_by: list["Node"] = field(default_factory=list, repr=False)
    feeds: list["Node"] = field(default_factory=list, repr=False)

    @property
    def input(self) -> Any:
        """The first argument: the tensor, or tensors, that the operation is about."""
        return self.arguments[0] if self.arguments else next(iter(self.options.values()), None)

    def argument(self, place: int, name: str, default: Any = None) -> Any:
        """An argument that can be given by place or by name."""
        return self.arguments[place] if len(self.arguments) > place else self.options.get(name, default)

    @property
    def function(self) -> Callable | str | None:
        """The function or the tensor method's name, None where the node is no such call."""
        return self.target if self.kind == "function" else None

    @property
    def where(self) -> str:
        """What a message calls its place: the module's name in the network, else its own."""
        return self.target if self.kind == "module" else self.name

    @property
    def what(self) -> str:
        """What a message calls it: "ReLU", "a functional relu"."""
        if self.module is not None:
            return type(self.module).__name__
        name = self.target if isinstance(self.target, str) else getattr(self.target, "__name__", str(self.target))
        return f"a functional {name.rstrip('_')}" if self.kind == "function" else self.kind


class Channels(NamedTuple):
    """The channels of a map: how many, their axis counted from the end (None if unknown), the module they come from."""

    count: int
    axis: int | None
    module: nn.Module


class Graph:
    """A network's operations in the order of execution, and what follows from it.

    Attributes:
        nodes: all operations.
    """

    def __init__(self, nodes: Collection[Node]):
        self.nodes = tuple(nodes)
        self._non_negative: dict[Node, frozenset[Node] | None] = {}
        for node in self.nodes:
            self._non_negative[node] = self._sources(node)

    def calls(self, module: nn.Module) -> list[Node]:
        """Every place where a module is called, in order; a shared module has several, one not reached none."""
        return [node for node in self.nodes if node.module is module]

    def reads(self, name: str) -> bool:
        """Whether the network reads a parameter or buffer of that name itself, rather than call the module it is of."""
        return any(node.kind == "attribute" and node.target == name for node in self.nodes)

    def sources_of_non_negative(self, value: Any) -> frozenset[Node] | None:
        """The operations because of which a map is never negative, or None if it can be negative.

        A rectifier, a sigmoid, a square and the like are such sources; pooling, reshaping, sums, products and
        concatenations keep what all their inputs have.

        Args:
            value: a node, or anything else among a node's arguments: a number, a list of nodes.
        """
        if isinstance(value, Node):
            return self._non_negative[value]
        if isinstance(value, (list, tuple)):
            return _union(self.sources_of_non_negative(part) for part in value)
        return frozenset() if isinstance(value, (int, float)) and value >= 0 else None

    def _sources(self, node: Node) -> frozenset[Node] | None:
        if _makes_non_negative(node):
            return frozenset({node})
        if _passes(node) or node.function in _JOINING:
            return self.sources_of_non_negative(node.input)
        if node.function in _SUMS:
            if node.options.get("alpha", 1) < 0:
                return None
            return self.sources_of_non_negative([node.input, node.argument(1, "other")])
        if node.function in _QUOTIENTS and isinstance(node.argument(1, "other"), (int, float)):
            return self.sources_of_non_negative(node.input) if node.argument(1, "other") > 0 else None
        return None

    def parts(self, value: Any) -> list[Any]:
        """The maps that a map was concatenated from, through pooling and reshaping: itself alone, if it was not."""
        if isinstance(value, (list, tuple)):
            return [part for each in value for part in self.parts(each)]
        if isinstance(value, Node) and (_passes(value) or value.function in _JOINING):
            return self.parts(value.input)
        return [value]

    def ends(self, node: Node) -> list[Node]:
        """Where a node's output arrives, through pooling, reshaping, sums and concatenations, in order of execution."""
        found, waiting = set(), list(node.feeds)
        while waiting:
            following = waiting.pop()
            if following in found:
                continue
            found.add(following)
            if _carries(following):
                waiting += following.feeds
        return [each for each in self.nodes if each in found and not _carries(each)]

    def relies_on_sign(self, node: Node) -> Node | None:
        """The first of a node's ends that may rely on non-negative values: the output, a logarithm, a root."""
        return next((end for end in self.ends(node) if end.kind == "output" or end.function in _ROOTS_AND_LOGS), None)

    def channels(self, value: Any) -> Channels | None:
        """The channels of a map, where a layer or a norm made it, or a sum with such a map; None if that is unknown."""
        if not isinstance(value, Node):
            return None
        module = value.module
        if isinstance(module, (*_AXES,)):
            axis = next(axis for kind, axis in _AXES.items() if isinstance(module, kind))
            return Channels(_outputs(module), axis, module)
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            axis = next((axis for kind, axis in _NORM_AXES.items() if isinstance(module, kind)), None)
            if axis is None and (behind := self.channels(value.input)) is not None:
                axis = behind.axis  # one-dimensional norms follow linear layers and convolutions
            return Channels(module.num_features, axis, module)
        if isinstance(module, nn.LayerNorm) and len(module.normalized_shape) > 1:
            return self.channels(value.input)
        if isinstance(module, nn.LayerNorm):
            return Channels(module.normalized_shape[-1], -1, module)
        if isinstance(module, _KEEPS_CHANNELS):
            return self.channels(value.input)
        if value.function in _SUMS:
            made = (self.channels(operand) for operand in value.fed_by)
            return next((channels for channels in made if channels is not None), None)
        return None

    def norm_after(self, node: Node) -> nn.Module | None:
        """The batch norm that alone sees a node's output, as it is, rectified or pooled: a scale is lost in it."""
        while len(node.feeds) == 1:
            node = node.feeds[0]
            if isinstance(node.module, nn.modules.batchnorm._BatchNorm):
                return node.module
            if not isinstance(node.module, _KEEPS_SCALE) and node.function not in _KEEPING_SCALE:
                return None
        return None


def trace(model: nn.Module) -> Graph:
    """The graph of one forward pass, ``model(x)``, in the mode that the model is in; arguments with defaults keep them.

    Raises:
        NotTraceable: what is done depends on the data, or the code asks a tensor for something that needs data.
    """
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(model.forward).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it would hide the layers of a transformer
    try:
        traced = _Tracer().trace(model, concrete_args=defaults or None)
    except Exception as error:  # fx raises what the traced code raises
        raise NotTraceable(f"the network cannot be traced ({type(error).__name__}: {error})") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    modules = dict(model.named_modules())
    made: dict[fx.Node, Node] = {}
    for node in traced.nodes:
        arguments, options = (fx.node.map_arg(given, made.__getitem__) for given in (node.args, node.kwargs))
        module = modules[node.target] if node.op == "call_module" else None
        made[node] = Node(node.name, _KINDS[node.op], module, node.target, tuple(arguments), dict(options))
        for other in dict.fromkeys(made[source] for source in node.all_input_nodes):
            other.feeds.append(made[node])
            made[node].fed_by.append(other)
    return Graph(made.values())


def registered_names(model: nn.Module) -> dict[nn.Module, list[str]]:
    """Each module with every name under which it is registered, in the order of registration. The model's own is ""."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    return names


_KINDS = {
    "placeholder": "input", "get_attr": "attribute", "call_module": "module", "call_function": "function",
    "call_method": "function", "output": "output",
}  # fmt: skip


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        if isinstance(module, (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)):
            return False
        ours = isinstance(module, (QuantizedLayer, Quantizer, HardTanh, RPReLU))
        return ours or super().is_leaf_module(module, qualified_name)


def spellings(*names: str) -> frozenset[Callable | str]:
    """The functions of torch of these names, and the tensor methods, in place or not."""
    spelled = {name + ending for name in names for ending in ("", "_")}
    found = {getattr(home, name, None) for name in spelled for home in (torch, F, operator, builtins)}
    return frozenset(spelled | found - {None})


_RECTIFYING = spellings(
    "relu", "relu6", "abs", "absolute", "square", "sigmoid", "hardsigmoid", "softplus", "softmax", "exp", "sqrt"
)  # fmt: skip
_CLAMPS, _POWERS, _PADS = spellings("clamp", "clip", "clamp_min"), spellings("pow"), spellings("pad")
_HARD_TANH = spellings("hardtanh")
_RECTIFYING_MODULES = (nn.ReLU, nn.Sigmoid, nn.Hardsigmoid, nn.Softplus, nn.Softmax, nn.Softmax2d)
_ROOTS_AND_LOGS = spellings("sqrt", "rsqrt", "log", "log2", "log10", "log1p", "pow")
_JOINING = spellings("cat", "concat", "concatenate", "stack", "hstack", "vstack")
_PRODUCTS = spellings("mul", "multiply") | {operator.imul}
_QUOTIENTS, _THRESHOLDS = spellings("div", "divide", "true_divide", "truediv"), spellings("threshold")
_SUMS = _PRODUCTS | spellings("add") | {operator.iadd}
# what hands on values as they are, or means and sums of them
_PASSING = spellings(
    "getitem", "flatten", "unflatten", "view", "reshape", "transpose", "permute", "swapaxes", "movedim", "t",
    "contiguous", "clone", "detach", "squeeze", "unsqueeze", "expand", "repeat", "chunk", "split", "unbind", "narrow",
    "roll", "flip", "mean", "sum", "max", "amax", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d",
    "dropout", "dropout1d", "dropout2d",
    "interpolate", "channel_shuffle", "pixel_shuffle", "pixel_unshuffle", "float", "half", "double", "bfloat16", "to",
)  # fmt: skip
_POOLINGS = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d,
)  # fmt: skip
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d)
_PASSING_MODULES = (
    *_POOLINGS, *_DROPOUTS, nn.Identity, nn.Flatten, nn.Unflatten, nn.ChannelShuffle, nn.PixelShuffle,
    nn.PixelUnshuffle, nn.Upsample, nn.ZeroPad1d, nn.ZeroPad2d, nn.ReflectionPad1d, nn.ReflectionPad2d,
    nn.ReplicationPad1d, nn.ReplicationPad2d,
)  # fmt: skip
_KEEPING_SCALE = spellings(
    "relu", "dropout", "max_pool1d", "max_pool2d", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
)  # fmt: skip
_KEEPS_SCALE = (*_POOLINGS, *_DROPOUTS, nn.Identity, nn.ReLU)
_KEEPS_CHANNELS = (*_KEEPS_SCALE, nn.Hardtanh, nn.Sigmoid, nn.Softplus, nn.Hardsigmoid, HardTanh, RPReLU)
_AXES = {nn.Linear: -1, nn.Conv1d: -2, nn.Conv2d: -3}
_NORM_AXES = {nn.BatchNorm2d: -3, nn.BatchNorm3d: -4}


def _outputs(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _makes_non_negative(node: Node) -> bool:
    if node.module is not None:
        bounded = isinstance(node.module, nn.Hardtanh) and node.module.min_val >= 0  # ReLU6 is one
        return bounded or isinstance(node.module, _RECTIFYING_MODULES)
    if node.function in _CLAMPS or node.function in _HARD_TANH:
        low = node.argument(1, "min_val" if node.function in _HARD_TANH else "min")
        return isinstance(low, (int, float)) and low >= 0
    if node.function in _THRESHOLDS:
        ends = (node.argument(1, "threshold"), node.argument(2, "value"))
        return all(isinstance(end, (int, float)) and end >= 0 for end in ends)
    if node.function in _POWERS:
        exponent = node.argument(1, "exponent")
        return isinstance(exponent, (int, float)) and exponent % 2 == 0
    if node.function in _PRODUCTS:
        return isinstance(node.input, Node) and node.input is node.argument(1, "other")  # a square
    return node.function in _RECTIFYING


def _passes(node: Node) -> bool:
    if node.function in _PADS:
        return not node.argument(3, "value")
    return isinstance(node.module, _PASSING_MODULES) or node.function in _PASSING


def _carries(node: Node) -> bool:
    return _passes(node) or node.function in _JOINING or node.function in _SUMS


def _union(parts: Iterator[frozenset[Node] | None]) -> frozenset[Node] | None:
    together: set[Node] = set()
    for part in parts:
        if part is None:
            return None
        together |= part
    return frozenset(together)

"""``binarize``: any torch network under any method of the catalogue."""

import copy
import operator
import warnings
from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from torch import fx, nn

from bnnlib import catalogue
from bnnlib.catalogue import FIRST_LAST, Method, eight_bit
from bnnlib.layers import PLAIN, HardTanh, LayerFamily, QuantizedLayer, RPReLU

__all__ = ["Conversion", "binarize"]

_RECTIFIERS = (nn.ReLU, nn.ReLU6)
_RECTIFIER_FUNCTIONS = {
    torch.relu, torch.relu_, nn.functional.relu, nn.functional.relu_, nn.functional.relu6, "relu", "relu_",
}  # fmt: skip
_OTHER_NON_NEGATIVE = (nn.Sigmoid, nn.Softplus, nn.Softmax, nn.Hardsigmoid)
# what changes signs: a norm, a layer with weights, any other activation. Everything else (pooling, reshaping, sums and
# concatenations) leaves a map non-negative whose inputs all are.
_SUMS = {operator.add, operator.iadd, operator.mul, torch.add, torch.mul, torch.cat, torch.stack, "add", "add_", "mul"}
_PASSING_MODULES = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AvgPool1d, nn.AvgPool2d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Flatten, nn.Unflatten,
    nn.Identity, nn.ChannelShuffle,
)  # fmt: skip
_PASSING_FUNCTIONS = {
    operator.getitem, torch.flatten, torch.mean, torch.max_pool1d, torch.max_pool2d, torch.transpose, torch.permute,
    torch.reshape, torch.chunk, torch.split, torch.squeeze, torch.unsqueeze, torch.clone,
    nn.functional.max_pool1d, nn.functional.max_pool2d, nn.functional.avg_pool1d, nn.functional.avg_pool2d,
    nn.functional.adaptive_avg_pool1d, nn.functional.adaptive_avg_pool2d, nn.functional.dropout,
    "flatten", "view", "reshape", "mean", "transpose", "permute", "contiguous", "chunk", "split", "squeeze",
    "unsqueeze", "clone",
}  # fmt: skip


@dataclass
class Conversion:
    """What :func:`binarize` did: a row for each layer or activation, (name, kind, what was done, why)."""

    method: str
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def names(self, done: str) -> list[str]:
        """The names with that outcome: "converted", "8 bits", "kept real", "replaced" or "note"."""
        return [name for name, _, outcome, _ in self.rows if outcome == done]

    def frame(self):
        """The rows as a pandas data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=["module", "kind", "done", "why"])

    def _repr_html_(self) -> str:
        return self.frame().to_html(index=False)

    def __str__(self) -> str:
        widths = [max(len(row[i]) for row in self.rows) if self.rows else 0 for i in range(3)]
        lines = ["  ".join([*(row[i].ljust(widths[i]) for i in range(3)), row[3]]).rstrip() for row in self.rows]
        return "\n".join([f"binarized under {self.method}", *lines])


def binarize(
    model: nn.Module,
    method: str | Method,
    *,
    keep: Collection[str] = (),
    first_last: str = "real",
    pad_value: float = 0.0,
) -> nn.Module:
    """A copy of a torch network, its linear and convolution layers binarised under a method.

    Weights are carried over as latent weights; quantizers that learn a step or a scale begin from them. The first and
    the last layer, in the order in which the model registers its layers, stay real where the method's record says so.
    A ReLU whose output would reach a sign without a norm between (the sign would be +1 everywhere) is replaced by the
    activation of the method's block, or by nothing. Shortcuts and the order of norms and poolings stay the model's own.

    Args:
        model: any ``nn.Module``; ``nn.Linear``, ``nn.Conv1d`` and ``nn.Conv2d`` in it are converted, not subclasses.
        method: a name of ``bnnlib.methods`` or a record.
        keep: names of layers (as ``model.named_modules()`` has them) or of modules around them that stay real.
        first_last: what happens to a first or last layer that the method keeps real: ``"real"`` or ``"int8"`` (weights
            and input of 8 bits by LSQ).
        pad_value: 0, +1 or -1, what surrounds binarised maps.

    Returns:
        The converted copy; ``result.conversion`` (a :class:`Conversion`) tells what was converted, replaced and kept,
        and why, and prints as a table. Train it with ``bnnlib.fit``, or with the hooks of the method's record in a loop
        of your own.

    Depthwise convolutions stay real where activations are quantized: their sums have a handful of signs only.

    Raises:
        TypeError: ``model`` is not a module, or ``keep`` a string.
        ValueError: a name in ``keep`` fits no layer; nothing can be converted; an argument is none of its values.
    """
    method = catalogue.get(method)
    if not isinstance(model, nn.Module):
        raise TypeError(f"binarize takes an nn.Module instance, received {model!r}")
    if first_last not in FIRST_LAST:
        raise ValueError(f"first_last must be one of {', '.join(FIRST_LAST)}, received {first_last!r}")
    if any(isinstance(m, QuantizedLayer) for m in model.modules()):
        raise ValueError("the model holds bnnlib layers already: binarize the plain torch network it was made from")
    layers = {name: m for name, m in model.named_modules() if type(m) in (nn.Linear, nn.Conv1d, nn.Conv2d)}
    if not layers:
        raise ValueError("the model has no nn.Linear, nn.Conv1d or nn.Conv2d layer to convert")
    if isinstance(keep, str):
        raise TypeError(f"keep must be a collection of names, received the string {keep!r}; write [{keep!r}]")
    if unknown := [k for k in keep if not any(_within(name, k) for name in layers)]:
        raise ValueError(f"keep names no layer: {', '.join(unknown)}; the layers are {', '.join(layers)}")

    model = copy.deepcopy(model)
    layers = {name: model.get_submodule(name) for name in layers}
    done = Conversion(method.name)
    names = list(layers)
    binary: set[str] = set()
    for name, layer in layers.items():
        kind, place = type(layer).__name__, {names[-1]: "last", names[0]: "first"}.get(name)
        reason = _why_real(name, layer, place, method, keep)
        if reason is None:
            arguments = method.quantizers(_inputs(layer), _outputs(layer), real_input=name == names[0])
            _replace(model, name, _built(layer, method.layers, pad_value, arguments))
            binary.add(name)
            done.rows.append((name, kind, "converted", method.widths))
        elif place is not None and first_last == "int8" and method.weight_bits < 32 and reason.startswith(place):
            _replace(model, name, _built(layer, PLAIN, 0.0, eight_bit()))
            done.rows.append((name, kind, "8 bits", f'{place} layer, first_last="int8"'))
        else:
            done.rows.append((name, kind, "kept real", reason))
    norms = [m for m in list(model.modules())[-3:] if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if names[-1] in binary and not norms:
        why = "the last layer is binary and no norm follows: its scores are large whole numbers; add a batch norm"
        done.rows.append((names[-1], type(layers[names[-1]]).__name__, "note", why))
    if method.activation_bits < 32:
        _mend_activations(model, binary, names[0], method, done)
    model.conversion = done
    return model


def _within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _inputs(layer: nn.Module) -> int:
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def _outputs(layer: nn.Module) -> int:
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def _why_real(name: str, layer: nn.Module, place: str | None, method: Method, keep: Collection[str]) -> str | None:
    """Why a layer stays real, or None."""
    if method.weight_bits == 32:
        return f"{method.name} keeps every weight real"
    if any(_within(name, k) for k in keep):
        return "named in keep"
    if place in method.real_layers:
        return f"{place} layer, real under {method.name}"
    if layer.weight.shape[1] == 1 and method.centring:
        return f"one input channel per group: {method.name} centres over it, and the layer would be dead"
    if layer.weight.shape[1] == 1 and getattr(layer, "groups", 1) > 1 and method.activation_bits < 32:
        return "depthwise: a filter sees one channel only; kept real where activations are quantized"
    if layer.weight[0].numel() < 2:
        return "filters of a single weight: nothing is left to learn but its sign"
    if getattr(layer, "padding_mode", "zeros") != "zeros" and method.centring:
        return f"padding_mode {layer.padding_mode!r} is not supported by {method.name}"
    return None


def _built(layer: nn.Module, family: LayerFamily, pad_value: float, quantizers: dict) -> nn.Module:
    """The family's layer with the geometry, weights, device and dtype of one of torch's."""
    options = {"device": layer.weight.device, "dtype": layer.weight.dtype, **quantizers}
    if isinstance(layer, nn.Linear):
        made = family.linear(layer.in_features, layer.out_features, layer.bias is not None, **options)
    else:
        made = family.of(layer)(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation,
            layer.groups, layer.bias is not None, layer.padding_mode,
            pad_value=pad_value if layer.padding_mode == "zeros" else 0.0, **options,
        )  # fmt: skip
    made.to(layer.weight.device, layer.weight.dtype)
    made.take_weights_(layer.weight, layer.bias)
    return made.train(layer.training)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


class _Tracer(fx.Tracer):
    """Sees through the model, but not into the library's layers."""

    def is_leaf_module(self, module: nn.Module, qualified_name: str) -> bool:
        return isinstance(module, QuantizedLayer) or super().is_leaf_module(module, qualified_name)


def _mend_activations(model: nn.Module, binary: set[str], first: str, method: Method, done: Conversion) -> None:
    """Replaces rectifiers that feed a sign; notes what cannot be mended and what unsigned codes would lose."""
    binary = binary - {first}  # its input is data, and real
    modules = dict(model.named_modules())
    unsigned = {name for name in binary if modules[name].input_quantizer.unsigned}
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # fx raises what the traced code raises
        why = f"the network cannot be traced ({type(error).__name__}: {error})"
        rectifiers = [name for name, m in modules.items() if isinstance(m, _RECTIFIERS)]
        if not unsigned:
            why += ", so every ReLU module in it was taken for one that feeds a sign; a functional one is not seen"
            for name in rectifiers:
                _replace_rectifier(model, name, None, method, done, "the network cannot be traced")
        done.rows.append(("", type(model).__name__, "note", why))
        warnings.warn(why, stacklevel=3)
        return
    feeds: dict[fx.Node, set[str]] = {}  # what keeps a map non-negative -> the binary layers that see it
    for node in graph.nodes:
        if node.op != "call_module" or node.target not in binary:
            continue
        sources = _sources(node.args[0], modules)
        if node.target in unsigned:
            if sources is None:
                kind = type(modules[node.target]).__name__
                done.rows.append((node.target, kind, "note", "its input can be negative, which unsigned codes lose"))
        else:
            for source in sources or ():
                feeds.setdefault(source, set()).add(node.target)
    replaced: dict[str, tuple[set[str], set[int | None]]] = {}
    for source, layers in feeds.items():
        if source.op == "call_module" and isinstance(modules[source.target], _RECTIFIERS):
            fed, widths = replaced.setdefault(source.target, (set(), set()))
            fed |= layers
            widths.add(_channels(source.args[0], modules))
        else:
            what = type(modules[source.target]).__name__ if source.op == "call_module" else "a functional relu"
            why = (
                f"{what} feeds the sign of {', '.join(sorted(layers))}, which is always +1: put a norm between, or use "
                "an nn.ReLU module, which would be replaced"
            )
            done.rows.append((source.name, what, "note", why))
            warnings.warn(why, stacklevel=3)
    for name, (layers, widths) in replaced.items():
        why = f"feeds the sign of {', '.join(sorted(layers))}, which would be +1 everywhere"
        _replace_rectifier(model, name, widths.pop() if len(widths) == 1 else None, method, done, why)


def _sources(node: object, modules: dict[str, nn.Module]) -> set[fx.Node] | None:
    """What makes a node's output non-negative: the rectifiers that all of it comes from; None if it can be negative."""
    if isinstance(node, (list, tuple)):
        parts = [_sources(part, modules) for part in node]
        return None if any(part is None for part in parts) else set().union(*parts)
    if not isinstance(node, fx.Node):
        return set() if isinstance(node, (int, float)) and node >= 0 else None
    module = modules[node.target] if node.op == "call_module" else None
    function = node.target if node.op in ("call_function", "call_method") else None
    if isinstance(module, (*_RECTIFIERS, *_OTHER_NON_NEGATIVE)) or function in _RECTIFIER_FUNCTIONS:
        return {node}
    if isinstance(module, _PASSING_MODULES) or function in _PASSING_FUNCTIONS:
        return _sources(node.args[0], modules)
    if function in _SUMS:
        operands = node.args[0] if function in (torch.cat, torch.stack) else node.args[:2]
        return _sources(list(operands), modules)
    return None


def _replace_rectifier(
    model: nn.Module, name: str, channels: int | None, method: Method, done: Conversion, why: str
) -> None:
    kind = type(model.get_submodule(name)).__name__
    behind_norm = method.activation is not None and method.block.index(method.activation) > method.block.index("norm")
    if behind_norm and method.activation == "hardtanh":
        instead: nn.Module = HardTanh()
    elif behind_norm and method.activation == "rprelu":
        instead = RPReLU(channels) if channels is not None else nn.PReLU()
    else:
        instead = nn.Identity()
    _replace(model, name, instead)
    done.rows.append((name, kind, "replaced", f"by {type(instead).__name__}: {why}"))


def _channels(node: fx.Node, modules: dict[str, nn.Module]) -> int | None:
    """The channels of a node's output if a norm or a layer, or a sum with one, made it."""
    if node.op == "call_module":
        module = modules[node.target]
        found = (getattr(module, name, None) for name in ("num_features", "out_channels", "out_features"))
        return next((channels for channels in found if channels is not None), None)
    made = [_channels(a, modules) for a in node.args if isinstance(a, fx.Node)] if node.op == "call_function" else []
    return next((channels for channels in made if channels is not None), None)

"""From any torch network to one under a method: which layers are converted, and into what."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Literal

from torch import nn
from torch.nn.utils import parametrize

from bnnlib import catalogue
from bnnlib.catalogue import FIRST_LAST, Method, eight_bit, takes_eight_bits, why_real
from bnnlib.convert.activations import RECTIFIERS, mend_activations, mend_untraced
from bnnlib.convert.report import Conversion, warn_once
from bnnlib.convert.sharing import QUANTIZED, copied, refuse_untieable, replace_everywhere, separate
from bnnlib.graph import Graph, NotTraceable, registered_names, trace
from bnnlib.layers import PLAIN, LayerFamily, QuantizedLayer

CONVERTIBLE = (nn.Linear, nn.Conv1d, nn.Conv2d)
# layers with weights that are not converted, for the report
_OTHERS = (
    nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase, nn.Bilinear, nn.modules.conv._ConvNd,
)  # fmt: skip
_TRANSFORMERS = (nn.TransformerEncoder, nn.TransformerEncoderLayer)


@dataclass
class _Layer:
    """A layer of the network and what becomes of it."""

    module: nn.Module
    names: list[str]  # all under which it is registered
    place: Literal["first", "last"] | None = None
    outcome: str = "kept real"
    why: str = ""
    takes_codes: bool = False  # whether its input is quantized
    needs_sign: bool = False  # whether its input can be negative and would get unsigned codes
    signed: bool = False  # whether its input gets signed codes
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.names[0]


def binarize(
    model: nn.Module,
    method: str | Method,
    *,
    keep: Collection[str] = (),
    first_last: str = "real",
    pad_value: float = 0.0,
    signed: Collection[str] | Literal["auto"] = (),
) -> nn.Module:
    """A copy of a torch network, its linear and convolution layers binarised under a method.

    Weights are carried over as latent weights; quantizers that learn a step or a scale begin from them. The first and
    the last layer, in the order in which the model registers its layers, stay real where the method's record says so;
    :func:`bnnlib.catalogue.why_real` has all the rules. Shortcuts and the order of norms and poolings stay the model's
    own; a convolution on a shortcut is a layer like any other, which ``keep`` leaves real.

    A ReLU whose output would reach a sign without a norm between (the sign would be +1 everywhere) is replaced by the
    activation of the method's block, or by nothing. One that is called in several places is replaced in all of them if
    one of them feeds a sign, as the networks of a method have no ReLU in front of their real layers either, and is
    refused if another of them is the network's output or a logarithm's or root's input. ReLU modules registered under
    several names are looked at name by name.

    A layer used in several places is converted once and stays shared. Tied weights stay tied where the layers
    are converted alike.

    Args:
        model: any ``nn.Module``; ``nn.Linear``, ``nn.Conv1d`` and ``nn.Conv2d`` in it are converted, not subclasses,
            nor layers whose weight is computed in each pass (weight norm, spectral norm, pruning).
        method: a name of ``bnnlib.methods`` or a record.
        keep: names of layers (as ``model.named_modules()`` has them) or of modules around them that stay real.
        first_last: what happens to a first or last layer that the method keeps real: ``"real"`` or ``"int8"`` (weights
            and input of 8 bits by LSQ).
        pad_value: 0, +1 or -1, what surrounds binarised maps; +1 and -1 for methods with binary activations only.
        signed: layers whose input gets signed codes under a method with unsigned ones (LSQ, DoReFa), which lose what is
            negative: names as for ``keep``, or ``"auto"`` for each layer whose input can be negative.

    Returns:
        The converted copy; ``result.conversion`` (a :class:`Conversion`) tells what was converted, replaced and kept,
        and why, and prints as a table. Train it with ``bnnlib.fit``, or with the hooks of the method's record in a loop
        of your own (the reference shows one, below *Training*).

    Raises:
        TypeError: ``model`` is not a module, or ``keep`` or ``signed`` a string that it can't be.
        ValueError: a name in ``keep`` or ``signed`` fits no layer; nothing can be converted; an argument is none of its
            values or doesn't fit the method; tied weights would have to be untied; a ReLU that is used in several
            places cannot be replaced in all of them; ``signed="auto"`` for a network that can't be traced.
    """
    method = catalogue.get(method)
    _check(model, method, first_last, pad_value)
    keep = _names("keep", keep)
    signed = signed if signed == "auto" else _names("signed", signed)
    names = [name for module, own in registered_names(model).items() if _weighted(module) for name in own]
    _check_names("keep", keep, names)
    if signed != "auto":
        _check_names("signed", signed, names)
        if signed and method.signed_input_quantizer is None:
            raise ValueError(f"signed names layers, but {method.name} has no unsigned codes that could be signed")

    model = copied(model)
    signs = method.activation_bits == 1
    if signs:
        separate(model, RECTIFIERS)
    graph, untraced = _traced(model)
    layers = _planned(model, method, keep, first_last, graph)
    if method.signed_input_quantizer is not None and signed == "auto" and graph is None:
        raise ValueError(f'signed="auto" must know what feeds a layer, but {untraced}; name the layers instead')
    for layer in layers:
        layer.notes += _notes(layer, method, graph, model)
        layer.signed = layer.needs_sign if signed == "auto" else _named(layer.names, signed)
        if layer.needs_sign and not layer.signed:
            layer.notes.append(f"its input can be negative, which unsigned codes lose{_cure(method)}")
    refuse_untieable(model, {layer.module: layer.outcome for layer in layers}, method)

    done = Conversion(method.name)
    done.rows += [(layer.name, type(layer.module).__name__, layer.outcome, layer.why) for layer in layers]
    done.rows += [(layer.name, type(layer.module).__name__, "note", note) for layer in layers for note in layer.notes]
    warned: list[str] = []
    binary = {layer.module: layer.name for layer in layers if layer.takes_codes}
    if signs and binary and graph is not None:
        rows, warned = mend_activations(model, graph, binary, method)
        done.rows += rows
    elif method.activation_bits < 32 and graph is None:
        if signs and binary:
            done.rows += mend_untraced(model, next(iter(binary)), method)
            untraced += ", so every ReLU module in it was taken for one that feeds a sign; a functional one is not seen"
        done.rows.append(("", type(model).__name__, "note", untraced))
        warned.append(untraced)
    for layer in layers:
        if layer.outcome in QUANTIZED:
            model = replace_everywhere(model, layer.module, _made(layer, method, pad_value))
    _leave_the_fast_path(model)
    model.conversion = done
    warn_once(warned, stacklevel=2)
    return model


def _check(model: nn.Module, method: Method, first_last: str, pad_value: float) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"binarize takes an nn.Module instance, received {model!r}")
    if first_last not in FIRST_LAST:
        raise ValueError(f"first_last must be one of {', '.join(FIRST_LAST)}, received {first_last!r}")
    if pad_value not in (-1, 0, 1):
        raise ValueError(f"pad_value must be -1, 0 or 1, received {pad_value!r}")
    if pad_value and method.activation_bits != 1:
        inputs = "real inputs" if method.activation_bits == 32 else f"inputs of {method.activation_bits} bits"
        raise ValueError(
            f"pad_value {pad_value:g} keeps a binary map binary, but layers under {method.name} have {inputs}: "
            "leave it at 0"
        )
    if any(isinstance(m, QuantizedLayer) for m in model.modules()):
        raise ValueError("the model holds bnnlib layers already: binarize the plain torch network it was made from")
    if not any(type(m) in CONVERTIBLE for m in model.modules()):
        hint = ""
        if any(parametrize.is_parametrized(m) for m in model.modules()):
            hint = "; torch.nn.utils.parametrize.remove_parametrizations makes a parametrized layer a plain one"
        raise ValueError(f"the model has no nn.Linear, nn.Conv1d or nn.Conv2d layer to convert{hint}")


def _names(argument: str, given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise TypeError(f"{argument} must be a collection of names, received the string {given!r}; write [{given!r}]")
    return tuple(given)


def _check_names(argument: str, given: Collection[str], names: list[str]) -> None:
    if unknown := [each for each in given if not any(_within(name, each) for name in names)]:
        raise ValueError(f"{argument} names no layer: {', '.join(unknown)}; the layers are {', '.join(names)}")


def _within(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def _named(names: list[str], given: Collection[str]) -> bool:
    return any(_within(name, each) for name in names for each in given)


def _weighted(module: nn.Module) -> bool:
    return isinstance(module, (*CONVERTIBLE, *_OTHERS))


def _traced(model: nn.Module) -> tuple[Graph | None, str]:
    """The model's graph, or None and why there is none."""
    try:
        return trace(model), ""
    except NotTraceable as error:
        return None, str(error)


def _planned(
    model: nn.Module, method: Method, keep: Collection[str], first_last: str, graph: Graph | None
) -> list[_Layer]:
    """Every layer with weights, in the order of registration, and what becomes of it."""
    layers = [_Layer(module, names) for module, names in registered_names(model).items() if _weighted(module)]
    inside = [name for layer in layers if isinstance(layer.module, nn.MultiheadAttention) for name in layer.names]
    layers = [layer for layer in layers if layer.name in inside or not _named(layer.names, inside)]
    plain = [layer for layer in layers if type(layer.module) in CONVERTIBLE]
    plain[-1].place = "last"
    plain[0].place = "first"
    for layer in layers:
        module = layer.module
        reason = _not_convertible(layer, graph)
        if reason is None and _named(layer.names, keep) and method.weight_bits < 32:
            reason = "named in keep"
        if reason is not None:
            layer.why = reason
            continue
        reason = why_real(
            method, module.weight.shape, groups=getattr(module, "groups", 1), place=layer.place,
            padding_mode=getattr(module, "padding_mode", "zeros"),
        )  # fmt: skip
        if reason is None:
            layer.outcome, layer.why = "converted", method.widths
        elif takes_eight_bits(method, layer.place, first_last):
            layer.outcome, layer.why = "8 bits", f'{layer.place} layer, first_last="int8"'
        else:
            layer.why = reason
        layer.takes_codes = layer.outcome == "converted" and layer.place != "first" and method.activation_bits < 32
    return layers


def _not_convertible(layer: _Layer, graph: Graph | None) -> str | None:
    """Why a layer can't be converted whatever the method is, or None."""
    module = layer.module
    if isinstance(module, nn.MultiheadAttention):
        return "torch projects and attends in one function, with weights of its own"
    if parametrize.is_parametrized(module):
        return "parametrized: its weight is computed in each pass; remove_parametrizations makes it a plain layer"
    if type(module) not in CONVERTIBLE:
        plain = next((kind.__name__ for kind in CONVERTIBLE if isinstance(module, kind)), None)
        return f"a subclass of {plain}" if plain else "only Linear, Conv1d and Conv2d are converted"
    if "weight" not in module._parameters:
        return "its weight is computed in each pass (weight norm, spectral norm or pruning)"
    if graph is not None and any(graph.reads(f"{name}.weight") for name in layer.names):
        return "the network reads its weight itself, rather than call the layer"
    return None


def _notes(layer: _Layer, method: Method, graph: Graph | None, model: nn.Module) -> list[str]:
    """What is to be said of a converted layer; finds out whether it needs signed codes."""
    if layer.outcome != "converted":
        return []
    notes = []
    if layer.module._forward_hooks or layer.module._forward_pre_hooks or layer.module._backward_hooks:
        notes.append("it had hooks, which stay with torch's layer: register them anew")
    calls = graph.calls(layer.module) if graph is not None else []
    if layer.place == "last":
        if graph is not None:
            normed = all(graph.norm_after(call) is not None for call in calls)
        else:
            normed = any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in list(model.modules())[-3:])
        if not normed:
            notes.append(
                "the last layer is binary and no norm follows: its scores are large whole numbers; add a batch norm"
            )
    if layer.place == "first" and len(calls) > 1 and method.activation_bits < 32:
        notes.append(f"it is called {len(calls)} times, and its input stays real each time, as that of a first layer")
    if layer.takes_codes and graph is not None:
        if not calls:
            notes.append("the trace doesn't see it called, so what feeds it was not looked at")
        unsigned = method.input_quantizer(1).unsigned
        layer.needs_sign = unsigned and any(graph.sources_of_non_negative(call.input) is None for call in calls)
    return notes


def _cure(method: Method) -> str:
    return ': signed="auto", or its name in signed, gives it signed codes' if method.signed_input_quantizer else ""


def _made(layer: _Layer, method: Method, pad_value: float) -> nn.Module:
    """The layer that takes the place of one of torch's, with its parameters."""
    if layer.outcome == "8 bits":
        return _built(layer.module, PLAIN, 0.0, eight_bit())
    module = layer.module
    inputs = module.in_features if isinstance(module, nn.Linear) else module.in_channels
    quantizers = method.quantizers(
        inputs, module.weight.shape[0], real_input=layer.place == "first", signed_input=layer.signed
    )
    return _built(module, method.layers, pad_value, dict(method.layer_options) | quantizers)


def _built(layer: nn.Module, family: LayerFamily, pad_value: float, arguments: dict) -> nn.Module:
    """The family's layer with the geometry, device and dtype of one of torch's, and its very parameters.

    That they are the same keeps weights tied that are, and frozen ones frozen.
    """
    options = {"device": layer.weight.device, "dtype": layer.weight.dtype, **arguments}
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
    made.weight, made.bias = layer.weight, layer.bias
    return made.train(layer.training)


def _leave_the_fast_path(model: nn.Module) -> None:
    """Has torch's transformers call their layers: in eval mode their fast path takes real weights, unquantized."""
    for module in model.modules():
        if isinstance(module, _TRANSFORMERS) and any(isinstance(m, QuantizedLayer) for m in module.modules()):
            if isinstance(module, nn.TransformerEncoderLayer):
                module.activation_relu_or_gelu = 0  # torch's mark of an activation that has no fast path
            else:
                module.enable_nested_tensor = module.use_nested_tensor = False

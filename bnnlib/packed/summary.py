"""``summary``: what a network holds and computes, counted in bits."""

import html
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from bnnlib.graph import Graph, NotTraceable, trace
from bnnlib.layers import QuantizedLayer
from bnnlib.packed.layout import PackedTensor, normalisation, scale_is_folded
from bnnlib.quantizers import Quantizer

__all__ = ["LayerSummary", "Summary", "summary"]

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORM = nn.modules.batchnorm._BatchNorm
# whose work is not counted; the convolutions of two dimensions and less that _WEIGHTED has are
_UNCOUNTED = (nn.RNNBase, nn.RNNCellBase, nn.Bilinear, nn.modules.conv._ConvNd)


@dataclass(frozen=True)
class LayerSummary:
    """One layer, norm or other module with parameters.

    Attributes:
        name, kind: as in the model.
        output_shape: without the batch axis.
        tensors: what a packed file holds of it.
        macs: multiply-accumulates for one input.
        mac_bits: the wider of weight and input width in bits: 1 if both are binary, 32 if either is real.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    tensors: tuple[PackedTensor, ...]
    macs: int = 0
    mac_bits: int = 32

    @property
    def bytes(self) -> int:
        return sum(tensor.bytes for tensor in self.tensors)

    def parameters(self, bits: int) -> int:
        """Number of values of that width."""
        return sum(tensor.count for tensor in self.tensors if tensor.bits == bits)


@dataclass(frozen=True)
class Summary:
    """What :func:`summary` counts. ``print`` shows it, a notebook renders it, ``frame()`` is a pandas data frame.

    Attributes:
        layers: a row each.
        notes: what could not be counted, and is missing from the multiply-accumulates.
    """

    layers: tuple[LayerSummary, ...]
    notes: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        """Bytes of the tensors of a packed file."""
        return sum(layer.bytes for layer in self.layers)

    @property
    def float_bytes(self) -> int:
        """Bytes if every value were a float32."""
        return sum(4 * tensor.count for layer in self.layers for tensor in layer.tensors)

    @property
    def share_binarised(self) -> float:
        """Share of the weights and other values that are kept in one or two bits, 0 to 1."""
        few = sum(layer.parameters(1) + layer.parameters(2) for layer in self.layers)
        return few / max(1, sum(tensor.count for layer in self.layers for tensor in layer.tensors))

    def parameters(self, bits: int) -> int:
        """Number of values of that width in all."""
        return sum(layer.parameters(bits) for layer in self.layers)

    def macs(self, bits: int) -> int:
        """Multiply-accumulates of that width in all, for one input."""
        return sum(layer.macs for layer in self.layers if layer.mac_bits == bits)

    def frame(self):
        """A row for each layer and one for the total."""
        import pandas as pd

        widths = sorted({1, 2, 32} | {tensor.bits for layer in self.layers for tensor in layer.tensors})
        mac_widths = sorted({1, 32} | {layer.mac_bits for layer in self.layers if layer.macs})
        rows = [
            {
                "layer": layer.name,
                "kind": layer.kind,
                "output": "x".join(map(str, layer.output_shape)),
                **{f"{bits}-bit": layer.parameters(bits) for bits in widths},
                "bytes": layer.bytes,
                **{f"{bits}-bit MACs": layer.macs * (layer.mac_bits == bits) for bits in mac_widths},
            }
            for layer in self.layers
        ]
        frame = pd.DataFrame(rows).set_index("layer")
        frame.loc["total"] = frame.drop(columns=["kind", "output"]).sum()
        frame.loc["total", ["kind", "output"]] = ""
        numbers = frame.columns.drop(["kind", "output"])
        frame[numbers] = frame[numbers].astype(int)
        return frame

    def _conclusion(self) -> str:
        return (
            f"{self.bytes / 1024:.2f} KiB packed, {self.float_bytes / 1024:.1f} KiB as float32 "
            f"({self.float_bytes / max(1, self.bytes):.1f} x); {100 * self.share_binarised:.1f} % of the values "
            "in one or two bits"
        )

    def _below(self) -> list[str]:
        """The lines below the table."""
        return [self._conclusion(), *self.notes]

    def _repr_html_(self) -> str:
        return self.frame().to_html() + "".join(f"<p>{html.escape(line)}</p>" for line in self._below())

    def __str__(self) -> str:
        from io import StringIO

        from rich.console import Console
        from rich.table import Table

        frame = self.frame().reset_index()
        table = Table(title=None)
        for column in frame.columns:
            table.add_column(column, justify="left" if column in ("layer", "kind", "output") else "right")
        for row in frame.itertuples(index=False):
            table.add_row(
                *(f"{v:,}" if isinstance(v, int) else str(v) for v in row), end_section=row[0] == self.layers[-1].name
            )
        text = StringIO()
        Console(file=text, width=200).print(table)
        return "\n".join([*(line.rstrip() for line in text.getvalue().splitlines()), *self._below()])


@dataclass
class _Work:
    """What one module did in the forward pass: its first output's shape without the batch, and its work."""

    output_shape: tuple[int, ...] = ()
    macs: int = 0


def summary(model: nn.Module, input_shape: Sequence[int]) -> Summary:
    """Counts a network's values and work by width.

    Weights count with the bits of their codes. A batch norm counts as the two float32 a channel that it is packed as
    (multiplier and offset). The scale of a layer that feeds one and nothing else, directly or through a ReLU or
    pooling, is folded into it and costs nothing, unless weights and inputs both have more than two bits; otherwise it
    counts as float32, and so does everything else that is learned (biases, thresholds, step sizes of inputs). What
    several modules share counts once, at its first place.

    Multiply-accumulates are those of linear layers, of one- and two-dimensional convolutions, and of
    ``nn.MultiheadAttention``: its four projections (the output's among them) and both of its products. A layer that is
    called several times works as often. ``notes`` names the modules with weights whose work is not counted: recurrent
    and transposed layers, and layers whose weights the network reads without calling them.

    Args:
        model: any torch network, with or without layers of this library. It is run once, in eval mode, on zeros.
        input_shape: of one input, without the batch axis: (1, 28, 28) for a grey image.

    Raises:
        ValueError: the model doesn't take that shape, or has no parameters.
    """
    work: dict[str, _Work] = {}  # in the order of execution

    def remember(name: str):
        def hook(module: nn.Module, inputs, options, output) -> None:
            done = work.setdefault(name, _Work())
            output = output[0] if isinstance(output, tuple) and output else output
            if torch.is_tensor(output):
                done.output_shape = done.output_shape or tuple(output.shape[1:])
                done.macs += _macs(module, inputs, options, output)

        return hook

    handles = [m.register_forward_hook(remember(name), with_kwargs=True) for name, m in model.named_modules()]
    training = {module: module.training for module in model.modules()}
    like = next(model.parameters(), torch.zeros(()))
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_shape, device=like.device, dtype=like.dtype))
        graph = _traced(model)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"the model does not take inputs of shape {tuple(input_shape)}: {error}") from error
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in training.items():
            module.training = mode
    owners = [
        (name, m)
        for name, m in model.named_modules()
        if isinstance(m, (*_WEIGHTED, _NORM)) or (next(m.parameters(recurse=False), None) is not None)
    ]
    owners = [(name, m) for name, m in owners if not isinstance(m, Quantizer)]
    if not owners:
        raise ValueError("the model has no parameters to count")
    executed = {name: place for place, name in enumerate(work)}
    owners.sort(key=lambda owner: executed.get(owner[0], len(executed)))
    rows = []
    seen: set[nn.Parameter] = set()
    for index, (name, module) in enumerate(owners):
        following = owners[index + 1][1] if index + 1 < len(owners) else None
        done = work.get(name, _Work())
        counted = _counted(name, module, _folded(module, following, graph), seen)
        rows.append(replace(counted, output_shape=done.output_shape, macs=done.macs))
        seen.update(module.parameters())
    return Summary(tuple(rows), _notes(owners, work, graph))


def _traced(model: nn.Module) -> Graph | None:
    try:
        return trace(model)
    except NotTraceable:
        return None


def _macs(module: nn.Module, inputs: tuple, options: dict[str, Any], output: torch.Tensor) -> int:
    """The multiply-accumulates of one call of a module, without those of the modules that it calls."""
    if isinstance(module, _WEIGHTED):
        branches = getattr(module, "branches", 1) if hasattr(module, "mix") else 1
        return module.weight.numel() * (output.numel() // module.weight.shape[0]) * branches
    if isinstance(module, nn.MultiheadAttention):
        return _attention_macs(module, *(_argument(inputs, options, i, n) for i, n in enumerate(("query", "key"))))
    return 0


def _argument(inputs: tuple, options: dict[str, Any], place: int, name: str) -> torch.Tensor:
    return inputs[place] if len(inputs) > place else options[name]


def _attention_macs(module: nn.MultiheadAttention, query: torch.Tensor, key: torch.Tensor) -> int:
    """Projections of L queries and S keys and values, then two products of L x S x E values for each sample."""
    width = module.embed_dim
    queries, keys = query.numel() // query.shape[-1], key.numel() // key.shape[-1]
    projections = width * (queries * width + keys * (module.kdim + module.vdim) + queries * width)
    along = 1 if module.batch_first and query.dim() == 3 else 0
    attended = key.shape[along] + (module.bias_k is not None) + module.add_zero_attn
    return projections + 2 * queries * attended * width


def _notes(owners: list[tuple[str, nn.Module]], work: dict[str, _Work], graph: Graph | None) -> tuple[str, ...]:
    attentions = [name for name, module in owners if isinstance(module, nn.MultiheadAttention)]

    def uncounted(name: str, module: nn.Module) -> bool:
        if not isinstance(module, _WEIGHTED):
            return isinstance(module, _UNCOUNTED)
        if name in work or name.rpartition(".")[0] in attentions:
            return False
        # one that eval mode leaves out (an auxiliary head) has no work to count
        return graph is None or graph.reads(f"{name}.weight")

    left_out = [f"{name} ({type(module).__name__})" for name, module in owners if uncounted(name, module)]
    return (f"multiply-accumulates are not counted of {', '.join(left_out)}",) if left_out else ()


def _folded(module: nn.Module, following: nn.Module | None, graph: Graph | None) -> bool:
    """Whether a layer's scale is part of the norm after it; in the order of execution if there is no graph."""
    if not isinstance(module, _WEIGHTED):
        return False
    if isinstance(module, QuantizedLayer):
        widths = (quantizer.bits or 32 for quantizer in (module.weight_quantizer, module.input_quantizer))
        if not scale_is_folded(*widths):
            return False
    calls = graph.calls(module) if graph is not None else []
    norms = [graph.norm_after(call) for call in calls] if calls else [following]
    return all(isinstance(norm, _NORM) and norm.num_features == module.weight.shape[0] for norm in norms)


def _counted(name: str, module: nn.Module, folded: bool, seen: set[nn.Parameter]) -> LayerSummary:
    """A module's tensors, without its shape and work; ``seen`` are parameters that another module has counted."""
    kind = type(module).__name__
    if isinstance(module, _NORM):
        return LayerSummary(name, kind, (), (normalisation(name, module.num_features),))
    if not isinstance(module, _WEIGHTED):
        own = {n: p for n, p in module.named_parameters(recurse=False) if p not in seen}
        return LayerSummary(name, kind, (), tuple(PackedTensor(f"{name}.{n}", p.numel(), 32) for n, p in own.items()))
    weight, bits, input_bits = module.weight, 32, 32
    others = {n: p for n, p in module.named_parameters() if n != "weight" and p not in seen}
    tensors = []
    if isinstance(module, QuantizedLayer):
        bits = module.weight_quantizer.bits or 32
        input_bits = module.input_quantizer.bits or 32
        others = {n: p for n, p in others.items() if not n.startswith("weight_quantizer.")}
        if bits < 32 and not folded:
            scale = module.weight_quantizer.codes(weight)[1]
            if not bool((scale == 1).all()):
                tensors.append(PackedTensor(f"{name}.scale", scale.numel(), 32))
    if weight not in seen:
        tensors.insert(0, PackedTensor(f"{name}.weight", weight.numel(), bits))
    tensors += [PackedTensor(f"{name}.{n}", p.numel(), 32) for n, p in others.items()]
    return LayerSummary(name, kind, (), tuple(tensors), mac_bits=max(bits, input_bits))

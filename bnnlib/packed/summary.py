"""``summary``: what a network holds and computes, counted in bits."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from bnnlib.layers import QuantizedLayer
from bnnlib.packed.layout import PackedTensor, normalisation
from bnnlib.quantizers import Quantizer

__all__ = ["LayerSummary", "Summary", "summary"]

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
_NORM = nn.modules.batchnorm._BatchNorm


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
    """What :func:`summary` counts. ``print`` shows it, a notebook renders it, ``frame()`` is a pandas data frame."""

    layers: tuple[LayerSummary, ...]

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

    def _repr_html_(self) -> str:
        return self.frame().to_html() + f"<p>{self._conclusion()}</p>"

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
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n" + self._conclusion()


def summary(model: nn.Module, input_shape: Sequence[int]) -> Summary:
    """Counts a network's values and work by width.

    Weights count with the bits of their codes. A batch norm counts as the two float32 a channel that it is packed as
    (multiplier and offset); the scale of a layer right in front of one is folded into it and costs nothing, otherwise
    it counts as float32, and so does everything else that is learned (biases, thresholds, step sizes of inputs).
    Multiply-accumulates are those of linear and of one- and two-dimensional convolution layers.

    Args:
        model: any torch network, with or without layers of this library. It is run once, in eval mode, on zeros.
        input_shape: of one input, without the batch axis: (1, 28, 28) for a grey image.

    Raises:
        ValueError: the model doesn't take that shape.
    """
    shapes: dict[str, tuple[int, ...]] = {}  # in the order of execution
    calls: Counter[str] = Counter()

    def remember(name: str):
        def hook(module: nn.Module, inputs, output) -> None:
            calls[name] += 1
            if torch.is_tensor(output):
                shapes.setdefault(name, tuple(output.shape[1:]))

        return hook

    handles = [module.register_forward_hook(remember(name)) for name, module in model.named_modules()]
    training = {module: module.training for module in model.modules()}
    like = next(model.parameters(), torch.zeros(()))
    try:
        with torch.no_grad():
            model.eval()(torch.zeros(1, *input_shape, device=like.device, dtype=like.dtype))
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
    executed = {name: place for place, name in enumerate(shapes)}
    owners.sort(key=lambda owner: executed.get(owner[0], len(executed)))
    rows = []
    for index, (name, module) in enumerate(owners):
        following = owners[index + 1][1] if index + 1 < len(owners) else None
        counted = _counted(name, module, following, shapes.get(name, ()))
        rows.append(replace(counted, macs=counted.macs * max(1, calls[name])))
    return Summary(tuple(rows))


def _counted(name: str, module: nn.Module, following: nn.Module | None, shape: tuple[int, ...]) -> LayerSummary:
    kind = type(module).__name__
    if isinstance(module, _NORM):
        return LayerSummary(name, kind, shape, (normalisation(name, module.num_features),))
    if not isinstance(module, _WEIGHTED):
        tensors = [PackedTensor(f"{name}.{n}", p.numel(), 32) for n, p in module.named_parameters(recurse=False)]
        return LayerSummary(name, kind, shape, tuple(tensors))
    weight, bits, input_bits = module.weight, 32, 32
    others = {n: p for n, p in module.named_parameters() if n != "weight"}
    tensors = []
    if isinstance(module, QuantizedLayer):
        bits = module.weight_quantizer.bits or 32
        input_bits = module.input_quantizer.bits or 32
        others = {n: p for n, p in others.items() if not n.startswith("weight_quantizer.")}
        folded = isinstance(following, _NORM) and following.num_features == weight.shape[0]
        if bits < 32 and not folded:
            scale = module.weight_quantizer.codes(weight)[1]
            if not bool((scale == 1).all()):
                tensors.append(PackedTensor(f"{name}.scale", scale.numel(), 32))
    tensors.insert(0, PackedTensor(f"{name}.weight", weight.numel(), bits))
    tensors += [PackedTensor(f"{name}.{n}", p.numel(), 32) for n, p in others.items()]
    positions = math.prod(shape) // weight.shape[0] if shape else 0
    branches = getattr(module, "branches", 1) if hasattr(module, "mix") else 1
    return LayerSummary(
        name, kind, shape, tuple(tensors), weight.numel() * positions * branches, max(bits, input_bits)
    )  # fmt: skip

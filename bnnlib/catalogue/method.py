"""The record of a method and the mapping of names to records."""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from bnnlib.catalogue.hooks import Hooks, centre_weights, clip_latent, set_progress
from bnnlib.layers import BRANCHED, OPERATOR, PLAIN, LayerFamily
from bnnlib.losses import LABEL_LOSSES, LOSSES
from bnnlib.quantizers import (
    LSQ,
    Identity,
    IEEActivation,
    IEEWeight,
    Pruned,
    Quantizer,
    StochasticBinaryConnect,
)

Make = Callable[[int], Quantizer]
FIRST_LAST = ("real", "int8")  # what a first or last layer that a method keeps real becomes
# fields that tell about a method and change nothing in training
TOLD = (
    "name", "title", "paper", "weight_bits", "activation_bits", "packable", "idempotent", "two_valued", "literal",
    "signed_input_quantizer",  # of converted networks only, never of a study's
)  # fmt: skip
HOOKS = ("before_forward", "after_backward", "after_step", "on_epoch")
PARTS = ("layer", "pool", "norm", "shortcut", "relu", "hardtanh", "rprelu")


class UnknownMethod(KeyError):
    """No method of that name; the message lists the known ones and the nearest."""

    def __str__(self) -> str:
        return self.args[0]


def each(quantizer: type[Quantizer], **options: Any) -> Make:
    """Makes a new quantizer for each layer, the same whatever the layer's size."""
    return lambda size: quantizer(**options)


def sized(quantizer: type[Quantizer], **options: Any) -> Make:
    """Makes a new quantizer for each layer, with as many learned values as that has filters or input channels."""
    return lambda size: quantizer(size, **options)


_real = each(Identity)


def eight_bit() -> dict[str, Quantizer]:
    """New quantizers of a first or last layer of 8 bits (weights and input by LSQ), as arguments of its constructor."""
    return {"weight_quantizer": LSQ(8), "input_quantizer": LSQ(8, batched=True)}


@dataclass(frozen=True)
class Method:
    """One way to train a network with few-valued weights.

    Attributes:
        name: the key in the catalogue.
        title: as it appears in tables and figures.
        paper: authors, year, arXiv number; empty for `float`.
        weight_bits, activation_bits: 1, 1.58 (three values), 2, ... or 32; methods are compared within one activation
            width.
        weight_quantizer: makes a new quantizer for a layer with that many filters.
        input_quantizer: makes a new quantizer for a layer with that many input channels.
        signed_input_quantizer: the same with signed codes, where those of ``input_quantizer`` are unsigned: for layers
            whose input can be negative, if ``binarize`` is asked for it. None where signs are codes already.
        layers: the family of layers that it builds with.
        layer_options: further arguments of these layers, as pairs of name and value.
        block: the order of a block's parts: "layer", "pool", "norm", "shortcut", then an activation or none.
        real_layers: which layers stay real: `"first"`, `"last"`; empty means that all are binary. The *input* of the
            first layer is real under every method.
        loss: the name of the prescribed loss in `bnnlib.losses.LOSSES`.
        batch_norm: whether each layer is followed by batch norm.
        update_scale: (latent weight, optimizer name) -> factor on its learning rate, or None.
        before_forward, after_backward, after_step: what is done to the model at that moment of every training step:
            before the forward pass, once after the (last) backward pass, and after the optimiser's step.
        on_epoch: called with the model and the progress of training, 0 to below 1, at the start of every epoch.
        stochastic: whether training samples the weights, so that several kinds of test network exist.
        packable: the weights are integer codes times a scale.
        idempotent: binarising a binarised weight changes nothing.
        two_valued: a weight has two values only.
        centring: the weights are centred over the input channels, so a layer with one of them per group would be dead.
        literal: the sign has three values, sign(0) = 0, as in a source.
    """

    name: str
    title: str
    paper: str
    weight_bits: float
    activation_bits: int
    weight_quantizer: Make = _real
    input_quantizer: Make = _real
    layers: LayerFamily = PLAIN
    block: tuple[str, ...] = ("layer", "pool", "norm", "relu")
    real_layers: frozenset[str] = frozenset()
    loss: str = "cross_entropy"
    batch_norm: bool = True
    update_scale: Callable[..., float] | None = None
    before_forward: Hooks = Hooks()  # noqa: RUF009 - a tuple
    after_backward: Hooks = Hooks()  # noqa: RUF009
    after_step: Hooks = Hooks()  # noqa: RUF009
    on_epoch: Hooks = Hooks(set_progress)  # noqa: RUF009
    stochastic: bool = False
    packable: bool = False
    idempotent: bool = False
    two_valued: bool = False
    centring: bool = False
    literal: bool = False
    signed_input_quantizer: Make | None = None
    layer_options: tuple[tuple[str, Any], ...] = ()

    def __post_init__(self):
        if unknown := set(self.block) - set(PARTS):
            raise ValueError(f"method {self.name}: no block part {', '.join(unknown)}; known: {', '.join(PARTS)}")
        for moment in HOOKS:
            if not isinstance(getattr(self, moment), Hooks):
                raise TypeError(f"{moment} must be Hooks(function, ...), received {getattr(self, moment)!r}")

    @property
    def widths(self) -> str:
        """Widths of weights and activations as the field writes them: "W1A32"."""
        return f"W{self.weight_bits:g}A{self.activation_bits}"

    @property
    def quantizes(self) -> bool:
        """Whether weights or activations have few values: true of all but the float network."""
        return self.weight_bits < 32 or self.activation_bits < 32

    @property
    def prunes(self) -> bool:
        """Whether a share of the weights is 0: see ``varied(pruned=...)``."""
        return isinstance(self.weight_quantizer(1), Pruned)

    @property
    def needs_teacher(self) -> bool:
        """Whether the prescribed loss compares the network with a trained real one."""
        return self.loss not in LABEL_LOSSES

    @property
    def activation(self) -> str | None:
        """The block's activation: "relu", "hardtanh", "rprelu", or None where a sign takes its place."""
        return next((part for part in self.block if part in ("relu", "hardtanh", "rprelu")), None)

    def quantizers(
        self, inputs: int, outputs: int, *, real_input: bool = False, signed_input: bool = False
    ) -> dict[str, Quantizer | None]:
        """New quantizers for a layer, as arguments of its constructor.

        Args:
            inputs, outputs: channels or features.
            real_input: True for a network's first layer, whose input is data.
            signed_input: True for a layer whose input can be negative and is to have signed codes.

        Raises:
            ValueError: ``signed_input`` under a method that has no ``signed_input_quantizer``.
        """
        if signed_input and self.signed_input_quantizer is None:
            raise ValueError(f"method {self.name} has no signed codes of more than one bit for inputs")
        make_input = self.signed_input_quantizer if signed_input else self.input_quantizer
        return {
            "weight_quantizer": self.weight_quantizer(outputs),
            "input_quantizer": None if real_input else make_input(inputs),
        }

    def describe(self) -> dict[str, Any]:
        """What training under this method depends on, as plain data: whatever differs from the float network's.

        What has its default is left out, so that a field added later changes no description.
        """
        described: dict[str, Any] = {"name": self.name}
        for field in fields(self):
            if field.name not in TOLD:
                value = _plain(field.name, getattr(self, field.name))
                if value != _plain(field.name, field.default):
                    described[field.name] = value
        return described

    def varied(self, **changes: Any) -> "Method":
        """This method with named parts changed: what an ablation is made of.

        Args:
            clip: False takes the clip after the step away.
            update_scaling: False takes the enlarged updates away.
            batch_norm: False builds networks without batch norm (layers get biases instead).
            probability: `"logistic"` or `"hard_sigmoid"`, for stochastic BinaryConnect.
            loss: another loss by name.
            block: another order of layers, by the names of their parts.
            branches, mixing: of IE-Net's layers, see :class:`bnnlib.layers.BranchedConv2d`.
            t_max: where the narrowing of IE-Net's estimator ends, see :class:`bnnlib.quantizers.IEEWeight`.
            weights: `"real"` leaves weights real and activations as they are: the first of two steps of training.
            pruned: the share of the weights of each layer, smallest in absolute value, that are 0 from the start (of
                the float network without its first and last layer): see :class:`bnnlib.quantizers.Pruned`. Not of
                methods that centre weights, whose procedure is written for whole filters.

        Raises:
            ValueError: a change is unknown, or this method has nothing that it could change.
        """
        known = {"block", "clip", "update_scaling", "batch_norm", "probability", "loss", "weights"}
        known |= {"branches", "mixing", "pruned", "t_max"}
        if unknown := set(changes) - known:
            raise ValueError(f"cannot vary {', '.join(sorted(unknown))}; known changes: {', '.join(sorted(known))}")
        made: dict[str, Any] = {}
        pruned_last = sorted(changes.items(), key=lambda change: change[0] == "pruned")  # it wraps the others
        for key, value in pruned_last:
            if key == "clip" and clip_latent in self.after_step:
                made["after_step"] = self.after_step if value else self.after_step.without(clip_latent)
            elif key == "update_scaling" and self.update_scale is not None:
                made["update_scale"] = self.update_scale if value else None
            elif key == "probability" and self.stochastic:
                made["weight_quantizer"] = each(StochasticBinaryConnect, probability=value)
            elif key == "loss" and value not in LOSSES:
                raise ValueError(f"no loss {value!r}; known: {', '.join(LOSSES)}")
            elif key == "weights" and value == "real" and self.layers is not OPERATOR:
                made |= {"weight_quantizer": _real, "weight_bits": 32}
                made |= {"before_forward": self.before_forward.without(centre_weights), "centring": False}
                made |= dict.fromkeys(("stochastic", "packable", "idempotent", "two_valued"), False)
            elif key == "pruned" and not self.centring:
                make = made.get("weight_quantizer", self.weight_quantizer)
                made["weight_quantizer"] = lambda size, make=make, share=value: Pruned(make(size), share)
                made |= dict.fromkeys(("idempotent", "two_valued"), False)
                if not self.quantizes:
                    made["real_layers"] = frozenset({"first", "last"})
                elif made.get("weight_bits", self.weight_bits) == 1:
                    made["weight_bits"] = 1.58
            elif key in ("branches", "mixing") and self.layers is BRANCHED:
                options = dict(made.get("layer_options", self.layer_options))
                made["layer_options"] = tuple(sorted((options | {key: value}).items()))
            elif key == "t_max" and self.layers is BRANCHED and not self.literal:
                made |= {"weight_quantizer": sized(IEEWeight, t_max=value)}
                made |= {"input_quantizer": each(IEEActivation, t_max=value)}
            elif key in ("batch_norm", "loss"):
                made[key] = value
            elif key == "block":
                made[key] = tuple(value)
            else:
                raise ValueError(f"method {self.name} has no {key} to vary")
        return replace(self, **made)


def _plain(name: str, value: Any) -> Any:
    """A field of a record as plain data: quantizers as they print, layers, hooks and functions by their names."""
    if name in ("weight_quantizer", "input_quantizer"):
        return repr(value(1))
    if isinstance(value, LayerFamily):
        return value.conv2d.__name__
    if isinstance(value, Hooks):
        return [hook.__name__ for hook in value]
    if callable(value):
        return value.__name__
    if isinstance(value, tuple):
        return [list(each) if isinstance(each, tuple) else each for each in value]
    return sorted(value) if isinstance(value, frozenset) else value


class Catalogue(Mapping[str, Method]):
    """Name -> :class:`Method`. Prints as a table; an unknown name says which are known and which is nearest."""

    def __init__(self, records: list[Method]):
        self._records = {record.name: record for record in records}

    def __getitem__(self, name: str) -> Method:
        if name in self._records:
            return self._records[name]
        wanted = str(name).lower()
        also = {record.title.lower(): key for key, record in self._records.items()}
        begins = [key for key in self._records if wanted and key.startswith(wanted)]
        close = difflib.get_close_matches(wanted, [*self._records, *also], n=1)
        near = begins or [also.get(match, match) for match in close]
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownMethod(f"no method {name!r}; known: {', '.join(self._records)}{hint}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        width = max(map(len, self._records))
        return "\n".join(
            f"{m.name:<{width}}  {m.widths:<8}  {m.paper or 'no quantization'}" for m in self._records.values()
        )

    def _repr_html_(self) -> str:
        return self.frame().to_html()

    def frame(self):
        """The catalogue as a pandas data frame, a row for each method."""
        import pandas as pd

        rows = [
            {
                "name": m.name,
                "title": m.title,
                "widths": m.widths,
                "block": " - ".join(m.block),
                "real layers": ", ".join(sorted(m.real_layers)) or "none",
                "loss": m.loss,
                "paper": m.paper,
            }
            for m in self._records.values()
        ]
        return pd.DataFrame(rows).set_index("name")

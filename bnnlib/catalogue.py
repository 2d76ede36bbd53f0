"""The methods of the course by name: what each binarises, how, with which loss and hooks, and where it comes from.

A :class:`Method` is a frozen record; networks build themselves from it and the training loop obeys its hooks. `float`
is a method too: the twin that every binary network is compared with.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

from torch import nn

from bnnlib.layers import binary_layers
from bnnlib.losses import LOSSES
from bnnlib.quantizers import DeterministicBinaryConnect, Identity, Quantizer, StochasticBinaryConnect
from bnnlib.quantizers.binaryconnect import clip_latent_, update_scale

__all__ = ["Method", "UnknownMethod", "get", "methods"]

LayerHook = Callable[[nn.Module], None]


class UnknownMethod(KeyError):
    """No method of that name; the message lists the known ones and the nearest."""

    def __str__(self) -> str:
        return self.args[0]


@dataclass(frozen=True)
class Method:
    """One way to train a network with few-valued weights.

    Attributes:
        name: the key in the catalogue.
        title: as it appears in tables and figures.
        paper: authors, year, arXiv number; empty for `float`.
        weight_bits, activation_bits: 1, 2, ... or 32; methods are compared within one activation width.
        weight_quantizer, input_quantizer: make a new quantizer for a layer.
        block: the order of a block's parts, after pooling layers have been put behind the first.
        real_layers: which layers stay real: `"first"`, `"last"`; empty means that all are binary.
        loss: the name of the prescribed loss in `bnnlib.losses.LOSSES`.
        batch_norm: whether each layer is followed by batch norm.
        update_scale: latent weight -> factor on its learning rate, or None.
        after_step: called with each binary layer after every optimiser step, or None.
        stochastic: whether training samples the weights, so that several kinds of test network exist.
        properties: what tests may rely on: `"packable"`, `"idempotent"`, `"two-valued"`.
    """

    name: str
    title: str
    paper: str
    weight_bits: int
    activation_bits: int
    weight_quantizer: Callable[[], Quantizer] = Identity
    input_quantizer: Callable[[], Quantizer] = Identity
    block: tuple[str, ...] = ("layer", "norm", "relu")
    real_layers: frozenset[str] = frozenset()
    loss: str = "cross_entropy"
    batch_norm: bool = True
    update_scale: Callable[[nn.Parameter], float] | None = None
    after_step: LayerHook | None = None
    stochastic: bool = False
    properties: frozenset[str] = field(default_factory=frozenset)

    def step_done(self, model: nn.Module) -> None:
        """What the method does to its layers after an optimiser step."""
        if self.after_step is not None:
            for _, layer in binary_layers(model):
                self.after_step(layer)

    def describe(self) -> dict[str, Any]:
        """What training under this method depends on, as plain data."""
        return {
            "name": self.name,
            "weight_quantizer": repr(self.weight_quantizer()),
            "input_quantizer": repr(self.input_quantizer()),
            "loss": self.loss,
            "batch_norm": self.batch_norm,
            "clip": self.after_step is not None,
            "update_scaling": self.update_scale is not None,
        }

    def varied(self, **changes: Any) -> "Method":
        """This method with named parts changed: what an ablation is made of.

        Args:
            clip: False takes the clip after the step away.
            update_scaling: False takes the enlarged updates away.
            batch_norm: False builds networks without batch norm (layers get biases instead).
            probability: `"logistic"` or `"hard_sigmoid"`, for stochastic BinaryConnect.
            loss: another loss by name.

        Raises:
            ValueError: a change is unknown, or this method has nothing that it could change.
        """
        known = {"clip", "update_scaling", "batch_norm", "probability", "loss"}
        if unknown := set(changes) - known:
            raise ValueError(f"cannot vary {', '.join(sorted(unknown))}; known changes: {', '.join(sorted(known))}")
        made: dict[str, Any] = {}
        for key, value in changes.items():
            if key == "clip" and self.after_step is not None:
                made["after_step"] = self.after_step if value else None
            elif key == "update_scaling" and self.update_scale is not None:
                made["update_scale"] = self.update_scale if value else None
            elif key == "probability" and self.stochastic:
                made["weight_quantizer"] = partial(self.weight_quantizer, probability=value)
            elif key == "loss" and value not in LOSSES:
                raise ValueError(f"no loss {value!r}; known: {', '.join(LOSSES)}")
            elif key in ("batch_norm", "loss"):
                made[key] = value
            else:
                raise ValueError(f"method {self.name} has no {key} to vary")
        return replace(self, **made)


class Catalogue(Mapping[str, Method]):
    """Name -> :class:`Method`. Prints as a table; an unknown name says which are known and which is nearest."""

    def __init__(self, records: list[Method]):
        self._records = {record.name: record for record in records}

    def __getitem__(self, name: str) -> Method:
        if name in self._records:
            return self._records[name]
        near = difflib.get_close_matches(str(name), self._records, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownMethod(f"no method {name!r}; known: {', '.join(self._records)}{hint}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)

    def __repr__(self) -> str:
        width = max(map(len, self._records))
        return "\n".join(
            f"{m.name:<{width}}  W{m.weight_bits}A{m.activation_bits}  {m.paper or 'no quantization'}"
            for m in self._records.values()
        )


_BINARYCONNECT = "Courbariaux, Bengio, David 2015, arXiv:1511.00363"


def _clip_latent(layer: nn.Module) -> None:
    clip_latent_(layer.weight, layer.weight_quantizer.amplitude)


methods = Catalogue(
    [
        Method(
            name="float",
            title="float32",
            paper="",
            weight_bits=32,
            activation_bits=32,
        ),
        Method(
            name="binaryconnect-deterministic",
            title="BinaryConnect, deterministic",
            paper=_BINARYCONNECT,
            weight_bits=1,
            activation_bits=32,
            weight_quantizer=DeterministicBinaryConnect,
            loss="squared_hinge",
            update_scale=update_scale,
            after_step=_clip_latent,
            properties=frozenset({"packable", "idempotent", "two-valued"}),
        ),
        Method(
            name="binaryconnect-stochastic",
            title="BinaryConnect, stochastic",
            paper=_BINARYCONNECT,
            weight_bits=1,
            activation_bits=32,
            weight_quantizer=StochasticBinaryConnect,
            loss="squared_hinge",
            update_scale=update_scale,
            after_step=_clip_latent,
            stochastic=True,
            properties=frozenset({"packable", "two-valued"}),
        ),
    ]
)


def get(method: "str | Method") -> Method:
    """The record for a name; a record is returned as it is."""
    return method if isinstance(method, Method) else methods[method]


def as_frame():
    """The catalogue as a pandas data frame, a row for each method."""
    import pandas as pd

    shown = [f.name for f in fields(Method) if f.name in {"title", "weight_bits", "activation_bits", "loss", "paper"}]
    return pd.DataFrame([{k: getattr(m, k) for k in ["name", *shown]} for m in methods.values()]).set_index("name")

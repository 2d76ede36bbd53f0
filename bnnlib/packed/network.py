"""A packed network as data: its operations, and what they hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnnlib.packed.layout import PackedTensor
from bnnlib.packed.operations import Operation, Weights
from bnnlib.packed.thresholds import is_exact

__all__ = ["Network", "checked"]


def checked(network: Any) -> "Network":
    """A packed network, or a TypeError that says how one is made."""
    if not isinstance(network, Network):
        raise TypeError(f"a packed network is needed, bnnlib.pack(model); received {type(network).__name__}")
    return network


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """Operations that fit one another.

    Attributes:
        input_shape: of one input: (C, H, W), (C, L) or (F,).
        operations: in the order in which they run.
        classes: their names, or empty.
        about: plain data that its maker wants to be kept: the run, the normalisation of inputs.
        shapes: height, width and channels of each value, by its name.

    Raises:
        ValueError: the operations don't fit one another, or the names don't fit the scores.
    """

    input_shape: tuple[int, ...]
    operations: tuple[Operation, ...]
    classes: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    shapes: dict[str, tuple[int, int, int]] = field(init=False, repr=False)

    def __post_init__(self):
        if not self.operations:
            raise ValueError("a packed network has at least one operation")
        *sizes, last = self.input_shape
        shapes = {"input": [(1, 1, last), (1, last, *sizes), (*sizes[1:], last, *sizes[:1])][len(sizes)]}
        for operation in self.operations:
            for name in operation.inputs:
                if name not in shapes:
                    raise ValueError(f"{operation.output} takes {name}, which nothing before it makes")
            if operation.output in shapes:
                raise ValueError(f"two operations make {operation.output}")
            shapes[operation.output] = operation.shape(*(shapes[name] for name in operation.inputs))
        height, width, scores = shapes[self.operations[-1].output]
        if (height, width) != (1, 1):
            raise ValueError(f"the last operation must make scores, it makes maps of {height} x {width}")
        if not all(isinstance(name, str) for name in self.classes):
            raise ValueError(f"names of classes must be strings, received {self.classes}")
        if self.classes and len(self.classes) != scores:
            raise ValueError(f"{len(self.classes)} names for {scores} classes")
        object.__setattr__(self, "shapes", shapes)

    def __repr__(self) -> str:
        kinds = ", ".join(type(operation).__name__ for operation in self.operations)
        return f"{type(self).__name__} of {self.input_shape}, {self.bytes:,} bytes: {kinds}"

    def tensors(self) -> tuple[PackedTensor, ...]:
        """What its file holds; weights that several products share count once."""
        found, seen = [], set()
        for operation in self.operations:
            for role in operation.roles():
                tensor = getattr(operation, role)
                if tensor is None or id(tensor) in seen:
                    continue
                seen.add(id(tensor))
                name = f"{operation.output}.{role}"
                packed = isinstance(tensor, Weights)
                count = tensor.values.size if packed else tensor.size
                found.append(PackedTensor(name, count, tensor.bits if packed else 32))
        return tuple(found)

    @property
    def bytes(self) -> int:
        """Bytes of its tensors, as in a file."""
        return sum(tensor.bytes for tensor in self.tensors())

    @property
    def exact(self) -> bool:
        """Whether all codes are those of the trained network, whatever the input: all sums are whole numbers."""
        return is_exact(self.operations)

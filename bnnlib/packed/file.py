"""The file of a packed network: safetensors, with a description in its header.

Layout, version 1. The header's metadata has one entry, ``bnnlib packed network``, which is JSON: ``version``,
``input_shape``, ``classes``, ``about`` (what its maker wants to say), ``operations``, each with its ``kind``,
``inputs``, ``output``, ``options`` and ``tensors``, and ``sha256``, a digest of all the rest and of the tensors. A
tensor of float32 is stored as it is. Weights of few bits are stored as the indices of their grid, ``bits`` each, the
least significant bit first, without gaps: one uint8 tensor, whose ``shape``, ``bits``, ``first`` and ``stride`` stand
in the description. Thresholds are not stored: they are derived on loading.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as as_bytes

from bnnlib.files import Damaged, replaced
from bnnlib.packed.layout import from_tight_bits, tight_bits
from bnnlib.packed.network import Network
from bnnlib.packed.operations import KINDS, LARGEST_CODE, Geometry, Operation, Weights

__all__ = ["ENTRY", "VERSION", "load", "read", "save", "write"]

ENTRY, VERSION = "bnnlib packed network", 1
_LARGEST_SIDE, _LARGEST_MAP = 2**16, 2**26  # of a map, per axis and in values
_MOST = LARGEST_CODE
_NAME = 1_000  # characters


def save(model: Network, path: Path | str) -> None:
    """Writes a packed network; the file is there whole or not at all.

    Raises:
        ValueError: :func:`load` would refuse it: a value is not finite, a name too long.
        OSError: it could not be written.
    """
    path, tensors, described, keys = Path(path), {}, [], {}
    for operation in model.operations:
        of_operation: dict[str, Any] = {}
        for role in operation.roles():
            tensor = getattr(operation, role)
            if tensor is None:
                continue
            key = keys.setdefault(id(tensor), f"{operation.output}.{role}")
            if isinstance(tensor, Weights):
                grid = {"bits": tensor.bits, "first": tensor.first, "stride": tensor.stride}
                of_operation[role] = {"tensor": key, "shape": tensor.values.shape, **grid}
                few = tensor.bits < 32
                tensors[key] = tight_bits(tensor.indices().ravel(), tensor.bits) if few else tensor.values.ravel()
            else:
                of_operation[role] = {"tensor": key, "shape": tensor.shape}
                tensors[key] = tensor.ravel()
        options = {name: _plain(value) for name, value in operation.options().items()}
        described.append(
            {"kind": type(operation).__name__, "inputs": operation.inputs, "output": operation.output,
             "options": options, "tensors": of_operation}
        )  # fmt: skip
    network = {
        "version": VERSION, "input_shape": model.input_shape, "classes": model.classes, "about": dict(model.about),
        "operations": described,
    }  # fmt: skip
    network = json.loads(json.dumps(network))
    try:
        _network(network, tensors)
    except ValueError as error:
        raise ValueError(f"the network can't be written as a file: {error}") from error
    write(path, ENTRY, network, tensors)


def load(path: Path | str) -> Network:
    """Reads what :func:`save` wrote, and believes nothing of it: sizes, ranges, names and the plan are verified.

    Raises:
        Damaged: the file is no packed network, is damaged, or is of a newer version; the message says which.
        OSError: it can't be read.
    """
    path = Path(path)
    network, tensors = read(path, ENTRY, "packed network")
    try:
        version = network["version"]
        if version != VERSION:
            raise Damaged(f"{path} has version {version!r:.20}, this library reads {VERSION}: update bnnlib")
        return _network(network, tensors)
    except Damaged:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError, MemoryError) as error:
        raise Damaged(f"{path} is damaged: {type(error).__name__}: {str(error)[:300]}") from error


def write(path: Path, entry: str, described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors as safetensors, with a description and a digest of both as an entry of the header; whole or not.

    Args:
        described: plain data, as JSON has it.
    """
    tensors = {key: np.ascontiguousarray(tensor) for key, tensor in tensors.items()}
    metadata = {entry: json.dumps({**described, "sha256": _digest(described, tensors)})}
    replaced(path, lambda partial: partial.write_bytes(as_bytes(tensors, metadata)))


def read(path: Path, entry: str, what: str) -> tuple[Any, dict[str, np.ndarray]]:
    """The description that :func:`write` put into a file's header, and the file's tensors.

    Raises:
        Damaged: the file is no safetensors file, or its header lacks the entry: it is no ``what``. Or its content does
            not fit its digest (a file without one is believed).
        OSError: it can't be read.
    """
    with path.open("rb"):  # a missing file is no damaged one
        pass
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError, MemoryError, OverflowError) as error:
        raise Damaged(f"{path} is no {what}, or it is damaged: {error}") from error
    if entry not in metadata:
        raise Damaged(f"{path} is no {what}: its header has no entry {entry!r}")
    try:
        described = json.loads(metadata[entry])
        digest = described.pop("sha256", None) if isinstance(described, dict) else None
        if digest is not None and digest != _digest(described, tensors):
            raise Damaged(f"{path} is damaged: its content does not fit its digest")
    except Damaged:
        raise
    except (ValueError, RecursionError, MemoryError) as error:
        raise Damaged(f"{path} is no {what}, or it is damaged: {str(error)[:300]}") from error
    return described, tensors


def _digest(described: Any, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for key in sorted(tensors):
        digest.update(f"{key} {tensors[key].dtype} {tensors[key].shape}".encode())
        digest.update(tensors[key].tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Geometry):
        return value._asdict()
    return "inf" if value == math.inf else value


def _network(described: Any, tensors: Mapping[str, np.ndarray]) -> Network:
    _exactly(described, "network", {"version", "input_shape", "classes", "about", "operations"})
    shape = _whole_numbers(described["input_shape"], "input_shape", range(1, 4), 1, _LARGEST_MAP)
    if math.prod(shape) > _LARGEST_MAP:
        raise ValueError(f"an input of {shape} is larger than {_LARGEST_MAP} values")
    classes, about = described["classes"], described["about"]
    if not isinstance(classes, list) or not all(isinstance(name, str) and len(name) <= _NAME for name in classes):
        raise ValueError(f"classes must be names of at most {_NAME} characters")
    if not isinstance(about, dict) or not isinstance(described["operations"], list):
        raise ValueError("about must be an object and operations a list")
    taken: dict[str, Any] = {}  # a tensor that several operations share is made once
    operations = tuple(_operation(each, tensors, taken) for each in described["operations"])
    if unused := set(tensors) - set(taken):
        raise ValueError(f"tensors that no operation takes: {', '.join(sorted(unused))[:100]}")
    model = Network(shape, operations, tuple(classes), about)
    for name, (height, width, channels) in model.shapes.items():
        if height * width * channels > _LARGEST_MAP:
            raise ValueError(f"{name}: a map of {height} x {width} x {channels} is larger than {_LARGEST_MAP} values")
    return model


def _operation(described: Any, tensors: Mapping[str, np.ndarray], taken: dict[str, Any]) -> Operation:
    _exactly(described, "operation", {"kind", "inputs", "output", "options", "tensors"})
    kind = KINDS.get(described["kind"]) if isinstance(described["kind"], str) else None
    if kind is None:
        raise ValueError(f"no kind of operation {described['kind']!r:.80}")
    inputs, output = described["inputs"], described["output"]
    if not isinstance(inputs, list) or len(inputs) != kind.takes:
        raise ValueError(f"{kind.__name__} takes {kind.takes} values")
    for name in (*inputs, output):
        if not isinstance(name, str) or not 0 < len(name) <= _NAME:
            raise ValueError(f"the names of values have 1 to {_NAME} characters, received {name!r:.80}")
    defaults = kind((), "").options()
    _exactly(described["options"], kind.__name__, set(defaults))
    options = {name: _option(name, value, defaults[name]) for name, value in described["options"].items()}
    given = described["tensors"]
    if not isinstance(given, dict) or not kind.needs() <= set(given) <= set(kind.roles()):
        raise ValueError(f"{kind.__name__} has tensors {', '.join(kind.roles())}, received {str(list(given))[:80]}")
    arrays = {role: _tensor(role, each, tensors, taken) for role, each in given.items()}
    return kind(tuple(inputs), output, **options, **arrays)


def _tensor(role: str, described: Any, tensors: Mapping[str, np.ndarray], taken: dict[str, Any]) -> Any:
    weights = role == "weights"
    _exactly(described, role, {"tensor", "shape"} | ({"bits", "first", "stride"} if weights else set()))
    key = described["tensor"]
    if not isinstance(key, str) or key not in tensors:
        raise ValueError(f"{role}: no tensor {key!r:.80}")
    shape = _whole_numbers(described["shape"], f"{role}'s shape", range(4, 5) if weights else range(1, 4), 1, 2**31)
    description = json.dumps(described)
    if key in taken:
        if taken[key][0] != description:
            raise ValueError(f"tensor {key} is described in two ways")
        return taken[key][1]
    stored, bits = tensors[key], described.get("bits", 32)
    if type(bits) is not int or bits not in (*range(1, 9), 32):
        raise ValueError(f"{role}: bits must be 1 to 8, or 32, received {bits!r:.80}")
    wanted, size = (np.float32, math.prod(shape)) if bits == 32 else (np.uint8, -(-math.prod(shape) * bits // 8))
    if stored.dtype != wanted or stored.shape != (size,):
        raise ValueError(
            f"{role}: tensor {key} must be {size} {np.dtype(wanted)} for {shape} values of {bits} bits, it is "
            f"{stored.dtype} of shape {stored.shape}"
        )
    made: Any
    if bits < 32:
        first, stride = (_whole(described[name], name, -_MOST, _MOST) for name in ("first", "stride"))
        if stride < 1 or abs(first + stride * (2**bits - 1)) > _MOST:
            raise ValueError(f"{role}: a grid from {first} in steps of {stride} has codes past {_MOST}")
        indices = from_tight_bits(stored, math.prod(shape), bits)
        made = Weights((first + stride * indices.astype(np.int16)).astype(np.int16).reshape(shape), bits, first, stride)
    else:
        if not np.isfinite(stored).all():
            raise ValueError(f"{role}: tensor {key} has values that are not finite")
        made = stored.reshape(shape)
        if weights:
            made = Weights(made, 32)
    taken[key] = description, made
    return made


def _option(name: str, value: Any, default: Any) -> Any:
    """A value of the type of the default, within what networks have."""
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, received {value!r:.80}")
        return value
    if isinstance(default, Geometry):
        return _geometry(value)
    if isinstance(default, tuple):
        return _whole_numbers(value, name, range(len(default), len(default) + 1), 0, _LARGEST_SIDE)
    if isinstance(default, float):
        value = math.inf if value == "inf" else value
        if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
            raise ValueError(f"{name} must be a number, received {value!r:.80}")
        return float(value)
    return _whole(value, name, -_MOST, _LARGEST_SIDE)


def _geometry(value: Any) -> Geometry:
    _exactly(value, "geometry", set(Geometry._fields))
    two = range(2, 3)
    kernel, stride, dilation = (
        _whole_numbers(value[name], name, two, 1, _LARGEST_SIDE) for name in ("kernel", "stride", "dilation")
    )
    padding = _whole_numbers(value["padding"], "padding", range(4, 5), 0, _LARGEST_SIDE)
    geometry = Geometry(kernel, stride, padding, dilation)
    if any(side > max(64, geometry.covered()[place // 2]) for place, side in enumerate(padding)):
        raise ValueError(f"a padding of {padding} is wider than the window, {geometry.covered()}")
    return geometry


def _exactly(value: Any, what: str, keys: set[str]) -> None:
    if not isinstance(value, dict) or set(value) != keys:
        received = sorted(value) if isinstance(value, dict) else value
        raise ValueError(f"{what} must have {', '.join(sorted(keys))}; received {str(received)[:100]}")


def _whole(value: Any, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name} must be a whole number in {least}..{most}, received {value!r:.80}")
    return value


def _whole_numbers(value: Any, name: str, lengths: range, least: int, most: int) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) not in lengths:
        raise ValueError(f"{name} must be {lengths.start} to {lengths.stop - 1} numbers, received {str(value)[:80]}")
    return tuple(_whole(each, name, least, most) for each in value)

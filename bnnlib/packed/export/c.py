"""A packed network as C: one header and one source, plain C99, with the bits as arrays. NumPy only.

The source needs no library but ``fmaf`` and ``rintf`` of the mathematical one, no memory but its own, and no operating
system. It computes what :class:`~bnnlib.packed.runtime.PackedModel` does: the same whole sums, thresholds and codes,
and the same scores where real values are not added up in between. Compile it with ``-std=c99``, or with
``-ffp-contract=off``, so that the compiler keeps the roundings.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap

import numpy as np

from bnnlib.files import replaced
from bnnlib.packed.network import Network, checked
from bnnlib.packed.operations import (
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
    Shape,
    Sign,
    Slope,
)
from bnnlib.packed.plan import Step, planned

__all__ = ["Writer", "source", "write_c"]

FUNCTIONS = Path(__file__).with_name("network.c")
WEIGHTS = "NETWORK_WEIGHTS"  # the qualifier of binary weights
_TYPES = {"reals": "float", "sums": "int32_t", "codes": "int16_t", "bits": "uint32_t"}
_MATHEMATICS = {"fmaf": "float fmaf(float, float, float);", "rintf": "float rintf(float);"}


def write_c(network: Network, folder: Path | str, name: str = "network") -> tuple[Path, Path]:
    """Writes ``NAME.h`` and ``NAME.c``; each file is there whole or not at all.

    Args:
        network: a packed network.
        folder: where to write; it is made if it is missing.
        name: of the files, and the beginning of all names in them; an identifier of C.

    Returns:
        The paths of the header and of the source.

    Raises:
        TypeError: it is no packed network.
        ValueError: the name is no identifier.
        OSError: a file could not be written.
    """
    header, body = source(network, name)
    paths = Path(folder) / f"{name}.h", Path(folder) / f"{name}.c"
    for path, text in zip(paths, (header, body), strict=True):
        replaced(path, lambda partial, text=text: partial.write_text(text, encoding="utf-8", newline="\n"))
    return paths


def source(network: Network, name: str = "network") -> tuple[str, str]:
    """The texts of header and source; see :func:`write_c`."""
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,60}", name):
        raise ValueError(f"name must be an identifier of C: a letter, then letters, digits and _; received {name!r}")
    writer = Writer(checked(network), name)
    return writer.header(), writer.body()


@dataclass(eq=False)
class _Buffer:
    """A value in memory: ``size`` elements of a kind, from call ``first`` to call ``last``."""

    kind: str
    size: int
    first: int = 0
    last: int = 0
    at: int = 0


@dataclass
class _Call:
    function: str
    arguments: list  # of buffers and of C expressions
    output: _Buffer


@dataclass
class Writer:
    """The texts of a network in C.

    Attributes:
        layers: of each product of bits the array of its weights, its rows of words, and the bits of a row.
        sums: where the whole sums of the last product are, as an expression of C; None if they are real.
    """

    network: Network
    name: str
    layers: list[tuple[str, int, int]] = field(default_factory=list)
    sums: str | None = None
    arrays: list[str] = field(default_factory=list)
    written: dict[int, str] = field(default_factory=dict)  # id of a tensor -> name of its array
    kept: list = field(default_factory=list)  # the tensors themselves, so that their ids stay theirs
    calls: list[_Call] = field(default_factory=list)
    values: dict[str, _Buffer] = field(default_factory=dict)
    converted: dict[str, _Buffer] = field(default_factory=dict)  # values as real numbers that are others
    sizes: dict[str, int] = field(default_factory=dict)  # of the memory, by kind

    def __post_init__(self):
        height, width, channels = self.network.shapes["input"]
        given = _Buffer("given", 0)
        self.values["input"] = self._call(
            "channels_last", [given, height * width, channels], "reals", height * width * channels
        )
        products = []
        for step in planned(self.network, plain=True):
            self._step(step)
            if isinstance(step.operation, Product):
                products.append(self.values.get(step.operation.output))
        self._settle()
        if products[-1:] and products[-1] is not None and products[-1].kind == "sums":
            self.sums = _place(products[-1])

    # memory

    def _call(self, function: str, arguments: Iterable, kind: str, size: int) -> _Buffer:
        output = _Buffer(kind, size)
        self.calls.append(_Call(function, list(arguments), output))
        return output

    def _settle(self) -> None:
        """Gives each buffer its place: where no other lies that is needed at the same time."""
        last = self.values[self.network.operations[-1].output]
        buffers = [call.output for call in self.calls]
        for number, call in enumerate(self.calls):
            call.output.first = call.output.last = number
            for argument in call.arguments:
                if isinstance(argument, _Buffer):
                    argument.last = number
        last.last = len(self.calls)
        placed: list[_Buffer] = []
        for buffer in buffers:
            beside = sorted((b for b in placed if b.kind == buffer.kind and b.last >= buffer.first), key=lambda b: b.at)
            for other in beside:
                if buffer.at + buffer.size <= other.at:
                    break
                buffer.at = max(buffer.at, other.at + other.size)
            placed.append(buffer)
        self.sizes = {kind: max((b.at + b.size for b in buffers if b.kind == kind), default=0) for kind in _TYPES}

    # arrays

    def _array(self, kind: str, values: np.ndarray, qualifier: str = "const") -> str:
        name = f"a{len(self.arrays)}"
        flat = np.ravel(values)
        if kind == "reals":
            texts = [f"{float(v).hex()}f" for v in flat]
        elif kind == "bits":
            texts = [f"0x{int(v):x}u" for v in flat]
        else:
            texts = [str(int(v)) for v in flat]
        lines = "\n".join(wrap(", ".join(texts), 118, initial_indent="    ", subsequent_indent="    "))
        self.arrays.append(f"static {qualifier} {_TYPES[kind]} {name}[{len(flat)}] = {{\n{lines}\n}};")
        return name

    def _tensor(self, tensor, kind: str, values: np.ndarray, qualifier: str = "const") -> str:
        """The array of a tensor of the network, written once however often it is used."""
        if id(tensor) not in self.written:
            self.written[id(tensor)] = self._array(kind, values, qualifier)
            self.kept.append(tensor)
        return self.written[id(tensor)]

    def _optional(self, tensor: np.ndarray | None) -> str:
        return "NULL" if tensor is None else self._tensor(tensor, "reals", tensor)

    def _window(self, geometry: Geometry, given: Shape, output: Shape, groups: int = 1, pad: int = 0) -> str:
        """A window over a map of a shape as a constant of its own; returns its address."""
        pairs = [f"{{{a}, {b}}}" for a, b in (geometry.kernel, geometry.stride, geometry.dilation)]
        numbers = [*given, *output, *pairs, geometry.padding[0], geometry.padding[2], groups, pad]
        name = f"a{len(self.arrays)}"
        self.arrays.append(f"static const window {name} = {{{', '.join(map(str, numbers))}}};")
        return f"&{name}"

    def _reals(self, name: str) -> _Buffer:
        """A value as real numbers."""
        buffer = self.values[name]
        if buffer.kind != "reals" and name not in self.converted:
            self.converted[name] = self._call(f"reals_of_{buffer.kind}", [buffer, buffer.size], "reals", buffer.size)
        return self.converted.get(name, buffer)

    def _given(self, operation: Operation) -> Shape:
        return self.network.shapes[operation.inputs[0]]

    # steps

    def _step(self, step: Step) -> None:
        operation = step.operation
        shape = self.network.shapes[operation.output]
        size = int(np.prod(shape))
        if isinstance(operation, Product):
            self.values[step.output] = self._product(step, shape)
            return
        if isinstance(operation, Sign | Levels):
            self.values[step.output] = self._codes(step, shape)
            return
        x = self._reals(operation.inputs[0])
        make = {
            Scale: lambda: ("scale", [x, size, *self._values(operation.values)]),
            Bias: lambda: ("bias", [x, size, *self._values(operation.values)]),
            Norm: lambda: (
                "norm",
                [x, size, self._tensor(operation.multiplier, "reals", operation.multiplier),
                 *self._values(operation.offset)],
            ),
            Clip: lambda: (
                ("clip_low", [x, size, _real(operation.low)])
                if operation.high == np.inf
                else ("clip", [x, size, _real(operation.low), _real(operation.high)])
            ),
            Slope: lambda: (
                "bend",
                [x, size, *self._values(operation.slope), self._optional(operation.before),
                 self._optional(operation.after), shape[2]],
            ),
            MaxPool: lambda: ("pool_largest", [x, self._window(operation.geometry, self._given(operation), shape)]),
            AveragePool: lambda: ("pool_average", self._average(operation, x, shape)),
            Flatten: lambda: ("flatten", [x, size // self._given(operation)[2], self._given(operation)[2]]),
            Add: lambda: ("add", [x, self._reals(operation.inputs[1]), size]),
            InputScale: lambda: (
                "input_scale", [x, self._window(operation.geometry, self._given(operation), shape, operation.groups)]
            ),
            Multiply: lambda: (
                "multiply",
                [x, self._reals(operation.inputs[1]), size, shape[2] // self.network.shapes[operation.inputs[1]][2]],
            ),
        }  # fmt: skip
        function, arguments = make[type(operation)]()
        self.values[step.output] = self._call(function, arguments, "reals", size)

    def _values(self, tensor: np.ndarray) -> tuple[str, int]:
        return self._tensor(tensor, "reals", tensor), tensor.size

    def _average(self, operation: AveragePool, x: _Buffer, shape: Shape) -> list:
        bottom, right = operation.geometry.padding[1::2] if operation.counts_padding else (-1, -1)
        return [x, self._window(operation.geometry, self._given(operation), shape), bottom, right]

    def _codes(self, step: Step, shape: Shape) -> _Buffer:
        operation, size = step.operation, int(np.prod(shape))
        x = self._reals(operation.inputs[0])
        if isinstance(operation, Levels):
            step_size = 0.0 if operation.step is None else float(operation.step[0])
            numbers = [_real(v) for v in (step_size, operation.levels, operation.low, operation.high)]
            return self._call("levels", [x, size, *numbers], "codes", size)
        shift = [self._optional(operation.shift), 0 if operation.shift is None else operation.shift.size]
        if not step.makes_codes:
            return self._call("sign_codes", [x, size, *shift, int(operation.strict)], "codes", size)
        pixels, channels = shape[0] * shape[1], shape[2]
        arguments = [x, pixels, channels, *shift, int(operation.strict)]
        return self._call("signs", arguments, "bits", pixels * _words(channels))

    def _product(self, step: Step, shape: Shape) -> _Buffer:
        operation, size = step.operation, int(np.prod(shape))
        weights, x = operation.weights, self.values[operation.inputs[0]]
        window = self._window(operation.geometry, self._given(operation), shape, operation.groups, operation.pad_value)
        if step.takes_codes:
            rows = weights.values.reshape(-1, weights.values.shape[3])
            array = self._tensor(weights, "bits", _tight_words(rows > 0), WEIGHTS)
            self.layers.append((array, *rows.shape))
            made = self._call("convolve_signs", [x, array, window], "sums", size)
        elif weights.bits < 32 and x.kind == "codes":
            array = self._tensor(weights, "codes", weights.values)
            made = self._call("convolve_codes", [x, array, window], "sums", size)
        else:
            kind, function = ("reals", "convolve_reals") if weights.bits == 32 else ("codes", "convolve_reals_codes")
            array = self._tensor(weights, kind, weights.values)
            made = self._call(function, [self._reals(operation.inputs[0]), array, window], "reals", size)
        if step.comparison is None:
            return made
        comparison, (height, width, outputs) = step.comparison, shape
        flips = self._array("bits", _tight_words(comparison.flips[None]))
        arguments = [made, height * width, outputs, self._array("sums", comparison.thresholds[0]), flips]
        bits = self._call("compare", arguments, "bits", height * width * _words(outputs))
        for geometry, inverted in comparison.pools:
            given = (height, width, outputs)
            height, width = geometry.output(height, width)
            window = self._window(geometry, given, (height, width, outputs))
            mask = self._array("bits", _tight_words(inverted[None]))
            bits = self._call("pool_bits", [bits, window, mask], "bits", height * width * _words(outputs))
        return bits

    # texts

    def header(self) -> str:
        name, inputs = self.name, int(np.prod(self.network.input_shape))
        upper, scores = name.upper(), self.network.shapes[self.network.operations[-1].output][2]
        shape = " x ".join(map(str, self.network.input_shape))
        return f"""\
/* A packed network, written by bnnlib. Not reentrant: its memory is static. */
#ifndef {upper}_H
#define {upper}_H

#define {upper}_INPUTS {inputs} /* {shape}, prepared as for the trained network */
#define {upper}_CLASSES {scores}

#ifdef __cplusplus
extern "C" {{
#endif

/* The score of each class: {upper}_INPUTS numbers in, {upper}_CLASSES out. */
void {name}_scores(const float *input, float *scores);

/* The class with the highest score; the first of equals. */
int {name}_predict(const float *input);

/* The name of each class; NULL where it has none. */
extern const char *const {name}_classes[{upper}_CLASSES];

#ifdef __cplusplus
}}
#endif

#endif
"""

    def body(self) -> str:
        name, upper = self.name, self.name.upper()
        functions = _functions(call.function for call in self.calls)
        mathematics = [text for function, text in _MATHEMATICS.items() if re.search(rf"\b{function}\(", functions)]
        memory = [f"static {_TYPES[kind]} {kind}[{size}];" for kind, size in self.sizes.items() if size]
        last = self.values[self.network.operations[-1].output]
        calls = [self._line(call) for call in self.calls]
        calls.append(f"    for (int i = 0; i < {upper}_CLASSES; i++)")
        calls.append(f"        scores[i] = (float){last.kind}[{last.at} + i];")
        names = [_string(each) for each in self.network.classes] or ["NULL"] * last.size
        parts = [
            "/* A packed network, written by bnnlib. C99; compile it with -std=c99 or -ffp-contract=off. */",
            f'#include <stddef.h>\n#include <stdint.h>\n\n#include "{name}.h"',
            "#if defined(__clang__)\n#pragma STDC FP_CONTRACT OFF\n#endif",
            "\n".join(["#if !defined(__wasm__)", *mathematics, "#endif"]) if mathematics else "",
            functions,
            f"#if !defined({WEIGHTS}) /* an empty one lets a program change the binary weights */\n"
            f"#define {WEIGHTS} const\n#endif"
            if self.layers
            else "",
            *self.arrays,
            f"const char *const {name}_classes[{upper}_CLASSES] = {{\n    " + ",\n    ".join(names) + "\n};",
            "\n".join(memory),
            f"void {name}_scores(const float *input, float *scores)\n{{\n" + "\n".join(calls) + "\n}",
            f"""int {name}_predict(const float *input)
{{
    float scores[{upper}_CLASSES];
    int best = 0;
    {name}_scores(input, scores);
    for (int i = 1; i < {upper}_CLASSES; i++)
        if (scores[i] > scores[best])
            best = i;
    return best;
}}
""",
        ]
        return "\n\n".join(part for part in parts if part)

    def _line(self, call: _Call) -> str:
        arguments = [_place(a) if isinstance(a, _Buffer) else str(a) for a in (*call.arguments, call.output)]
        return f"    {call.function}({', '.join(arguments)});"


def _place(buffer: _Buffer) -> str:
    if buffer.kind == "given":
        return "input"
    return f"{buffer.kind} + {buffer.at}" if buffer.at else buffer.kind


def _functions(wanted: Iterable[str]) -> str:
    """The texts of some functions and of those that they call, in the order of the file."""
    texts, needs = {}, {}
    for part in FUNCTIONS.read_text(encoding="utf-8").split("//: ")[1:]:
        first, text = part.split("\n", 1)
        name, *others = first.split()
        texts[name], needs[name] = text.strip(), others
    found, waiting = set(), list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += needs[name]
    return "\n\n".join(text for name, text in texts.items() if name in found)


def _words(channels: int) -> int:
    return -(-channels // 32)


def _tight_words(bits: np.ndarray) -> np.ndarray:
    """Rows of bits as words of 32."""
    padded = np.zeros((len(bits), 32 * _words(bits.shape[1])), np.uint8)
    padded[:, : bits.shape[1]] = bits
    return np.packbits(padded, axis=1, bitorder="little").view("<u4")


def _real(value: float) -> str:
    """A constant of C; infinity is the largest number, beyond which no value lies."""
    largest = np.finfo(np.float32).max
    return f"{float(np.float32(np.clip(value, -largest, largest))).hex()}f"


def _string(text: str) -> str:
    """A C string: what isn't plain ASCII in octal escapes."""
    plain = (chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\\\?' else f"\\{byte:03o}" for byte in text.encode())
    return '"' + "".join(plain) + '"'

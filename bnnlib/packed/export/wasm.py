"""A packed network as WebAssembly: the C source of :mod:`bnnlib.packed.export.c`, compiled by Zig, in a script.

Zig comes from PyPI (``pip install bnnlib[wasm]``) and is needed to write a module, not to use one. A module imports
nothing. The script holds it, so that a page needs one file and works from a disk, offline.
"""

import base64
import importlib.util
import json
import math
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from bnnlib.files import replaced
from bnnlib.packed.export.c import WEIGHTS, Writer, write_c
from bnnlib.packed.network import Network, checked

__all__ = ["compiled", "write_wasm"]

SCRIPT = Path(__file__).with_name("network.js")
ENTRY = """\
#define {qualifier}
#include "network.c"

static float input[NETWORK_INPUTS], scores[NETWORK_CLASSES];
static const struct {{
    uint32_t *words;
    int32_t rows, bits; /* of words; of a row */
}} layers[] = {{{layers}}};

float *input_address(void) {{ return input; }}
float *scores_address(void) {{ return scores; }}
const void *sums_address(void) {{ return {sums}; }}
const void *layers_address(void) {{ return layers; }}
int layers_count(void) {{ return {count}; }}
void run(void) {{ network_scores(input, scores); }}
"""
EXPORTS = ("run", "input_address", "scores_address", "sums_address", "layers_address", "layers_count")
RESERVED = (
    "arguments await break case catch class const continue debugger default delete do else enum eval export extends "
    "false finally for function if implements import in instanceof interface let new null package private protected "
    "public return static super switch this throw true try typeof var void while with yield"
)
FLAGS = (
    "-target", "wasm32-freestanding", "-mcpu=generic+simd128", "-std=c99", "-O3", "-nostdlib", "-Wl,--no-entry",
    "-Wl,--strip-all", *(f"-Wl,--export={name}" for name in EXPORTS),
)  # fmt: skip


def write_wasm(network: Network, path: Path | str) -> None:
    """Writes a script, ``NAME.js``, that defines a class ``NAME`` with the network in it; whole or not at all.

    Its methods are ``scores(input)``, ``predict(input)`` and ``sums()``, and ``layers`` are its binary weights, which a
    page may change; see the script.

    Args:
        network: a packed network.
        path: of the script; its name without ``.js`` becomes that of the class.

    Raises:
        TypeError: it is no packed network.
        ValueError: the name is no identifier of JavaScript, or the path doesn't end in ``.js``.
        RuntimeError: Zig is not installed, or doesn't compile the source.
        OSError: the file could not be written.
    """
    path, network = Path(path), checked(network)
    named = re.fullmatch(r"[A-Za-z_$][\w$]*", path.stem, re.ASCII) and path.stem not in RESERVED.split()
    if path.suffix != ".js" or not named:
        raise ValueError(
            f"the file must be NAME.js with an identifier of JavaScript for a name, received {path.name!r}"
        )
    scores = network.shapes[network.operations[-1].output][2]
    inserted = {
        "INPUTS": str(math.prod(network.input_shape)),
        "SHAPE": json.dumps(list(network.input_shape)),
        "CLASSES": json.dumps(list(network.classes) or [str(each) for each in range(scores)]),
        "CODE": base64.b64encode(compiled(network)).decode(),
        "NAME": path.stem,
    }
    text = re.sub(r"\b(INPUTS|SHAPE|CLASSES|CODE|NAME)\b", lambda m: inserted[m.group()], SCRIPT.read_text("utf-8"))
    replaced(path, lambda partial: partial.write_text(text, encoding="utf-8", newline="\n"))


def compiled(network: Network) -> bytes:
    """The module: it exports ``memory`` and the functions of ``EXPORTS``.

    Raises:
        RuntimeError: Zig is not installed, or doesn't compile the source.
    """
    if importlib.util.find_spec("ziglang") is None:
        raise RuntimeError("WebAssembly is compiled by Zig, which is not installed: pip install ziglang")
    with tempfile.TemporaryDirectory() as folder:
        write_c(network, folder)
        entry, module = Path(folder, "entry.c"), Path(folder, "network.wasm")
        entry.write_text(_entry(network))
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, str(entry), "-o", str(module)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"Zig does not compile the network: {done.stderr[-2000:]}")
        return module.read_bytes()


def _entry(network: Network) -> str:
    """The functions that a page calls."""
    writer = Writer(network, "network")
    layers = ", ".join(f"{{{array}, {rows}, {bits}}}" for array, rows, bits in writer.layers)
    return ENTRY.format(qualifier=WEIGHTS, layers=layers or "{0}", count=len(writer.layers), sums=writer.sums or "NULL")

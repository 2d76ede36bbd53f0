"""Reads mutated copies of a packed file, N of them, with memory for little more than the file.

Prints the seed, then how many were refused and how many were read. Anything but a refusal is a crash.
"""

import copy
import json
import random
import resource
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from bnnlib.files import Damaged
from bnnlib.packed import PackedModel
from bnnlib.packed.file import ENTRY

SPARE = 256 * 2**20  # bytes beside what a reader of a whole file has


def values(node, path=()):
    """Every value of a JSON document, with the path to it."""
    yield path
    if isinstance(node, dict | list):
        for key in node if isinstance(node, dict) else range(len(node)):
            yield from values(node[key], (*path, key))


STRANGE = [
    0, 1, -1, 2, 7, 64, 255, 2**15, 2**16, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**30, 0.5, float("nan"),
    float("inf"), None, True, False, "", "input", "x" * 300, [], {}, [0], [1, 1], [2**40] * 2, [[[[]]]], "Norm",
]  # fmt: skip


def description(header, rng):
    """A header with one to three values of its description changed."""
    whole = json.loads(header)
    network = json.loads(whole["__metadata__"]["bnnlib packed network"])
    for _ in range(rng.randint(1, 3)):
        *path, last = rng.choice([path for path in values(network) if path])
        node = network
        for key in path:
            node = node[key]
        if rng.random() < 0.2:
            del node[last]
        elif isinstance(node[last], int) and rng.random() < 0.5:
            node[last] += rng.choice([-1, 1])
        else:
            node[last] = copy.deepcopy(rng.choice(STRANGE))  # which a later change may change in its turn
    whole["__metadata__"]["bnnlib packed network"] = json.dumps(network)
    return json.dumps(whole).encode()


def mutated(content, rng):
    length = int.from_bytes(content[:8], "little")
    header, data = content[8 : 8 + length], content[8 + length :]
    kind = rng.random()
    if kind < 0.5:
        with suppress(KeyError, IndexError, TypeError):  # a value whose parent was changed before
            header = description(header, rng)
        header += b" " * (-len(header) % 8)
        return len(header).to_bytes(8, "little") + header + data
    changed = bytearray(content)
    if kind < 0.6:
        return bytes(changed[: rng.randrange(len(changed))])
    if kind < 0.7:
        at = rng.randrange(len(changed))
        return bytes(changed[:at] + rng.randbytes(rng.randint(1, 40)) + changed[at:])
    reach = 8 + length if kind < 0.85 else len(changed)
    for _ in range(rng.choice([1, 1, 2, 8])):
        changed[rng.randrange(reach)] = rng.randrange(256)
    return bytes(changed)


def without_digest(content):
    """A reader believes a file without one, so that mutations reach what lies behind."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    network = json.loads(header["__metadata__"][ENTRY])
    del network["sha256"]
    header["__metadata__"][ENTRY] = json.dumps(network)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


def main(path, count):
    content = without_digest(Path(path).read_bytes())
    seed = random.SystemRandom().randrange(2**32)
    print("seed", seed, flush=True)
    rng = random.Random(seed)
    model = PackedModel.load(path)
    model.predict(np.zeros(model.input_shape, np.float32))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE,) * 2)
    refused = 0
    with tempfile.TemporaryDirectory() as folder:
        damaged = Path(folder) / "copy.safetensors"
        for _ in range(count):
            damaged.write_bytes(mutated(content, rng))
            try:
                found = PackedModel.load(damaged)
            except Damaged as error:
                if len(str(error)) > 1000 or "MemoryError" in str(error):
                    raise RuntimeError(f"a refusal that is none: {error}") from error
                refused += 1
            else:
                if np.prod(found.input_shape) < 10**5 and rng.random() < 0.2:
                    with np.errstate(all="ignore"):
                        found.predict(np.zeros(found.input_shape, np.float32))
    print(refused, count - refused)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

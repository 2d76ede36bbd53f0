"""The built-in samples: small real cuts of the data sets that ship with the package, for the `quick` profile and tests.

They are laid out like the whole sets and carry checksums of their own. :func:`make` cuts them from the whole sets.
"""

import json
from functools import partial
from pathlib import Path

import numpy as np

from bnnlib.data import sources
from bnnlib.data.idx import idx_bytes, read_idx
from bnnlib.files import replaced

__all__ = ["find", "make"]

FOLDER = Path(__file__).parent
CHECKSUMS = FOLDER / "checksums.json"
SIZES = {"train": 6000, "t10k": 1000}


def find(name: str, file: str) -> Path:
    """A file of a data set's sample, verified.

    Raises:
        DataNotFound: the set has no built-in sample.
    """
    known = json.loads(CHECKSUMS.read_text())
    key = f"{name}/{file}"
    if key not in known:
        with_sample = ", ".join(sorted({entry.split("/")[0] for entry in known}))
        raise sources.DataNotFound(
            f'{name} has no built-in sample; profile "quick" knows {with_sample}. Use profile="full" for {name}.'
        )
    return sources.verified(FOLDER / key, known[key])


def make(name: str = "FashionMNIST") -> list[Path]:
    """Cuts the sample of an image set from the whole one: the same number of images of each class, the first ones.

    The same content every time (`bnnlib data sample`). Returns the files written.
    """
    known = json.loads(CHECKSUMS.read_text()) if CHECKSUMS.exists() else {}
    written = []
    for part, size in SIZES.items():
        files = {kind: f"raw/{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")}
        arrays = {kind: read_idx(sources.fetch(name, file)) for kind, file in files.items()}
        labels = arrays["labels-idx1"]
        classes = np.unique(labels)
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == c)[: size // len(classes)] for c in classes]))
        for kind, file in files.items():
            path = FOLDER / name / file
            content = idx_bytes(arrays[kind][chosen])
            replaced(path, partial(Path.write_bytes, data=content))
            known[f"{name}/{file}"] = sources.sha256(path)
            written.append(path)
    text = json.dumps(known, indent=1, sort_keys=True) + "\n"
    replaced(CHECKSUMS, lambda path: path.write_text(text))
    return written

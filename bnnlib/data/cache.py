"""Arrays that are computed once: files in the user's cache folder, keyed by everything that they depend on."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnnlib.data import sources
from bnnlib.files import replaced, sealed, unsealed

__all__ = ["path_of", "read", "write"]

Arrays = Mapping[str, np.ndarray]


def path_of(name: str, key: Mapping[str, Any]) -> Path:
    """Where the arrays of that key belong: another key is another file."""
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:20]
    return sources.cache_folder() / "computed" / f"{name}-{digest}"


def write(name: str, key: Mapping[str, Any], arrays: Arrays) -> None:
    """Keeps arrays, whole or not at all."""
    content = io.BytesIO()
    np.savez(content, key=np.array(json.dumps(key, sort_keys=True)), **arrays)
    replaced(path_of(name, key), lambda partial: partial.write_bytes(sealed(content.getvalue())))


def read(name: str, key: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
    """The arrays of that key, or None where there are none yet, or only damaged ones: they are computed anew."""
    path = path_of(name, key)
    try:
        with np.load(io.BytesIO(unsealed(path)), allow_pickle=False) as file:
            arrays = {part: file[part] for part in file.files}
    except (OSError, ValueError):  # absent, unreadable or damaged
        return None
    return arrays if str(arrays.pop("key", "")) == json.dumps(key, sort_keys=True) else None

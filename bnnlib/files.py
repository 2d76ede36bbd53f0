"""Writing files so that they are whole or absent."""

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["replaced"]


def replaced(path: Path, write: Callable[[Path], object]) -> None:
    """Writes a file beside its place and moves it there in one step; the old one stays if writing fails.

    Args:
        path: where the file belongs; missing folders are made.
        write: writes the file to the path it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise

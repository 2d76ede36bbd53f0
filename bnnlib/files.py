"""Writing files so that they are whole or absent, and reading them so that damage is noticed."""

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["Damaged", "probe", "replaced", "sealed", "sweep", "unsealed"]

SEAL = b"bnnlib sealed 1\n"  # then the SHA-256 of the rest
STALE_SECONDS = 3600.0  # a partial file as old as that was left by a process that was killed


class Damaged(ValueError):
    """A file is not what was written; the message names it and says what to do."""


def replaced(path: Path, write: Callable[[Path], object], size: int = 0) -> None:
    """Writes a file beside its place and moves it there in one step; the old one stays if writing fails.

    Args:
        path: where the file belongs; missing folders are made.
        write: writes the file to the path it is given.
        size: bytes that the file will have, where that is known beforehand.

    Raises:
        OSError: it could not be written; of a full disk the message says how much was needed and how much is free.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        write(partial)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException as error:
        written = partial.stat().st_size if partial.exists() else 0
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(path.parent).free
            raise OSError(
                error.errno,
                f"no space left for {path}: {size or written:,} bytes {'or more ' * (not size)}are needed, "
                f"{free:,} are free in {path.parent}. What was there before is unharmed; make room and run the same "
                "command again",
            ) from error
        raise


def probe(folder: Path) -> None:
    """Finds out now whether files can be written in a folder, which is made if it is missing.

    Raises:
        OSError: they cannot; the message names the folder and the reason.
    """
    try:
        replaced(folder / ".writable", lambda partial: partial.write_bytes(b"\0" * 4096))
        (folder / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise OSError(error.errno, f"nothing can be written in {folder} ({error.strerror or error})") from error


def sweep(folder: Path) -> list[Path]:
    """Removes the partial files that killed processes have left below a folder an hour ago or earlier; tells which."""
    old = time.time() - STALE_SECONDS
    swept = []
    for partial in folder.rglob(".*.partial") if folder.is_dir() else ():
        try:
            if partial.stat().st_mtime < old:
                partial.unlink()
                swept.append(partial)
        except FileNotFoundError:  # another process has swept it
            continue
    return swept


def sealed(content: bytes) -> bytes:
    """The content with a header and its SHA-256 in front, for :func:`unsealed`."""
    return SEAL + hashlib.sha256(content).digest() + content


def unsealed(path: Path) -> bytes:
    """The content of a file that was written sealed.

    Raises:
        Damaged: the file is no such file, or a bit of it has changed.
    """
    whole = path.read_bytes()
    if not whole.startswith(SEAL):
        raise Damaged(f"{path} is damaged or no file of bnnlib's: it does not begin as one; delete it to begin anew")
    digest, content = whole[len(SEAL) : len(SEAL) + 32], whole[len(SEAL) + 32 :]
    if hashlib.sha256(content).digest() != digest:
        raise Damaged(f"{path} is damaged: its content does not fit its digest; delete it to begin anew")
    return content

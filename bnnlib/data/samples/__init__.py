"""The built-in samples: small real cuts of the data sets that ship with the package, for the `quick` profile and tests.

They are laid out like the whole sets and carry checksums of their own. :func:`make` cuts them from the whole sets.
"""

import json
import subprocess
from functools import partial
from pathlib import Path

import numpy as np

from bnnlib.data import sources
from bnnlib.data.idx import idx_bytes, read_idx
from bnnlib.files import replaced

__all__ = ["find", "folder", "make"]

FOLDER = Path(__file__).parent
CHECKSUMS = FOLDER / "checksums.json"
SIZES = {"train": 6000, "t10k": 1000}
IMAGES = ("FashionMNIST", "MNIST")


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


def folder(name: str) -> Path:
    """The folder of a data set's sample, its files verified.

    Raises:
        DataNotFound: the set has no built-in sample.
    """
    for key in [key for key in json.loads(CHECKSUMS.read_text()) if key.startswith(f"{name}/")] or [f"{name}/"]:
        find(name, key.removeprefix(f"{name}/"))
    return FOLDER / name


def make(name: str = "FashionMNIST", to: Path | None = None) -> list[Path]:
    """Cuts the sample of a data set from the whole one, the same content every time (`bnnlib data sample`).

    Of an image set: the same number of images of each class, the first ones. Of Speech Commands and of the speakers'
    gender: see :func:`bnnlib.data.samples.speech.cut` and :func:`bnnlib.data.samples.pictures.cut`.

    Args:
        name: a data set.
        to: the folder to write to; in a source checkout of bnnlib, the package's own samples by default.

    Returns:
        The files written; ``checksums.json`` beside them has their SHA-256.

    Raises:
        ValueError: no such data set, or none that a sample is cut of; or no folder is named and this is no source
            checkout.
        NotADirectoryError: ``to`` is a file.
    """
    if name != "SpeakerGender":  # a task on recordings that are known by another name
        sources.source(name)
    if to is None and not in_checkout():
        raise ValueError(
            f"bnnlib does not run from a source checkout here (git does not track {FOLDER}), and an installed package "
            f"is not written to. Name a folder to write to: bnnlib data sample {name} --to FOLDER"
        )
    folder = FOLDER if to is None else Path(to)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"samples are written to a folder; {folder} is a file")
    checksums = folder / CHECKSUMS.name
    known = json.loads(checksums.read_text()) if checksums.exists() else {}
    if name == "SpeechCommands":
        from bnnlib.data.samples.speech import cut
    elif name == "SpeakerGender":
        from bnnlib.data.samples.pictures import cut
    elif name in IMAGES:
        cut = partial(_cut_images, name)
    else:
        known = ", ".join((*IMAGES, "SpeechCommands", "SpeakerGender"))
        raise ValueError(f"no sample is cut of {name}; there can be one of {known}")
    written = cut(folder)
    for path in written:
        known[path.relative_to(folder).as_posix()] = sources.sha256(path)
    text = json.dumps(known, indent=1, sort_keys=True) + "\n"
    replaced(checksums, lambda path: path.write_text(text))
    return written


def _cut_images(name: str, folder: Path) -> list[Path]:
    written = []
    for part, size in SIZES.items():
        files = {kind: f"raw/{part}-{kind}-ubyte.gz" for kind in ("images-idx3", "labels-idx1")}
        arrays = {kind: read_idx(sources.fetch(name, file)) for kind, file in files.items()}
        labels = arrays["labels-idx1"]
        classes = np.unique(labels)
        chosen = np.sort(np.concatenate([np.flatnonzero(labels == c)[: size // len(classes)] for c in classes]))
        for kind, file in files.items():
            path = folder / name / file
            replaced(path, partial(Path.write_bytes, data=idx_bytes(arrays[kind][chosen])))
            written.append(path)
    return written


def in_checkout() -> bool:
    """Whether the package's own samples are files that git tracks."""
    command = ["git", "-C", str(FOLDER), "ls-files", "--error-unmatch", CHECKSUMS.name]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:  # no git
        return False

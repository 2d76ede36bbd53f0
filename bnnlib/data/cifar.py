"""CIFAR-10: colour photographs of 32 x 32 pixels, ten classes.

A. Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009; no licence is stated, a citation is asked
for. Three layouts are read:

- the official archives ``cifar-10-binary.tar.gz`` or ``cifar-10-python.tar.gz``, verified;
- a **JPEG copy**: ``cifar10-jpeg-train.tar.xz`` and ``cifar10-jpeg-test.tar.xz`` with ``train/CLASS/NNNN.jpg``. Its
  pixels are not those of the official files, so that its accuracies aren't either; descriptions name it.
"""

import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from bnnlib.data import cache, samples, sources
from bnnlib.data.images import Normalise, ShiftFlip, divided
from bnnlib.data.splits import Splits, TensorSplit

__all__ = ["AUGMENTATIONS", "CLASSES", "load_cifar10"]

NAME = "CIFAR10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
AUGMENTATIONS = ("none", "crop", "flip", "crop-flip")
MARGIN = 4  # pixels of zeros around an image before it is cropped
HELD_OUT = 5_000  # training images for validation
SIZES = {"train": 50_000, "test": 10_000}
BINARY, PYTHON = "cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"
JPEG = {part: f"cifar10-jpeg-{part}.tar.xz" for part in SIZES}
# mean and standard deviation of the official training pixels, by channel, in 0..255
PIXELS = Normalise((125.31, 122.95, 113.87), (62.99, 62.09, 66.70))


class Images(NamedTuple):
    """uint8 (N, 3, 32, 32), and int64 labels (N,)."""

    pixels: np.ndarray
    labels: np.ndarray


def load_cifar10(
    profile: Literal["quick", "full"] = "quick",
    *,
    test: bool = True,
    progress: bool = False,
    train_size: int | None = None,
    augment: Literal["none", "crop", "flip", "crop-flip"] = "none",
) -> Splits:
    """CIFAR-10. 5,000 of the training images, drawn once for all, are validation.

    Args:
        profile: only ``"full"``: there is no built-in sample.
        test: False leaves the test images unread, for tuning.
        progress: show a bar while downloading.
        train_size: use only that many training images; smaller sets are contained in larger ones.
        augment: of training images: ``"crop"`` (a window of 32 x 32, drawn from the image with 4 pixels of zeros
            around), ``"flip"`` (left to right), both, or none.

    Returns:
        Splits of uint8 images (``values``, shape (N, 3, 32, 32)); ``ids`` are positions in the official files, or in
        the JPEG copy sorted by class and number. The description says which of the two it was.

    Raises:
        ValueError: a ``train_size`` outside 1..45,000, or an unknown augmentation.
        DataNotFound, DataCorrupt: see :mod:`bnnlib.data.sources`; an image of another size, a class without its images.
    """
    if augment not in AUGMENTATIONS:
        raise ValueError(f"no augmentation {augment!r} of {NAME}; known: {', '.join(AUGMENTATIONS)}")
    if profile == "quick":
        samples.find(NAME, BINARY)  # says that there is none
    layout, read = _reader(progress)

    def split(part: str) -> TensorSplit:
        images = read(part)
        return TensorSplit(
            torch.from_numpy(images.pixels),
            torch.from_numpy(images.labels),
            torch.arange(len(images.labels)),
            prepare=PIXELS,
        )

    train, validation = divided(split("train"), HELD_OUT, train_size)
    if augment != "none":
        train = replace(train, augment=ShiftFlip(MARGIN if "crop" in augment else 0, "flip" in augment))
    description = (
        f"{NAME}, {profile}, {layout}, {len(train)} training images from {train.ids[:3].tolist()}, augment {augment}"
    )
    return Splits(NAME, description, CLASSES, train, validation, split("test") if test else None)


def _reader(progress: bool) -> tuple[str, Callable[[str], Images]]:
    """What is there, and how to read a part of it."""
    for file, read in ((BINARY, _binary), (PYTHON, _python)):
        if path := sources.find(NAME, file):
            return "official files", partial(_official, path, read)
    for root in (sources.data_folder(), sources.cache_folder()):
        if root is not None and (place := root / NAME / JPEG["train"]).is_file():
            return "JPEG copy", partial(_jpeg, place.parent)
    path = sources.fetch(NAME, BINARY, progress=progress)
    return "official files", partial(_official, path, _binary)


def _official(path: Path, read: Callable[[Path, str], Images], part: str) -> Images:
    return _checked(read(path, part), path, part)


def _members(path: Path, wanted: Callable[[str], bool]) -> dict[str, bytes]:
    """The files of an archive whose names are wanted."""
    try:
        with tarfile.open(path) as file:
            return {
                member.name: file.extractfile(member).read()
                for member in file
                if member.isfile() and wanted(member.name)
            }
    except sources.DAMAGE as error:
        raise sources.DataCorrupt(f"{path} is damaged or cut short ({error}); put it there anew") from error


def _is_batch(name: str, part: str) -> bool:
    return Path(name).name.startswith({"train": "data_batch_", "test": "test_batch"}[part])


def _binary(path: Path, part: str) -> Images:
    """Records of a label and 3,072 bytes of pixels."""
    batches = _members(path, lambda name: _is_batch(name, part))
    content = b"".join(batches[name] for name in sorted(batches))
    if len(content) % 3073:
        raise sources.DataCorrupt(f"{path}, {part}: records of 3,073 bytes expected, received {len(content):,} bytes")
    records = np.frombuffer(content, np.uint8).reshape(-1, 3073)
    return Images(records[:, 1:].reshape(-1, 3, 32, 32).copy(), records[:, 0].astype(np.int64))


def _python(path: Path, part: str) -> Images:
    """Pickled dictionaries, read without running anything that they might name."""
    batches = _members(path, lambda name: _is_batch(name, part))
    pixels, labels = [], []
    for name in sorted(batches):
        try:
            batch = _ArraysOnly(io.BytesIO(batches[name]), encoding="bytes").load()
            pixels.append(np.asarray(batch[b"data"], np.uint8).reshape(-1, 3, 32, 32))
            labels.append(np.asarray(batch[b"labels"], np.int64))
        except (pickle.UnpicklingError, KeyError, ValueError, TypeError, EOFError, AttributeError) as error:
            raise sources.DataCorrupt(f"{path}, {name}: no batch of images ({error})") from error
    if not pixels:
        raise sources.DataCorrupt(f"{path} has no batch of {part} images")
    return Images(np.concatenate(pixels), np.concatenate(labels))


class _ArraysOnly(pickle.Unpickler):
    """Unpickles NumPy arrays and plain containers; a pickle that names anything else is refused."""

    ALLOWED = frozenset({("_reconstruct", "multiarray"), ("ndarray", "numpy"), ("dtype", "numpy")})

    def find_class(self, module: str, name: str):
        if (name, module.rpartition(".")[2]) in self.ALLOWED and module.split(".")[0] == "numpy":
            return np._core.multiarray._reconstruct if name == "_reconstruct" else getattr(np, name)
        raise pickle.UnpicklingError(f"the pickle asks for {module}.{name}, which images don't need")


def _jpeg(place: Path, part: str) -> Images:
    """Decoded images, through the cache."""
    import PIL

    path = place / JPEG[part]
    if not path.is_file():
        raise sources.DataNotFound(f"{path} is missing: the {part} images of the JPEG copy")
    key = {"archive": sources.sha256(path), "pillow": PIL.__version__}
    kept = cache.read(f"cifar10-{part}", key)
    if kept is None:
        kept = _decoded(path, part)._asdict()
        cache.write(f"cifar10-{part}", key, kept)
    return Images(**kept)


def _decoded(path: Path, part: str) -> Images:
    from PIL import Image

    files = _members(path, lambda name: name.endswith(".jpg"))
    pixels, labels = np.empty((len(files), 3, 32, 32), np.uint8), np.empty(len(files), np.int64)
    for at, name in enumerate(sorted(files, key=lambda name: (Path(name).parent.name, Path(name).name))):
        folder = Path(name).parent.name
        if folder not in CLASSES:
            raise sources.DataCorrupt(f"{path}: {name} lies in no folder of a class ({', '.join(CLASSES)})")
        try:
            with Image.open(io.BytesIO(files[name])) as image:
                decoded = np.asarray(image)
        except OSError as error:
            raise sources.DataCorrupt(f"{path}: {name} can't be decoded as an image ({error})") from error
        if decoded.shape != (32, 32, 3):
            raise sources.DataCorrupt(f"{path}: {name} must have 32 x 32 pixels and 3 colours, it has {decoded.shape}")
        pixels[at], labels[at] = decoded.transpose(2, 0, 1), CLASSES.index(folder)
    return _checked(Images(pixels, labels), path, part)


def _checked(images: Images, path: Path, part: str) -> Images:
    """The images, if every class has all of its own."""
    each = SIZES[part] // len(CLASSES)
    counts = np.bincount(images.labels, minlength=len(CLASSES))
    if len(counts) != len(CLASSES) or (counts != each).any():
        found = ", ".join(f"{name} {count:,}" for name, count in zip(CLASSES, counts, strict=False))
        raise sources.DataCorrupt(f"{path} must hold {each:,} {part} images of each class, it holds {found}")
    return images

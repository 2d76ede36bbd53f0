"""Image data sets in the format of MNIST, with splits that never change, and how their images are augmented."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from bnnlib.data import samples, sources
from bnnlib.data.idx import read_idx
from bnnlib.data.splits import Splits, TensorSplit, checked_size

__all__ = ["AUGMENTATIONS", "Normalise", "ShiftFlip", "load_images"]

VALIDATION_SHARE = 1 / 12  # 5,000 of 60,000
AUGMENTATIONS = ("none", "shift", "flip", "shift-flip")
MAX_SHIFT = 2  # pixels

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGITS = tuple("0123456789")


@dataclass(frozen=True)
class Normalise:
    """uint8 images (N, C, H, W) -> float32, centred and scaled with the training pixels' mean and deviation: one for
    all channels, or one for each."""

    mean: float | tuple[float, ...]
    deviation: float | tuple[float, ...]

    def __call__(self, images: Tensor) -> Tensor:
        mean, deviation = (
            torch.tensor(each).reshape(-1, 1, 1) if isinstance(each, tuple) else each
            for each in (self.mean, self.deviation)
        )
        return images.float().sub_(mean).div_(deviation)


CLASSES = {"FashionMNIST": FASHION_CLASSES, "MNIST": DIGITS}
# mean and standard deviation of the training pixels in 0..255 (0.2860, 0.3530 and 0.1307, 0.3081 of 255)
PIXELS = {"FashionMNIST": Normalise(72.94, 90.02), "MNIST": Normalise(33.32, 78.57)}


@dataclass(frozen=True)
class ShiftFlip:
    """Randomly shifted and flipped copies of images (N, C, H, W), a batch at once.

    Attributes:
        shift: largest shift in pixels, each way; the border is filled with zeros.
        flip: whether half of the images are mirrored, left to right.
    """

    shift: int = 0
    flip: bool = False

    def __call__(self, images: Tensor, draw: Generator) -> Tensor:
        if self.flip:
            mirrored = torch.rand(len(images), generator=draw) < 0.5
            images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        if self.shift:
            count, channels, height, width = images.shape
            padded = F.pad(images, (self.shift,) * 4)
            down, right = torch.randint(0, 2 * self.shift + 1, (2, count, 1), generator=draw)
            rows = (down + torch.arange(height))[:, None, :, None]
            columns = (right + torch.arange(width))[:, None, None, :]
            each = torch.arange(count)[:, None, None, None]
            images = padded[each, torch.arange(channels)[:, None, None], rows, columns]
        return images


def load_images(
    name: str,
    profile: Literal["quick", "full"] = "quick",
    *,
    test: bool = True,
    progress: bool = False,
    train_size: int | None = None,
    augment: Literal["none", "shift", "flip", "shift-flip"] = "none",
) -> Splits:
    """Fashion-MNIST or MNIST. A twelfth of the official training images, drawn once for all, are validation.

    Args:
        name: ``"FashionMNIST"`` or ``"MNIST"``.
        profile: ``"quick"``, the built-in sample (Fashion-MNIST only), or ``"full"``, the whole set.
        test: False leaves the test images unread, for tuning.
        progress: show a bar while downloading.
        train_size: use only that many training images; smaller sets are contained in larger ones.
        augment: of training images: ``"shift"`` (up to 2 pixels each way), ``"flip"`` (left to right), both, or none.

    Returns:
        Splits of uint8 images (``values``, shape (N, 1, 28, 28)); ``ids`` are positions in the official files.

    Raises:
        ValueError: a ``train_size`` outside 1..N, or an unknown augmentation.
        DataNotFound, DataCorrupt: see :mod:`bnnlib.data.sources`.
    """
    if augment not in AUGMENTATIONS:
        raise ValueError(f"no augmentation {augment!r} of images; known: {', '.join(AUGMENTATIONS)}")
    fetch = samples.find if profile == "quick" else lambda n, f: sources.fetch(n, f, progress=progress)

    def read(part: str) -> TensorSplit:
        images = read_idx(fetch(name, f"raw/{part}-images-idx3-ubyte.gz"))
        labels = read_idx(fetch(name, f"raw/{part}-labels-idx1-ubyte.gz"))
        return TensorSplit(
            torch.from_numpy(images.copy()).unsqueeze(1),
            torch.from_numpy(labels.astype(np.int64)),
            torch.arange(len(labels)),
            prepare=PIXELS[name],
        )

    whole = read("train")
    train, validation = divided(whole, round(len(whole) * VALIDATION_SHARE), train_size)
    if augment != "none":
        train = replace(train, augment=ShiftFlip(MAX_SHIFT if "shift" in augment else 0, "flip" in augment))
    description = f"{name}, {profile}, {len(train)} training images from {train.ids[:3].tolist()}, augment {augment}"
    return Splits(name, description, CLASSES[name], train, validation, read("t10k") if test else None)


def divided(whole: TensorSplit, held_out: int, train_size: int | None) -> tuple[TensorSplit, TensorSplit]:
    """The official training images as training and validation images, in an order that is drawn once for all.

    Raises:
        ValueError: a ``train_size`` outside 1..N.
    """
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(whole)))
    train = whole[order[held_out:]]
    if train_size is not None:
        train = train[: checked_size(train_size, len(train))]
    return train, whole[order[:held_out]]

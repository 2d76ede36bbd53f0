"""Image data sets as tensors, with splits that never change."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from bnnlib.data import samples, sources
from bnnlib.data.idx import read_idx

__all__ = ["PROFILES", "ImageSet", "ImageSplits", "load"]

Profile = Literal["quick", "full"]
PROFILES = ("quick", "full")
VALIDATION_SHARE = 1 / 12  # 5,000 of 60,000

FASHION_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGITS = tuple("0123456789")

# class names; mean and standard deviation of the training pixels in 0..255 (0.2860, 0.3530 and 0.1307, 0.3081 of 255)
_FACTS = {
    "FashionMNIST": (FASHION_CLASSES, 72.94, 90.02),
    "MNIST": (DIGITS, 33.32, 78.57),
}


@dataclass(frozen=True)
class ImageSet:
    """Images with labels.

    Attributes:
        images: uint8, shape (N, C, H, W).
        labels: int64, shape (N,).
        ids: int64, shape (N,): position in the official file the images came from.
    """

    images: Tensor
    labels: Tensor
    ids: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index) -> "ImageSet":
        return ImageSet(self.images[index], self.labels[index], self.ids[index])


@dataclass(frozen=True)
class ImageSplits:
    """Training, validation and test images of one data set. ``test`` may be None where no one should look at it."""

    name: str
    profile: Profile
    classes: tuple[str, ...]
    mean: float
    deviation: float
    train: ImageSet
    validation: ImageSet
    test: ImageSet | None

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) -> float32, centred and scaled with the training set's mean and deviation."""
        return images.float().sub_(self.mean).div_(self.deviation)


def load(
    name: str = "FashionMNIST",
    profile: Profile = "quick",
    *,
    train_size: int | None = None,
    test: bool = True,
    progress: bool = False,
) -> ImageSplits:
    """A data set's splits.

    Args:
        name: ``"FashionMNIST"`` or ``"MNIST"``.
        profile: ``"quick"``, the built-in sample (Fashion-MNIST only), or ``"full"``, the whole set.
        train_size: use only so many training images; smaller sets are contained in larger ones.
        test: False leaves the test images unread, for tuning.
        progress: show a bar while downloading.

    Returns:
        Splits. A twelfth of the official training images (5,000 of 60,000), drawn once for all, are validation.

    Raises:
        ValueError: unknown name or profile, or a ``train_size`` outside 1..N.
        DataNotFound, DataCorrupt: see :mod:`bnnlib.data.sources`.
    """
    sources.source(name)
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r}; known: {', '.join(PROFILES)}")
    fetch = samples.find if profile == "quick" else lambda n, f: sources.fetch(n, f, progress=progress)

    def read(part: str) -> ImageSet:
        images = read_idx(fetch(name, f"raw/{part}-images-idx3-ubyte.gz"))
        labels = read_idx(fetch(name, f"raw/{part}-labels-idx1-ubyte.gz"))
        return ImageSet(
            torch.from_numpy(images.copy()).unsqueeze(1),
            torch.from_numpy(labels.astype(np.int64)),
            torch.arange(len(labels)),
        )

    whole = read("train")
    order = torch.from_numpy(np.random.default_rng(0).permutation(len(whole)))
    held_out = round(len(whole) * VALIDATION_SHARE)
    train = whole[order[held_out:]]
    if train_size is not None:
        if not 1 <= train_size <= len(train):
            raise ValueError(f"train_size must lie in 1..{len(train)}, received {train_size}")
        train = train[:train_size]
    classes, mean, deviation = _FACTS[name]
    return ImageSplits(
        name, profile, classes, mean, deviation, train, whole[order[:held_out]], read("t10k") if test else None
    )

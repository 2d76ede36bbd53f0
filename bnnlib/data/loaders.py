"""Data sets by name: a table of loaders. Adding a data set is a function and a line."""

import inspect
from functools import partial
from typing import Any, Literal, Protocol

from bnnlib.data import cifar, images, speaker_gender, speech
from bnnlib.data.splits import Splits

__all__ = ["CLASSES", "LOADERS", "PROFILES", "Loader", "load", "options_of"]

PROFILES = ("quick", "full")


class Loader(Protocol):
    """Makes a data set's splits. Its further arguments, by name only and with defaults, are the data set's options."""

    def __call__(self, profile: str, *, test: bool = True, progress: bool = False, **options: Any) -> Splits: ...


LOADERS: dict[str, Loader] = {
    "FashionMNIST": partial(images.load_images, "FashionMNIST"),
    "MNIST": partial(images.load_images, "MNIST"),
    "CIFAR10": cifar.load_cifar10,
    "SpeechCommands": speech.load_speech,
    "SpeakerGender": speaker_gender.load_speaker_gender,
}

# names of the classes, for tables of results that are read without the data
CLASSES: dict[str, tuple[str, ...]] = {**images.CLASSES, cifar.NAME: cifar.CLASSES}


def load(
    name: str = "FashionMNIST",
    profile: Literal["quick", "full"] = "quick",
    *,
    test: bool = True,
    progress: bool = False,
    **options: Any,
) -> Splits:
    """A data set's splits.

    Args:
        name: a key of ``LOADERS``; one's own data set is added by ``data.LOADERS["mine"] = function``.
        profile: ``"quick"``, the built-in sample, or ``"full"``, the whole set.
        test: False leaves the test split unread, for tuning.
        progress: show a bar while downloading or computing.
        options: those of the data set, such as ``train_size`` and ``augment`` of
            :func:`~bnnlib.data.images.load_images`.

    Raises:
        ValueError: unknown name, profile or option (the known ones are listed), or a value that the loader refuses.
        DataNotFound, DataCorrupt: see :mod:`bnnlib.data.sources`.
    """
    if name not in LOADERS:
        raise ValueError(f"no data set {name!r}; known: {', '.join(LOADERS)}")
    if profile not in PROFILES:
        raise ValueError(f"no profile {profile!r}; known: {', '.join(PROFILES)}")
    known = options_of(name)
    if unknown := set(options) - set(known):
        raise ValueError(f"{name} has no option {', '.join(sorted(unknown))}; known: {', '.join(known) or 'none'}")
    splits = LOADERS[name](profile, test=test, progress=progress, **options)
    if not test and splits.test is not None:
        raise ValueError(f"the loader of {name} gave a test split although test=False; it must give None then")
    return splits


def options_of(name: str) -> dict[str, Any]:
    """The options of a data set with their defaults; none are known of one that is not in ``LOADERS``."""
    if name not in LOADERS:
        return {}
    parameters = inspect.signature(LOADERS[name]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in ("test", "progress")}

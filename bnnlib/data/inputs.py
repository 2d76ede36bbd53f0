"""A file as a network's input: an image or a sound, prepared as the data that the network was trained on.

What has to be done is described by plain data, which travels with a packed network; see :func:`described`.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bnnlib.data.features import MFCC, RATE, LogMel, fitted

__all__ = ["described", "read"]

_FEATURES = {"LogMel": LogMel, "MFCC": MFCC}


def described(splits: Any) -> dict[str, Any]:
    """How a data set's samples become inputs, as plain data: of images or of clips of a second; {} of anything else.

    Args:
        splits: as of :func:`bnnlib.data.load`.
    """
    from bnnlib.data.images import Normalise
    from bnnlib.data.speech import SoundSplit

    train = splits.train
    if isinstance(train, SoundSplit):
        kind = type(train.features).__name__
        bands = {"mean": train.mean.tolist(), "deviation": train.deviation.tolist()}
        return {"kind": "sound", "features": kind, "settings": asdict(train.features), **bands}
    prepare = getattr(train, "prepare", None)
    if isinstance(prepare, Normalise):
        channels, height, width = train.values.shape[1:]
        size = {"channels": channels, "height": height, "width": width}
        return {"kind": "image", **size, **{name: _list(value) for name, value in asdict(prepare).items()}}
    return {}


def _list(value: float | tuple[float, ...]) -> float | list[float]:
    return list(value) if isinstance(value, tuple) else value


def read(path: Path | str, how: Mapping[str, Any]) -> np.ndarray:
    """A file as one input, float32, (C, H, W).

    An image of another size is scaled, one of colours becomes grey where the network knows grey ones only, what is
    transparent becomes black. A sound must
    have one channel and 16,000 samples a second; a shorter one than a second is padded with zeros on both sides, of a
    longer one the middle is taken. A ``.npy`` file is an input that is prepared already.

    Args:
        how: what :func:`described` gave.

    Raises:
        ValueError: the file is no image or sound, or of another kind than the network takes.
        OSError: it can't be read.
    """
    path = Path(path)
    with path.open("rb"):  # says what is wrong with a path better than the libraries
        pass
    if path.suffix == ".npy":
        return _array(path)
    try:
        if how.get("kind") == "image":
            return _image(path, how)
        if how.get("kind") == "sound":
            return _sound(path, how)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path}: the network's file describes its inputs wrongly: {type(error).__name__} {error}"
        ) from error
    raise ValueError(f"{path}: the network doesn't say how a file becomes its input: give it an array, as .npy")


def _array(path: Path) -> np.ndarray:
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, TypeError) as error:
        raise ValueError(f"{path} is no array of numbers: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise ValueError(f"{path} is no array of real numbers")
    return np.asarray(array, np.float32)


def _image(path: Path, how: Mapping[str, Any]) -> np.ndarray:
    from PIL import Image

    size, channels = (how["width"], how["height"]), how["channels"]
    mean, deviation = (np.asarray(how[name], np.float32).reshape(-1, 1, 1) for name in ("mean", "deviation"))
    try:
        with Image.open(path) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"it has more than 8 bits a channel ({image.mode})")
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image.convert("RGBA"))
            image = image.convert("L" if channels == 1 else "RGB")
            if image.size != size:
                image = image.resize(size, Image.Resampling.BILINEAR)
            pixels = np.asarray(image, np.float32)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} is no image that can be read: {error}") from error
    pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray((pixels - mean) / deviation)


def _sound(path: Path, how: Mapping[str, Any]) -> np.ndarray:
    import soundfile

    try:
        sound, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{path} is no sound that can be read: {error}") from error
    if rate != RATE or sound.shape[1] != 1 or not len(sound):
        raise ValueError(
            f"{path} must have {RATE:,} samples a second and one channel, it has {len(sound):,} of {rate:,} in "
            f"{sound.shape[1]}"
        )
    settings = dict(how["settings"])
    if "log_mel" in settings:
        settings["log_mel"] = LogMel(**settings["log_mel"])
    features = _FEATURES[how["features"]](**settings)
    picture = features(fitted(sound[:, 0])[None])
    mean, deviation = (np.asarray(how[name], np.float32) for name in ("mean", "deviation"))
    return (picture - mean) / deviation

"""Trained networks that come with the library, packed. Each file says which run of which study it is."""

from pathlib import Path

from bnnlib.packed.biometrics import SignNetwork
from bnnlib.packed.runtime import PackedModel

__all__ = ["names", "pretrained"]

FOLDER = Path(__file__).with_name("weights")
ALL_BINARY = "speaker-gender"  # a network of its own kind, which takes recordings of any length


def names() -> list[str]:
    """The names of the networks that there are."""
    return sorted(path.stem for path in FOLDER.glob("*.safetensors"))


def pretrained(name: str) -> PackedModel | SignNetwork:
    """A trained network by its name: ``bnnlib.pretrained("fashion-mnist-1-bit")``.

    Its ``classes`` are named; ``about`` holds the study, the run and what prepares an input (``bnnlib predict`` does
    that). Made by ``bnnlib pack RUN FILE``. ``"speaker-gender"`` is a :class:`~bnnlib.packed.biometrics.SignNetwork`,
    whose inputs are features of :func:`~bnnlib.packed.biometrics.feature_codes`; its class 1 is a man's voice.

    Raises:
        ValueError: there is no such network; those that there are are named.
    """
    if name not in names():
        raise ValueError(f"no pretrained network {name!r}; there are {', '.join(names())}")
    kind = SignNetwork if name == ALL_BINARY else PackedModel
    return kind.load(FOLDER / f"{name}.safetensors")

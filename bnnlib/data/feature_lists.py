"""Recordings whose features somebody else has computed: a list of files and labels beside the files.

The list is text, a line for each recording: the file's name, a tab, and the label (0 or 1, female or male, f or m); a
third column may name the speaker. A first line of column names is passed over. A file is NumPy's ``.npy`` with the
features of a recording, shape (64, t), t >= 57, found beside the list.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Generator, Tensor

from bnnlib.data.sources import DataCorrupt, DataNotFound
from bnnlib.data.speaker_gender import CLASSES, joined
from bnnlib.data.speech import number
from bnnlib.data.splits import Index, Splits
from bnnlib.packed.biometrics import LEAST_FRAMES, SHAPES

__all__ = ["FeatureSplit", "read_feature_lists"]

LABELS = {"0": 0, "f": 0, "female": 0, "1": 1, "m": 1, "male": 1}
HEADERS = ("label", "gender", "class", "target")
BANDS = SHAPES[0][1]


@dataclass(frozen=True)
class FeatureSplit:
    """Recordings of different lengths as they are; see :class:`~bnnlib.data.Split`.

    With a generator each gives a crop of ``crop`` frames, drawn by (seed, recording); a shorter one is repeated.

    Attributes:
        features: for each recording float32 of shape (64, t).
        labels, ids, groups: as in :class:`~bnnlib.data.Split`.
        crop: frames of a training crop.
        batch: how many are judged at once.
    """

    features: tuple[np.ndarray, ...]
    labels: Tensor
    ids: Tensor
    groups: Tensor
    crop: int = 300
    batch: int = 32

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, index: Index = slice(None), draw: Generator | None = None) -> Tensor:
        rows = np.arange(len(self))[index if isinstance(index, slice) else index.numpy()]
        return joined([self._seen(int(row), draw) for row in rows])

    def _seen(self, row: int, draw: Generator | None) -> np.ndarray:
        features = self.features[row]
        if draw is None:
            return features
        if features.shape[1] < self.crop:
            return np.resize(features.T, (self.crop, len(features))).T
        rng = np.random.default_rng((draw.initial_seed(), int(self.ids[row])))
        first = int(rng.integers(0, features.shape[1] - self.crop + 1))
        return features[:, first : first + self.crop]


def read_feature_lists(
    train: Path | str, test: Path | str | None = None, *, crop: int = 300, held_out: float = 0.2
) -> Splits:
    """Reads lists of features for :class:`~bnnlib.models.BinaryBiometrics`.

    The features reach the network as they are, for the file of its signs has no place for a mean or a scale: who wants
    other ones scales the files.

    Args:
        train, test: the lists; without a second one there is no test split.
        crop: frames of a training crop, at least 57.
        held_out: share of the training list that validates: whole speakers where the list names them, else recordings.

    Warns if a speaker, or a file, of the training list is in the test list too.

    Raises:
        DataNotFound: a list or a file is missing.
        DataCorrupt: a line or a file is not as described above, or a speaker has both labels; the message names it.
        ValueError: crop or share out of range, or a class of which too few are left.
    """
    if type(crop) is not int or crop < LEAST_FRAMES:
        raise ValueError(f"crop must be a whole number of at least {LEAST_FRAMES} frames, received {crop!r}")
    if not 0 < held_out < 1:
        raise ValueError(f"held_out must lie between 0 and 1, received {held_out}")
    rows = _rows(Path(train))
    tests = [] if test is None else _rows(Path(test))
    if shared := sorted({row.heard_in for row in rows} & {row.heard_in for row in tests}):
        warnings.warn(
            f"{test} has what {train} has as well ({len(shared)}, the first: {shared[0]}): such a test flatters",
            stacklevel=2,
        )
    held = set()
    for label in (0, 1):
        # in an order that has nothing to do with the names
        speakers = sorted({row.speaker for row in rows if row.label == label}, key=number)
        if len(speakers) < 2:
            raise ValueError(f"{train}: two {CLASSES[label]} speakers or more are needed, found {len(speakers)}")
        held.update(speakers[: min(len(speakers) - 1, max(1, round(held_out * len(speakers))))])
    parts = [[row for row in rows if (row.speaker in held) == validates] for validates in (False, True)]
    tested = None if test is None else _split(tests, crop)
    return Splits(
        "FeatureLists",
        f"features of {train}, {len(parts[0])} to train on, {len(parts[1])} held out, crop {crop}",
        CLASSES,
        *(_split(part, crop) for part in parts),
        tested,
    )


@dataclass(frozen=True)
class _Row:
    """A line of a list; without a third column each recording is a speaker of its own, and has its name."""

    file: Path
    name: str
    label: int
    speaker: str

    @property
    def heard_in(self) -> str:
        """The speaker, or the file where none is named."""
        return str(self.file.resolve()) if self.speaker == self.name else f"speaker {self.speaker}"


def _rows(path: Path) -> list[_Row]:
    if not path.is_file():
        raise DataNotFound(f"no list {path}: a line for each recording, with the file's name, a tab and the label")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataCorrupt(f"{path} is no text in UTF-8: {error}") from error
    rows: list[_Row] = []
    label_of: dict[str, int] = {}
    for at, line in enumerate(text.splitlines(), start=1):
        cells = [cell.strip() for cell in line.split("\t")]
        if at == 1 and len(cells) > 1 and cells[1].lower() in HEADERS:
            continue
        if len(cells) not in (2, 3) or not cells[0] or cells[1].lower() not in LABELS:
            raise DataCorrupt(
                f"{path}, line {at}: must be a file, a tab, a label ({', '.join(LABELS)}) and perhaps a tab and a "
                f"speaker; received {line[:60]!r}"
            )
        file = path.parent / (cells[0] if cells[0].endswith(".npy") else f"{cells[0]}.npy")
        row = _Row(file, cells[0], LABELS[cells[1].lower()], cells[2] if len(cells) == 3 else cells[0])
        if label_of.setdefault(row.speaker, row.label) != row.label:
            raise DataCorrupt(f"{path}, line {at}: {row.speaker} has both labels")
        rows.append(row)
    if not rows:
        raise DataCorrupt(f"{path} names no recording")
    return rows


def _split(rows: list[_Row], crop: int) -> FeatureSplit:
    read = sorted(((_features(row.file), row) for row in rows), key=lambda pair: (pair[0].shape[1], pair[1].name))
    return FeatureSplit(
        tuple(features for features, _ in read),
        torch.tensor([row.label for _, row in read]),
        torch.tensor([number(row.name) for _, row in read]),
        torch.tensor([number(row.speaker) for _, row in read]),
        crop,
    )


def _features(file: Path) -> np.ndarray:
    if not file.is_file():
        raise DataNotFound(f"{file} is missing: the list names it")
    try:
        values = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError, BadZipFile) as error:
        raise DataCorrupt(f"{file} is no .npy file of numbers: {error}") from error
    if not isinstance(values, np.ndarray):
        raise DataCorrupt(f"{file} is no .npy file of numbers but an archive of several")
    if values.ndim != 2 or values.shape[0] != BANDS or values.shape[1] < LEAST_FRAMES or values.dtype.kind not in "fiu":
        raise DataCorrupt(
            f"{file} must hold numbers of shape ({BANDS}, t) with t >= {LEAST_FRAMES}, received {values.dtype} of "
            f"shape {values.shape}"
        )
    with np.errstate(over="ignore"):  # what float32 can't hold is infinite, and refused
        values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise DataCorrupt(f"{file} holds NaN or infinity")
    return values

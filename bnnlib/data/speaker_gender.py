"""Speakers' gender from whole sentences: log-mel pictures of the length that each sentence has.

Every picture is levelled: its 99th percentile is 0 dB, and what lies more than 60 dB below is not told apart. Levelled
pictures are kept in quarter decibels, one byte each. What a network sees is standardised by band and rounded to
whole 32nds (:func:`bnnlib.packed.biometrics.feature_codes`), so that its sums are exact in any order of addition.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from typing import Literal

import numpy as np
import torch
from torch import Generator, Tensor

from bnnlib.data import cache, samples, sources
from bnnlib.data.features import LogMel
from bnnlib.data.speech import FOLDS, balanced, bar, number
from bnnlib.data.speechocean import ADULT, Corpus, Utterance, open_corpus
from bnnlib.data.splits import Index, Splits
from bnnlib.packed.biometrics import FRACTION, LEAST_FRAMES, feature_codes

__all__ = ["AUGMENTATIONS", "CLASSES", "CONTRADICTING", "FEATURES", "UtteranceSplit", "load_speaker_gender"]

NAME = "SpeakerGender"
CLASSES = ("female", "male")
FEATURES = LogMel(window=400, hop=160, transform=512, bands=64, low=60.0, high=4_000.0, frames=None)
FLOOR = 60.0  # dB below the level
SECONDS = (1, 2, 4)  # of the test sentences' middles, beside the whole ones
STEPS = 4  # a decibel has four

# Adults whose pitch contradicts the corpus's label by the rule that the study `speaker-gender` states: labelled male
# with a median pitch above 195 Hz, or female below 150 Hz. Nobody has listened to them.
CONTRADICTING = frozenset({"2355", "2380", "2430", "2451", "2917", "2937", "3023"})


@dataclass(frozen=True)
class Augmentation:
    """How the crops of training sentences are changed, each anew in every epoch; all in decibels.

    Attributes:
        gain: largest change of the level, each way.
        tilt: largest change at the lowest and, with the other sign, at the highest band.
        noise: smallest and largest level of a noise that is added, itself tilted; None for none.
    """

    gain: float = 0.0
    tilt: float = 0.0
    noise: tuple[float, float] | None = None


AUGMENTATIONS = {
    "none": Augmentation(),
    "gain-tilt-noise": Augmentation(gain=3.0, tilt=6.0, noise=(-90.0, -20.0)),
}


@dataclass(frozen=True)
class UtteranceSplit:
    """Sentences of different lengths; see :class:`~bnnlib.data.Split`.

    With a generator each sentence gives a crop of ``crop`` frames, drawn and changed by (seed, sentence); a shorter one
    is repeated. Without one it is whole: a batch is as long as its longest, and NaN stands where another has ended.

    Attributes:
        pictures: for each sentence uint8 of shape (frames, 64), in quarter decibels above -60 dB.
        positions: int64, shape (N,): the sentence of each sample; one may occur several times.
        labels, ids, groups: as in :class:`~bnnlib.data.Split`; groups are speakers.
        mean, deviation: float32, shape (64,): of the levelled pictures in dB, for standardising.
        crop: frames of a training crop; 100 are a second.
        augmentation: what else a generator changes.
        seconds: if given, only the middle of each sentence is taken, that long (whole where it is shorter).
        batch: how many are judged at once: sorted by length, so few are nearly as long as the longest of them.
        ages: int64, shape (N,): of the speakers, in years; None where it isn't known.
    """

    pictures: Sequence[np.ndarray]
    positions: np.ndarray
    labels: Tensor
    ids: Tensor
    groups: Tensor
    mean: np.ndarray
    deviation: np.ndarray
    crop: int = 300
    augmentation: Augmentation = AUGMENTATIONS["none"]
    seconds: float | None = None
    batch: int = 32
    ages: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, index: Index = slice(None), draw: Generator | None = None) -> Tensor:
        rows = np.arange(len(self))[index if isinstance(index, slice) else index.numpy()]
        pictures = [self.pictures[self.positions[row]] for row in rows]
        if draw is not None:
            ids = self.ids.numpy()
            rngs = [np.random.default_rng((draw.initial_seed(), int(ids[row]), int(row))) for row in rows]
            seen = [self._changed(decibels(p), rng) for p, rng in zip(pictures, rngs, strict=True)]
        else:
            seen = [decibels(self._middle(picture)) for picture in pictures]
        codes = (feature_codes((picture - self.mean) / self.deviation).T for picture in seen)
        return joined([each.astype(np.float32) / FRACTION for each in codes])

    def _middle(self, picture: np.ndarray) -> np.ndarray:
        if self.seconds is None:
            return picture
        frames = round(100 * self.seconds)
        first = max(0, len(picture) - frames) // 2
        return picture[first : first + frames]

    def _changed(self, picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        first = int(rng.integers(0, max(0, len(picture) - self.crop) + 1))
        picture = picture[first : first + self.crop]
        if len(picture) < self.crop:
            picture = np.resize(picture, (self.crop, picture.shape[1]))
        wanted = self.augmentation
        slope = np.linspace(1, -1, picture.shape[1], dtype=np.float32)
        if wanted.tilt or wanted.gain:
            picture = picture + rng.uniform(-1, 1) * wanted.tilt * slope + rng.uniform(-1, 1) * wanted.gain
        if wanted.noise is not None:
            noise = rng.uniform(*wanted.noise) + rng.uniform(-1, 1) * wanted.tilt * slope
            picture = 10 * np.log10(10 ** (picture / 10) + 10 ** (noise / 10))
        return np.clip(picture, -FLOOR, 255 / STEPS - FLOOR, dtype=np.float32)


def joined(recordings: Sequence[np.ndarray]) -> Tensor:
    """Recordings (bands, t) of different lengths as one batch, with NaN where one has ended."""
    batch = np.full(
        (len(recordings), len(recordings[0]), max(each.shape[1] for each in recordings)), np.nan, np.float32
    )
    for row, each in zip(batch, recordings, strict=True):
        row[:, : each.shape[1]] = each
    return torch.from_numpy(batch)


def decibels(picture: np.ndarray) -> np.ndarray:
    """A kept picture in dB, float32."""
    return picture.astype(np.float32) / STEPS - FLOOR


def levelled(picture: np.ndarray) -> np.ndarray:
    """A log-mel picture as it is kept: 0 dB at its 99th percentile, uint8, quarter decibels above -60 dB."""
    level = np.percentile(picture, 99)
    return np.clip(np.rint((picture - level + FLOOR) * STEPS), 0, 255).astype(np.uint8)


def load_speaker_gender(
    profile: Literal["quick", "full"] = "quick",
    *,
    test: bool = True,
    progress: bool = False,
    split: Literal["official", "tuning", "cross-validation"] = "official",
    fold: int = 0,
    labels: Literal["all", "agreeing"] = "all",
    speakers: int | None = None,
    crop: int = 300,
    augment: str = "none",
    balance: bool = True,
) -> Splits:
    """Adults who read English sentences, female (0) or male (1): pictures of shape (64, t), 100 frames a second.

    Args:
        profile: ``"quick"``, the built-in sample of pictures, or ``"full"``, the corpus
            (:mod:`bnnlib.data.speechocean`).
        test: False leaves the test sentences unread, for tuning.
        progress: show a bar while decoding.
        split: ``"official"``: train on the corpus's training speakers, test on its test speakers; the speakers under 17
            of both are the validation split, on which nothing may be chosen (``Settings.select="last"``).
            ``"tuning"``: the training speakers alone, a fifth of them validates, no test split.
            ``"cross-validation"``: all adults, of both splits; a fifth of them validates, no test split.
        fold: which fifth, 0..4; men and women are dealt out evenly.
        labels: ``"all"`` as the corpus has them, or ``"agreeing"``, without the speakers of :data:`CONTRADICTING`.
        speakers: train on so many, as many men as women as far as there are; smaller sets are contained in larger ones.
        crop: frames of a training crop, at least 57.
        augment: of training crops; a key of :data:`AUGMENTATIONS`.
        balance: repeat training sentences of the rarer class until both are equally frequent.

    Returns:
        Splits standardised by the training sentences' mean and deviation of each band. Sentences are sorted by length,
        so that a batch of whole ones holds little that is empty; ``groups`` are speakers. ``extra`` are the middles of
        the test sentences, 1, 2 and 4 seconds long.

    Raises:
        ValueError: an unknown value (the known ones are listed).
        DataNotFound, DataCorrupt: see :mod:`bnnlib.data.speechocean`.
    """
    for name, value, known in (
        ("split", split, ("official", "tuning", "cross-validation")),
        ("labels", labels, ("all", "agreeing")),
        ("augment", augment, tuple(AUGMENTATIONS)),
        ("fold", fold, tuple(range(FOLDS))),
    ):
        if value not in known:
            raise ValueError(f"no {name} {value!r} of {NAME}; known: {', '.join(map(str, known))}")
    if type(crop) is not int or crop < LEAST_FRAMES:
        raise ValueError(f"crop must be a whole number of at least {LEAST_FRAMES} frames, received {crop!r}")
    if not isinstance(balance, bool):
        raise ValueError(f"balance must be True or False, received {balance!r}")
    test = test and split == "official"
    if profile == "quick":
        utterances, pictures = _sample()
        corpus = "sample"
    else:
        found = open_corpus()
        corpus, utterances = f"{found.kind} {found.fingerprint[:12]}", found.utterances
    chosen = _chosen(utterances, split, fold, labels, speakers)
    if not test:
        chosen.pop("test")
    if profile == "full":
        pictures = pictures_of(found, [each for part in chosen.values() for each in part], progress)
    training = [pictures[each.path] for each in chosen["train"]]
    mean, deviation = _statistics(training)

    def made(part: Sequence[Utterance], training: bool = False) -> UtteranceSplit:
        part = sorted(part, key=lambda each: (len(pictures[each.path]), each.path))
        label = np.array([int(each.gender == "m") for each in part])
        at = balanced(label) if training and balance else np.arange(len(part))
        return UtteranceSplit(
            [pictures[each.path] for each in part],
            at,
            torch.from_numpy(label[at].astype(np.int64)),
            torch.tensor([number(part[i].path) for i in at]),
            torch.tensor([int(part[i].speaker) for i in at]),
            mean,
            deviation,
            crop,
            AUGMENTATIONS[augment if training else "none"],
            ages=torch.tensor([part[i].age for i in at]),
        )

    train = made(chosen["train"], training=True)
    by = split if split == "official" else f"{split}, fold {fold}"
    heard = len({each.speaker for each in chosen["train"]})
    description = (
        f"{NAME}, {profile}, {corpus}, {by}, labels {labels}, {heard} training speakers, {FEATURES}, "
        f"{len(train)} training samples, crop {crop}, augment {AUGMENTATIONS[augment]}"
    )
    tested = made(chosen["test"]) if test else None
    shorter = {f"{seconds} s": replace(tested, seconds=seconds) for seconds in SECONDS} if test else {}
    return Splits(NAME, description, CLASSES, train, made(chosen["validation"]), tested, shorter)


def _chosen(
    utterances: Iterable[Utterance], split: str, fold: int, labels: str, speakers: int | None
) -> dict[str, list[Utterance]]:
    """The sentences of each part."""
    utterances = list(utterances)
    if labels == "agreeing":
        utterances = [each for each in utterances if each.speaker not in CONTRADICTING]
    adults = [each for each in utterances if each.age >= ADULT]
    if split == "official":
        train = [each for each in adults if each.split == "train"]
        validation = [each for each in utterances if each.age < ADULT]
        tested = [each for each in adults if each.split == "test"]
    else:
        among = [each for each in adults if split == "cross-validation" or each.split == "train"]
        held = {speaker for gender in "fm" for speaker in _dealt(among, gender)[fold::FOLDS]}
        train = [each for each in among if each.speaker not in held]
        validation = [each for each in among if each.speaker in held]
        tested = []
    if speakers is not None:
        women, men = (_dealt(train, gender) for gender in "fm")
        if type(speakers) is not int or not 2 <= speakers <= len(women) + len(men):
            raise ValueError(f"speakers must be a whole number in 2..{len(women) + len(men)}, received {speakers!r}")
        of_men = min(speakers // 2, len(men))
        of_men = max(of_men, speakers - len(women))
        kept = {*men[:of_men], *women[: speakers - of_men]}
        train = [each for each in train if each.speaker in kept]
    return {"train": train, "validation": validation, "test": tested}


def _dealt(utterances: Iterable[Utterance], gender: str) -> list[str]:
    """Speakers of a gender in an order that has nothing to do with them."""
    return sorted({each.speaker for each in utterances if each.gender == gender}, key=number)


def pictures_of(corpus: Corpus, wanted: Sequence[Utterance], progress: bool) -> dict[str, np.ndarray]:
    """Levelled pictures by path, through the cache: a file for each speaker, so that an interrupted call goes on."""
    by_speaker: dict[str, list[Utterance]] = {}
    for each in wanted:
        by_speaker.setdefault(each.speaker, []).append(each)
    found: dict[str, np.ndarray] = {}
    left: dict[str, list[Utterance]] = {}
    for speaker, spoken in by_speaker.items():
        kept = cache.read("pictures", _key(corpus, spoken))
        if kept is None:
            left[speaker] = spoken
        else:
            ends = np.cumsum(kept["frames"])[:-1]
            found |= dict(zip((each.path for each in spoken), np.split(kept["pictures"], ends), strict=True))
    paths = {each.path: speaker for speaker, spoken in left.items() for each in spoken}
    for path, sound in bar(corpus.read(paths), len(paths), "decoding", progress):
        found[path] = levelled(FEATURES(sound[None])[0])
        if len(found[path]) < LEAST_FRAMES:
            raise sources.DataCorrupt(
                f"{path} in {corpus.place} is {len(sound) / 16_000:.2f} seconds long; at least "
                f"{LEAST_FRAMES / 100} are needed"
            )
        spoken = left[paths[path]]
        if all(each.path in found for each in spoken):
            parts = [found[each.path] for each in spoken]
            arrays = {"pictures": np.concatenate(parts), "frames": np.array([len(part) for part in parts])}
            cache.write("pictures", _key(corpus, spoken), arrays)
    return found


def _key(corpus: Corpus, spoken: Sequence[Utterance]) -> dict:
    names = number("\n".join(each.path for each in spoken))
    kind = {**asdict(FEATURES), "librosa": version("librosa"), "floor of the level": FLOOR, "steps": STEPS}
    return {"corpus": corpus.fingerprint, "clips": names, **kind}


def _statistics(pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each band over all frames, in dB; from whole numbers, so exact in any order."""
    frames = sum(map(len, pictures))
    total = sum(p.sum(0, dtype=np.int64) for p in pictures)
    squares = sum(np.square(p.astype(np.int64)).sum(0) for p in pictures)
    mean = total / frames
    deviation = np.sqrt(np.maximum(squares / frames - mean**2, 1.0))
    return (mean / STEPS - FLOOR).astype(np.float32), (deviation / STEPS).astype(np.float32)


def _sample() -> tuple[tuple[Utterance, ...], dict[str, np.ndarray]]:
    """The built-in pictures, with what the corpus says of them."""
    with np.load(samples.find(NAME, "pictures.npz"), allow_pickle=False) as file:
        kept = {name: file[name] for name in file.files}
    utterances = tuple(
        Utterance(path, path.split("/")[0], str(gender), int(age), str(part))
        for path, gender, age, part in zip(
            kept["paths"].tolist(), kept["genders"], kept["ages"], kept["splits"], strict=True
        )
    )
    parts = np.split(kept["pictures"], np.cumsum(kept["frames"])[:-1])
    return utterances, dict(zip((each.path for each in utterances), parts, strict=True))

"""Spoken words as a data set: ten words, or one wake word against everything else.

Validation and test clips become features once; training clips are kept as sound, because augmentation changes the sound
and features are computed after it.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from torch import Generator, Tensor

from bnnlib.data import cache, samples, speech_commands
from bnnlib.data.features import FULL_SCALE, LENGTH, MFCC, RATE, LogMel, fitted
from bnnlib.data.speech_commands import COMMANDS, NOISE, PACK_WORDS, SPLITS, Clip, Corpus, open_corpus, split_of
from bnnlib.data.splits import Index, Splits, TensorSplit, checked_size

__all__ = ["AUGMENTATIONS", "FEATURES", "TASKS", "Augmentation", "SoundSplit", "load_speech"]

TASKS = ("words", "wake-word")
FEATURES = {"log-mel": LogMel(), "mfcc": MFCC()}
FOLDS = 5  # of cross-validation
ENOUGH = 100  # training clips of a word that can be learnt
# Shares of each noise recording's time: what is trained on is never tested on.
NOISE_PARTS = {"training": (0.0, 0.6), "validation": (0.6, 0.8), "testing": (0.8, 1.0)}
NOISE_GAINS = (1.0, 0.1)


@dataclass(frozen=True)
class Augmentation:
    """How training clips are changed, each anew in every epoch.

    Attributes:
        shift: largest shift in milliseconds, each way; what is left open is silent.
        noise: share of the clips to which a training noise is added.
        snr: smallest and largest ratio of the clip's power to the noise's, in dB, drawn evenly.
        time_mask, band_mask: largest number of frames and of bands that are blanked (SpecAugment, arXiv:1904.08779,
            without warping), drawn evenly from 0 on; blank is the training mean.
    """

    shift: float = 0.0
    noise: float = 0.0
    snr: tuple[float, float] = (5.0, 30.0)
    time_mask: int = 0
    band_mask: int = 0


AUGMENTATIONS: dict[str, Augmentation] = {
    "none": Augmentation(),
    "shift": Augmentation(shift=100.0),
    "shift-noise": Augmentation(shift=100.0, noise=0.8),
    "shift-noise-masks": Augmentation(shift=100.0, noise=0.8, time_mask=8, band_mask=6),
}


@dataclass(frozen=True)
class SoundSplit:
    """Training clips as sound, whose features are computed when they are asked for; see :class:`~bnnlib.data.Split`.

    What augmentation draws for a clip depends on the generator's seed (a training seeds it anew in every epoch) and on
    the clip, not on the clips beside it or on the batch.

    Attributes:
        sounds: int16, shape (clips, 16000): each clip once.
        positions: int64, shape (N,): the clip of each sample; a clip may occur several times.
        labels, ids, groups: as in :class:`~bnnlib.data.Split`.
        features: LogMel or MFCC.
        mean, deviation: float32, shape (bands,): of the features, for normalising.
        augmentation: what is changed if a generator is given.
        noises: float32, recordings with full scale 1 from which noise is cut.
    """

    sounds: np.ndarray
    positions: np.ndarray
    labels: Tensor
    ids: Tensor
    groups: Tensor | None
    features: LogMel | MFCC
    mean: np.ndarray
    deviation: np.ndarray
    augmentation: Augmentation = AUGMENTATIONS["none"]
    noises: tuple[np.ndarray, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, index: Index = slice(None), draw: Generator | None = None) -> Tensor:
        rows = np.arange(len(self))[index if isinstance(index, slice) else index.numpy()]
        sounds = self.sounds[self.positions[rows]].astype(np.float32) / FULL_SCALE
        drawn = []
        if draw is not None and self.augmentation != AUGMENTATIONS["none"]:
            ids = self.ids.numpy()
            for at, row in enumerate(rows):
                # rows with the same clip draw differently
                drawn.append(np.random.default_rng((draw.initial_seed(), int(ids[row]), int(row))))
                sounds[at] = self._changed(sounds[at], drawn[at])
        pictures = (self.features(sounds) - self.mean) / self.deviation
        for picture, rng in zip(pictures, drawn, strict=False):
            for axis, most in enumerate((self.augmentation.time_mask, self.augmentation.band_mask)):
                width = int(rng.integers(0, most + 1)) if most else 0
                first = int(rng.integers(0, picture.shape[axis] - width + 1))
                picture[(slice(None),) * axis + (slice(first, first + width),)] = 0
        return torch.from_numpy(pictures).unsqueeze(1)

    def _changed(self, sound: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        wanted = self.augmentation
        if wanted.shift:
            most = round(wanted.shift * RATE / 1000)
            sound = shifted(sound, int(rng.integers(-most, most + 1)))
        if self.noises and rng.random() < wanted.noise:
            noise = self.noises[rng.integers(len(self.noises))]
            first = rng.integers(0, len(noise) - len(sound) + 1)
            sound = with_noise(sound, noise[first : first + len(sound)], rng.uniform(*wanted.snr))
        return sound


def shifted(sound: np.ndarray, by: int) -> np.ndarray:
    """A sound ``by`` samples later (earlier if negative), silent where nothing is left."""
    moved = np.zeros_like(sound)
    if by >= 0:
        moved[by:] = sound[: len(sound) - by]
    else:
        moved[:by] = sound[-by:]
    return moved


def with_noise(sound: np.ndarray, noise: np.ndarray, snr: float) -> np.ndarray:
    """A sound with noise added whose power is ``snr`` dB below its own; as it is where either is silent."""
    own, other = float(np.mean(np.square(sound))), float(np.mean(np.square(noise)))
    if own == 0 or other == 0:
        return sound
    return np.clip(sound + noise * np.float32((own / other * 10 ** (-snr / 10)) ** 0.5), -1, 1)


def load_speech(
    profile: Literal["quick", "full"] = "quick",
    *,
    test: bool = True,
    progress: bool = False,
    task: Literal["words", "wake-word"] = "words",
    words: str | Sequence[str] | None = None,
    features: Literal["log-mel", "mfcc"] = "log-mel",
    augment: str = "none",
    balance: bool = True,
    split: Literal["speaker", "speaker-redrawn", "clip"] = "speaker",
    fold: int | None = None,
    train_size: int | None = None,
) -> Splits:
    """Speech Commands: one-second clips as pictures of shape (1, 50, 40) or, as MFCC, (1, 50, 13).

    Args:
        profile: ``"quick"``, the built-in sample, or ``"full"``, what is found where data is looked for: the official
            set, or a pack of it.
        test: False leaves the test clips unread, for tuning.
        progress: show a bar while decoding.
        task: ``"words"``, a class for each of ``words`` and nothing else, or ``"wake-word"``, the one word in ``words``
            (class 1) against all other words and noise (class 0).
        words: names, in a list or with spaces between them. By default, the official ten commands where the set has
            enough clips of each, else the ten of the reduced pack; for the wake word ``"happy"``.
        features: ``"log-mel"`` or ``"mfcc"``.
        augment: of training clips; a key of :data:`AUGMENTATIONS`.
        balance: whether the wake word's training clips are repeated until both classes are equally frequent.
        split: ``"speaker"``, the official one; ``"clip"``, which lets a speaker be in several splits; or
            ``"speaker-redrawn"``, all speakers dealt anew in the shares of ``"clip"``, to compare that with.
        fold: 0..4, for cross-validation: the speakers of the training and validation splits together are divided into
            five parts; that part validates and the others train. The test split stays what it is.
        train_size: use only that many training clips of words (the wake word's noise comes besides); smaller sets are
            contained in larger ones.

    Returns:
        Splits normalised by the training clips' mean and deviation of each band; ``groups`` are speakers.

    Raises:
        ValueError: an unknown value (the known ones are listed), a word without clips, a ``train_size`` outside 1..N,
            a fold of a split by clips.
        DataNotFound, DataCorrupt: see :mod:`bnnlib.data.sources` and :mod:`bnnlib.data.speech_commands`.
    """
    for name, value, known in (
        ("task", task, TASKS),
        ("features", features, tuple(FEATURES)),
        ("augment", augment, tuple(AUGMENTATIONS)),
        ("split", split, ("speaker", "speaker-redrawn", "clip")),
    ):
        if value not in known:
            raise ValueError(f"no {name} {value!r} of speech; known: {', '.join(known)}")
    if fold is not None and (split != "speaker" or fold not in range(FOLDS)):
        raise ValueError(f"fold must be in 0..{FOLDS - 1}, of a split by speaker; received {fold!r}, split by {split}")
    corpus = open_corpus(samples.folder(speech_commands.NAME)) if profile == "quick" else open_corpus(progress=progress)
    chosen = _chosen(corpus, task, words)
    sounds = _Sounds(corpus, progress)
    kind = FEATURES[features]

    by_split: dict[str, list[Clip]] = defaultdict(list)
    for clip in corpus.clips:
        if task == "wake-word" or clip.word in chosen:
            by_split[_part(clip, split, fold)].append(clip)
    wanted = SPLITS if test else SPLITS[:2]
    for part in wanted:
        if missing := [word for word in chosen if word not in {clip.word for clip in by_split[part]}]:
            raise ValueError(f"there are no {part} clips of {', '.join(missing)} in {corpus.place}")
    sounds.prepare([clip for part in wanted for clip in by_split[part]])

    def label(clip: Clip) -> int:
        return int(clip.word == chosen[0]) if task == "wake-word" else chosen.index(clip.word)

    def extra(part: str) -> list[tuple[str, np.ndarray]]:
        return sounds.noise_clips(part) if task == "wake-word" else []

    train = by_split["training"]
    if train_size is not None:
        checked_size(train_size, len(train))
        order = np.random.default_rng(0).permutation(len(train))
        train = [train[i] for i in order[:train_size]]
    noise = extra("training")
    values = [sounds.of(clip) for clip in train] + [sound for _, sound in noise]
    names = [(clip.path, clip.speaker) for clip in train] + [(name, name) for name, _ in noise]
    labels = np.array([label(clip) for clip in train] + [0] * len(noise))
    if task == "wake-word" and not labels.any():
        raise ValueError(f"train_size {train_size} leaves no clip of {chosen[0]!r} to train on; take more")
    mean, deviation = sounds.statistics(kind, [name for name, _ in names], values)
    positions = np.arange(len(labels))
    if task == "wake-word" and balance:
        positions = balanced(labels)
    training = SoundSplit(
        np.stack(values),
        positions,
        torch.from_numpy(labels[positions].astype(np.int64)),
        torch.tensor([number(names[at][0]) for at in positions]),
        torch.tensor([number(names[at][1]) for at in positions]),
        kind,
        mean,
        deviation,
        AUGMENTATIONS[augment],
        sounds.noises("training"),
    )

    def prepared(part: str) -> TensorSplit:
        clips, more = by_split[part], extra(part)
        pictures = sounds.features(kind, clips)
        if more:
            pictures = np.concatenate([pictures, kind(np.stack([sound for _, sound in more]))])
        return TensorSplit(
            torch.from_numpy((pictures - mean) / deviation).unsqueeze(1),
            torch.tensor([label(clip) for clip in clips] + [0] * len(more)),
            torch.tensor([number(clip.path) for clip in clips] + [number(name) for name, _ in more]),
            torch.tensor([number(clip.speaker) for clip in clips] + [number(name) for name, _ in more]),
        )

    by = split if fold is None else f"{split}, fold {fold}"
    description = (
        f"SpeechCommands, {profile}, {corpus.kind} {corpus.fingerprint[:12]}, {task} {' '.join(chosen)}, {kind}, "
        f"{len(training)} training samples split by {by}, augment {AUGMENTATIONS[augment]}"
    )
    classes = ("other", chosen[0]) if task == "wake-word" else chosen
    tested = prepared("testing") if test else None
    return Splits(speech_commands.NAME, description, classes, training, prepared("validation"), tested)


def _part(clip: Clip, split: str, fold: int | None) -> str:
    """The split that a clip is in."""
    if split != "speaker":
        return split_of(clip.path if split == "clip" else f"again {clip.speaker}")
    if fold is None or clip.split == "testing":
        return clip.split
    return "validation" if number(clip.speaker) % FOLDS == fold else "training"


def _chosen(corpus: Corpus, task: str, words: str | Sequence[str] | None) -> tuple[str, ...]:
    if words is not None:
        chosen = tuple(words.split() if isinstance(words, str) else words)
    elif task == "wake-word":
        chosen = ("happy",)
    else:
        count = defaultdict(int)
        for clip in corpus.clips:
            count[clip.word] += clip.split == "training"
        most = max(count.values())
        least = min(ENOUGH, most)  # a small sample has fewer of every word
        chosen = COMMANDS if all(count[word] >= least for word in COMMANDS) else PACK_WORDS
    if unknown := [word for word in chosen if word not in corpus.words]:
        raise ValueError(f"no clips of {', '.join(unknown)}; there are {', '.join(corpus.words)}")
    if len(set(chosen)) != len(chosen) or (len(chosen) != 1 if task == "wake-word" else len(chosen) < 2):
        wanted = "one word" if task == "wake-word" else "at least two different words"
        raise ValueError(f"task {task!r} takes {wanted}, received {words!r}")
    return chosen


class _Sounds:
    """Decoded clips of a corpus, and their features, through the cache: a file for each word and split."""

    def __init__(self, corpus: Corpus, progress: bool):
        self.corpus = corpus
        self.progress = progress
        self._sounds: dict[str, np.ndarray] = {}
        self._noises: dict[str, np.ndarray] = {}

    def _key(self, piece: Sequence[Clip], **more: Any) -> dict[str, Any]:
        clips = number("\n".join(clip.path for clip in piece))
        return {"corpus": self.corpus.fingerprint, "word": piece[0].word, "clips": clips, "length": LENGTH, **more}

    def prepare(self, clips: Sequence[Clip]) -> None:
        """Decodes what the cache lacks; a word at a time, so that an interrupted call goes on where it was."""
        pieces = _pieces(clips)
        for piece in pieces.values():
            kept = cache.read("sounds", self._key(piece))
            if kept is not None:
                self._sounds |= dict(zip((clip.path for clip in piece), kept["sounds"], strict=True))
        left = {at: {clip.path for clip in piece} for at, piece in pieces.items() if piece[0].path not in self._sounds}
        where = {path: at for at, paths in left.items() for path in paths}
        for path, sound in bar(self.corpus.read(where), len(where), "decoding", self.progress):
            self._sounds[path] = fitted(sound)
            at = where[path]
            left[at].discard(path)
            if not left[at]:
                sounds = np.stack([self._sounds[clip.path] for clip in pieces[at]])
                cache.write("sounds", self._key(pieces[at]), {"sounds": sounds})

    def of(self, clip: Clip) -> np.ndarray:
        return self._sounds[clip.path]

    def features(self, kind: LogMel | MFCC, clips: Sequence[Clip]) -> np.ndarray:
        """Features of clips in their order, float32 of shape (N, frames, bands)."""
        found: dict[str, np.ndarray] = {}
        for piece in _pieces(clips).values():
            key = self._key(piece, **_settings(kind))
            kept = cache.read("features", key)
            if kept is None:
                kept = {"features": kind(np.stack([self.of(clip) for clip in piece]))}
                cache.write("features", key, kept)
            found |= dict(zip((clip.path for clip in piece), kept["features"], strict=True))
        return np.stack([found[clip.path] for clip in clips])

    def statistics(self, kind: LogMel | MFCC, names: Sequence[str], sounds: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Mean and standard deviation of each band over those sounds, which have those names."""
        key = {"corpus": self.corpus.fingerprint, "names": number("\n".join(names)), **_settings(kind)}
        kept = cache.read("statistics", key)
        if kept is None:
            mean, deviation = _statistics(kind, sounds)
            kept = {"mean": mean, "deviation": deviation}
            cache.write("statistics", key, kept)
        return [kept["mean"], kept["deviation"]]

    def noises(self, part: str) -> tuple[np.ndarray, ...]:
        """That split's share of each noise recording, float32 with full scale 1."""
        if not self._noises:
            key = {"corpus": self.corpus.fingerprint, "noises": self.corpus.noises}
            self._noises = cache.read("noises", key) or {}
            if not self._noises and self.corpus.noises:
                # names of arrays in a file have no slashes
                self._noises = {path.rsplit("/", 1)[1]: noise for path, noise in self.corpus.read(self.corpus.noises)}
                cache.write("noises", key, self._noises)
        first, last = NOISE_PARTS[part]
        cut = (noise[round(first * len(noise)) : round(last * len(noise))] for _, noise in sorted(self._noises.items()))
        return tuple(noise.astype(np.float32) / FULL_SCALE for noise in cut if len(noise) >= LENGTH)

    def noise_clips(self, part: str) -> list[tuple[str, np.ndarray]]:
        """One-second clips of noise, each half a second after the other, loud and soft, and one of silence."""
        made = [(f"silence {part}", np.zeros(LENGTH, np.int16))]
        for number, noise in enumerate(self.noises(part)):
            for first in range(0, len(noise) - LENGTH + 1, LENGTH // 2):
                for gain in NOISE_GAINS:
                    sound = np.round(noise[first : first + LENGTH] * gain * FULL_SCALE).astype(np.int16)
                    made.append((f"{NOISE} {number} {part} {first} {gain:g}", sound))
        return made


def _settings(kind: LogMel | MFCC) -> dict[str, Any]:
    """All that features depend on but the sound."""
    return {"features": type(kind).__name__, **asdict(kind), "librosa": version("librosa")}


def _pieces(clips: Iterable[Clip]) -> dict[tuple[str, str], list[Clip]]:
    pieces: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in sorted(set(clips)):
        pieces[clip.word, clip.split].append(clip)
    return pieces


def _statistics(kind: LogMel | MFCC, sounds: Sequence[np.ndarray], batch: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each band over clips and frames."""
    total = squares = 0.0
    for first in range(0, len(sounds), batch):
        pictures = kind(np.stack(sounds[first : first + batch])).astype(np.float64)
        total, squares = total + pictures.sum((0, 1)), squares + np.square(pictures).sum((0, 1))
    count = len(sounds) * kind.shape[0]
    mean = total / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 1e-12))
    return mean.astype(np.float32), deviation.astype(np.float32)


def balanced(labels: np.ndarray) -> np.ndarray:
    """Positions of all samples of classes 0 and 1, the rarer ones repeated in turn until both are equally frequent."""
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    most = max(map(len, classes))
    return np.concatenate([np.resize(members, most) for members in classes if len(members)])


def number(name: str) -> int:
    """A number for a name, the same everywhere."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7])


def bar(items: Iterable, count: int, what: str, progress: bool) -> Iterable:
    if not progress or not count:
        return items
    from rich.progress import track

    return track(items, what, count)

"""Speech Commands as recordings: one-second words by many speakers, and noises, wherever and however they are stored.

P. Warden, *Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition*, 2018, arXiv:1804.03209, CC BY 4.0.
Three layouts hold the same thing:

- **pack**: tar files of FLAC (or Opus) clips beside a ``manifest.csv`` with the SHA-256 of each clip;
- **folder**: the official folders of WAV files, unpacked;
- **archive**: the official ``speech_commands_v0.02.tar.gz``.
"""

import hashlib
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bnnlib.data import cache, sources
from bnnlib.data.recordings import MANIFEST, Recordings, fingerprint, manifest

__all__ = ["COMMANDS", "NOISE", "PACK_WORDS", "SPLITS", "Clip", "Corpus", "open_corpus", "split_of"]

NAME = "SpeechCommands"
ARCHIVE = "speech_commands_v0.02.tar.gz"
NOISE = "_background_noise_"
SPLITS = ("training", "validation", "testing")
LISTS = {"validation": "validation_list.txt", "testing": "testing_list.txt"}
# The ten commands of the set's paper, and the ten words of which the reduced pack has enough clips to train.
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
PACK_WORDS = ("yes", "no", "up", "down", "left", "right", "stop", "go", "bed", "cat")


class Clip(NamedTuple):
    """One recording: its path in the official layout without the ending, and what follows from that."""

    path: str
    word: str
    speaker: str
    split: str


def split_of(speaker: str) -> str:
    """The official split of a speaker: by the SHA-1 of the id, so that it never changes and no one is in two.

    Source: arXiv:1804.03209, sec. 6; ``which_set`` of the set's own README: 10 percent validation, 10 testing.
    """
    number = int(hashlib.sha1(speaker.encode()).hexdigest(), 16) % 2**27
    percent = 100 * number / (2**27 - 1)
    return "validation" if percent < 10 else "testing" if percent < 20 else "training"


def clip_of(path: str) -> Clip:
    """What a path in the official layout says: ``happy/0ff728b5_nohash_1.wav``, with any ending.

    Raises:
        DataCorrupt: it is no such path.
    """
    stem = path.rsplit(".", 1)[0]
    word, _, name = stem.partition("/")
    speaker, mark, number = name.partition("_nohash_")
    if not (word and speaker and mark and number.isdigit()):
        raise sources.DataCorrupt(f"{path} is no path of Speech Commands, which are word/speaker_nohash_number.wav")
    return Clip(stem, word, speaker, split_of(speaker))


@dataclass(frozen=True)
class Corpus(Recordings):
    """What is there, before anything is decoded.

    Attributes:
        clips: every word clip, sorted by path.
        noises: paths of the long noise recordings, sorted.
    """

    clips: tuple[Clip, ...]
    noises: tuple[str, ...]

    @property
    def words(self) -> tuple[str, ...]:
        """The words that have clips, in alphabetical order."""
        return tuple(sorted({clip.word for clip in self.clips}))


def open_corpus(root: Path | None = None, *, progress: bool = False) -> Corpus:
    """The recordings at hand: below ``root``, or where data is looked for (see :mod:`bnnlib.data.sources`).

    Of the layouts in a folder the first of pack, folder and archive is taken; where none is found, the official archive
    (2.4 GB) is downloaded.

    Args:
        root: a folder that holds one of the layouts; by default ``SpeechCommands`` below the data roots.
        progress: show a bar while downloading.

    Raises:
        DataNotFound: there is nothing, and the archive can't be had.
        DataCorrupt: lists, manifest or names contradict the official split by speaker.
    """
    if root is not None:
        return _opened(Path(root)) or _nothing(Path(root))
    for place in (sources.data_folder(), sources.cache_folder()):
        if place is not None and (found := _opened(place / NAME)) is not None:
            return found
    return _archive(sources.fetch(NAME, ARCHIVE, progress=progress))


def _nothing(place: Path) -> Corpus:
    raise sources.DataNotFound(
        f"{place} holds no Speech Commands: neither {MANIFEST} with its tar files, nor the official folders with "
        f"{LISTS['testing']}, nor {ARCHIVE}"
    )


def _opened(place: Path) -> Corpus | None:
    if (place / MANIFEST).is_file():
        return _pack(place)
    if (place / LISTS["testing"]).is_file() and any(place.glob("*/*_nohash_*.wav")):
        return _folder(place)
    if (place / ARCHIVE).is_file():
        return _archive(place / ARCHIVE)
    return None


def _pack(place: Path) -> Corpus:
    files, clips, noises = {}, [], []
    for row in manifest(place, {"path", "word", "speaker", "split", "sha256", "tar"}):
        stem = row["path"].rsplit(".", 1)[0]
        files[stem] = (row["tar"] + "/" + row["path"], row["sha256"])
        if row["word"] == NOISE:
            noises.append(stem)
            continue
        clip = clip_of(row["path"])
        if (clip.word, clip.speaker, clip.split) != (row["word"], row["speaker"], row["split"]):
            raise sources.DataCorrupt(f"{place / MANIFEST} contradicts the official split: {row['path']} is {clip}")
        clips.append(clip)
    _check_lists(clips, _lists(place))
    digests = fingerprint(digest for _, digest in files.values())
    return Corpus("pack", place, digests, files, tuple(sorted(clips)), tuple(sorted(noises)))


def _folder(place: Path) -> Corpus:
    words = [str(path.relative_to(place)) for path in place.glob("*/*_nohash_*.wav")]
    noises = [str(path.relative_to(place)) for path in place.glob(f"{NOISE}/*.wav")]
    return _official("folder", place, words, noises, _lists(place))


def _archive(path: Path) -> Corpus:
    """The names alone. The archive is verified and read through once; its list of names is kept."""
    state = path.stat()
    key = {"archive": str(path.absolute()), "size": state.st_size, "changed": state.st_mtime_ns}
    kept = cache.read("archive", key)
    if kept is None:
        sources.verified(path, sources.source(NAME).files[ARCHIVE].sha256)
        kept = {"names": [], **{split: [] for split in LISTS}}
        with tarfile.open(path) as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if member.isfile() and name.endswith(".wav"):
                    kept["names"].append(name)
                for split, file in LISTS.items():
                    if name == file:
                        kept[split] = tar.extractfile(member).read().decode().split()
        kept = {part: np.array(names, dtype=str) for part, names in kept.items()}
        cache.write("archive", key, kept)
    names = kept["names"].tolist()
    noises = [name for name in names if name.startswith(NOISE)]
    lists = {split: set(kept[split].tolist()) for split in LISTS}
    return _official("archive", path, [name for name in names if "_nohash_" in name], noises, lists)


def _official(kind: str, place: Path, words: list[str], noises: list[str], lists: Mapping[str, set[str]]) -> Corpus:
    clips = [clip_of(name) for name in words]
    if not clips:
        raise sources.DataCorrupt(f"{place} holds no recordings of words")
    _check_lists(clips, lists)
    files = {name.rsplit(".", 1)[0]: (name, "") for name in words + noises}
    digest = hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()
    stems = tuple(sorted(name.rsplit(".", 1)[0] for name in noises))
    return Corpus(kind, place, digest, files, tuple(sorted(clips)), stems)


def _lists(place: Path) -> dict[str, set[str]]:
    return {split: set((place / file).read_text().split()) for split, file in LISTS.items() if (place / file).is_file()}


def _check_lists(clips: Iterable[Clip], lists: Mapping[str, set[str]]) -> None:
    """The official lists and the rule by speaker must agree on every clip that a list names."""
    listed = {name.rsplit(".", 1)[0]: split for split, names in lists.items() for name in names}
    for clip in clips:
        if listed.get(clip.path, clip.split) != clip.split:
            raise sources.DataCorrupt(
                f"{clip.path} is in the official {listed[clip.path]} list, but its speaker belongs to {clip.split}"
            )

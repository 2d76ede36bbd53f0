"""Speech Commands as recordings: one-second words by many speakers, and noises, wherever and however they are stored.

P. Warden, *Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition*, 2018, arXiv:1804.03209, CC BY 4.0.
Three layouts hold the same thing:

- **pack**: tar files of FLAC (or Opus) clips beside a ``manifest.csv`` with the SHA-256 of each clip;
- **folder**: the official folders of WAV files, unpacked;
- **archive**: the official ``speech_commands_v0.02.tar.gz``.
"""

import csv
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bnnlib.data import cache, sources
from bnnlib.data.features import RATE

__all__ = ["COMMANDS", "NOISE", "PACK_WORDS", "SPLITS", "Clip", "Corpus", "open_corpus", "split_of"]

NAME = "SpeechCommands"
ARCHIVE = "speech_commands_v0.02.tar.gz"
MANIFEST = "manifest.csv"
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
class Corpus:
    """What is there, before anything is decoded.

    Attributes:
        kind: "pack", "folder" or "archive".
        place: the folder, or the archive.
        clips: every word clip, sorted by path.
        noises: paths of the long noise recordings, sorted.
        fingerprint: changes with the set of clips, and in a pack with their content.
        files: path without its ending -> where it lies in the layout, and the SHA-256 of its content or "".
    """

    kind: str
    place: Path
    clips: tuple[Clip, ...]
    noises: tuple[str, ...]
    fingerprint: str
    files: Mapping[str, tuple[str, str]]

    @property
    def words(self) -> tuple[str, ...]:
        """The words that have clips, in alphabetical order."""
        return tuple(sorted({clip.word for clip in self.clips}))

    def read(self, paths: Iterable[str]) -> Iterator[tuple[str, np.ndarray]]:
        """Decoded recordings as (path, int16 samples), in the order in which they are stored.

        Raises:
            DataCorrupt: a recording is missing, empty, damaged, not of 16,000 Hz or not of one channel.
        """
        wanted = set(paths)
        for path, content in _CONTENTS[self.kind](self, wanted):
            digest = self.files[path][1]
            if digest and hashlib.sha256(content).hexdigest() != digest:
                raise sources.DataCorrupt(
                    f"{path} in {self.place} has another content than {MANIFEST} says: SHA-256 {digest} expected. "
                    "Put the file there anew."
                )
            wanted.discard(path)
            yield path, decoded(content, f"{path} in {self.place}")
        if wanted:
            raise sources.DataCorrupt(
                f"{len(wanted)} recordings are missing in {self.place}, among them {min(wanted)}: a file was cut short "
                "or removed. Put the data set there anew."
            )


def decoded(content: bytes, what: str) -> np.ndarray:
    """The samples of a WAV, FLAC or Opus file as int16.

    Raises:
        DataCorrupt: it is none, has no samples, another rate than 16,000 Hz or more than one channel.
    """
    import soundfile

    try:
        samples, rate = soundfile.read(io.BytesIO(content), dtype="int16", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise sources.DataCorrupt(f"{what} can't be decoded as sound ({error})") from error
    if rate != RATE or samples.shape[1] != 1 or not len(samples):
        raise sources.DataCorrupt(
            f"{what} must be a recording of one channel at {RATE:,} Hz; it has {samples.shape[1]} channels, {rate:,} "
            f"Hz and {len(samples):,} samples"
        )
    return samples[:, 0]


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
    with (place / MANIFEST).open(newline="") as file:
        rows = list(csv.DictReader(file))
    columns = {"path", "word", "speaker", "split", "sha256", "tar"}
    if not rows or not columns <= set(rows[0]):
        raise sources.DataCorrupt(f"{place / MANIFEST} must have a row a clip and the columns {sorted(columns)}")
    files, clips, noises = {}, [], []
    for row in rows:
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
    digest = hashlib.sha256("".join(sorted(digest for _, digest in files.values())).encode()).hexdigest()
    return Corpus("pack", place, tuple(sorted(clips)), tuple(sorted(noises)), digest, files)


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
    return Corpus(kind, place, tuple(sorted(clips)), stems, digest, files)


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


def _from_pack(corpus: Corpus, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    tars: dict[str, dict[str, str]] = {}
    for stem in wanted:
        tar, _, name = corpus.files[stem][0].partition("/")
        tars.setdefault(tar, {})[name] = stem
    for tar, names in sorted(tars.items()):
        path = corpus.place / tar
        if not path.is_file():
            raise sources.DataNotFound(f"{path} is missing; {MANIFEST} says that it holds {len(names)} of the clips")
        try:
            with tarfile.open(path) as file:
                for member in file:
                    if member.name in names:
                        yield names[member.name], file.extractfile(member).read()
        except (tarfile.TarError, EOFError) as error:
            raise sources.DataCorrupt(f"{path} is damaged or cut short ({error}); put it there anew") from error


def _from_folder(corpus: Corpus, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    for stem in sorted(wanted):
        path = corpus.place / corpus.files[stem][0]
        if path.is_file():
            yield stem, path.read_bytes()


def _from_archive(corpus: Corpus, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(corpus.place) as file:
            for member in file:
                stem = member.name.removeprefix("./").rsplit(".", 1)[0]
                if member.isfile() and stem in wanted:
                    yield stem, file.extractfile(member).read()
    except (tarfile.TarError, EOFError) as error:
        raise sources.DataCorrupt(f"{corpus.place} is damaged or cut short ({error}); fetch it anew") from error


_CONTENTS = {"pack": _from_pack, "folder": _from_folder, "archive": _from_archive}

"""speechocean762 as recordings: English sentences read by speakers of Mandarin, each with gender and age.

J. Zhang et al., *speechocean762: An Open-Source Non-native English Speech Corpus For Pronunciation Assessment*,
Interspeech 2021, arXiv:2104.01378. Its authors allow free use, commercial and not. Two layouts hold the same thing:

- **pack**: tar files of Opus clips beside a ``manifest.csv`` with the SHA-256 of each clip;
- **folder**: the original: ``WAVE/`` and, below ``train`` and ``test``, the lists ``wav.scp``, ``utt2spk``,
  ``spk2gender`` and ``spk2age``.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from bnnlib.data import sources
from bnnlib.data.recordings import MANIFEST, Recordings, fingerprint, manifest

__all__ = ["ADULT", "NAME", "Corpus", "Utterance", "open_corpus"]

NAME = "Speechocean762"
SPLITS = ("train", "test")
LISTS = ("wav.scp", "utt2spk", "spk2gender", "spk2age")
ADULT = 17  # years; nobody in the corpus is 16 to 18 years old
GENDERS = ("m", "f")


class Utterance(NamedTuple):
    """One sentence, and who says it, as the corpus tells.

    Attributes:
        path: of the recording, without its ending.
        speaker: the corpus's number, four digits.
        gender: "m" or "f".
        age: in years.
        split: "train" or "test", the official one; no speaker is in both.
    """

    path: str
    speaker: str
    gender: str
    age: int
    split: str


@dataclass(frozen=True)
class Corpus(Recordings):
    """What is there, before anything is decoded.

    Attributes:
        utterances: sorted by path.
    """

    utterances: tuple[Utterance, ...]


def open_corpus(root: Path | None = None) -> Corpus:
    """The recordings at hand: below ``root``, or ``Speechocean762`` below the data roots.

    Raises:
        DataNotFound: there is neither layout.
        DataCorrupt: a list or the manifest is incomplete or contradicts itself.
    """
    places = [root] if root is not None else [sources.data_folder(), sources.cache_folder()]
    places = [Path(place) if root is not None else place / NAME for place in places if place is not None]
    for place in places:
        if (place / MANIFEST).is_file():
            return _pack(place)
        if (place / "train" / "spk2gender").is_file():
            return _folder(place)
    raise sources.DataNotFound(
        f"speechocean762 was not found. Looked in {' and '.join(map(str, places))}.\nWhat to do: get the corpus from "
        f"openslr.org/101 and put its folder (WAVE, train, test) at {NAME} below a folder that the environment "
        'variable BNNLIB_DATA names; or use profile="quick", which needs nothing.'
    )


def _pack(place: Path) -> Corpus:
    files, utterances = {}, []
    for row in manifest(place, {"path", "speaker", "gender", "age", "split", "sha256", "tar"}):
        stem = row["path"].rsplit(".", 1)[0]
        files[stem] = (row["tar"] + "/" + row["path"], row["sha256"])
        utterances.append(_utterance(stem, row["speaker"], row["gender"], row["age"], row["split"], place / MANIFEST))
    digests = fingerprint(digest for _, digest in files.values())
    return _checked(Corpus("pack", place, digests, files, tuple(sorted(utterances))))


def _folder(place: Path) -> Corpus:
    files, utterances = {}, []
    for split in SPLITS:
        lists = {name: _kaldi(place / split / name) for name in LISTS}
        for utterance, path in lists["wav.scp"].items():
            try:
                speaker = lists["utt2spk"][utterance]
                gender, age = lists["spk2gender"][speaker], lists["spk2age"][speaker]
            except KeyError as error:
                raise sources.DataCorrupt(f"{place / split}: the lists say nothing of {error} ({utterance})") from error
            stem = f"{speaker}/{utterance}"
            files[stem] = (path, "")
            utterances.append(_utterance(stem, speaker, gender, age, split, place / split))
    digest = hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()
    return _checked(Corpus("folder", place, digest, files, tuple(sorted(utterances))))


def _kaldi(path: Path) -> dict[str, str]:
    """A list of Kaldi's kind: a key and a value on each line."""
    if not path.is_file():
        raise sources.DataNotFound(f"{path} is missing: a list of the corpus")
    rows = [line.split(None, 1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if short := [row for row in rows if len(row) != 2]:
        raise sources.DataCorrupt(f"{path} must have a key and a value on each line, received {' '.join(short[0])!r}")
    return {key: value.strip() for key, value in rows}


def _utterance(path: str, speaker: str, gender: str, age: str, split: str, where: Path) -> Utterance:
    if gender not in GENDERS or not age.isdigit() or split not in SPLITS:
        raise sources.DataCorrupt(
            f"{where}, {path}: gender must be m or f, age whole years and the split train or test; received "
            f"{gender!r}, {age!r} and {split!r}"
        )
    return Utterance(path, speaker, gender, int(age), split)


def _checked(corpus: Corpus) -> Corpus:
    seen: dict[str, tuple] = {}
    for each in corpus.utterances:
        facts = (each.gender, each.age, each.split)
        if seen.setdefault(each.speaker, facts) != facts:
            raise sources.DataCorrupt(
                f"{corpus.place}: speaker {each.speaker} is {seen[each.speaker]} in one place and {facts} in another"
            )
    return corpus

"""Recordings of a corpus, wherever and however they are stored: read by name, verified, decoded."""

import csv
import hashlib
import io
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnnlib.data import sources
from bnnlib.data.features import RATE

__all__ = ["MANIFEST", "Recordings", "decoded", "fingerprint", "manifest"]

MANIFEST = "manifest.csv"  # of a pack


@dataclass(frozen=True)
class Recordings:
    """Where each recording of a corpus lies.

    Attributes:
        kind: "pack" (tar files beside a manifest), "folder" or "archive".
        place: the folder, or the archive.
        fingerprint: changes with the set of recordings, and in a pack with their content.
        files: path without its ending -> where it lies in the layout, and the SHA-256 of its content or "".
    """

    kind: str
    place: Path
    fingerprint: str
    files: Mapping[str, tuple[str, str]]

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


def manifest(place: Path, columns: set[str]) -> list[dict[str, str]]:
    """The rows of a pack's manifest, one for each recording.

    Raises:
        DataCorrupt: there are none, they lack one of the columns, or there is a tar file that none of them names.
    """
    with (place / MANIFEST).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not columns <= set(rows[0]):
        raise sources.DataCorrupt(f"{place / MANIFEST} must have a row a clip and the columns {sorted(columns)}")
    for line, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise sources.DataCorrupt(
                f"{place / MANIFEST}, line {line} has another number of values than the first: the file was cut short "
                "or altered. Put it there anew."
            )
    if unlisted := {path.name for path in place.glob("*.tar")} - {row["tar"] for row in rows}:
        raise sources.DataCorrupt(_CUT.format(place=place, what=", ".join(sorted(unlisted))))
    return rows


_CUT = "{place} holds {what}, of which manifest.csv says nothing: it was cut short. Put it there anew."


def fingerprint(digests: Iterable[str]) -> str:
    """One for the set of a pack's recordings, from the SHA-256 of each."""
    return hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()


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


def _from_pack(recordings: Recordings, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    tars: dict[str, dict[str, str]] = {}
    for stem in wanted:
        tar, _, name = recordings.files[stem][0].partition("/")
        tars.setdefault(tar, {})[name] = stem
    listed = {file for file, _ in recordings.files.values()}
    for tar, names in sorted(tars.items()):
        path = recordings.place / tar
        if not path.is_file():
            raise sources.DataNotFound(f"{path} is missing; {MANIFEST} says that it holds {len(names)} of the clips")
        try:
            with tarfile.open(path) as file:
                for member in file:
                    if member.isfile() and f"{tar}/{member.name}" not in listed:
                        what = f"{member.name} in {tar}"
                        raise sources.DataCorrupt(_CUT.format(place=recordings.place, what=what))
                    if member.name in names:
                        yield names[member.name], file.extractfile(member).read()
        except sources.DAMAGE as error:
            raise sources.DataCorrupt(f"{path} is damaged or cut short ({error}); put it there anew") from error


def _from_folder(recordings: Recordings, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    for stem in sorted(wanted):
        path = recordings.place / recordings.files[stem][0]
        if path.is_file():
            yield stem, path.read_bytes()


def _from_archive(recordings: Recordings, wanted: set[str]) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(recordings.place) as file:
            for member in file:
                stem = member.name.removeprefix("./").rsplit(".", 1)[0]
                if member.isfile() and stem in wanted:
                    yield stem, file.extractfile(member).read()
    except sources.DAMAGE as error:
        raise sources.DataCorrupt(f"{recordings.place} is damaged or cut short ({error}); fetch it anew") from error


_CONTENTS = {"pack": _from_pack, "folder": _from_folder, "archive": _from_archive}

"""Cuts the sample of Speech Commands: a few clips of each word as Ogg Opus, in the layout of a pack."""

import csv
import hashlib
import io
import tarfile
from functools import partial
from pathlib import Path

import numpy as np

from bnnlib.data import speech_commands
from bnnlib.data.features import RATE
from bnnlib.data.speech_commands import NAME, NOISE, PACK_WORDS, SPLITS, Clip, Corpus, open_corpus
from bnnlib.files import replaced

__all__ = ["COUNTS", "cut"]

LEARNT = (*PACK_WORDS, "happy")
# clips of each word to learn, and of each other word, where there are as many
COUNTS = {"training": (54, 2), "validation": (9, 1), "testing": (18, 2)}
COLUMNS = ("path", "word", "speaker", "split", "samples", "sha256", "tar", "source")


def cut(folder: Path) -> list[Path]:
    """Writes the sample below a folder, from the set that is found where data is looked for.

    Of each word the clips with the smallest hashes, so that speakers are mixed and the choice never changes. The noises
    are kept whole.

    Returns:
        The files written.
    """
    corpus = open_corpus()
    chosen = [clip for split in SPLITS for clip in _of(corpus, split)]
    tars: dict[str, list[tuple[str, bytes]]] = {}
    rows = []
    where = {clip.path: clip for clip in chosen}
    for path, sound in sorted(corpus.read([*where, *corpus.noises])):
        clip = where.get(path, Clip(path, NOISE, "", "background"))
        content = opus(sound, path)
        name = f"{clip.split}.tar"
        tars.setdefault(name, []).append((f"{path}.opus", content))
        digest = hashlib.sha256(content).hexdigest()
        rows.append((f"{path}.opus", clip.word, clip.speaker, clip.split, len(sound), digest, name, corpus.kind))
    written = []
    for name, members in sorted(tars.items()):
        written.append(folder / NAME / name)
        replaced(written[-1], partial(_write_tar, members=members))
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *rows])
    written.append(folder / NAME / speech_commands.MANIFEST)
    replaced(written[-1], partial(Path.write_text, data=table.getvalue()))
    return written


def _of(corpus: Corpus, split: str) -> list[Clip]:
    many, few = COUNTS[split]
    chosen = []
    for word in corpus.words:
        clips = [clip for clip in corpus.clips if clip.word == word and clip.split == split]
        clips.sort(key=lambda clip: hashlib.sha256(clip.path.encode()).digest())
        chosen += clips[: many if word in LEARNT else few]
    return chosen


def _write_tar(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)  # no time, no owner: the same content every time
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def opus(sound: np.ndarray, name: str) -> bytes:
    """A recording as Ogg Opus, the same bytes every time.

    Args:
        sound: int16 samples at 16,000 Hz.
        name: fixes the stream's serial number, which an encoder draws at random.
    """
    import soundfile

    content = io.BytesIO()
    soundfile.write(content, sound, RATE, format="OGG", subtype="OPUS")
    return _numbered(content.getvalue(), hashlib.sha256(name.encode()).digest()[:4])


def _numbered(content: bytes, serial: bytes) -> bytes:
    """An Ogg file with another serial number in each page, and checksums that fit (RFC 3533, sec. 6)."""
    whole = bytearray(content)
    at = 0
    while at < len(whole):
        segments = whole[at + 26]
        end = at + 27 + segments + sum(whole[at + 27 : at + 27 + segments])
        whole[at + 14 : at + 18] = serial
        whole[at + 22 : at + 26] = bytes(4)
        whole[at + 22 : at + 26] = _checksum(whole[at:end]).to_bytes(4, "little")
        at = end
    return bytes(whole)


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C11DB7 if value >> 31 else 0)) & 0xFFFFFFFF
        table.append(value)
    return table


_TABLE = _table()


def _checksum(page: bytes) -> int:
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _TABLE[value >> 24 ^ byte]
    return value

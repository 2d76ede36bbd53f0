"""Cuts the sample of the speakers' gender: log-mel pictures of a few sentences, no sound."""

import io
from functools import partial
from pathlib import Path

import numpy as np

from bnnlib.data.speaker_gender import CONTRADICTING, NAME, pictures_of
from bnnlib.data.speech import number
from bnnlib.data.speechocean import ADULT, Utterance, open_corpus
from bnnlib.files import replaced

__all__ = ["COUNTS", "cut"]

# speakers of each gender, and sentences of each: of the training and test adults, and of the young
COUNTS = {"train": (10, 2), "test": (5, 2), "young": (3, 1)}


def cut(folder: Path) -> list[Path]:
    """Writes the sample below a folder, from the corpus that is found where data is looked for.

    Of each gender the speakers with the smallest hashes, without those whose label and pitch contradict each other, and
    of each speaker the shortest sentences.

    Returns:
        The file written.
    """
    corpus = open_corpus()
    pictures = pictures_of(corpus, corpus.utterances, False)
    chosen = []
    for part, (speakers, sentences) in COUNTS.items():
        of_part = [each for each in corpus.utterances if _part(each) == part and each.speaker not in CONTRADICTING]
        for gender in "fm":
            known = sorted({each.speaker for each in of_part if each.gender == gender}, key=number)[:speakers]
            for speaker in known:
                spoken = [each for each in of_part if each.speaker == speaker]
                chosen += sorted(spoken, key=lambda each: (len(pictures[each.path]), each.path))[:sentences]
    content = io.BytesIO()
    np.savez_compressed(
        content,
        paths=np.array([each.path for each in chosen]),
        genders=np.array([each.gender for each in chosen]),
        ages=np.array([each.age for each in chosen]),
        splits=np.array([each.split for each in chosen]),
        frames=np.array([len(pictures[each.path]) for each in chosen]),
        pictures=np.concatenate([pictures[each.path] for each in chosen]),
    )
    path = folder / NAME / "pictures.npz"
    replaced(path, partial(Path.write_bytes, data=content.getvalue()))
    return [path]


def _part(utterance: Utterance) -> str:
    return utterance.split if utterance.age >= ADULT else "young"

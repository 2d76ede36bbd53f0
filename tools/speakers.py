"""Writes what the speaker-gender chapter reads beside its runs: each sentence's speaker, length, pitch, mean picture.

    .venv/bin/python tools/speakers.py

It needs the corpus (speechocean762, see bnnlib.data.speechocean) and takes some minutes. The numbers are computed from
the recordings; none of these is stored.
"""

import io
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

from bnnlib.data.features import RATE
from bnnlib.data.pitch import median_pitch
from bnnlib.data.speaker_gender import CONTRADICTING, decibels, pictures_of
from bnnlib.data.speech import number
from bnnlib.data.speechocean import ADULT, open_corpus
from bnnlib.files import replaced
from bnnlib.studies import results_folder
from bnnlib.studies.speaker_gender import RULE


def contradicting(table: pd.DataFrame) -> set[str]:
    """The adults whose pitch contradicts their label by the study's rule."""
    adults = table[table["age"] >= ADULT]
    pitch = adults.groupby(["speaker", "gender"])["pitch"].median().reset_index()
    wrong = ((pitch["gender"] == "m") & (pitch["pitch"] > RULE["m"])) | (
        (pitch["gender"] == "f") & (pitch["pitch"] < RULE["f"])
    )
    return set(pitch.loc[wrong, "speaker"])


def main() -> None:
    corpus = open_corpus()
    utterances = {each.path: each for each in corpus.utterances}
    rows = []
    for path, sound in track(corpus.read(utterances), "pitch", total=len(utterances)):
        each = utterances[path]
        pitch = round(median_pitch(sound), 1)
        rows.append((number(path), each.speaker, each.gender, each.age, each.split, len(sound) / RATE, pitch))
    table = pd.DataFrame(rows, columns=["id", "speaker", "gender", "age", "split", "seconds", "pitch"])
    table = table.sort_values(["speaker", "id"]).reset_index(drop=True)
    pictures = pictures_of(corpus, corpus.utterances, True)
    means = {number(path): decibels(picture).mean(0) for path, picture in pictures.items()}
    folder = results_folder() / "speaker-gender"
    text = table.to_csv(index=False, lineterminator="\n")
    replaced(folder / "sentences.csv", partial(Path.write_text, data=text))
    content = io.BytesIO()
    np.savez_compressed(content, means=np.stack([means[each] for each in table["id"]]).astype(np.float16))
    replaced(folder / "sentence-means.npz", partial(Path.write_bytes, data=content.getvalue()))
    if (found := contradicting(table)) != CONTRADICTING:
        sys.exit(f"the rule finds {sorted(found)}, but CONTRADICTING has {sorted(CONTRADICTING)}")


if __name__ == "__main__":
    main()

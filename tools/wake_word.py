"""Writes what the wake-word chapter reads beside its runs: each test clip's word, and scores along a stream.

    .venv/bin/python tools/wake_word.py

It needs the recordings (see bnnlib.data.speech_commands) and the kept weights of the study `wake-word`, and takes some
minutes. The stream holds every test clip once, in a drawn order, with pauses of up to a second between them, and noise
of the test part below all of it; a window of one second moves along in steps of a tenth.
"""

import io
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track
from safetensors.torch import load_file

import bnnlib
from bnnlib import data, studies
from bnnlib.data.features import FULL_SCALE, LENGTH, MFCC, RATE, fitted
from bnnlib.data.speech import NOISE_PARTS, number
from bnnlib.data.speech_commands import Clip, Corpus, open_corpus
from bnnlib.files import replaced
from bnnlib.studies.wake_word import FOLDED, METHODS

STEP = RATE // 10  # samples from one window to the next
LONGEST_PAUSE = RATE
NOISE_GAIN = 0.1
AT_ONCE = 500  # windows
WORD = "happy"


def stream(corpus: Corpus, clips: list[Clip]) -> tuple[np.ndarray, np.ndarray]:
    """The sound, full scale 1, and where each of the clips begins, in samples."""
    rng = np.random.default_rng(0)
    sounds = {path: fitted(sound) / FULL_SCALE for path, sound in corpus.read([clip.path for clip in clips])}
    pauses = rng.integers(0, LONGEST_PAUSE + 1, len(clips))
    starts = np.cumsum(pauses + LENGTH) - LENGTH
    sound = np.zeros(starts[-1] + 2 * LENGTH, np.float32)
    for clip, start in zip(clips, starts, strict=True):
        sound[start : start + LENGTH] = sounds[clip.path]
    first, last = NOISE_PARTS["testing"]
    noises = [noise[round(first * len(noise)) : round(last * len(noise))] for _, noise in corpus.read(corpus.noises)]
    noises = [noise.astype(np.float32) / FULL_SCALE for noise in noises]
    for start in range(0, len(sound), 10 * RATE):  # another noise every ten seconds
        piece = sound[start : start + 10 * RATE]
        noise = noises[rng.integers(len(noises))]
        piece += NOISE_GAIN * np.resize(noise, len(piece))
    return np.clip(sound, -1, 1), starts


def scores_along(sound: np.ndarray, packed, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """The score of the word less that of the rest, for each window."""
    features, found = MFCC(), []
    windows = np.lib.stride_tricks.sliding_window_view(sound, LENGTH)[::STEP]
    for first in track(range(0, len(windows), AT_ONCE), "windows"):
        pictures = (features(windows[first : first + AT_ONCE]) - mean) / deviation
        scores = packed.scores(np.ascontiguousarray(pictures[:, None], np.float32))
        found.append(scores[:, 1] - scores[:, 0])
    return np.concatenate(found)


def main() -> None:
    corpus = open_corpus(progress=True)
    clips = [clip for clip in corpus.clips if clip.split == "testing"]
    folder = studies.results_folder() / METHODS.name
    table = pd.DataFrame({"id": [number(clip.path) for clip in clips], "word": [clip.word for clip in clips]})
    text = table.sort_values("id").to_csv(index=False, lineterminator="\n")
    replaced(folder / "test-words.csv", partial(Path.write_text, data=text))

    order = [clips[at] for at in np.random.default_rng(1).permutation(len(clips))]
    sound, starts = stream(corpus, order)
    arrays = {"starts": starts / RATE, "word": np.array([clip.word == WORD for clip in order])}
    run = next(run for run in METHODS.runs if run.arm == FOLDED and run.settings.seed == 0)
    model = run.build_model()
    model.load_state_dict(load_file(studies.store_of(METHODS, None).latent_file(run.id)))
    train = data.load(run.dataset, run.profile, **run.data_options).train
    packed = bnnlib.pack(model.eval(), model.input_shape)
    arrays["scores"] = scores_along(sound, packed, train.mean, train.deviation).astype(np.float16)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    replaced(folder / "stream.npz", partial(Path.write_bytes, data=content.getvalue()))


if __name__ == "__main__":
    main()

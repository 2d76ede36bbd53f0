"""Who is left out of the speaker-gender study follows from pitch alone; stored numbers are of these sentences."""

import csv
import statistics
from collections import defaultdict

import numpy as np

from bnnlib import data, studies
from bnnlib.data.speaker_gender import CONTRADICTING
from bnnlib.studies.speaker_gender import RULE

FOLDER = studies.results_folder() / "speaker-gender"


def sentences():
    with (FOLDER / "sentences.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_rule_on_pitch_names_those_who_are_left_out():
    pitch, gender = defaultdict(list), {}
    for row in sentences():
        if int(row["age"]) >= 17:
            pitch[row["speaker"]].append(float(row["pitch"]))
            gender[row["speaker"]] = row["gender"]
    medians = {speaker: statistics.median(values) for speaker, values in pitch.items()}
    wrong = {
        speaker
        for speaker, median in medians.items()
        if (gender[speaker] == "m" and median > RULE["m"]) or (gender[speaker] == "f" and median < RULE["f"])
    }
    assert wrong == CONTRADICTING
    # and nobody else comes near: the rule's two limits may lie anywhere between these
    others = [(medians[s], gender[s]) for s in medians if s not in wrong]
    assert max(median for median, g in others if g == "m") < 185 < RULE["m"]
    assert min(median for median, g in others if g == "f") > 180 > RULE["f"]


def test_the_corpus_is_described_as_its_provenance_counts_it():
    rows = sentences()
    adults = [row for row in rows if int(row["age"]) >= 17]
    count = {
        (split, g): len({row["speaker"] for row in adults if row["split"] == split and row["gender"] == g})
        for split in ("train", "test")
        for g in "mf"
    }
    assert count == {("train", "m"): 26, ("train", "f"): 41, ("test", "m"): 30, ("test", "f"): 31}
    assert len(rows) == 3048
    with np.load(FOLDER / "sentence-means.npz") as file:
        assert file["means"].shape == (3048, 64)
        assert np.isfinite(file["means"]).all()


def test_the_built_in_pictures_are_sentences_of_that_table():
    known = {int(row["id"]): (int(row["speaker"]), row["gender"], float(row["seconds"])) for row in sentences()}
    splits = data.load("SpeakerGender", "quick", balance=False)
    for split in (splits.train, splits.validation, splits.test):
        for at, (sample, speaker, label) in enumerate(
            zip(split.ids.tolist(), split.groups.tolist(), split.labels.tolist(), strict=True)
        ):
            of, gender, seconds = known[sample]
            assert (of, gender) == (speaker, "fm"[label])
            assert abs(len(split.pictures[split.positions[at]]) - 100 * seconds) < 2  # 100 frames a second
    assert not {f"{s:04}" for s in splits.train.groups.tolist()} & CONTRADICTING

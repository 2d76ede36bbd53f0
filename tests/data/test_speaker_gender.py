"""Whole sentences with their speakers' gender: both layouts, crops and whole pictures, splits by speaker."""

import csv
import hashlib
import io
import itertools
import tarfile
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch

from bnnlib import data
from bnnlib.data import DataCorrupt, DataNotFound, sources
from bnnlib.data.features import RATE
from bnnlib.data.speaker_gender import AUGMENTATIONS, FEATURES, decibels, levelled
from bnnlib.data.speechocean import open_corpus

# speaker -> gender, age, split
SPEAKERS = {f"{1000 + i}": ("fm"[i % 2], 20 + i, "train" if i < 20 else "test") for i in range(28)}
SPEAKERS |= {"2001": ("m", 8, "train"), "2002": ("f", 15, "test")}


def sentences():
    """Path without its ending -> int16 samples of 0.7 to 1.7 seconds: a tone each, low for men, in noise."""
    rng = np.random.default_rng(0)
    made = {}
    for speaker, (gender, _, _) in SPEAKERS.items():
        for number in range(2):
            time = np.arange(int(rng.uniform(0.7, 1.7) * RATE)) / RATE
            tone = np.sin(2 * np.pi * (120 if gender == "m" else 220) * time) + 0.05 * rng.normal(size=len(time))
            made[f"{speaker}/{speaker}{number:05}"] = (6000 * tone).astype(np.int16)
    return made


def wav(samples, rate=RATE, kind="WAV"):
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=kind, subtype="PCM_16")
    return content.getvalue()


def original(root):
    """The corpus's own layout, with lists of Kaldi's kind."""
    lists = {split: {"wav.scp": [], "utt2spk": [], "spk2gender": [], "spk2age": []} for split in ("train", "test")}
    for path, samples in sentences().items():
        speaker, utterance = path.split("/")
        split = lists[SPEAKERS[speaker][2]]
        place = f"WAVE/SPEAKER{speaker}/{utterance}.WAV"
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(wav(samples))
        split["wav.scp"].append(f"{utterance}\t{place}")
        split["utt2spk"].append(f"{utterance}\t{speaker}")
    for speaker, (gender, age, split) in SPEAKERS.items():
        lists[split]["spk2gender"].append(f"{speaker} {gender}")
        lists[split]["spk2age"].append(f"{speaker} {age}")
    for split, files in lists.items():
        (root / split).mkdir()
        for name, lines in files.items():
            (root / split / name).write_text("\n".join(lines) + "\n")


def pack(root):
    root.mkdir(parents=True)
    rows = [("path", "speaker", "gender", "age", "split", "sha256", "tar")]
    with tarfile.open(root / "all.tar", "w") as tar:
        for path, samples in sorted(sentences().items()):
            content = wav(samples, kind="FLAC")
            member = tarfile.TarInfo(f"{path}.flac")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
            speaker = path.split("/")[0]
            digest = hashlib.sha256(content).hexdigest()
            rows.append((member.name, speaker, *SPEAKERS[speaker], digest, "all.tar"))
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    """Data and cache of this test alone."""
    monkeypatch.setenv("BNNLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "Speechocean762"


@pytest.fixture
def packed(root):
    pack(root)
    return root


def load(**options):
    return data.load("SpeakerGender", "full", **options)


def test_both_layouts_hold_the_same(root, tmp_path):
    original(tmp_path / "original")
    pack(root)
    one, other = open_corpus(tmp_path / "original"), open_corpus()
    assert (one.kind, other.kind) == ("folder", "pack")
    assert one.utterances == other.utterances
    paths = [each.path for each in one.utterances]
    here, there = dict(one.read(paths)), dict(other.read(paths))
    assert all(np.array_equal(here[path], there[path]) for path in paths)


def test_no_speaker_is_in_two_splits_and_the_young_are_never_trained_on(packed):
    splits = load()
    assert splits.shared_groups() == set()
    assert set(splits.validation.groups.tolist()) == {2001, 2002}
    assert set(splits.train.groups.tolist()) == set(range(1000, 1020))
    assert set(splits.test.groups.tolist()) == set(range(1020, 1028))
    men = {int(speaker) for speaker, (gender, _, _) in SPEAKERS.items() if gender == "m"}
    for split in (splits.train, splits.validation, splits.test):
        assert [group in men for group in split.groups.tolist()] == (split.labels == 1).tolist()


@pytest.mark.parametrize(("kind", "among"), [("tuning", 20), ("cross-validation", 28)])
def test_folds_divide_the_speakers_with_men_and_women_dealt_out_evenly(packed, kind, among):
    held = []
    for fold in range(5):
        splits = load(split=kind, fold=fold)
        assert splits.test is None
        assert splits.shared_groups() == set()
        speakers = set(splits.validation.groups.tolist())
        women = {speaker for speaker in speakers if SPEAKERS[str(speaker)][0] == "f"}
        assert abs(2 * len(women) - len(speakers)) <= 1
        held += speakers
    assert sorted(held) == list(range(1000, 1000 + among))


def test_fewer_speakers_are_contained_in_more(packed):
    heard = [set(load(speakers=count).train.groups.tolist()) for count in (2, 5, 12, 20)]
    assert [len(each) for each in heard] == [2, 5, 12, 20]
    assert all(few <= many for few, many in itertools.pairwise(heard))
    assert {SPEAKERS[str(speaker)][0] for speaker in heard[0]} == {"f", "m"}


def test_whole_sentences_have_their_own_length_and_do_not_depend_on_their_neighbours(packed):
    test = load().test
    together = test.inputs(slice(0, len(test)))
    lengths = together[:, 0].isfinite().sum(1)
    assert lengths.tolist() == sorted(lengths.tolist())
    assert len(set(lengths.tolist())) > 3
    for row in range(len(test)):
        alone = test.inputs(slice(row, row + 1))[0]
        assert torch.equal(alone, together[row, :, : lengths[row]])
        assert together[row, :, lengths[row] :].isnan().all()
    whole = together.nan_to_num()
    assert torch.equal(whole * 32, (whole * 32).round())
    assert whole.min() >= -4


def test_a_crop_is_drawn_by_seed_and_sentence_and_a_short_sentence_is_repeated(packed):
    train = load(crop=130, augment="gain-tilt-noise").train
    draw = torch.Generator().manual_seed(3)
    rows = torch.tensor([5, 0, 11])
    crops = train.inputs(rows, draw=draw)
    assert crops.shape == (3, 64, 130)
    assert crops.isfinite().all()
    assert torch.equal(train.inputs(rows, draw=draw), crops)
    assert torch.equal(train.inputs(torch.tensor([0]), draw=draw)[0], crops[1])
    assert not torch.equal(train.inputs(rows, draw=torch.Generator().manual_seed(4)), crops)
    plain = replace(train, augmentation=AUGMENTATIONS["none"])
    short = plain.inputs(torch.tensor([0]), draw=draw)[0]
    frames = len(plain.pictures[plain.positions[0]])
    assert frames < 130
    assert torch.equal(short[:, frames:], short[:, : 130 - frames])


def test_the_middle_of_a_sentence_is_so_many_seconds_long(packed):
    test = replace(load().test, seconds=0.6)
    assert test.inputs(slice(None)).shape[2] == 60
    whole = load().test.inputs(slice(0, 1))[0]
    first = (whole.shape[1] - 60) // 2
    assert torch.equal(test.inputs(slice(0, 1))[0], whole[:, first : first + 60])


def test_a_picture_does_not_depend_on_the_recording_s_level():
    sound = (3000 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32) / 32768
    loud, soft = (levelled(FEATURES((gain * sound)[None])[0]) for gain in (1.0, 0.25))
    assert np.abs(decibels(loud) - decibels(soft)).max() <= 0.25  # a quarter decibel is one step
    assert abs(np.percentile(decibels(loud), 99)) < 0.3
    assert decibels(loud).min() == -60


def test_a_tone_lands_in_its_band():
    sound = np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE).astype(np.float32) / 2
    picture = FEATURES(sound[None])[0]
    assert picture.shape == (101, 64)
    from librosa import mel_frequencies

    centres = mel_frequencies(66, fmin=FEATURES.low, fmax=FEATURES.high)[1:-1]
    loudest = picture[50].argmax()
    assert loudest == np.abs(centres - 440).argmin()


def test_the_second_time_comes_from_the_cache(packed, monkeypatch):
    first = load().test.inputs(slice(None))
    monkeypatch.setattr("bnnlib.data.recordings.decoded", None)
    assert torch.equal(first.nan_to_num(), load().test.inputs(slice(None)).nan_to_num())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "clip"}, "no split 'clip' of SpeakerGender; known: official, tuning, cross-validation"),
        ({"labels": "none"}, "known: all, agreeing"),
        ({"fold": 5}, "no fold 5"),
        ({"augment": "shift"}, "no augment 'shift'"),
        ({"crop": 56}, "crop must be a whole number of at least 57 frames, received 56"),
        ({"crop": 57.5}, "crop must be a whole number of at least 57 frames, received 57.5"),
        ({"balance": "no"}, "balance must be True or False, received 'no'"),
        ({"speakers": 21}, r"speakers must be a whole number in 2..20, received 21"),
    ],
)
def test_unknown_values_are_named(packed, options, message):
    with pytest.raises(ValueError, match=message):
        load(**options)


def test_where_there_is_no_corpus_the_error_says_what_to_do():
    with pytest.raises(DataNotFound, match=r"(?s)Looked in .*Speechocean762.*openslr.org/101.*BNNLIB_DATA"):
        load()


def test_damaged_corpora_are_named(root):
    original(root)
    gender = root / "train" / "spk2gender"
    whole = gender.read_text()
    for text, message in (
        (whole.replace("1000 f", "1000 x"), r"gender must be m or f.*received 'x'"),
        (whole.replace("1000 f\n", ""), r"the lists say nothing of '1000'"),
        (whole.replace("1000 f", "1000"), r"must have a key and a value on each line, received '1000'"),
    ):
        gender.write_text(text)
        with pytest.raises(DataCorrupt, match=message):
            load()
    gender.write_text(whole)
    recording = root / "WAVE" / "SPEAKER1000" / "100000000.WAV"
    for content, message in (
        (wav(np.zeros(RATE, np.int16), rate=8000), "8,000 Hz"),
        (wav(np.zeros(5000, np.int16)), "at least 0.57 are needed"),
        (b"", "can't be decoded"),
    ):
        recording.write_bytes(content)
        with pytest.raises(DataCorrupt, match=message):
            load()
    recording.unlink()
    with pytest.raises(DataCorrupt, match="1 recordings are missing"):
        load()


def test_a_speaker_with_two_genders_is_refused(packed):
    path = packed / "manifest.csv"
    path.write_text(path.read_text().replace("1003/100300001.flac,1003,m", "1003/100300001.flac,1003,f"))
    with pytest.raises(DataCorrupt, match=r"speaker 1003 is .* in one place and .* in another"):
        load()


def test_ages_are_those_of_the_speakers():
    splits = data.load("SpeakerGender", "quick")
    assert splits.train.ages.min() >= 17
    assert splits.validation.ages.max() < 17
    for split in (splits.train, splits.validation, splits.test):
        assert len(split.ages) == len(split)
        assert len(set(zip(split.groups.tolist(), split.ages.tolist(), strict=True))) == len(split.groups.unique())

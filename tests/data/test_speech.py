"""Speech Commands from its three layouts, as training data, and what is wrong with damaged ones."""

import csv
import hashlib
import io
import shutil
import tarfile
from contextlib import suppress

import numpy as np
import pytest
import soundfile
import torch

from bnnlib import data
from bnnlib.data import DataCorrupt, DataNotFound, cache, sources, speech
from bnnlib.data.features import RATE, LogMel
from bnnlib.data.speech_commands import NOISE, clip_of, open_corpus, split_of

WORDS = ("yes", "no", "happy", "cat")


def speakers(split, count):
    """Ids that the official rule puts into that split."""
    ids = (f"{number:08x}" for number in range(10_000))
    return [speaker for speaker in ids if split_of(speaker) == split][:count]


def recordings():
    """Path in the official layout -> int16 samples: some short, one longer than a second; and two noises."""
    rng = np.random.default_rng(0)
    made = {}
    for word in WORDS:
        for split, count in (("training", 4), ("validation", 2), ("testing", 2)):
            for speaker in speakers(split, count):
                length = int(rng.integers(9_000, 17_000))
                made[f"{word}/{speaker}_nohash_0.wav"] = rng.integers(-3000, 3000, length).astype(np.int16)
    for name in ("tap", "white"):
        made[f"{NOISE}/{name}.wav"] = rng.integers(-500, 500, 10 * RATE).astype(np.int16)
    return made


def encoded(samples, kind="WAV", rate=RATE):
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format=kind, subtype="PCM_16")
    return content.getvalue()


def lists(names):
    for split, file in (("validation", "validation_list.txt"), ("testing", "testing_list.txt")):
        chosen = [name for name in names if not name.startswith("_") and clip_of(name).split == split]
        yield file, "\n".join(chosen).encode()


def official_folder(root):
    for name, samples in recordings().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(samples))
    for file, content in lists(recordings()):
        (root / file).write_bytes(content)


def archive(root, monkeypatch):
    root.mkdir()
    path = root / "speech_commands_v0.02.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        files = {name: encoded(samples) for name, samples in recordings().items()} | dict(lists(recordings()))
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    content = sources.Content(path.stat().st_size, sources.sha256(path))
    known = sources.Source("SpeechCommands", "http://127.0.0.1:9/", {path.name: content}, "none")
    monkeypatch.setitem(sources.SOURCES, "SpeechCommands", known)


def pack(root):
    root.mkdir()
    rows = [("path", "word", "speaker", "split", "samples", "sha256", "tar", "source")]
    tars = {}
    for name, samples in sorted(recordings().items()):
        flac, content = name.replace(".wav", ".flac"), encoded(samples, "FLAC")
        word, speaker, split = (NOISE, "", "background") if name.startswith(NOISE) else clip_of(name)[1:]
        tar = f"{split}.tar"
        tars.setdefault(tar, []).append((flac, content))
        rows.append((flac, word, speaker, split, len(samples), hashlib.sha256(content).hexdigest(), tar, "A"))
    for tar, members in tars.items():
        with tarfile.open(root / tar, "w") as file:
            for name, content in members:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                file.addfile(member, io.BytesIO(content))
    with (root / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(autouse=True)
def roots(tmp_path, monkeypatch):
    """Data and cache of this test alone."""
    monkeypatch.setenv("BNNLIB_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(sources, "cache_folder", lambda: tmp_path / "cache")
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "SpeechCommands"


@pytest.fixture
def packed(roots):
    pack(roots)
    return roots


def load(**options):
    return data.load("SpeechCommands", "full", **{"words": "yes no cat", **options})


def test_the_official_rule_by_speaker_is_that_of_the_set():
    # names from the official v0.02 lists, and one that is in neither
    assert clip_of("right/bb05582b_nohash_3.wav").split == "testing"
    assert clip_of("right/97f4c236_nohash_2.wav").split == "testing"
    assert clip_of("bed/0132a06d_nohash_0.wav").split == "training"


@pytest.mark.parametrize("layout", ["folder", "archive", "pack"])
def test_every_layout_gives_the_same_recordings(layout, roots, monkeypatch):
    if layout == "archive":
        archive(roots, monkeypatch)
    else:
        {"folder": official_folder, "pack": pack}[layout](roots)
    corpus = open_corpus()
    assert corpus.kind == layout
    wanted = {name.removesuffix(".wav"): samples for name, samples in recordings().items()}
    assert {clip.path for clip in corpus.clips} | set(corpus.noises) == set(wanted)
    read = dict(corpus.read(wanted))
    assert all(np.array_equal(read[path], samples) for path, samples in wanted.items())
    splits = load()
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (12, 6, 6)
    assert splits.classes == ("yes", "no", "cat")
    assert splits.shared_groups() == set()


def test_clips_are_one_second_long_and_normalised_by_the_training_clips(packed):
    splits = load()
    assert splits.train.sounds.shape == (12, RATE)
    inputs = splits.train.inputs()
    assert inputs.shape == (12, 1, 50, 40)
    assert inputs.dtype == torch.float32
    torch.testing.assert_close(inputs.mean((0, 1, 2)), torch.zeros(40), atol=1e-3, rtol=0)
    torch.testing.assert_close(inputs.std((0, 1, 2), unbiased=False), torch.ones(40), atol=1e-3, rtol=0)
    name, samples = next((n, s) for n, s in sorted(recordings().items()) if n.startswith("yes") and len(s) < RATE
                         and clip_of(n).split == "testing")  # fmt: skip
    whole = np.zeros(RATE, np.int16)
    whole[: len(samples)] = samples
    at = splits.test.ids.tolist().index(speech.number(name.removesuffix(".wav")))
    own = (LogMel()(whole[None]) - splits.train.mean) / splits.train.deviation
    assert np.array_equal(splits.test.inputs(torch.tensor([at])).numpy()[0], own)


def test_a_second_call_reads_the_cache_and_decodes_nothing(packed, monkeypatch):
    first = load()
    monkeypatch.setattr("bnnlib.data.recordings.decoded", None)
    monkeypatch.setattr(LogMel, "__call__", None)
    second = load()
    assert np.array_equal(first.train.sounds, second.train.sounds)
    assert torch.equal(first.test.values, second.test.values)
    assert first.description == second.description


def test_a_damaged_cache_is_computed_anew_and_other_parameters_have_their_own(packed, tmp_path):
    first = load()
    files = sorted((tmp_path / "cache" / "computed").iterdir())
    for number, path in enumerate(files):
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if number % 2 else whole[:-1] + bytes([whole[-1] ^ 1]))
    assert torch.equal(load().test.values, first.test.values)
    assert sorted((tmp_path / "cache" / "computed").iterdir()) == files
    load(features="mfcc")
    assert len(list((tmp_path / "cache" / "computed").iterdir())) > len(files)
    assert cache.read("sounds", {"of": "another"}) is None


def test_an_interrupted_call_keeps_the_words_that_were_done(packed, monkeypatch):
    from bnnlib.data import recordings as reading

    decode, done = reading.decoded, []

    def until(content, what):
        if len(done) == 30:
            raise KeyboardInterrupt
        done.append(what)
        return decode(content, what)

    monkeypatch.setattr(reading, "decoded", until)
    with pytest.raises(KeyboardInterrupt):
        load(task="wake-word", words="happy")
    before = len(done)
    done.clear()
    monkeypatch.setattr(reading, "decoded", lambda *a: done.append(a) or decode(*a))
    load(task="wake-word", words="happy")
    whole = len(recordings())
    assert whole - before <= len(done) < whole


def test_augmentation_depends_on_epoch_and_clip_alone(packed):
    train = load(augment="shift-noise-masks").train

    def drawn(index, seed):
        return train.inputs(torch.tensor(index), torch.Generator().manual_seed(seed))

    whole = drawn(list(range(12)), 5)
    assert torch.equal(drawn([7, 2], 5), whole[[7, 2]])
    assert not torch.equal(drawn([7], 6), whole[[7]])
    assert torch.equal(train.inputs(torch.tensor([7])), load().train.inputs(torch.tensor([7])))
    assert not torch.equal(train.inputs(torch.tensor([7])), whole[[7]])


def test_validation_and_test_are_never_augmented(packed):
    plain, augmented = load(), load(augment="shift-noise-masks")
    draw = torch.Generator().manual_seed(0)
    assert torch.equal(augmented.test.inputs(slice(None), draw), plain.test.inputs())
    assert torch.equal(augmented.validation.inputs(slice(None), draw), plain.validation.inputs())


def test_a_sound_is_shifted_and_noise_has_the_power_that_was_asked_for():
    sound = np.arange(1, 11, dtype=np.float32) / 100
    assert speech.shifted(sound, 3).tolist() == [0, 0, 0, *sound[:7].tolist()]
    assert speech.shifted(sound, -3).tolist() == [*sound[3:].tolist(), 0, 0, 0]
    assert np.array_equal(speech.shifted(sound, 0), sound)
    rng = np.random.default_rng(0)
    sound, noise = 0.1 * rng.standard_normal((2, RATE)).astype(np.float32)
    added = speech.with_noise(sound, 3 * noise, 10.0) - sound
    assert np.isclose(10 * np.log10(np.mean(sound**2) / np.mean(added**2)), 10, atol=1e-3)
    assert np.array_equal(speech.with_noise(0 * sound, noise, 10.0), 0 * sound)


def test_the_wake_word_stands_against_everything_else_with_noise_of_its_own_time(packed):
    splits = load(task="wake-word", words="happy", features="mfcc")
    assert splits.classes == ("other", "happy")
    assert splits.train.inputs(slice(0, 3)).shape == (3, 1, 50, 13)
    assert splits.train.labels.float().mean() == 0.5
    # 2 testing clips of each of three other words, silence, and of each noise's last two seconds 3 windows at 2 gains
    assert (splits.test.labels == 0).sum() == 6 + 1 + 2 * 3 * 2
    assert (splits.test.labels == 1).sum() == 2
    assert splits.shared_groups() == set()
    unbalanced = load(task="wake-word", words="happy", balance=False)
    # 4 training clips of each word; 11 windows in six seconds
    assert (unbalanced.train.labels == 1).sum() == 4
    assert (unbalanced.train.labels == 0).sum() == 12 + 1 + 2 * 11 * 2
    ids = splits.train.ids[splits.train.labels == 1]
    assert len(ids.unique()) == 4
    whole = dict(open_corpus().read(open_corpus().noises))
    tested = speech._Sounds(open_corpus(), progress=False).noises("testing")
    assert np.array_equal(tested[0] * 32768, whole[f"{NOISE}/tap"][8 * RATE :])


def test_a_split_by_clips_shares_speakers_and_says_so(packed):
    with pytest.raises(ValueError, match="there are no"):  # too few here for every word to be everywhere
        load(split="clip")
    splits = data.load("SpeechCommands", "quick", words="yes no", split="clip")
    assert splits.shared_groups()
    assert "split by clip" in splits.description
    redrawn = data.load("SpeechCommands", "quick", words="yes no", split="speaker-redrawn")
    assert not redrawn.shared_groups()
    official = data.load("SpeechCommands", "quick", words="yes no")
    assert set(redrawn.test.ids.tolist()) != set(official.test.ids.tolist())


def test_folds_divide_the_speakers_of_training_and_validation_and_leave_the_test_alone():
    whole = data.load("SpeechCommands", "quick")
    known = {int(i) for part in (whole.train, whole.validation) for i in part.ids}
    seen = []
    for fold in range(5):
        splits = data.load("SpeechCommands", "quick", fold=fold)
        assert not set(splits.train.groups.tolist()) & set(splits.validation.groups.tolist())
        assert {*splits.train.ids.tolist(), *splits.validation.ids.tolist()} == known
        assert torch.equal(splits.test.ids, whole.test.ids)
        assert f"fold {fold}" in splits.description
        seen += splits.validation.ids.tolist()
    assert sorted(seen) == sorted(known)  # each clip is held out once


def test_fewer_training_clips_are_a_part_of_more(packed):
    few, more = load(train_size=4).train, load(train_size=9).train
    assert (len(few), len(more)) == (4, 9)
    assert few.ids.tolist() == more.ids[:4].tolist()


def test_the_sample_is_a_pack_with_the_ten_words_of_the_reduced_set():
    splits = data.load("SpeechCommands", "quick")
    assert splits.classes == ("yes", "no", "up", "down", "left", "right", "stop", "go", "bed", "cat")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (540, 90, 180)
    assert splits.shared_groups() == set()
    assert data.load("SpeechCommands", "quick", test=False).test is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "digits"}, "no task 'digits' of speech; known: words, wake-word"),
        ({"features": "fbank"}, "no features 'fbank' of speech; known: log-mel, mfcc"),
        ({"augment": "louder"}, "no augment 'louder' of speech; known: none, shift"),
        ({"split": "word"}, "known: speaker, speaker-redrawn, clip"),
        ({"words": "yes banana"}, "no clips of banana; there are cat, happy, no, yes"),
        ({"words": "yes"}, "task 'words' takes at least two different words, received 'yes'"),
        ({"words": "yes yes"}, "at least two different words"),
        ({"words": "yes no", "task": "wake-word"}, "task 'wake-word' takes one word"),
        ({"train_size": 13}, r"whole number in 1\.\.12, received 13"),
        ({"fold": 5}, r"fold must be in 0\.\.4, of a split by speaker; received 5, split by speaker"),
        ({"fold": 1, "split": "clip"}, "received 1, split by clip"),
    ],
)
def test_unknown_options_are_named(packed, options, message):
    with pytest.raises(ValueError, match=message):
        load(**options)


def test_a_word_without_test_clips_is_named(roots):
    official_folder(roots)
    for path in (roots / "cat").iterdir():
        if clip_of(f"cat/{path.name}").split == "testing":
            path.unlink()
    with pytest.raises(ValueError, match="there are no testing clips of cat in"):
        load()
    assert load(test=False).test is None


def replace(path, content):
    path.write_bytes(content)


FIRST = f"yes/{speakers('training', 1)[0]}_nohash_0"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (encoded(np.ones(8000, np.int16), rate=8000), "at 16,000 Hz; it has 1 channels, 8,000 Hz and 8,000"),
        (encoded(np.ones((RATE, 2), np.int16)), "it has 2 channels, 16,000 Hz and 16,000 samples"),
        (encoded(np.ones(0, np.int16)), "and 0 samples"),
        (b"no sound", "can't be decoded as sound"),
    ],
)
def test_what_is_no_clip_is_named(roots, content, message):
    official_folder(roots)
    (roots / f"{FIRST}.wav").write_bytes(content)
    with pytest.raises(DataCorrupt, match=message) as caught:
        load()
    assert FIRST in str(caught.value)


def test_a_missing_tar_is_named(packed):
    (packed / "validation.tar").unlink()
    with pytest.raises(DataNotFound, match=r"validation\.tar is missing; manifest\.csv says that it holds 6"):
        load()


def test_a_tar_that_was_cut_short_is_noticed(packed):
    whole = (packed / "training.tar").read_bytes()
    for part in (len(whole) // 2, 700, 0):
        (packed / "training.tar").write_bytes(whole[:part])
        shutil.rmtree(sources.cache_folder(), ignore_errors=True)
        with pytest.raises(DataCorrupt, match=r"is damaged or cut short|recordings are missing|has another content"):
            load()


def test_an_altered_clip_of_a_pack_is_noticed(packed):
    whole = bytearray((packed / "training.tar").read_bytes())
    whole[whole.index(b"fLaC") + 100] ^= 1
    (packed / "training.tar").write_bytes(whole)
    with pytest.raises(DataCorrupt, match=r"has another content than manifest\.csv says"):
        load()


def test_a_list_that_contradicts_the_rule_is_refused(roots):
    official_folder(roots)
    with (roots / "testing_list.txt").open("a") as file:
        file.write(f"\n{FIRST}.wav")
    with pytest.raises(DataCorrupt, match=rf"{FIRST} is in the official testing list, but .* belongs to training"):
        load()


def test_nothing_at_all_is_told_with_what_would_help(roots, monkeypatch):
    known = sources.Source("SpeechCommands", "http://127.0.0.1:9/", sources.SOURCES["SpeechCommands"].files, "none")
    monkeypatch.setitem(sources.SOURCES, "SpeechCommands", known)
    with pytest.raises(DataNotFound, match="bnnlib data fetch SpeechCommands"):
        load()
    with pytest.raises(DataNotFound, match=r"holds no Speech Commands: neither manifest\.csv"):
        open_corpus(roots)


def test_a_pack_counts_as_the_data_set(packed):
    row = next(row for row in sources.status() if row["data set"] == "SpeechCommands")
    assert (row["state"], row["where"]) == ("present", str(packed / "manifest.csv"))  # verified as it is loaded
    (packed / "manifest.csv").unlink()
    row = next(row for row in sources.status() if row["data set"] == "SpeechCommands")
    assert (row["state"], row["where"]) == ("absent", "run: bnnlib data fetch SpeechCommands")


def test_a_manifest_that_was_cut_short_is_noticed(packed):
    lines = (packed / "manifest.csv").read_text().splitlines(keepends=True)
    (packed / "manifest.csv").write_text("".join(lines)[:-20])
    with pytest.raises(DataCorrupt, match=rf"line {len(lines)} has another number of values"):
        load()
    (packed / "manifest.csv").write_text("".join(line for line in lines if "validation.tar" not in line))
    with pytest.raises(DataCorrupt, match=r"holds validation\.tar, of which manifest\.csv says nothing"):
        load()
    (packed / "manifest.csv").write_text("".join(lines[:-1]))
    with pytest.raises(DataCorrupt, match=r"of which manifest\.csv says nothing: it was cut short"):
        load()


def test_words_may_be_a_list_and_a_wake_word_needs_clips(packed):
    assert load(words=["yes", "no"]).classes == load(words="yes no").classes
    for word in ("yes", "no", "cat"):  # the one clip that is taken may be of the word
        with suppress(ValueError):
            assert load(task="wake-word", words=word, train_size=1, balance=False).train.labels.any()
    with pytest.raises(ValueError, match=r"train_size 1 leaves no clip of '\w+' to train on"):
        [load(task="wake-word", words=word, train_size=1, balance=False) for word in ("yes", "no")]


def test_a_manifest_without_its_columns_is_refused(packed):
    (packed / "manifest.csv").write_text("path,word\nyes/a,yes\n")
    with pytest.raises(DataCorrupt, match="must have a row a clip and the columns"):
        load()

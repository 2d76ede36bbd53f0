"""The networks that come with the library are those of kept runs, and say what these said."""

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
from safetensors.numpy import load_file as load_arrays
from safetensors.torch import load_file
from typer.testing import CliRunner

import bnnlib
from bnnlib import data, studies
from bnnlib.cli import app
from bnnlib.data import inputs, sources
from bnnlib.data.speech import number
from bnnlib.data.speech_commands import open_corpus
from bnnlib.packed.biometrics import feature_codes
from bnnlib.packed.trained import ALL_BINARY, FOLDER, names

TOOLS = Path(__file__).parents[2] / "tools"


def run_of(packed):
    """The run that a shipped network was packed from, and where its weights are kept."""
    found = [
        (run_id, study, run, weights)
        for run_id, (study, run, weights) in studies.all_kept().items()
        if run.describe() == packed.about["run"]
    ]
    assert len(found) == 1
    return found[0]


def test_there_are_networks_and_others_are_refused():
    assert "fashion-mnist-1-bit" in names()
    with pytest.raises(ValueError, match=r"no pretrained network 'shoes'; there are .*fashion-mnist-1-bit"):
        bnnlib.pretrained("shoes")


def test_the_command_line_names_them(monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    told = CliRunner().invoke(app, ["predict", "--help"]).output
    families = {name.rsplit("-", 2)[0] if name.endswith("-bit") else name for name in names() if name != ALL_BINARY}
    assert families == {"fashion-mnist", "ten-words", "wake-word-happy"}
    assert "fashion-mnist-1-bit, -2-bit or -8-bit, ten-words-1-bit or -2-bit, wake-word-happy" in told
    refused = CliRunner().invoke(app, ["predict", ALL_BINARY, "clip.wav"])
    assert isinstance(refused.exception, ValueError)
    assert "takes features of recordings of any length" in str(refused.exception)


@pytest.mark.parametrize("name", [name for name in names() if name != ALL_BINARY])
def test_a_shipped_file_is_what_packing_its_run_writes(name, tmp_path):
    shipped = bnnlib.pretrained(name)
    _, study, run, weights = run_of(shipped)
    assert shipped.about["study"] == study.name
    model = run.build_model()
    model.load_state_dict(load_file(weights))
    packed = bnnlib.pack(model, shipped.input_shape, classes=shipped.classes, about=shipped.about)
    packed.save(tmp_path / "again.safetensors")
    again, kept = (load_arrays(path) for path in (tmp_path / "again.safetensors", FOLDER / f"{name}.safetensors"))
    assert list(again) == list(kept)
    for tensor, values in kept.items():  # of norms the last bit may depend on the processor that packs
        close = {"rtol": 1e-6} if values.dtype.kind == "f" else {"rtol": 0}
        np.testing.assert_allclose(again[tensor], values, **close, err_msg=tensor)
    x = np.random.default_rng(0).standard_normal((50, *shipped.input_shape)).astype(np.float32)
    for code, values in shipped.codes(x).items():
        np.testing.assert_array_equal(packed.codes(x)[code], values, err_msg=code)
    assert shipped.exact, "what is shipped decides by whole numbers"


@pytest.mark.parametrize("name", [name for name in names() if name.startswith("fashion")])
def test_a_shipped_network_says_of_the_sample_what_its_run_said(name):
    shipped = bnnlib.pretrained(name)
    run_id, study, run, _ = run_of(shipped)
    outputs = studies.results(study.name).outputs(run_id)
    test = data.load(run.dataset, "quick").test
    labels = outputs["test_labels"]  # the sample holds the first hundred of each class
    places = np.sort(np.concatenate([np.flatnonzero(labels == c)[:100] for c in range(10)]))
    np.testing.assert_array_equal(labels[places], test.labels)
    np.testing.assert_array_equal(shipped.predict(test.inputs().numpy()), outputs["test_predicted"][places])


def test_ten_words_say_of_recordings_what_their_runs_said():
    """On the features of the set, since those of the built-in sample, which is compressed, are others."""
    if sources.data_folder() is None or not (sources.data_folder() / "SpeechCommands").is_dir():
        pytest.skip("the recordings are not on this machine")
    test = data.load("SpeechCommands", "full", augment="shift-noise").test
    for name in ("ten-words-1-bit", "ten-words-2-bit"):
        shipped = bnnlib.pretrained(name)
        run_id, study, _, _ = run_of(shipped)
        said = studies.results(study.name).outputs(run_id)["test_predicted"]
        # another processor's logarithm may round a feature to the next of its 8-bit codes
        assert np.mean(shipped.predict(test.inputs().numpy()) == said) > 0.995


def test_the_all_binary_network_is_its_run_s_and_says_what_that_said():
    shipped = bnnlib.pretrained(ALL_BINARY)
    run_id, study, run, weights = run_of(shipped)
    assert shipped.about["study"] == study.name
    model = run.build_model()
    model.load_state_dict(load_file(weights))
    np.testing.assert_array_equal(shipped.values(), model.sign_network().values())
    assert (FOLDER / f"{ALL_BINARY}.safetensors").stat().st_size < 48_000  # 46,145 bytes of bits
    if sources.data_folder() is None or not (sources.data_folder() / "Speechocean762").is_dir():
        pytest.skip("the recordings are not on this machine")
    test = data.load(run.dataset, "full", **run.data_options).test
    outputs = studies.results(study.name).outputs(run_id)
    np.testing.assert_array_equal(outputs["test_ids"], test.ids)
    for place in range(0, len(test), 20):
        features = test.inputs(slice(place, place + 1))[0]
        codes = feature_codes(features[:, features[0].isfinite()])
        assert shipped.predict(codes) == outputs["test_predicted"][place]


def test_the_wake_word_says_of_recordings_what_its_run_said(tmp_path):
    """As a user asks it: from WAV files, with the means and deviations that its file holds."""
    if sources.data_folder() is None or not (sources.data_folder() / "SpeechCommands").is_dir():
        pytest.skip("the recordings are not on this machine (the built-in sample's are compressed, with loss)")
    shipped = bnnlib.pretrained("wake-word-happy")
    run_id, study, _, _ = run_of(shipped)
    outputs = studies.results(study.name).outputs(run_id)
    said = dict(zip(outputs["test_ids"].tolist(), outputs["test_scores"], strict=True))
    corpus = open_corpus()
    clips = [clip.path for clip in corpus.clips if number(clip.path) in said][::10]
    assert len(clips) > 200
    close, same = [], []
    for path, sound in corpus.read(clips):
        soundfile.write(tmp_path / "clip.wav", sound, 16_000)
        scores = shipped.scores(inputs.read(tmp_path / "clip.wav", shipped.about["input"]))
        expected = said[number(path)]
        close.append(np.allclose(scores, expected, rtol=1e-3, atol=1e-3))  # which are kept in 16 bits
        same.append(scores.argmax() == expected.argmax())
    # another processor's logarithm may round a feature to the next of its 8-bit codes
    assert np.mean(close) > 0.9
    assert np.mean(same) > 0.985


@pytest.mark.parametrize("file", ["FashionBits.js", "fashion-images.js"])
def test_what_the_page_needs_is_what_the_tool_writes(file, tmp_path, monkeypatch):
    if file == "FashionBits.js":
        pytest.importorskip("ziglang")
    monkeypatch.syspath_prepend(TOOLS)
    sys.modules.pop("page_assets", None)
    import page_assets

    kept = page_assets.FOLDER / file
    monkeypatch.setattr(page_assets, "FOLDER", tmp_path)
    page_assets.main()
    assert (tmp_path / file).read_bytes() == kept.read_bytes()

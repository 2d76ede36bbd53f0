"""A file becomes the very input that the data set gives of the same sample."""

import json

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

from bnnlib import data
from bnnlib.data import inputs
from bnnlib.data.features import RATE


def through_json(how):
    return json.loads(json.dumps(how))


def test_an_image_is_prepared_as_in_the_data_set(sample, tmp_path):
    how = through_json(inputs.described(sample))
    Image.fromarray(sample.test.values[3, 0].numpy()).save(tmp_path / "one.png")
    np.testing.assert_array_equal(inputs.read(tmp_path / "one.png", how), sample.test.inputs(slice(3, 4))[0].numpy())


@pytest.mark.parametrize("features", ["log-mel", "mfcc"])
def test_a_sound_is_prepared_as_in_the_data_set(features, tmp_path):
    splits = data.load("SpeechCommands", "quick", features=features)
    how = through_json(inputs.described(splits))
    sound = splits.train.sounds[splits.train.positions[2]]
    soundfile.write(tmp_path / "one.wav", sound, RATE)
    found = inputs.read(tmp_path / "one.wav", how)
    np.testing.assert_array_equal(found, splits.train.inputs(torch.tensor([2]))[0].numpy())
    soundfile.write(tmp_path / "long.wav", np.concatenate([sound, sound]), RATE)
    np.testing.assert_array_equal(inputs.read(tmp_path / "long.wav", how), found)


def test_an_array_is_taken_as_it_is(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(6.0).reshape(1, 2, 3))
    assert inputs.read(tmp_path / "x.npy", {}).dtype == np.float32
    (tmp_path / "y.npy").write_bytes(b"no array")
    with pytest.raises(ValueError, match="no array of numbers"):
        inputs.read(tmp_path / "y.npy", {})


def test_what_is_no_input_is_said(sample, tmp_path):
    soundfile.write(tmp_path / "fast.wav", np.zeros(100), 44_100)
    with pytest.raises(ValueError, match=r"16,000 samples a second and one channel, it has 100 of 44,100 in 1"):
        inputs.read(tmp_path / "fast.wav", {"kind": "sound"})
    (tmp_path / "text.wav").write_text("no sound")
    Image.new("L", (28, 28)).save(tmp_path / "one.png")
    with pytest.raises(ValueError, match="no sound that can be read"):
        inputs.read(tmp_path / "text.wav", {"kind": "sound"})
    with pytest.raises(ValueError, match="doesn't say how a file becomes its input"):
        inputs.read(tmp_path / "text.wav", {})
    with pytest.raises(ValueError, match="describes its inputs wrongly"):
        inputs.read(tmp_path / "one.png", {"kind": "image"})
    with pytest.raises(FileNotFoundError):
        inputs.read(tmp_path / "none.png", inputs.described(sample))


def test_images_of_other_kinds_are_read_as_people_see_them_or_refused(sample, tmp_path):
    how = inputs.described(sample)
    pixels = np.full((28, 28, 4), 255, np.uint8)
    pixels[:, 14:, 3] = 0
    Image.fromarray(pixels).save(tmp_path / "half.png")
    half = inputs.read(tmp_path / "half.png", how)[0]
    assert half[0, 0] > 0
    assert half[0, 20] == -np.float32(72.94) / np.float32(90.02)  # what is transparent is black
    Image.fromarray(np.full((28, 28), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="more than 8 bits"):
        inputs.read(tmp_path / "deep.png", how)
    content = (tmp_path / "half.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cut\.png is no image that can be read"):
        inputs.read(tmp_path / "cut.png", how)
    for odd in (np.array([(1, 2.0)], "i4,f4"), np.array([1j]), np.array(["a"])):
        np.save(tmp_path / "odd.npy", odd)
        with pytest.raises(ValueError, match="no array of"):
            inputs.read(tmp_path / "odd.npy", how)

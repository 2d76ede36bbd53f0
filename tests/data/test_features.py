"""Log-mel and MFCC on signals whose features are known."""

import numpy as np
import pytest
import scipy.signal
from scipy.fft import idct

from bnnlib.data.features import MFCC, RATE, LogMel

SECOND = np.arange(RATE) / RATE


def tone(frequency, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * frequency * SECOND)


def slaney(frequency):
    """Hz to mel: linear below 1 kHz, logarithmic above (Auditory Toolbox)."""
    return np.where(
        frequency < 1000, 3 * frequency / 200, 15 + 27 * np.log(np.maximum(frequency, 1) / 1000) / np.log(6.4)
    )


def plain_log_mel(sound, kind):
    """One clip, a frame and a band at a time, from the definitions."""
    window = scipy.signal.get_window("hann", kind.window)  # periodic
    before = (kind.transform - kind.window) // 2
    padded = np.pad(sound, kind.transform // 2)
    edges = np.linspace(slaney(np.float64(kind.low)), slaney(np.float64(kind.high)), kind.bands + 2)
    grid = np.linspace(0, RATE / 2, 200_001)
    edges = np.interp(edges, slaney(grid), grid)
    bins = np.arange(kind.transform // 2 + 1) * RATE / kind.transform
    rows = np.empty((kind.frames, kind.bands))
    for frame in range(kind.frames):
        piece = np.zeros(kind.transform)
        first = frame * kind.hop + before
        piece[before : before + kind.window] = padded[first : first + kind.window] * window
        power = np.abs(np.fft.rfft(piece)) ** 2
        for band in range(kind.bands):
            low, middle, high = edges[band : band + 3]
            triangle = np.clip(np.minimum((bins - low) / (middle - low), (high - bins) / (high - middle)), 0, None)
            rows[frame, band] = (power * triangle).sum() * 2 / (high - low)
    return 10 * np.log10(np.maximum(rows, 10 ** (kind.floor / 10)))


@pytest.mark.parametrize("kind", [LogMel(), LogMel(window=512, hop=160, bands=64, frames=98, low=0.0)], ids=str)
def test_it_is_what_the_definitions_give(kind):
    sound = tone(440) + 0.01 * np.random.default_rng(0).standard_normal(RATE)
    np.testing.assert_allclose(kind(sound[None])[0], plain_log_mel(sound, kind), atol=2e-3)


@pytest.mark.parametrize("frequency", [300, 1000, 2500, 6000])
def test_a_tone_lands_in_its_band(frequency):
    kind = LogMel()
    edges = np.linspace(slaney(np.float64(kind.low)), slaney(np.float64(kind.high)), kind.bands + 2)
    loudest = kind(tone(frequency)[None])[0][10:40].mean(0).argmax()
    assert edges[loudest] <= slaney(np.float64(frequency)) <= edges[loudest + 2]


def test_ten_times_the_amplitude_is_twenty_decibels_more():
    loud, soft = LogMel()(np.stack([tone(1000, 0.5), tone(1000, 0.05)]))
    assert np.allclose((loud - soft)[10:40].max(1), 20, atol=0.01)


def test_power_is_kept():
    """Parseval: what the window lets through is the sum over all bins, the inner ones counted twice."""
    kind = LogMel(window=512)
    sound = np.random.default_rng(0).standard_normal((1, RATE)).astype(np.float32)
    power = kind._power(sound)[0, :, 20]
    piece = np.pad(sound[0], 256)[20 * 320 : 20 * 320 + 512] * scipy.signal.get_window("hann", 512)
    assert np.isclose(power[0] + power[-1] + 2 * power[1:-1].sum(), 512 * np.square(piece).sum(), rtol=1e-4)


@pytest.mark.parametrize("kind", [LogMel(), MFCC()], ids=str)
def test_a_clip_does_not_depend_on_its_neighbours(kind):
    rng = np.random.default_rng(0)
    clips = (rng.standard_normal((37, RATE)) * rng.uniform(10, 9000, (37, 1))).astype(np.int16)
    together = kind(clips)
    assert together.shape == (37, *kind.shape)
    assert together.dtype == np.float32
    for row in (0, 5, 36):
        assert np.array_equal(kind(clips[row : row + 1])[0], together[row])
    assert np.array_equal(kind(clips[3:29]), together[3:29])


def test_silence_has_the_floor_everywhere():
    assert (LogMel()(np.zeros((1, RATE), np.int16)) == -100).all()


def test_sixteen_bits_and_floating_point_are_the_same_sound():
    sound = np.round(tone(700) * 32768).astype(np.int16)
    assert np.array_equal(LogMel()(sound[None]), LogMel()(sound[None] / 32768))


def test_all_coefficients_give_the_spectrogram_back():
    kind = LogMel()
    sound = tone(440)[None]
    whole = MFCC(kind, coefficients=kind.bands)(sound)
    np.testing.assert_allclose(idct(whole, type=2, norm="ortho", axis=-1), kind(sound), atol=1e-3)
    assert np.array_equal(MFCC(kind)(sound), whole[..., :13])
    np.testing.assert_allclose(whole[..., 0], kind(sound).sum(-1) / kind.bands**0.5, rtol=1e-4)


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (np.zeros(RATE, np.int16), r"shape \(N, samples\)"),
        (np.zeros((1, 100), np.int16), r"more than 15680 samples, received \(1, 100\)"),
        (np.zeros((1, RATE), np.int32), "int16, or floating point with full scale 1, received int32"),
        (np.full((1, RATE), np.nan), "finite"),
    ],
)
def test_what_is_no_clip_is_refused(clips, message):
    with pytest.raises(ValueError, match=message):
        LogMel()(clips)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"window": 600}, "window must lie in 1..transform"),
        ({"high": 9000.0}, "0 <= low < high <= 8000 Hz, received 20 and 9000"),
        ({"hop": 0}, "hop must be at least 1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LogMel(**settings)
    with pytest.raises(ValueError, match=r"coefficients must lie in 1\.\.40"):
        MFCC(coefficients=41)

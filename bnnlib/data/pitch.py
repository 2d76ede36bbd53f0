"""The pitch of a voice: the fundamental frequency of what is voiced in a recording, by YIN."""

import numpy as np

from bnnlib.data.features import FULL_SCALE, RATE

__all__ = ["median_pitch"]

LOW, HIGH = 60.0, 400.0  # Hz
WINDOW, HOP = 1024, 320  # samples
QUIET = 25.0  # dB below the loudest frame: no voice


def median_pitch(sound: np.ndarray) -> float:
    """The median fundamental frequency of a recording's loud frames.

    Args:
        sound: int16 samples at 16 kHz, at least 64 ms of them.

    Returns:
        In Hz, 60..400; NaN of silence.

    Source: A. de Cheveigné and H. Kawahara, *YIN, a fundamental frequency estimator for speech and music*, JASA 2002;
    as librosa computes it.
    """
    from librosa import yin
    from librosa.feature import rms

    wave = np.asarray(sound, np.float32) / FULL_SCALE
    pitch = yin(wave, fmin=LOW, fmax=HIGH, sr=RATE, frame_length=WINDOW, hop_length=HOP, center=False)
    loud = rms(y=wave, frame_length=WINDOW, hop_length=HOP, center=False)[0][: len(pitch)]
    kept = loud > loud.max() * 10 ** (-QUIET / 20)
    return float(np.median(pitch[kept])) if kept.any() else float("nan")

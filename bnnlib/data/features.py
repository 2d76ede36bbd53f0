"""From sound to picture: log-mel spectrograms and MFCC of one-second clips, by librosa.

Each clip by itself: the features of a clip are the same, to the last bit, whatever stands beside it in a batch.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

__all__ = ["FULL_SCALE", "LENGTH", "MFCC", "RATE", "LogMel", "fitted"]

RATE = 16_000  # samples a second
LENGTH = RATE  # samples of a clip: one second
FULL_SCALE = 32_768  # of a 16-bit sample


@dataclass(frozen=True)
class LogMel:
    """Log-mel spectrograms: the power in bands that are spaced as we hear, in decibels.

    Short-time Fourier transform with a periodic Hann window, centred, zeros beyond the clip; power spectrum; triangular
    bands of equal area ("slaney", both scale and norm: librosa's defaults).

    Attributes:
        window: of the transform, in samples; 400 are 25 ms.
        hop: from one frame to the next, in samples; 320 are 20 ms.
        transform: length of the transform, in samples; the window is padded to it.
        bands: number of mel bands.
        low, high: the edges of the lowest and the highest band, in Hz.
        frames: how many are kept, the first ones: a clip of one second has 51 at a hop of 320. None keeps all.
        floor: in dB; below it nothing is told apart, and silence has this value.

    Raises:
        ValueError: a value is out of range; the message says which one.
    """

    window: int = 400
    hop: int = 320
    transform: int = 512
    bands: int = 40
    low: float = 20.0
    high: float = 8_000.0
    frames: int | None = 50
    floor: float = -100.0

    def __post_init__(self):
        if not 0 < self.window <= self.transform:
            raise ValueError(f"window must lie in 1..transform ({self.transform}), received {self.window}")
        if not 0 <= self.low < self.high <= RATE / 2:
            raise ValueError(f"bands need 0 <= low < high <= {RATE // 2} Hz, received {self.low:g} and {self.high:g}")
        for name in ("hop", "bands", "frames"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, received {getattr(self, name)}")

    @property
    def shape(self) -> tuple[int | None, int]:
        """Of one clip's features: (frames, bands)."""
        return self.frames, self.bands

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """The features of clips.

        Args:
            clips: shape (N, samples): int16, or floating point with full scale 1.

        Returns:
            float32, shape (N, frames, bands): 10 log10 of the power in each band (full scale is 1), in dB, and at least
            :attr:`floor`.

        Raises:
            ValueError: another shape or type, clips too short for the frames, or values that are not finite.
        """
        waves = _waves(clips, self.hop * ((self.frames or 1) - 1))
        power = self._power(waves)
        # a product for each clip: one large product over all clips may round differently with their number
        mel = np.matmul(_mel_bands(self.transform, self.bands, self.low, self.high), power)
        decibels = 10 * np.log10(np.maximum(mel, 10 ** (self.floor / 10)))
        np.maximum(decibels, self.floor, out=decibels)  # some processors' logarithm of the floor lies a bit below it
        return np.ascontiguousarray(decibels.transpose(0, 2, 1), np.float32)

    def _power(self, waves: np.ndarray) -> np.ndarray:
        from librosa import stft

        spectrum = stft(
            waves, n_fft=self.transform, hop_length=self.hop, win_length=self.window, window="hann", center=True,
            pad_mode="constant",
        )[..., : self.frames]  # fmt: skip
        return np.square(spectrum.real) + np.square(spectrum.imag)


@dataclass(frozen=True)
class MFCC:
    """Mel-frequency cepstral coefficients: the first ones of the cosine transform of each log-mel frame.

    Orthonormal DCT-II along the bands, no liftering, no pre-emphasis, the zeroth coefficient included.

    Attributes:
        log_mel: the spectrogram that is transformed.
        coefficients: how many are kept.

    Raises:
        ValueError: more coefficients than bands, or none.
    """

    log_mel: LogMel = LogMel()
    coefficients: int = 13

    def __post_init__(self):
        if not 1 <= self.coefficients <= self.log_mel.bands:
            raise ValueError(
                f"coefficients must lie in 1..{self.log_mel.bands} (the bands), received {self.coefficients}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """Of one clip's features: (frames, coefficients)."""
        return self.log_mel.frames, self.coefficients

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        """The features of clips, as :meth:`LogMel.__call__`: float32, shape (N, frames, coefficients)."""
        from scipy.fft import dct

        whole = dct(self.log_mel(clips), type=2, norm="ortho", axis=-1)
        return np.ascontiguousarray(whole[..., : self.coefficients])


def fitted(sound: np.ndarray) -> np.ndarray:
    """One second of a recording: silence after a shorter one, the end of a longer one cut off."""
    return np.pad(sound[:LENGTH], (0, max(0, LENGTH - len(sound))))


@lru_cache(maxsize=16)
def _mel_bands(transform: int, bands: int, low: float, high: float) -> np.ndarray:
    from librosa.filters import mel

    return mel(sr=RATE, n_fft=transform, n_mels=bands, fmin=low, fmax=high)


def _waves(clips: np.ndarray, least: int) -> np.ndarray:
    """Clips as float32 with full scale 1."""
    clips = np.asarray(clips)
    if clips.ndim != 2 or clips.shape[1] <= least:
        raise ValueError(f"clips must have shape (N, samples) with more than {least} samples, received {clips.shape}")
    if clips.dtype == np.int16:
        return clips.astype(np.float32) / FULL_SCALE
    if clips.dtype.kind != "f":
        raise ValueError(f"clips must be int16, or floating point with full scale 1, received {clips.dtype}")
    if not np.isfinite(clips).all():
        raise ValueError("clips must be finite, received NaN or infinity")
    return clips.astype(np.float32)

"""How well a detector hears its word: misses against false alarms, thresholds, events in a stream.

A clip counts as detected if its score is at or above the threshold. False alarms are given for 3,600 one-second clips
that don't hold the word: as many as an hour has, but an hour of everyday sound is not an hour of words, so they are not
false alarms per hour of use.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

__all__ = ["CLIPS", "alarm_threshold", "count_interval", "det_curve", "events", "operating_point"]

CLIPS = 3_600  # for which false alarms are given


def det_curve(scores: np.ndarray, positive: np.ndarray) -> pd.DataFrame:
    """Misses against false alarms at every threshold (Martin et al. 1997, *The DET curve*).

    Args:
        scores: higher means "the word", shape (N,).
        positive: whether the clip holds the word, bool, shape (N,).

    Returns:
        A row for each threshold that tells clips apart, ascending: ``threshold``, ``misses`` (% of the word's clips),
        ``alarms`` (false, in 3,600 clips without it).

    Raises:
        ValueError: there are no clips with the word, or none without, or a score is NaN.
    """
    scores, positive = _checked(scores, positive)
    thresholds = np.append(np.unique(scores), np.inf)
    word, other = np.sort(scores[positive]), np.sort(scores[~positive])
    missed = np.searchsorted(word, thresholds, side="left")
    rejected = np.searchsorted(other, thresholds, side="left")
    return pd.DataFrame(
        {
            "threshold": thresholds,
            "misses": 100 * missed / len(word),
            "alarms": CLIPS * (len(other) - rejected) / len(other),
        }
    )


def alarm_threshold(scores: np.ndarray, positive: np.ndarray, alarms: float) -> float:
    """The lowest threshold with at most ``alarms`` false alarms in 3,600 clips.

    Args:
        scores, positive: as in :func:`det_curve`.
        alarms: wanted.
    """
    curve = det_curve(scores, positive)
    return float(curve.loc[curve["alarms"] <= alarms, "threshold"].iloc[0])


def operating_point(scores: np.ndarray, positive: np.ndarray, threshold: float) -> dict[str, float]:
    """Misses and false alarms at a threshold, with 95 % intervals that cover the clips, not the seeds.

    Args:
        scores, positive: as in :func:`det_curve`.
        threshold: at which, and above which, a clip counts as detected.

    Returns:
        ``misses`` in percent with ``misses low`` and ``misses high`` (Clopper and Pearson's), ``alarms`` in 3,600 clips
        with ``alarms low`` and ``alarms high`` (Poisson), and the counts ``missed`` and ``false``.
    """
    scores, positive = _checked(scores, positive)
    words, others = int(positive.sum()), int((~positive).sum())
    missed, false = int((scores[positive] < threshold).sum()), int((scores[~positive] >= threshold).sum())
    low, high = proportion_confint(missed, words, method="beta")
    least, most = count_interval(false)
    return {
        "misses": 100 * missed / words, "misses low": 100 * low, "misses high": 100 * high,
        "alarms": CLIPS * false / others, "alarms low": CLIPS * least / others, "alarms high": CLIPS * most / others,
        "missed": missed, "false": false,
    }  # fmt: skip


def count_interval(count: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a Poisson mean of which ``count`` was seen (Garwood 1936)."""
    tail = (1 - level) / 2
    low = stats.chi2.ppf(tail, 2 * count) / 2 if count else 0.0
    return float(low), float(stats.chi2.ppf(1 - tail, 2 * count + 2) / 2)


def events(scores: Iterable[float], threshold: float, *, consecutive: int = 1, rest: int = 0) -> list[int]:
    """Where a detector goes off in a stream of scores.

    Args:
        scores: one after another, as a window slides.
        threshold: of a score.
        consecutive: how many in a row must reach it.
        rest: for how many scores after it went off the detector is deaf.

    Returns:
        Positions of the scores at which it went off, ascending.
    """
    if consecutive < 1 or rest < 0:
        raise ValueError(f"consecutive must be at least 1 and rest at least 0, received {consecutive} and {rest}")
    found, row, deaf = [], 0, 0
    for at, score in enumerate(scores):
        if deaf:
            deaf -= 1
            continue
        row = row + 1 if score >= threshold else 0
        if row == consecutive:
            found.append(at)
            row, deaf = 0, rest
    return found


def _checked(scores: np.ndarray, positive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores, positive = np.asarray(scores, float), np.asarray(positive, bool)
    if scores.shape != positive.shape or scores.ndim != 1:
        raise ValueError(f"scores and positive must have one shape (N,), received {scores.shape} and {positive.shape}")
    if not positive.any() or positive.all():
        raise ValueError(f"clips with and without the word are needed, received {positive.sum()} of {len(positive)}")
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN")
    return scores, positive

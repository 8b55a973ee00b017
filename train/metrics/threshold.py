"""Choose the threshold of a run on validation videos."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vad.errors import UsageError

from .inputs import bools, floats

USUAL = 0.5  # the losses train towards this border between normal and anomalous


def best_threshold(labels: ArrayLike, video_scores: ArrayLike) -> float:
    """Choose the threshold on validation videos, of which only the video labels are known.

    labels [videos] are 0 or 1; video_scores [videos] in [0, 1] should be those of `peak_scores`. A
    video is then flagged exactly if one of its frames is, so a threshold for videos is also one for
    frames.

    Thresholds are compared by Youden's J = recall - false-alarm rate (Youden, 1950), which, unlike
    F1, does not depend on the share of abnormal videos. With few videos the best J varies by
    chance, so all thresholds within one standard error of the best J are considered equal (the rule
    of Breiman et al., 1984). Of these, the one nearest to the midpoint between the mean scores of
    the two classes is chosen (Fisher's discriminant in one dimension), because no single video
    moves that midpoint far. With many videos the standard error is small, and J decides. If no
    threshold is better than chance, 0.5 is returned. All thresholds between two neighbouring scores
    flag the same videos; their candidate is the midpoint of the class means if it lies between
    these scores, else the midpoint of the two scores.

    Raises UsageError unless both labels occur.
    """
    is_abnormal = bools(labels, "labels")
    values = floats(video_scores, "scores of the videos")
    if len(values) != len(is_abnormal):
        raise UsageError(f"{len(is_abnormal)} labels for {len(values)} scores")
    n_abnormal, n_normal = int(is_abnormal.sum()), int((~is_abnormal).sum())
    if not n_abnormal or not n_normal:
        raise UsageError(
            f"a threshold cannot be chosen on {n_abnormal} abnormal and {n_normal} normal videos; "
            "validate on some of both"
        )
    middle = (values[is_abnormal].mean() + values[~is_abnormal].mean()) / 2
    known = np.unique(np.concatenate([values, [0.0, 1.0]]))
    low, high = known[:-1], known[1:]
    candidates = np.where((low < middle) & (high >= middle), middle, (low + high) / 2)
    flagged = values >= candidates[:, None]
    hits, alarms = (flagged & is_abnormal).sum(1), (flagged & ~is_abnormal).sum(1)
    # J times a constant, as an integer, so that equal values compare equal
    gain = hits * n_normal - alarms * n_abnormal
    best = int(gain.argmax())
    error = (
        n_abnormal
        * n_normal
        * np.hypot(
            _standard_error(int(hits[best]), n_abnormal),
            _standard_error(int(alarms[best]), n_normal),
        )
    )
    good = candidates[(gain >= gain[best] - error) & (gain > 0)]
    # of two equally near thresholds take the higher one, which has fewer false alarms
    return float(good[::-1][np.abs(good[::-1] - middle).argmin()]) if len(good) else USUAL


def _standard_error(count: int, n: int) -> float:
    """Return the standard error of the share `count` / `n`.

    One positive and one negative case are added, so that it is never 0.
    """
    share = (count + 1) / (n + 2)
    return float(np.sqrt(share * (1 - share) / n))

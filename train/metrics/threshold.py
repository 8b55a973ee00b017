"""The threshold from which a run flags, chosen on validation videos."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vad.errors import UsageError

from .inputs import bools, floats

USUAL = 0.5  # the losses put the border between normal and anomalous here


def best_threshold(labels: ArrayLike, video_scores: ArrayLike) -> float:
    """Choose the threshold on validation videos, of which only the labels are known.

    labels [videos], 0 or 1; video_scores [videos] in [0, 1], which should be `peak_scores`. Then a
    video is flagged exactly when one of its frames is, so that a threshold of videos is one of
    frames.

    A threshold is as good as its Youden's J = recall - false-alarm rate (Youden, 1950), which,
    unlike F1, does not depend on the share of abnormal videos. On few videos the best J varies by
    chance. So all thresholds within one standard error of the best J are taken for equal (the rule
    of Breiman et al., 1984), and the one nearest to the middle between the mean scores of the two
    classes is chosen (Fisher's discriminant in one dimension), which no single video moves far.
    With many videos the error is small, and J decides. Where no threshold is better than chance,
    it is 0.5. Thresholds between two neighbouring scores flag the same videos; the candidate for
    all of them is the middle between the means where it lies among them, else their own middle.

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
    gain = hits * n_normal - alarms * n_abnormal  # J in whole numbers, so that equals are equal
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
    # of two equally near the higher one, with fewer false alarms
    return float(good[::-1][np.abs(good[::-1] - middle).argmin()]) if len(good) else USUAL


def _standard_error(count: int, n: int) -> float:
    """The standard error of a share. One of either kind is added, so that it is never 0."""
    share = (count + 1) / (n + 2)
    return float(np.sqrt(share * (1 - share) / n))

"""The threshold that a run flags from, chosen on validation videos."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vad.errors import UsageError

from .inputs import bools, floats


def best_threshold(labels: ArrayLike, video_scores: ArrayLike) -> float:
    """Choose the threshold on validation videos, of which only the labels are known.

    labels and video_scores [videos]; the scores should be `peak_scores`. Then a video is flagged
    exactly when at least one of its frames is, so the threshold read off the videos is the frame
    threshold itself, judged by the one consequence of it that weak labels can see. The mean of the
    top k would not do: it lies lower, and as a frame threshold it would flag too much. What it
    cannot see is how much of an event it covers: it keeps normal videos quiet first, so events
    come out rather too short than too long.

    The threshold maximises Youden's J = recall - false-alarm rate (Youden, 1950). Unlike F1 it
    does not depend on the share of abnormal videos, which validation and use need not have in
    common, and a detector that knows nothing gains nothing by flagging everything. Candidates lie
    half-way between neighbouring scores (and 0 and 1); of equals the highest, with the fewest
    false alarms, is taken. Raises UsageError unless both labels occur.
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
    known = np.unique(np.concatenate([values, [0.0, 1.0]]))
    candidates = (known[:-1] + known[1:]) / 2
    flagged = values >= candidates[:, None]
    # J times n_abnormal * n_normal: whole numbers, so that equals are equal
    gain = (flagged & is_abnormal).sum(1) * n_normal - (flagged & ~is_abnormal).sum(1) * n_abnormal
    return float(candidates[gain == gain.max()].max())

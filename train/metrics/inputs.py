"""Check the input of the metrics (truth, scores, labels), and pool the frames of all videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vad.errors import UsageError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Pool:
    """The frames of several videos, compressed to runs of frames with the same score and truth.

    The frames of a snippet share a score, so a test set of a million frames has about seventy
    thousand runs. Metrics of the runs, weighted by their lengths, equal those of the frames.
    """

    truth: Bools  # [runs]
    scores: Floats  # [runs]
    n_frames: Ints  # [runs], length of the run in frames
    video: Ints  # [runs], index of the video

    @classmethod
    def of(cls, truth: Sequence[Bools], scores: Sequence[Floats]) -> Pool:
        """Pool the frames of videos; truth and scores have an array [frames] per video."""
        runs = []
        for index, (t, s) in enumerate(zip(truth, scores, strict=True)):
            changes = np.flatnonzero((np.diff(s) != 0) | (t[1:] != t[:-1])) + 1
            starts = np.concatenate([[0], changes])
            lengths = np.diff(starts, append=len(s))
            runs.append((t[starts], s[starts], lengths, np.full(len(starts), index)))
        return cls(*(np.concatenate(column) for column in zip(*runs, strict=True)))

    def of_videos(self, chosen: Bools) -> Pool:
        """Return the runs of those videos that are True in chosen [videos]."""
        inside = chosen[self.video]
        return Pool(
            self.truth[inside], self.scores[inside], self.n_frames[inside], self.video[inside]
        )


def validate(
    truth: Sequence[ArrayLike], scores: Sequence[ArrayLike], labels: ArrayLike
) -> tuple[list[Bools], list[Floats], Bools]:
    """Check the input of an evaluation and return it as bool and float64 arrays.

    truth and scores have an array [frames] per video; labels is [videos]. Raises UsageError, with
    the index of the video, if lengths differ, a score is not a number in [0, 1], a truth or label
    is not 0 or 1, or a video labelled normal has anomalous frames.
    """
    is_abnormal = bools(labels, "labels")
    if not len(truth) == len(scores) == len(is_abnormal):
        raise UsageError(
            f"truth of {len(truth)} videos, scores of {len(scores)} and labels of "
            f"{len(is_abnormal)}: every video needs one of each"
        )
    if not len(truth):
        raise UsageError("there is no video to evaluate")
    truths, values = [], []
    for index, (one_truth, one_scores) in enumerate(zip(truth, scores, strict=True)):
        truths.append(bools(one_truth, f"truth of video {index}"))
        values.append(floats(one_scores, f"scores of video {index}"))
        if len(truths[-1]) != len(values[-1]):
            raise UsageError(
                f"video {index} has truth for {len(truths[-1])} frames and scores for "
                f"{len(values[-1])}"
            )
        if truths[-1].any() and not is_abnormal[index]:
            raise UsageError(
                f"video {index} is labelled normal, but {truths[-1].sum()} of its frames are "
                "anomalous by the truth"
            )
    return truths, values, is_abnormal


def bools(values: ArrayLike, name: str) -> Bools:
    """Return values of 0 and 1 (or booleans) as a bool array [values]; else raises UsageError."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise UsageError(f"{name}: one axis is needed, got shape {list(array.shape)}")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise UsageError(f"{name}: only 0 and 1 (or false and true) are allowed")
    return array.astype(bool)


def floats(values: ArrayLike, name: str) -> Floats:
    """Return numbers in [0, 1] as a non-empty float64 array [values]; else raises UsageError."""
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array):
        raise UsageError(f"{name}: one axis of at least 1 is needed, got {list(array.shape)}")
    if not np.isfinite(array).all():
        raise UsageError(f"{name}: {(~np.isfinite(array)).sum()} are not finite numbers")
    if array.min() < 0 or array.max() > 1:
        raise UsageError(
            f"{name} reach from {array.min():g} to {array.max():g}; they must lie in [0, 1]"
        )
    return array


def peak_scores(scores: Sequence[ArrayLike]) -> Floats:
    """Return the highest frame score of every video, [videos]; scores has an array [frames] per
    video.
    """
    return np.array([np.max(np.asarray(one, np.float64)) for one in scores])


def ratio(part: float, whole: float) -> float | None:
    """Return `part / whole`, or None if `whole` is 0."""
    return part / whole if whole else None

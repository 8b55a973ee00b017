"""The input of metrics: truth, scores and labels, checked; and the frames of all videos pooled."""

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
    """The frames of several videos as runs of one score and one truth.

    Frames of a snippet share a score, so a test set of a million frames is some seventy thousand
    runs, and weighted by their lengths these have the figures of the frames.
    """

    truth: Bools  # [runs]
    scores: Floats  # [runs]
    n_frames: Ints  # [runs]
    video: Ints  # [runs], the index of the video

    @classmethod
    def of(cls, truth: Sequence[Bools], scores: Sequence[Floats]) -> Pool:
        """Pool the frames of videos: truth and scores, an array [frames] per video."""
        runs = []
        for index, (t, s) in enumerate(zip(truth, scores, strict=True)):
            changes = np.flatnonzero((np.diff(s) != 0) | (t[1:] != t[:-1])) + 1
            starts = np.concatenate([[0], changes])
            lengths = np.diff(starts, append=len(s))
            runs.append((t[starts], s[starts], lengths, np.full(len(starts), index)))
        return cls(*(np.concatenate(column) for column in zip(*runs, strict=True)))

    def of_videos(self, chosen: Bools) -> Pool:
        """The runs of some of the videos, chosen [videos]."""
        inside = chosen[self.video]
        return Pool(
            self.truth[inside], self.scores[inside], self.n_frames[inside], self.video[inside]
        )


def validate(
    truth: Sequence[ArrayLike], scores: Sequence[ArrayLike], labels: ArrayLike
) -> tuple[list[Bools], list[Floats], Bools]:
    """Check the input of an evaluation and give it back as bool and float64 arrays.

    truth and scores, an array [frames] per video; labels [videos]. Raises UsageError, naming the
    video by its index, where lengths differ, a score is not a number in [0, 1], a truth or label is
    not 0 or 1, or a video labelled normal has anomalous frames.
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
    """0 and 1, or false and true, as a bool array [values]; UsageError for anything else."""
    array = np.asarray(values)
    if array.ndim != 1:
        raise UsageError(f"{name}: one axis is needed, got shape {list(array.shape)}")
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise UsageError(f"{name}: only 0 and 1 (or false and true) are allowed")
    return array.astype(bool)


def floats(values: ArrayLike, name: str) -> Floats:
    """Numbers in [0, 1] as a float64 array [values]; UsageError for anything else."""
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
    """The highest score of the frames of every video: an array [frames] per video -> [videos]."""
    return np.array([np.max(np.asarray(one, np.float64)) for one in scores])


def ratio(part: float, whole: float) -> float | None:
    """`part / whole`; None where `whole` is 0."""
    return part / whole if whole else None

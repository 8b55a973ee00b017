"""How good scores are: frame truth and frame scores in, named figures out.

Conventions
    truth       one bool array [frames] a video, True where a frame is anomalous
    scores      one float array [frames] a video, in [0, 1], higher is more anomalous
    labels      [videos], 1 for an abnormal video, 0 for a normal one
    threshold   a score is flagged when it is >= the threshold, for frames and videos alike
    A video's score is the highest of its frames, unless `video_scores` says otherwise.
    Frame figures pool the frames of all videos (micro), as every published protocol does.
    A figure that has no value (0 / 0, or a ranking of one class only) is None.

Metrics
    auc               area under the ROC curve, a tie counts half (Fawcett, 2006)
    ap                average precision, the step-wise sum: VadCLIP's and TEVAD's "AP"
    pr_auc            trapezoid under the precision-recall curve: RTFM's, MGFN's and UR-DMU's
                      "PR-AUC" or "AP". It interpolates over ties, so it flatters saturated scores
    accuracy, precision, recall, f1, macro_f1     at a threshold
    false_alarm_rate  share flagged of what lies in normal videos (PEL4VAD's "FAR")
    oracle            the ranking figures of a score that is the video's label and knows nothing
                      about time: what a frame figure has to be held against
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import auc as area
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from vad.errors import UsageError

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Figures = dict[str, Any]

HALF = 0.5  # the threshold of most published F1 and accuracy figures

WHY_UNDEFINED = {
    "auc": "needs both classes, and there is only one",
    "ap": "needs both classes, and there is only one",
    "pr_auc": "needs both classes, and there is only one",
    "precision": "nothing reaches the threshold",
    "recall": "nothing is anomalous",
    "f1": "nothing is anomalous and nothing is flagged",
    "macro_f1": "one of the two classes neither occurs nor is predicted",
    "false_alarm_rate": "there is no normal video",
    "at_threshold": "no threshold was given",
}


def validate(
    truth: Sequence[ArrayLike], scores: Sequence[ArrayLike], labels: ArrayLike
) -> tuple[list[Bools], list[Floats], Bools]:
    """Check one evaluation's input and give it back as bool and float64 arrays.

    Raises UsageError, naming the video by its index, where lengths differ, a score is not a number
    in [0, 1], a truth or label is not 0 or 1, or a video labelled normal has anomalous frames.
    """
    is_abnormal = _bools(labels, "labels")
    if not len(truth) == len(scores) == len(is_abnormal):
        raise UsageError(
            f"truth of {len(truth)} videos, scores of {len(scores)} and labels of "
            f"{len(is_abnormal)}: one of each a video is needed"
        )
    if not len(truth):
        raise UsageError("there is no video to evaluate")
    truths, values = [], []
    for index, (one_truth, one_scores) in enumerate(zip(truth, scores, strict=True)):
        truths.append(_bools(one_truth, f"truth of video {index}"))
        values.append(_floats(one_scores, f"scores of video {index}"))
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


def _bools(values: ArrayLike, name: str) -> Bools:
    array = np.asarray(values)
    if array.ndim != 1:
        raise UsageError(f"{name}: one axis is needed, got shape {list(array.shape)}")
    if not np.isin(array, (0, 1)).all():
        raise UsageError(f"{name}: only 0 and 1 (or false and true) are allowed")
    return array.astype(bool)


def _floats(values: ArrayLike, name: str) -> Floats:
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
    """Give every video the highest score of its frames: [frames] a video -> [videos]."""
    return np.array([np.max(np.asarray(one, np.float64)) for one in scores])


def ranking(truth: Bools, scores: Floats) -> Figures:
    """Say how well scores rank, whatever the threshold: auc, ap, pr_auc; None for one class.

    truth and scores [frames] or [videos]
    """
    if truth.all() or not truth.any():
        return {"auc": None, "ap": None, "pr_auc": None}
    precision, recall, _ = precision_recall_curve(truth, scores)
    return {
        "auc": float(roc_auc_score(truth, scores)),
        "ap": float(average_precision_score(truth, scores)),
        "pr_auc": float(area(recall, precision)),
    }


def confusion(truth: Bools, flagged: Bools) -> dict[str, int]:
    """Count true and false negatives and positives: tn, fp, fn, tp."""
    counts = np.bincount(2 * truth.astype(np.int64) + flagged, minlength=4)
    return dict(zip(("tn", "fp", "fn", "tp"), counts.tolist(), strict=True))


def decision(truth: Bools, flagged: Bools) -> Figures:
    """Say how good flags are: f1, macro_f1, accuracy, precision, recall and the confusion."""
    counts = confusion(truth, flagged)
    tn, fp, fn, tp = counts.values()
    f1, f1_of_normal = _ratio(2 * tp, 2 * tp + fp + fn), _ratio(2 * tn, 2 * tn + fp + fn)
    return {
        "f1": f1,
        "macro_f1": None if f1 is None or f1_of_normal is None else (f1 + f1_of_normal) / 2,
        "accuracy": _ratio(tp + tn, len(truth)),
        "precision": _ratio(tp, tp + fp),
        "recall": _ratio(tp, tp + fn),
        "confusion": counts,
    }


def false_alarm_rate(flagged: Bools, in_abnormal: Bools) -> float | None:
    """Give the share flagged of what lies in normal videos (a frame, or the video as a whole)."""
    return _ratio(int(flagged[~in_abnormal].sum()), int((~in_abnormal).sum()))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


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
    is_abnormal = _bools(labels, "labels")
    values = _floats(video_scores, "scores of the videos")
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


def evaluate(
    truth: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    threshold: float | None = None,
    video_scores: ArrayLike | None = None,
) -> Figures:
    """Compute every figure of one test set, ready for JSON.

    truth and scores [frames] a video, labels [videos]; `threshold` is the one chosen on
    validation; `video_scores` [videos] are the highest frame scores by default.

        frame, abnormal_only, oracle    auc, ap, pr_auc: of all frames, of the frames of abnormal
                                        videos, of the label alone on all frames
        at_0.5, at_threshold            f1, macro_f1, accuracy, precision, recall,
                                        false_alarm_rate, confusion, threshold: of frames
        video                           auc, ap, pr_auc, at_0.5, at_threshold: of whole videos
        counts                          n_videos, n_abnormal_videos, n_frames, n_anomalous_frames
        undefined                       figure that is None -> why

    Raises UsageError where the input is wrong (see `validate`).
    """
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"the threshold is {threshold:g}; it must lie in [0, 1]")
    truths, values, is_abnormal = validate(truth, scores, labels)
    peaks = peak_scores(values)
    if video_scores is not None:
        peaks = _floats(video_scores, "scores of the videos")
    if len(peaks) != len(truths):
        raise UsageError(f"{len(peaks)} video scores for {len(truths)} videos")
    in_abnormal = np.repeat(is_abnormal, [len(one) for one in truths])
    of_frames, frame_scores = np.concatenate(truths), np.concatenate(values)

    def at(level: float | None) -> tuple[Figures | None, Figures | None]:
        if level is None:
            return None, None
        frames = _at(level, of_frames, frame_scores, in_abnormal)
        return frames, _at(level, is_abnormal, peaks, is_abnormal)

    (frames_at_half, videos_at_half), (frames_at, videos_at) = at(HALF), at(threshold)
    figures: Figures = {
        "frame": ranking(of_frames, frame_scores),
        "abnormal_only": ranking(of_frames[in_abnormal], frame_scores[in_abnormal]),
        "oracle": ranking(of_frames, in_abnormal.astype(np.float64)),
        "at_0.5": frames_at_half,
        "at_threshold": frames_at,
        "video": ranking(is_abnormal, peaks)
        | {"at_0.5": videos_at_half, "at_threshold": videos_at},
        "counts": {
            "n_videos": len(truths),
            "n_abnormal_videos": int(is_abnormal.sum()),
            "n_frames": len(of_frames),
            "n_anomalous_frames": int(of_frames.sum()),
        },
    }
    return figures | {"undefined": _undefined(figures)}


def _at(threshold: float, truth: Bools, scores: Floats, in_abnormal: Bools) -> Figures:
    flagged = scores >= threshold
    return decision(truth, flagged) | {
        "false_alarm_rate": false_alarm_rate(flagged, in_abnormal),
        "threshold": float(threshold),
    }


def _undefined(figures: Figures, prefix: str = "") -> dict[str, str]:
    """Name every figure that is None by its path, with the reason."""
    reasons: dict[str, str] = {}
    for name, value in figures.items():
        if value is None:
            reasons[prefix + name] = WHY_UNDEFINED[name]
        elif isinstance(value, dict):
            reasons |= _undefined(value, f"{prefix}{name}.")
    return reasons

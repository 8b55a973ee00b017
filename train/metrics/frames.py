"""Figures of frames or of whole videos: how scores rank, and how good flags are."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import auc as area
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from .inputs import Bools, Figures, Floats, Ints, Pool, ratio

SWEEP = 101  # thresholds of a sweep, at most


def ranking(truth: Bools, scores: Floats, n: Ints | None = None) -> Figures:
    """Say how well scores rank, whatever the threshold: auc, ap, pr_auc; None for one class.

    truth and scores [frames] or [videos], or runs of `n` equal ones
    """
    if truth.all() or not truth.any():
        return {"auc": None, "ap": None, "pr_auc": None}
    precision, recall, _ = precision_recall_curve(truth, scores, sample_weight=n)
    return {
        "auc": float(roc_auc_score(truth, scores, sample_weight=n)),
        "ap": float(average_precision_score(truth, scores, sample_weight=n)),
        "pr_auc": float(area(recall, precision)),
    }


def confusion(truth: Bools, flagged: Bools, n: Ints | None = None) -> dict[str, int]:
    """Count true and false negatives and positives: tn, fp, fn, tp."""
    counts = np.bincount(2 * truth.astype(np.int64) + flagged, weights=n, minlength=4)
    return dict(zip(("tn", "fp", "fn", "tp"), map(int, counts), strict=True))


def decision(truth: Bools, flagged: Bools, n: Ints | None = None) -> Figures:
    """Say how good flags are: f1, macro_f1, accuracy, precision, recall and the confusion."""
    counts = confusion(truth, flagged, n)
    tn, fp, fn, tp = counts.values()
    f1, f1_of_normal = ratio(2 * tp, 2 * tp + fp + fn), ratio(2 * tn, 2 * tn + fp + fn)
    return {
        "f1": f1,
        "macro_f1": None if f1 is None or f1_of_normal is None else (f1 + f1_of_normal) / 2,
        "accuracy": ratio(tp + tn, tp + tn + fp + fn),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "confusion": counts,
    }


def sweep(pool: Pool, in_abnormal: Bools) -> tuple[list[Figures], Figures | None]:
    """What every threshold would give, and the one of the highest Youden's J.

    in_abnormal [runs]. Rows have threshold, precision, recall, f1, false_alarm_rate (of normal
    videos) and youden = recall - share of all normal frames that is flagged (Youden, 1950); they
    are spread evenly over the distinct scores. The second value is the best row of all thresholds:
    chosen with the truth in hand, so it says what was possible, not what was reached. None where
    one of the classes is missing.
    """
    order = np.argsort(-pool.scores, kind="stable")
    scores, n = pool.scores[order], pool.n_frames[order]
    ends = np.flatnonzero(np.diff(scores, append=-1.0))  # the last run of every distinct score

    def flagged(which: Bools) -> Floats:
        return np.cumsum(n * which[order])[ends].astype(np.float64)

    tp, fp, quiet = flagged(pool.truth), flagged(~pool.truth), flagged(~in_abnormal)
    with np.errstate(invalid="ignore"):  # 0 / 0 where a class is missing
        recall, false_rate = tp / tp[-1], fp / fp[-1]
        columns = {
            "threshold": scores[ends],
            "precision": tp / (tp + fp),
            "recall": recall,
            "f1": 2 * tp / (tp[-1] + tp + fp),
            "false_alarm_rate": quiet / quiet[-1],
            "youden": recall - false_rate,
        }

    def row(index: int) -> Figures:
        values = {name: float(column[index]) for name, column in columns.items()}
        return {name: None if np.isnan(value) else value for name, value in values.items()}

    shown = np.unique(np.linspace(0, len(ends) - 1, SWEEP).round().astype(int))
    both = tp[-1] and fp[-1]
    return [row(i) for i in shown], row(int(columns["youden"].argmax())) if both else None

"""Figures of frames or of whole videos: how scores rank, and how good flags are."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import auc as area
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from .figures import Confusion, Decision, Ranking, SweepRow
from .inputs import Bools, Floats, Ints, Pool, ratio

SWEEP = 101  # thresholds of a sweep, at most


def ranking(truth: Bools, scores: Floats, n: Ints | None = None) -> Ranking:
    """Measure how well scores rank, whatever the threshold; None where one class is missing.

    truth and scores [frames] or [videos]; with n [runs], runs of `n` equal ones.
    """
    if truth.all() or not truth.any():
        return Ranking(None, None, None)
    precision, recall, _ = precision_recall_curve(truth, scores, sample_weight=n)
    return Ranking(
        auc=float(roc_auc_score(truth, scores, sample_weight=n)),
        ap=float(average_precision_score(truth, scores, sample_weight=n)),
        pr_auc=float(area(recall, precision)),
    )


def confusion(truth: Bools, flagged: Bools, n: Ints | None = None) -> Confusion:
    """Count true and false negatives and positives.

    truth and flagged [frames] or [videos]; with n [runs], runs of `n` equal ones.
    """
    counts = np.bincount(2 * truth.astype(np.int64) + flagged, weights=n, minlength=4)
    return Confusion(*map(int, counts))


def decision(truth: Bools, flagged: Bools, n: Ints | None = None) -> Decision:
    """Measure how good flags are: truth and flagged [frames] or [videos], or [runs] of n [runs]."""
    counts = confusion(truth, flagged, n)
    tn, fp, fn, tp = counts.tn, counts.fp, counts.fn, counts.tp
    f1, f1_of_normal = ratio(2 * tp, 2 * tp + fp + fn), ratio(2 * tn, 2 * tn + fp + fn)
    return Decision(
        f1=f1,
        macro_f1=None if f1 is None or f1_of_normal is None else (f1 + f1_of_normal) / 2,
        accuracy=ratio(tp + tn, tp + tn + fp + fn),
        precision=ratio(tp, tp + fp),
        recall=ratio(tp, tp + fn),
        confusion=counts,
    )


def sweep(pool: Pool, in_abnormal: Bools) -> tuple[list[SweepRow], SweepRow | None]:
    """Measure what every threshold gives, and find the one of the highest Youden's J.

    in_abnormal [runs] says which runs lie in abnormal videos. The rows, at most `SWEEP`, are spread
    evenly over the distinct scores. The second value is the best row of all thresholds (Youden,
    1950). It is chosen with the truth in hand, so it says what was possible, not what was reached.
    It is None where one of the classes is missing.
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

    def row(index: int) -> SweepRow:
        values = {name: float(column[index]) for name, column in columns.items()}
        rest = {n: None if np.isnan(v) else v for n, v in values.items() if n != "threshold"}
        return SweepRow(values["threshold"], **rest)

    shown = np.unique(np.linspace(0, len(ends) - 1, SWEEP).round().astype(int))
    both = tp[-1] and fp[-1]
    return [row(i) for i in shown], row(int(columns["youden"].argmax())) if both else None

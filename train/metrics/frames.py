"""Metrics of frames or of whole videos: rankings by score, and decisions at thresholds."""

from __future__ import annotations

import numpy as np

from .figures import Confusion, Decision, Ranking, SweepRow
from .inputs import Bools, Floats, Ints, Pool, ratio

SWEEP = 101  # maximum number of thresholds in a sweep


def ranking(truth: Bools, scores: Floats, n: Ints | None = None) -> Ranking:
    """Compute auc, ap and pr_auc; all are None if one of the classes is missing.

    truth and scores are [frames] or [videos]. With n they are [runs]: element i stands for n[i]
    consecutive frames with the same truth and score.
    """
    if truth.all() or not truth.any():
        return Ranking(None, None, None)
    # loaded here, as it takes seconds, and modules that only score import this one
    from sklearn.metrics import auc as area
    from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

    precision, recall, _ = precision_recall_curve(truth, scores, sample_weight=n)
    return Ranking(
        auc=float(roc_auc_score(truth, scores, sample_weight=n)),
        ap=float(average_precision_score(truth, scores, sample_weight=n)),
        pr_auc=float(area(recall, precision)),
    )


def confusion(truth: Bools, flagged: Bools, n: Ints | None = None) -> Confusion:
    """Count true and false negatives and positives.

    truth and flagged are [frames] or [videos]. With n they are [runs]: element i counts n[i] times.
    """
    counts = np.bincount(2 * truth.astype(np.int64) + flagged, weights=n, minlength=4)
    return Confusion(*map(int, counts))


def decision(truth: Bools, flagged: Bools, n: Ints | None = None) -> Decision:
    """Compute F1, accuracy, precision and recall of flags.

    truth and flagged are [frames] or [videos]. With n they are [runs]: element i counts n[i] times.
    """
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
    """Compute the metrics at many thresholds, and find the threshold with the highest Youden's J.

    in_abnormal [runs] is True for the frames of abnormal videos. The returned rows, at most
    `SWEEP`, are spread evenly over the distinct scores. The second value is the row with the
    highest J among all thresholds (Youden, 1950); since it is chosen on the test labels, it shows
    what was possible, not what a user would get. It is None if one of the classes is missing.
    """
    order = np.argsort(-pool.scores, kind="stable")
    scores, n = pool.scores[order], pool.n_frames[order]
    # last run of frames of every distinct score
    ends = np.flatnonzero(np.diff(scores, append=-1.0))

    def flagged(which: Bools) -> Floats:
        return np.cumsum(n * which[order])[ends].astype(np.float64)

    tp, fp, quiet = flagged(pool.truth), flagged(~pool.truth), flagged(~in_abnormal)
    with np.errstate(invalid="ignore"):  # 0 / 0 if a class is missing
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

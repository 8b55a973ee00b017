"""How far figures might be off: 95 % intervals over the videos.

The videos are drawn anew, with replacement, as many normal and as many abnormal ones as there are
(the percentile bootstrap of Efron and Tibshirani, 1993, within the two classes). Frames of one
video are not independent, so they come together. The interval says what other test videos of the
same kind would give, not what another training would.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .inputs import Bools, Floats, Ints, Pool

N = 1000  # resamples
LEVELS = (2.5, 97.5)  # percent

Interval = tuple[float, float]


def draw(is_abnormal: Bools, n: int, random: np.random.Generator) -> Ints:
    """How often every video is in each resample, [n, videos]."""
    counts = np.zeros((n, len(is_abnormal)), np.int64)
    for members in (np.flatnonzero(is_abnormal), np.flatnonzero(~is_abnormal)):
        if len(members):
            even = np.full(len(members), 1 / len(members))
            counts[:, members] = random.multinomial(len(members), even, size=n)
    return counts


def interval(values: Floats) -> Interval | None:
    """The middle 95 % of the resamples [n] that have a value; None if some have none."""
    if not len(values) or not np.isfinite(values).all():
        return None
    low, high = np.percentile(values, LEVELS)
    return float(low), float(high)


class Ranker:
    """Ranks the frames once, and then gives auc, ap and pr_auc for any weights of the videos.

    The same figures as `frames.ranking`, for repeated videos, without sorting again.
    """

    def __init__(self, pool: Pool) -> None:
        order = np.argsort(-pool.scores, kind="stable")
        scores = pool.scores[order]
        self._video = pool.video[order]
        self._positive = (pool.n_frames * pool.truth)[order]
        self._negative = (pool.n_frames * ~pool.truth)[order]
        self._ends = np.flatnonzero(np.diff(scores, append=-1.0))  # of equal scores

    def __call__(self, weights: NDArray[np.int64]) -> tuple[float, float, float]:
        """Weights [videos] -> auc, ap, pr_auc; not a number where a class is missing."""
        weight = weights[self._video]
        tp = np.cumsum(weight * self._positive)[self._ends].astype(np.float64)
        fp = np.cumsum(weight * self._negative)[self._ends].astype(np.float64)
        if not len(tp) or not tp[-1] or not fp[-1]:
            return np.nan, np.nan, np.nan
        some = tp + fp > 0  # before the first drawn video there is no precision
        tp, fp = tp[some], fp[some]
        tp_before, fp_before = np.append(0, tp[:-1]), np.append(0, fp[:-1])
        auc = ((fp - fp_before) * (tp + tp_before)).sum() / (2 * tp[-1] * fp[-1])
        precision, step = tp / (tp + fp), (tp - tp_before) / tp[-1]
        before = np.append(1.0, precision[:-1])  # the curve begins at precision 1
        return (
            float(auc),
            float((step * precision).sum()),
            float((step * (precision + before)).sum() / 2),
        )


def ranking_intervals(pool: Pool, counts: Ints) -> dict[str, Interval | None]:
    """Intervals of auc, ap and pr_auc: counts [n, videos] of `draw`."""
    rank = Ranker(pool)
    values = np.array([rank(weights) for weights in counts])
    return {name: interval(values[:, i]) for i, name in enumerate(("auc", "ap", "pr_auc"))}


def decision_intervals(
    confusions: Ints, is_abnormal: Bools, counts: Ints
) -> dict[str, Interval | None]:
    """Intervals of figures at a threshold: confusions [videos, 4] (tn, fp, fn, tp)."""
    tn, fp, fn, tp = (counts @ confusions).T.astype(np.float64)
    normal = np.where(is_abnormal[:, None], 0, confusions)
    quiet, alarms = (counts @ normal)[:, :2].T.astype(np.float64)
    figures: dict[str, Callable[[], Floats]] = {
        "f1": lambda: 2 * tp / (2 * tp + fp + fn),
        "accuracy": lambda: (tp + tn) / (tp + tn + fp + fn),
        "precision": lambda: tp / (tp + fp),
        "recall": lambda: tp / (tp + fn),
        "false_alarm_rate": lambda: alarms / (alarms + quiet),
    }
    with np.errstate(invalid="ignore"):  # 0 / 0: no interval
        return {name: interval(figure()) for name, figure in figures.items()}

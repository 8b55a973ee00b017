"""95 % confidence intervals, by the percentile bootstrap over videos (Efron and Tibshirani, 1993).

Every resample draws as many normal and as many abnormal videos as there are, with replacement.
Whole videos are drawn because frames of one video are not independent. An interval shows how much a
metric would vary over other test videos of the same kind, not over repeated trainings.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from .figures import Interval
from .inputs import Bools, Floats, Ints, Pool

N = 1000  # number of resamples
LEVELS = (2.5, 97.5)  # percent


def draw(is_abnormal: Bools, n: int, random: np.random.Generator) -> Ints:
    """Draw n resamples and return how often each contains every video, [n, videos].

    is_abnormal is [videos].
    """
    counts = np.zeros((n, len(is_abnormal)), np.int64)
    for members in (np.flatnonzero(is_abnormal), np.flatnonzero(~is_abnormal)):
        if len(members):
            even = np.full(len(members), 1 / len(members))
            counts[:, members] = random.multinomial(len(members), even, size=n)
    return counts


def interval(values: Floats) -> Interval | None:
    """Return the 95 % interval of a metric from its values [resamples].

    Returns None if there are no values or one is not finite.
    """
    if not len(values) or not np.isfinite(values).all():
        return None
    low, high = np.percentile(values, LEVELS)
    return float(low), float(high)


class Ranker:
    """Computes auc, ap and pr_auc for many weightings of the videos, sorting the frames only once.

    The results equal those of `frames.ranking` if every video is repeated as often as its weight.
    """

    def __init__(self, pool: Pool) -> None:
        order = np.argsort(-pool.scores, kind="stable")
        scores = pool.scores[order]
        self._video = pool.video[order]
        self._positive = (pool.n_frames * pool.truth)[order]
        self._negative = (pool.n_frames * ~pool.truth)[order]
        # last index of every group of equal scores
        self._ends = np.flatnonzero(np.diff(scores, append=-1.0))

    def __call__(self, weights: NDArray[np.int64]) -> tuple[float, float, float]:
        """Return auc, ap and pr_auc for weights [videos]; nan if one of the classes is missing."""
        weight = weights[self._video]
        tp = np.cumsum(weight * self._positive)[self._ends].astype(np.float64)
        fp = np.cumsum(weight * self._negative)[self._ends].astype(np.float64)
        if not len(tp) or not tp[-1] or not fp[-1]:
            return np.nan, np.nan, np.nan
        # scores of videos that were not drawn: no frame is flagged, so no precision exists
        some = tp + fp > 0
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
    """Return the 95 % intervals of auc, ap and pr_auc.

    counts [n, videos] are the resamples of `draw`.
    """
    rank = Ranker(pool)
    values = np.array([rank(weights) for weights in counts])
    return {name: interval(values[:, i]) for i, name in enumerate(("auc", "ap", "pr_auc"))}


def decision_intervals(
    confusions: Ints, is_abnormal: Bools, counts: Ints
) -> dict[str, Interval | None]:
    """Return the intervals of the metrics at a threshold.

    confusions [videos, 4] has tn, fp, fn and tp of every video; is_abnormal is [videos]; counts [n,
    videos] are the resamples of `draw`.
    """
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
    with np.errstate(invalid="ignore"):  # 0 / 0 gives nan, hence no interval
        return {name: interval(figure()) for name, figure in figures.items()}

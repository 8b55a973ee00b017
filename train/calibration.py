"""From held-out scores and video labels to chances, a threshold, and what to expect.

Only the labels of videos are known. All snippets of normal videos are normal; of an abnormal video,
the half with the highest scores stands for the anomaly. Between two groups of equal spread the log
odds are linear in the score (Fisher's discriminant), so one increasing map serves all snippets and
rankings stay as they are. With few videos the map is drawn towards the usual one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vad.labels import Label

from .card import Calibration
from .metrics import best_threshold
from .split import FEW

SHARE = 0.5  # of an abnormal video's snippets that stand for the anomaly
USUAL = Calibration(slope=1.5, offset=0.0)  # of standardised scores, without any video
USUAL_VIDEOS = 40  # videos that weigh as much as the usual map
STEEPEST = 4.0  # slope; a steeper one would make different scores equal in float32
NORMAL_QUANTILE = 0.99  # of normal snippets below the threshold, if no video is abnormal

Scores = dict[str, NDArray[np.float64]]  # [snippets] by video


@dataclass(frozen=True)
class Decided:
    """The calibration and the threshold that held-out scores lead to, with metrics and advice."""

    calibration: Calibration
    threshold: float
    figures: Mapping[str, float] = field(default_factory=dict)
    doubt: str = ""
    expected: str = ""


def calibrate(heldout: Scores, labels: Sequence[Label]) -> Decided:
    """Fit the map from combined scores to chances, and choose the threshold."""
    from sklearn.metrics import roc_auc_score  # takes seconds to load, and scoring needs none of it

    known = np.array([label.label for label in labels])
    if not known.any():
        return _of_normal(heldout)
    scores = [heldout[label.video] for label in labels]
    calibration = fit_map(scores, known)
    peaks = calibration.chances(np.array([z.max() for z in scores]))
    threshold = best_threshold(known, peaks)
    flagged = peaks >= threshold
    figures = {
        "heldout/video_auc": float(roc_auc_score(known, peaks)),
        "heldout/found": float(flagged[known == 1].mean()),
        "heldout/false_alarms": float(flagged[known == 0].mean()),
    }
    n_normal, n_abnormal = np.bincount(known, minlength=2)
    doubt = ""
    if min(n_normal, n_abnormal) < FEW:
        doubt = f"{n_normal} normal and {n_abnormal} abnormal videos are too few to rely on"
    return Decided(calibration, threshold, figures, doubt, _expected(flagged, known))


def fit_map(scores: Sequence[NDArray[np.float64]], labels: NDArray[np.int64]) -> Calibration:
    """Fit the map on standardised scores [snippets] of each video, and the videos' labels."""
    normal = [z for z, label in zip(scores, labels, strict=True) if label == 0]
    abnormal = [_highest(z) for z, label in zip(scores, labels, strict=True) if label == 1]
    (low, spread_low), (high, spread_high) = _moments(normal), _moments(abnormal)
    slope = max(high - low, 1e-3) / max((spread_low + spread_high) / 2, 1e-3)
    share = len(scores) / (len(scores) + USUAL_VIDEOS)
    slope = min(slope, STEEPEST)
    slope = float(np.exp(share * np.log(slope) + (1 - share) * np.log(USUAL.slope)))
    middle = share * (low + high) / 2
    return Calibration(slope, -slope * middle)


def _highest(z: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sort(z)[-max(1, int(np.ceil(SHARE * len(z)))) :]


def _moments(groups: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """Return mean and variance of the scores of several videos, each of which weighs the same."""
    mean = float(np.mean([z.mean() for z in groups]))
    return mean, float(np.mean([((z - mean) ** 2).mean() for z in groups]))


def _expected(flagged: NDArray[np.bool_], labels: NDArray[np.int64]) -> str:
    """Say how many videos of either class were flagged, and how far that can be off."""
    found, raised = flagged[labels == 1], flagged[labels == 0]
    share = (found.sum() + 1) / (len(found) + 2)  # one of each added: few videos are never sure
    margin = 1.96 * np.sqrt(share * (1 - share) / len(found))
    return (
        f"on videos like these: finds {found.sum()} of {len(found)} abnormal ones and raises "
        f"{raised.sum()} of {len(raised)} normal ones, none of which the scoring member had seen; "
        f"with {len(found)} abnormal videos, the share found is certain to +-{margin:.2f} only"
    )


def _of_normal(heldout: Scores) -> Decided:
    """Return a map by which one in a hundred normal snippets reaches 0.5: no video is abnormal."""
    level = float(np.quantile(np.concatenate(list(heldout.values())), NORMAL_QUANTILE))
    return Decided(
        Calibration(USUAL.slope, -USUAL.slope * level),
        0.5,
        doubt="no training video is abnormal: 1 % of held-out normal footage reaches 0.5",
    )

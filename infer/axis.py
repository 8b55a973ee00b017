"""The range of scores that curves show."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor

from .scores import VideoScores

Axis = tuple[float, float]  # lowest and highest score shown


def axis_of(videos: Iterable[VideoScores]) -> Axis:
    """The tenths around all scores and thresholds, so that what differs can be seen.

    Detectors may use a small part of [0, 1]. The threshold is always inside: what stays far below
    it looks so, however little it moves.
    """
    shown = [
        value
        for scores in videos
        for value in (float(scores.frames.min()), scores.peak, scores.threshold)
    ]
    return max(0.0, (ceil(10 * min(shown)) - 1) / 10), min(1.0, (floor(10 * max(shown)) + 1) / 10)


def height_of(score: float, axis: Axis) -> float:
    """Where a score lies on an axis: 0 at its lower end or below, 1 at its upper or above."""
    low, high = axis
    return min(1.0, max(0.0, (score - low) / (high - low)))

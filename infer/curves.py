"""How a curve of scores is drawn, whatever draws it: its range, its steps, the marks below it.

Pictures (`evaluation.plots`), pages (`report`, `evaluation.page`) and overlays (`video.overlay`)
take the knowledge from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from .scores import VideoScores

Axis = tuple[float, float]  # lowest and highest score shown
Floats = NDArray[np.floating]

TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


def axis_of(videos: Iterable[VideoScores]) -> Axis:
    """The tenths around all scores and thresholds, so that differences can be seen.

    Detectors may use a small part of [0, 1]. The threshold is always inside, so that scores far
    below it look so, however little they move.
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


def steps(scores: Floats, most: int) -> tuple[NDArray[np.intp], Floats]:
    """Where the score of a video changes, and to what: scores [frames] -> first frames and scores,
    [steps] each.

    Neighbouring steps are joined where there are more than `most`. A joined step has the highest of
    their scores, so that no peak is lost.
    """
    changes = np.flatnonzero(np.diff(scores, prepend=-1.0))
    starts = changes[:: max(1, -(-len(changes) // most))]
    return starts, np.maximum.reduceat(scores, starts)


def step_path(x: Floats, y: Floats) -> str:
    """The path of SVG along steps, in the units of the picture.

    x [steps + 1] is where they begin and where the last one ends, y [steps] their heights.
    """
    first = f"M{x[0]:.2f} {y[0]:.2f}H{x[1]:.2f}"
    rest = (f"V{level:.2f}H{end:.2f}" for level, end in zip(y[1:], x[2:], strict=True))
    return first + "".join(rest)


def tick_step(length_s: float, most: int) -> float:
    """The distance of round times, in seconds, of which at most so many lie in a length."""
    return next((s for s in TICK_STEPS_S if length_s / s <= most), TICK_STEPS_S[-1])

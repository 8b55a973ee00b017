"""PNG, the curve over time."""

from __future__ import annotations

from pathlib import Path

from ..evaluation.plots import plot_curve
from ..scores import VideoScores


def write(path: Path, scores: VideoScores) -> None:
    """Draw the frame scores over time, with the threshold."""
    plot_curve(path, scores.times, scores.frames, title=scores.video, threshold=scores.threshold)

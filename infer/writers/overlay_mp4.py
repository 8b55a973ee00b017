"""MP4, the video with its scores drawn below it."""

from __future__ import annotations

from pathlib import Path

from vad.errors import InternalError

from ..overlay import write_overlay
from ..scores import VideoScores


def write(path: Path, scores: VideoScores) -> None:
    """Write the overlay. Raises VideoError where the video cannot be read again."""
    if scores.footage is None:
        raise InternalError(f"an overlay of {scores.video} without its footage")
    write_overlay(path, scores, scores.footage)

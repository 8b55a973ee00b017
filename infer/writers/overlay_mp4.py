"""MP4, the video with its scores drawn below it."""

from __future__ import annotations

from pathlib import Path

from vad.errors import InternalError

from ..scores import VideoScores
from ..video.overlay import write_overlay


def write(path: Path, scores: VideoScores) -> None:
    """Write the overlay. Raises VideoError where the video cannot be read again."""
    if scores.video_source is None:
        raise InternalError(f"an overlay of {scores.video} without its video")
    write_overlay(path, scores, scores.video_source)

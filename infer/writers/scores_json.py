"""JSON by the schema `vad.scores/1`: all that is known, and all that `vad events` needs."""

from __future__ import annotations

from pathlib import Path

from vad.files import write_json

from ..scores import VideoScores


def write(path: Path, scores: VideoScores) -> None:
    """Write `VideoScores.to_dict`."""
    write_json(path, scores.to_dict())

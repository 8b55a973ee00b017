"""HTML, the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..report import write_report
from ..scores import VideoScores


def write(path: Path, scores: VideoScores) -> None:
    """Write a page that needs no other file and no network."""
    write_report(path, [scores])


def write_all(path: Path, videos: Sequence[VideoScores]) -> None:
    """Write one page of several videos."""
    write_report(path, videos)

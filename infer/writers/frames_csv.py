"""CSV, a row a frame."""

from __future__ import annotations

import csv
from pathlib import Path

from vad.files import committed

from ..scores import VideoScores, timecode


def write(path: Path, scores: VideoScores) -> None:
    """Write the columns frame, seconds, timecode, score; scores as exact as they are."""
    with committed(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["frame", "seconds", "timecode", "score"])
        for frame, seconds, score in scores.rows():
            writer.writerow([frame, f"{seconds:.6f}", timecode(seconds), score])

"""CSV, a row an event."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from vad.files import committed

from ..scores import VideoScores, event_dict
from . import cell

COLUMNS = (
    *("start_frame", "end_frame", "start_s", "end_s", "start_timecode", "end_timecode"),
    *("peak", "peak_frame", "peak_s", "mean", "caption"),
)


def write(path: Path, scores: VideoScores) -> None:
    """Write the columns video, event, fps and those of `COLUMNS`."""
    write_all(path, [scores])


def write_all(path: Path, videos: Iterable[VideoScores]) -> None:
    """Write the events of several videos into one table."""
    with committed(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["video", "event", "fps", *COLUMNS])
        for scores in videos:
            for number, event in enumerate(scores.events, start=1):
                values = event_dict(event) | {"caption": cell(event.caption)}
                row = [values[column] for column in COLUMNS]
                writer.writerow([cell(scores.video), number, scores.record.fps, *row])

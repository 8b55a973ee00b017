"""Tab-delimited text for ELAN: File, Import, CSV / Tab-delimited Text File.

ELAN asks which column is which; the header names them by ELAN's own words.
"""

from __future__ import annotations

from pathlib import Path

from vad.files import write_text

from ..scores import VideoScores
from . import headline

HEADER = "Tier\tBegin Time - ss.msec\tEnd Time - ss.msec\tDuration - ss.msec\tAnnotation"


def write(path: Path, scores: VideoScores) -> None:
    """Write a row an event, on the tier `anomaly`, in seconds with milliseconds."""
    rows = [HEADER]
    for number, event in enumerate(scores.events, start=1):
        start, end = round(event.start_s, 3), round(event.end_s, 3)
        times = f"{start:.3f}\t{end:.3f}\t{end - start:.3f}"
        rows.append(f"anomaly\t{times}\t{headline(scores, number)}")
    write_text(path, "\n".join(rows) + "\n")

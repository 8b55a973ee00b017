"""SubRip: a subtitle for every event."""

from __future__ import annotations

from pathlib import Path

from vad.files import write_text

from ..scores import VideoScores, timecode
from . import headline

HARMLESS = str.maketrans("<>{}", "[][]")


def write(path: Path, scores: VideoScores) -> None:
    """Write numbered blocks; an arrow or a tag in a caption is no longer one."""
    blocks = []
    for number, event in enumerate(scores.events, start=1):
        start, end = (timecode(s).replace(".", ",") for s in (event.start_s, event.end_s))
        words = headline(scores, number).translate(HARMLESS)
        blocks.append(f"{number}\n{start} --> {end}\n{words}\n")
    write_text(path, "\n".join(blocks))

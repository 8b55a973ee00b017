"""WebVTT: a cue for every event."""

from __future__ import annotations

import html
from pathlib import Path

from vad.files import write_text

from ..scores import VideoScores, timecode
from . import headline


def write(path: Path, scores: VideoScores) -> None:
    """Write cues; captions are escaped as WebVTT asks."""
    cues = ["WEBVTT\n"]
    for number, event in enumerate(scores.events, start=1):
        words = html.escape(headline(scores, number), quote=False)
        times = f"{timecode(event.start_s)} --> {timecode(event.end_s)}"
        cues.append(f"{number}\n{times}\n{words}\n")
    write_text(path, "\n".join(cues))

"""An edit decision list, CMX 3600: the events, one after the other, for an editing program.

    001  AX       V     C        00:00:12:00 00:00:18:10 00:00:00:00 00:00:06:10

Its timecodes count frames, at the next whole rate and without dropping any (29.97 counts as 30),
so that they name the frames exactly. Editing programs know a few rates only: where that of the
video is none of them, times are given at 25 frames a second. The program must be told the rate.
"""

from __future__ import annotations

from pathlib import Path

from vad.files import write_text
from vad.terminal import plain

from ..scores import VideoScores
from . import headline

RATES, OTHER_RATE = (24, 25, 30, 48, 50, 60), 25  # SMPTE's, frames a second
MOST_EVENTS = 999  # event numbers have three digits


def write(path: Path, scores: VideoScores) -> None:
    """Write one cut for every event; the reel is the auxiliary source AX."""
    rate, scale = round(scores.record.fps), 1.0
    if rate not in RATES:
        rate, scale = OTHER_RATE, OTHER_RATE / scores.record.fps
    title = plain(" ".join(scores.video.split()))[:70]
    lines = [f"TITLE: {title}", "FCM: NON-DROP FRAME", ""]
    position = 0
    for number, event in enumerate(scores.events[:MOST_EVENTS], start=1):
        start, end = round(event.start_frame * scale), round(event.end_frame * scale)
        times = (start, end, position, position + end - start)
        codes = " ".join(_timecode(frame, rate) for frame in times)
        clip_name = plain(" ".join(Path(scores.record.source).name.split()))
        lines += [
            f"{number:03d}  AX       V     C        {codes}",
            f"* FROM CLIP NAME: {clip_name}",
            f"* COMMENT: {headline(scores, number)}",
        ]
        position += end - start
    write_text(path, "\n".join(lines) + "\n")


def _timecode(frame: int, rate: int) -> str:
    """`hours:minutes:seconds:frames`."""
    seconds, frames = divmod(frame, rate)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"

"""Scores as a few lines for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from vad.terminal import plain

from .scores import VideoScores
from .times import timecode


def summary(scores: VideoScores) -> str:
    """One line about a video, its name made plain."""
    n = len(scores.events)
    return (
        f"{plain(scores.video)}: {n or 'no'} event{'s' * (n != 1)}, "
        f"highest {scores.peak:.3f} at {timecode(scores.peak_s)} "
        f"(threshold {scores.threshold:.3f})"
    )


def events_table(videos: Iterable[VideoScores]) -> str:
    """A row an event: video, number, start, end, peak, and what is seen where that is known."""
    rows = [("video", "event", "start", "end", "peak", "")]
    for scores in videos:
        for number, event in enumerate(scores.events, start=1):
            times = timecode(event.start_s), timecode(event.end_s)
            words = plain(scores.video), plain(event.caption)
            rows.append((words[0], str(number), *times, f"{event.peak:.3f}", words[1]))
    if len(rows) == 1:
        return "no events"
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(value.ljust(width) for value, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )

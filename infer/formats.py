"""The formats that scores can be written in. `vad.stages.infer.writers` writes them; this table is
apart from it so that the command line can show it without loading numpy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vad.errors import UsageError


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file."""

    suffix: str  # follows the id of the video
    help: str
    joint: str = ""  # name of the one file for several videos; empty: every video has its own
    needs_video: bool = False  # it cannot be written where the video is gone


FORMATS: dict[str, Format] = {
    "csv": Format(".csv", "a row per frame: frame, seconds, timecode, score"),
    "json": Format(".json", "everything; vad events reads it"),
    "npy": Format(".npy", "frame scores, float32 [frames]"),
    "png": Format(".png", "the curve over time"),
    "html": Format(".html", "page with player, curve, events", "report.html"),
    "mp4": Format(".overlay.mp4", "the video, its curve drawn below it", needs_video=True),
    "events": Format(".events.csv", "a row per event", "events.csv"),
    "srt": Format(".srt", "events as subtitles"),
    "vtt": Format(".vtt", "events as subtitles of web pages"),
    "edl": Format(".edl", "events as an edit decision list, CMX 3600"),
    "elan": Format(".elan.txt", "events, tab-delimited, for ELAN"),
    "labelstudio": Format(".labelstudio.json", "events as predictions for Label Studio"),
}


def parse_formats(words: str) -> list[str]:
    """Formats as the command line takes them, with commas. Raises UsageError."""
    return check_formats(words.replace(",", " ").split())


def check_formats(formats: Iterable[str]) -> list[str]:
    """The formats, without repeats; UsageError for an unknown one."""
    formats = list(dict.fromkeys(formats))
    if unknown := [f for f in formats if f not in FORMATS]:
        raise UsageError(f"no format {unknown[0]!r}; there are: {', '.join(FORMATS)}")
    return formats

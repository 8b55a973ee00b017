"""The files that scores can be written as: the table that commands show and `writers` fills."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from vad.errors import UsageError


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file; `vad.stages.infer.writers.<module>` has `write(path, scores)` for it."""

    module: str
    suffix: str  # after the id of the video
    help: str
    joint: str = ""  # name of the one file for several videos, by the module's `write_all`
    needs_video: bool = False  # and cannot be written where the video is gone


FORMATS: dict[str, Format] = {
    "csv": Format("frames_csv", ".csv", "a row a frame: frame, seconds, timecode, score"),
    "json": Format("scores_json", ".json", "everything; vad events reads it"),
    "npy": Format("frames_npy", ".npy", "frame scores, float32 [frames]"),
    "png": Format("curve_png", ".png", "the curve over time"),
    "html": Format("report_html", ".html", "page with player, curve, events", "report.html"),
    "mp4": Format(
        "overlay_mp4", ".overlay.mp4", "the video, its curve drawn below it", needs_video=True
    ),
    "events": Format("events_csv", ".events.csv", "a row an event", "events.csv"),
    "srt": Format("subtitles_srt", ".srt", "events as subtitles"),
    "vtt": Format("subtitles_vtt", ".vtt", "events as subtitles of web pages"),
    "edl": Format("edit_list", ".edl", "events as an edit decision list, CMX 3600"),
    "elan": Format("elan", ".elan.txt", "events, tab-delimited, for ELAN"),
    "labelstudio": Format(
        "label_studio", ".labelstudio.json", "events as predictions for Label Studio"
    ),
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

"""Settings of `vad score` and `vad events`: frame scores, events, thresholds and file formats.

This module does not import numpy, because the command line shows all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from vad.config import option
from vad.errors import UsageError
from vad.plugins import add_plugins

_event = partial(option, panel="Events")
_decision = partial(option, panel="Decisions")
# seconds of the units in which a rate can be given
UNITS_S = {
    ("min", "minute"): 60,
    ("h", "hour"): 3_600,
    ("d", "day"): 86_400,
    ("week",): 604_800,
}


@dataclass(frozen=True, kw_only=True)
class Propagation:
    """Settings that turn snippet scores into frame scores."""

    propagation: Literal["hold", "linear", "gaussian"] = _event(
        "hold", "frames take the score of their snippet (hold), or scores are smoothed over time"
    )
    sigma: float = _event(
        1.0, "standard deviation of gaussian propagation, in seconds", minimum=0.001, maximum=86_400
    )


@dataclass(frozen=True, kw_only=True)
class EventRule:
    """Settings that turn frame scores into events, apart from the threshold."""

    low: float | None = _event(
        None,
        "an event lasts until scores fall below this; by default a level between the prior and the "
        "threshold",
        minimum=0,
    )
    min_event: float = _event(0.5, "leave out shorter events, in seconds", minimum=0)
    merge_gap: float = _event(
        1.0, "events with at most this gap between them are one, in seconds", minimum=0
    )
    pad_before: float = _event(0.0, "seconds added before every event", minimum=0)
    pad_after: float = _event(0.0, "seconds added after every event", minimum=0)


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(Propagation, EventRule):
    """All settings that turn snippet scores into frame scores, and frame scores into events."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Settings of how a run decides, beside a threshold that is given as a score."""

    prior: float | None = _decision(
        None,
        "share of the footage that is expected to be anomalous, which scores as chances depend on; "
        "by default 0.5",
        minimum=0.000_001,
        maximum=0.999_999,
    )
    false_alarms: str | None = _decision(
        None, "in place of --threshold: how often normal footage may reach it, as 2/h or 1/day"
    )
    recall: float | None = _decision(
        None, "in place of --threshold: share of abnormal videos to be found", minimum=0, maximum=1
    )
    camera: str | None = _decision(
        None, "camera that vad calibrate knows: its threshold, and its ordinary footage, decide"
    )


def parse_rate(words: str) -> float:
    """Return how many times per second something may happen, from words such as `2/h` or `1/day`.

    Raises UsageError for other words.
    """
    number, _, unit = words.replace(" ", "").partition("/")
    seconds = {name: s for names, s in UNITS_S.items() for name in names}.get(unit)
    try:
        rate = float(number)
    except ValueError:
        rate = -1.0
    if seconds is None or not 0 < rate < float("inf"):
        raise UsageError(f"--false-alarms {words}: give a rate such as 2/h or 1/day")
    return rate / seconds


def parse_threshold(words: str) -> float | None:
    """Return a threshold in [0, 1], or None for the word `auto`. Raises UsageError for other
    words.
    """
    if words == "auto":
        return None
    try:
        threshold = float(words)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold {words}: give auto, or a number from 0 to 1")
    return threshold


@dataclass(frozen=True, slots=True)
class Format:
    """An output file format."""

    suffix: str  # ending of the file name, after the id of the video
    help: str
    joint: str = ""  # name of a joint file for several videos; empty if each video has its own
    needs_video: bool = False  # True if writing it requires the video file
    # "MODULE:FUNCTION" of a plug-in, which takes a path and the scores of one video
    writer: str = ""


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
    """Split the formats of the command line at commas. Raises UsageError for an unknown one."""
    return check_formats(words.replace(",", " ").split())


def check_formats(formats: Iterable[str]) -> list[str]:
    """Return the formats without duplicates. Raises UsageError for an unknown one."""
    formats = list(dict.fromkeys(formats))
    if not FORMATS.keys() >= set(formats):
        add_plugins("format", FORMATS)
    if unknown := [f for f in formats if f not in FORMATS]:
        raise UsageError(f"no format {unknown[0]!r}; there are: {', '.join(FORMATS)}")
    return formats

"""Files of scores: one module a format, and what all of them need of text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from vad.errors import UsageError
from vad.store import key_of
from vad.terminal import plain

from ..formats import FORMATS, check_formats
from ..scores import VideoScores


def save(scores: VideoScores, folder: Path, formats: Iterable[str]) -> list[Path]:
    """Write a video's scores in several formats; the paths written.

    Raises UsageError for an unknown format, or one that needs a video that is gone.
    """
    paths = []
    for name in check_formats(formats):
        if FORMATS[name].needs_video and scores.video_source is None:
            raise UsageError(
                f"{name} needs the video, and {scores.record.source} is not there",
                hint="bring it back, or leave that format out",
            )
        path = path_of(scores, folder, name)
        _module(name).write(path, scores)
        paths.append(path)
    return paths


def save_all(videos: Sequence[VideoScores], folder: Path, formats: Iterable[str]) -> list[Path]:
    """Write the formats that have one file for several videos; the paths written."""
    paths = []
    for name in check_formats(formats):
        path = folder / FORMATS[name].joint
        _module(name).write_all(path, videos)
        paths.append(path)
    return paths


def path_of(scores: VideoScores, folder: Path, name: str) -> Path:
    """Where a format of a video goes: the id is percent-encoded, as in a store.

    So no name can leave the folder, and none is more to a shell or a page than a name.
    """
    return folder / f"{key_of(scores.video)}{FORMATS[name].suffix}"


def headline(scores: VideoScores, number: int) -> str:
    """One line about an event, counted from 1: `anomaly 0.93: two men are fighting`."""
    event = scores.events[number - 1]
    caption = plain(" ".join(event.caption.split()))
    return f"anomaly {event.peak:.2f}" + (f": {caption}" if caption else "")


def cell(text: str) -> str:
    """Text for a table that a spreadsheet may open: never a formula, always one line.

    A leading apostrophe makes it text to spreadsheets, as OWASP's page on CSV injection advises.
    """
    line = plain(" ".join(text.split()))
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


def _module(name: str) -> Any:
    return import_module(f".{FORMATS[name].module}", __package__)

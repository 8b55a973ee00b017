"""Files of scores: one small function a format."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from vad.errors import UsageError
from vad.files import committed, write_json, write_text
from vad.store import key_of

from .plots import plot_curve
from .scores import VideoScores, timecode


def write_csv(path: Path, scores: VideoScores) -> None:
    """A row a frame: frame, seconds, timecode, score."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["frame", "seconds", "timecode", "score"])
    for frame, seconds, score in scores.rows():
        writer.writerow([frame, f"{seconds:.6f}", timecode(seconds), f"{score:.6f}"])
    write_text(path, text.getvalue())


def write_scores_json(path: Path, scores: VideoScores) -> None:
    """Everything, by the schema `vad.scores/1`."""
    write_json(path, scores.to_dict())


def write_npy(path: Path, scores: VideoScores) -> None:
    """Frame scores as float32 [frames]."""
    with committed(path) as part, part.open("wb") as file:
        np.save(file, scores.frames)


def write_png(path: Path, scores: VideoScores) -> None:
    """The curve of the frame scores over time, with the threshold."""
    plot_curve(path, scores.times, scores.frames, title=scores.video, threshold=scores.threshold)


WRITERS: dict[str, Callable[[Path, VideoScores], None]] = {
    "csv": write_csv,
    "json": write_scores_json,
    "npy": write_npy,
    "png": write_png,
}


def check_formats(formats: Iterable[str]) -> list[str]:
    """The formats, without repeats; UsageError for an unknown one."""
    formats = list(dict.fromkeys(formats))
    if unknown := [f for f in formats if f not in WRITERS]:
        raise UsageError(f"no format {unknown[0]!r}; there are: {', '.join(WRITERS)}")
    return formats


def save(scores: VideoScores, folder: Path, formats: Iterable[str]) -> list[Path]:
    """Write a video's scores as `<folder>/<video id>.<format>`; the paths written.

    The id is percent-encoded as in a store, so that no name can leave the folder.
    """
    paths = []
    for name in check_formats(formats):
        path = folder / f"{key_of(scores.video)}.{name}"
        WRITERS[name](path, scores)
        paths.append(path)
    return paths

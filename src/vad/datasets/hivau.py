"""HIVAU-70k (CVPR 2025): events of UCF-Crime and XD-Violence, of training videos, too.

    {"Abuse001_x264": {"n_frames": 2729, "fps": 30.0, "label": ["Abuse"], "events": [[7.0, 11.5]],
                       "clips": ..., "clips_caption": ..., "events_summary": ...}, ...}

Events are in seconds. In videos that are labelled Normal they are ordinary scenes, and give no
segments. `vad caption --captioner file:FILE` reads the captions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ..documents import parse, read_json
from ..errors import UsageError
from ..labels import Label, Segment
from .annotated import Annotated, Given


@dataclass(frozen=True)
class _Entry:
    """A video of the file; other fields of it are not read."""

    n_frames: int
    fps: float
    label: tuple[str, ...]
    events: tuple[tuple[float, ...], ...]  # starts and ends, in seconds

    def __post_init__(self) -> None:
        for event in self.events:
            if len(event) != 2 or not 0 <= event[0] < event[1]:
                raise ValueError(f"events has {list(event)}, expected [start, end] in seconds")
        if self.n_frames < 1 or self.fps <= 0:
            raise ValueError(f"n_frames is {self.n_frames} and fps {self.fps}")


def read(given: Given) -> Annotated:
    """Return labels and segments of the files of training and test videos, or of one file."""
    paths = {"train": given.train, "test": given.test}
    parts = [_read(path, split) for split, path in paths.items() if path is not None]
    parts = parts or [_read(given.require("folder"), "")]
    labels = [label for part in parts for label in part.labels]
    return Annotated(labels, [segment for part in parts for segment in part.segments])


def _read(path: Path, split: str) -> Annotated:
    document = read_json(path)
    if not isinstance(document, dict):
        raise UsageError(f"{path} is no object: video -> annotations")
    labels: list[Label] = []
    segments: list[Segment] = []
    for video, value in document.items():
        try:
            entry = parse(_Entry, value, video)
        except ValueError as error:
            raise UsageError(f"{path}: {error}") from None
        kinds = dict.fromkeys(kind.lower() for kind in entry.label if kind.lower() != "normal")
        labels.append(Label(video, int(bool(kinds)), "+".join(kinds) or "normal", split))
        if not kinds:
            continue
        for start_s, end_s in entry.events:
            first = math.floor(start_s * entry.fps)
            stop = min(math.ceil(end_s * entry.fps), entry.n_frames)
            if first < stop:  # else it begins after the last frame
                segments.append(Segment(video, first, stop, labels[-1].category))
    return Annotated(labels, segments)

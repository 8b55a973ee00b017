"""The input of the data set readers (`Given`) and their result (`Annotated`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..labels import Label, Segment
from ..names import stem_of
from ..store import FeatureStore
from ..tables import read_rows
from .intervals import Interval
from .lists import Listed


@dataclass(frozen=True, kw_only=True)
class Given:
    """The paths of the parts of a data set; None for a part that was not found."""

    folder: Path | None = None
    train: Path | None = None  # a list, or a folder of videos
    test: Path | None = None
    annotations: Path | None = None  # of the anomalous frames
    interval: Interval = "half-open"  # how annotations count frames
    fps: float | None = None  # for annotations in seconds
    frames: Path | None = None  # lengths of the videos: a table video,frames, or a feature store

    def require(self, part: str) -> Path:
        """Return the path of a part. Raises UsageError if it was not found or does not exist."""
        path: Path | None = getattr(self, part)
        if path is None:
            where = f" in {self.folder}" if self.folder else ""
            option = "the folder" if part == "folder" else f"--{part} FILE"
            raise UsageError(f"no {part} found{where}", hint=f"give {option}")
        if not path.exists():
            raise UsageError(f"no file {path}")
        return path

    def lengths(self) -> dict[str, int]:
        """Return the number of frames of videos, by the last part of their names; empty if none
        are given. Raises UsageError if a length is no number.
        """
        if self.frames is None:
            return {}
        if FeatureStore.exists(self.frames):
            store = FeatureStore.open(self.frames)
            return {stem_of(video): store.record(video).n_frames for video in store.ids()}
        found: dict[str, int] = {}
        for where, row in read_rows(self.frames, ("video", "frames")):
            if not (row["frames"].isdecimal() and int(row["frames"])):
                raise UsageError(f"{where}: frames is {row['frames']!r}, not a whole number")
            found[stem_of(row["video"])] = int(row["frames"])
        return found

    def list_of(self, part: str, read: Callable[[Path], list[Listed]]) -> list[Listed]:
        """Return the videos of a list; for a training list that was not found, an empty list."""
        if part == "train" and self.train is None:
            return []
        return read(self.require(part))


@dataclass(frozen=True)
class Annotated:
    """A data set: videos with label, category and split, and their anomalous frames.

    Raises UsageError if a video is listed twice or in two splits. If there are segments, also if a
    segment's video is in no list or is normal, or if an abnormal test video has no segment.
    """

    labels: list[Label]
    segments: list[Segment]

    def __post_init__(self) -> None:
        listed: dict[str, Label] = {}
        for label in self.labels:
            if (other := listed.setdefault(label.video, label)) is not label:
                where = f"in {other.split} and in {label.split}" if other.split else "twice"
                raise UsageError(f"{label.video!r} is listed {where}")
        annotated = {segment.video for segment in self.segments}
        for video in dict.fromkeys(segment.video for segment in self.segments):
            if video not in listed:
                raise UsageError(
                    f"{video!r} has annotated frames, but no list names it",
                    hint="use the lists and the annotations of one release",
                )
            if not listed[video].label:
                raise UsageError(f"{video!r} is normal by its label, but has annotated frames")
        for label in self.labels if annotated else ():
            if label.label and label.split == "test" and label.video not in annotated:
                raise UsageError(f"{label.video!r} is abnormal, but has no annotated frames")

    def count(self, split: str) -> tuple[int, int]:
        """Return how many videos a split has, and how many of them are abnormal."""
        labels = [label.label for label in self.labels if label.split == split]
        return len(labels), sum(labels)

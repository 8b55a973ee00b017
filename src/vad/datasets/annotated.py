"""What a data set is read from, and what every one of them becomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..labels import Label, Segment
from .intervals import Interval
from .lists import Listed


@dataclass(frozen=True, kw_only=True)
class Given:
    """Where the parts of a data set lie; a part that is not there is None."""

    folder: Path | None = None
    train: Path | None = None  # a list, or a folder of videos
    test: Path | None = None
    annotations: Path | None = None  # of the frames
    interval: Interval = "half-open"  # what two numbers of an annotation mean
    fps: float | None = None  # for annotations in seconds

    def require(self, part: str) -> Path:
        """The path of a part; UsageError if there is none."""
        path: Path | None = getattr(self, part)
        if path is None:
            where = f" in {self.folder}" if self.folder else ""
            option = "the folder" if part == "folder" else f"--{part} FILE"
            raise UsageError(f"no {part} found{where}", hint=f"give {option}")
        if not path.exists():
            raise UsageError(f"no file {path}")
        return path

    def list_of(self, part: str, read: Callable[[Path], list[Listed]]) -> list[Listed]:
        """The videos of a list; none for a training list that is not given."""
        if part == "train" and self.train is None:
            return []
        return read(self.require(part))


@dataclass(frozen=True)
class Annotated:
    """A data set: videos with label, category and split, and their anomalous frames.

    UsageError where the two contradict each other, or the training videos the test videos: a video
    that is listed twice or in two splits, segments of a video that no list has or that is normal,
    an abnormal test video without a segment. Without any segment nothing is asked of them.
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
        """How many videos a split has, and how many of them are abnormal."""
        labels = [label.label for label in self.labels if label.split == split]
        return len(labels), sum(labels)

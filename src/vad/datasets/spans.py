"""Events as shares of the length of their video: the test sets of LaGoVAD, all in one format.

    [{"path": "Abuse/Abuse028_x264.mp4", "class_name": "Abuse", "anomaly_span": [[0.1, 0.2]]}, ...]

These files exist for UCF-Crime, XD-Violence, MSAD, UBnormal, TAD, LAD2000 and DoTA. A video without
a span is normal. Frames need the lengths of the videos, from a table or a feature store.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from ..documents import parse, read_json
from ..errors import UsageError
from ..labels import Label, Segment
from ..names import shortened, stem_of
from .annotated import Annotated, Given
from .lists import video_name

ROUNDING = 1e-6  # frames by which rounded shares may be off


@dataclass(frozen=True)
class _Entry:
    """A video of the file; other fields of it are not read."""

    path: str
    class_name: str
    anomaly_span: tuple[tuple[float, ...], ...]  # starts and ends, 0 to 1

    def __post_init__(self) -> None:
        for span in self.anomaly_span:
            if len(span) != 2 or not 0 <= span[0] < span[1] <= 1:
                raise ValueError(f"anomaly_span has {list(span)}, expected [start, end], 0 to 1")


def read(given: Given) -> Annotated:
    """Return labels and segments of the test videos in a file."""
    path = given.require("folder")
    document = read_json(path)
    if not isinstance(document, list):
        raise UsageError(f"{path} is no list of videos")
    try:
        entries = [parse(_Entry, entry, f"[{i}]") for i, entry in enumerate(document)]
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from None
    labels = [_label(entry) for entry in entries]
    lengths = given.lengths()
    named = [label.video for label in labels if label.label]
    if missing := [video for video in named if stem_of(video) not in lengths]:
        raise UsageError(
            f"the length of {len(missing)} abnormal videos is not known: {shortened(missing)}",
            hint="give a table video,frames or a feature store: --frames FILE",
        )
    pairs = zip(entries, labels, strict=True)
    return Annotated(labels, [s for entry, x in pairs for s in _segments(entry, x, lengths)])


def _label(entry: _Entry) -> Label:
    is_abnormal = bool(entry.anomaly_span)
    category = entry.class_name.lower() if is_abnormal else "normal"
    return Label(video_name(entry.path), int(is_abnormal), category, "test")


def _segments(entry: _Entry, label: Label, lengths: dict[str, int]) -> Iterator[Segment]:
    for start, end in entry.anomaly_span:
        n = lengths[stem_of(label.video)]
        first, stop = math.floor(start * n + ROUNDING), math.ceil(end * n - ROUNDING)
        yield Segment(label.video, first, stop, label.category)

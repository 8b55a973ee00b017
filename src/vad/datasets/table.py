"""Read a table of one's own, with one line per video or one line per event.

    video,label                       cam1.mp4,normal      a label: 0, 1, normal, or a kind
    video,start_s,end_s,category      cam2.mp4,12.5,80,fight       seconds, with the frame rate
    video,start_frame,end_frame       cam2.mp4,312,2000            frames
    video,label,category,split,fold,source                         as in labels.csv

A video with events is abnormal. A video whose line has neither an event nor a label is normal.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from ..errors import UsageError
from ..labels import Label, Segment
from ..tables import read_rows, read_text
from .annotated import Annotated, Given
from .intervals import half_open
from .lists import HEADERS, VIDEO


@dataclass
class _Video:
    """The label, the other columns and the events of a video, from all of its lines."""

    label: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)


def read(given: Given) -> Annotated:
    """Return labels and segments of a table. Raises UsageError with the line of a mistake."""
    path = given.require("folder")
    header = [name.strip() for name in next(csv.reader([read_text(path).partition("\n")[0]]), [])]
    name_of = next((name for name in header if name.lower() in HEADERS), "video")
    videos: dict[str, _Video] = {}
    for where, row in read_rows(path, (name_of,)):
        name = VIDEO.sub("", row[name_of].replace("\\", "/"))
        video = videos.setdefault(name, _Video())
        label = row.get("label", "")
        if video.label and label != video.label:
            raise UsageError(f"{where}: {name!r} is labelled both {video.label!r} and {label!r}")
        video.label = label
        video.columns |= {n: row.get(n, "") for n in ("category", "split", "fold", "source")}
        if segment := _segment(name, row, given, where):
            video.segments.append(segment)
    labels = [_label(name, video) for name, video in videos.items()]
    return Annotated(labels, [s for video in videos.values() for s in video.segments])


def _label(name: str, video: _Video) -> Label:
    known = {"": bool(video.segments), "0": False, "normal": False, "1": True, "abnormal": True}
    abnormal = known.get(video.label.lower(), True)
    if not video.columns["category"]:
        kind = video.label if video.label.lower() not in known else ""
        video.columns["category"] = kind if abnormal else "normal"
    return Label(name, int(abnormal), **video.columns)


def _segment(name: str, row: Mapping[str, str], given: Given, where: str) -> Segment | None:
    """Return the event of a line; None if its start and end are empty."""
    in_seconds = bool(row.get("start_s") or row.get("end_s"))
    texts = [row.get(f"{end}_{'s' if in_seconds else 'frame'}", "") for end in ("start", "end")]
    if not any(texts):
        return None
    try:
        start, end = (float(text) for text in texts)
    except ValueError:
        raise UsageError(f"{where}: {' and '.join(texts)} are no start and end") from None
    if in_seconds:
        if not given.fps:
            raise UsageError(f"{where}: seconds need the frame rate", hint="give --fps")
        frames = math.floor(start * given.fps), math.ceil(end * given.fps)
        return Segment(name, *half_open(*frames, "half-open", where=where), row.get("category", ""))
    frames = int(start), int(end)
    return Segment(name, *half_open(*frames, given.interval, where=where), row.get("category", ""))

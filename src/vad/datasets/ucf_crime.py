"""UCF-Crime (Sultani et al., CVPR 2018): 1,900 videos, 13 kinds of anomaly.

A video's name says whether it is normal or which kind of anomaly it shows. So lists in all formats
can be read, and the index at which the normal videos of a list begin is not needed.

    Temporal_Anomaly_Annotation.txt:  Abuse028_x264.mp4  Abuse  165  240  -1  -1
                                      name, kind, start and end of up to two events, -1 for none
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..errors import UsageError
from ..labels import Label, Segment
from ..tables import read_lines
from .annotated import Annotated, Given
from .intervals import half_open
from .lists import Listed, read_list, video_name

KIND = re.compile(r"[A-Za-z]+")
EVENTS = re.compile(
    r"(.+?)\s+(\S+?)((?:\s+-?\d+)+)"
)  # name (can contain spaces), kind, frame numbers


def read(given: Given) -> Annotated:
    """Return labels, derived from the names of the videos, and segments of the test videos."""
    labels = [_label(video, "train") for video in given.list_of("train", read_list)]
    labels += [_label(video, "test") for video in given.list_of("test", read_list)]
    return Annotated(labels, list(_segments(given)))


def _label(video: Listed, split: str) -> Label:
    kind = KIND.match(video.name)
    if kind is None:
        raise UsageError(f"{video.name!r} is no name of a UCF-Crime video: it names no kind")
    category = kind.group().lower()
    normal = category == "normal"  # Normal_Videos_003_x264, Normal_Videos003_x264
    return Label(video.name, int(not normal), category, split)


def _segments(given: Given) -> Iterator[Segment]:
    for where, line in read_lines(given.require("annotations")):
        parts = EVENTS.fullmatch(line)
        frames = [int(number) for number in parts[3].split()] if parts else []
        if parts is None or len(frames) not in (2, 4):
            raise UsageError(f"{where}: a name, a kind and two or four frame numbers are needed")
        for start, end in zip(frames[::2], frames[1::2], strict=True):
            if (start, end) != (-1, -1):
                first, stop = half_open(start, end, given.interval, where=where)
                yield Segment(video_name(parts[1]), first, stop, parts[2].lower())

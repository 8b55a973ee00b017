"""UCF-Crime (Sultani et al., CVPR 2018): 1,900 videos, 13 kinds of anomaly.

Whether a video is normal, and of which kind it is otherwise, is in its name; so every dialect of
its lists can be read, and an index at which "the normal ones begin" is never needed.

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
EVENTS = re.compile(r"(.+?)\s+(\S+?)((?:\s+-?\d+)+)")  # name, which may have spaces, kind, frames


def read(given: Given) -> Annotated:
    """Labels by name; segments of the test videos."""
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

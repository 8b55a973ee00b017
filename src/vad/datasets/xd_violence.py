"""XD-Violence (Wu et al., ECCV 2020): 4,754 videos, six kinds of violence, several in one video.

    Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6     the kinds are in the name; A is normal
    annotations.txt:  NAME 0 1517 1970 3038             start and end of every event of a test video

The category of a video with several kinds is these kinds, joined with `+`.
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

KINDS = {
    "A": "normal",
    "B1": "fighting",
    "B2": "shooting",
    "B4": "riot",
    "B5": "abuse",
    "B6": "car accident",
    "G": "explosion",
    "0": "",  # padding up to three codes
}
EVENTS = re.compile(r"(.+?)((?:\s+\d+)+)")  # name (can contain spaces), frame numbers
CODES = re.compile(r"_label_([A-Z0-9-]+)$")


def read(given: Given) -> Annotated:
    """Return labels, derived from the names of the videos, and segments of the test videos."""
    labels = [_label(video, "train") for video in given.list_of("train", read_list)]
    labels += [_label(video, "test") for video in given.list_of("test", read_list)]
    category = {label.video: label.category for label in labels}
    return Annotated(labels, list(_segments(given, category)))


def _label(video: Listed, split: str) -> Label:
    codes = CODES.search(video.name)
    if codes is None or not set(codes.group(1).split("-")) <= set(KINDS):
        raise UsageError(f"{video.name!r} is no name of an XD-Violence video: no _label_ it knows")
    kinds = [KINDS[code] for code in codes.group(1).split("-")]
    category = "+".join(dict.fromkeys(kind for kind in kinds if kind))
    return Label(video.name, int(category != "normal"), category, split)


def _segments(given: Given, category: dict[str, str]) -> Iterator[Segment]:
    for where, line in read_lines(given.require("annotations")):
        parts = EVENTS.fullmatch(line)
        frames = [int(number) for number in parts[2].split()] if parts else []
        if parts is None or len(frames) % 2:
            raise UsageError(f"{where}: a name and pairs of frame numbers are needed")
        video = video_name(parts[1])
        for start, end in zip(frames[::2], frames[1::2], strict=True):
            first, stop = half_open(start, end, given.interval, where=where)
            yield Segment(video, first, stop, category.get(video, ""))

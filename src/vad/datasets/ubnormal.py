"""UBnormal (Acsintoae et al., CVPR 2022): 543 rendered videos. Their kinds of anomaly are not read.

scripts/abnormal_test_video_names.txt       six lists: normal or abnormal; training, validation
                                            or test
Scene1/abnormal_scene_1_scenario_1_annotations/abnormal_scene_1_scenario_1_tracks.txt
    2,110,170                               an abnormal object: number, first and last frame,
                                            counted from 0
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..errors import UsageError
from ..labels import Label, Segment
from ..tables import read_lines
from .annotated import Annotated, Given
from .intervals import half_open
from .lists import read_list

SPLITS = {"training": "train", "validation": "validation", "test": "test"}
LISTS = "_video_names.txt"
TRACKS = "_tracks.txt"
KIND = "anomaly"  # of all abnormal videos


def read(given: Given) -> Annotated:
    """Return labels from the six lists, and segments of every abnormal video that has tracks."""
    folder = given.require("folder")
    lists = {path.name: path for path in sorted(folder.rglob(f"*{LISTS}"))}
    labels = [
        Label(video.name, label, KIND if label else "normal", split)
        for name, split in SPLITS.items()
        for label, kind in enumerate(("normal", "abnormal"))
        if f"{kind}_{name}{LISTS}" in lists
        for video in read_list(lists[f"{kind}_{name}{LISTS}"])
    ]
    if not labels:
        raise UsageError(
            f"no list such as abnormal_test{LISTS} in {folder}",
            hint="put the lists of the scripts folder of UBnormal there",
        )
    tracks = {path.name: path for path in sorted(folder.rglob(f"*{TRACKS}"))}
    found = [(x, tracks[x.video + TRACKS]) for x in labels if x.video + TRACKS in tracks]
    segments = [s for label, path in found for s in _segments(label.video, path, given)]
    return Annotated(labels, segments)


def _segments(video: str, path: Path, given: Given) -> Iterator[Segment]:
    for where, line in read_lines(path):
        try:
            _, start, end = (float(value) for value in line.split(","))
        except ValueError:
            raise UsageError(
                f"{where}: an object, its first and its last frame are needed"
            ) from None
        yield Segment(video, *half_open(int(start), int(end), given.interval, where=where), KIND)

"""Read videos of one's own, sorted into folders: `[train|validation|test/]KIND/video.mp4`.

A folder with "normal" in its name ("Normal_Videos", but not "abnormal") holds normal videos; every
other folder is a kind of anomaly.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import UsageError
from ..labels import Label, match, read_segments
from .annotated import Annotated, Given
from .lists import VIDEO

SPLITS = {"train": "train", "training": "train", "val": "validation", "validation": "validation"}
SPLITS |= {"test": "test", "testing": "test"}


def read(given: Given) -> Annotated:
    """Return labels by folder, and segments from a CSV, if given.

    Videos are named as `vad extract FOLDER` names them. Raises UsageError if there is no video or
    no folder of normal videos.
    """
    root = given.require("folder")
    names = sorted(
        VIDEO.sub("", file.relative_to(root).as_posix())
        for file in root.rglob("*")
        if VIDEO.search(file.name) and not file.name.startswith(".")
    )
    if not names:
        raise UsageError(f"no video below {root}")
    labels = [_label(name) for name in names]
    if all(label.label for label in labels):
        raise UsageError(
            f"none of the folders in {root} holds normal videos",
            hint="call the folder of the normal videos `normal`",
        )
    if given.annotations is None:
        return Annotated(labels, [])
    segments = match(read_segments(given.annotations), names, where=given.annotations)
    return Annotated(labels, segments)


def labels_by_folder(videos: Iterable[str]) -> list[Label]:
    """Return labels of videos from the folders in their ids; an empty list if these do not tell.

    Folders tell the labels if every video is in a folder and some, but not all, videos are normal.
    """
    try:
        labels = [_label(video) for video in videos]
    except UsageError:
        return []
    return labels if {label.label for label in labels} == {0, 1} else []


def _label(name: str) -> Label:
    *above, kind, _ = ("", *name.split("/"))
    if not kind or kind.lower() in SPLITS:
        raise UsageError(
            f"{name!r} lies in no folder of a kind",
            hint="sort the videos into folders: normal/ and one for every kind of anomaly",
        )
    split = next((SPLITS[part.lower()] for part in above if part.lower() in SPLITS), "")
    normal = "normal" in kind.lower() and "abnormal" not in kind.lower()
    return Label(name, int(not normal), "normal" if normal else kind, split)

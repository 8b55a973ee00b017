"""Read the lists and annotations of public data sets, or of one's own, as labels and segments.

    read_dataset("ucf-crime", "UCF_Crime/")                    labels and segments of 1,900 videos
    read_dataset("xd-violence", "XD/", test="list/xd_i3d_test.txt", interval="half-open")

Each data set has a module with a function `read`, and a row in `DATASETS`. Nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..names import did_you_mean
from . import (
    folder,
    hivau,
    msad,
    ped2,
    shanghaitech,
    spans,
    table,
    ubnormal,
    ucf_crime,
    xd_violence,
)
from .annotated import Annotated as Annotated
from .annotated import Given
from .intervals import INTERVALS, Interval


@dataclass(frozen=True)
class Row:
    """A data set: its reader, and the names of its lists and annotations as released."""

    about: str
    read: Callable[[Given], Annotated]
    interval: Interval = "half-open"
    train: tuple[str, ...] = ()  # the first name that exists in the folder is used
    test: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()


DATASETS: dict[str, Row] = {
    "ucf-crime": Row(
        "the official lists and Temporal_Anomaly_Annotation.txt",
        ucf_crime.read,
        "inclusive",
        train=("Anomaly_Train.txt",),
        test=("Anomaly_Test.txt",),
        annotations=(
            "Temporal_Anomaly_Annotation.txt",
            "Temporal_Anomaly_Annotation_for_Testing_Videos.txt",
        ),
    ),
    "xd-violence": Row(
        "lists or folders of the videos, whose names label them, and annotations.txt",
        xd_violence.read,
        train=("train", "1-1004", "xd_train.txt", "rgb.list", "xd_CLIP_rgb.csv"),
        test=(
            *("test", "test_videos", "xd_test.txt", "test_frames.csv"),
            *("rgbtest.list", "xd_CLIP_rgbtest.csv"),
        ),
        annotations=("annotations.txt",),
    ),
    "shanghaitech": Row(
        "the weakly supervised lists and the frame masks",
        shanghaitech.read,
        train=("SH_Train.txt",),
        test=("SH_Test.txt",),
        annotations=("test_frame_masks.npz", "test_frame_mask", "testing/test_frame_mask"),
    ),
    "ped2": Row("UCSD Ped2, weakly supervised split; no file is needed", ped2.read, "one-based"),
    "msad": Row("the lists of MSAD-I3D, whose folders and names label the videos", msad.read),
    "ubnormal": Row(
        "the six official lists, and the tracks beside videos", ubnormal.read, "inclusive"
    ),
    "spans": Row("a JSON file of LaGoVAD: events as shares of the length", spans.read),
    "hivau": Row("the JSON files of HIVAU-70k: events of training videos, too", hivau.read),
    "folder": Row(
        "videos in folders: normal/ and one for every kind of anomaly",
        folder.read,
        annotations=("segments.csv",),
    ),
    "csv": Row("a table: a line a video or an event, in frames or seconds", table.read),
}


def read_dataset(
    name: str,
    path: str | Path | None = None,
    *,
    train: str | Path | None = None,
    test: str | Path | None = None,
    annotations: str | Path | None = None,
    interval: str | None = None,
    fps: float | None = None,
    frames: str | Path | None = None,
) -> Annotated:
    """Read a data set of `DATASETS`.

    path: its folder (for `csv`, `spans` and `hivau`, the file). train, test, annotations: files
    that are outside this folder or have other names. fps: frame rate of annotations in seconds.
    frames: lengths of the videos, a table `video,frames` or a feature store. Raises UsageError,
    with the line or video, if input is missing, malformed or contradictory.
    """
    if name not in DATASETS:
        raise UsageError(
            f"no data set {name!r}; there are: {', '.join(DATASETS)}",
            hint=did_you_mean(name, DATASETS) or "for your own videos: folder or csv",
        )
    if interval is not None and interval not in INTERVALS:
        raise UsageError(f"no interval {interval!r}; there are: {', '.join(INTERVALS)}")
    row, root = DATASETS[name], None if path is None else Path(path)
    if root is not None and not root.exists():
        raise UsageError(f"no file or folder {root}")
    known = {part: getattr(row, part) for part in ("train", "test", "annotations")}
    parts = {"train": train, "test": test, "annotations": annotations}
    found = {
        part: Path(given) if given is not None else _first(root, known[part])
        for part, given in parts.items()
    }
    chosen: Interval = next((i for i in INTERVALS if i == interval), row.interval)
    lengths = None if frames is None else Path(frames)
    return row.read(Given(folder=root, interval=chosen, fps=fps, frames=lengths, **found))


def _first(folder: Path | None, names: tuple[str, ...]) -> Path | None:
    """Return the first of the names that exists in a folder, or one folder deeper; None if none
    does.
    """
    if folder is None or not folder.is_dir():
        return None
    here = (folder / name for name in names if (folder / name).exists())
    deeper = (path for name in names for path in sorted(folder.glob(f"*/{name}")))
    return next(here, None) or next(deeper, None)

r"""Lists of videos in the dialects that they are passed around in.

    Abuse/Abuse028_x264.mp4                       the official lists
    /home/x/data/UCF_Test/Abuse028_x264_i3d.npy   RTFM, TEVAD, MGFN: someone's paths of features
    C:\data\Abuse028_x264__0.npy ... __9.npy      UR-DMU, SAA, BN-WVAD, VadCLIP: a line a crop
    01_0015 1                                     PEL4VAD: name and label
    path,label  or  video-id                      VadCLIP, S3R: a table with a first line

All of them are read to `Listed` names, without folders, suffixes and crop numbers. A folder in the
place of a list names the files below it.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError
from ..names import SUFFIXES
from ..tables import read_lines

VIDEOS = "|".join(suffix.removeprefix(".") for suffix in SUFFIXES)
VIDEO = re.compile(rf"\.({VIDEOS})$", re.IGNORECASE)
FILE = re.compile(rf"\.({VIDEOS}|npy|npz|txt|csv|mat|h5)$", re.IGNORECASE)
FILE_AND_MORE = re.compile(rf"(.+?\.(?:{VIDEOS}|npy|npz|txt|csv|mat|h5))\s+(.+)", re.IGNORECASE)
CROP = re.compile(r"__\d$")  # of the crop files: at most ten crops
FEATURES = re.compile(r"_(i3d|c3d|clip|videoswin|rgb)$", re.IGNORECASE)
HEADERS = ("path", "video", "video-id", "video_id", "name", "file", "filename")


@dataclass(frozen=True, slots=True)
class Listed:
    """A video of a list. `label` is the second value of its line, as written, or empty."""

    name: str
    label: str = ""
    folder: str = ""  # the folders above it, as listed


def video_name(path: str) -> str:
    """The name of a video, whatever file of it is named."""
    name = path.strip().replace("\\", "/").rsplit("/", 1)[-1]
    name = FEATURES.sub("", FILE.sub("", name))
    return FEATURES.sub("", CROP.sub("", name))


def read_list(path: Path) -> list[Listed]:
    """The videos of a list, each once and in its order.

    Raises UsageError where the list cannot be read or is empty, and where it names a video twice:
    the same line again, or one video with two labels. The crops of a video are one entry.
    """
    videos: dict[str, Listed] = {}
    seen: set[str] = set()
    for where, entry, label in _entries(path):
        name = video_name(entry)
        if not name:
            raise UsageError(f"{where} names no video: {entry!r}")
        folder = entry.replace("\\", "/").rpartition("/")[0]
        if entry in seen or (name in videos and not CROP.search(FILE.sub("", entry))):
            raise UsageError(f"{where}: {name!r} is listed twice", hint="remove one of the lines")
        seen.add(entry)
        known = videos.setdefault(name, Listed(name, label, folder))
        if known.label != label:
            raise UsageError(f"{where}: {name!r} is labelled both {known.label!r} and {label!r}")
    if not videos:
        raise UsageError(f"{path} lists no video")
    return list(videos.values())


def _entries(path: Path) -> Iterator[tuple[str, str, str]]:
    """Where it stands, the path or name, the label or nothing."""
    if path.is_dir():
        for file in sorted(path.rglob("*")):
            if FILE.search(file.name) and not file.name.startswith("."):
                yield str(file), file.relative_to(path).as_posix(), ""
        return
    column = 0
    for index, (where, line) in enumerate(read_lines(path)):
        values = [value.strip() for value in _values(line)]
        if index == 0 and (header := [v.lower() for v in values if v.lower() in HEADERS]):
            column = [v.lower() for v in values].index(header[0])
            continue
        label = values[column + 1] if len(values) > column + 1 else ""
        yield where, values[column] if len(values) > column else "", label


def _values(line: str) -> list[str]:
    """The values of a line: separated by commas, else a path or title, which may have spaces in it,
    and what follows it."""
    if "," in line:
        return next(csv.reader([line]))
    if FILE.search(line):
        return [line]
    if file := FILE_AND_MORE.match(line):
        return [file[1], *file[2].split()]
    name, *more = line.rsplit(maxsplit=1)
    return [name, *more] if more and (more[0].isdecimal() or " " not in name) else [line]

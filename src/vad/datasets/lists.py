r"""Read lists of videos in the formats that published projects use.

    Abuse/Abuse028_x264.mp4                       the official lists
    /home/x/data/UCF_Test/Abuse028_x264_i3d.npy   RTFM, TEVAD, MGFN: feature paths of some machine
    C:\data\Abuse028_x264__0.npy ... __9.npy      UR-DMU, SAA, BN-WVAD, VadCLIP: one line per crop
    01_0015 1                                     PEL4VAD: name and label
    path,label  or  video-id                      VadCLIP, S3R: a table with a header

All are read as `Listed` names, without folders, suffixes and crop numbers. If a folder is given
instead of a list, the files below it are listed.
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
CROP = re.compile(r"__\d$")  # suffix of crop files, of at most ten crops
FEATURES = re.compile(r"_(i3d|c3d|clip|videoswin|rgb)$", re.IGNORECASE)
HEADERS = ("path", "video", "video-id", "video_id", "name", "file", "filename")


@dataclass(frozen=True, slots=True)
class Listed:
    """A video in a list. `label` is the second value of its line, as written, or empty."""

    name: str
    label: str = ""
    folder: str = ""  # the folders of its path in the list


def video_name(path: str) -> str:
    """Return the name of a video from the path of the video or of one of its feature files."""
    name = path.strip().replace("\\", "/").rsplit("/", 1)[-1]
    name = FEATURES.sub("", FILE.sub("", name))
    return FEATURES.sub("", CROP.sub("", name))


def read_list(path: Path) -> list[Listed]:
    """Return the videos of a list, each once, in the order of the list.

    Several lines with the crops of one video are one entry. Raises UsageError if the list cannot be
    read or is empty, or if it names a video twice or with two labels.
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
    """Yield the entries of a list: place for messages, path or name, label or ""."""
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
    """Return the values of a line: split at commas, or else a path or name and the values after it.

    A path or a name can contain spaces.
    """
    if "," in line:
        return next(csv.reader([line]))
    if FILE.search(line):
        return [line]
    if file := FILE_AND_MORE.match(line):
        return [file[1], *file[2].split()]
    name, *more = line.rsplit(maxsplit=1)
    return [name, *more] if more and (more[0].isdecimal() or " " not in name) else [line]

"""Names of videos, of video files, and of entries in tables from which users choose.

The id of a video is its path below the extracted folder, without the suffix: `cam1/x` for
`videos/cam1/x.mp4`. The last part of an id, `x`, is called its stem: labels, lists and captions
from elsewhere often name videos by the stem alone.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

from .errors import UsageError

# Suffixes by which video files are found in a folder: those of all formats that can be decoded.
SUFFIXES = (
    *(".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".dav", ".divx", ".dv", ".f4v", ".flv"),
    *(".gif", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg"),
    *(".mjpg", ".mkv", ".mod", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm"),
    *(".ogv", ".qt", ".tod", ".ts", ".vob", ".webm", ".wmv"),
)

LONGEST = 4096  # bytes of a name, as of a path in Linux

Entry = TypeVar("Entry")


def find_by_name(kind: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """Return the entry of that name. Raises UsageError, with all names and the nearest, if none."""
    if name in table:
        return table[name]
    raise UsageError(
        f"no {kind} named {name!r}; there are: {', '.join(table)}", hint=did_you_mean(name, table)
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return "did you mean NAME?" with the known name nearest to `name`, or "" if none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def shortened(names: Sequence[str], n: int = 3) -> str:
    """Return the first `n` names, quoted, followed by `...` if there are more."""
    return ", ".join(map(repr, names[:n])) + (", ..." if len(names) > n else "")


def check_name(name: str, where: str) -> None:
    """Raise UsageError if no file could have this name: it is too long, or not in Unicode.

    where: the words that begin the message.
    """
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise UsageError(f"{where}: the video's name is not in Unicode: {name[:40]!r}") from None
    if length > LONGEST:
        raise UsageError(
            f"{where}: the video's name has {length:,} bytes, at most {LONGEST:,}: {name[:40]!r}..."
        )


def stem_of(video_id: str) -> str:
    """Return the last part of a video's id."""
    return video_id.rpartition("/")[2]


class VideoNames:
    """Finds video ids by the names that labels, lists and captions from elsewhere use."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = set[str]()
        self._by_stem: dict[str, list[str]] = {}
        for video_id in ids:
            self._ids.add(video_id)
            self._by_stem.setdefault(stem_of(video_id), []).append(video_id)

    def find(self, name: str) -> list[str]:
        """Return the ids that a name fits: the equal id, else all ids with that stem.

        A name that fits none is tried again without its suffix. The list is empty if nothing fits.
        """
        names = (name, name.rpartition(".")[0])
        return next((fits for n in names if (fits := self._exact(n) or self.with_stem(n))), [])

    def with_stem(self, stem: str) -> list[str]:
        """Return all ids with that stem."""
        return self._by_stem.get(stem, [])

    def _exact(self, name: str) -> list[str]:
        return [name] if name in self._ids else []


def key_of(video_id: str) -> str:
    """Return the name of a video's folder in a store: ASCII, and different for different ids."""
    key = quote(video_id, safe="")
    if key.startswith(".") or key == "zarr.json":
        key = f"%{ord(key[0]):02X}{key[1:]}"
    if len(key) > 200:  # file systems allow 255 bytes
        key = f"{key[:160]}~{hashlib.sha256(video_id.encode()).hexdigest()[:32]}"
    return key

"""Names: of videos, of video files, and of entries in tables that users choose from.

A video's id is its path below the folder that was extracted, without the suffix: `cam1/x` for
`videos/cam1/x.mp4`. Labels, lists and captions made elsewhere often name a video by the last part
of its id alone; that part is called the stem here.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar
from urllib.parse import quote

from .errors import UsageError

# Suffixes of the files that a folder of videos is searched for: as wide as what can be decoded.
SUFFIXES = (
    *(".264", ".265", ".3g2", ".3gp", ".asf", ".avi", ".dav", ".divx", ".dv", ".f4v", ".flv"),
    *(".gif", ".h264", ".h265", ".hevc", ".ivf", ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg"),
    *(".mjpg", ".mkv", ".mod", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm"),
    *(".ogv", ".qt", ".tod", ".ts", ".vob", ".webm", ".wmv"),
)

Entry = TypeVar("Entry")


def find_by_name(kind: str, name: str, table: Mapping[str, Entry]) -> Entry:
    """The entry of that name. Raises UsageError that lists the names, with the nearest one."""
    if name in table:
        return table[name]
    raise UsageError(
        f"no {kind} named {name!r}; there are: {', '.join(table)}", hint=did_you_mean(name, table)
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question whether the known name nearest to `name` was meant; empty if none is near."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def shortened(names: Sequence[str], n: int = 3) -> str:
    """The first names of a list, quoted; it ends with `...` if there are more than `n`."""
    return ", ".join(map(repr, names[:n])) + (", ..." if len(names) > n else "")


def stem_of(video_id: str) -> str:
    """The last part of a video's id."""
    return video_id.rpartition("/")[2]


class VideoNames:
    """Finds videos by the names that files made elsewhere use for them."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._ids = set[str]()
        self._by_stem: dict[str, list[str]] = {}
        for video_id in ids:
            self._ids.add(video_id)
            self._by_stem.setdefault(stem_of(video_id), []).append(video_id)

    def find(self, name: str) -> list[str]:
        """The ids that a name fits: the id that is equal to it, else all ids with that stem.

        A name that fits none is tried again without its suffix.
        """
        names = (name, name.rpartition(".")[0])
        return next((fits for n in names if (fits := self._exact(n) or self.with_stem(n))), [])

    def with_stem(self, stem: str) -> list[str]:
        """All ids with that stem."""
        return self._by_stem.get(stem, [])

    def _exact(self, name: str) -> list[str]:
        return [name] if name in self._ids else []


def key_of(video_id: str) -> str:
    """The name of the folder in which a store keeps a video: ASCII, distinct for distinct ids."""
    key = quote(video_id, safe="")
    if key.startswith(".") or key == "zarr.json":
        key = f"%{ord(key[0]):02X}{key[1:]}"
    if len(key) > 200:  # file systems allow 255 bytes
        key = f"{key[:160]}~{hashlib.sha256(video_id.encode()).hexdigest()[:32]}"
    return key

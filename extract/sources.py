"""Find the videos that a command's arguments name, give each an id, and divide them into shards.

`--shard I/N` selects the share of one of N processes. The shard of a video depends on its id alone.
So the processes need no scheduler and no communication, and a video stays in its shard when other
videos are added or removed.
"""

from __future__ import annotations

import glob
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vad.errors import UsageError
from vad.names import SUFFIXES
from vad.tables import read_lines

log = logging.getLogger("vad")

SHOWN = 5  # suffixes listed in the log line on files that were left out


@dataclass(frozen=True, slots=True)
class Source:
    """A video file and its id: the path below the input folder, without the suffix."""

    id: str
    path: Path


def find_sources(inputs: Iterable[str | Path]) -> list[Source]:
    """Return the videos that files, folders, globs (`'*.mkv'`) and lists (`@list.txt`) name, sorted
    by id.

    A folder adds every file in it and below it that has a video's suffix; links to folders are
    followed. Files of other suffixes are counted in one line of the log, except hidden ones. A list
    holds one file, folder or glob per line, relative to the working directory.

    Raises UsageError if an input does not exist, if there is no video, or if two files would get
    the same id.
    """
    sources: dict[str, Source] = {}
    inputs = list(inputs)
    for source in _all(str(i) for i in inputs):
        other = sources.setdefault(source.id, source)
        if os.path.realpath(other.path) != os.path.realpath(source.path):
            raise UsageError(
                f"{other.path} and {source.path} would both be called {source.id!r}",
                hint="name the folder above both, or rename one",
            )
    if not sources:
        raise UsageError(
            f"no video in {', '.join(map(str, inputs)) or 'nothing'}",
            hint=f"a folder is searched for {' '.join(SUFFIXES)}",
        )
    return sorted(sources.values(), key=lambda s: s.id)


def _all(inputs: Iterable[str]) -> Iterator[Source]:
    for name in inputs:
        path = Path(name)
        if name.startswith("@"):
            yield from _all(line for _, line in read_lines(Path(name[1:])))
        elif path.is_dir():
            yield from _below(path)
        elif path.exists():
            yield Source(_id(path.name), path)
        elif matches := sorted(glob.glob(name, recursive=True)):
            yield from _all(matches)
        else:
            raise UsageError(f"no file, folder or glob match: {name}")


def videos_below(root: Path) -> Iterator[Source]:
    """Yield the video files in a folder and below it, sorted folder by folder."""
    for path in files_below(root):
        if path.suffix.lower() in SUFFIXES:
            yield Source(_id(path.relative_to(root).as_posix()), path)


def _below(root: Path) -> Iterator[Source]:
    yield from videos_below(root)
    if others := [path for path in files_below(root) if path.suffix.lower() not in SUFFIXES]:
        tell_left_out(str(root), others, "whose suffix is of no video")


def tell_left_out(where: str, files: Sequence[Path], why: str) -> None:
    """Log one line that counts files which were left out, by suffix."""
    counted = Counter(path.suffix.lower() or "no suffix" for path in files).most_common(SHOWN)
    suffixes = ", ".join(f"{n} {suffix}" for suffix, n in counted)
    log.info(
        "%s: %d files left out %s (%s), such as %s", where, len(files), why, suffixes, files[0]
    )


def files_below(root: Path) -> Iterator[Path]:
    """Yield the files in a folder and below it, sorted folder by folder, without hidden ones.

    Links to folders are followed, but each folder is read only once.
    """
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(root, followlinks=True):
        if (real := os.path.realpath(folder)) in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = sorted(s for s in subfolders if not s.startswith("."))
        yield from (Path(folder, name) for name in sorted(files) if not name.startswith("."))


def _id(name: str) -> str:
    """Return the name without its suffix; bytes that are not UTF-8 become backslash escapes."""
    stem = os.path.splitext(name)[0]
    return os.fsencode(stem).decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard number `index` (from 1) of `n`. Raises UsageError if there is no such shard."""

    index: int = 1
    n: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.n:
            raise UsageError(
                f"there is no shard {self.index}/{self.n}",
                hint=f"shards count from 1: --shard 1/{max(self.n, 1)}",
            )

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """Parse `2/8` as the second of eight shards; None gives one shard with all videos. Raises
        UsageError for any other text.
        """
        if text is None:
            return cls()
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        if not found:
            raise UsageError(f"--shard {text}: write I/N, such as 2/8")
        return cls(int(found[1]), int(found[2]))

    def __contains__(self, video_id: object) -> bool:
        digest = hashlib.sha256(str(video_id).encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.n == self.index - 1

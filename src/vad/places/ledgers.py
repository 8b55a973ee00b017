"""Lists beside a store that several runs write: entries by video, the last one counts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..files import write_text


class Lines:
    """A file of JSON objects, one a line, each written at once: a killed run keeps it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, entry: dict[str, str]) -> None:
        with self._alone(), self.path.open("a+b") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a full disk cut the last line off
                    file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")

    def read(self) -> dict[str, dict[str, str]]:
        """The last entry of every video; a line that a full disk cut off is left out."""
        if not self.path.exists():
            return {}
        entries = {}
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                entries[entry["video"]] = entry
        return entries

    def drop(self, videos: Container[str]) -> None:
        """Drop the entries of some videos, and all but the last of the others."""
        with self._alone():
            left = [e for video, e in self.read().items() if video not in videos]
            if left:
                write_text(self.path, "".join(json.dumps(e) + "\n" for e in left))
            else:
                self.path.unlink(missing_ok=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other runs on this store from changing the list meanwhile."""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # not every file system has locks
                fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

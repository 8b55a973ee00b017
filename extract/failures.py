"""The videos that could not be used, and why: `failures.jsonl` in the store.

A line is added when a video fails, so that a killed run keeps what it found out. Failed is not
done: the next run tries again, and a video that is stored by then leaves the list.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from vad.errors import VideoError
from vad.files import write_text

from .sources import Source


class Failures:
    """The failures of a store, one JSON object a line."""

    def __init__(self, store: Path) -> None:
        self.path = store / "failures.jsonl"

    def add(self, source: Source, error: VideoError) -> None:
        """Note that a video failed."""
        entry = {
            "video": source.id,
            "source": str(source.path),
            "reason": error.reason,
            "message": str(error),
        }
        with self._alone(), self.path.open("a+b") as file:
            if file.tell() > 0:
                file.seek(-1, os.SEEK_END)
                if file.read() != b"\n":  # a full disk cut the last line off
                    file.write(b"\n")
            file.write(json.dumps(entry).encode() + b"\n")

    def read(self) -> dict[str, dict[str, str]]:
        """The last failure of every video, by id; a line that a full disk cut off is left out."""
        if not self.path.exists():
            return {}
        entries = {}
        for line in self.path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                entry = json.loads(line)
                entries[entry["video"]] = entry
        return entries

    def forget(self, stored: Container[str]) -> None:
        """Drop the videos that are stored by now, and all but the last failure of the others."""
        with self._alone():
            left = [e for video, e in self.read().items() if video not in stored]
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

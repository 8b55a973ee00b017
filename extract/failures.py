"""The videos that could not be used, and why: `failures.jsonl` in the store.

A line is added when a video fails, so that a killed run keeps what it found out. Failed is not
done: the next run tries again, and a video that is stored by then leaves the list.
"""

from __future__ import annotations

import json
from collections.abc import Container
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
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def read(self) -> dict[str, dict[str, str]]:
        """The last failure of every video, by id."""
        if not self.path.exists():
            return {}
        lines = self.path.read_text(encoding="utf-8").splitlines()
        entries = [json.loads(line) for line in lines if line.endswith("}")]
        return {e["video"]: e for e in entries}

    def forget(self, stored: Container[str]) -> None:
        """Drop the videos that are stored by now, and all but the last failure of the others."""
        left = [e for video, e in self.read().items() if video not in stored]
        if left:
            write_text(self.path, "".join(json.dumps(e) + "\n" for e in left))
        else:
            self.path.unlink(missing_ok=True)

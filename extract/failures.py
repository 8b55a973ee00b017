"""The videos that could not be used, and why: `failures.jsonl` in the store.

A line is added when a video fails, so that a killed run keeps what it found out. Failed is not
done: the next run tries again, and a video that is stored by then leaves the list. (A store in a
bucket has an object a video instead, `.failures/<video>.json`.)
"""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

from vad.errors import VideoError
from vad.places import Place, place_of

from .sources import Source


class Failures:
    """The failures of a store, one JSON object each. `path` is where a person finds them."""

    def __init__(self, store: str | Path | Place) -> None:
        self._ledger = place_of(store).ledger("failures")
        self.path = self._ledger.path

    def add(self, source: Source, error: VideoError) -> None:
        """Note that a video failed."""
        self._ledger.add(
            {
                "video": source.id,
                "source": str(source.path),
                "reason": error.reason,
                "message": str(error),
            }
        )

    def read(self) -> dict[str, dict[str, str]]:
        """The last failure of every video, by id."""
        return self._ledger.read()

    def forget(self, stored: Container[str]) -> None:
        """Drop the videos that are stored by now."""
        self._ledger.drop(stored)

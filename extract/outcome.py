"""What becomes of the videos of a run: how each ended, and `failures.jsonl` in the store.

A line is added to `failures.jsonl` when a video fails, so that a killed run keeps what it found
out. A failed video is not done: the next run tries it again, and removes its line once the video
is stored. (A store in a bucket has one object per failed video: `.failures/<video>.json`.)
"""

from __future__ import annotations

import logging
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path

from vad.errors import VideoError
from vad.store.backends import Backend, backend_of

from .sources import Source

log = logging.getLogger("vad")

SHOWN = 5  # failed videos that the representation of an outcome lists


@dataclass(frozen=True)
class Ended:
    """How one video ended: it is stored, or it is not because of the error."""

    source: Source
    error: VideoError | None = None
    by_others: bool = False  # another run stored it in the meantime


@dataclass(repr=False)
class Outcome:
    """How all videos of a run ended; each is in exactly one of the three."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # stored before, from the same content
    failed: dict[str, VideoError] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """That of the command: 0, or 3 if a video failed."""
        return VideoError.exit_code if self.failed else 0

    def __str__(self) -> str:
        return f"{len(self.done)} done, {len(self.skipped)} skipped, {len(self.failed)} failed"

    def __repr__(self) -> str:
        lines = [f"Outcome: {self}"]
        shown = list(self.failed.items())[:SHOWN]
        lines += [f"  {video}: {error} ({error.reason})" for video, error in shown]
        if n_more := len(self.failed) - len(shown):
            lines.append(f"  and {n_more} more")
        return "\n".join(lines)


class Failures:
    """The failures of a store, one JSON object each. `path` is where a person finds them."""

    def __init__(self, store: str | Path | Backend) -> None:
        self._ledger = backend_of(store).ledger("failures")
        self.path = self._ledger.path

    def note(self, source: Source, error: VideoError) -> None:
        """Note that a video failed, in the ledger of the store and in the log."""
        self._ledger.add(
            {
                "video": source.id,
                "source": str(source.path),
                "reason": error.reason,
                "message": str(error),
            }
        )
        log.warning("%s: %s (%s)", source.path, error, error.reason)

    def read(self) -> dict[str, dict[str, str]]:
        """The last failure of every video, by id."""
        return self._ledger.read()

    def forget(self, stored: Container[str]) -> None:
        """Remove the videos that are stored by now."""
        self._ledger.drop(stored)

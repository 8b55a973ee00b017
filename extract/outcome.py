"""The result of a run for each video, and the failures file `failures.jsonl` in the store.

A line is added to `failures.jsonl` as soon as a video fails, so that a killed run loses none. The
next run tries a failed video again and removes its line once the video is stored. (A store in a
bucket has one object per failed video instead: `.failures/<video>.json`.)
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

SHOWN = 5  # failed videos that the repr of an outcome lists


@dataclass(frozen=True)
class Ended:
    """The result for one video: it is stored or, if `error` is set, it failed."""

    source: Source
    error: VideoError | None = None
    by_others: bool = False  # stored by another run that works on the same store


@dataclass(repr=False)
class Outcome:
    """The results of a run. Each of its videos is in exactly one of the three fields."""

    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # stored before this run
    failed: dict[str, VideoError] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The exit code of the command: 3 if a video failed, else 0."""
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
    """The failures file of a store, with one JSON object per failed video. `path` is its location,
    as shown to the user.
    """

    def __init__(self, store: str | Path | Backend) -> None:
        self._ledger = backend_of(store).ledger("failures")
        self.path = self._ledger.path

    def note(self, source: Source, error: VideoError) -> None:
        """Add a failed video to the failures file and write a warning to the log."""
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
        """Return the last failure of every video, by video id."""
        return self._ledger.read()

    def forget(self, stored: Container[str]) -> None:
        """Remove the entries of these videos, which are stored by now."""
        self._ledger.drop(stored)

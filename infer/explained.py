"""Events in words: what a captioner sees in them, beside what it sees in ordinary moments.

    score       __--^^^^^^^^^^^^--_________________
    seen           |  | |  | |  |                      windows at begin, peak and end of an event
    ordinary                         |  |     |  |     windows with the lowest scores of the video

No model reasons here. Why an event may be unusual is said by comparison: with which words the
captioner describes the event and no ordinary moment of the same video. Sentences are generated, and
every output says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .events import Event
    from .scores import VideoScores

N_ORDINARY = 3  # ordinary moments of a video, with which its events are compared
WORD = re.compile(r"[^\W\d_]{3,}")  # shorter words tell nothing
# words too common to tell captions apart
EMPTY = frozenset(("and", "are", "for", "from", "has", "the", "their", "there", "this", "with"))


@dataclass(frozen=True)
class Explanation:
    """What is said of one event."""

    start_frame: int
    end_frame: int
    seen: tuple[str, ...]  # generated captions of its windows, in order of time
    why: str  # how these differ from captions of ordinary moments


@dataclass(frozen=True)
class Explained:
    """What is said of the events of a video."""

    captioner: str  # as it was named
    provenance: Mapping[str, object]  # everything that the captions depend on
    ordinary: tuple[str, ...]  # generated captions of ordinary moments
    events: tuple[Explanation, ...]
    generated: bool = True  # by a model: sentences can be wrong

    def of(self, frame: int) -> Explanation | None:
        """Return what is said of the event that a frame belongs to, or None."""
        return next((e for e in self.events if e.start_frame <= frame < e.end_frame), None)


def event_windows(event: Event, window: int, n_frames: int) -> list[int]:
    """Return the first frames of the windows that show an event, in order of time.

    They are around its peak, and at its begin and its end unless these are within half a window of
    the peak's. window: length of a window in frames. n_frames: length of the video.
    """
    last = max(0, n_frames - window)
    begin, peak, end = (
        min(max(0, first), last)
        for first in (event.start_frame, event.peak_frame - window // 2, event.end_frame - window)
    )
    apart = window // 2
    found = [peak]
    if peak - begin >= apart:
        found.insert(0, begin)
    if end - peak >= apart:
        found.append(end)
    return found


def ordinary_windows(scores: VideoScores, window: int) -> list[int]:
    """Return the first frames of at most `N_ORDINARY` windows with the lowest scores of a video.

    They overlap neither each other nor an event. window: length of a window in frames.
    """
    record = scores.record
    found: list[int] = []
    for snippet in np.argsort(scores.snippets, kind="stable"):
        first, _ = record.grid.frames_of(int(snippet), record.n_frames)
        in_event = any(e.start_frame - window < first < e.end_frame for e in scores.events)
        if not in_event and all(abs(first - other) >= window for other in found):
            found.append(first)
        if len(found) == N_ORDINARY:
            break
    return sorted(found)


def why_unusual(seen: Sequence[str], ordinary: Sequence[str]) -> str:
    """Say how the captions of an event differ from those of ordinary moments."""
    if not ordinary:
        return "no ordinary moment of this video to compare with"
    known = {word for caption in ordinary for word in _words(caption)}
    new = [word for caption in seen for word in _words(caption) if word not in known]
    if not new:
        return "ordinary moments are described with the same words"
    return f"no ordinary moment is described with: {', '.join(dict.fromkeys(new))}"


def _words(caption: str) -> list[str]:
    return [word for word in WORD.findall(caption.lower()) if word not in EMPTY]

"""The queue of a cluster extraction, which assigns videos to workers. It does not depend on Ray.

    waiting ──take──> under way ──ended──> news
       ^                  │
       └──── its turn ended without it: the worker died

A worker takes a video only when it can begin it, so all waiting videos are in this queue. A video
whose worker died is retried last and alone in its turn: this separates a video that kills its
workers from videos that were only under way at the same time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass

from vad.errors import VideoError
from vad.stages.extract.outcome import Ended
from vad.stages.extract.sources import Source


@dataclass(frozen=True)
class News:
    """The videos that ended since the last call of `Dispatch.news`, and the numbers still to do."""

    ended: list[Ended]
    n_waiting: int  # videos that an idle worker could take
    n_left: int  # videos that have not ended: under way or waiting


class Dispatch:
    """The queue that assigns videos in the given order. A turn is one call of `VideoActor.work`."""

    def __init__(self, todo: Iterable[Source], max_losses: int) -> None:
        self._waiting = deque(todo)
        self._n_left = len(self._waiting)
        self._suspects: deque[Source] = deque()  # videos under way when a worker died
        self._under_way: dict[str, dict[str, Source]] = {}  # turn -> video id -> video
        self._alone: set[str] = set()  # turns that process one suspect and nothing else
        self._losses: Counter[str] = Counter()
        self._max_losses = max_losses
        self._ended: list[Ended] = []

    def begin(self, turn: str) -> None:
        """Register a turn, before its worker takes the first video."""
        self._under_way[turn] = {}

    def take(self, turn: str) -> Source | None:
        """Return the next video for a turn; None if there is no more for it."""
        mine = self._under_way.get(turn)
        if mine is None or turn in self._alone:
            return None
        if self._waiting:
            source = self._waiting.popleft()
        elif self._suspects and not mine:
            source = self._suspects.popleft()
            self._alone.add(turn)
        else:
            return None
        mine[source.id] = source
        return source

    def ended(self, turn: str, end: Ended) -> None:
        """Record that a video of a turn is stored or failed."""
        if self._under_way.get(turn, {}).pop(end.source.id, None):
            self._tell(end)

    def close(self, turn: str) -> None:
        """End a turn. Videos still under way in it were lost with their worker.

        They are retried; one that lost `max_losses` workers is reported as `crashed`.
        """
        self._alone.discard(turn)
        for source in self._under_way.pop(turn, {}).values():
            self._losses[source.id] += 1
            if self._losses[source.id] < self._max_losses:
                self._suspects.append(source)
            else:
                what = f"{self._max_losses} workers died while it was under way"
                self._tell(Ended(source, VideoError("crashed", what)))

    def news(self) -> News:
        """Return the videos that ended since the last call, and the numbers still to do."""
        told, self._ended = self._ended, []
        return News(told, len(self._waiting) + len(self._suspects), self._n_left)

    def _tell(self, end: Ended) -> None:
        self._n_left -= 1
        self._ended.append(end)

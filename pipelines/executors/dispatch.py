"""Which worker does which video: the state of a run on a cluster, without the cluster.

    waiting ──take──> under way ──ended──> news
       ^                  │
       └──── its turn ended without it: the worker died

A worker asks for a video when it can begin it, so videos wait here and nowhere else. Videos whose
worker died are done last, one per turn: so a video that kills its workers is told from those that
were only under way beside it.
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
    """What happened since the last time."""

    ended: list[Ended]
    n_waiting: int  # that an idle worker could take
    n_left: int  # that have not ended, under way or waiting


class Dispatch:
    """Hands out videos in the order given. A turn is one worker's uninterrupted work on them."""

    def __init__(self, todo: Iterable[Source], max_losses: int) -> None:
        self._waiting = deque(todo)
        self._n_left = len(self._waiting)
        self._suspects: deque[Source] = deque()  # a worker died while they were under way
        self._under_way: dict[str, dict[str, Source]] = {}  # by turn and video
        self._alone: set[str] = set()  # turns that do a suspect, and nothing else
        self._losses: Counter[str] = Counter()
        self._max_losses = max_losses
        self._ended: list[Ended] = []

    def begin(self, turn: str) -> None:
        """A worker is about to ask."""
        self._under_way[turn] = {}

    def take(self, turn: str) -> Source | None:
        """The next video of a turn; None if there is no more for it."""
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
        """A video of a turn is stored, or failed."""
        if self._under_way.get(turn, {}).pop(end.source.id, None):
            self._tell(end)

    def close(self, turn: str) -> None:
        """A turn is over. What is still under way in it was lost with its worker."""
        self._alone.discard(turn)
        for source in self._under_way.pop(turn, {}).values():
            self._losses[source.id] += 1
            if self._losses[source.id] < self._max_losses:
                self._suspects.append(source)
            else:
                what = f"{self._max_losses} workers died while it was under way"
                self._tell(Ended(source, VideoError("crashed", what)))

    def news(self) -> News:
        """What ended since the last call."""
        told, self._ended = self._ended, []
        return News(told, len(self._waiting) + len(self._suspects), self._n_left)

    def _tell(self, end: Ended) -> None:
        self._n_left -= 1
        self._ended.append(end)

"""The videos of a run, each claimed when a decoder is free for it: several runs share one store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from vad.store.backends.backend import Claims

from .sources import Source


class ClaimsQueue:
    """One pass over the videos still to do; each ends in exactly one of the three lists."""

    def __init__(
        self, todo: Iterable[Source], claims: Claims, is_stored: Callable[[Source], bool]
    ) -> None:
        self.mine: list[Source] = []  # claimed by this run, in the order of `paths`
        self.stored: list[Source] = []  # by another run, since this one made its plan
        self.others: list[Source] = []  # being done by another run now
        self._todo, self._claims, self._is_stored = todo, claims, is_stored

    def paths(self) -> Iterator[Path]:
        """The videos to decode, each claimed at the moment it is asked for."""
        for source in self._todo:
            if not self._claims.take(source.id):
                self.others.append(source)
            elif self._is_stored(source):
                self._claims.release(source.id)
                self.stored.append(source)
            else:
                self.mine.append(source)
                yield source.path

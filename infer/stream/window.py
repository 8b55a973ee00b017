"""Score the snippets of a stream with a detector over the most recent snippets.

Most detectors look at all snippets of a video, before and after the one they score. In a stream
they see only the last `n_snippets`. With `lookahead`, a snippet is scored only when that many
further snippets have arrived.

    stream            . . . a b c d e f g h         n_snippets 4, lookahead 1
    after h arrived         . . . . e f g h   ->    score of g, from e f g h

Where a score depends only on a few neighbours, as of plain `topk`, only these are computed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.stages.train.kinds import Kinds
from vad.stages.train.naming import Naming

Tag = TypeVar("Tag")
Features = Mapping[str, NDArray[np.generic]]  # arrays by key, [crops, dim] of one snippet
# a function from arrays [snippets, crops, dim] by key to scores [snippets], and the kinds of
# anomaly if the detector tells classes
Judge = Callable[[Features], tuple[NDArray[np.float32], Kinds | None]]


@dataclass(frozen=True, slots=True)
class Scored(Generic[Tag]):
    """The score of one snippet."""

    tag: Tag  # the tag that was passed to `push` with this snippet
    score: float
    n_seen: int  # snippets that the detector saw, including this one
    kinds: Kinds | None = None  # of this snippet, if the detector tells classes


class Window(Generic[Tag]):
    """A sliding window: takes features snippet by snippet, returns scores `lookahead` snippets
    later.
    """

    def __init__(
        self, judge: Judge, n_snippets: int, lookahead: int = 0, reach: int | None = None
    ) -> None:
        """reach: snippets on either side of one on which its score depends; None: on all."""
        if not 0 <= lookahead < n_snippets:
            raise UsageError(
                f"a window of {n_snippets} snippets cannot look {lookahead} snippets ahead",
                hint="the window holds the snippet itself and those after it",
            )
        self._judge, self._lookahead, self._reach = judge, lookahead, reach
        self._features: deque[Features] = deque(maxlen=n_snippets)
        self._unscored: deque[Tag] = deque()  # tags of the newest snippets

    def push(self, features: Features, tag: Tag) -> list[Scored[Tag]]:
        """Add the features of the next snippet, and return the scores that are now due."""
        self._features.append(features)
        self._unscored.append(tag)
        return self._pop(self._lookahead)

    def flush(self) -> list[Scored[Tag]]:
        """Return the scores of the snippets not scored yet, at the end of a stream; empty the
        window.
        """
        scored = self._pop(0)
        self._features.clear()
        return scored

    def _pop(self, n_kept: int) -> list[Scored[Tag]]:
        n_due = len(self._unscored) - n_kept
        if n_due <= 0:
            return []
        n_seen, n_unscored = len(self._features), len(self._unscored)
        n_needed = n_seen if self._reach is None else min(n_seen, n_unscored + self._reach)
        needed = list(self._features)[n_seen - n_needed :]
        arrays = {key: np.stack([f[key] for f in needed]) for key in needed[0]}
        scores, kinds = self._judge(arrays)
        first = n_needed - n_unscored
        return [
            Scored(self._unscored.popleft(), float(scores[i]), n_seen, kinds and kinds.at(i))
            for i in range(first, first + n_due)
        ]


class RecentKinds:
    """Names the kind of the newest snippet of a live source by the classifier of a run.

    The classifier compares a moment with the ordinary state of its video. In a stream, this is the
    ordinary state of the last `n_snippets` snippets.
    """

    def __init__(self, naming: Naming | None, n_snippets: int) -> None:
        """naming: None if the run has no classifier; then `newest` returns None."""
        self._naming = naming
        self._recent: deque[tuple[NDArray[np.generic], float]] = deque(maxlen=n_snippets)

    def rows_of(self, arrays: Features) -> NDArray[np.generic] | None:
        """Return the features [cells, dim] that name a snippet, of its arrays [1, cells, dim] by
        name; None if nothing names it.
        """
        if self._naming is None or self._naming.array not in arrays:
            return None
        rows: NDArray[np.generic] = arrays[self._naming.array][0]
        return rows

    def add(self, rows: NDArray[np.generic] | None, score: float) -> None:
        """Add the next snippet: its features, as `rows_of` returns them, and its score."""
        if rows is not None:
            self._recent.append((rows, score))

    def newest(self) -> Kinds | None:
        """Return the kinds of the snippet that was added last; None if they are not known."""
        if self._naming is None or not self._recent:
            return None
        rows, scores = zip(*self._recent, strict=True)
        return self._naming.of(np.stack(rows), np.array(scores, np.float32)).at(-1)

    def clear(self) -> None:
        """Forget all snippets, as after the source was lost."""
        self._recent.clear()

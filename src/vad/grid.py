"""The clip grid: this module alone defines how frames map to snippets and back.

A clip is 16 frames, `dilation` frames apart, and clips start every `stride` frames. Frames count
from 0 and intervals are half-open. By default the frames of a clip are consecutive and a clip
starts every 16 frames, so that snippet `i` covers frames `[16 i, 16 i + 16)`.

    frames      0 .............. 15 16 ............. 31 32 .. 37
    snippets    |       0         | |       1         | | 2 |      38 frames, 3 snippets

A snippet covers all frames from the first frame of its clip to the last, also those between two
frames of the clip. Clips overlap if the stride is smaller than that span, and leave gaps if it is
larger (here 4 frames a clip in place of 16):

    dilation 2, stride 4   0 . 0 . 0 . 0              frames 0..6
                                   1 . 1 . 1 . 1      frames 4..10
    dilation 1, stride 6   0 0 0 0 . . 1 1 1 1 . . 2 2 2 2

The last clip is the first one that reaches the end of the video, or the last one that starts in it.
The tail policy defines what its frames beyond the end are:

    repeat-last  the last frame of that clip is repeated (default)
    loop         the frames of that clip from its start are repeated cyclically (LoopPad; the
                 published 2048-d UCF-Crime and ShanghaiTech features)
    drop         none: there are whole clips only, floor(n / 16) snippets by default (several public
                 extractors)

The score of a frame is the mean of the snippets that cover it. A frame that no snippet covers, in a
gap or in a dropped tail, takes the score of the nearest snippet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import count, islice
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import InternalError, UsageError

CLIP_FRAMES = 16  # frames of a clip, which a backbone sees at once
# Imported text can have a few rows more or less than its video has snippets: a window of captions
# is 64 frames long, and projects treat the windows that reach beyond the end differently.
TEXT_ROWS_APART = 4
MOST_HELD = 256  # frames of one video that unfinished clips may keep in memory
MOST = 1_000_000  # of each field of a sampling

Tail = Literal["repeat-last", "loop", "drop"]
TAILS: tuple[str, ...] = get_args(Tail)


@dataclass(frozen=True, slots=True)
class Sampling:
    """Which frames of a video the clips are made of. Raises ValueError, which begins with the name
    of the field, for values that are out of range.
    """

    dilation: int = 1  # frames from one frame of a clip to the next
    stride: int = CLIP_FRAMES  # frames from the start of one clip to the start of the next
    max_clips: int | None = None  # of a longer video, this many clips are taken, evenly spread

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not 1 <= value <= MOST:
                raise ValueError(f"{field.name} is {value}, expected 1 to {MOST:,}")
        if self.n_held > MOST_HELD:
            raise ValueError(
                f"dilation is {self.dilation} and stride {self.stride}: unfinished clips would "
                f"keep {self.n_held:,} frames in memory, more than {MOST_HELD}"
            )

    @property
    def span(self) -> int:
        """Return the number of frames from the first of a clip to its last, both included."""
        return (CLIP_FRAMES - 1) * self.dilation + 1

    @property
    def offsets(self) -> range:
        """Return the frames of a clip, counted from its first."""
        return range(0, self.span, self.dilation)

    @property
    def n_held(self) -> int:
        """Return the most frames that the clips which have begun and not ended need at a time."""
        return min(self.span, CLIP_FRAMES * -(-self.span // self.stride))

    def provenance(self) -> dict[str, object]:
        """Return the sampling as a member of a provenance. The default one has none, so that arrays
        of earlier versions count as made with it.
        """
        return {} if self == DENSE else {"sampling": asdict(self)}

    def __str__(self) -> str:
        apart = "consecutive" if self.dilation == 1 else f"{self.dilation} apart"
        most = f", at most {self.max_clips} clips" if self.max_clips else ""
        return f"{CLIP_FRAMES} frames {apart}, a clip every {self.stride}{most}"


DENSE = Sampling()  # the default


@dataclass(frozen=True, slots=True)
class ClipGrid:
    """Converts between frames, snippets and seconds, under one tail policy and one sampling."""

    tail: Tail = "repeat-last"
    sampling: Sampling = DENSE

    def __post_init__(self) -> None:
        if self.tail not in TAILS:
            raise UsageError(f"no tail policy named {self.tail!r}; there are: {', '.join(TAILS)}")

    def n_snippets(self, n_frames: int) -> int:
        """Return the number of snippets of a video of `n_frames` frames."""
        return min(self._n_uncut(n_frames), self.sampling.max_clips or n_frames)

    def _n_uncut(self, n_frames: int) -> int:
        """Return the number of snippets if all clips are taken, however many they are."""
        span, stride = self.sampling.span, self.sampling.stride
        if self.tail == "drop":
            return max(0, (n_frames - span) // stride + 1)
        begun = -(-n_frames // stride)  # clips that begin within the video
        return min(begun, 1 + max(0, -(-(n_frames - span) // stride)))

    def starts(self, n_frames: int) -> NDArray[np.int64]:
        """Return the first frame of each snippet, [snippets]."""
        every = np.arange(self.n_snippets(n_frames))
        return np.asarray(self._start(every, n_frames), np.int64)

    def _start(self, snippet: Any, n_frames: int) -> Any:
        """Return the first frame of a snippet, or of each in an array [n]."""
        n_uncut, most = self._n_uncut(n_frames), self.sampling.max_clips
        if most is not None and n_uncut > most:  # evenly spread from the first to the last
            snippet = snippet * (n_uncut - 1) // max(1, most - 1)
        return snippet * self.sampling.stride

    def frames_of(self, snippet: int, n_frames: int) -> tuple[int, int]:
        """Return the frames `[start, stop)` that a snippet covers, without the padding of the last
        one.
        """
        start = int(self._start(snippet, n_frames))
        return start, min(start + self.sampling.span, n_frames)

    def end_of_clips(self, n_frames: int) -> int:
        """Return where the last clip ends, its padding included; 0 if there is no clip."""
        n = self.n_snippets(n_frames)
        return int(self._start(n - 1, n_frames)) + self.sampling.span if n else 0

    def snippet_of_frames(self, n_frames: int) -> NDArray[np.int64]:
        """Return the snippet that every frame belongs to, [n_frames]: the one whose middle is
        nearest, of two the earlier one. In the default sampling it is the one that covers the
        frame.
        """
        middles = 2 * self.starts(n_frames) + self.sampling.span - 1  # twice, to stay whole
        return np.searchsorted(middles[1:] + middles[:-1], 4 * np.arange(n_frames)).astype(np.int64)

    def snippets_in(self, start: int, stop: int, n_frames: int) -> tuple[int, int]:
        """Return the range `[first, until)` of the snippets that cover a frame of `[start, stop)`;
        of frames that none covers, the snippet nearest to the first.
        """
        starts = self.starts(n_frames)
        first = int(np.searchsorted(starts, start - self.sampling.span, side="right"))
        until = int(np.searchsorted(starts, stop - 1, side="right"))
        if first < until:
            return first, until
        nearest = int(self.snippet_of_frames(n_frames)[min(start, n_frames - 1)])
        return nearest, nearest + 1

    def fill(self, frames: NDArray[Any], size: int = CLIP_FRAMES) -> NDArray[Any]:
        """Return a last clip of 1 to `size` frames, filled up to `size` by the tail policy.

        frames [n, ...] -> [size, ...]
        """
        n = len(frames)
        if n == size:
            return frames
        positions = np.arange(size)
        index = positions % n if self.tail == "loop" else np.minimum(positions, n - 1)
        return frames[index]

    def clips(
        self, blocks: Iterable[NDArray[np.uint8]], n_frames: int | None = None
    ) -> Iterator[NDArray[np.uint8]]:
        """Cut a sequence of frames into clips; see `ClipCutter`.

        blocks of [frames, height, width, 3] in order -> clips [16, height, width, 3]
        """
        cutter = ClipCutter(self, n_frames)
        for block in blocks:
            yield from cutter.add(block)
        yield from cutter.finish()

    def spread(self, scores: NDArray[Any], n_frames: int) -> NDArray[Any]:
        """Return a score for every frame: the mean of the snippets that cover it. Where none does,
        that of the nearest snippet.

        scores [snippets] -> [n_frames]. Without overlap the values are those of the scores, as in
        the published protocols. Raises InternalError if the number of scores does not fit.

            scores   a     b     c
            frames   aaaa  bbbb  cc
        """
        if len(scores) != self.n_snippets(n_frames) or len(scores) == 0:
            raise InternalError(
                f"{n_frames} frames make {self.n_snippets(n_frames)} snippets "
                f"(tail {self.tail}), but there are {len(scores)} scores"
            )
        frames, starts = np.arange(n_frames), self.starts(n_frames)
        held = scores[self.snippet_of_frames(n_frames)]
        # of each frame: the first snippet that covers it, and the one after the last
        first = np.searchsorted(starts, frames - self.sampling.span, side="right")
        last = np.searchsorted(starts, frames, side="right")
        n_covering = last - first
        if n_covering.max() <= 1:
            return held
        sums = np.zeros(n_frames)
        for k in range(n_covering.max()):
            covers = k < n_covering
            sums[covers] += scores[first[covers] + k]
        means = np.where(n_covering > 0, sums / np.maximum(n_covering, 1), held)
        limited = np.clip(means, scores.min(), scores.max())
        return limited.astype(np.result_type(scores.dtype, np.float32))

    def seconds(
        self, snippet: int, times: NDArray[np.float64], duration_s: float
    ) -> tuple[float, float]:
        """Return start and end of a snippet in seconds, from the presentation times of the frames.

        times [frames]: the time at which each frame is shown. The last frame is shown until
        `duration_s`.
        """
        start, stop = self.frames_of(snippet, len(times))
        end = float(times[stop]) if stop < len(times) else duration_s
        return float(times[start]), end


# Samplings of published pipelines, with their tail policy.
SAMPLINGS = {
    # A clip of 16 frames, 5 apart, every 64 frames, whole clips only, and of a longer video 500
    # clips: the TimeSformer features (768-d) of a multiple instance learning pipeline on UCF-Crime.
    "timesformer-mil": ClipGrid("drop", Sampling(dilation=5, stride=64, max_clips=500)),
}


class Windows:
    """Cuts the frames of one video into windows while they arrive, and keeps only the frames that
    an unfinished window needs.

    offsets: the frames of a window, ascending, counted from its first. starts: where windows begin,
    ascending. as_views: the frames of a window are consecutive and windows do not overlap, so that
    a window which lies completely in one block of frames is a view of that block.
    """

    def __init__(
        self, offsets: Sequence[int], starts: Iterable[int], *, as_views: bool = False
    ) -> None:
        self._offsets, self._starts, self._as_views = offsets, iter(starts), as_views
        self._coming = next(self._starts, None)  # start of the next window
        self._begun: deque[int] = deque()  # starts of the windows that have begun and not ended
        self._kept: dict[int, NDArray[np.uint8]] = {}  # frames by number, ascending
        self.n_frames = 0  # frames received so far

    def add(self, frames: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """Take the next frames [n, height, width, 3] and yield the windows that they complete,
        [offsets, height, width, 3].
        """
        size, at = len(self._offsets), 0
        while at < len(frames):
            if self._as_views and self._coming == self.n_frames and len(frames) - at >= size:
                yield frames[at : at + size]
                at, self.n_frames = at + size, self.n_frames + size
                self._coming = next(self._starts, None)
            else:
                if window := self._add_one(frames[at]):
                    yield np.stack(window)
                at += 1

    def _add_one(self, frame: NDArray[np.uint8]) -> list[NDArray[np.uint8]] | None:
        """Take the next frame. Returns the frames of the window that it completes, if it does."""
        number = self.n_frames
        if self._coming == number:
            self._begun.append(number)
            self._coming = next(self._starts, None)
        if any(number - start in self._offsets for start in self._begun):
            self._kept[number] = frame.copy()  # so that the block of frames can be freed
        self.n_frames += 1
        is_last = bool(self._begun) and number == self._begun[0] + self._offsets[-1]
        return self._end_oldest() if is_last else None

    def rest(self) -> Iterator[list[NDArray[np.uint8]]]:
        """Yield the frames [height, width, 3] of each window that the end of the video cuts off;
        there can be none.
        """
        while self._begun:
            yield self._end_oldest()

    def _end_oldest(self) -> list[NDArray[np.uint8]]:
        """End the oldest window: return its frames, and free those that no other window needs."""
        start = self._begun.popleft()
        numbers = (start + offset for offset in self._offsets)
        frames = [self._kept[number] for number in numbers if number in self._kept]
        needed = self._begun[0] if self._begun else self.n_frames
        while self._kept and (oldest := next(iter(self._kept))) < needed:
            del self._kept[oldest]
        return frames


class ClipCutter:
    """Cuts the frames of one video into clips while they arrive. Memory holds the frames of
    unfinished clips only, at most `MOST_HELD`.

    n_frames: the number of frames of the video, which decides where clips are if the sampling has
    `max_clips`. If it is None, all clips are taken, as of a live source, whose length is not known.
    size: frames of a clip, for networks that look beyond the 16 of a snippet; clips begin where
    snippets do, and reach into the snippets after them.
    """

    def __init__(
        self, grid: ClipGrid, n_frames: int | None = None, size: int = CLIP_FRAMES
    ) -> None:
        if n_frames is None:
            grid = replace(grid, sampling=replace(grid.sampling, max_clips=None))
        self._grid, self._size, sampling = grid, size, grid.sampling
        self._windows = Windows(
            range(0, size * sampling.dilation, sampling.dilation),
            count(0, sampling.stride) if n_frames is None else map(int, grid.starts(n_frames)),
            as_views=sampling.dilation == 1 and sampling.stride >= size,
        )
        self._n_clips = 0

    def add(self, frames: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        """Take the next frames [n, height, width, 3] and yield the clips that they complete,
        [size, height, width, 3].
        """
        for clip in self._windows.add(frames):
            self._n_clips += 1
            yield clip

    def finish(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the clips [size, height, width, 3] that the end of the video cuts off, filled by
        the tail policy.
        """
        n_left = self._grid.n_snippets(self._windows.n_frames) - self._n_clips
        for frames in islice(self._windows.rest(), max(0, n_left)):
            yield self._grid.fill(np.stack(frames), self._size)


def segment_edges(n_rows: int, n_segments: int) -> NDArray[np.int64]:
    """Return the borders of stretches of rows of nearly equal length: [n_segments + 1].

    As in RTFM, MGFN, TEVAD and UR-DMU, they are linspace(0, n_rows, n_segments + 1), rounded down.
    Two borders are equal if there are fewer rows than segments.
    """
    return np.linspace(0, n_rows, n_segments + 1).astype(np.int64)


def align_text(rows: NDArray[Any], n_snippets: int) -> NDArray[Any]:
    """Return text rows [rows, ...] for the snippets of their video: [n_snippets, ...].

    Row i describes snippet i. As in TEVAD, surplus rows are cut, and if n rows are missing, the
    last n rows are repeated. Raises InternalError if more are missing than there are.
    """
    missing = n_snippets - len(rows)
    if missing <= 0:
        return rows[:n_snippets]
    if missing > len(rows):
        raise InternalError(f"{len(rows)} rows of text cannot fill {n_snippets} snippets")
    return np.concatenate([rows, rows[-missing:]])

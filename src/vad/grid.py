"""The clip grid: this module alone defines how frames map to snippets and back.

A clip is 16 consecutive frames, clips start every 16 frames, and snippet `i` covers frames `[16 i,
16 i + 16)`. Frames count from 0 and intervals are half-open.

    frames      0 .............. 15 16 ............. 31 32 .. 37
    snippets    |       0         | |       1         | | 2 |      38 frames, 3 snippets

The tail policy defines how the last clip is filled up to 16 frames:

    repeat-last  with the last frame, repeated (default)
    loop         with the frames of that clip from its start, cyclically (LoopPad; the published
                 2048-d UCF-Crime and ShanghaiTech features)
    drop         not at all: the clip is dropped, floor(n / 16) snippets (several public extractors)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .errors import InternalError, UsageError

CLIP_FRAMES = 16  # frames a backbone sees at once, and the distance between clips
# Imported text can have a few rows more or less than its video has snippets: a window of captions
# is 64 frames long, and projects treat the windows that reach beyond the end differently.
TEXT_ROWS_APART = 4

Tail = Literal["repeat-last", "loop", "drop"]
TAILS: tuple[str, ...] = get_args(Tail)


@dataclass(frozen=True, slots=True)
class ClipGrid:
    """Converts between frames, snippets and seconds under one tail policy."""

    tail: Tail = "repeat-last"

    def __post_init__(self) -> None:
        if self.tail not in TAILS:
            raise UsageError(f"no tail policy named {self.tail!r}; there are: {', '.join(TAILS)}")

    def n_snippets(self, n_frames: int) -> int:
        """Return the number of snippets of a video of `n_frames` frames."""
        whole, rest = divmod(n_frames, CLIP_FRAMES)
        return whole + (rest > 0 and self.tail != "drop")

    def snippet_of(self, frame: int) -> int:
        """Return the snippet that contains `frame`."""
        return frame // CLIP_FRAMES

    def frames_of(self, snippet: int, n_frames: int) -> tuple[int, int]:
        """Return the frames `[start, stop)` of a snippet, without the padding of the last one."""
        start = snippet * CLIP_FRAMES
        return start, min(start + CLIP_FRAMES, n_frames)

    def fill(self, frames: NDArray[Any]) -> NDArray[Any]:
        """Return a last clip of 1 to 16 frames, filled up to 16 by the tail policy.

        frames [n, ...] -> [16, ...]
        """
        n = len(frames)
        if n == CLIP_FRAMES:
            return frames
        positions = np.arange(CLIP_FRAMES)
        index = positions % n if self.tail == "loop" else np.minimum(positions, n - 1)
        return frames[index]

    def clips(self, blocks: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        """Cut a sequence of frames into clips, with at most one clip in memory.

        blocks of [frames, height, width, 3] in order -> clips [16, height, width, 3]. A clip that
        lies completely in one block is a view of that block.
        """
        clip: NDArray[np.uint8] | None = None
        filled = 0
        for block in blocks:
            start = 0
            while start < len(block):
                if clip is None and len(block) - start >= CLIP_FRAMES:
                    yield block[start : start + CLIP_FRAMES]
                    start += CLIP_FRAMES
                    continue
                if clip is None:
                    clip, filled = np.empty((CLIP_FRAMES, *block.shape[1:]), np.uint8), 0
                taken = min(CLIP_FRAMES - filled, len(block) - start)
                clip[filled : filled + taken] = block[start : start + taken]
                filled, start = filled + taken, start + taken
                if filled == CLIP_FRAMES:
                    yield clip
                    clip = None
        if clip is not None and self.tail != "drop":
            yield self.fill(clip[:filled])

    def spread(self, scores: NDArray[Any], n_frames: int) -> NDArray[Any]:
        """Return a score for every frame: that of its snippet, as in the published protocols.

        scores [snippets] -> [n_frames]. Frames of a dropped tail get the last snippet's score.
        Raises InternalError if the number of scores does not fit.

            scores   a     b     c
            frames   aaaa  bbbb  cc
        """
        if len(scores) != self.n_snippets(n_frames) or len(scores) == 0:
            raise InternalError(
                f"{n_frames} frames make {self.n_snippets(n_frames)} snippets "
                f"(tail {self.tail}), but there are {len(scores)} scores"
            )
        index = np.minimum(np.arange(n_frames) // CLIP_FRAMES, len(scores) - 1)
        return scores[index]

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

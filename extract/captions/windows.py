"""From clips to the windows that captioners look at, each decoded once.

    clips       |  0  |  1  |  2  |  3  |  4  | ...       16 frames each
    window 0    |-------- 64 frames ----|
    window 1          |-------- 64 frames ----|

Windows start every `stride` frames and overlap; of every frame only as much is kept as some
window still wants. A window that reaches beyond the end sees the last frame instead, as in TEVAD.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from vad.grid import CLIP_FRAMES


class Windows:
    """The windows of one video, as its clips come in."""

    def __init__(self, offsets: Sequence[int], stride: int) -> None:
        self._offsets, self._stride = offsets, stride
        self._wanted = {offset % stride for offset in offsets}
        self._kept: dict[int, NDArray[np.uint8]] = {}  # frames by their number
        self._n_frames = 0  # that have come in
        self._next = 0  # first frame of the next window

    def add(self, clips: NDArray[np.uint8], n_frames: int) -> Iterator[NDArray[np.uint8]]:
        """Take the next clips, and give the windows that they complete.

        clips [clips, 16, height, width, 3], of which the first `n_frames` frames are the video's,
        the others what fills the last clip -> windows [offsets, height, width, 3]
        """
        for frame in clips.reshape(-1, *clips.shape[2:])[:n_frames]:
            self._last = frame
            if self._n_frames % self._stride in self._wanted:
                self._kept[self._n_frames] = frame.copy()  # the clips themselves are let go
            self._n_frames += 1
            if self._n_frames > self._next + self._offsets[-1]:
                yield self._window()
        self._last = self._last.copy()

    def finish(self) -> Iterator[NDArray[np.uint8]]:
        """The windows that reach beyond the end."""
        while self._next < self._n_frames:
            yield self._window()

    def _window(self) -> NDArray[np.uint8]:
        numbers = [self._next + offset for offset in self._offsets]
        window = np.stack([self._kept.get(number, self._last) for number in numbers])
        self._next += self._stride
        self._kept = {n: frame for n, frame in self._kept.items() if n >= self._next}
        return window


def n_windows(n_frames: int, stride: int) -> int:
    """Windows of a video of `n_frames` frames."""
    return -(-n_frames // stride)


def rows_of(captions: Sequence[str], n_snippets: int, stride: int) -> list[str]:
    """A caption for every snippet: that of the window which begins with it, or the last before."""
    return [captions[i * CLIP_FRAMES // stride] for i in range(n_snippets)]

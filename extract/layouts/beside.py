"""The files that video_features writes beside its features: the frame rate, and times of the rows.

`<video>_fps.npy` holds one number. `<video>_timestamps_ms.npy` holds one number per row, when the
row's last frame is shown, in milliseconds. Rows are there a stack of frames each, 64 by default;
here a row counts as 16 frames. So the distance of the rows in time decides how long a frame is
shown here, and the seconds of the snippets are those of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.grid import CLIP_FRAMES

FPS, STAMPS = "_fps.npy", "_timestamps_ms.npy"
BESIDE = (FPS, STAMPS)
SAME_RATE = 0.02  # a rate and the times of rows agree if they differ by less than this share


@dataclass(frozen=True)
class Timing:
    """What is known of the times of one video's frames."""

    fps: float | None = None
    stamps_ms: NDArray[np.float64] | None = None  # [rows]
    unread: str = ""  # the file that cannot be used, and why

    def of_rows(self, n_rows: int) -> Timing:
        """Return the timing for features of this many rows, without stamps that do not fit them."""
        if self.stamps_ms is not None and len(self.stamps_ms) != n_rows:
            what = f"{len(self.stamps_ms)} times for {n_rows} rows"
            return Timing(self.fps, unread=f"{STAMPS.removeprefix('_')}: {what}")
        return self

    @property
    def frames_fps(self) -> float | None:
        """The frame rate at which a row of features covers 16 frames; None if it is not known."""
        step_s = self._step_s
        if step_s is None:
            return self.fps
        paced = CLIP_FRAMES / step_s
        return self.fps if self.fps and abs(paced / self.fps - 1) < SAME_RATE else paced

    @property
    def frames_per_row(self) -> int:
        """How many frames of the file lie between two rows, as far as that is known; else 16."""
        step_s = self._step_s
        return round(self.fps * step_s) if self.fps and step_s else CLIP_FRAMES

    @property
    def _step_s(self) -> float | None:
        if self.stamps_ms is None or len(self.stamps_ms) < 2:
            return None
        return float(np.median(np.diff(self.stamps_ms))) / 1000

    def times_s(self, n_frames: int) -> NDArray[np.float64] | None:
        """Return when each frame is shown, [n_frames], in seconds from the first; None if no times
        are known.
        """
        step_s = self._step_s
        if self.stamps_ms is None or step_s is None:
            return None
        starts_s = (self.stamps_ms - self.stamps_ms[0]) / 1000
        edges_s = np.append(starts_s, starts_s[-1] + step_s)
        rows = np.arange(n_frames) / CLIP_FRAMES
        return np.asarray(np.interp(rows, np.arange(len(edges_s)), edges_s), np.float64)


def read_timings(beside: Mapping[str, Path]) -> dict[str, Timing]:
    """Return the timing of videos, by name, from files `<video>_fps.npy` and
    `<video>_timestamps_ms.npy`. A file that cannot be used is named in `unread`.
    """
    names = {name.removesuffix(ending) for name in beside for ending in BESIDE}
    videos = {name for name in names if not name.endswith(BESIDE)}
    return {
        video: _read(*(beside.get(f"{video}{ending}") for ending in BESIDE)) for video in videos
    }


def _read(fps: Path | None, stamps: Path | None) -> Timing:
    unread, rate, times = "", None, None
    if fps and (found := _numbers(fps)) is not None and found.size == 1 and found[0] > 0:
        rate = float(found[0])
    elif fps:
        unread = f"{fps.name} is no frame rate"
    if stamps:
        times = _numbers(stamps)
        if times is None or (np.diff(times) <= 0).any():
            times, unread = None, f"{stamps.name} holds no times that increase"
    return Timing(rate, times, unread)


def _numbers(path: Path) -> NDArray[np.float64] | None:
    """Return the numbers of a file, [n], or None if it holds anything else than finite ones."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.ndim > 1:
        return None
    numbers = array.reshape(-1).astype(np.float64)
    return numbers if numbers.size and np.isfinite(numbers).all() else None

"""Captions of windows of frames: a captioner as a maker of `captions/<name>`.

    clips       |  0  |  1  |  2  |  3  |  4  | ...       16 frames each
    window 0    |-------- 64 frames ----|
    window 1          |-------- 64 frames ----|

Windows start every `stride` frames and overlap; of every frame only as much is kept as some
window still needs. A window that reaches beyond the end sees the last frame instead, as in TEVAD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.device import choose_device, names_of_devices
from vad.grid import CLIP_FRAMES
from vad.store import Draft
from vad.version import VERSION

from ..captioners import create_captioner
from ..captioners.captioner import Captioner, clean
from ..captioners.settings import CaptionSettings
from ..decoders.video import VideoInfo
from ..decoders.worker import empty_array
from ..pipeline import Item, Maker


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


def rows_of(captions: Sequence[str], n_snippets: int, stride: int) -> list[str]:
    """A caption for every snippet: that of the window which begins with it, or the last before."""
    return [captions[i * CLIP_FRAMES // stride] for i in range(n_snippets)]


@dataclass(frozen=True)
class _Done:
    """Captions that are ready: a captioner computes at once. See `pipeline.Pending`."""

    captions: NDArray[np.object_]  # [windows]

    def result(self) -> NDArray[np.object_]:
        """[windows] of str"""
        return self.captions

    def cancel(self) -> None:
        """There is nothing to stop."""


class _Making:
    """The captions of one video; see `pipeline.Making`."""

    def __init__(self, array: str, windows: Windows, stride: int) -> None:
        self._array, self._windows, self._stride = array, windows, stride
        self._captions: list[str] = []

    def add(self, clips: NDArray[np.uint8], n_frames: int) -> Iterable[Item]:
        """The windows that the clips complete."""
        return self._windows.add(clips, n_frames)

    def finish(self) -> Iterable[Item]:
        """The windows that reach beyond the end."""
        return self._windows.finish()

    def write(self, results: NDArray[Any], draft: Draft) -> None:
        """results: [windows] of str. How many snippets they are for is known at the end."""
        self._captions += results.tolist()

    def close(self, n_snippets: int, draft: Draft) -> None:
        """Write a caption for every snippet."""
        rows = rows_of(self._captions, n_snippets, self._stride)
        draft.append(self._array, np.array(rows, dtype=object))


class CaptionMaker:
    """Makes `captions/<name>` [snippets] utf-8; see `pipeline.Maker`."""

    empty = staticmethod(empty_array)

    def __init__(self, captioner: Captioner, settings: CaptionSettings, name: str) -> None:
        self._captioner = captioner
        self.array = f"captions/{name}"
        self.provenance = {**captioner.provenance, "stride": settings.stride, "vad": VERSION}
        self.n_together = self.n_ahead = settings.batch
        self.item_frames = settings.stride

    def begin(self, info: VideoInfo) -> _Making:
        """A captioner takes any picture."""
        windows = Windows(self._captioner.offsets, self.item_frames)
        return _Making(self.array, windows, self.item_frames)

    def submit(self, items: Sequence[Item]) -> _Done:
        """Caption windows, uint8 [frames, height, width, 3] each."""
        captions = [clean(caption) for caption in self._captioner(items)]
        return _Done(np.array(captions, dtype=object))


def load_captions(settings: CaptionSettings, name: str, device: str | None = None) -> list[Maker]:
    """The maker of `captions/<name>`, on the device of the settings or on the one given.

    name: of the captioner, where the settings name none. Processes on other devices and machines
    call it.
    """
    captioner = create_captioner(
        settings.captioner or name,
        window=settings.window,
        device=choose_device(device or names_of_devices(settings.device)[0]),
        precision=settings.precision,
        offline=settings.offline,
    )
    return [CaptionMaker(captioner, settings, name)]

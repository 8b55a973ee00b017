"""The maker of the array `captions/<name>`: it captions windows of frames by a captioner.

    clips       |  0  |  1  |  2  |  3  |  4  | ...       16 frames each
    window 0    |-------- 64 frames ----|
    window 1          |-------- 64 frames ----|

Windows start every `stride` frames and overlap. Only frames that a coming window needs are kept.
Frames of a window beyond the end of the video are replaced by the last frame, as in TEVAD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vad.device import choose_device, names_of_devices
from vad.grid import CLIP_FRAMES
from vad.store import Draft, Provenance
from vad.version import VERSION

from ..captioners import create_captioner
from ..captioners.captioner import Captioner, clean
from ..captioners.settings import CaptionSettings
from ..decoders.video import VideoInfo
from ..decoders.worker import empty_array
from ..pipeline import Item, Maker


class Windows:
    """Cuts the frames of one video into windows while its clips arrive.

    A window holds the frames [offsets, height, width, 3], `offsets` being counted from its first
    frame.
    """

    def __init__(self, offsets: Sequence[int], stride: int) -> None:
        self._offsets, self._stride = offsets, stride
        self._wanted = {offset % stride for offset in offsets}
        self._kept: dict[int, NDArray[np.uint8]] = {}  # by frame number
        self._n_frames = 0  # frames received so far
        self._next = 0  # first frame of the next window

    def add(self, clips: NDArray[np.uint8], n_frames: int) -> Iterator[NDArray[np.uint8]]:
        """Take the next clips and yield the windows that they complete, [offsets, height, width,
        3].

        clips: [clips, 16, height, width, 3]. n_frames: how many of their frames belong to the
        video; the others are the padding of its last clip.
        """
        for frame in clips.reshape(-1, *clips.shape[2:])[:n_frames]:
            self._last = frame
            if self._n_frames % self._stride in self._wanted:
                self._kept[self._n_frames] = frame.copy()  # lets the clips be freed
            self._n_frames += 1
            if self._n_frames > self._next + self._offsets[-1]:
                yield self._window()
        self._last = self._last.copy()

    def finish(self) -> Iterator[NDArray[np.uint8]]:
        """Yield the windows that reach beyond the end of the video."""
        while self._next < self._n_frames:
            yield self._window()

    def _window(self) -> NDArray[np.uint8]:
        numbers = [self._next + offset for offset in self._offsets]
        window = np.stack([self._kept.get(number, self._last) for number in numbers])
        self._next += self._stride
        self._kept = {n: frame for n, frame in self._kept.items() if n >= self._next}
        return window


def rows_of(captions: Sequence[str], n_snippets: int, stride: int) -> list[str]:
    """Return one caption per snippet: that of the last window which starts at or before the
    snippet.
    """
    return [captions[i * CLIP_FRAMES // stride] for i in range(n_snippets)]


@dataclass(frozen=True)
class _Finished:
    """Finished captions, in the form of a `pipeline.Pending`: a captioner does not compute
    ahead.
    """

    captions: NDArray[np.object_]  # [windows]

    def result(self) -> NDArray[np.object_]:
        """Return the captions: [windows] of str."""
        return self.captions

    def cancel(self) -> None:
        """Do nothing: the captions are computed already."""


class _CaptionMaking:
    """The captions of one video while they are computed; implements `pipeline.Making`."""

    def __init__(self, array: str, windows: Windows, stride: int) -> None:
        self._array, self._windows, self._stride = array, windows, stride
        self._captions: list[str] = []

    def add(self, clips: NDArray[np.uint8], n_frames: int) -> Iterable[Item]:
        """Return the windows that these clips complete."""
        return self._windows.add(clips, n_frames)

    def finish(self) -> Iterable[Item]:
        """Return the windows that reach beyond the end of the video."""
        return self._windows.finish()

    def write(self, results: NDArray[np.generic], draft: Draft) -> None:
        """Keep the captions, [windows] of str, until `close`, where the number of snippets is
        known.
        """
        self._captions += results.tolist()

    def close(self, n_snippets: int, draft: Draft) -> None:
        """Write one caption per snippet to the draft."""
        rows = rows_of(self._captions, n_snippets, self._stride)
        draft.append(self._array, np.array(rows, dtype=object))


class CaptionMaker:
    """Makes the array `captions/<name>` [snippets] of UTF-8 text; implements `pipeline.Maker`."""

    empty = staticmethod(empty_array)

    def __init__(self, captioner: Captioner, settings: CaptionSettings, name: str) -> None:
        self._captioner = captioner
        self.arrays: tuple[str, ...] = (f"captions/{name}",)
        self.provenance = Provenance.of(
            {**captioner.provenance, "stride": settings.stride, "vad": VERSION}
        )
        self.n_together = self.n_ahead = settings.batch
        self.item_frames = settings.stride

    def begin(self, info: VideoInfo) -> _CaptionMaking:
        """Begin a video. Never fails, as a captioner takes frames of any size."""
        windows = Windows(self._captioner.offsets, self.item_frames)
        return _CaptionMaking(self.arrays[0], windows, self.item_frames)

    def submit(self, items: Sequence[Item]) -> _Finished:
        """Caption windows, uint8 [frames, height, width, 3] each, before returning."""
        captions = [clean(caption) for caption in self._captioner(items)]
        return _Finished(np.array(captions, dtype=object))


def load_captions(settings: CaptionSettings, name: str, device: str | None = None) -> list[Maker]:
    """Load the captioner and return the maker of the array `captions/<name>`, in a list of one.

    name: also the captioner to load, if the settings name none. device: replaces the settings'
    device, if given. Worker processes on other devices and machines call this function to load the
    captioner there.
    """
    captioner = create_captioner(
        settings.captioner or name,
        window=settings.window,
        device=choose_device(device or names_of_devices(settings.device)[0]),
        precision=settings.precision,
        offline=settings.offline,
    )
    return [CaptionMaker(captioner, settings, name)]

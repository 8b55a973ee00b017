"""The maker of the array `captions/<name>`: it captions windows of frames by a captioner.

    clips       |  0  |  1  |  2  |  3  |  4  | ...       16 frames each
    window 0    |-------- 64 frames ----|
    window 1          |-------- 64 frames ----|

Windows start every `stride` frames, by default where clips start, and overlap. Only frames that an
unfinished window needs are kept. Frames of a window beyond the end of the video are replaced by the
last frame, as in TEVAD.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from vad.device import choose_device, names_of_devices
from vad.grid import Sampling, Windows
from vad.store import Draft, Provenance, VideoRecord
from vad.version import VERSION

from ..captioners import create_captioner
from ..captioners.captioner import Captioner, clean
from ..captioners.settings import CaptionSettings
from ..decoders.video import VideoInfo
from ..decoders.worker import empty_array
from ..pipeline import Item, Maker


def rows_of(captions: Sequence[str], starts: Iterable[int], stride: int) -> list[str]:
    """Return one caption per snippet: that of the last window which starts at or before the
    snippet. starts: the first frame of each snippet.
    """
    return [captions[start // stride] for start in starts]


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


class CaptionMaking:
    """The captions of one video while they are computed; implements `pipeline.Making`."""

    def __init__(self, array: str, offsets: Sequence[int], stride: int) -> None:
        self._array, self._n_seen, self._stride = array, len(offsets), stride
        self._windows = Windows(offsets, count(0, stride))
        self._captions: list[str] = []

    def add(self, frames: NDArray[np.uint8]) -> Iterable[Item]:
        """Return the windows that these frames complete."""
        self._last = frames[-1].copy()
        return self._windows.add(frames)

    def finish(self) -> Iterator[Item]:
        """Yield the windows that reach beyond the end of the video."""
        for frames in self._windows.rest():
            yield np.stack(frames + [self._last] * (self._n_seen - len(frames)))

    def write(self, results: NDArray[np.generic], draft: Draft) -> None:
        """Keep the captions, [windows] of str, until `close`, where the number of snippets is
        known.
        """
        self._captions += results.tolist()

    def close(self, record: VideoRecord, draft: Draft) -> None:
        """Write one caption per snippet to the draft."""
        starts = record.grid.starts(record.n_frames).tolist()
        rows = rows_of(self._captions, starts, self._stride)
        draft.append(self._array, np.array(rows, dtype=object))


class CaptionMaker:
    """Makes the array `captions/<name>` [snippets] of UTF-8 text; implements `pipeline.Maker`.

    sampling: of the snippets.
    """

    empty = staticmethod(empty_array)

    def __init__(
        self, captioner: Captioner, settings: CaptionSettings, name: str, sampling: Sampling
    ) -> None:
        self._captioner = captioner
        self.item_frames = settings.stride or sampling.stride
        self.arrays: tuple[str, ...] = (f"captions/{name}",)
        self.provenance = Provenance.of(
            {
                **captioner.provenance,
                "stride": self.item_frames,
                **sampling.provenance(),
                "vad": VERSION,
            }
        )
        self.n_together = self.n_ahead = settings.batch

    def begin(self, info: VideoInfo) -> CaptionMaking:
        """Begin a video. Never fails, as a captioner takes frames of any size."""
        return CaptionMaking(self.arrays[0], self._captioner.offsets, self.item_frames)

    def submit(self, items: Sequence[Item]) -> _Finished:
        """Caption windows, uint8 [frames, height, width, 3] each, before returning."""
        captions = [clean(caption) for caption in self._captioner(items)]
        return _Finished(np.array(captions, dtype=object))


def load_captions(
    settings: CaptionSettings, name: str, sampling: Sampling, device: str | None = None
) -> list[Maker]:
    """Load the captioner and return the maker of the array `captions/<name>`, in a list of one.

    name: also the captioner to load, if the settings name none. sampling: of the snippets. device:
    replaces the settings' device, if given. Worker processes on other devices and machines call
    this function to load the captioner there.
    """
    captioner = create_captioner(
        settings.captioner or name,
        window=settings.window,
        device=choose_device(device or names_of_devices(settings.device)[0]),
        precision=settings.precision,
        offline=settings.offline,
    )
    return [CaptionMaker(captioner, settings, name, sampling)]

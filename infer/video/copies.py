"""Make small copies of a video for its report: an MP4 to play, and JPEGs of its events."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image

from vad.errors import VideoError
from vad.grid import CLIP_FRAMES
from vad.terminal import Meter

from ..scores import VideoScores
from .mp4 import Mp4Writer, shrunk
from .source import Picture, Sound, Viewer

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

PREVIEW_PX, THUMBNAIL_PX = 640, 320  # length of the longer side
PREVIEW_QUALITY = 28  # x264's constant rate factor: about 1 MB per minute of a quiet camera
SOUND_BPS = 48_000

log = logging.getLogger("vad")


@dataclass(frozen=True, slots=True)
class Copies:
    """The pictures that the report shows of a video; fields are empty if it could not be read.

    `preview` is also empty if the MP4 does not fit into the page.
    """

    preview: bytes = b""  # MP4 inside the page
    address: str = ""  # of an MP4 outside the page; if empty, the video file is used
    poster: bytes = b""  # JPEG of the frame with the highest score
    thumbnails: tuple[bytes, ...] = ()  # JPEG of the peak of every event
    readable: bool = True


@dataclass(frozen=True, slots=True)
class Beside:
    """The file for a copy that is too large to be inside its page, and its address for the page."""

    file: Path
    address: str  # address of that file, for the page
    above_bytes: int  # copies up to this size are inside the page all the same


class CopyMaker(Viewer):
    """A viewer that makes the copies of a video in one pass; `copies` returns them afterwards."""

    def __init__(self, scores: VideoScores, file: IO[bytes], most_bytes: int) -> None:
        """Make an MP4 in `file`, which is empty; stop writing it beyond `most_bytes`."""
        self._scores, self._file, self._most_bytes = scores, file, most_bytes
        self._highest = peak_picture(scores)
        self._peaks = [_middle(scores, event.peak_frame) for event in scores.events]
        self._stills: dict[int, bytes] = {}

    @contextmanager
    def opened(self, sound: Sound) -> Iterator[None]:
        """Implement `Viewer.opened`."""
        record = self._scores.record
        self._mp4 = Mp4Writer(
            self._file,
            size=shrunk((record.width, record.height), PREVIEW_PX),
            fps=record.fps,
            quality=PREVIEW_QUALITY,
            sound=sound,
            sound_bps=SOUND_BPS,
        )
        with self._mp4:
            yield

    def see(self, number: int, picture: Picture) -> None:
        """Add a frame to the MP4, and keep it as JPEG if it is the picture of the video or an
        event.
        """
        if self._fits():
            self._mp4.add(picture, float(self._scores.times[number]))
        if number == self._highest or number in self._peaks:
            self._stills[number] = _jpeg(picture)

    def hear(self, frame: AudioFrame, time_s: float) -> None:
        """Add an audio frame to the MP4."""
        if self._fits():
            self._mp4.hear(frame, time_s)

    def copies(self, inside_bytes: int) -> Copies:
        """Return the copies, after the whole video has been decoded.

        There are three cases by the size of the MP4. Up to `inside_bytes`, it is returned as
        `Copies.preview`, and the file of the constructor is emptied. Up to `most_bytes`, it stays
        in that file. Above, it is discarded, and the file is emptied.
        """
        size = self._file.seek(0, io.SEEK_END)
        self._file.seek(0)
        preview = self._file.read() if size <= inside_bytes else b""
        if preview or size > self._most_bytes:
            self._file.truncate(0)
        return Copies(
            preview=preview,
            poster=self._stills[self._highest],
            thumbnails=tuple(self._stills[peak] for peak in self._peaks),
        )

    def _fits(self) -> bool:
        return self._file.tell() <= self._most_bytes


class ProgressViewer(Viewer):
    """A viewer that reports to a meter which share of a video has been decoded."""

    def __init__(self, scores: VideoScores, meter: Meter) -> None:
        self._scores, self._meter = scores, meter

    def see(self, number: int, picture: Picture) -> None:
        """Report the progress once per clip."""
        if number % CLIP_FRAMES == 0:
            share = number / self._scores.record.n_frames
            self._meter.under_way(self._scores.video, share)


def make_copies(
    scores: VideoScores,
    most_bytes: int,
    *,
    meter: Meter | None = None,
    beside: Beside | None = None,
) -> Copies:
    """Decode a video only to make the copies for its report.

    The MP4 has at most `most_bytes`. With `beside`, an MP4 above its limit is written to its file
    instead of into the page. If the video cannot be read, a warning is logged and the copies are
    empty, with `readable` False.
    """
    if scores.video_source is None:
        return Copies(readable=False)
    with beside.file.open("w+b") if beside else tempfile.TemporaryFile() as file:
        maker = CopyMaker(scores, file, most_bytes)
        try:
            scores.watch([maker, ProgressViewer(scores, meter or Meter())])
        except VideoError as error:
            log.warning("%s: no pictures in the report: %s", scores.record.source, error)
            file.truncate(0)
            return Copies(readable=False)
        made = maker.copies(beside.above_bytes if beside else most_bytes)
        if beside and file.seek(0, io.SEEK_END):
            return replace(made, address=beside.address)
        return made


def peak_picture(scores: VideoScores) -> int:
    """Return the index of the frame that represents a video, in the middle of its highest peak."""
    return _middle(scores, int(scores.frames.argmax()))


def _middle(scores: VideoScores, peak_frame: int) -> int:
    """Return the middle of the frames from `peak_frame` on that have the same score.

    With the propagation "hold" these are the frames of one snippet.
    """
    others = scores.frames[peak_frame:] != scores.frames[peak_frame]
    n_equal = int(others.argmax()) if others.any() else len(others)
    return peak_frame + n_equal // 2


def _jpeg(picture: Picture) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=80)
    return file.getvalue()

"""The pictures and the sound of a scored video, read once for everything that is made of them.

Decoding belongs to the extraction, so this file only says what is needed of a video.
`vad.stages.pipelines.video_source` implements it with the decoders that made the features, so that
the pictures are the same frames, in the same number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # scores are read and written without loading av
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

Picture = NDArray[np.uint8]  # [height, width, 3] RGB, upright


class VideoSource(Protocol):
    """A video file whose pictures can be read again."""

    @property
    def path(self) -> Path:
        """The file."""

    def pictures(self) -> Iterator[Picture]:
        """Every frame that has a score, in order: uint8 [height, width, 3].

        Raises VideoError where the file cannot be read any more, or is no longer what was scored.
        """

    def opened(self) -> AbstractContextManager[tuple[InputContainer, VideoStream]]:
        """The open container and its video stream, for the sound. Raises VideoError."""


class Sound:
    """The sound of a video, timed from its first picture and read once, from start to end."""

    def __init__(self, container: InputContainer, video: VideoStream) -> None:
        self._origin_s = float((video.start_time or 0) * (video.time_base or 0))
        self._frames = _decoded(container)
        self._next = next(self._frames, None)
        self.rate = self._next.sample_rate if self._next else 0  # samples per second; 0: no sound
        self.n_channels = self._next.layout.nb_channels if self._next else 0

    def until(self, time_s: float) -> Iterator[tuple[AudioFrame, float]]:
        """The frames that begin before a time, each with its own, in seconds from the first
        picture. Goes on where the last call ended."""
        while self._next is not None and (begin_s := self._seconds(self._next)) < time_s:
            frame, self._next = self._next, next(self._frames, None)
            yield frame, begin_s

    def _seconds(self, frame: AudioFrame) -> float:
        return float(frame.time or 0) - self._origin_s


def _decoded(container: InputContainer) -> Iterator[AudioFrame]:
    """The frames of the best audio stream that have a time; a damaged packet is left out."""
    from av import FFmpegError
    from av.audio.frame import AudioFrame

    stream = container.streams.best("audio")
    if stream is None:
        return
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet else None
        except (FFmpegError, IndexError):  # PyAV raises the second for some damaged packets
            continue
        if frames is None:
            return
        for frame in frames:
            if isinstance(frame, AudioFrame) and frame.pts is not None and frame.time_base:
                yield frame


class Viewer:
    """Takes the pictures and the sound of one video in one pass of `watch`."""

    def opened(self, sound: Sound) -> AbstractContextManager[object]:
        """Entered before the first picture, and left after the last one or on an error."""
        return nullcontext()

    def see(self, number: int, picture: Picture) -> None:
        """The next picture, uint8 [height, width, 3]; it is only valid until this returns."""

    def hear(self, frame: AudioFrame, time_s: float) -> None:
        """The next piece of sound, and when it begins; all that begins before the next picture."""


def watch(
    source: VideoSource,
    viewers: Sequence[Viewer],
    *,
    times: NDArray[np.float64],
    duration_s: float,
) -> None:
    """Decode a video once and hand every picture, with its sound, to all viewers.

    times [frames] says when every picture is shown, in seconds; the last one until `duration_s`.
    Raises VideoError where the video cannot be read, or is no longer what was scored.
    """
    ends_s = np.append(times[1:], duration_s)
    with source.opened() as (container, video), ExitStack() as opened:
        sound = Sound(container, video)
        for viewer in viewers:
            opened.enter_context(viewer.opened(sound))
        for number, picture in enumerate(source.pictures()):
            for viewer in viewers:
                viewer.see(number, picture)
            for frame, time_s in sound.until(float(ends_s[number])):
                for viewer in viewers:
                    viewer.hear(frame, time_s)

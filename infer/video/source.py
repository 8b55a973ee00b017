"""Read the frames and the sound of a scored video once, for all files that are made of them.

Decoding belongs to the extraction stage, so this module only defines the interface.
`vad.stages.pipelines.video_source` implements it with the decoders that the features were extracted
with, so that frames and their numbers are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # so that scores can be read and written without loading av
    from av.audio.frame import AudioFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

Picture = NDArray[np.uint8]  # [height, width, 3] RGB, upright


class VideoSource(Protocol):
    """A video file whose frames can be read again."""

    @property
    def path(self) -> Path:
        """Return the path of the file."""

    def pictures(self) -> Iterator[Picture]:
        """Yield every frame that has a score, in order, as uint8 [height, width, 3].

        Raises VideoError if the file cannot be read, or has changed since it was scored.
        """

    def opened(self) -> AbstractContextManager[tuple[InputContainer, VideoStream]]:
        """Return the open container and its video stream, from which the sound is read.

        Raises VideoError if the file cannot be read.
        """


class Sound:
    """The sound of a video, read once from start to end, with times from the first frame on."""

    def __init__(self, container: InputContainer, video: VideoStream) -> None:
        self._origin_s = float((video.start_time or 0) * (video.time_base or 0))
        self._frames = _decoded(container)
        self._next = next(self._frames, None)
        # samples per second; 0 if there is no sound
        self.rate = self._next.sample_rate if self._next else 0
        self.n_channels = self._next.layout.nb_channels if self._next else 0

    def until(self, time_s: float) -> Iterator[tuple[AudioFrame, float]]:
        """Yield the audio frames that begin before `time_s`, each with its time in seconds.

        Times count from the first frame of the video. The next call goes on from here.
        """
        while self._next is not None and (begin_s := self._seconds(self._next)) < time_s:
            frame, self._next = self._next, next(self._frames, None)
            yield frame, begin_s

    def _seconds(self, frame: AudioFrame) -> float:
        return float(frame.time or 0) - self._origin_s


def _decoded(container: InputContainer) -> Iterator[AudioFrame]:
    """Yield the audio frames of the best audio stream that have a time; skip damaged packets."""
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
        except (FFmpegError, IndexError):  # PyAV raises IndexError for some damaged packets
            continue
        if frames is None:
            return
        for frame in frames:
            if isinstance(frame, AudioFrame) and frame.pts is not None and frame.time_base:
                yield frame


class Viewer:
    """Base class of objects that receive the frames and the sound of a video from `watch`."""

    def opened(self, sound: Sound) -> AbstractContextManager[object]:
        """Return a context that is entered before the first frame, and left at the end or on an
        error.
        """
        return nullcontext()

    def see(self, number: int, picture: Picture) -> None:
        """Receive the next frame, uint8 [height, width, 3], which is only valid until this
        returns.
        """

    def hear(self, frame: AudioFrame, time_s: float) -> None:
        """Receive the next audio frame and the time at which it begins, in seconds.

        All audio frames that begin before the next video frame are received before it.
        """


def watch(
    source: VideoSource,
    viewers: Sequence[Viewer],
    *,
    times: NDArray[np.float64],
    duration_s: float,
) -> None:
    """Decode a video once and pass every frame, and its sound, to all viewers.

    times [frames] are presentation times in seconds; the last frame lasts until `duration_s`.
    Raises VideoError if the video cannot be read, or has changed since it was scored.
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

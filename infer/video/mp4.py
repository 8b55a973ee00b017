"""MP4 files of pictures and sound: H.264 and AAC, which every player and browser has."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.reformatter import VideoReformatter

from .source import Picture

TIME_BASE = Fraction(1, 90_000)  # of the pictures: exact for every usual frame rate
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class Mp4Writer:
    """A video being written: every picture has its own time, so that no rate has to be even.

    With `sound`, what is heard from `start_s` on goes with it. Pictures are scaled to the size,
    and that is made even, which H.264 needs.
    """

    def __init__(
        self,
        file: Path | IO[bytes],
        *,
        size: tuple[int, int],  # width, height in pixels
        fps: float,
        quality: int = 21,  # x264's constant rate factor: less is better and larger
        speed: str = "veryfast",  # x264's preset
        sound: Sound | None = None,
        sound_bps: int = 128_000,
        start_s: float = 0.0,  # in the source; pictures are timed from here
    ) -> None:
        target = str(file) if isinstance(file, Path) else file
        options = {"movflags": "faststart"} if isinstance(file, Path) else {}
        self._container = av.open(target, "w", format="mp4", options=options)
        rate = Fraction(fps).limit_denominator(1001)
        stream = self._container.add_stream("libx264", rate=rate)
        stream.width, stream.height = map(even, size)
        stream.pix_fmt = "yuv420p"
        keyframes = max(1, round(2 * fps))  # a player can jump to a time within two seconds
        stream.options = {"crf": str(quality), "preset": speed, "g": str(keyframes)}
        stream.codec_context.time_base = TIME_BASE
        self._stream = stream
        self._converter = VideoReformatter()
        self._start_s = start_s
        self._sound = sound if sound and sound.rate else None
        if self._sound:
            self._audio = self._container.add_stream("aac", rate=self._sound.encoded_rate)
            self._audio.codec_context.layout = self._sound.layout
            self._audio.codec_context.bit_rate = sound_bps

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: object, __: TracebackType | None
    ) -> None:
        if kind is None:
            for stream in (self._stream, *((self._audio,) if self._sound else ())):
                self._container.mux(stream.encode())
        self._container.close()

    def add(self, rgb: Picture, time_s: float) -> None:
        """The next picture, shown from a time of the source, later than that of the one before."""
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        stream = self._stream
        frame = self._converter.reformat(
            picture, stream.width, stream.height, format="yuv420p", threads=1
        )
        frame.pts = round((time_s - self._start_s) / TIME_BASE)
        frame.time_base = TIME_BASE
        self._container.mux(self._stream.encode(frame))
        self.hear(time_s)

    def hear(self, until_s: float) -> None:
        """Write the sound up to a time of the source; `add` does it up to its picture."""
        if not self._sound:
            return
        for frame in self._sound.until(until_s):
            start_s = self._sound.seconds(frame) - self._start_s
            if start_s >= 0:
                frame.pts = round(start_s * frame.sample_rate)
                frame.time_base = Fraction(1, frame.sample_rate)
                self._container.mux(self._audio.encode(frame))


class Sound:
    """The sound of a video, timed from its first picture and read once, from start to end."""

    def __init__(self, container: Any, video: Any) -> None:
        """An open av container and its video stream."""
        self._origin_s = float((video.start_time or 0) * video.time_base)
        stream = container.streams.best("audio")
        self._frames: Iterator[AudioFrame] = self._decoded(container, stream)
        self._next = next(self._frames, None)
        self.rate = self._next.sample_rate if self._next else 0  # 0: there is no sound

    @property
    def layout(self) -> str:
        """Channels of the first frame; more than two are mixed to two."""
        n_channels = self._next.layout.nb_channels if self._next else 0
        return "mono" if n_channels == 1 else "stereo"

    @property
    def encoded_rate(self) -> int:
        """The nearest rate that AAC knows."""
        return min(AAC_RATES, key=lambda rate: abs(rate - self.rate))

    def seconds(self, frame: AudioFrame) -> float:
        """When a frame is heard, in seconds from the first picture."""
        return float(frame.time or 0) - self._origin_s

    def until(self, time_s: float) -> Iterator[AudioFrame]:
        """The frames that begin before a time, from where the last call ended."""
        while self._next is not None and self.seconds(self._next) < time_s:
            frame, self._next = self._next, next(self._frames, None)
            yield frame

    @staticmethod
    def _decoded(container: Any, stream: Any) -> Iterator[AudioFrame]:
        if stream is None:
            return
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets, None)
                frames = packet.decode() if packet else None
            except (av.FFmpegError, IndexError):  # the second: see `Packets` of the decoders
                continue  # a damaged spot is not heard
            if frames is None:
                return
            yield from (f for f in frames if f.pts is not None and f.time_base is not None)


def even(size: float) -> int:
    """An even number of pixels, not less than `size`."""
    return max(2, 2 * ceil(size / 2))


def shrunk(size: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """Width and height, made smaller where the longer is above `longest_px`; both even."""
    scale = min(1.0, longest_px / max(size))
    return even(size[0] * scale), even(size[1] * scale)

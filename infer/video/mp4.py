"""MP4 files of pictures and sound: H.264 and AAC, which every player and browser has."""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from pathlib import Path
from types import TracebackType
from typing import IO

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.reformatter import VideoReformatter

from .source import Picture, Sound

TIME_BASE = Fraction(1, 90_000)  # of the pictures: exact for every usual frame rate
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class Mp4Writer:
    """A video being written. Every picture has its own time, so frame rates need not be constant.

    Pictures are scaled to `size`, which is rounded up to even numbers, as H.264 needs it.
    """

    def __init__(
        self,
        file: Path | IO[bytes],
        *,
        size: tuple[int, int],  # width, height in pixels
        fps: float,
        quality: int = 21,  # x264's constant rate factor: less is better and larger
        speed: str = "veryfast",  # x264's preset
        sound: Sound | None = None,  # what `hear` will be given
        sound_bps: int = 128_000,
        start_s: float = 0.0,  # the time in the source that is time 0 of the file
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
        self._has_sound = sound is not None and sound.rate > 0
        if sound and self._has_sound:
            nearest = min(AAC_RATES, key=lambda rate: abs(rate - sound.rate))
            self._audio = self._container.add_stream("aac", rate=nearest)
            self._audio.codec_context.layout = "mono" if sound.n_channels == 1 else "stereo"
            self._audio.codec_context.bit_rate = sound_bps

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _: object, __: TracebackType | None
    ) -> None:
        if kind is None:
            for stream in (self._stream, *((self._audio,) if self._has_sound else ())):
                self._container.mux(stream.encode())
        self._container.close()

    def add(self, rgb: Picture, time_s: float) -> None:
        """Write the next picture, uint8 [height, width, 3], shown from a time of the source on.

        The time must be later than that of the picture before.
        """
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
        stream = self._stream
        frame = self._converter.reformat(
            picture, stream.width, stream.height, format="yuv420p", threads=1
        )
        frame.pts = round((time_s - self._start_s) / TIME_BASE)
        frame.time_base = TIME_BASE
        self._container.mux(stream.encode(frame))

    def hear(self, frame: AudioFrame, time_s: float) -> None:
        """Write the next piece of sound, which begins at a time of the source.

        What begins before the start of the file is left out.
        """
        start_s = time_s - self._start_s
        if not self._has_sound or start_s < 0:
            return
        frame.pts = round(start_s * frame.sample_rate)
        frame.time_base = Fraction(1, frame.sample_rate)
        self._container.mux(self._audio.encode(frame))


def even(size: float) -> int:
    """An even number of pixels, not less than `size`."""
    return max(2, 2 * ceil(size / 2))


def shrunk(size: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """Width and height, reduced where the longer is above `longest_px`; both even."""
    scale = min(1.0, longest_px / max(size))
    return even(size[0] * scale), even(size[1] * scale)

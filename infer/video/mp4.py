"""Write MP4 files with H.264 video and AAC sound, which all players and browsers support."""

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

TIME_BASE = Fraction(1, 90_000)  # of the frames; exact for all usual frame rates
AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)


class Mp4Writer:
    """An MP4 file being written. Every frame has its own time, so the frame rate may vary.

    Frames are scaled to `size`, which is rounded up to even numbers, as H.264 requires.
    """

    def __init__(
        self,
        file: Path | IO[bytes],
        *,
        size: tuple[int, int],  # width, height in pixels
        fps: float,
        quality: int = 21,  # x264's constant rate factor: lower is better, and gives larger files
        speed: str = "veryfast",  # x264's preset
        sound: Sound | None = None,  # sound whose frames are passed to `hear`
        sound_bps: int = 128_000,
        start_s: float = 0.0,  # time in the source that becomes time 0 of the file
    ) -> None:
        target = str(file) if isinstance(file, Path) else file
        options = {"movflags": "faststart"} if isinstance(file, Path) else {}
        self._container = av.open(target, "w", format="mp4", options=options)
        rate = Fraction(fps).limit_denominator(1001)
        stream = self._container.add_stream("libx264", rate=rate)
        stream.width, stream.height = map(even, size)
        stream.pix_fmt = "yuv420p"
        # a player can jump to any time with an error of at most two seconds
        keyframes = max(1, round(2 * fps))
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
        """Write the next frame, uint8 [height, width, 3], shown from the source time `time_s` on.

        The time must be later than that of the previous frame.
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
        """Write the next audio frame, which begins at the source time `time_s`.

        Audio frames that begin before the start of the file are left out.
        """
        start_s = time_s - self._start_s
        if not self._has_sound or start_s < 0:
            return
        frame.pts = round(start_s * frame.sample_rate)
        frame.time_base = Fraction(1, frame.sample_rate)
        self._container.mux(self._audio.encode(frame))


def even(size: float) -> int:
    """Return the smallest even number of pixels that is at least `size` and at least 2."""
    return max(2, 2 * ceil(size / 2))


def shrunk(size: tuple[int, int], longest_px: int) -> tuple[int, int]:
    """Return width and height, reduced so that neither exceeds `longest_px`; both are even."""
    scale = min(1.0, longest_px / max(size))
    return even(size[0] * scale), even(size[1] * scale)

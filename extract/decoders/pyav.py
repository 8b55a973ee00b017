"""Decoding with PyAV: all allowed formats, packet by packet, in constant memory.

A packet that cannot be decoded is counted and left out, so that all other frames of a damaged file
are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from vad.grid import CLIP_FRAMES

from .clock import Clock
from .video import Block, DecodeReport, Limits, Packets, VideoInfo, open_video


def read_with_pyav(
    path: Path, info: VideoInfo, limits: Limits, *, note: str = ""
) -> Iterator[Block | DecodeReport]:
    """Decode a video: yield its frames in blocks, then the report, which includes `note`."""
    painter, clock = Painter(info), Clock(float(info.fps), info.container)
    n_frames = n_bad = 0
    rgb, times = painter.canvas(), np.empty(CLIP_FRAMES)
    with open_video(path, limits) as (container, stream):
        packets = Packets(container, stream)
        for packet in packets:
            try:
                pictures = packet.decode()
            except av.FFmpegError:
                n_bad += 1
                continue
            for picture in pictures:
                filled = n_frames % CLIP_FRAMES
                rgb[filled] = painter.rgb(picture)
                times[filled] = clock.read(picture)
                n_frames += 1
                if filled + 1 == CLIP_FRAMES:
                    yield Block(rgb, times)
                    rgb, times = painter.canvas(), np.empty(CLIP_FRAMES)
        if rest := n_frames % CLIP_FRAMES:
            yield Block(rgb[:rest], times[:rest])
    yield DecodeReport(
        decoder=f"pyav {av.__version__}",
        n_frames=n_frames,
        n_frames_expected=info.n_frames_expected(n_frames + n_bad, packets.end_s),
        n_bad_packets=n_bad,
        n_rescaled=painter.n_rescaled,
        n_jumps=clock.n_jumps,
        duration_s=clock.now_s + clock.step_s,
        note=note,
    )


class Painter:
    """Converts decoded frames to RGB of the video's size, rotated upright.

    The whole video uses one converter, with one thread: PyAV's default call makes a new one for
    every frame (github.com/PyAV-Org/PyAV issues 1935 and 2200).
    """

    def __init__(self, info: VideoInfo) -> None:
        self._shown = (info.height, info.width)
        self._quarter_turns = info.rotation_deg // 90
        stored = self._shown if self._quarter_turns % 2 == 0 else (info.width, info.height)
        self._stored_height, self._stored_width = stored
        self._converter = VideoReformatter()
        self.n_rescaled = 0

    def canvas(self) -> NDArray[np.uint8]:
        """Return an uninitialised array for one clip: [16, height, width, 3]."""
        return np.empty((CLIP_FRAMES, *self._shown, 3), np.uint8)

    def rgb(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """Convert one frame to RGB [height, width, 3]."""
        width, height = self._stored_width, self._stored_height
        self.n_rescaled += (picture.width, picture.height) != (width, height)
        converted = self._converter.reformat(picture, width, height, format="rgb24", threads=1)
        return np.rot90(converted.to_ndarray(), self._quarter_turns)

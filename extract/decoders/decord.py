"""Decoding with decord, a whole video at once: fast for short videos of the common formats.

decord decodes ahead as far as it can (github.com/dmlc/decord issues 157 and 208), so it is used
only for videos that fit in memory. A video is decoded to its end before its first frame is
returned, so that decord decodes either all of it or nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

import decord

from vad.grid import CLIP_FRAMES

from .video import Block, DecodeReport, Scan

# decord replaces a frame that it cannot decode by a good neighbour, unless the share of such frames
# exceeds this tolerance. With this tiny value it raises an error at the first such frame.
FAULT_TOLERANCE = 1e-9
DECORD_ERRORS = (decord.DECORDError, decord.DECORDLimitReachedError)

decord.logging.set_level(decord.logging.QUIET)


class DecordRefusal(Exception):
    """Raised if decord cannot decode a video, or finds other frames than the file describes."""


def read_with_decord(path: Path, scan: Scan) -> list[Block | DecodeReport]:
    """Decode a whole video and return its blocks, then the report. Raises DecordRefusal if decord
    fails.
    """
    info = scan.info
    try:
        reader = decord.VideoReader(
            str(path.absolute()), ctx=decord.cpu(0), num_threads=1, fault_tol=FAULT_TOLERANCE
        )
        n_frames = len(reader)
        if n_frames != scan.n_shown:
            raise DecordRefusal(f"it counts {n_frames} frames, the file holds {scan.n_shown}")
        blocks: list[Block] = []
        for start in range(0, n_frames, CLIP_FRAMES):
            stop = min(start + CLIP_FRAMES, n_frames)
            rgb = reader.get_batch(range(start, stop)).asnumpy()
            blocks.append(Block(rgb, scan.times_s[start:stop]))
    # decord checks its arguments by assert; its C++ code raises error classes of its own
    except (*DECORD_ERRORS, AssertionError, RuntimeError, ValueError) as error:
        raise DecordRefusal(_gist(error)) from error
    if blocks[0].rgb.shape[1:3] != (info.height, info.width):
        height, width = blocks[0].rgb.shape[1:3]
        raise DecordRefusal(f"its pictures are {width}x{height}, not {info.width}x{info.height}")
    report = DecodeReport(
        decoder=f"decord {decord.__version__}",
        n_frames=n_frames,
        n_frames_expected=info.n_frames_expected(n_frames, scan.end_s),
        n_bad_packets=0,
        n_rescaled=0,
        duration_s=float(scan.times_s[-1]) + float(1 / info.fps),
    )
    return [*blocks, report]


def _gist(error: Exception) -> str:
    """Return decord's error message without its time, source location and stack trace."""
    line = str(error).strip().partition("\n")[0]
    return re.sub(r"\[\d\d:\d\d:\d\d\] \S+ ", "", line)[:200] or type(error).__name__

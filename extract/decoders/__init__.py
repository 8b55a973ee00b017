"""From a video file to frames: two decoders behind one interface, and the choice between them.

decord decodes only those kinds of files for which its frames were found equal to PyAV's. PyAV,
which has a newer FFmpeg, decodes everything else. If decord refuses a file, or counts another
number of frames than the file holds, PyAV decodes it from the start.

Variable frame rate: frames are read as the file stores them. None are repeated or left out to make
the rate constant, so a clip is always 16 stored frames, however long each is shown. The time of a
frame comes from its time stamp, counted from the first frame; `clock` has the rule for stamps that
are missing or wrong. Seconds in results are always these times, never a frame number divided by a
rate.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from vad.errors import UsageError, VideoError

from .video import Block, DecodeReport, Limits, Scan

DecoderName = Literal["auto", "decord", "pyav"]
DECODERS: tuple[DecoderName, ...] = ("auto", "decord", "pyav")

# The kinds of files for which decord 0.6.0 (FFmpeg 4.1) gave the same frames as PyAV 18.1
# (FFmpeg 8.1): bit for bit, or within one grey level for pictures of odd width or height.
# These are left out, because of what decord did:
#   MPEG-TS: it silently repeated 48 of 300 frames, or could not open the file
#   AV1: it cannot open the file; 10 bit: colours differ by up to 176 of 255
#   VP9: any frame can change the size of the pictures, without a header that is easily found
#   rotated pictures, and several video streams: equal, but tried on few files only
#   frames hidden by an edit list, or a start between keyframes: it repeats the last frame
#   an incomplete packet at the end of a cut AVI: the damaged frame differs, without an error
CONTAINERS = ("mov", "matroska", "avi")
CODECS = ("h264", "hevc", "mpeg4", "mjpeg", "vp8")
PIXEL_FORMATS = (
    *("yuv420p", "yuv422p", "yuv444p", "gray"),
    *("yuvj420p", "yuvj422p", "yuvj444p"),
)
# Before it reads a frame, decord allocates an index entry for every frame that the header counts.
# If memory is too small, this ends the process (std::bad_alloc, in VideoReader::IndexKeyframes).
MAX_DECORD_FRAMES = 1_000_000  # 16 bytes each

MAX_BAD_SHARE = 0.2  # largest share of undecodable packets; with more, the video fails


def read_frames(
    path: Path,
    scan: Scan,
    *,
    decoder: DecoderName = "auto",
    limits: Limits,
    accept_truncated: bool = False,
) -> Iterator[Block | DecodeReport]:
    """Decode a scanned video: yield its frames in blocks, in order, and then the report.

    Raises VideoError if the video is damaged or truncated; this can happen as late as after the
    last block.
    """
    check_decoder(decoder)
    for part in _choose(path, scan, decoder, limits):
        if isinstance(part, DecodeReport):
            _judge(part, scan, accept_truncated)
        yield part


def check_decoder(name: str) -> None:
    """Raise UsageError if there is no decoder of that name."""
    if name not in DECODERS:
        raise UsageError(f"no decoder named {name!r}; there are: {', '.join(DECODERS)}")


def _choose(
    path: Path, scan: Scan, decoder: DecoderName, limits: Limits
) -> Iterator[Block | DecodeReport]:
    note = ""
    if decoder != "pyav":
        refusal = _outside_decord(scan)
        if refusal is None:
            from .decord import DecordRefusal, read_with_decord

            try:
                yield from read_with_decord(path, scan)
            except DecordRefusal as error:
                refusal = note = str(error)
            else:
                return
        if decoder == "decord":
            raise VideoError("unreadable", f"decord: {refusal}", hint="--decoder auto decodes it")
    from .pyav import read_with_pyav

    yield from read_with_pyav(path, scan.info, limits, note=note)


def _outside_decord(scan: Scan) -> str | None:
    """Return the reason why decord must not decode this video, or None if it can be trusted with
    it.
    """
    info = scan.info
    checks = (
        (importlib.util.find_spec("decord") is not None, "it is not installed"),
        (info.container in CONTAINERS, f"not trusted with {info.container} files"),
        (info.codec in CODECS, f"not trusted with {info.codec}"),
        (info.pixel_format in PIXEL_FORMATS, f"not trusted with {info.pixel_format} pictures"),
        (info.rotation_deg == 0, "not trusted with turned pictures"),
        (scan.n_video_streams == 1, f"not trusted with {scan.n_video_streams} video streams"),
        (scan.starts_at_keyframe, "the file starts between keyframes"),
        (scan.n_hidden == 0, f"an edit list hides {scan.n_hidden} frames"),
        (scan.n_corrupt == 0, f"{scan.n_corrupt} packets are cut short"),
        (
            scan.n_in_header <= MAX_DECORD_FRAMES,
            f"not trusted with a header that counts {scan.n_in_header:,} frames",
        ),
        (len(scan.times_s) == scan.n_shown, "frames without a time of their own"),
        (not scan.jumps, "its time stamps jump"),
        (not scan.resizes, "the size of its pictures may change"),
        (scan.whole, "the decoded video would not fit the memory that it may use"),
    )
    return next((why for holds, why in checks if not holds), None)


def _judge(report: DecodeReport, scan: Scan, accept_truncated: bool) -> None:
    found, bad = report.n_frames, report.n_bad_packets
    if found == 0:
        raise VideoError("no-frames", f"none of its {scan.info.n_packets} frames can be decoded")
    if bad > MAX_BAD_SHARE * (found + bad):
        raise VideoError(
            "damaged", f"{bad} of its packets cannot be decoded, {found} frames are left"
        )
    if report.is_truncated and not accept_truncated:
        raise VideoError(
            "truncated",
            f"it declares {report.n_frames_expected} frames, only {found} can be decoded",
            hint="--accept-truncated keeps those",
        )

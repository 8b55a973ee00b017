"""What a video file declares, and the safe way to open one.

Files are not trusted: a name may look like an address, a text may name other files, a header may
declare pictures that do not fit in memory. So every file is opened here, by PyAV, and the formats,
the protocol and the picture size that are allowed are passed to it before it reads anything.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vad.errors import VideoError
from vad.grid import CLIP_FRAMES

from .clock import BARE, has_jump, stamp, typical_step_s

# FFmpeg's demuxers that read one file and nothing else. Playlists, concatenation lists, image
# sequences, drawings and text art, all of which FFmpeg would open too, are not among them.
FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,nut,dhav,h264,hevc,m4v,mpegvideo,ivf,"
    "mjpeg,dv,gif"
)
# How files begin that FFmpeg would open, and that are known, but not allowed.
NOT_ALLOWED = {
    b"#EXTM3U": "it is a playlist, which names other files",
    b"ffconcat": "it is a list, which names other files",
    b"v=0": "it describes a session, which names an address",
    b"\x89PNG": "it is a single picture",
    b"BM": "it is a single picture",
}
# Their headers declare a duration, but no number of frames. The count of an AVI includes the frames
# that the recorder skipped, so it is a duration as well.
TIMED = ("matroska", "avi", "flv", "asf")
ASSUMED_FPS = Fraction(25)  # where a file names none
# FFmpeg assumes 25 for bare streams that name no rate, and does not say so. It is asked to assume
# this instead, which no header names.
UNLIKELY_FPS = Fraction(25_000_003, 1_000_000)
RATE_TOLERANCE = Fraction(1, 10**6)
MAX_READ_ERRORS = 100  # reading goes on over damage, but not for ever
MAX_MISSING_SHARE = 0.02  # of the frames, and at least one clip


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive frames: 16, a clip's worth, in every block but the last of a video."""

    rgb: NDArray[np.uint8]  # [frames, height, width, 3], 0..255
    times_s: NDArray[np.float64]  # [frames] when each is shown, counted from the first frame


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """What became of a video that was read to its end; it comes after the last block."""

    decoder: str  # name and version
    n_frames: int
    n_frames_expected: int  # by what the file declares
    n_bad_packets: int
    n_rescaled: int  # frames of another size than the first, brought to it
    duration_s: float  # from the first frame until the last one is no longer shown
    n_jumps: int = 0  # of the time stamps, mended; see `clock`
    note: str = ""  # why decord did not decode it, where it was tried

    @property
    def is_truncated(self) -> bool:
        """Whether more frames are missing than a clip or 2 %, whichever is more."""
        allowed = max(CLIP_FRAMES, MAX_MISSING_SHARE * self.n_frames_expected)
        return self.n_frames_expected - self.n_frames > allowed


@dataclass(frozen=True, slots=True)
class Limits:
    """What one video may cost, and the rate of one that has no times."""

    max_pixels: int = 4096 * 2304  # in one picture; checked before a picture is decoded
    decord_bytes: int = 64 * 2**20  # of decoded pictures: decord keeps a whole video in memory
    bare_fps: float | None = None  # rate of bare streams, in place of their header's

    @property
    def memory_bytes(self) -> int:
        """Address space of a decoder process: the libraries, and 64 of the largest pictures.

        A clip is 16 of them, a codec keeps up to 16 more. Measured: 0.2 GB for the libraries,
        0.8 GB with decord at 1080p, 3.7 GB for a picture of 8192x8192.
        """
        return 2 * 2**30 + 64 * 3 * self.max_pixels


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What the file declares, and what its first picture shows."""

    container: str  # FFmpeg's first name for it: mov (also for MP4), matroska, avi, mpegts ...
    codec: str
    pixel_format: str
    width: int  # as shown, after rotation
    height: int
    rotation_deg: int  # what a stored picture is turned by, counterclockwise: 0, 90, 180, 270
    fps: Fraction  # on average
    n_packets: int  # frames to expect: counted, or by the header where the scan stops early
    n_frames_declared: int | None  # without the frames that an edit list hides
    duration_s: float | None  # by the header; FFmpeg's estimate where that is silent
    fps_assumed: bool = False  # the file names no rate

    def n_frames_expected(self, n_frames: int, end_s: float) -> int:
        """Frames that the file promises, when `n_frames` were found and its packets end at `end_s`.

        Where the header counts the frames, its count; where it only says how long the file is,
        the frames found and those that would fill the time missing at the end.
        """
        if self.n_frames_declared is not None:
            return self.n_frames_declared
        if self.container not in TIMED or self.duration_s is None:
            return n_frames
        return n_frames + max(0, round((self.duration_s - end_s) * self.fps))


@dataclass(frozen=True, slots=True)
class Scan:
    """What the packets of a video tell; only its first picture was decoded.

    The scan stops where the decoded pictures would no longer fit `Limits.decord_bytes`: PyAV
    decodes such a video and needs no more. So a scan is cheap, however long the video is.
    """

    info: VideoInfo
    whole: bool  # it reached the end; else the fields below speak of the start alone
    times_s: NDArray[np.float64]  # [n_shown] ascending; empty if not every frame has its own
    n_shown: int
    n_in_header: int  # frames that the header counts, whatever the file holds; 0: it does not count
    n_hidden: int  # by an edit list
    n_corrupt: int  # cut short, by what the container says of their sizes
    n_video_streams: int
    starts_at_keyframe: bool
    jumps: bool  # its time stamps jump; see `clock`
    end_s: float  # see Packets.end_s


class Packets:
    """The packets of a video stream in the order of the file, read on over damage."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container, self._stream = container, stream
        # A declared duration is that of the longest stream: the sound, subtitles, another camera.
        timed = _name(container) in TIMED
        self._streams = list(container.streams) if timed else [stream]
        self._start_s = min(0.0, (container.start_time or 0) / av.time_base)
        self.end_s = 0.0  # where the last packet read ends, counted as the header counts

    def __iter__(self) -> Iterator[Packet[VideoStream]]:
        for _ in range(MAX_READ_ERRORS):
            try:
                for packet in self._container.demux(*self._streams):
                    if packet.dts is not None:
                        start = packet.dts if packet.pts is None else packet.pts
                        end = (start + (packet.duration or 0)) * packet.time_base
                        self.end_s = max(self.end_s, float(end) - self._start_s)
                    if packet.stream_index == self._stream.index:
                        yield packet  # type: ignore[misc]  # the index says that it is of video
            except av.FFmpegError:
                continue  # a damaged spot: the next call reads from behind it
            except IndexError:
                pass  # the end: after ours, PyAV 18.1 asks for streams that began on the way
            return


def probe(path: Path, limits: Limits | None = None) -> VideoInfo:
    """What a video file declares. Raises VideoError for a file that is no video."""
    return scan(path, limits or Limits()).info


def scan(path: Path, limits: Limits) -> Scan:
    """Read the packets of a video. Raises VideoError where no picture can be decoded."""
    with open_video(path, limits) as (container, stream):
        packets = Packets(container, stream)
        picture: VideoFrame | None = None
        shown: list[int | None] = []  # presentation times
        decoding: list[int] = []  # decoding times
        n_hidden = n_corrupt = 0
        starts_at_keyframe, whole = False, True
        for packet in packets:
            if picture is None:
                picture = _first_picture(packet)
            if packet.size == 0:  # the end, where a decoder hands out what it still holds
                continue
            if not shown and not n_hidden:
                starts_at_keyframe = packet.is_keyframe
            n_corrupt += packet.is_corrupt
            if packet.is_discard:
                n_hidden += 1
            else:
                shown.append(stamp(packet, _name(container)))
                decoding += [] if packet.dts is None else [packet.dts]
            if picture and len(shown) * picture.width * picture.height * 3 > limits.decord_bytes:
                whole = False
                break
        if picture is None:
            raise _no_picture(len(shown), _n_frames_declared(container, stream))
        n_packets = len(shown) if whole else None
        info = describe(container, stream, picture, n_packets, limits)
        tick_s = float(stream.time_base or 1)
        known_s = [tick * tick_s for tick in sorted(tick for tick in shown if tick is not None)]
        jumps = has_jump(known_s, [tick * tick_s for tick in decoding])
        step_s = typical_step_s(known_s)
        if jumps and step_s and not 0.5 < step_s * info.fps < 2:  # the average has the jumps in it
            info = replace(info, fps=Fraction(1 / step_s).limit_denominator(1001))
        return Scan(
            info=info,
            whole=whole,
            times_s=_times_s(shown, stream),
            jumps=jumps,
            n_shown=len(shown),
            n_in_header=stream.frames,
            n_hidden=n_hidden,
            n_corrupt=n_corrupt,
            n_video_streams=len(container.streams.video),
            starts_at_keyframe=starts_at_keyframe,
            end_s=packets.end_s,
        )


@contextmanager
def open_video(path: Path, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open the best video stream of a file. Raises VideoError."""
    _check_file(path)
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "max_pixels": str(limits.max_pixels),
        "framerate": f"{UNLIKELY_FPS.numerator}/{UNLIKELY_FPS.denominator}",
    }
    try:  # with its scheme, no file name can be taken for an address
        container = av.open(f"file:{path.absolute()}", options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        raise _not_opened(path) from error
    with container:
        yield container, video_stream(container, limits)


def video_stream(container: InputContainer, limits: Limits) -> VideoStream:
    """The best video stream of an open container, for one thread. Raises VideoError."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        raise VideoError("not-a-video", "it holds no video stream")
    context = stream.codec_context
    if context is None:
        raise VideoError("no-frames", "its video codec is unknown")
    if context.width * context.height > limits.max_pixels:
        raise VideoError(
            "too-large",
            f"its pictures are {context.width}x{context.height} = "
            f"{context.width * context.height:,} pixels; the limit is {limits.max_pixels:,}",
            hint=f"--max-pixels {context.width * context.height}",
        )
    context.options = {"max_pixels": str(limits.max_pixels)}  # headers lie, and sizes change
    context.thread_count = 1
    return stream


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or a device could be read for ever
            raise VideoError("unreadable", "it is not a regular file")
        if status.st_size == 0:
            raise VideoError("empty", "the file is empty")
        if not os.access(path, os.R_OK):
            raise VideoError("unreadable", "no permission to read it")
    except OSError as error:
        raise VideoError("unreadable", (error.strerror or str(error)).lower()) from error


def _not_opened(path: Path) -> VideoError:
    """The error for a file that cannot be opened: a video without its index, or no video."""
    with path.open("rb") as file:
        start = file.read(12)
    if start[4:8] == b"ftyp" or start[:4] == b"RIFF" or start[:4] == b"\x1a\x45\xdf\xa3":
        return VideoError(
            "truncated",
            "it begins as a video but has no index: it was cut off, or its recording never ended",
            hint="copy it again, or repair it with a tool such as untrunc",
        )
    for known, what in NOT_ALLOWED.items():
        if start.startswith(known):
            return VideoError("not-a-video", f"{what}: no video format that is allowed")
    return VideoError("not-a-video", "its content is of no video format that is known")


def _no_picture(n_packets: int, n_declared: int | None) -> VideoError:
    if n_packets == 0:
        promise = f" of the {n_declared} that it declares" if n_declared else ""
        return VideoError("no-frames", f"it holds not one frame to show{promise}")
    return VideoError("no-frames", f"none of its {n_packets} frames can be decoded")


def _first_picture(packet: Packet[VideoStream]) -> VideoFrame | None:
    try:
        return next(iter(packet.decode()), None)
    except av.FFmpegError:
        return None


def describe(
    container: InputContainer,
    stream: VideoStream,
    picture: VideoFrame,
    n_packets: int | None,
    limits: Limits,
) -> VideoInfo:
    """What an open video declares, and its first picture shows."""
    context = stream.codec_context
    # Displays turn by right angles only; the odd tag that says otherwise is rounded.
    rotation_deg = round(picture.rotation / 90) * 90 % 360
    width, height = picture.width, picture.height
    if rotation_deg in (90, 270):
        width, height = height, width
    rate = stream.average_rate or stream.guessed_rate
    if _name(container) in BARE:  # its own header's, if it has one
        rate = context.framerate
        rate = None if not rate or abs(rate - UNLIKELY_FPS) < RATE_TOLERANCE else rate
        rate = Fraction(limits.bare_fps).limit_denominator(1001) if limits.bare_fps else rate
    fps = rate or ASSUMED_FPS
    n_declared = _n_frames_declared(container, stream)
    duration_s = container.duration / av.time_base if container.duration else None
    if _name(container) == "avi" and stream.frames:  # FFmpeg's own value shrinks with the file
        duration_s = float(stream.frames / fps)
    if n_packets is None:
        n_packets = n_declared or round((duration_s or 0) * fps)
    return VideoInfo(
        container=_name(container),
        codec=context.codec.canonical_name,
        pixel_format=picture.format.name,
        width=width,
        height=height,
        rotation_deg=rotation_deg,
        fps=fps,
        n_packets=n_packets,
        n_frames_declared=n_declared,
        duration_s=duration_s,
        fps_assumed=rate is None,
    )


def _n_frames_declared(container: InputContainer, stream: VideoStream) -> int | None:
    if stream.frames == 0 or _name(container) in TIMED:
        return None
    if _name(container) == "mov":  # its count includes what edit lists cut, its index says what
        return sum(not entry.is_discard for entry in stream.index_entries)
    return stream.frames


def _name(container: InputContainer) -> str:
    return container.format.name.partition(",")[0]


def _times_s(shown: list[int | None], stream: VideoStream) -> NDArray[np.float64]:
    """Presentation times from the first frame's on; none where any is missing or taken twice."""
    known = sorted({time for time in shown if time is not None})
    if len(known) < len(shown) or stream.time_base is None:
        return np.empty(0)
    return (np.array(known, np.float64) - known[0]) * float(stream.time_base)

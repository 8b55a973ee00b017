"""What a video file declares about itself, and how to open one safely.

Files are not trusted: a name can look like an address, a text can name other files, a header can
declare frames that do not fit in memory. So every file is opened here, by PyAV, and the allowed
formats, protocol and frame size are passed to it before it reads anything.
"""

from __future__ import annotations

import itertools
import math
import os
import re
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

from .clock import BARE, Floats, has_jump, stamp, typical_step_s
from .sizes import size_header

# FFmpeg's demuxers that read a single file. FFmpeg would also open playlists, concatenation lists,
# image sequences, drawings and text art; these are left out.
FORMATS = (
    "mov,mp4,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,nut,dhav,h264,hevc,m4v,mpegvideo,ivf,"
    "mjpeg,dv,gif"
)
# FFmpeg takes a stream of JPEG pictures without container for a single picture, if its format is
# not given. These suffixes are those of such streams.
MJPEG_SUFFIXES = (".mjpeg", ".mjpg")
JPEG_START = b"\xff\xd8\xff"
# First bytes of files that FFmpeg would open but that are not allowed, with the reason.
NOT_ALLOWED = {
    b"#EXTM3U": "it is a playlist, which names other files",
    b"ffconcat": "it is a list, which names other files",
    b"v=0": "it describes a session, which names an address",
    b"\x89PNG": "it is a single picture",
    b"BM": "it is a single picture",
}
# Containers whose header declares a duration and no number of frames. The count of an AVI includes
# frames that the recorder skipped, so it serves as a duration only.
TIMED = ("matroska", "avi", "flv", "asf")
ASSUMED_FPS = Fraction(25)  # for a file that declares no rate, or an impossible one
LEAST_FPS, MOST_FPS = 1e-4, 1e4
# For a bare stream that declares no rate, FFmpeg silently assumes 25. It is told to assume this
# value instead, which no header declares, so that the assumption can be recognised.
UNLIKELY_FPS = Fraction(25_000_003, 1_000_000)
RATE_TOLERANCE = Fraction(1, 10**6)
# FFmpeg's message if it refuses to allocate a frame, by our limit or by its own.
REFUSED = re.compile(r"Picture size (\d+)x(\d+) (?:is invalid|exceeds)")
MOST_PIXELS = 2**31 // 8  # FFmpeg's own limit, roughly
REFUSED_PACKETS = 16  # packets in which a refused size is looked for
# The rate of a file is wrong if nine tenths of its frames are slower, or faster, by this factor.
WRONG_RATE = 1.25
MAX_READ_ERRORS = 100  # damaged places in one file after which reading stops
MAX_MISSING_SHARE = 0.02  # a video that lacks more frames, and more than a clip, is truncated


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive frames of a video: 16 (one clip), or fewer in the video's last block."""

    rgb: NDArray[np.uint8]  # [frames, height, width, 3], 0..255
    times_s: Floats  # [frames] when each is shown, in seconds from the first frame


@dataclass(frozen=True, slots=True)
class DecodeReport:
    """The result of decoding a video to its end; it comes after the last block."""

    decoder: str  # name and version
    n_frames: int
    n_frames_expected: int  # number that the file declares
    n_bad_packets: int
    n_rescaled: int  # frames of another size than the first, rescaled to that size
    duration_s: float  # from the start of the first frame to the end of the last
    n_jumps: int = 0  # jumps of the time stamps that were corrected; see `clock`
    note: str = ""  # why decord failed, if it was tried first

    @property
    def is_truncated(self) -> bool:
        """True if more frames are missing than one clip or 2 % of the video, whichever is more."""
        allowed = max(CLIP_FRAMES, MAX_MISSING_SHARE * self.n_frames_expected)
        return self.n_frames_expected - self.n_frames > allowed


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits on the resources that one video can use, and the frame rate of bare streams."""

    max_pixels: int = 4096 * 2304  # per frame; checked before a frame is decoded
    decord_bytes: int = 64 * 2**20  # largest decoded video that decord gets
    bare_fps: float | None = None  # rate of bare streams; overrides the header's

    @property
    def memory_bytes(self) -> int:
        """Address space of a decoder process: the libraries, and 64 of the largest frames.

        A clip is 16 of them, a codec keeps up to 16 more. Measured: 0.2 GB for the libraries, 0.8
        GB with decord at 1080p, 3.7 GB for a frame of 8192x8192.
        """
        return 2 * 2**30 + 64 * 3 * self.max_pixels


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a video file declares, completed by its first decoded frame."""

    container: str  # FFmpeg's first name of the format: mov (also MP4), matroska, avi, mpegts ...
    codec: str
    pixel_format: str
    width: int  # as displayed, after rotation
    height: int
    rotation_deg: int  # counterclockwise, applied to a stored frame: 0, 90, 180, 270
    fps: Fraction  # on average
    n_packets: int  # frames to expect: counted, or as declared if the scan stopped early
    n_frames_declared: int | None  # without the frames that an edit list hides
    duration_s: float | None  # as declared, or else FFmpeg's estimate
    fps_assumed: bool = False  # the file declares no rate
    n_frames: int | None = None  # that can be decoded; None if they were not counted beforehand

    def n_frames_expected(self, n_frames: int, end_s: float) -> int:
        """Return the number of frames that the file declares.

        n_frames: frames found. end_s: where the last packet ends, in seconds. If the header counts
        the frames, its count is returned. If it declares only a duration: the frames found, plus
        those that would fill the time missing at the end.
        """
        if self.n_frames_declared is not None:
            return self.n_frames_declared
        if self.container not in TIMED or self.duration_s is None:
            return n_frames
        return n_frames + max(0, round((self.duration_s - end_s) * self.fps))


@dataclass(frozen=True, slots=True)
class Scan:
    """What the packets of a video show. Of its frames, only the first was decoded.

    The scan stops as soon as the decoded frames would need more than `Limits.decord_bytes`: PyAV
    will decode such a video and needs no more facts. So a scan is cheap, however long the video is.
    """

    info: VideoInfo
    whole: bool  # the scan reached the end; if not, the fields below describe the start only
    times_s: Floats  # [n_shown] ascending; empty if a frame has no time of its own
    n_shown: int  # frames, without those that an edit list hides
    n_in_header: int  # frames that the header counts; 0 if it has no count
    n_hidden: int  # frames that an edit list hides
    n_corrupt: int  # packets shorter than the container declares
    n_video_streams: int
    starts_at_keyframe: bool
    jumps: bool  # the time stamps jump; see `clock`
    resizes: bool  # the size of its pictures may change; see `sizes`
    end_s: float  # see Packets.end_s


class Packets:
    """Iterates over the packets of a video stream in file order and continues after damaged
    places.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container, self._stream = container, stream
        # The declared duration is that of the longest stream: sound, subtitles or another video.
        self._is_timed = _name(container) in TIMED
        self._streams = list(container.streams) if self._is_timed else [stream]
        self._tick_s = {s.index: float(s.time_base or 0) for s in self._streams}
        self._start_s = min(0.0, (container.start_time or 0) / av.time_base)
        # Latest end of a packet read so far, in the time of the header's duration; 0 if the
        # header's duration is not used.
        self.end_s = 0.0

    def __iter__(self) -> Iterator[Packet[VideoStream]]:
        for _ in range(MAX_READ_ERRORS):
            try:
                for packet in self._container.demux(*self._streams):
                    index = packet.stream_index
                    if self._is_timed and packet.dts is not None and index in self._tick_s:
                        start = packet.dts if packet.pts is None else packet.pts
                        end_s = (start + (packet.duration or 0)) * self._tick_s[index]
                        self.end_s = max(self.end_s, end_s - self._start_s)
                    if index == self._stream.index:
                        yield packet  # type: ignore[misc]  # its index is the video stream's
            except av.FFmpegError:
                continue  # a damaged place: the next call of demux reads on behind it
            except IndexError:
                pass  # the end of the file: PyAV 18.1 fails here on streams that began within it
            return


def probe(path: Path, limits: Limits | None = None) -> VideoInfo:
    """Return what a video file declares. Raises VideoError if the file is no video."""
    return scan(path, limits or Limits()).info


def scan(path: Path, limits: Limits) -> Scan:
    """Read the packets of a video and decode its first frame. Raises VideoError if no frame can be
    decoded.
    """
    with open_video(path, limits) as (container, stream):
        packets = Packets(container, stream)
        picture: VideoFrame | None = None
        shown: list[int | None] = []  # presentation times
        decoding: list[int | None] = []  # decoding times
        n_hidden = n_corrupt = 0
        starts_at_keyframe, whole, resizes = False, True, False
        name, codec = _name(container), stream.codec_context.codec.canonical_name
        extradata = header = bytes(stream.codec_context.extradata or b"")
        frame_bytes = 0
        for packet in packets:
            if picture is None and (picture := _first_picture(packet)):
                frame_bytes = picture.width * picture.height * 3
            if packet.size == 0:  # the flush packet at the end of the file
                continue
            if not shown and not n_hidden:
                starts_at_keyframe = packet.is_keyframe
                header = size_header(packet, codec, extradata) or header
            elif packet.is_keyframe and not resizes:
                resizes = size_header(packet, codec, extradata) not in header
            n_corrupt += packet.is_corrupt
            if packet.is_discard:
                n_hidden += 1
            else:
                shown.append(stamp(packet, name))
                decoding.append(packet.dts)
            if len(shown) * frame_bytes > limits.decord_bytes:
                whole = False
                break
        if picture is None:
            if refused := _refused_size(path, limits):
                raise _too_large(*refused, limits)
            raise _no_picture(len(shown), _n_frames_declared(container, stream))
        n_packets = len(shown) if whole else None
        info = describe(container, stream, picture, n_packets, limits)
        tick_s = float(stream.time_base or 0)
        ticks = np.sort(_known(shown))
        times_s = (ticks - ticks[:1]) * tick_s
        steps_s = np.sort(np.diff(times_s))
        jumps = has_jump(steps_s, _known(decoding) * tick_s)
        has_all = len(times_s) == len(shown)  # otherwise the steps are those of several frames
        fps = _true_fps(steps_s, float(info.fps), jumps=jumps) if jumps or has_all else None
        if fps and LEAST_FPS <= fps <= MOST_FPS:
            info = replace(info, fps=Fraction(fps).limit_denominator(1001))
        return Scan(
            info=info,
            whole=whole,
            times_s=times_s if has_all and steps_s.all() else np.empty(0),
            jumps=jumps,
            resizes=resizes,
            n_shown=len(shown),
            n_in_header=stream.frames,
            n_hidden=n_hidden,
            n_corrupt=n_corrupt,
            n_video_streams=len(container.streams.video),
            starts_at_keyframe=starts_at_keyframe,
            end_s=packets.end_s,
        )


def _known(ticks: list[int | None]) -> Floats:
    """Return the times that are known, in ticks."""
    return np.array([tick for tick in ticks if tick is not None], np.float64)


def _true_fps(steps_s: Floats, fps: float, *, jumps: bool) -> float | None:
    """Return the rate of the frames if the rate `fps` of the file is wrong, else None.

    Jumps falsify the average rate. Without them, the rate is wrong if hardly any frames come at
    that pace: some containers hold no rate, and FFmpeg takes that of the codec's header, or that of
    the clock. steps_s: the steps between frames, in ascending order, [n].
    """
    step_s = typical_step_s(steps_s)
    if not step_s:
        return None
    if jumps:
        return None if 0.5 < step_s * fps < 2 else 1 / step_s
    tenth = (len(steps_s) - 1) // 10
    if steps_s[tenth] * fps < WRONG_RATE and steps_s[-1 - tenth] * fps > 1 / WRONG_RATE:
        return None
    return float(1 / steps_s.mean())


@contextmanager
def open_video(path: Path, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and its best video stream; closes the file at the end of the `with` block. Raises
    VideoError if it holds no video that is allowed.
    """
    _check_file(path)
    options = {
        "format_whitelist": FORMATS,
        "protocol_whitelist": "file",
        "max_pixels": str(limits.max_pixels),
        "framerate": f"{UNLIKELY_FPS.numerator}/{UNLIKELY_FPS.denominator}",
    }
    is_mjpeg = path.suffix.lower() in MJPEG_SUFFIXES and _start_of(path).startswith(JPEG_START)
    try:  # the prefix file: keeps FFmpeg from reading a file name as an address
        container = av.open(
            f"file:{path.absolute()}",
            format="mjpeg" if is_mjpeg else None,
            options=options,
            metadata_errors="replace",
        )
    except (av.FFmpegError, OSError) as error:
        raise _not_opened(path) from error
    with container:
        yield container, video_stream(container, limits)


def video_stream(container: InputContainer, limits: Limits) -> VideoStream:
    """Return the best video stream of an open container, set to decode in one thread. Raises
    VideoError if there is none, its codec is unknown or its frames are too large.
    """
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & Disposition.attached_pic:
        raise VideoError("not-a-video", "it holds no video stream")
    context = stream.codec_context
    if context is None:
        raise VideoError("no-frames", "its video codec is unknown")
    if context.width * context.height > limits.max_pixels:
        raise _too_large(context.width, context.height, limits)
    context.options = {"max_pixels": str(limits.max_pixels)}  # a header can be wrong
    context.thread_count = 1
    return stream


def _check_file(path: Path) -> None:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # reading a pipe or a device could never end
            raise VideoError("unreadable", "it is not a regular file")
        if status.st_size == 0:
            raise VideoError("empty", "the file is empty")
        if not os.access(path, os.R_OK):
            raise VideoError("unreadable", "no permission to read it")
    except OSError as error:
        raise VideoError("unreadable", (error.strerror or str(error)).lower()) from error


def _not_opened(path: Path) -> VideoError:
    """Return the error for a file that cannot be opened: a video without its index, or no video."""
    start = _start_of(path)
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


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(12)


def _too_large(width: int, height: int, limits: Limits) -> VideoError:
    n_pixels = width * height
    return VideoError(
        "too-large",
        f"its pictures are {width}x{height} = {n_pixels:,} pixels; the limit is "
        f"{limits.max_pixels:,}",
        hint=f"--max-pixels {n_pixels}" if n_pixels <= MOST_PIXELS else "",
    )


def _refused_size(path: Path, limits: Limits) -> tuple[int, int] | None:
    """Return the width and height for which FFmpeg decoded no frame of a file, if that is why.

    It takes no memory for such frames and says their size in its log alone.
    """
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture(local=False) as lines, open_video(path, limits) as (file, stream):
            for packet in itertools.islice(Packets(file, stream), REFUSED_PACKETS):
                _first_picture(packet)
    finally:
        av.logging.set_level(None)
    found = (match for _, _, line in lines if (match := REFUSED.match(line)))
    sizes = ((int(match[1]), int(match[2])) for match in found)
    return next((size for size in sizes if math.prod(size) > limits.max_pixels), None)


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
    """Return what an open video declares, completed by its first frame.

    n_packets: number of frames counted, or None to use the declared number.
    """
    context = stream.codec_context
    # A rotation tag is rounded to a multiple of 90 degrees.
    rotation_deg = round(picture.rotation / 90) * 90 % 360
    width, height = picture.width, picture.height
    if rotation_deg in (90, 270):
        width, height = height, width
    rates = [stream.average_rate, stream.guessed_rate]
    is_bare = _name(container) in BARE
    if is_bare:  # use the codec header's rate, if it has one
        named = context.framerate
        rates = [] if not named or abs(named - UNLIKELY_FPS) < RATE_TOLERANCE else [named]
    rate = next((r for r in rates if r and LEAST_FPS <= float(r) <= MOST_FPS), None)
    if limits.bare_fps and (is_bare or rate is None):
        rate = Fraction(limits.bare_fps).limit_denominator(1001)
    fps = rate or ASSUMED_FPS
    n_declared = _n_frames_declared(container, stream)
    duration_s = container.duration / av.time_base if container.duration else None
    if _name(container) == "avi" and stream.frames:  # FFmpeg's value shrinks if cut off
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
    if _name(container) == "mov":  # its count includes frames that edit lists hide
        return sum(not entry.is_discard for entry in stream.index_entries)
    return stream.frames


def _name(container: InputContainer) -> str:
    return container.format.name.partition(",")[0]

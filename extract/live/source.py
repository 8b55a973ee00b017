"""The sources of live video that a user can name, and how they are opened safely.

    corridor.mp4              a file, opened as every video is
    0                         a camera of this machine by its number, here /dev/video0
    rtsp://host:554/path      a network camera; rtsps:// is the same over TLS

Other addresses, playlists and lists of files are refused. A network source is not trusted, like a
file: the allowed protocols, format and frame size are passed to FFmpeg before it reads anything.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vad.errors import UsageError, VideoError

from ..decoders.video import Limits, open_video, video_stream

Kind = Literal["file", "camera", "network"]
# Protocols that FFmpeg's RTSP client is allowed to use. RTP travels inside the TCP connection, so
# that no packet is lost and no port must be open.
PROTOCOLS = {"rtsp": "rtsp,rtp,tcp", "rtsps": "rtsp,rtp,tcp,tls"}
PROBE_S = 2.0  # most seconds of a network stream that FFmpeg reads to detect its format
# Some cameras expect the password in the path or the query of the address.
PASSWORD = re.compile(r"(?i)((?:password|passwd|pwd|pass)=)[^&/]*")
_MASKED = r"\1****"
KNOWN = "give a file, the number of a camera (0), or an address rtsp://... or rtsps://..."


@dataclass(frozen=True, slots=True)
class LiveSource:
    """A source of live video: a file, a camera or a network stream."""

    kind: Kind
    address: str  # a path, a camera's number, or an address, with its password
    speed: float = 0.0  # of a file: 1 is real time; 0 is as fast as the consumer reads
    loop: bool = False  # of a file: start again at its end

    @property
    def is_live(self) -> bool:
        """True if frames come at the source's own pace, whether or not they are read in time."""
        return self.kind != "file" or self.speed > 0

    @property
    def ends(self) -> bool:
        """True for a file, which is finished at its end. A camera or network stream that ends has
        failed, and is opened again.
        """
        return self.kind == "file"

    @property
    def shown(self) -> str:
        """The address without user name and password, for messages."""
        if self.kind != "network":
            return self.address
        parts = urlsplit(self.address)
        bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        return PASSWORD.sub(_MASKED, bare)


def find_source(name: str, *, speed: float = 0.0, loop: bool = False) -> LiveSource:
    """Return the source that a name stands for: an rtsp:// or rtsps:// address, a camera number or
    a file.

    Raises UsageError if the name is none of these, or if speed or loop do not fit the source.
    """
    scheme = name.partition("://")[0].lower() if "://" in name else ""
    if scheme in PROTOCOLS:
        kind: Kind = "network"
        _check_address(name)
    elif name.isascii() and name.isdigit():
        kind = "camera"
        if not sys.platform.startswith("linux"):
            raise UsageError(f"camera {name}: cameras are read on Linux only", hint=KNOWN)
    elif scheme:
        raise UsageError(f"{scheme}:// is no source", hint=KNOWN)
    elif Path(name).exists():
        kind = "file"
    else:
        raise UsageError(f"no source {name!r}: there is no such file", hint=KNOWN)
    if speed < 0 or (kind != "file" and (speed or loop)):
        raise UsageError(
            "--speed (0 or more) and --loop are for files", hint="a camera has its own pace"
        )
    return LiveSource(kind, name, speed, loop)


def _check_address(address: str) -> None:
    """Raise UsageError if an address has no host, or if its host is ambiguous.

    If a password contains / ? or # without percent-encoding, the host ends too early: FFmpeg would
    connect to a host called like the user, with a part of the password as port and path.
    """
    scheme, _, rest = address.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if "@" in rest[len(authority) :]:
        host = rest.rpartition("@")[2]
        raise UsageError(
            "in the address of the stream an @ comes after / ? or #, so that its host is in doubt",
            hint=f"percent-encode what is in the password: {scheme}://USER:****@"
            f"{PASSWORD.sub(_MASKED, host)} with / as %2F, ? as %3F, # as %23 and @ as %40; "
            "and an @ in the path as %40",
        )
    try:
        parts = urlsplit(address)
        port = parts.port  # raises ValueError if it is no number
    except ValueError:
        raise UsageError(
            "the address of the stream is wrong: its port is no number",
            hint="rtsp://[USER:PASSWORD@]HOST[:PORT]/PATH",
        ) from None
    if not parts.hostname or port == 0:
        raise UsageError("the address of the stream names no host", hint="rtsp://HOST[:PORT]/PATH")


@contextmanager
def open_source(source: LiveSource, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a source for decoding in one thread; closes it at the end of the `with` block. Raises
    VideoError if it cannot be opened.
    """
    if source.kind == "file":
        with open_video(Path(source.address), limits) as opened:
            yield opened
        return
    try:
        container = _open_live(source, {"max_pixels": str(limits.max_pixels)})
    except (av.FFmpegError, OSError) as error:
        raise VideoError("unreadable", _reason(error), hint=_hint(source, error)) from None
    with container:
        yield container, video_stream(container, limits)


def _open_live(source: LiveSource, options: dict[str, str]) -> InputContainer:
    if source.kind == "camera":
        options |= {"protocol_whitelist": "file"}
        return av.open(f"/dev/video{int(source.address)}", format="v4l2", options=options)
    scheme, _, rest = source.address.partition("://")
    options |= {
        "rtsp_transport": "tcp",
        "allowed_media_types": "video",
        "protocol_whitelist": PROTOCOLS[scheme.lower()],
        "format_whitelist": "rtsp",
        "analyzeduration": str(round(PROBE_S * av.time_base)),
        "fpsprobesize": "2",  # otherwise FFmpeg reads 20 frames before it returns the first
    }
    return av.open(f"{scheme.lower()}://{rest}", format="rtsp", options=options)


def _reason(error: Exception) -> str:
    """Return FFmpeg's error text without the address, which can contain a password."""
    strerror = getattr(error, "strerror", None)
    return (strerror or type(error).__name__).lower()


def _hint(source: LiveSource, error: Exception) -> str:
    if isinstance(error, av.HTTPUnauthorizedError):
        return "the camera wants rtsp://USER:PASSWORD@HOST/PATH"
    if source.kind == "camera":
        return "cameras of this machine are /dev/video0, /dev/video1, ..."
    return "check the address with another player"

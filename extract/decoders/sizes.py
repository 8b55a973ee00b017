"""Where a packet states the size of its pictures, so that a change is seen without decoding.

decord scales every picture to the size of the first one and does not tell. So a video whose headers
change on the way is left to PyAV, which counts such frames. Equal headers mean equal sizes; the
reverse does not hold: a header can change in other ways, and PyAV then finds no change of size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from av.packet import Packet
from av.video.stream import VideoStream

NAL_SPS = {"h264": (0x1F, 0, 7), "hevc": (0x7E, 1, 33)}  # mask, shift and type of NAL units
HEADERS = {  # codecs whose header is found by its first bytes
    "mpeg4": re.compile(rb"\x00\x00\x01[\x20-\x2f].*?(?=\x00\x00\x01|$)", re.DOTALL),
    "mjpeg": re.compile(rb"\xff[\xc0-\xc2].{7}", re.DOTALL),
}


def size_header(packet: Packet[VideoStream], codec: str, extradata: bytes) -> bytes:
    """Return the bytes of a packet that state the size of pictures, or b"" if it has none."""
    data = bytes(packet)
    if packet.has_sidedata("new_extradata"):  # the container changes the codec's header
        return b"new_extradata"
    if codec in NAL_SPS:
        mask, shift, kind = NAL_SPS[codec]
        units = _nal_units(data, _length_bytes(codec, extradata))
        headers = (unit for unit in units if (unit[0] & mask) >> shift == kind)
        return b"".join(header.rstrip(b"\0") for header in headers)
    if codec == "vp8":  # only keyframes have a size, after a start code
        return data[6:10] if data[3:6] == b"\x9d\x01\x2a" else b""
    found = HEADERS[codec].search(data) if codec in HEADERS else None
    return found[0] if found else b""


def _length_bytes(codec: str, extradata: bytes) -> int:
    """Return how many bytes hold the length of a NAL unit; 0 if start codes separate the units."""
    at = 4 if codec == "h264" else 21
    return 0 if extradata[:1] != b"\x01" or len(extradata) <= at else (extradata[at] & 3) + 1


def _nal_units(data: bytes, n_length: int) -> Iterator[bytes]:
    if n_length == 0:
        yield from filter(None, data.split(b"\0\0\1"))
        return
    at = 0
    while at + n_length < len(data):
        start = at + n_length
        at = start + int.from_bytes(data[at:start], "big")
        if at > start:
            yield data[start:at]

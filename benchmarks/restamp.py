"""Change the time stamps and the container of a video, as recorders, cameras and joiners do.

The frames stay as they are: packets are copied into another container, with offsets added to their
stamps. Muxers refuse stamps that go back, so those of MPEG-TS and FLV are changed in the bytes. A
seed determines every change.
"""

from __future__ import annotations

import io
import random
import struct
from collections.abc import Callable

import av

STEP = 3000  # ticks of 1/90,000 s in a frame of 30 a second
HOUR = 3600 * 90_000
CONTAINERS = {  # name: FFmpeg's name, options of its muxer, codecs
    "mp4": ("mp4", {}, ("h264", "hevc", "mpeg4", "mjpeg")),
    "fragmented.mp4": (
        *("mp4", {"movflags": "frag_keyframe+empty_moov"}),
        ("h264", "hevc", "mpeg4", "mjpeg"),
    ),
    "mov": ("mov", {}, ("h264", "hevc", "mpeg4", "mjpeg")),
    "mkv": ("matroska", {}, ("h264", "hevc", "mpeg4", "mjpeg", "vp8")),
    "live.mkv": ("matroska", {"live": "1"}, ("h264", "hevc", "mpeg4", "mjpeg", "vp8")),
    "webm": ("webm", {}, ("vp8",)),
    "ts": ("mpegts", {}, ("h264", "hevc")),
    "flv": ("flv", {}, ("h264", "hevc")),
    "avi": ("avi", {}, ("h264", "mpeg4", "mjpeg", "vp8")),
}


def restamp(content: bytes, seed: int) -> tuple[str, str, bytes]:
    """Return what was done, the new suffix, and the new content of a video."""
    rng = random.Random(seed)
    how = rng.choice(tuple(OFFSETS))
    for name in rng.sample(tuple(CONTAINERS), len(CONTAINERS)):
        try:
            return f"{how} in {name}", name.rpartition(".")[2], _copied(content, name, how, rng)
        except (av.FFmpegError, NotInContainer):
            continue
    raise ValueError("no container takes this video")


class NotInContainer(Exception):
    """A container does not hold videos of this codec."""


def _copied(content: bytes, name: str, how: str, rng: random.Random) -> bytes:
    """Return a video in another container, with other stamps."""
    form, options, codecs = CONTAINERS[name]
    with av.open(io.BytesIO(content), "r") as source:
        stream = source.streams.video[0]
        if stream.codec_context.codec.canonical_name not in codecs:
            raise NotInContainer
        packets = [packet for packet in source.demux(stream) if packet.size]
        offsets, in_bytes = OFFSETS[how](len(packets), rng), PATCHES.get(name)
        if not in_bytes:
            offsets = [max(offsets[: i + 1]) for i in range(len(offsets))]
        written = io.BytesIO()
        with av.open(written, "w", format=form, options=options) as target:
            copy = target.add_stream_from_template(stream)
            for number, packet in enumerate(packets):
                packet.stream = copy
                if not in_bytes:
                    ticks = round(offsets[number] / 90_000 / packet.time_base)
                    packet.pts = None if packet.pts is None else packet.pts + ticks
                    packet.dts = None if packet.dts is None else packet.dts + ticks
                target.mux(packet)
    changed = bytearray(written.getvalue())
    if in_bytes:
        in_bytes(changed, offsets)
    return bytes(changed)


# --- offsets of the stamps of n packets, in 1/90,000 s


def _one_off(n: int, rng: random.Random) -> list[int]:
    """One frame hours, minutes or seconds ahead or behind."""
    offsets, size = [0] * n, rng.choice((HOUR * 10, HOUR, HOUR // 60, HOUR // 360))
    offsets[rng.randrange(n)] = rng.choice((-1, 1)) * size
    return offsets


def _set(n: int, rng: random.Random) -> list[int]:
    """A clock that is set on or back, once or several times."""
    offsets, now = [], 0
    places = {rng.randrange(n) for _ in range(rng.choice((1, 1, 3)))}
    for number in range(n):
        if number in places:
            now += rng.choice((-1, 1)) * rng.choice((STEP * 20, HOUR // 360, HOUR, HOUR * 24))
        offsets.append(now)
    return offsets


def _jitter(n: int, rng: random.Random) -> list[int]:
    reach = rng.choice((STEP // 4, STEP * 3, STEP * 10, STEP * 20))
    return [rng.randint(-reach, reach) for _ in range(n)]


def _to_and_fro(n: int, rng: random.Random) -> list[int]:
    size, period = rng.choice((STEP * 2, STEP * 45, HOUR // 360)), rng.choice((1, 2, 5))
    return [size * (number // period % 2) for number in range(n)]


def _pauses(n: int, rng: random.Random) -> list[int]:
    """Held frames of up to 10 s, which are no jumps."""
    offsets, now = [], 0
    for _ in range(n):
        now += rng.choice((0, 0, 0, 0, STEP * 5, STEP * 300)) if rng.random() < 0.3 else 0
        offsets.append(now)
    return offsets


def _slower(n: int, rng: random.Random) -> list[int]:
    """Another rate than that of the header."""
    factor = rng.choice((1, 2, 9, 59))
    return [STEP * factor * number for number in range(n)]


def _same(n: int, rng: random.Random) -> list[int]:
    """Many frames with one stamp."""
    stop = rng.randrange(n)
    return [-STEP * min(number, stop) for number in range(n)]


def _plain(n: int, _: random.Random) -> list[int]:
    return [0] * n


OFFSETS: dict[str, Callable[[int, random.Random], list[int]]] = {
    "one off": _one_off,
    "clock set": _set,
    "jitter": _jitter,
    "to and fro": _to_and_fro,
    "pauses": _pauses,
    "slower": _slower,
    "same": _same,
    "plain": _plain,
}


# --- stamps in the bytes of a file


def _patch_ts(data: bytearray, offsets: list[int]) -> None:
    """Add offsets to the 33-bit stamps of the packets of MPEG-TS."""
    number = 0
    for start in range(0, len(data) - 187, 188):
        has_field = data[start + 3] & 0x20
        at = start + 4 + (1 + data[start + 4] if has_field else 0)
        if not data[start + 1] & 0x40 or data[at : at + 3] != b"\0\0\1":
            continue
        if data[at + 3] & 0xF0 != 0xE0 or number == len(offsets):
            continue
        for place in (at + 9, at + 14)[: {2: 1, 3: 2}.get(data[at + 7] >> 6, 0)]:
            old = (data[place] >> 1 & 7) << 30
            old |= struct.unpack_from(">H", data, place + 1)[0] >> 1 << 15
            old |= struct.unpack_from(">H", data, place + 3)[0] >> 1
            new = (old + offsets[number]) % 2**33
            data[place] = data[place] & 0xF0 | new >> 30 << 1 | 1
            struct.pack_into(">H", data, place + 1, (new >> 15 & 0x7FFF) << 1 | 1)
            struct.pack_into(">H", data, place + 3, (new & 0x7FFF) << 1 | 1)
        number += 1


def _patch_flv(data: bytearray, offsets: list[int]) -> None:
    """Add offsets to the stamps, in milliseconds, of the video tags of FLV."""
    at, number = 13, 0
    while at + 11 < len(data) and number < len(offsets):
        size = int.from_bytes(data[at + 1 : at + 4], "big")
        if data[at] == 9 and data[at + 11] & 0x70 and data[at + 12] == 1:  # no codec header
            old = int.from_bytes(bytes([data[at + 7], *data[at + 4 : at + 7]]), "big", signed=True)
            new = max(-(2**31), min(2**31 - 1, old + offsets[number] // 90))
            top, *rest = new.to_bytes(4, "big", signed=True)
            data[at + 4 : at + 8] = bytes([*rest, top])
            number += 1
        at += 11 + size + 4


PATCHES = {"ts": _patch_ts, "flv": _patch_flv}

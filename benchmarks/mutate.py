"""Damage videos as copying, disks and attackers do. A seed determines every mutation."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

Mutation = Callable[[bytearray, random.Random], bytearray]

# Values at the limits of counters and sizes
EXTREMES = (0, 1, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
BOXES = (
    *(b"ftyp", b"moov", b"mvhd", b"trak", b"tkhd", b"edts", b"elst", b"mdia", b"mdhd", b"hdlr"),
    *(b"minf", b"stbl", b"stsd", b"avcC", b"hvcC", b"stts", b"stss", b"ctts", b"stsc", b"stsz"),
    *(b"stco", b"co64", b"mdat", b"udta", b"meta", b"RIFF", b"hdrl", b"strl", b"movi", b"idx1"),
)


def mutate(content: bytes, seed: int, others: list[bytes]) -> tuple[str, bytes]:
    """Damage a file by 1 to 4 mutations. Return their names, and the damaged content."""
    rng = random.Random(seed)
    names, damaged = [], bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4))):
        name = rng.choice(tuple(MUTATIONS))
        names.append(name)
        damaged = MUTATIONS[name](damaged, rng)
    if rng.random() < 0.05:  # joins the parts of two files
        names.append("splice")
        other = rng.choice(others)
        damaged = damaged[: rng.randrange(len(damaged) + 1)] + other[rng.randrange(len(other)) :]
    return "+".join(names), bytes(damaged)


def _flip_bits(data: bytearray, rng: random.Random) -> bytearray:
    for _ in range(min(len(data), rng.choice((1, 4, 32, 400)))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return data


def _flip_in_head(data: bytearray, rng: random.Random) -> bytearray:
    """Change bytes near the start, where most containers have their headers."""
    for _ in range(rng.choice((1, 4, 16))):
        if data:
            data[rng.randrange(min(len(data), 2048))] = rng.randrange(256)
    return data


def _cut_end(data: bytearray, rng: random.Random) -> bytearray:
    return data[: rng.randrange(len(data) + 1)]


def _cut_start(data: bytearray, rng: random.Random) -> bytearray:
    return data[rng.randrange(len(data) + 1) :]


def _cut_middle(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 2, 100, 4096)) :]


def _insert(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.randbytes(rng.choice((1, 3, 64, 4096))) + data[start:]


def _overwrite(data: bytearray, rng: random.Random) -> bytearray:
    """Overwrite a block with zeros, ones or noise, like a bad sector."""
    size = rng.choice((16, 512, 4096))
    start = rng.randrange(len(data) + 1)
    sector = rng.choice((bytes(size), b"\xff" * size, rng.randbytes(size)))
    data[start : start + size] = sector[: len(data) - start]
    return data


def _repeat(data: bytearray, rng: random.Random) -> bytearray:
    start = rng.randrange(len(data) + 1)
    part = data[start : start + rng.choice((16, 512, 8192))]
    return data[:start] + part * rng.choice((2, 8)) + data[start:]


def _extreme_number(data: bytearray, rng: random.Random) -> bytearray:
    """Set a 32-bit field near the name of a box, such as a size or count, to an extreme value."""
    places = [place for box in BOXES for place in _places(data, box)]
    if not places or rng.random() < 0.2:
        places = [rng.randrange(len(data) + 1)]
    start = max(0, rng.choice(places) + rng.choice((-4, 4, 8, 12, 16, 20, 24, 28, 32, 36)))
    field = struct.pack(rng.choice((">I", "<I")), rng.choice(EXTREMES))
    data[start : start + 4] = field[: max(0, len(data) - start)]
    return data


def _rename_box(data: bytearray, rng: random.Random) -> bytearray:
    """Give a box the name of another one."""
    places = [place for box in BOXES for place in _places(data, box)]
    if places:
        start = rng.choice(places)
        data[start : start + 4] = rng.choice(BOXES)
    return data


def _places(data: bytearray, box: bytes) -> list[int]:
    found: list[int] = []
    start = data.find(box)
    while start >= 0 and len(found) < 4:
        found.append(start)
        start = data.find(box, start + 4)
    return found


MUTATIONS: dict[str, Mutation] = {
    "flip-bits": _flip_bits,
    "flip-in-head": _flip_in_head,
    "cut-end": _cut_end,
    "cut-start": _cut_start,
    "cut-middle": _cut_middle,
    "insert": _insert,
    "overwrite": _overwrite,
    "repeat": _repeat,
    "extreme-number": _extreme_number,
    "rename-box": _rename_box,
}

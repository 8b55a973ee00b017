"""Settings of `vad stream`: types, defaults, ranges and help."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from vad.config import option

_stream = partial(option, panel="Stream")


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """Settings for scoring a live stream, or a file played like one: window, queue and lost
    sources.
    """

    window: int = _stream(
        64, "snippets that the detector sees, the newest of them last", minimum=1, maximum=10_000
    )
    lookahead: int = _stream(
        0,
        "snippets of the window after the one scored; each of them delays scores",
        minimum=0,
        maximum=10_000,
    )
    queue: int = _stream(
        4,
        "clips of a live source that may wait; then the oldest is dropped",
        minimum=1,
        maximum=10_000,
    )
    speed: float = _stream(
        0.0,
        "of a file: 1 plays it like a camera, 0 as fast as it is scored",
        minimum=0,
        maximum=1000,
    )
    loop: bool = _stream(False, "play a file again and again")
    time_limit: float = _stream(
        15.0,
        "seconds without a frame after which a source counts as lost",
        minimum=1,
        maximum=86_400,
    )
    give_up: float = _stream(
        600.0, "seconds after which a lost source is given up", minimum=0, maximum=1e9
    )

"""Settings of `vad stream`: types, defaults, ranges and help."""

from __future__ import annotations

from dataclasses import dataclass

from vad.config import option


@dataclass(frozen=True, kw_only=True)
class StreamSettings:
    """How a stream is watched."""

    window: int = option(64, "snippets that the detector sees, the newest last", minimum=1)
    lookahead: int = option(
        0, "snippets of the window that come after the one scored; each delays scores", minimum=0
    )
    queue: int = option(4, "clips that may wait before the oldest is dropped", minimum=1)
    speed: float = option(
        0.0, "of a file: 1 plays it like a camera, 0 as fast as it is scored", minimum=0
    )
    loop: bool = option(False, "play a file again and again")
    time_limit: float = option(15.0, "seconds without a picture until a source is lost", minimum=1)
    give_up: float = option(600.0, "seconds until a lost source is given up", minimum=0)

"""Convert the two frame numbers of an annotation to `[start, end)`; only this module does so.

    half-open   [s, e)  frames from 0, the end is the first frame after
                        (XD-Violence; UR-DMU, PEL4VAD and VadCLIP on UCF-Crime)
    inclusive   [s, e]  frames from 0, the end is the last frame (RTFM on UCF-Crime)
    one-based   [s, e]  frames from 1, the end is the last frame (Sultani; UCSD's MATLAB files)

On UCF-Crime the first two differ by 154 of 84 thousand frames: one for every segment that ends
before its video does.
"""

from __future__ import annotations

from typing import Literal, get_args

from ..errors import UsageError

Interval = Literal["half-open", "inclusive", "one-based"]
INTERVALS: tuple[Interval, ...] = get_args(Interval)


def half_open(start: int, end: int, interval: Interval, *, where: str) -> tuple[int, int]:
    """Return the frames `[start, end)`, counted from 0, of an annotated interval.

    Raises UsageError if the interval is empty or begins before the first frame.
    """
    first = start - (interval == "one-based")
    stop = end + (interval == "inclusive")
    if not 0 <= first < stop:
        raise UsageError(f"{where}: {start} to {end} is no interval of frames ({interval})")
    return first, stop

"""Format times as text, for files, time axes, players and editing programs."""

from __future__ import annotations


def timecode(seconds: float) -> str:
    """Return seconds as `hours:minutes:seconds.milliseconds`, such as `00:01:02.500`, for files."""
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def clock(seconds: float, step_s: float = 0.1) -> str:
    """Return seconds as `min:s`, or `h:min:s` from one hour on, for time axes and players.

    Tenths of a second are added if the marks of the axis are less than one second apart (`step_s`).
    """
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    words = f"{rest // 10:02d}" + (f".{rest % 10}" if step_s < 1 else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{words}" if hours else f"{minutes}:{words}"


def frame_timecode(frame: int, rate: int) -> str:
    """Return a frame number as `hours:minutes:seconds:frames`, without drop frames.

    rate is the number of frames per second, rounded to a whole number.
    """
    seconds, frames = divmod(frame, rate)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"

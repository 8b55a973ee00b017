"""Times as text: for files, for axes and players, and for editing programs."""

from __future__ import annotations


def timecode(seconds: float) -> str:
    """`hours:minutes:seconds.milliseconds`, as files have it: `00:01:02.500`."""
    ms = round(seconds * 1000)
    return f"{ms // 3600000:02d}:{ms // 60000 % 60:02d}:{ms // 1000 % 60:02d}.{ms % 1000:03d}"


def clock(seconds: float, step_s: float = 0.1) -> str:
    """`min:s`, as axes and players have it: with hours from the first one, and with tenths where
    neighbouring times are less than a second apart (`step_s`)."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    words = f"{rest // 10:02d}" + (f".{rest % 10}" if step_s < 1 else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{words}" if hours else f"{minutes}:{words}"


def frame_timecode(frame: int, rate: int) -> str:
    """`hours:minutes:seconds:frames` at a whole number of frames per second, none dropped."""
    seconds, frames = divmod(frame, rate)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{frames:02d}"

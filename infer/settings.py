"""How scores are read: settings of `vad score` and `vad events`."""

from __future__ import annotations

from dataclasses import dataclass

from vad.errors import UsageError

from .events import EventRule
from .propagation import Propagation


@dataclass(frozen=True, kw_only=True)
class ScoreSettings(Propagation, EventRule):
    """From snippet scores to frames, and from frames to events."""


def parse_threshold(words: str) -> float | None:
    """A threshold in [0, 1], or None for `auto`. Raises UsageError."""
    if words == "auto":
        return None
    try:
        threshold = float(words)
    except ValueError:
        threshold = -1.0
    if not 0 <= threshold <= 1:
        raise UsageError(f"--threshold {words}: give auto, or a number from 0 to 1")
    return threshold

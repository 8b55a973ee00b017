"""From scores to frames and events: settings of `vad score` and `vad events`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from vad.config import option
from vad.errors import UsageError

_event = partial(option, panel="Events")


@dataclass(frozen=True, kw_only=True)
class Propagation:
    """How the frames of a video get the scores of its snippets."""

    propagation: Literal["hold", "linear", "gaussian"] = _event(
        "hold", "frames take the score of their snippet (hold), or scores are smoothed over time"
    )
    sigma: float = _event(
        1.0, "standard deviation of gaussian propagation, in seconds", minimum=0.001
    )


@dataclass(frozen=True, kw_only=True)
class EventRule:
    """What counts as one event, besides the threshold."""

    low: float | None = _event(
        None, "an event lasts until scores fall below this; by default the threshold", minimum=0
    )
    min_event: float = _event(0.5, "leave out shorter events, in seconds", minimum=0)
    merge_gap: float = _event(
        1.0, "events with at most this gap between them are one, in seconds", minimum=0
    )
    pad_before: float = _event(0.0, "seconds added before every event", minimum=0)
    pad_after: float = _event(0.0, "seconds added after every event", minimum=0)


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

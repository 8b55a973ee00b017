"""The curve of scores as SVG."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..axis import Axis, height_of
from ..events import Event
from ..scores import VideoScores

MOST_STEPS = 6000  # of a curve; more cannot be told apart, even magnified
SHORTEST_WHILE_S = 5.0  # shown before and after an event


def svg(kind: str, shown: tuple[float, float], content: str) -> str:
    """A picture of the share of a curve from `shown[0]` to `shown[1]`, stretched by the page."""
    box = f"{1000 * shown[0]:.2f} 0 {max(0.01, 1000 * (shown[1] - shown[0])):.2f} 100"
    return (
        f'<svg class="{kind}" viewBox="{box}" preserveAspectRatio="none" aria-hidden="true">'
        f"{content}</svg>"
    )


def curve(scores: VideoScores, axis: Axis) -> str:
    """The curve as elements of SVG, 1000 wide and 100 high: its events, its fill, its line."""
    starts, heights = steps(scores)
    end_s = max(scores.record.duration_s, 1e-6)
    x = np.append(starts, end_s) / end_s * 1000
    y = 100 - 100 * np.array([height_of(height, axis) for height in heights])
    line = f"M0 {y[0]:.2f}" + "".join(
        f"H{a:.2f}V{b:.2f}" for a, b in zip(x[1:], [*y[1:], y[-1]], strict=True)
    )
    limit = 100 - 100 * height_of(scores.threshold, axis)
    shades = "".join(
        f'<rect class="event" x="{e.start_s / end_s * 1000:.2f}" y="0" '
        f'width="{max(0.5, (e.end_s - e.start_s) / end_s * 1000):.2f}" height="100"/>'
        for e in scores.events
    )
    return (
        f'{shades}<path class="area" d="{line}V100H0Z"/><path class="line" d="{line}"/>'
        f'<line class="limit" x1="0" x2="1000" y1="{limit:.2f}" y2="{limit:.2f}"/>'
    )


def steps(scores: VideoScores) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Where the score changes, in seconds, and to what; of too many, the highest of each few."""
    frames, times = scores.frames, scores.times
    changes = np.flatnonzero(np.diff(frames, prepend=-1.0))
    every = -(-len(changes) // MOST_STEPS)
    starts = changes[::every]
    return times[starts], np.maximum.reduceat(frames, starts)


def around(number: int, event: Event, duration_s: float) -> str:
    """The curve of a video, from a while before an event to a while after it."""
    while_s = max(SHORTEST_WHILE_S, event.duration_s)
    shown_s = max(0.0, event.start_s - while_s), min(duration_s, event.end_s + while_s)
    start, end = (time_s / max(duration_s, 1e-6) for time_s in shown_s)
    return svg("part", (start, end), f'<use href="#curve-{number}"/>')

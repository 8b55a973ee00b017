"""Turn snippet scores into frame scores, and frame scores into events.

    snippets   a     b     c
    hold       aaaa  bbbb  cc      every frame has its snippet's score, as in published protocols
    linear     aa.   .bb.  .cc     straight lines between the middles of snippets
    gaussian                       `hold`, then smoothed with a Gaussian kernel

An event is a time interval in which something anomalous happened, with the scores in it:

    score   ___----^^^^--____^^^___      ^ at the threshold or above, - at `low` or above
    found      |---------|   |-|         an event has a ^, and lasts while there is - or ^
    merged     |---------------|         events whose gap is at most `merge_gap` become one
    padded   |-------------------|       by `pad_before` and `pad_after`

Events shorter than `min_event` are dropped before padding. Events that meet after padding are
joined. All rules are in seconds, so that they mean the same at every frame rate.

If `low` is not given, it lies between the assumed share of anomalous footage and the threshold; see
`lower_level`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vad.errors import InternalError, UsageError
from vad.grid import ClipGrid
from vad.labels import intervals_of

from .settings import EventRule, Propagation
from .where import Box

Floats = NDArray[np.floating]
Scores = NDArray[np.float32]
Span = tuple[int, int]  # frames [start, end)

LOWER = 1 / 3  # share of the threshold's evidence with which an event goes on

# the kernel is cut at this many standard deviations, where it is below 0.04 % of its peak
REACH = 4


@dataclass(frozen=True, slots=True)
class Event:
    """An event: consecutive anomalous frames `[start_frame, end_frame)`, with times and scores."""

    start_frame: int
    end_frame: int
    start_s: float  # presentation time of its first frame
    end_s: float  # time at which its last frame ends
    peak: float  # highest score of its frames
    peak_frame: int  # first frame with that score
    peak_s: float  # presentation time of that frame
    mean: float  # mean score of its frames
    caption: str = ""  # caption at the peak; empty if there are no captions
    box: Box | None = None  # of what raises the score at the peak; None if that is not known
    # how often normal footage reaches the peak; empty if the run does not know
    reading: str = ""
    # kind of anomaly, and its share among the kinds; "" and None if the scores have no kinds
    kind: str = ""
    kind_share: float | None = None

    @property
    def duration_s(self) -> float:
        """Return the duration in seconds."""
        return self.end_s - self.start_s

    @property
    def kind_words(self) -> str:
        """Return the kind with its share, such as "fire 82 %"; "" if it is not known."""
        return f"{self.kind} {self.kind_share:.0%}".replace("%", " %") if self.kind_share else ""


def propagate(
    snippets: NDArray[np.floating], n_frames: int, how: Propagation, *, grid: ClipGrid, fps: float
) -> Scores:
    """Return frame scores [n_frames] for snippet scores [snippets] in [0, 1].

    Frame scores lie between the lowest and the highest snippet score.
    """
    held: Scores = grid.spread(snippets, n_frames).astype(np.float32)
    if how.propagation == "linear":
        edges = np.array([grid.frames_of(i, n_frames) for i in range(len(snippets))])
        middles = (edges[:, 0] + edges[:, 1] - 1) / 2
        lines: Scores = np.interp(np.arange(n_frames), middles, snippets).astype(np.float32)
        return lines
    if how.propagation == "gaussian":
        return _blurred(held, how.sigma * fps)
    return held


def _blurred(scores: Scores, sigma_frames: float) -> Scores:
    """Smooth scores [frames] with a Gaussian kernel; at both ends fewer neighbours count."""
    from scipy.signal import convolve  # uses the FFT if that is faster

    n = len(scores)
    reach = int(min(n - 1, np.ceil(REACH * sigma_frames)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    sums = convolve(scores.astype(np.float64), weights)[reach : reach + n]
    counts = convolve(np.ones(n), weights)[reach : reach + n]
    mean: Scores = np.clip(sums / counts, scores.min(), scores.max()).astype(np.float32)
    return mean


def find_events(
    scores: Floats,
    times: Floats,
    duration_s: float,
    *,
    threshold: float,
    prior: float | None = None,
    rule: EventRule | None = None,
) -> list[Event]:
    """Find the events of a video and return them in order of time.

    scores [frames] are in [0, 1]; times [frames] are presentation times in seconds. A frame lasts
    until the time of the next one, the last frame until `duration_s`. prior: the assumed share of
    anomalous footage; None if scores are no chances. Raises UsageError if `low` is above the
    threshold.
    """
    rule = rule or EventRule()
    low = low_of(rule, threshold, prior)
    if low > threshold:
        raise UsageError(
            f"--low {low:g} is above the threshold {threshold:g}", hint="give a lower one"
        )
    if len(scores) != len(times):
        raise InternalError(f"{len(scores)} scores, but {len(times)} times")
    edges = edges_us(times, duration_s) / 1e6
    found = [s for s in intervals_of(scores >= low) if (scores[s[0] : s[1]] >= threshold).any()]
    merged = _merged(found, edges, rule.merge_gap)
    long = [(a, b) for a, b in merged if _span_s((a, b), edges) >= rule.min_event]
    padded = [_padded(span, edges, rule) for span in long]
    return [_event(span, scores, edges) for span in _merged(padded, edges, 0)]


def low_of(rule: EventRule, threshold: float, prior: float | None) -> float:
    """Return the score down to which an event lasts: that of the rule, or else `lower_level`."""
    return lower_level(threshold, prior) if rule.low is None else rule.low


def lower_level(threshold: float, prior: float | None) -> float:
    """Return the score down to which an event lasts if no other is given.

    threshold is in [0, 1]; prior is the assumed share of anomalous footage. The evidence for an
    anomaly is how far the log odds of a score lie above those of the prior. The level has a third
    (`LOWER`) of the evidence of the threshold, so that another prior changes no event. It is the
    threshold itself if that is not above the prior, or if scores are no chances (prior None).
    """
    if prior is None or not prior < threshold < 1:
        return threshold
    odds: float = (prior / (1 - prior)) ** (1 - LOWER) * (threshold / (1 - threshold)) ** LOWER
    return min(threshold, odds / (1 + odds))  # rounding must not lift it above


def edges_us(times: Floats, duration_s: float) -> NDArray[np.int64]:
    """Return the times at which frames begin and the last one ends [frames + 1], in microseconds.

    times [frames] are presentation times in seconds. They are rounded to microseconds, as in
    files, so that scores read from a file give the same events.
    """
    edges_s = np.append(times, max(duration_s, times[-1]))
    return np.rint(edges_s * 1e6).astype(np.int64)


def _span_s(span: Span, edges: Floats) -> float:
    return round(float(edges[span[1]] - edges[span[0]]), 6)


def _merged(spans: Sequence[Span], edges: Floats, gap_s: float) -> list[Span]:
    """Return the spans, in order of time, joined if the gap between them is at most `gap_s`
    seconds.
    """
    merged: list[Span] = []
    for start, end in spans:
        if merged and _span_s((merged[-1][1], start), edges) <= gap_s:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _padded(span: Span, edges: Floats, rule: EventRule) -> Span:
    """Return the frames that are shown at least partly during the padded time."""
    last = len(edges) - 1
    first_s = np.round(edges[span[0]] - rule.pad_before, 6)
    last_s = np.round(edges[span[1]] + rule.pad_after, 6)
    start = int(np.searchsorted(edges, first_s, side="right")) - 1
    end = int(np.searchsorted(edges, last_s, side="left"))
    return max(0, min(start, span[0])), min(last, max(end, span[1]))


def _event(span: Span, scores: Floats, edges: Floats) -> Event:
    start, end = span
    inside = scores[start:end]
    peak = start + int(inside.argmax())
    return Event(
        start_frame=start,
        end_frame=end,
        start_s=float(edges[start]),
        end_s=float(edges[end]),
        peak=float(scores[peak]),
        peak_frame=peak,
        peak_s=float(edges[peak]),
        mean=float(np.mean(inside, dtype=np.float64)),
    )

"""What held-out footage promises: how often normal footage reaches a score, and which share of
abnormal videos does.

Scores here are those before calibration (`card.Calibration`), so that a promise does not depend on
the assumed share of anomalous footage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil, floor, log10

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.labels import Label

N_LEVELS = 200  # most levels at which alarms are counted, the denser the higher
FOR_MORE = "train with more normal footage"
GAP_S = 1.0  # alarms with at most this gap between them are one, as events are


@dataclass(frozen=True)
class NormalFootage:
    """How often normal footage that a run was not trained on reaches a level."""

    levels: tuple[float, ...]  # ascending
    alarms: tuple[int, ...]  # number of separate times that the footage reaches each level
    seconds: float  # length of the footage

    def __post_init__(self) -> None:
        if not self.levels or len(self.levels) != len(self.alarms):
            raise ValueError(f"{len(self.levels)} levels, but {len(self.alarms)} alarms")
        if any(b < a for a, b in pairwise(self.levels)):
            raise ValueError("levels must ascend")
        if min(self.alarms) < 0 or any(b > a for a, b in pairwise(self.alarms)):
            raise ValueError("alarms must be counts that do not grow with the level")
        if not 0 < self.seconds < np.inf:
            raise ValueError(f"seconds is {self.seconds}, expected more than 0")

    def through(self, scale: Callable[[NDArray[np.float64]], NDArray[np.float64]]) -> NormalFootage:
        """Return the same with levels that went through an increasing map."""
        return replace(self, levels=tuple(map(float, scale(np.array(self.levels)))))

    def once_in_s(self, level: float) -> float | None:
        """Return the mean seconds between two times that normal footage reaches a level.

        Returns None if it never did.
        """
        index = int(np.searchsorted(self.levels, level, side="right")) - 1
        if level > self.levels[-1]:
            return None
        return self.seconds / max(1, self.alarms[max(index, 0)])

    def in_words(self, level: float) -> str:
        """Say how often normal footage reaches a level."""
        once_s = self.once_in_s(level)
        if once_s is None:
            return f"normal footage never reached this in {duration(self.seconds)}"
        return f"normal footage reaches this once in {duration(once_s)}"

    def level_of(self, per_s: float, *, more: str = FOR_MORE) -> float:
        """Return the lowest level that normal footage reaches at most this many times per second.

        Raises UsageError, whose hint is `more`, if the footage is too short to tell.
        """
        allowed = round(per_s * self.seconds, 9)  # 1 / seconds must allow one
        if allowed < 1:
            rarest = 3600 / self.seconds
            unit = 10.0 ** (floor(log10(rarest)) - 1)  # two digits, rounded up
            raise UsageError(
                f"{duration(self.seconds)} of held-out normal footage tell no rate below "
                f"{ceil(round(rarest / unit, 6)) * unit:.10g}/h",
                hint=f"allow more false alarms, or {more}",
            )
        for level, n_alarms in zip(self.levels, self.alarms, strict=True):
            if n_alarms <= allowed:
                return level
        return float(np.nextafter(self.levels[-1], np.inf))


@dataclass(frozen=True)
class HeldOut:
    """The scores of training videos by members that were trained without them."""

    normal: NormalFootage
    peaks: tuple[float, ...] = ()  # the highest score of every abnormal video, ascending

    def __post_init__(self) -> None:
        if any(b < a for a, b in pairwise(self.peaks)):
            raise ValueError("peaks must ascend")

    def level_of_recall(self, recall: float) -> float:
        """Return the highest level that this share of the abnormal videos reaches.

        Raises UsageError if the videos are too few to tell: of n, at most n / (n + 1) can be
        promised.
        """
        n = len(self.peaks)
        if n == 0:
            raise UsageError(
                "no abnormal video was held out, as for a camera, so no recall can be promised",
                hint="leave --recall out, or score without --camera",
            )
        if recall > n / (n + 1):
            raise UsageError(
                f"{n} held-out abnormal videos promise no recall above {n / (n + 1):.2f}",
                hint="ask for less, or train with more abnormal videos",
            )
        return self.peaks[n - ceil(recall * n)]


def held_out(
    scores: Mapping[str, NDArray[np.float64]],
    labels: Sequence[Label],
    seconds: Mapping[str, float],
) -> HeldOut:
    """Return what the scores [snippets] of held-out videos promise; `seconds` are their lengths.

    At least one video must be normal.
    """
    normal = {x.video: scores[x.video] for x in labels if x.label == 0}
    peaks = sorted(float(scores[x.video].max()) for x in labels if x.label == 1)
    return HeldOut(normal_footage(normal, seconds), tuple(peaks))


def normal_footage(
    scores: Mapping[str, NDArray[np.float64]], seconds: Mapping[str, float]
) -> NormalFootage:
    """Count how often scores [snippets] of normal videos reach each of up to `N_LEVELS` levels."""
    ordered = np.sort(np.concatenate(list(scores.values())))[::-1]
    chosen = np.geomspace(1, len(ordered), N_LEVELS).astype(int) - 1
    levels = np.unique(ordered[chosen])
    n_alarms = np.zeros(len(levels), int)
    for video, z in scores.items():
        snippet_s = seconds[video] / len(z)
        n_alarms += [_alarms(z, level, snippet_s) for level in levels]
    # at a low level neighbouring alarms join: fewer are counted, though they last longer
    falling = np.maximum.accumulate(n_alarms[::-1])[::-1]
    total_s = sum(seconds[video] for video in scores)
    return NormalFootage(tuple(map(float, levels)), tuple(map(int, falling)), total_s)


def _alarms(z: NDArray[np.float64], level: float, snippet_s: float) -> int:
    return len(stretches_of(z >= level, snippet_s))


def stretches_of(reached: NDArray[np.bool_], snippet_s: float) -> NDArray[np.int64]:
    """Return first snippet and end of every stretch of snippets [snippets] that reach a level.

    Stretches with at most `GAP_S` seconds between them are one. Returns [stretches, 2].
    """
    found = np.flatnonzero(reached)
    if len(found) == 0:
        return np.empty((0, 2), np.int64)
    apart = (np.diff(found) - 1) * snippet_s > GAP_S
    firsts, lasts = found[np.r_[True, apart]], found[np.r_[apart, True]]
    return np.stack([firsts, lasts + 1], 1)


def duration(seconds: float) -> str:
    """Return a length of time in words: "40 seconds", "3.2 hours"."""
    for unit, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.{int(seconds < 10 * unit)}f} {name}"
    return f"{seconds:.0f} seconds"

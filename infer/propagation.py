"""Snippet scores to frame scores: the one object that does it.

snippets   a     b     c
hold       aaaa  bbbb  cc      every frame has its snippet's score: the published way
linear     aa.   .bb.  .cc     straight lines between the middles of the snippets
gaussian                       `hold`, then the mean around every frame, weighted by a bell
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vad.config import option
from vad.grid import ClipGrid

Scores = NDArray[np.float32]

REACH = 4  # standard deviations at which the bell is cut off, where it is below 0.04 %


@dataclass(frozen=True, kw_only=True)
class Propagation:
    """How the frames of a video get the scores of its snippets."""

    propagation: Literal["hold", "linear", "gaussian"] = option(
        "hold", "frames take the score of their snippet, or are smoothed"
    )
    sigma: float = option(
        1.0, "of gaussian propagation: standard deviation in seconds", minimum=0.001
    )

    def spread(
        self, snippets: NDArray[Any], n_frames: int, *, grid: ClipGrid, fps: float
    ) -> Scores:
        """Scores [snippets] -> [n_frames], never outside the range of the snippets' scores."""
        held: Scores = grid.spread(snippets, n_frames).astype(np.float32)
        if self.propagation == "linear":
            edges = np.array([grid.frames_of(i, n_frames) for i in range(len(snippets))])
            middles = (edges[:, 0] + edges[:, 1] - 1) / 2
            lines: Scores = np.interp(np.arange(n_frames), middles, snippets).astype(np.float32)
            return lines
        if self.propagation == "gaussian":
            return _blurred(held, self.sigma * fps)
        return held


def _blurred(scores: Scores, sigma_frames: float) -> Scores:
    """Mean of every score [frames] and its neighbours; at the ends, of those that there are."""
    n = len(scores)
    reach = min(n - 1, int(np.ceil(REACH * sigma_frames)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    sums = np.convolve(scores.astype(np.float64), weights)[reach : reach + n]
    counts = np.convolve(np.ones(n), weights)[reach : reach + n]
    mean: Scores = np.clip(sums / counts, scores.min(), scores.max()).astype(np.float32)
    return mean

"""Snippet scores to frame scores: the one function that does it.

snippets   a     b     c
hold       aaaa  bbbb  cc      every frame has its snippet's score: the published way
linear     aa.   .bb.  .cc     straight lines between the middles of the snippets
gaussian                       `hold`, then the mean around every frame, weighted by a bell
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.grid import ClipGrid

from .settings import Propagation

Scores = NDArray[np.float32]

REACH = 4  # standard deviations at which the bell is cut off, where it is below 0.04 %


def propagate(
    snippets: NDArray[Any], n_frames: int, how: Propagation, *, grid: ClipGrid, fps: float
) -> Scores:
    """Scores [snippets] -> [n_frames], never outside the range of the snippets' scores."""
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
    """Mean of every score [frames] and its neighbours; at the ends, of those that there are."""
    n = len(scores)
    reach = min(n - 1, int(np.ceil(REACH * sigma_frames)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    sums = np.convolve(scores.astype(np.float64), weights)[reach : reach + n]
    counts = np.convolve(np.ones(n), weights)[reach : reach + n]
    mean: Scores = np.clip(sums / counts, scores.min(), scores.max()).astype(np.float32)
    return mean

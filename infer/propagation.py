"""Snippet scores to frame scores.

snippets   a     b     c
hold       aaaa  bbbb  cc      every frame has its snippet's score, as in published protocols
linear     aa.   .bb.  .cc     straight lines between the middles of snippets
gaussian                       `hold`, then smoothed with a Gaussian kernel
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vad.grid import ClipGrid

from .settings import Propagation

Scores = NDArray[np.float32]

REACH = 4  # standard deviations at which the kernel ends; there it is below 0.04 % of its peak


def propagate(
    snippets: NDArray[np.floating], n_frames: int, how: Propagation, *, grid: ClipGrid, fps: float
) -> Scores:
    """Spread scores over frames: snippets [snippets] in [0, 1] -> [n_frames] in their range."""
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
    """The weighted mean of every score [frames] and its neighbours, of those that exist."""
    from scipy.signal import convolve  # by FFT where that is faster

    n = len(scores)
    reach = int(min(n - 1, np.ceil(REACH * sigma_frames)))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma_frames) ** 2)
    sums = convolve(scores.astype(np.float64), weights)[reach : reach + n]
    counts = convolve(np.ones(n), weights)[reach : reach + n]
    mean: Scores = np.clip(sums / counts, scores.min(), scores.max()).astype(np.float32)
    return mean

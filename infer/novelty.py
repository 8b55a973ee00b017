"""Novelty within a video: how unlike the rest of itself each moment is, without any training.

Each cell of the picture (or crop) is compared with the same cell at other times. Its distance is
the mean over the nearest tenth of these times, in features that are standardised over the video.
Times within `NEIGHBOURS` snippets do not count, as they show the same. The distance of a snippet is
the mean over its most unusual cells, and its score tells how far it exceeds that of the video's
median snippet. So scores rank the moments of one video, and say nothing about another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.store import FeatureStore

from .scores import VideoScores
from .where import Where, view_of

NAME = "novelty"  # what `--detector` calls it
MEANING = (
    "novelty within the video: how unlike the rest of itself each moment is; nothing was trained"
)
LEAST_SNIPPETS = 10  # of a video; in shorter ones too little is left to compare a moment with
NEIGHBOURS = 3  # snippets before and after that are not compared
NEAREST = 0.1  # share of the compared times whose distances count
MOST_COMPARED = 500  # times that a snippet is compared with, evenly spaced over the video
MOST_CELLS = 10  # the most unusual cells of a snippet, whose distances count
FLAGGED = 1.5  # distance of an event, in units of that of the median snippet
UNIFORM = 1.2  # if no distance reaches this, in the same units, no moment stands out
STILL = 0.02  # deviation over time, in shares of the mean size of features, of a still picture
SPREAD_FLOOR = 0.1  # of the mean deviation: nearly constant features stay small
LIMIT = 10.0  # deviations at which standardised features are cut

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Novelty:
    """The novelty of the snippets of one video."""

    scores: Floats  # [snippets] in [0, 1): 1 - median distance / distance, 0 below the median
    shares: Floats  # [snippets, cells]: the share of each cell in what raises the score
    doubt: str = ""  # why the scores say nothing; empty if they do


def novelty_of(rows: NDArray[np.generic]) -> Novelty:
    """Return the novelty of a video from its features [snippets, cells or crops, dim]."""
    n, n_cells, _ = rows.shape
    blank = np.zeros(n, np.float32), np.zeros((n, n_cells), np.float32)
    if n < LEAST_SNIPPETS:
        doubt = f"too short for novelty to say anything: {n} of {LEAST_SNIPPETS} snippets"
        return Novelty(*blank, doubt)
    spread = np.mean([rows[:, cell].astype(np.float64).std(0) for cell in range(n_cells)], 0)
    cells = _distances(rows, spread)
    distances = np.sort(cells, 1)[:, -MOST_CELLS:].mean(1)
    median = np.median(distances)
    size = np.abs(rows).mean(dtype=np.float64)
    if spread.mean() <= STILL * size or distances.max() < UNIFORM * median:
        return Novelty(*blank, "too uniform for novelty to say anything: no moment stands out")
    scores = 1 - median / np.maximum(distances, median)
    excess = np.maximum(cells - np.median(cells, 0), 0) * (scores > 0)[:, None]
    sums = excess.sum(1, keepdims=True)
    return Novelty(scores.astype(np.float32), excess / np.where(sums > 0, sums, 1))


def _distances(rows: NDArray[np.generic], spread: NDArray[np.float64]) -> Floats:
    """Return the distance of each cell from the same cell at other times, [snippets, cells].

    rows: features [snippets, cells, dim]; spread: their deviation over time, [dim].
    """
    n, n_cells, _ = rows.shape
    spread = spread + SPREAD_FLOOR * spread.mean() + 1e-9
    compared = np.unique(np.linspace(0, n - 1, min(n, MOST_COMPARED)).astype(int))
    apart = np.abs(np.arange(n)[:, None] - compared) > NEIGHBOURS
    n_nearest = np.maximum(1, np.ceil(NEAREST * apart.sum(1))).astype(int)
    found = np.empty((n, n_cells), np.float32)
    for cell in range(n_cells):
        features = rows[:, cell].astype(np.float64)
        features = ((features - features.mean(0)) / spread).clip(-LIMIT, LIMIT)
        squares = np.square(features).sum(1)
        squared = squares[:, None] + squares[compared] - 2 * features @ features[compared].T
        far = np.sort(np.where(apart, np.sqrt(squared.clip(0)), np.inf), 1)
        sums = np.cumsum(far[:, : n_nearest.max()], 1)
        found[:, cell] = sums[np.arange(n), n_nearest - 1] / n_nearest
    return found


def score_novelty(store: FeatureStore, video: str, threshold: float | None = None) -> VideoScores:
    """Return the novelty of a stored video, by its features of cells or else its visual features.

    threshold: score from which an event begins; by default that of a moment half as far again from
    the rest as the median one. Raises UsageError if the video has neither array, and VideoError if
    its data are damaged.
    """
    name = _array_of(store, video)
    record, made = store.record(video), store.info(video, name).provenance
    found = novelty_of(store.read(video, name))
    where = None
    if made.cells and name.startswith("places/") and record.width and record.height:
        shares = found.shares.reshape(-1, *made.cells.grid).round(3)
        where = Where(shares, view_of(made, record.width, record.height))
    return VideoScores(
        video=video,
        record=record,
        snippets=found.scores,
        times=store.times(video),
        threshold=1 - 1 / FLAGGED if threshold is None else threshold,
        detector=NAME,
        threshold_from=f"{FLAGGED:g} times the distance of the median moment"
        if threshold is None
        else "given",
        meaning=MEANING,
        doubt=found.doubt,
        where=where,
        provenance={"features": {name: made.document}},
    )


def _array_of(store: FeatureStore, video: str) -> str:
    for kind in ("places/", "visual/"):
        if found := sorted(name for name in store.names(video) if name.startswith(kind)):
            return found[0]
    raise UsageError(
        f"{video!r} in {store.backend} has no visual features, which novelty compares",
        hint="extract the video",
    )

"""Distances to normal footage, and how they are weighed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vad.stages.train.detectors.normality import Normality

SIDE = 7
CELLS = SIDE * SIDE


def bank_of(rows, sources, cells=None, **settings):
    cells = np.zeros(len(rows)) if cells is None else np.asarray(cells)
    return Normality.of_rows(
        torch.as_tensor(rows, dtype=torch.float32),
        cells[:, None].astype(np.float32),
        None if sources is None else np.asarray(sources),
        CELLS,
        {"neighbours": 1, "places": 1, **settings},
    )


def distance(detector, row):
    """Return the distance of one snippet all of whose cells have the same features."""
    visual = torch.as_tensor(row, dtype=torch.float32).expand(CELLS, 1, -1)
    return float(detector.distances(visual).max())


@pytest.fixture(scope="module")
def two_crowds():
    """Rows of two videos: near (0, 0) they lie close to one another, near (100, 0) far apart."""
    random = np.random.default_rng(0)
    dense, sparse = random.normal(size=(400, 2)), [100, 0] + 10 * random.normal(size=(400, 2))
    return np.concatenate([dense, sparse]), np.arange(800) % 2


def test_the_same_distance_counts_less_where_normal_footage_lies_far_apart(two_crowds):
    rows, sources = two_crowds
    near_dense, near_sparse = [0, 40], [100, 66]  # above the highest rows, about as far
    alike, weighed = bank_of(rows, None), bank_of(rows, sources)
    assert distance(alike, near_dense) == pytest.approx(distance(alike, near_sparse), rel=0.15)
    assert distance(weighed, near_dense) > 1.1 * distance(weighed, near_sparse)
    assert float(weighed.weights.median()) == pytest.approx(1, abs=0.01)


def test_rows_of_the_same_video_do_not_make_footage_dense():
    rows = [[0, 0], [0, 0], [9, 0], [0, 1], [1, 0], [1, 1]]
    detector = bank_of(rows, [0, 0, 0, 1, 1, 1])
    own = [1, 1, 8, 1, 1, 2**0.5]  # the second row is no neighbour of the first
    assert detector.weights[:, 0].argsort().tolist()[:2] == np.argsort(own)[::-1][:2].tolist()
    assert detector.weights[0] == detector.weights[3]


def test_rows_beyond_reach_do_not_count():
    rows, sources = [[0, 0], [0, 0], [3, 0], [0, 0]], [0, 1, 1, 2]
    cells = [0, SIDE + 1, 1, 3]  # the last lies three columns from the first
    weights = bank_of(rows, sources, cells, reach=1).weights[:, 0]
    assert weights[0] == weights[1] > weights[2]
    assert weights[3] == 1  # nothing is near: the usual weight


def test_a_bank_of_one_video_weighs_all_distances_alike():
    detector = bank_of([[0, 0], [0, 1], [5, 5]], [0, 0, 0])
    assert detector.weights is None
    assert distance(detector, [0, 3]) == pytest.approx(2)


def test_equal_rows_give_finite_distances():
    assert np.isfinite(distance(bank_of(np.zeros((8, 2)), np.arange(8) % 2), [1, 0]))

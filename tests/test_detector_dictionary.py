"""The dictionary of normal videos that S3R starts from."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.stages.train.detectors.s3r import make_dictionary


def videos(n: int, dim: int = 64) -> list[NDArray[np.floating]]:
    rng = np.random.default_rng(0)
    return [rng.random((4 + index, 5, dim), np.float32) for index in range(n)]


@pytest.mark.parametrize(
    ("n_videos", "percent", "atoms"), [(8, 50, 4), (8, 90, 7), (1, 50, 1), (3, 100, 3)]
)
def test_atoms_are_a_percentage_of_the_videos(n_videos: int, percent: float, atoms: int) -> None:
    dictionary = make_dictionary(videos(n_videos), percent=percent)
    assert dictionary.shape == (atoms, 64)
    assert dictionary.dtype == np.float32


def test_a_channel_is_made_of_at_most_two_atoms_and_of_one_at_least() -> None:
    used = (make_dictionary(videos(12)) != 0).sum(0)
    assert used.max() <= 2
    assert used.min() >= 1


def test_the_same_videos_and_seed_make_the_same_dictionary() -> None:
    np.testing.assert_array_equal(make_dictionary(videos(6)), make_dictionary(videos(6)))


def test_mistakes_are_named() -> None:
    with pytest.raises(UsageError, match="no normal video"):
        make_dictionary([])
    with pytest.raises(UsageError, match="between 0 and 100 percent"):
        make_dictionary(videos(2), percent=0)

"""S3R's dictionary of normal videos, learnt before the detector is trained.

Every normal training video is one vector, the mean over its crops and snippets. The released way
(github.com/louisYen/S3R, 6835335) learns a sparse code of the transposed matrix, where a sample is
one feature channel seen in all videos, and keeps the codes: each channel is made of at most two
atoms. UCF-Crime has 800 videos and 400 atoms, ShanghaiTech 175 and 158.

The published dictionary files are not derived again by this to the last digit: scikit-learn counts
its iterations otherwise since 1.3.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError

ITERATIONS = 100  # mini-batches that the released code learns from
BATCH_CHANNELS = 32
NONZERO = 2  # atoms a channel is made of


def make_dictionary(
    videos: Iterable[NDArray[np.floating]], *, percent: float = 50.0, seed: int = 42
) -> NDArray[np.float32]:
    """Learn a dictionary from the features of normal videos.

    videos of [snippets, crops, dim] -> [atoms, dim] with atoms = `percent` of the number of videos,
    at least one. Raises UsageError without videos, and for a percentage that is not in (0, 100].
    """
    from sklearn.decomposition import MiniBatchDictionaryLearning

    if not 0 < percent <= 100:
        raise UsageError(f"a dictionary has between 0 and 100 percent atoms, got {percent}")
    means = [video.mean((0, 1), dtype=np.float64) for video in videos]
    if not means:
        raise UsageError("no normal video to make the dictionary of")
    channels = np.stack(means, 1)  # [dim, videos]
    atoms = max(1, round(len(means) * percent / 100))
    learner = MiniBatchDictionaryLearning(
        n_components=atoms,
        max_iter=math.ceil(ITERATIONS * BATCH_CHANNELS / len(channels)),
        batch_size=BATCH_CHANNELS,
        transform_algorithm="omp",
        transform_n_nonzero_coefs=min(NONZERO, atoms),
        random_state=seed,
    )
    with warnings.catch_warnings():  # two atoms that coincide end the pursuit early, rightly
        warnings.filterwarnings("ignore", message=".*Orthogonal matching pursuit ended prematurely")
        codes = learner.fit(channels).transform(channels)
    dictionary: NDArray[np.float32] = codes.T.astype(np.float32)
    return dictionary

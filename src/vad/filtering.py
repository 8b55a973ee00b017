"""Minimal filtering F(4, 3): four outputs of a filter of three taps by six products, not twelve.

    outputs [4] = OUTPUTS @ ((TAPS @ taps [3]) * (INPUTS @ inputs [6]))

where output i is the sum over k of taps[k] inputs[i + k]. In a convolution over time the products
are matrix products, so half of its arithmetic goes; the rest are sums. In float32 results differ by
some 1e-6 of the largest. (Winograd 1980; Lavin and Gray, CVPR 2016, section 4.3.)
"""

from __future__ import annotations

import numpy as np

N_OUTPUTS, N_INPUTS = 4, 6

INPUTS = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float64,
)
TAPS = (
    np.array(
        [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]],
        np.float64,
    )
    / 24
)
OUTPUTS = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    np.float64,
)

"""Minimal filtering: n outputs of a filter with three taps from n + 2 products instead of 3 n.

    outputs [n] = back @ ((taps @ t [3]) * (inputs @ x [n + 2]))

Output i is the sum over k of t[k] x[i + k]. In a convolution over time each product is a matrix
product, so that half of the arithmetic is saved at the cost of some additions. (Winograd 1980;
Lavin and Gray, CVPR 2016, section 4.3.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.polynomial import polynomial
from numpy.typing import NDArray

N_TAPS = 3


class Filtering(NamedTuple):
    """The three matrices of a minimal filtering, float64."""

    inputs: NDArray[np.float64]  # [products, inputs], square
    taps: NDArray[np.float64]  # [products, 3]
    back: NDArray[np.float64]  # [outputs, products]

    @property
    def n_inputs(self) -> int:
        return len(self.inputs)

    @property
    def n_outputs(self) -> int:
        return len(self.back)


def filtering(*points: float) -> Filtering:
    """Return the filtering with `len(points) - 1` outputs.

    Each product is the value of two polynomials at one point; the last point is infinity. `inputs`
    holds the polynomials that are 0 at all points but one. Rounding errors are small if the points
    are near 1 in size and come in pairs of opposite sign or reciprocals.
    """
    n_products = len(points) + 1
    others = [np.delete(points, i) for i in range(len(points))]
    inputs = np.zeros((n_products, n_products))
    inputs[:-1, :-1] = [polynomial.polyfromroots(roots) for roots in others]
    inputs[-1] = polynomial.polyfromroots(points)
    heights = [np.prod(point - roots) for point, roots in zip(points, others, strict=True)]
    taps = np.vander([*points, 0], N_TAPS, increasing=True) / np.array([*heights, 1])[:, None]
    back = np.vander([*points, 0], n_products - N_TAPS + 1, increasing=True).T
    taps[-1] = back[:, -1] = 0
    taps[-1, -1] = back[-1, -1] = 1
    return Filtering(inputs, taps, back)


OF_4 = filtering(0, 1, -1, 2, -2)  # 6 products, not 12; error 1e-6 of the largest output

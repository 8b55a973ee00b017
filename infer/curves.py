"""Geometry of score curves: the steps of the curve, and the marks of the time axis.

Pictures (`evaluation.plots`) and pages (`report`, `evaluation.page`) use these functions. The score
axis of all curves goes from 0 to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

TICK_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


def steps(scores: Floats, most: int) -> tuple[NDArray[np.intp], Floats]:
    """Reduce scores [frames] to the steps of a curve: first frames and scores, [steps] each.

    A new step begins at every frame where the score changes. If there are more than `most` steps,
    neighbouring ones are joined; a joined step has the highest of their scores, so that no peak is
    lost.
    """
    changes = np.flatnonzero(np.diff(scores, prepend=-1.0))
    starts = changes[:: max(1, -(-len(changes) // most))]
    return starts, np.maximum.reduceat(scores, starts)


def step_path(x: Floats, y: Floats) -> str:
    """Return the SVG path of a step curve, in the units of the picture.

    x [steps + 1] are the positions where the steps begin, and where the last one ends; y [steps]
    are their heights.
    """
    first = f"M{x[0]:.2f} {y[0]:.2f}H{x[1]:.2f}"
    rest = (f"V{level:.2f}H{end:.2f}" for level, end in zip(y[1:], x[2:], strict=True))
    return first + "".join(rest)


def tick_step(length_s: float, most: int) -> float:
    """Return the smallest round distance of time marks that gives at most `most` marks, in seconds.

    If no distance in `TICK_STEPS_S` is large enough, the largest one is returned.
    """
    return next((s for s in TICK_STEPS_S if length_s / s <= most), TICK_STEPS_S[-1])

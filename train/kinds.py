"""What kind of anomaly a moment is: shares of a run's classes, the normal one first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

OTHER = "other"  # the kind of an event that no class fits well enough


@dataclass(frozen=True, eq=False)
class Kinds:
    """Shares of the classes of a run for every snippet of a video."""

    names: tuple[str, ...]  # the normal class first
    shares: NDArray[np.float32]  # [snippets, names], 0 to 1; those of a snippet sum to 1
    least: float = 0.0  # an event whose best kind has a smaller share is of the kind "other"

    def of(self, first: int, stop: int) -> tuple[str, float]:
        """Return the kind of the snippets [first, stop), and its share among the kinds of anomaly.

        Snippets count by how anomalous they are. The kind is "other" if none has a share of at
        least `least`.
        """
        sums = self.shares[first:stop, 1:].sum(0, dtype=np.float64)
        best = int(sums.argmax())
        share = float(sums[best] / max(sums.sum(), 1e-12))
        return (self.names[1 + best] if share >= self.least else OTHER), share


def mean_of(each: Sequence[Kinds], weights: Sequence[float]) -> Kinds | None:
    """Return the weighted mean of several members' kinds; None without any, or if they have
    other classes.
    """
    if not each or any(kinds.names != each[0].names for kinds in each):
        return None
    mean = np.average([kinds.shares for kinds in each], axis=0, weights=weights)
    return Kinds(each[0].names, mean.astype(np.float32))

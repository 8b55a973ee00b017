"""What kind of anomaly a moment is: shares of a run's classes, the normal one first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LEAST_NORMAL = 0.02  # share of the normal class below which a snippet counts no more

NORMAL = "normal"  # name of the class of normal videos
OTHER = "other"  # the kind of an event that no class fits well enough


@dataclass(frozen=True, eq=False)
class Kinds:
    """Shares of the classes of a run for every snippet of a video."""

    names: tuple[str, ...]  # the normal class first
    shares: NDArray[np.float32]  # [snippets, names], 0 to 1; those of a snippet sum to 1
    least: float = 0.0  # an event whose best kind has a smaller share is of the kind "other"

    def of(self, first: int, stop: int) -> tuple[str, float]:
        """Return the kind of the snippets [first, stop), and its share among the kinds of anomaly.

        Snippets count by the odds that they are anomalous, so that the clear ones decide. The kind
        is "other" if none has a share of at least `least`.
        """
        return name_of(odds_of(self.shares[first:stop]).sum(0), self.names, self.least)

    def at(self, snippet: int) -> Kinds:
        """Return the kinds of one snippet alone; its shares are [1, names]."""
        return replace(self, shares=self.shares[[snippet]])


@dataclass
class KindOfEvent:
    """The kind of an event under way. It keeps sums, so that long events take no more memory."""

    kinds: Kinds | None = None  # of the newest snippet that told them
    sums: NDArray[np.float64] | None = None  # `odds_of` the snippets so far, summed

    def add(self, kinds: Kinds | None) -> None:
        """Count the next snippet of the event, whose shares are [1, names]; None: not known."""
        if kinds is not None:
            before = 0.0 if self.sums is None else self.sums
            self.kinds, self.sums = kinds, before + odds_of(kinds.shares)[0]

    @property
    def told(self) -> tuple[str, float | None]:
        """Return the kind and its share, as `Kinds.of` does; "" and None if they are not known."""
        if self.kinds is None or self.sums is None:
            return "", None
        kind, share = name_of(self.sums, self.kinds.names, self.kinds.least)
        return kind, round(share, 4)


def odds_of(shares: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the odds of each kind of anomaly against the normal class, [snippets, names - 1].

    shares: [snippets, names], the normal class first.
    """
    each = shares.astype(np.float64)
    return np.asarray(each[:, 1:] / np.maximum(each[:, :1], LEAST_NORMAL))


def name_of(sums: NDArray[np.float64], names: Sequence[str], least: float) -> tuple[str, float]:
    """Return the kind of summed odds [names - 1], and its share among the kinds of anomaly."""
    best = int(sums.argmax())
    share = float(sums[best] / max(sums.sum(), 1e-12))
    return (names[1 + best] if share >= least else OTHER), share


def mean_of(each: Sequence[Kinds], weights: Sequence[float]) -> Kinds | None:
    """Return the weighted mean of several members' kinds; None without any, or if they have
    other classes.
    """
    if not each or any(kinds.names != each[0].names for kinds in each):
        return None
    mean = np.average([kinds.shares for kinds in each], axis=0, weights=weights)
    return Kinds(each[0].names, mean.astype(np.float32))

"""Cross-fitting: folds of the training videos, by whole sources."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from vad.labels import Label

N_FOLDS = 5


def make_folds(labels: Sequence[Label], seed: int) -> list[list[Label]]:
    """Deal the training videos into at most five folds, with about as many of every class in each.

    Videos of one source are in one fold, since videos of one scene resemble each other. If a class
    has fewer sources than folds, there are fewer folds. Returns [] if a class has only one source,
    for which nothing can be held out.
    """
    sources: dict[str, list[Label]] = {}
    for label in labels:
        sources.setdefault(label.source or label.video, []).append(label)
    groups = list(sources.values())
    classes = {label.label for label in labels}
    n_folds = min(N_FOLDS, *(sum(any(x.label == c for x in g) for g in groups) for c in classes))
    if n_folds < 2:
        return []
    order = np.random.default_rng(seed).permutation(len(groups))
    shuffled = sorted((groups[i] for i in order), key=len, reverse=True)
    folds: list[list[Label]] = [[] for _ in range(n_folds)]
    for group in shuffled:  # into the fold that has fewest videos of the group's classes
        counts = Counter(x.label for x in group)

        def fullness(fold: list[Label], counts: Counter[int] = counts) -> int:
            there = Counter(x.label for x in fold)
            return sum((there[c] + n) ** 2 - there[c] ** 2 for c, n in counts.items())

        min(folds, key=fullness).extend(group)
    return folds

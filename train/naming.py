"""Names for what a run finds: a small classifier of the categories of abnormal training videos.

Detectors without classes tell when something happens; this tells what. A moment is described by
the cells of the picture that differ most from the video's own ordinary state (the median over the
half of its snippets with the lowest scores): by their features and by the difference. The
speeds in several directions are sorted first, since the kind of an event does not depend on the
direction in which people go. A linear
classifier is trained on the highest-scored snippets of abnormal videos, whose scores come from
members that have not seen the video. Held-out predictions choose the share below which a kind is
called "other".
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from scipy.special import softmax

from vad.checkpoints import read_safetensors
from vad.errors import UsageError
from vad.files import committed
from vad.labels import Label
from vad.store import FeatureStore

from .kinds import NORMAL, Kinds, name_of, odds_of

log = logging.getLogger("vad")

FILE = "kinds.safetensors"
LEAST_VIDEOS = 3  # of a category; rarer ones are not told
SHARE = 0.3  # of a video's snippets, the highest-scored, that stand for its category
ORDINARY_SHARE = 0.5  # of a video's snippets, the lowest-scored, that are its ordinary state
CELLS = 2  # the most unusual cells of a snippet, which describe it
CLIP = 8.0  # deviations at which features are cut
STRENGTH = 0.03  # inverse weight of the squared coefficients; few videos allow little

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Naming:
    """The classifier of a run. Shares below `least` are called "other"."""

    array: str  # the stored array that describes a moment
    names: tuple[str, ...]  # categories
    mean: Floats  # [dim]
    spread: Floats  # [dim]
    weights: Floats  # [categories, 2 dim + 1], the last column added
    directions: tuple[tuple[int, ...], ...] = ()  # groups of columns, one a direction of motion
    least: float = 0.0
    n_right: int = 0  # held-out abnormal videos that were rightly named
    n_named: int = 0  # held-out abnormal videos that were named at all, not "other"
    n_videos: int = 0

    def of(self, rows: NDArray[np.generic], scores: NDArray[np.floating]) -> Kinds:
        """Return the kinds of the snippets of a video.

        rows: its array [snippets, cells or crops, dim]; scores [snippets] in [0, 1]. The share of
        the normal class is 1 - score. Raises UsageError if the array has another width.
        """
        if rows.shape[-1] != len(self.mean):
            raise UsageError(
                f"{self.array} has another width than in the training videos",
                hint="extract the videos as the training videos were",
            )
        rows = undirected(rows, self.directions)
        described = describe(rows, scores, self.mean, self.spread)
        shares = self.shares(described)
        each = np.concatenate([1 - scores[:, None], scores[:, None] * shares], 1)
        return Kinds((NORMAL, *self.names), each.astype(np.float32), self.least)

    def shares(self, described: Floats) -> Floats:
        """Return the shares of the categories [snippets, categories], which sum to 1."""
        logits = described @ self.weights[:, :-1].T + self.weights[:, -1]
        return np.asarray(softmax(logits, axis=1))

    def save(self, folder: Path) -> None:
        """Write the file of a run folder."""
        arrays = {n: np.ascontiguousarray(getattr(self, n)) for n in ("mean", "spread", "weights")}
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        counts = (self.least, self.n_right, self.n_named, self.n_videos)
        tensors["counts"] = torch.tensor(counts, dtype=torch.float64)
        tensors["directions"] = torch.tensor(self.directions, dtype=torch.int64)
        named = "\0".join((self.array, *self.names)).encode()
        tensors["named"] = torch.tensor(list(named), dtype=torch.uint8)
        with committed(folder / FILE) as part:
            part.write_bytes(save(tensors))

    @classmethod
    def load(cls, folder: Path) -> Naming:
        """Read the file of a run folder. Raises UsageError if it is damaged."""
        tensors = read_safetensors(folder / FILE)
        try:
            array, *names = bytes(tensors["named"].tolist()).decode().split("\0")
            mean, spread, weights = (
                tensors[n].double().numpy() for n in ("mean", "spread", "weights")
            )
            least, right, named, videos = tensors["counts"].tolist()
            directions = tuple((int(a), int(b)) for a, b in tensors["directions"].tolist())
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"{folder / FILE} is damaged: {error}") from None
        fits = weights.shape == (len(names), 2 * len(mean) + 1) and mean.shape == spread.shape
        finite = np.isfinite(weights).all() and np.isfinite(mean).all() and (spread > 0).all()
        inside = all(0 <= first < stop <= len(mean) for first, stop in directions)
        if not (fits and finite and inside and len(names) > 1):
            raise UsageError(f"{folder / FILE} is damaged", hint="train the run again")
        counts = (int(right), int(named), int(videos))
        return cls(array, tuple(names), mean, spread, weights, directions, least, *counts)


def undirected(
    rows: NDArray[np.generic], directions: Sequence[Sequence[int]]
) -> NDArray[np.generic]:
    """Return rows [..., dim] in which the values of each group of columns descend.

    directions: the groups, [first, last + 1]; each has one column for every direction of motion.
    """
    rows = rows.copy()
    for first, stop in directions:
        rows[..., first:stop] = np.sort(rows[..., first:stop], axis=-1)[..., ::-1]
    return rows


def describe(
    rows: NDArray[np.generic], scores: NDArray[np.floating], mean: Floats, spread: Floats
) -> Floats:
    """Return what describes each snippet, [snippets, 2 dim].

    rows: [snippets, cells, dim]; scores [snippets] tell which snippets are ordinary; mean and
    spread [dim] standardise features.
    """
    values = np.clip((rows.astype(np.float64) - mean) / spread, -CLIP, CLIP)
    n_ordinary = max(1, int(ORDINARY_SHARE * len(values)))
    usual = np.median(values[np.argsort(scores, kind="stable")[:n_ordinary]], axis=0)
    apart = values - usual
    distances = np.abs(apart).mean(-1)  # [snippets, cells]
    cells = np.argsort(-distances, axis=1)[:, : min(CELLS, distances.shape[1])]
    at = np.arange(len(values))[:, None]
    return np.concatenate([values[at, cells].mean(1), apart[at, cells].mean(1)], 1)


def highest(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the indices [n] of the snippets with the highest scores [snippets], which stand for a
    category.
    """
    n = max(1, int(np.ceil(SHARE * len(scores))))
    return np.argsort(-scores, kind="stable")[:n]


def learn_names(
    store: FeatureStore,
    array: str,
    labels: Sequence[Label],
    scores: Mapping[str, NDArray[np.float64]],
    folds: Sequence[Sequence[Label]],
) -> Naming | None:
    """Learn to name kinds from the categories of abnormal videos, cross-fitted over folds.

    scores: chances of held-out videos, [snippets] in [0, 1], by video. Returns None if fewer than
    two categories have `LEAST_VIDEOS` videos.
    """
    abnormal = [x for x in labels if x.label and x.category and x.video in scores]
    every = [name for x in abnormal for name in x.category.split("+") if name]
    names = tuple(sorted(n for n in set(every) if every.count(n) >= LEAST_VIDEOS))
    if rare := sorted(set(every).difference(names)):
        log.info("kinds with fewer than %d videos are not told: %s", LEAST_VIDEOS, ", ".join(rare))
    if len(names) < 2:
        if any(label.label for label in labels):
            log.info("events are told no kind: no two categories have %d videos", LEAST_VIDEOS)
        return None
    directions = _directions_of(store, array)
    rows = {
        x.video: undirected(store.read(x.video, array), directions)
        for x in labels
        if x.video in scores
    }
    sample = np.concatenate([r.reshape(-1, r.shape[-1])[::7] for r in rows.values()])
    mean, spread = sample.mean(0, dtype=np.float64), sample.std(0, dtype=np.float64)
    spread = spread + 0.1 * spread.mean() + 1e-9
    found = {
        x.video: describe(rows[x.video], scores[x.video], mean, spread)[highest(scores[x.video])]
        for x in abnormal
    }
    blank = np.zeros((len(names), 2 * len(mean) + 1))
    naming = Naming(array, names, mean, spread, blank, directions)
    said: list[tuple[float, bool]] = []  # share and whether it is right, of held-out videos
    for fold in folds:
        held = {label.video for label in fold}
        seen = [x for x in abnormal if x.video not in held]
        weights = _fitted(naming, seen, found)
        for label in abnormal:
            if weights is not None and label.video in held:
                own = scores[label.video]
                kinds = replace(naming, weights=weights).of(rows[label.video], own)
                odds = odds_of(kinds.shares[highest(own)])
                kind, share = name_of(odds.sum(0), kinds.names, least=0.0)
                said.append((share, kind in label.category.split("+")))
    weights = _fitted(naming, abnormal, found)
    if weights is None:
        return None
    least = _least(said)
    named = [right for share, right in said if share >= least]
    return replace(
        naming,
        weights=weights,
        least=least,
        n_right=sum(named),
        n_named=len(named),
        n_videos=len(said),
    )


def _directions_of(store: FeatureStore, array: str) -> tuple[tuple[int, ...], ...]:
    """Return the groups of columns of an array that have a value for each direction of motion."""
    made = store.provenance(array)
    return made.cells.directions if array.startswith("places/") and made and made.cells else ()


def _fitted(naming: Naming, labels: Sequence[Label], found: Mapping[str, Floats]) -> Floats | None:
    """Return the weights of a classifier trained on videos, [categories, 2 dim + 1]; None if these
    lack a category.
    """
    from sklearn.linear_model import LogisticRegression

    rows: list[Floats] = []
    kinds: list[int] = []
    shares: list[float] = []
    for label in labels:
        for kind in set(label.category.split("+")) & set(naming.names):
            rows.append(found[label.video])
            kinds += [naming.names.index(kind)] * len(rows[-1])
            shares += [1 / len(rows[-1])] * len(rows[-1])
    if set(kinds) != set(range(len(naming.names))):
        return None
    model = LogisticRegression(C=STRENGTH, max_iter=500, class_weight="balanced")
    model.fit(np.concatenate(rows), kinds, sample_weight=shares)
    weights = np.concatenate([model.coef_, model.intercept_[:, None]], 1)
    return weights if len(weights) > 1 else np.concatenate([-weights / 2, weights / 2])


def _least(said: Sequence[tuple[float, bool]]) -> float:
    """Return the share from which on a kind is named, given the shares of held-out videos and
    whether these are rightly named.

    From the best share on, right names outnumber wrong ones by the most. With few videos that is
    partly chance, so the lowest share is taken that is at most one standard error worse: the root
    of the number of further videos that it names.
    """

    def gain(least: float) -> int:
        return sum(1 if right else -1 for share, right in said if share >= least)

    def n_named(least: float) -> int:
        return sum(share >= least for share, _ in said)

    levels = sorted({0.0, *(share for share, _ in said)})
    best = max(levels, key=lambda least: (gain(least), -least))
    return next(
        least
        for least in levels
        if gain(best) - gain(least) <= math.sqrt(n_named(least) - n_named(best))
    )

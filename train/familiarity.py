"""How unlike the training videos a video is, before any score of it is believed.

A video is described by the means over time of its features. Only features count that differ more
from one training video to another than over the time of one: these show the camera and the scene,
the others what happens there. The distance from the training videos is the mean, over these
features, of the difference from their mean in units of their deviation. It is ranked among the
distances of training videos from the others, each computed without the fold of the video itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from vad.checkpoints import read_safetensors
from vad.errors import UsageError
from vad.files import committed
from vad.labels import Label
from vad.store import FeatureStore

from .card import Card

FILE = "familiarity.safetensors"
LEAST_VIDEOS = 10  # training videos; fewer rank nothing
SPREAD_FLOOR = 0.1  # of the mean deviation: nearly constant features do not decide alone

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Familiarity:
    """What a run knows of the features of its training videos."""

    array: str  # the stored array that describes a video
    mean: Floats  # [dim]
    spread: Floats  # [dim]; infinite for features that do not count
    held_out: Floats  # distances of training videos from those of other folds, ascending

    def of(self, rows: NDArray[np.generic]) -> float:
        """Return the share of the training videos that lie at least as far from the others as a
        video does: 0 if it is farther than all of them.

        rows: its array, [snippets, places, dim]. Raises UsageError if it has another width.
        """
        described, _ = describe(rows)
        if described.shape != self.mean.shape:
            raise UsageError(
                f"{self.array} has another width than in the training videos",
                hint="extract the videos as the training videos were",
            )
        distance = _distance(described, self.mean, self.spread)
        return float((self.held_out >= distance).mean())

    def save(self, folder: Path) -> None:
        """Write the file of a run folder."""
        tensors = {
            name: torch.from_numpy(np.asarray(getattr(self, name), np.float64))
            for name in ("mean", "spread", "held_out")
        }
        with committed(folder / FILE) as part:
            part.write_bytes(save(tensors, {"array": self.array}))

    @classmethod
    def load(cls, folder: Path, array: str) -> Familiarity:
        """Read the file of a run folder. Raises UsageError if it is missing or damaged."""
        tensors = read_safetensors(folder / FILE)
        values = [tensors.get(name) for name in ("mean", "spread", "held_out")]
        mean, spread, held_out = (
            np.zeros(0) if v is None or v.dim() != 1 else v.double().numpy() for v in values
        )
        finite = np.isfinite(np.concatenate([mean, held_out])).all() and (spread > 0).all()
        if not (finite and len(mean) == len(spread) > 0 < len(held_out)):
            raise UsageError(f"{folder / FILE} is damaged", hint="train the run again")
        return cls(array, mean, spread, held_out)


def describe(rows: NDArray[np.generic]) -> tuple[Floats, Floats]:
    """Return mean and variance over time of what tells a video: its array [snippets, places, dim]
    -> [dim or 2 dim] each.

    These are means over places (cells or crops) and, if there are several, deviations over places.
    """
    values = rows.astype(np.float64).reshape(len(rows), -1, rows.shape[-1])
    found = values.mean(1)
    if values.shape[1] > 1:
        found = np.concatenate([found, values.std(1)], 1)
    return found.mean(0), found.var(0)


def array_for(card: Card, stored: Iterable[str]) -> str | None:
    """Return the array by which videos are compared: places beside visual features, or these."""
    visual = [stream.name for stream in (*card.of_kind("places"), *card.of_kind("visual"))]
    places = [f"places/{name.partition('/')[2]}" for name in visual]
    return next((name for name in (*places, *visual) if name in set(stored)), None)


def learn(
    store: FeatureStore, array: str, labels: Sequence[Label], folds: Sequence[Sequence[Label]]
) -> Familiarity | None:
    """Learn what the training videos look like; None if they are too few to rank others."""
    found = {label.video: describe(store.read(label.video, array)) for label in labels}
    return learn_from(array, found, [[label.video for label in fold] for fold in folds])


def learn_from(
    array: str, found: Mapping[str, tuple[Floats, Floats]], folds: Sequence[Sequence[str]]
) -> Familiarity | None:
    """Learn from descriptions of videos, as `describe` returns them, by name; folds: of names.

    Returns None if they are too few to rank others.
    """
    if len(found) < LEAST_VIDEOS or not folds:
        return None
    held_out = []
    for held in folds:
        mean, spread = _moments({v: row for v, row in found.items() if v not in held})
        held_out += [_distance(found[video][0], mean, spread) for video in held]
    return Familiarity(array, *_moments(found), np.sort(held_out))


def _moments(found: Mapping[str, tuple[Floats, Floats]]) -> tuple[Floats, Floats]:
    """Return the mean of several descriptions, and their deviation or infinity, both [dim]."""
    means, variances = (np.stack(part) for part in zip(*found.values(), strict=True))
    spread = means.std(0)
    counts = spread**2 > variances.mean(0)
    usual = spread + SPREAD_FLOOR * spread.mean() + 1e-9
    return means.mean(0), np.where(counts, usual, np.inf) if counts.any() else usual


def _distance(described: Floats, mean: Floats, spread: Floats) -> float:
    return float((np.abs(described - mean) / spread)[np.isfinite(spread)].mean())

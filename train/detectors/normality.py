"""How unlike normal footage a snippet is: a detector that needs no abnormal video.

The bank holds features of normal training videos. A snippet's distance is that of its most unusual
places (crops) to the nearest rows of the bank. For cells of the picture (`places/...`) `reach`
restricts the comparison to the same cell and its neighbours, which suits a camera that stands
still. (Nearest-neighbour anomaly detection with a memory of normal patches: PatchCore, Roth et al.,
CVPR 2022.)
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vad.errors import UsageError

from ..selection import vector_norm
from .interface import Batch, Detector, Form, Output
from .settings import NormalitySettings

QUERIES = 4096  # rows compared at once, to bound the memory


class Normality(Detector):
    """Distances to a bank of normal features. It has no weights to train."""

    settings: NormalitySettings
    published_batch = None
    joins_crops = False
    looks_around = False
    bank: Tensor | None
    cells: Tensor | None

    def __init__(
        self,
        visual_dim: int,
        text_dim: int | None,
        settings: NormalitySettings,
        bank: ArrayLike | None = None,
        cells: ArrayLike | None = None,
    ) -> None:
        """bank: features [rows, dim], scaled as the input will be; cells: the cell of each row,
        [rows, 1].
        """
        super().__init__(visual_dim, text_dim, settings)
        self.hold("bank", bank, visual_dim)
        self.hold("cells", cells, 1)
        self._rows_near: list[Tensor] | None = None
        self.ignored: Tensor | None = None  # bool [crops], places that never are unusual

    def run(self, batch: Batch) -> Output:
        """Score every snippet by d / (1 + d), where d is its distance; so `logit` gives log d."""
        places = torch.stack([self.distances(video) for video in batch.visual])
        return self._output(places, batch)

    def terms(self, output: Output, labels: Tensor, form: Form) -> dict[str, Tensor]:
        """Raise UsageError: there is nothing to train."""
        raise UsageError("normality has no loss", hint="vad train --member normality:places")

    def _output(self, places: Tensor, batch: Batch) -> Output:
        n_most = min(self.settings.places, places.shape[1])
        distances = places.topk(n_most, dim=1).values.mean(1)
        scores = distances / (1 + distances)
        return Output(batch.blank(scores), batch.blank(distances), batch.lengths)

    def distances(self, video: Tensor) -> Tensor:
        """Return the distance of each place, 0 of ignored ones: [crops, snippets, dim] ->
        [crops, snippets].
        """
        found = self._distances(video)
        return found if self.ignored is None else found.masked_fill(self.ignored[:, None], 0.0)

    def _distances(self, video: Tensor) -> Tensor:
        if self.bank is None or self.cells is None:
            raise UsageError("normality needs its bank of normal features")
        if self.settings.reach is None:
            return self._nearest(video.flatten(0, 1), self.bank).view(video.shape[:2])
        return torch.stack(
            [
                self._nearest(features, self.bank[near])
                for features, near in zip(video, self._near(len(video)), strict=True)
            ]
        )

    def _near(self, n_cells: int) -> list[Tensor]:
        """Return for every cell the rows of the bank that lie within reach: [cells] of [rows]."""
        assert self.cells is not None
        assert self.settings.reach is not None
        if self._rows_near is None:
            side = math.isqrt(n_cells)
            rows, columns = self.cells[:, 0] // side, self.cells[:, 0] % side
            apart = (
                torch.maximum((rows - cell // side).abs(), (columns - cell % side).abs())
                for cell in range(n_cells)
            )
            self._rows_near = [(a <= self.settings.reach).nonzero()[:, 0] for a in apart]
        return self._rows_near

    def _nearest(self, rows: Tensor, bank: Tensor) -> Tensor:
        """Return the mean distance of rows [rows, dim] to their nearest neighbours: [rows]."""
        at_once = (rows,) if torch.compiler.is_exporting() else rows.split(QUERIES)
        return torch.cat([self._nearest_of(part, bank) for part in at_once])

    def _nearest_of(self, rows: Tensor, bank: Tensor) -> Tensor:
        # squared distances, but for a summand that all rows of the bank share
        order = bank.square().sum(1) - 2 * rows @ bank.T
        k = min(self.settings.neighbours, len(bank))
        nearest = bank[order.topk(k, dim=1, largest=False).indices]
        return vector_norm(nearest - rows[:, None]).mean(1)


def sample_rows(
    features: NDArray[np.generic], n_rows: int, seed: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw rows of features [snippets, crops, dim] of one video, and return them with their crop.

    Returns float32 [rows, dim] and float32 [rows, 1].
    """
    n_crops = features.shape[1]
    flat = features.reshape(-1, features.shape[2])
    order = np.random.default_rng(seed).permutation(len(flat))[:n_rows]
    return flat[order].astype(np.float32), (order % n_crops).astype(np.float32)[:, None]

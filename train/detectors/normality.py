"""How unlike normal footage a snippet is: a detector that needs no abnormal video.

The bank holds features of normal training videos. A snippet's distance is that of its most unusual
places (crops) to the nearest rows of the bank. For cells of the picture (`places/...`) `reach`
restricts the comparison to the same cell and its neighbours, which suits a camera that stands
still. (Nearest-neighbour anomaly detection with a memory of normal patches: PatchCore, Roth et al.,
CVPR 2022.) Distances count less where rows of normal footage lie far from one another, such as
those of people near the camera (the idea of local outlier factors, Breunig et al., SIGMOD 2000).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from vad.config import build
from vad.errors import UsageError

from ..selection import vector_norm
from .interface import Batch, Detector, Form, Output
from .settings import NormalitySettings

QUERIES = 4096  # places compared at once, to bound the memory
FAR = 0.95  # quantile of the distances between rows of different videos that counts as far
DAMPING = 2.0  # times that distance: the larger, the more alike are the weights of all rows


class Normality(Detector):
    """Distances to a bank of normal features. It has no weights to train."""

    settings: NormalitySettings
    published_batch = None
    joins_crops = False
    looks_around = False
    bank: Tensor | None
    cells: Tensor | None
    weights: Tensor | None

    def __init__(
        self,
        visual_dim: int,
        text_dim: int | None,
        settings: NormalitySettings,
        bank: ArrayLike | None = None,
        cells: ArrayLike | None = None,
        weights: ArrayLike | None = None,
    ) -> None:
        """bank: features [rows, dim], scaled as the input will be; cells: the cell of each row,
        [rows, 1]; weights: of the distances to each row, [rows, 1], see `weights_of_rows`; by
        default 1.
        """
        super().__init__(visual_dim, text_dim, settings)
        self.hold("bank", bank, visual_dim)
        self.hold("cells", cells, 1)
        self.hold("weights", weights, 1)
        self._parts: list[_Rows] | None = None
        self.ignored: Tensor | None = None  # bool [crops], places that never are unusual

    @classmethod
    def of_rows(
        cls,
        rows: Tensor,
        cells: NDArray[np.float32],
        sources: NDArray[np.int64] | None,
        n_cells: int,
        settings: Mapping[str, object],
    ) -> Normality:
        """Return a detector whose bank is rows [rows, dim] of normal footage, scaled.

        cells: the cell of each row, [rows, 1], out of n_cells; sources: the video of each row,
        [rows], or its part of the footage: distances are weighed by them, see `weights_of_rows`.
        """
        chosen = build(NormalitySettings, settings, where="normality")
        weights = None
        if sources is not None:
            places = torch.from_numpy(cells[:, 0])
            weights = weights_of_rows(rows, places, torch.from_numpy(sources), chosen, n_cells)
        return cls(rows.shape[1], None, chosen, rows, cells, weights)

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
        if self._parts is None:
            self._parts = self._parts_of_bank(len(video))
        parts = video.split(math.ceil(len(video) / len(self._parts)))
        k = self.settings.neighbours
        found = [rows.distances(part, k) for part, rows in zip(parts, self._parts, strict=True)]
        return torch.cat(found)

    def _parts_of_bank(self, n_cells: int) -> list[_Rows]:
        """Return the rows that cells are compared with: all rows for all cells, or with `reach` a
        part of them for each row of cells.
        """
        if self.bank is None or self.cells is None:
            raise UsageError("normality needs its bank of normal features")
        if self.settings.reach is None:
            return [_Rows(self.bank, self.bank.square().sum(1), self.weights, None)]
        order = self.cells[:, 0].argsort(stable=True)  # so that every part is a slice
        bank, cells = self.bank[order], self.cells[order, 0]
        weights = None if self.weights is None else self.weights[order]
        squares, side, parts = bank.square().sum(1), math.isqrt(n_cells), []
        for some in torch.arange(n_cells, device=cells.device).split(side):
            beyond = apart(cells, some[:, None], side) > self.settings.reach
            within = (~beyond).any(0).nonzero()[:, 0].tolist() or [-1]
            part = slice(max(within[0], 0), within[-1] + 1)
            own = None if weights is None else weights[part]
            parts.append(_Rows(bank[part], squares[part], own, beyond[:, None, part]))
        return parts


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of a bank that some places of the picture are compared with."""

    rows: Tensor  # [rows, dim]
    squares: Tensor  # [rows], their squared lengths
    weights: Tensor | None  # [rows, 1], of the distances to them
    beyond: Tensor | None  # bool [places, 1, rows]: a row that is out of a place's reach

    def distances(self, places: Tensor, k: int) -> Tensor:
        """Return the mean weighed distance to the k nearest rows within reach, 0 if there is none:
        [places, snippets, dim] -> [places, snippets].
        """
        at_once = max(1, QUERIES // len(places))
        parts = (places,) if torch.compiler.is_exporting() else places.split(at_once, dim=1)
        return torch.cat([self._distances(part, k) for part in parts], dim=1)

    def _distances(self, places: Tensor, k: int) -> Tensor:
        order = self.squares - 2 * places @ self.rows.T
        if self.beyond is not None:
            order = order.masked_fill(self.beyond, torch.inf)
        nearest = order.topk(min(k, len(self.rows)), dim=2, largest=False)
        distances = vector_norm(self.rows[nearest.indices] - places[:, :, None])
        if self.weights is not None:
            distances = distances * self.weights[nearest.indices, 0]
        within = ~nearest.values.isinf()
        return distances.where(within, 0.0).sum(2) / within.sum(2).clamp(min=1)


def _order(rows: Tensor, bank: Tensor) -> Tensor:
    """Return the squared distances of rows to those of a bank, but for a summand that all rows of
    the bank share: [rows, rows of the bank].
    """
    return bank.square().sum(1) - 2 * rows @ bank.T


def apart(cells: Tensor, cell: Tensor | int, side: int) -> Tensor:
    """Return how many rows or columns of the picture lie between cells, the greater number.

    Cells are counted row by row, `side` to a row.
    """
    rows, columns = cells // side, cells % side
    return torch.maximum((rows - cell // side).abs(), (columns - cell % side).abs())


def weights_of_rows(
    rows: Tensor, cells: Tensor, sources: Tensor, settings: NormalitySettings, n_cells: int
) -> Tensor | None:
    """Return the weights of the distances to the rows of a bank, [rows, 1]; None if no row has
    others of another source within reach.

    rows: [rows, dim], scaled; cells: [rows], out of n_cells; sources: [rows], the video of each row
    or its part of the footage. A row's own distance s is that to its nearest rows of other sources:
    those of its source show the same people. Its weight is (s0 + m) / (s0 + s), where m is the
    median of s, and s0 is `DAMPING` times its quantile `FAR`. So the usual weight is 1.
    """
    own = torch.full((len(rows),), torch.nan)
    for part, among in _compared(cells, settings.reach, n_cells):
        same = sources[part, None] == sources[among]
        order = _order(rows[part], rows[among]).masked_fill(same, torch.inf)
        nearest = order.topk(min(settings.neighbours, len(among)), 1, largest=False)
        distances = vector_norm(rows[among[nearest.indices]] - rows[part, None])
        own[part] = distances.masked_fill(nearest.values.isinf(), torch.nan).mean(1)
    if own.isnan().all():
        return None
    middle = own.nanmedian()
    damping = DAMPING * own.nanquantile(FAR) + 1e-6
    return ((damping + middle) / (damping + own.where(~own.isnan(), middle)))[:, None]


def _compared(cells: Tensor, reach: int | None, n_cells: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield indices of rows of a bank, and those of the rows within their reach: [n], [m]."""
    if reach is None:
        every = torch.arange(len(cells))
        yield from ((part, every) for part in every.split(QUERIES // 4))
    else:
        for cell in cells.unique():
            within = apart(cells, cell, math.isqrt(n_cells)) <= reach
            yield (cells == cell).nonzero()[:, 0], within.nonzero()[:, 0]


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

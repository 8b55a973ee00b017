"""Where in the picture a video's scores come from, and the boxes that result from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vad.errors import InternalError
from vad.store import Provenance

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; the last two are exclusive
BOX = ("left_px", "top_px", "right_px", "bottom_px")  # names of its sides in files
View = tuple[float, float, float, float]  # the same, in parts of pixels

FINER = 3  # the grid on which heat is computed is so many times finer than that of the cells
SPREAD = 0.7  # in cells: standard deviation of the Gaussian that smooths shares into heat
HOT = 0.65  # of the highest heat: the places around it from this on are in its box
COLD = 0.5  # of the highest heat: up to this, a cell is not tinted


@dataclass(frozen=True, eq=False)
class Where:
    """The share of each cell of the picture in what raises the score of a snippet.

    The cells divide `view`, a part of the picture of the video as shown, into equal rows and
    columns. The shares of a snippet sum to 1, or are all 0 if nothing raises its score. What is
    seen often lies between cells, so the heat of a place is the shares around it, smoothed on a
    finer grid.
    """

    shares: NDArray[np.floating]  # [snippets, rows, columns]
    view: View

    def __post_init__(self) -> None:
        if self.shares.ndim != 3 or 0 in self.shares.shape:
            raise InternalError(f"shares of cells are {list(self.shares.shape)}")

    @property
    def middles(self) -> list[tuple[float, float]]:
        """Return the middle (x, y) of every cell, in pixels, row by row."""
        _, rows, columns = self.shares.shape
        return [self._at(r + 0.5, c + 0.5) for r in range(rows) for c in range(columns)]

    def hottest(self, snippet: int) -> tuple[float, float] | None:
        """Return the hottest place (x, y) in pixels; None if all shares are 0."""
        heat = self._heat(snippet)
        if not heat.any():
            return None
        row, column = np.unravel_index(heat.argmax(), heat.shape)
        return self._at((row + 0.5) / FINER, (column + 0.5) / FINER)

    def box(self, snippet: int) -> Box | None:
        """Return the box around the hottest place and the hot places that it is connected with.

        Hot places have at least 0.65 of its heat. Returns None if all shares are 0.
        """
        from scipy.ndimage import label

        heat = self._heat(snippet)
        if not heat.any():
            return None
        regions, _ = label(heat >= HOT * heat.max())
        rows, columns = np.nonzero(regions == regions.flat[heat.argmax()])
        left, top = self._at(rows.min() / FINER, columns.min() / FINER)
        right, bottom = self._at((rows.max() + 1) / FINER, (columns.max() + 1) / FINER)
        return round(left), round(top), round(right), round(bottom)

    def tints(self) -> NDArray[np.float32]:
        """Return how strongly to tint each cell, [snippets, rows, columns]: 1 at the hottest one of
        a snippet, 0 at cells that are cold beside it.
        """
        n_snippets, rows, columns = self.shares.shape
        fine = np.stack([self._heat(snippet) for snippet in range(n_snippets)])
        heat = fine.reshape(n_snippets, rows, FINER, columns, FINER).mean((2, 4))
        highest = heat.max((1, 2), keepdims=True)
        parts = heat / np.where(highest > 0, highest, 1)
        return np.asarray(((parts - COLD) / (1 - COLD)).clip(0, 1), np.float32)

    def _heat(self, snippet: int) -> NDArray[np.floating]:
        """Return how hot the places of a snippet are, [FINER rows, FINER columns]."""
        from scipy.ndimage import gaussian_filter

        fine = np.kron(self.shares[snippet], np.ones((FINER, FINER)))
        return np.asarray(gaussian_filter(fine, SPREAD * FINER, mode="constant"))

    def _at(self, row: float, column: float) -> tuple[float, float]:
        """Return the place (x, y) in pixels of a row and a column, which count cells."""
        left, top, right, bottom = self.view
        _, n_rows, n_columns = self.shares.shape
        x = left + (right - left) * float(column) / n_columns
        return x, top + (bottom - top) * float(row) / n_rows


def box_dict(box: Box | None) -> dict[str, int | None]:
    """Return the sides of a box by their names in files; None if there is no box."""
    return dict(zip(BOX, box or (None,) * len(BOX), strict=True))


def view_of(made: Provenance, width: int, height: int) -> View:
    """Return the part of a picture that a backbone saw, which its cells divide.

    width, height: of the video as shown, in pixels. The crop "center" is a square cut out of the
    middle of the resized picture; "whole" is all of the picture.
    """
    recipe = made.recipe
    if made.crop_set != "center" or not (recipe and recipe.resize_px and recipe.crop_size):
        return 0.0, 0.0, float(width), float(height)
    crop_height, crop_width = recipe.crop_size
    if isinstance(recipe.resize_px, int):
        scale = recipe.resize_px / min(width, height)
        side_x, side_y = crop_width / scale, crop_height / scale
    else:
        rows, columns = recipe.resize_px
        side_x, side_y = crop_width * width / columns, crop_height * height / rows
    left, top = (width - side_x) / 2, (height - side_y) / 2
    return left, top, left + side_x, top + side_y

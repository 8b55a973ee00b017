"""Tint frames of events where the score comes from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..scores import VideoScores
from .source import Picture

ALARM = (255, 107, 74)  # colour of scores from the threshold on
OPACITY = 0.4  # of the tint at the hottest cell


class Heat:
    """Tints the frames of one video. Frames outside events, and videos without `where`, stay as
    they are.
    """

    def __init__(self, scores: VideoScores) -> None:
        self._scores = scores
        self._tints = scores.where.tints() if scores.where else None
        self._snippet, self._opacity = -1, np.zeros((1, 1, 1), np.float32)

    def on(self, picture: Picture, number: int) -> Picture:
        """Return a frame, uint8 [height, width, 3], tinted if it belongs to an event."""
        where = self._scores.where
        is_event = any(e.start_frame <= number < e.end_frame for e in self._scores.events)
        if where is None or self._tints is None or not is_event:
            return picture
        snippet = self._scores.snippet_at(number)
        if snippet != self._snippet:
            self._snippet = snippet
            self._opacity = _opacity(self._tints[snippet], where.view, picture.shape[:2])
        return (picture + self._opacity * (np.array(ALARM, np.float32) - picture)).astype(np.uint8)


def _opacity(
    tint: NDArray[np.float32], view: tuple[float, ...], size: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return the opacity of the tint in every pixel [height, width, 1], smooth between cells."""
    opacity = np.zeros((*size, 1), np.float32)
    left, top, right, bottom = (round(side) for side in view)
    cells = Image.fromarray(OPACITY * tint)
    smooth = cells.resize((right - left, bottom - top), Image.Resampling.BILINEAR)
    opacity[top:bottom, left:right, 0] = np.asarray(smooth)
    return opacity

"""How each place of the picture moves: optical flow, summed up over a 7 x 7 grid of cells.

The flow is that of OpenCV's DIS (Kroeger et al., ECCV 2016) between successive frames of 112 x 112
pixels, down to their finest scale: people far away are a few pixels high, and the scale at which
DIS stops by default, a quarter of the side, does not show how they move. Every value is
proportional to the speed, so values a frame become values a second by one factor, and videos of
different frame rates agree.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 112  # pixels, rows and columns, of the frames that flow is computed on
GRID = 7
CELLS = GRID * GRID
DIRECTIONS = 8
WIDTH = 2 * DIRECTIONS + 7  # values of a cell
DIRECTED = ((0, DIRECTIONS), (DIRECTIONS, 2 * DIRECTIONS))  # groups of columns, one a direction

cv2.setNumThreads(1)  # clips are computed on all cores side by side


def flow_of_cells(grey: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how each cell moves: grey frames [frames, 112, 112] -> [49, 23].

    The values of a cell are speeds in pixels per frame:

    8  speed in each of eight directions, mean over the pairs of frames
    8  the same, largest of the pairs
    2  mean speed of the cell's pixels: mean and largest of the pairs
    2  fastest pixel: mean and largest of the pairs
    1  standard deviation of the speed over the cell, mean of the pairs
    2  absolute divergence and curl, mean
    """
    dis = cv2.DISOpticalFlow.create(cv2.DISOpticalFlow_PRESET_ULTRAFAST)
    dis.setFinestScale(0)
    still = np.zeros((SIZE, SIZE, 2), np.float32)  # where the search starts
    flow = np.stack([dis.calc(one, other, still.copy()) for one, other in pairwise(grey)])
    u, v = flow[..., 0], flow[..., 1]
    speed = _cells(np.hypot(u, v))
    sector = np.floor(np.arctan2(v, u) * (DIRECTIONS / (2 * np.pi))).astype(np.int64) % DIRECTIONS
    sectors = _cells(sector)
    directed = np.stack([(speed * (sectors == k)).mean(2) for k in range(DIRECTIONS)], 2)
    mean, fastest, spread = speed.mean(2), speed.max(2), speed.std(2)
    divergence = _cells(np.abs(np.gradient(u, axis=2) + np.gradient(v, axis=1)))
    curl = _cells(np.abs(np.gradient(v, axis=2) - np.gradient(u, axis=1)))
    single = (
        *(mean.mean(0), mean.max(0), fastest.mean(0), fastest.max(0), spread.mean(0)),
        *(divergence.mean((0, 2)), curl.mean((0, 2))),
    )
    columns = (directed.mean(0), directed.max(0), np.stack(single, 1))
    return np.concatenate(columns, 1, dtype=np.float32)


def grey_frames(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return frames as grey pictures of 112 x 112: RGB [frames, height, width, 3] -> [frames, 112,
    112].
    """
    small = (cv2.resize(frame, (SIZE, SIZE), interpolation=cv2.INTER_AREA) for frame in frames)
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in small])


def _cells(values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Group pixels by cell: [pairs, 112, 112] -> [pairs, 49, 256]."""
    side = SIZE // GRID
    tiles = values.reshape(len(values), GRID, side, GRID, side).transpose(0, 1, 3, 2, 4)
    return tiles.reshape(len(values), CELLS, side * side)

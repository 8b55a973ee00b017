"""EfficientNet-Lite0 that sees parts of the picture: what changes and moves most, and where.

The network runs on every second frame of a clip. Its maps are pooled to 7 x 7 cells, and of each
feature the cell with the largest value counts, so that a small thing is not lost in the mean over
the picture. Optical flow (`flow.py`) is computed beside it. A row of features holds:

    visual   block A   1280  change of the head map over time, maximum over cells
             block C    494  middle map: deviation and change over time; flow; mean and maximum
    places            12103  every cell, 49 x 247: mean and change of the middle map, flow
    peaks              1280  the cell in which each maximum of block A lies
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from vad.store.metadata import Cells, Pooled

from ..recipes import Recipe
from .efficientnet import MIDDLE_DIM, POOLED_DIM, EfficientNetLite0, load_network
from .flow import CELLS, DIRECTED, GRID, WIDTH, flow_of_cells, grey_frames
from .network import Columns, Compile, Network

DIM_A, DIM_C = POOLED_DIM, 2 * (2 * MIDDLE_DIM + WIDTH)
VISUAL = DIM_A + DIM_C
WIDTH_OF_CELL = 2 * MIDDLE_DIM + WIDTH
PLACES = VISUAL + CELLS * WIDTH_OF_CELL
CROP = 224  # pixels
ARRAYS = (
    Columns("visual", 0, VISUAL, (1, VISUAL), per_second=2 * WIDTH),
    Columns("places", VISUAL, PLACES, (CELLS, WIDTH_OF_CELL), per_second=WIDTH),
    Columns("peaks", PLACES, PLACES + DIM_A, (DIM_A,), dtype="uint8"),
)
CHANGES, FLOW = (MIDDLE_DIM, 2 * MIDDLE_DIM), (2 * MIDDLE_DIM, WIDTH_OF_CELL)  # in `places`


def _directions() -> tuple[tuple[int, int], ...]:
    return tuple((FLOW[0] + start, FLOW[0] + stop) for start, stop in DIRECTED)


def _pooled() -> tuple[Pooled, ...]:
    """Return how each column of `visual` is pooled over the cells.

    The deviation of the middle map is not stored by cell: it lies where the same channel changes.
    """
    pooled, start = [Pooled((0, DIM_A), "peaks")], DIM_A
    for of in (CHANGES, CHANGES, FLOW):
        for by in ("mean", "maximum"):
            stop = start + of[1] - of[0]
            pooled.append(Pooled((start, stop), by, of))
            start = stop
    return tuple(pooled)


class Maps(nn.Module):
    """The convolutions: normalised RGB [images, height, width, 3] -> the head map [images, 1280,
    7, 7] and the middle map [images, 112, 14, 14].
    """

    def __init__(self, network: EfficientNetLite0) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both maps."""
        return self.network.maps(images.permute(0, 3, 1, 2))


class Parts(nn.Module):
    """The features of parts: normalised RGB [views, frames, 224, 224, 3] -> [views, 15157]."""

    def __init__(self, maps: nn.Module, recipe: Recipe) -> None:
        super().__init__()
        self.maps = maps
        self.mean, self.std = recipe.norm

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Return the features of every view."""
        return torch.stack([self._of_view(view) for view in views])

    def _of_view(self, frames: torch.Tensor) -> torch.Tensor:
        head, middle = self.maps(frames)
        change, where = head.diff(dim=0).abs().mean(0).flatten(1).max(1)
        pixels = (frames.float() * self.std + self.mean).round().clamp(0, 255).byte()
        flow = torch.from_numpy(flow_of_cells(grey_frames(pixels.cpu().numpy()))).to(head)
        deviation = _cells((middle - middle.mean(0)).square().mean(0).sqrt())
        changes = _cells(middle.diff(dim=0).abs().mean(0))
        block_c = [f(part, 0) for part in (deviation, changes, flow) for f in (torch.mean, _most)]
        places = torch.cat([_cells(middle.mean(0)), changes, flow], 1)
        return torch.cat([change, *block_c, places.flatten(), where.to(head)])


def _most(values: torch.Tensor, axis: int) -> torch.Tensor:
    return values.amax(axis)


def _cells(feature_map: torch.Tensor) -> torch.Tensor:
    """Pool a map to the cells: [channels, rows, columns] -> [49, channels]."""
    return F.adaptive_avg_pool2d(feature_map, GRID).flatten(1).T


def load(weights: str, recipe: Recipe, *, offline: bool = False) -> Network:
    """Load the network with weights as `efficientnet.load` takes them."""
    network, record = load_network(weights, offline=offline)
    return Network(
        Parts(Maps(network), recipe),
        dim=PLACES + DIM_A,
        recipe=recipe,
        weights={"name": weights, **record},
        layout="efficientnet-lite0, flow at the scale of pixels",
        cpu_views=1,
        gpu_views=16,
        arrays=ARRAYS,
        blocks={"A": (0, DIM_A), "C": (DIM_A, VISUAL)},
        cells=Cells((GRID, GRID), _pooled(), _directions()),
        libraries=("torch", "opencv-python-headless"),
        for_cpu=_compiled,
    )


def _compiled(module: nn.Module, compile_: Compile) -> nn.Module:
    assert isinstance(module, Parts)
    one_image = (1, CROP, CROP, 3)  # more at once would not fit the cache
    module.maps = compile_(module.maps, one_image)
    return module

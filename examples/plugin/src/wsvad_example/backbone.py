"""A backbone without weights: how bright each cell of a crop is, and how much it changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vad.stages.extract.backbones.network import Network
from vad.stages.extract.recipes import Recipe

from . import CHANGES

GRID = 8  # cells along each side of a crop


class Changes(nn.Module):
    """Means over the cells of a grid; a network of your own has its layers here."""

    def forward(self, views: Tensor) -> Tensor:
        """Return the features of normalised RGB: [views, frames, height, width, 3] -> [views, 128],
        the brightness of each cell, and its mean absolute change from frame to frame.
        """
        cells = F.adaptive_avg_pool2d(views.mean(-1), GRID)  # [views, frames, 8, 8]
        changes = (cells[:, 1:] - cells[:, :-1]).abs()
        return torch.cat((cells.mean(1).flatten(1), changes.mean(1).flatten(1)), 1)


def load(weights: str, recipe: Recipe, *, offline: bool) -> Network:
    """Return the network, ready to run. A network with weights would read them from a file here."""
    del offline  # there is nothing to download
    return Network(
        Changes().eval(),
        dim=CHANGES.dim,
        recipe=recipe,
        weights={"name": weights, "licence": "as the package"},
        layout="changes",
        cpu_views=1,
        gpu_views=32,
    )

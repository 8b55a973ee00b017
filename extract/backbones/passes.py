"""One forward pass: some crops of some resized clips, through a network.

There are two ways with equal results. `CropPass` cuts every crop out of the pixels and gives it to
the network. `FramePass` gives whole frames to a network that can cut the crops itself, behind its
first layers, and so computes what crops share once: on a CPU this saves a seventh of I3D, and most
of the work around it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from vad.errors import UsageError

from ..crops import Crop, crop_boxes, cut, normalise
from ..recipes import Recipe

log = logging.getLogger("vad")

Corner = tuple[int, int]  # row and column of a crop's first pixel


class Pass(Protocol):
    """Features of some crops of clips, `crops_at_once` of them or fewer."""

    crops_at_once: int

    def __call__(self, clips: Sequence[torch.Tensor], crops: slice) -> torch.Tensor:
        """uint8 [frames, height, width, 3] each, resized -> float32 [clips, crops, dim]."""


@dataclass(frozen=True)
class Shape:
    """What a pass is made for."""

    name: str  # of the backbone
    recipe: Recipe
    crop_set: str
    n_clips: int
    n_views: int  # that the network takes best at once
    device: torch.device
    dtype: torch.dtype

    @property
    def n_crops(self) -> int:
        return len(self.recipe.crop_names(self.crop_set))

    def boxes(self, frames: torch.Tensor) -> list[Crop]:
        """The crops of resized frames."""
        return crop_boxes(self.recipe, self.crop_set, frames.shape[1], frames.shape[2])


class CropPass:
    """Crops as pixels, always as many: where clips are missing, old ones are computed again.

    Where a pass does not fit into the memory, it is done in parts, and so are those after it.
    """

    def __init__(self, network: nn.Module, shape: Shape) -> None:
        self._network, self._shape = network, shape
        self.crops_at_once = min(shape.n_views, shape.n_crops)
        self.views_at_once = shape.n_clips * self.crops_at_once  # fewer where memory is short
        self._lane = threading.local()  # every thread fills a buffer of its own

    def __call__(self, clips: Sequence[torch.Tensor], crops: slice) -> torch.Tensor:
        """See `Pass`. Raises UsageError if the memory is too small for a single view."""
        if not hasattr(self._lane, "buffer"):
            self._lane.buffer = self._new_buffer()
        for clip, frames in enumerate(clips):
            for position, crop in enumerate(self._shape.boxes(frames)[crops]):
                cut(frames, crop, self._lane.buffer[clip, position])
        n_crops = len(range(self._shape.n_crops)[crops])
        views = self._lane.buffer[:, :n_crops]
        pixels = normalise(views.flatten(0, 1), self._shape.recipe).to(self._shape.dtype)
        features = self._through_network(pixels).float().view(*views.shape[:2], -1)
        return features[: len(clips)]

    def _through_network(self, pixels: torch.Tensor) -> torch.Tensor:
        while True:
            n_views = self.views_at_once
            try:
                return torch.cat([self._network(part) for part in pixels.split(n_views)])
            except torch.OutOfMemoryError:
                pass  # and not here: what the error holds on to is free only outside
            device = self._shape.device
            if n_views == 1:
                raise UsageError(
                    f"{device} has too little memory for one view of {self._shape.name}",
                    hint="end what else uses it, or --device cpu",
                )
            self.views_at_once = min(self.views_at_once, n_views // 2)
            log.warning("%s is short of memory: %d views at once", device, n_views // 2)
            if device.type == "cuda":
                torch.cuda.empty_cache()

    def _new_buffer(self) -> torch.Tensor:
        recipe, n_clips = self._shape.recipe, self._shape.n_clips
        size = (len(recipe.frames), recipe.crop_px, recipe.crop_px, 3)
        return torch.zeros(n_clips, self.crops_at_once, *size, device=self._shape.device)


@runtime_checkable
class TakesFrames(Protocol):
    """A network that cuts the crops itself, behind its first layers."""

    def stem(self, pixels: torch.Tensor, corners: Sequence[Corner], side: int) -> torch.Tensor:
        """Normalised RGB [frames, height, width, 3] -> maps of crops [crops, ...]."""

    def after_stem(self, maps: torch.Tensor) -> torch.Tensor:
        """[crops, ...] -> features [crops, dim]"""


class FramePass:
    """Frames as pixels: all crops that are mirrored, or all that are not, of one clip at a time."""

    def __init__(self, network: TakesFrames, shape: Shape) -> None:
        self._network, self._shape = network, shape
        self.crops_at_once = min(len(shape.recipe.order), shape.n_crops)

    def __call__(self, clips: Sequence[torch.Tensor], crops: slice) -> torch.Tensor:
        """See `Pass`."""
        return torch.stack([self._features(frames, crops) for frames in clips])

    def _features(self, frames: torch.Tensor, crops: slice) -> torch.Tensor:
        boxes, recipe = self._shape.boxes(frames)[crops], self._shape.recipe
        mirrored, (width, side) = boxes[0].mirrored, (frames.shape[2], recipe.crop_px)
        pixels = normalise((frames.flip(-2) if mirrored else frames).float(), recipe)
        lefts = [width - side - box.left_px if mirrored else box.left_px for box in boxes]
        corners = [(box.top_px, left) for box, left in zip(boxes, lefts, strict=True)]
        maps = self._network.stem(pixels.to(self._shape.dtype), corners, side)
        parts = maps.split(self._shape.n_views)
        return torch.cat([self._network.after_stem(part) for part in parts]).float()

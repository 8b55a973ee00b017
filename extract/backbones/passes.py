"""Forward passes: from crops of resized clips to features.

Two classes give equal results:

    CropPass    cuts every crop out of the frames and runs the network on it
    GatherPass  lets the network gather its input from whole frames, in a layout of its own: on a
                GPU one kernel for all crops of all clips
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from vad.errors import UsageError

from ..crops import Crop, crop_boxes, cut, normalise
from ..recipes import Recipe

log = logging.getLogger("vad")


class Pass(Protocol):
    """Computes features of at most `crops_at_once` crops of clips."""

    crops_at_once: int

    def __call__(self, clips: Sequence[torch.Tensor], crops: slice) -> torch.Tensor:
        """Compute features: resized clips, uint8 [frames, height, width, 3] each -> float32 [clips,
        crops, dim].
        """


@dataclass(frozen=True)
class Shape:
    """The recipe, batch sizes, device and number format that a pass is made for."""

    name: str  # of the backbone
    recipe: Recipe
    crop_set: str
    n_clips: int
    n_views: int  # views per forward pass that are fastest
    device: torch.device
    dtype: torch.dtype

    @property
    def n_crops(self) -> int:
        return len(self.recipe.crop_names(self.crop_set))

    def boxes(self, frames: torch.Tensor) -> list[Crop]:
        """Return the crops of resized frames.

        frames: [frames, height, width, 3].
        """
        return crop_boxes(self.recipe, self.crop_set, frames.shape[1], frames.shape[2])


class Frugal:
    """Base class of passes that use fewer views at once if memory runs out, and from then on."""

    def __init__(self, shape: Shape, n_views: int) -> None:
        self.shape = shape
        self.views_at_once = n_views  # reduced if memory runs out

    def attempt(self, compute: Callable[[int], torch.Tensor]) -> torch.Tensor:
        """Call `compute` with as many views at once as fit in memory, and return its result.

        Raises UsageError if the memory is too small for a single view.
        """
        device = self.shape.device
        while True:
            n_views = self.views_at_once
            try:
                return compute(n_views)
            except torch.OutOfMemoryError:
                pass  # retry outside: here the error still keeps memory in use
            if n_views == 1:
                raise UsageError(
                    f"{device} has too little memory for one view of {self.shape.name}",
                    hint="end what else uses it, or --device cpu",
                )
            self.views_at_once = min(self.views_at_once, n_views // 2)
            log.warning("%s is short of memory: %d views at once", device, n_views // 2)
            if device.type == "cuda":
                torch.cuda.empty_cache()


class CropPass(Frugal):
    """Cuts crops out of the frames. Every pass has the same shape: missing clips are padded with
    those of an earlier pass, whose features are discarded.
    """

    def __init__(self, network: nn.Module, shape: Shape) -> None:
        self._network = network
        self.crops_at_once = min(shape.n_views, shape.n_crops)
        super().__init__(shape, shape.n_clips * self.crops_at_once)
        self._lane = threading.local()  # each thread has its own buffer

    def __call__(self, clips: Sequence[torch.Tensor], crops: slice) -> torch.Tensor:
        """Compute features as in `Pass`. Raises UsageError if the memory is too small for a single
        view.
        """
        if not hasattr(self._lane, "buffer"):
            self._lane.buffer = self._new_buffer()
        for clip, frames in enumerate(clips):
            for position, crop in enumerate(self.shape.boxes(frames)[crops]):
                cut(frames, crop, self._lane.buffer[clip, position])
        n_crops = len(range(self.shape.n_crops)[crops])
        views = self._lane.buffer[:, :n_crops]
        pixels = normalise(views.flatten(0, 1), self.shape.recipe).to(self.shape.dtype)

        def compute(n_views: int) -> torch.Tensor:
            return torch.cat([self._network(part) for part in pixels.split(n_views)])

        features = self.attempt(compute).float().view(*views.shape[:2], -1)
        return features[: len(clips)]

    def _new_buffer(self) -> torch.Tensor:
        recipe, n_clips = self.shape.recipe, self.shape.n_clips
        size = (len(recipe.frames), *recipe.crop_size, 3)
        return torch.zeros(n_clips, self.crops_at_once, *size, device=self.shape.device)


@runtime_checkable
class Gathers(Protocol):
    """The interface of a network that makes its own input from resized frames, in its own
    layout.
    """

    def room(self, n_clips: int, n_crops: int, recipe: Recipe) -> tuple[int, ...]:
        """Return the shape [clips, crops, ...] of the input for this number of clips and crops."""

    def gather(
        self, frames: torch.Tensor, crops: Sequence[Crop], recipe: Recipe, out: torch.Tensor
    ) -> None:
        """Fill the input `out` [clips, crops, ...] from uint8 frames [clips, frames, height, width,
        3].
        """

    def of_views(self, views: torch.Tensor) -> torch.Tensor:
        """Compute features: normalised RGB [views, frames, height, width, 3] -> [views, dim]."""

    def __call__(self, views: torch.Tensor) -> torch.Tensor:
        """Compute features from gathered input: [views, ...] -> [views, dim]."""


class GatherPass(Frugal):
    """Runs a network that gathers its input on all crops of all clips, in one pass if memory
    allows.

    Every pass has the same shape, as in `CropPass`.
    """

    def __init__(self, network: Gathers, shape: Shape) -> None:
        super().__init__(shape, shape.n_clips * shape.n_crops)
        self._network = network
        self.crops_at_once = shape.n_crops

    def __call__(self, clips: Sequence[torch.Tensor], crops: slice) -> torch.Tensor:
        """Compute features as in `Pass`, of all crops. Raises UsageError as `CropPass` does."""
        alike = [
            (torch.stack(group), self.shape.boxes(group[0])) for group in alike_neighbours(clips)
        ]
        return self.attempt(partial(self._features, alike))[: len(clips)]

    def _features(
        self, alike: Sequence[tuple[torch.Tensor, list[Crop]]], n_views: int
    ) -> torch.Tensor:
        """Return features [clips, crops, dim] of groups of clips of equal size, `n_views` views at
        a time.
        """
        shape = self.shape
        n_clips, n_crops = max(1, n_views // shape.n_crops), min(n_views, shape.n_crops)
        recipe, rows = shape.recipe, []
        for first_clip in range(0, shape.n_clips, n_clips):
            parts = []
            for first in range(0, shape.n_crops, n_crops):
                some = slice(first, first + n_crops)
                size = self._network.room(n_clips, len(range(shape.n_crops)[some]), recipe)
                input_ = torch.empty(size, dtype=shape.dtype, device=shape.device)
                begin = -first_clip  # start of the group, relative to the first clip of this part
                for frames, boxes in alike:
                    end = begin + len(frames)
                    inside = slice(max(0, begin), min(n_clips, end))
                    if inside.start < inside.stop:
                        seen = frames[inside.start - begin : inside.stop - begin]
                        self._network.gather(seen, boxes[some], recipe, input_[inside])
                    begin = end
                input_[max(0, begin) :].zero_()  # padding for missing clips
                features = self._network(input_.flatten(0, 1)).float()
                parts.append(features.view(n_clips, -1, features.shape[-1]))
            rows.append(torch.cat(parts, 1))
        return torch.cat(rows)


def alike_neighbours(clips: Iterable[torch.Tensor]) -> Iterator[list[torch.Tensor]]:
    """Yield successive clips of equal size as one list.

    Each clip is [16, height, width, 3].
    """
    for _, group in groupby(clips, key=lambda clip: clip.shape):
        yield list(group)

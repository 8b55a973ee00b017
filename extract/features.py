"""The maker of the feature array `visual/<name>`: it computes features of clips by a backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vad.device import choose_device
from vad.errors import UsageError
from vad.grid import CLIP_FRAMES, MOST_HELD, SAMPLINGS, ClipCutter, ClipGrid
from vad.names import find_by_name
from vad.store import Draft, Provenance, VideoRecord
from vad.version import VERSION

from .backbones import create_backbone
from .backbones.backbone import Backbone, Features
from .crops import resized_size
from .decoders.video import Limits, VideoInfo
from .decoders.worker import Empty
from .pipeline import Item, Maker
from .runner import Decoding
from .settings import ExtractSettings

LoadBackbone = Callable[[ExtractSettings], Backbone]


def load_backbone(settings: ExtractSettings) -> Backbone:
    """Load the backbone that the settings name, on the device that they name."""
    return create_backbone(
        settings.backbone,
        weights=settings.weights,
        recipe=settings.recipe,
        crops=settings.crops,
        device=choose_device(settings.device),
        precision=settings.precision,
        batch=settings.batch,
        places=settings.places,
        pool=settings.pool,
        offline=settings.offline,
    )


def grid_of(backbone: Backbone, settings: ExtractSettings) -> ClipGrid:
    """Return the clip grid: single settings count, then a named sampling, then the tail policy of
    the backbone's recipe.

    Raises UsageError if the clips would keep too many frames in memory.
    """
    grid = ClipGrid(backbone.recipe.tail)
    if settings.sampling is not None:
        grid = find_by_name("sampling", settings.sampling, SAMPLINGS)
    given = {name: getattr(settings, name) for name in ("dilation", "stride", "max_clips")}
    try:
        sampling = replace(grid.sampling, **{n: v for n, v in given.items() if v is not None})
    except ValueError as error:
        raise UsageError(str(error), hint="a smaller --dilation or a larger --stride") from None
    if (held := (backbone.recipe.window - 1) * sampling.dilation + 1) > MOST_HELD:
        raise UsageError(
            f"{backbone.name} looks at {backbone.recipe.window} frames, dilation is "
            f"{sampling.dilation}: a window would keep {held} frames in memory, more than "
            f"{MOST_HELD}",
            hint="a smaller --dilation",
        )
    return ClipGrid(settings.tail or grid.tail, sampling)


def provenance_of(backbone: Backbone, settings: ExtractSettings) -> Provenance:
    """Return everything that a backbone's features depend on, as the provenance for the store."""
    grid = grid_of(backbone, settings)
    return Provenance.of(
        {
            **backbone.provenance,
            "clip_frames": CLIP_FRAMES,
            **grid.sampling.provenance(),
            "tail": grid.tail,
            "dtype": settings.dtype,
            "vad": VERSION,
        }
    )


def limits_of(settings: ExtractSettings) -> Limits:
    """Return the decoder's limits for one video that these settings ask for."""
    return Limits(max_pixels=settings.max_pixels, bare_fps=settings.fps)


def decoding_of(settings: ExtractSettings, grid: ClipGrid) -> Decoding:
    """Return the decoding options that these settings ask for, for videos on this clip grid."""
    return Decoding(
        workers=settings.workers,
        grid=grid,
        decoder=settings.decoder,
        limits=limits_of(settings),
        time_limit_s=settings.time_limit,
        accept_truncated=settings.accept_truncated,
    )


@dataclass
class _FeatureMaking:
    """The arrays of one video while they are computed; implements `pipeline.Making`."""

    backbone: Backbone
    dtype: str
    fps: float  # of the frames of a clip
    cutter: ClipCutter

    def add(self, frames: NDArray[np.uint8]) -> Iterable[Item]:
        """Return the clips that these frames complete."""
        return self.cutter.add(frames)

    def finish(self) -> Iterable[Item]:
        """Return the clips that the end of the video cuts off."""
        return self.cutter.finish()

    def write(self, results: NDArray[np.generic], draft: Draft) -> None:
        """Append the arrays to the draft; results: float32 [clips, crops, dim]."""
        features = results.astype(np.float32, copy=False)
        for name, rows in self.backbone.arrays_of(features, self.fps, self.dtype).items():
            draft.append(name, rows)

    def close(self, record: VideoRecord, draft: Draft) -> None:
        """Do nothing: `write` has written every clip."""


class FeatureMaker:
    """Makes the array `visual/<name>` [snippets, crops, dim], and those beside it; implements
    `pipeline.Maker`.
    """

    def __init__(self, backbone: Backbone, settings: ExtractSettings) -> None:
        self._backbone, self._dtype = backbone, settings.dtype
        self.arrays = backbone.arrays
        self.provenance = provenance_of(backbone, settings)
        self.grid = grid_of(backbone, settings)
        self.item_frames = self.grid.sampling.stride
        self.n_together, self.n_ahead = backbone.n_clips, backbone.n_ahead
        self.empty: Empty = backbone.empty

    def begin(self, info: VideoInfo) -> _FeatureMaking:
        """Begin a video. Raises VideoError, before any clip is decoded, if the recipe cannot resize
        frames of this size.
        """
        resized_size(info.height, info.width, self._backbone.recipe)
        fps = float(info.fps) / self.grid.sampling.dilation
        cutter = ClipCutter(self.grid, info.n_frames, self._backbone.recipe.window)
        return _FeatureMaking(self._backbone, self._dtype, fps, cutter)

    def submit(self, items: Sequence[Item]) -> Features:
        """Start computing features of clips, uint8 [window, height, width, 3] each."""
        return self._backbone.submit(items)


def load_features(
    settings: ExtractSettings, device: str | None = None, *, load: LoadBackbone = load_backbone
) -> list[Maker]:
    """Return the maker of the feature array that the settings name, in a list of one.

    device: replaces the settings' device, if given. Worker processes on other devices and machines
    call this function to load the backbone there.
    """
    placed = replace(settings, device=device) if device else settings
    return [FeatureMaker(load(placed), settings)]

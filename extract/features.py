"""The maker of the feature array `visual/<name>`: it computes features of clips by a backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vad.device import choose_device
from vad.grid import CLIP_FRAMES, Tail
from vad.store import Draft, Provenance
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


def tail_of(backbone: Backbone, settings: ExtractSettings) -> Tail:
    """Return the tail policy, which fills a video's last clip: the setting, or else that of the
    backbone's recipe.
    """
    return settings.tail or backbone.recipe.tail


def provenance_of(backbone: Backbone, settings: ExtractSettings) -> Provenance:
    """Return everything that a backbone's features depend on, as the provenance for the store."""
    return Provenance.of(
        {
            **backbone.provenance,
            "clip_frames": CLIP_FRAMES,
            "tail": tail_of(backbone, settings),
            "dtype": settings.dtype,
            "vad": VERSION,
        }
    )


def limits_of(settings: ExtractSettings) -> Limits:
    """Return the decoder's limits for one video that these settings ask for."""
    return Limits(max_pixels=settings.max_pixels, bare_fps=settings.fps)


def decoding_of(settings: ExtractSettings, tail: Tail) -> Decoding:
    """Return the decoding options that these settings ask for, for videos stored with this tail
    policy.
    """
    return Decoding(
        workers=settings.workers,
        tail=tail,
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
    fps: float
    drops_tail: bool

    def add(self, clips: NDArray[np.uint8], n_frames: int) -> Iterable[Item]:
        """Return the clips themselves as items, without a padded last clip if the tail is
        dropped.
        """
        return clips[: n_frames // CLIP_FRAMES] if self.drops_tail else clips

    def finish(self) -> Iterable[Item]:
        """Return no items: `add` returned every clip already."""
        return ()

    def write(self, results: NDArray[np.generic], draft: Draft) -> None:
        """Append the arrays to the draft; results: float32 [clips, crops, dim]."""
        features = results.astype(np.float32, copy=False)
        for name, rows in self.backbone.arrays_of(features, self.fps, self.dtype).items():
            draft.append(name, rows)

    def close(self, n_snippets: int, draft: Draft) -> None:
        """Do nothing: `write` has written every clip."""


class FeatureMaker:
    """Makes the array `visual/<name>` [snippets, crops, dim], and those beside it; implements
    `pipeline.Maker`.
    """

    item_frames = CLIP_FRAMES

    def __init__(self, backbone: Backbone, settings: ExtractSettings) -> None:
        self._backbone, self._dtype = backbone, settings.dtype
        self.arrays = backbone.arrays
        self.provenance = provenance_of(backbone, settings)
        self.tail = tail_of(backbone, settings)
        self.n_together, self.n_ahead = backbone.n_clips, backbone.n_ahead
        self.empty: Empty = backbone.empty

    def begin(self, info: VideoInfo) -> _FeatureMaking:
        """Begin a video. Raises VideoError, before any clip is decoded, if the recipe cannot resize
        frames of this size.
        """
        resized_size(info.height, info.width, self._backbone.recipe)
        return _FeatureMaking(self._backbone, self._dtype, float(info.fps), self.tail == "drop")

    def submit(self, items: Sequence[Item]) -> Features:
        """Start computing features of clips, uint8 [16, height, width, 3] each."""
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

"""Features of clips: a backbone as a maker of `visual/<name>`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.device import choose_device
from vad.grid import CLIP_FRAMES, Tail
from vad.store import Draft
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
    """The backbone that the settings name, on its device."""
    return create_backbone(
        settings.backbone,
        weights=settings.weights,
        recipe=settings.recipe,
        crops=settings.crops,
        device=choose_device(settings.device),
        precision=settings.precision,
        batch=settings.batch,
        offline=settings.offline,
    )


def tail_of(backbone: Backbone, settings: ExtractSettings) -> Tail:
    """What fills the last clip: the setting, or the policy of the backbone's recipe."""
    return settings.tail or backbone.recipe.tail


def provenance_of(backbone: Backbone, settings: ExtractSettings) -> dict[str, Any]:
    """Everything that the features of a backbone depend on, as the store keeps it."""
    return {
        **backbone.provenance,
        "clip_frames": CLIP_FRAMES,
        "tail": tail_of(backbone, settings),
        "dtype": settings.dtype,
        "vad": VERSION,
    }


def limits_of(settings: ExtractSettings) -> Limits:
    """What the settings allow one video to cost."""
    return Limits(max_pixels=settings.max_pixels, bare_fps=settings.fps)


def decoding_of(settings: ExtractSettings, tail: Tail) -> Decoding:
    """How the settings decode videos."""
    return Decoding(
        workers=settings.workers,
        tail=tail,
        decoder=settings.decoder,
        limits=limits_of(settings),
        time_limit_s=settings.time_limit,
        accept_truncated=settings.accept_truncated,
    )


@dataclass
class _Making:
    """The features of one video; see `pipeline.Making`."""

    array: str
    dtype: np.dtype[Any]
    drops_tail: bool

    def add(self, clips: NDArray[np.uint8], n_frames: int) -> Iterable[Item]:
        """The clips themselves are the items."""
        return clips[: n_frames // CLIP_FRAMES] if self.drops_tail else clips

    def finish(self) -> Iterable[Item]:
        """A clip waits for no other."""
        return ()

    def write(self, results: NDArray[Any], draft: Draft) -> None:
        """results: float32 [clips, crops, dim]"""
        draft.append(self.array, results.astype(self.dtype))

    def close(self, n_snippets: int, draft: Draft) -> None:
        """Every clip has been written."""


class FeatureMaker:
    """Makes `visual/<name>` [snippets, crops, dim]; see `pipeline.Maker`."""

    item_frames = CLIP_FRAMES

    def __init__(self, backbone: Backbone, settings: ExtractSettings) -> None:
        self._backbone, self._dtype = backbone, np.dtype(settings.dtype)
        self.array = f"visual/{backbone.name}"
        self.provenance = provenance_of(backbone, settings)
        self.tail = tail_of(backbone, settings)
        self.n_together, self.n_ahead = backbone.n_clips, backbone.n_ahead
        self.empty: Empty = backbone.empty

    def begin(self, info: VideoInfo) -> _Making:
        """Raises VideoError, before anything is decoded, for pictures that the recipe refuses."""
        resized_size(info.height, info.width, self._backbone.recipe)
        return _Making(self.array, self._dtype, drops_tail=self.tail == "drop")

    def submit(self, items: Sequence[Item]) -> Features:
        """Begin to compute features of clips, uint8 [16, height, width, 3] each."""
        return self._backbone.submit(items)


def load_features(
    settings: ExtractSettings, device: str | None = None, *, load: LoadBackbone = load_backbone
) -> list[Maker]:
    """The maker that the settings name, on their device or on the one given.

    Processes on other devices and machines call it.
    """
    placed = replace(settings, device=device) if device else settings
    return [FeatureMaker(load(placed), settings)]

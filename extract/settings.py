"""Settings of `vad extract`: types, defaults, ranges and help."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from typing import Literal

from vad.config import option

N_WORKERS = max(1, min(8, (os.cpu_count() or 2) - 1))  # default number of decoder processes

_feature = partial(option, panel="Features")
_compute = partial(option, panel="Computation")


@dataclass(frozen=True, kw_only=True)
class ComputeSettings:
    """How features are computed: device, speed and limits. These settings do not decide which
    features are made; the backbone, crops and the like are settings of `ExtractSettings`.
    """

    decoder: Literal["auto", "decord", "pyav"] = _compute(
        "auto", "library that decodes; auto: decord where it is exact, else PyAV"
    )
    device: str = _compute(
        "auto", "auto, cpu, cuda or cuda:1; for extract also cuda:0,cuda:1 or cuda:all"
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = _compute(
        "auto", "number format of the network; auto: half precision on a GPU"
    )
    batch: int | None = _compute(
        None, "clips per forward pass; by default what suits the device", minimum=1, maximum=65_536
    )
    workers: int = _compute(N_WORKERS, "decoder processes", minimum=1, maximum=256)
    time_limit: float = _compute(
        60.0,
        "seconds without an answer after which a decoder is stopped",
        minimum=1,
        maximum=86_400,
    )
    max_pixels: int = _compute(
        4096 * 2304, "largest frame that is decoded, in pixels", minimum=1, maximum=2**28
    )
    fps: float | None = _compute(
        None,
        "frames per second of bare H.264 and HEVC streams; by default their header's, else 25",
        minimum=0.01,
        maximum=1000,
    )
    offline: bool = _compute(
        False, "open no network connection: use weights that are on this machine"
    )
    accept_truncated: bool = _compute(False, "accept videos that end earlier than they declare")


@dataclass(frozen=True, kw_only=True)
class ExtractSettings(ComputeSettings):
    """How videos become features. A setting that is None takes the backbone's or the recipe's
    default.
    """

    backbone: str = _feature("efficientnet-lite0-parts", "network that computes the features")
    weights: str | None = _feature(None, "a name, a file, or random:SEED for tests")
    recipe: str | None = _feature(
        None, "preset of resize, crop order and normalisation; by default that of the weights"
    )
    crops: Literal["ten", "five", "center", "whole"] | None = _feature(
        None, "crops of each frame that features are computed of; by default the backbone's"
    )
    sampling: Literal["timesformer-mil"] | None = _feature(
        None,
        "a published dilation, stride, tail and max-clips at once; what is given beside it counts",
    )
    dilation: int | None = _feature(
        None,
        "frames from one frame of a clip to the next; by default 1",
        minimum=1,
        maximum=1_000_000,
    )
    stride: int | None = _feature(
        None,
        "frames from the start of one clip to the start of the next; by default 16",
        minimum=1,
        maximum=1_000_000,
    )
    max_clips: int | None = _feature(
        None,
        "of a video that has more clips, take this many, evenly spread; by default all",
        minimum=1,
        maximum=1_000_000,
    )
    tail: Literal["repeat-last", "loop", "drop"] | None = _feature(
        None, "what fills the last clip of a video; by default the recipe's way"
    )
    dtype: Literal["float16", "float32"] = _feature("float16", "type of the stored features")
    places: Literal["none", "flow", "full"] = _feature(
        "full", "what is stored of each cell of the picture; flow: motion alone, a tenth of it"
    )
    pool: Literal["mean16", "middle", "every-second"] | None = _feature(
        None, "frames of a clip that an image encoder sees and averages; by default all 16"
    )
    shard: str | None = option(None, "I/N: extract only this share of the videos, counted from 1")

    def __post_init__(self) -> None:
        """Take `--backbone image:NAME` apart: the backbone image with the weights NAME."""
        from .backbones import named_weights

        name, weights = named_weights(self.backbone, self.weights)
        object.__setattr__(self, "backbone", name)
        object.__setattr__(self, "weights", weights)

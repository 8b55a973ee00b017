"""Settings of `vad extract`: types, defaults, ranges and help."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from vad.config import option


@dataclass(frozen=True, kw_only=True)
class ExtractSettings:
    """How videos become features. What a backbone decides by itself is not a setting."""

    backbone: str = option("efficientnet-lite0", "network that makes the features")
    weights: str | None = option(None, "a name, a file, or random:SEED for tests")
    recipe: str | None = option(
        None, "preset of resize, crop order and normalisation; by default that of the weights"
    )
    crops: Literal["ten", "five", "center", "whole"] | None = option(
        None, "parts of the picture that are described; by default as the backbone says"
    )
    tail: Literal["repeat-last", "loop", "drop"] | None = option(
        None, "what fills the last clip; by default as the backbone's recipe says"
    )
    decoder: Literal["auto", "decord", "pyav"] = option("auto", "library that decodes")
    dtype: Literal["float16", "float32"] = option("float16", "type of the stored features")
    device: str = option("auto", "auto, cpu, cuda or cuda:1")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option("auto", "of the computation")
    batch: int | None = option(
        None, "clips in one forward pass; by default what suits the device", minimum=1
    )
    workers: int = option(
        max(1, min(8, (os.cpu_count() or 2) - 1)), "decoder processes", minimum=1, maximum=256
    )
    time_limit: float = option(60.0, "seconds a decoder may stay silent", minimum=1)
    max_pixels: int = option(4096 * 2304, "largest picture that is decoded, in pixels", minimum=1)
    offline: bool = option(False, "open no connection: use weights that are here already")
    shard: str | None = option(None, "I/N: do this share of the videos only, counted from 1")
    accept_truncated: bool = option(False, "keep videos that end earlier than they declare")

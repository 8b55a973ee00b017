"""Settings of `vad caption`: types, defaults, ranges and help."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from vad.config import option


@dataclass(frozen=True, kw_only=True)
class CaptionSettings:
    """How snippets get a sentence, and sentences an embedding."""

    captioner: str | None = option(
        None,
        "labels, git, blip, instruct, each also NAME:MODEL, or file:PATH; by default the captions "
        "that are stored, else labels",
    )
    encoder: str = option(
        "minilm",
        "minilm, simcse, simcse-unsup, each also NAME:MODEL, or a sentence-transformers model",
    )
    name: str | None = option(None, "of the embeddings in the store; by default the encoder's")
    window: int | None = option(
        None,
        "frames that a caption looks at, from its snippet on; by default the captioner's",
        minimum=16,
    )
    stride: int = option(16, "frames from one caption to the next; more is faster", minimum=16)
    frames: str | None = option(
        None, "CSV video,frames: lengths of videos that are known from a file of captions only"
    )
    fps: float = option(
        30.0, "of such videos; without a CSV their lengths come from the durations", minimum=0.1
    )
    device: str = option("auto", "auto, cpu, cuda or cuda:1")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = option(
        "auto", "of the captioner; auto is half precision on a GPU"
    )
    batch: int = option(8, "windows that are captioned together", minimum=1)
    workers: int = option(
        max(1, min(8, (os.cpu_count() or 2) - 1)), "decoder processes", minimum=1, maximum=256
    )
    time_limit: float = option(60.0, "seconds a decoder may stay silent", minimum=1)
    max_pixels: int = option(4096 * 2304, "largest picture that is decoded, in pixels", minimum=1)
    offline: bool = option(False, "open no connection: use models that are here already")

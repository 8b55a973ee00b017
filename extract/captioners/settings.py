"""Settings of `vad caption`: types, defaults, ranges and help."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from vad.config import option

from ..settings import N_WORKERS

_caption = partial(option, panel="Captions")
_compute = partial(option, panel="Computation")


@dataclass(frozen=True, kw_only=True)
class CaptionSettings:
    """How snippets get captions, and captions get embeddings."""

    captioner: str | None = _caption(
        None,
        "labels, git, blip, instruct, each also NAME:MODEL, or file:PATH; by default the captions "
        "that are stored, else labels",
    )
    encoder: str = _caption(
        "minilm",
        "minilm, simcse, simcse-unsup, each also NAME:MODEL, or a sentence-transformers model",
    )
    name: str | None = _caption(
        None, "name of the embeddings in the store; by default the encoder's"
    )
    window: int | None = _caption(
        None,
        "frames that a caption describes, from the start of its snippet; by default the "
        "captioner's",
        minimum=16,
        maximum=65_536,
    )
    stride: int | None = _caption(
        None,
        "frames from one caption to the next, a multiple of 16; more is faster; by default as the "
        "snippets start",
        minimum=16,
        maximum=65_536,
    )
    frames: str | None = _caption(
        None, "with file:, a CSV video,frames: lengths of videos that are not stored"
    )
    fps: float = _caption(
        30.0,
        "with file:, frame rate of such videos, where no CSV tells their lengths",
        minimum=0.1,
        maximum=1000,
    )
    device: str = _compute("auto", "auto, cpu, cuda or cuda:1")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = _compute(
        "auto", "number format of the captioner; auto: half precision on a GPU"
    )
    batch: int = _compute(8, "windows that are captioned together", minimum=1, maximum=65_536)
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
    offline: bool = _compute(
        False, "open no network connection: use models that are on this machine"
    )

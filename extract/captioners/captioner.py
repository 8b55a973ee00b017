"""The base class of captioners for frames: windows of frames in, one sentence per window out."""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vad.pretrained import versions

from .table import CaptionerCard

MAX_CHARACTERS = 2000  # per caption; longer ones are cut
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Captioner(ABC):
    """A model that describes frames in words.

    name. offsets: the frames of a window that the model sees, counted from the window's start.
    provenance: everything that the captions depend on, as JSON values.
    """

    def __init__(
        self, card: CaptionerCard, device: torch.device, precision: str, window: int | None = None
    ) -> None:
        self.name = card.name
        self.window = window or card.window
        self.offsets = spread_evenly(self.window, card.n_frames)
        self.device = device
        used = precision
        if precision == "auto":
            used = "fp32" if device.type == "cpu" else "fp16"
        self.dtype = DTYPES[used]
        self.provenance: dict[str, object] = {
            "captioner": card.name,
            "window": self.window,
            "frames": list(self.offsets),
            "precision": {"asked": precision, "used": used},
            "versions": versions("torch", "transformers"),
        }

    @abstractmethod
    def __call__(self, windows: Sequence[NDArray[np.uint8]]) -> list[str]:
        """Return one sentence per window: uint8 RGB [frames, height, width, 3], frames as in
        `offsets`.

        The windows of one call can differ in height and width.
        """


def spread_evenly(window: int, n_frames: int) -> tuple[int, ...]:
    """Return `n_frames` frame offsets, evenly spaced from the first to the last frame of a window:
    (64, 6) -> 0 12 25 37 50 63. A single frame is the middle one.
    """
    if n_frames == 1:
        return (window // 2,)
    return tuple(int(x) for x in np.linspace(0, window - 1, n_frames))


def clean(caption: str) -> str:
    """Return a caption for the store: one line without control or invisible characters, cut to
    `MAX_CHARACTERS`.
    """
    shown = (" " if unicodedata.category(c)[0] in "CZ" else c for c in caption)
    return " ".join("".join(shown).split())[:MAX_CHARACTERS].rstrip()

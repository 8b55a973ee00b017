"""GIT (Wang et al., TMLR 2022), a generative image-to-text transformer, on clips of 6 frames.

`microsoft/git-base-vatex` was trained on VATEX, as was TEVAD's SwinBERT, which no library loads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForCausalLM

from .pictures import PictureCaptioner


class GIT(PictureCaptioner):
    """GIT of a clip."""

    kind = AutoModelForCausalLM

    def pixels(self, windows: Sequence[NDArray[np.uint8]]) -> Tensor:
        """[windows, frames, 3, height, width]"""
        clips = [
            self.processor(images=list(window), return_tensors="pt")["pixel_values"]
            for window in windows
        ]
        return torch.stack([clip.reshape(-1, *clip.shape[-3:]) for clip in clips])


load = GIT

"""BLIP (Li et al., ICML 2022), an image captioner, on the middle frame of every snippet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoModelForImageTextToText

from .pictures import PictureCaptioner


class BLIP(PictureCaptioner):
    """BLIP of one picture."""

    kind = AutoModelForImageTextToText

    def pixels(self, windows: Sequence[NDArray[np.uint8]]) -> Tensor:
        """[windows, 3, height, width]"""
        images = [window[0] for window in windows]
        pixels: Tensor = self.processor(images=images, return_tensors="pt")["pixel_values"]
        return pixels


load = BLIP

"""Networks that turn pictures into a caption by themselves: what GIT and BLIP have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import AutoProcessor

from ..weights.pretrained import from_pretrained, record_of
from .captioner import Captioner
from .table import CaptionerCard

MAX_NEW_TOKENS = 20  # as TEVAD's captioner


class PictureCaptioner(Captioner):
    """A generative model behind its processor; greedy, 20 new tokens at most."""

    kind: ClassVar[Any]  # the class of transformers that loads it

    def __init__(
        self,
        card: CaptionerCard,
        *,
        window: int | None,
        device: torch.device,
        precision: str,
        offline: bool,
    ) -> None:
        super().__init__(card, device, precision, window)
        self.processor = from_pretrained(AutoProcessor, card.model, offline=offline)
        self._model = from_pretrained(self.kind, card.model, offline=offline, dtype=self.dtype)
        self._model.to(device).eval()
        self.provenance |= {
            "weights": record_of(card.model, self._model.config) | {"licence": card.licence},
            "max_new_tokens": MAX_NEW_TOKENS,
        }

    @torch.inference_mode()
    def __call__(self, windows: Sequence[NDArray[np.uint8]]) -> list[str]:
        ids = self._model.generate(
            pixel_values=self.pixels(windows).to(self.device, self.dtype),
            max_new_tokens=MAX_NEW_TOKENS,
            num_beams=1,
            do_sample=False,
        )
        captions: list[str] = self.processor.batch_decode(ids, skip_special_tokens=True)
        return captions

    @abstractmethod
    def pixels(self, windows: Sequence[NDArray[np.uint8]]) -> Tensor:
        """What the network takes: normalised pictures, the first axis the windows."""

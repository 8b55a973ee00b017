"""Models that follow instructions (SmolVLM2, Qwen3-VL, ...), asked the same of every window.

Any model that transformers loads for image and text to text. The frames go in as pictures in the
order of time. Greedy; the prompt is fixed, and part of the provenance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from ..weights.pretrained import from_pretrained, record_of
from .captioner import Captioner
from .table import CaptionerCard

MAX_NEW_TOKENS = 40
PROMPT = (
    "These are frames of a surveillance camera, in order. Say in one short sentence what happens: "
    "who does what to whom, and where."
)


class Instruct(Captioner):
    """An instruct model behind its processor and chat template."""

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
        self._processor = from_pretrained(AutoProcessor, card.model, offline=offline)
        self._processor.tokenizer.padding_side = "left"  # what is generated follows the prompt
        self._model = from_pretrained(
            AutoModelForImageTextToText, card.model, offline=offline, dtype=self.dtype
        )
        self._model.to(device).eval()
        self.provenance |= {
            "weights": record_of(card.model, self._model.config) | {"licence": card.licence},
            "max_new_tokens": MAX_NEW_TOKENS,
            "prompt": PROMPT,
        }

    @torch.inference_mode()
    def __call__(self, windows: Sequence[NDArray[np.uint8]]) -> list[str]:
        asked = self._processor.apply_chat_template(
            [_question(window) for window in windows],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
            padding=True,
        ).to(self.device, dtype=self.dtype)
        ids = self._model.generate(
            **asked, max_new_tokens=MAX_NEW_TOKENS, num_beams=1, do_sample=False
        )
        answers: list[str] = self._processor.batch_decode(
            ids[:, asked["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return answers


def _question(window: NDArray[np.uint8]) -> list[dict[str, Any]]:
    """One chat: the frames of a window, then the prompt."""
    frames = [{"type": "image", "image": Image.fromarray(frame)} for frame in window]
    return [{"role": "user", "content": [*frames, {"type": "text", "text": PROMPT}]}]


load = Instruct

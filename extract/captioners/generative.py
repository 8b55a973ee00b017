"""Captioners that generate a sentence: GIT, BLIP, and models that follow instructions.

All use greedy decoding, so that a repeated run gives the same captions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor

from vad.pretrained import from_pretrained, record_of

from .captioner import Captioner
from .table import CaptionerCard

MAX_NEW_TOKENS = 20  # as in TEVAD's captioner
INSTRUCT_TOKENS = 40
PROMPT = (
    "These are frames of a surveillance camera, in order. Say in one short sentence what happens: "
    "who does what to whom, and where."
)


class PictureCaptioner(Captioner):
    """A generative model with its processor: greedy decoding, at most 20 new tokens."""

    kind: ClassVar[Any]  # the transformers class that loads the model

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
        """Return the network's input: normalised pixel values, the first axis the windows.

        windows: uint8 [frames, height, width, 3] each.
        """


class Git(PictureCaptioner):
    """GIT (Wang et al., TMLR 2022), a generative image-to-text transformer, on clips of 6 frames.

    `microsoft/git-base-vatex` was trained on VATEX, like TEVAD's SwinBERT, which no library loads.
    """

    kind = AutoModelForCausalLM

    def pixels(self, windows: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return normalised pixel values [windows, frames, 3, height, width]."""
        clips = [
            self.processor(images=list(window), return_tensors="pt")["pixel_values"]
            for window in windows
        ]
        return torch.stack([clip.reshape(-1, *clip.shape[-3:]) for clip in clips])


class Blip(PictureCaptioner):
    """BLIP (Li et al., ICML 2022), an image captioner, on the middle frame of every snippet."""

    kind = AutoModelForImageTextToText

    def pixels(self, windows: Sequence[NDArray[np.uint8]]) -> Tensor:
        """Return normalised pixel values [windows, 3, height, width]."""
        images = [window[0] for window in windows]
        pixels: Tensor = self.processor(images=images, return_tensors="pt")["pixel_values"]
        return pixels


class Instruct(Captioner):
    """A model that follows instructions (SmolVLM2, Qwen3-VL, ...), given the same prompt for every
    window.

    Any image-text-to-text model of transformers works. It receives the frames as pictures in order
    of time. The prompt is fixed and part of the provenance.
    """

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
        self._processor.tokenizer.padding_side = "left"  # new tokens follow the prompt
        self._model = from_pretrained(
            AutoModelForImageTextToText, card.model, offline=offline, dtype=self.dtype
        )
        self._model.to(device).eval()
        self.provenance |= {
            "weights": record_of(card.model, self._model.config) | {"licence": card.licence},
            "max_new_tokens": INSTRUCT_TOKENS,
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
            **asked, max_new_tokens=INSTRUCT_TOKENS, num_beams=1, do_sample=False
        )
        answers: list[str] = self._processor.batch_decode(
            ids[:, asked["input_ids"].shape[1] :], skip_special_tokens=True
        )
        return answers


def _question(window: NDArray[np.uint8]) -> list[dict[str, object]]:
    """Return one chat message with the frames of a window, followed by the prompt."""
    frames = [{"type": "image", "image": Image.fromarray(frame)} for frame in window]
    return [{"role": "user", "content": [*frames, {"type": "text", "text": PROMPT}]}]

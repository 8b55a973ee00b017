"""Sentences in the space of pictures: the text towers of image-text backbones.

A sentence is put into several phrases ("a photo of ...", "CCTV footage of ..."); its vector is the
mean of theirs, of length 1, as in CLIP's own evaluation. Random weights have a stand-in tokenizer,
because their vectors mean nothing anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.pretrained import from_pretrained, load_tokenizer

from .backbones import BACKBONES, find_backbone, named_weights
from .weights.checkpoint import fill_randomly, random_seed

PHRASES = (
    "{}",
    "a photo of {}",
    "a video of {}",
    "CCTV footage of {}",
    "a blurry picture of {} from above",
)
# backbones with a text tower, and the family that says how it is called
WITH_WORDS = {
    "clip-b16": "clip",
    "clip-b32": "clip",
    "clip-l14": "clip",
    "siglip2-base": "siglip",
    "xclip-base32": "xclip",
}
ENCODERS = ("image", "video")  # backbones of any model, whose family its configuration tells
TEXT_MODELS = {
    "clip": "CLIPTextModelWithProjection",
    "siglip": "SiglipTextModel",
    "xclip": "XCLIPModel",
}
CONFIGS = {"clip": "CLIPTextConfig", "siglip": "SiglipTextConfig", "xclip": "XCLIPConfig"}


@dataclass(frozen=True)
class Words:
    """The text tower of a backbone, loaded on first use."""

    backbone: str
    weights: str  # a name on the hub, a folder, or random:SEED
    offline: bool = False

    @property
    def is_random(self) -> bool:
        """Return True for random weights, whose vectors mean nothing."""
        return random_seed(self.weights) is not None

    def vectors(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return a vector of length 1 for each sentence, [sentences, dim].

        Raises UsageError if a sentence is empty or too long, or the text tower cannot be loaded.
        """
        for sentence in sentences:
            if not sentence.strip():
                raise UsageError("a sentence to look for is empty", hint='write one: "a fire"')
        found = []
        for sentence in sentences:
            own = self._embedded([phrase.format(sentence.strip()) for phrase in PHRASES], sentence)
            mean = torch.nn.functional.normalize(own, dim=-1).mean(0)
            found.append(torch.nn.functional.normalize(mean, dim=-1))
        return np.asarray(torch.stack(found).float().numpy())

    @torch.inference_mode()
    def _embedded(self, phrases: list[str], sentence: str) -> torch.Tensor:
        """Return the embeddings of phrases, [phrases, dim]."""
        model, tokenizer, most = self._loaded
        rows = [self._tokens(tokenizer, phrase) for phrase in phrases]
        if (longest := max(map(len, rows))) > most:
            raise UsageError(
                f"{sentence[:40]!r}... has {longest} tokens in its longest phrase, {most} fit",
                hint="use a shorter sentence",
            )
        padding = 1 if self._family == "siglip" else rows[0][-1]
        length = most if self._family == "siglip" else max(map(len, rows))
        filled = torch.tensor([row + [padding] * (length - len(row)) for row in rows])
        if self._family == "xclip":
            given = model.get_text_features(input_ids=filled)
            embedded: torch.Tensor = getattr(given, "pooler_output", given)
            return embedded
        output = model(input_ids=filled)
        vectors: torch.Tensor = (
            output.text_embeds if self._family == "clip" else output.pooler_output
        )
        return vectors

    def _tokens(self, tokenizer: Any, phrase: str) -> list[int]:
        if tokenizer is None:  # random weights: bytes, then the end token
            return [*phrase.encode(), 49_407]
        tokens: list[int] = tokenizer(phrase)["input_ids"]
        return tokens

    @cached_property
    def _family(self) -> str:
        if self.backbone in WITH_WORDS:
            return WITH_WORDS[self.backbone]
        if self.backbone not in ENCODERS:
            raise UsageError(
                f"{self.backbone} has no text tower",
                hint=f"use --backbone {', '.join(WITH_WORDS)}, or image:NAME_OR_FOLDER of CLIP",
            )
        import transformers

        config = from_pretrained(transformers.AutoConfig, self.weights, offline=self.offline)
        family = str(config.model_type)
        if family not in TEXT_MODELS:
            raise UsageError(
                f"{self.weights} is a {family}, whose words are not known here",
                hint=f"known are {', '.join(TEXT_MODELS)}",
            )
        return family

    @cached_property
    def _loaded(self) -> tuple[Any, Any, int]:
        """Return the model, its tokenizer (None for random weights), and the most tokens."""
        import transformers

        kind = getattr(transformers, TEXT_MODELS[self._family])
        seed = random_seed(self.weights)
        if seed is not None:
            sizes = {"projection_dim": find_backbone(self.backbone).dim}
            own = {} if self._family == "siglip" else sizes
            model = kind(getattr(transformers, CONFIGS[self._family])(**own)).eval()
            fill_randomly(model, seed)
            return model, None, _most_tokens(model.config)
        model = from_pretrained(kind, self.weights, offline=self.offline).eval()
        tokenizer = load_tokenizer(self.weights, offline=self.offline)
        return model, tokenizer, _most_tokens(model.config)


def _most_tokens(config: Any) -> int:
    own = getattr(config, "text_config", config)
    return int(own.max_position_embeddings)


def words_of(backbone: str, weights: str | None, *, offline: bool = False) -> Words:
    """Return the words of a backbone, which names its weights or has known ones.

    Raises UsageError if it has no text tower.
    """
    name, given = named_weights(backbone, weights)
    card = find_backbone(name)
    if given is None and not card.weights:
        raise UsageError(f"--backbone {name} needs weights", hint=f"write {name}:NAME_OR_FOLDER")
    words = Words(name, given or BACKBONES[name].weights[0].name, offline)
    words._family  # noqa: B018  # raises for a backbone without words, before anything is decoded
    return words

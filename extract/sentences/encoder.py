"""From sentences to embeddings: the code that all models share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from vad.pretrained import versions

from .models import TextModel
from .table import EncoderCard

TOKENS_AT_ONCE = {"cpu": 1024, "cuda": 65536}  # most tokens per batch, padding included


class SentenceEncoder:
    """A sentence embedding model with its tokenizer.

    name, dim. provenance: everything that the embeddings depend on, as JSON values.
    """

    def __init__(self, card: EncoderCard, model: TextModel, device: torch.device) -> None:
        self.name = card.name
        self._model = model
        self._device = device
        model.module.to(device).eval()
        self.dim = self(["a"]).shape[1]
        self.provenance: dict[str, object] = {
            "encoder": card.name,
            "dim": self.dim,
            **model.record,
            "max_tokens": model.max_tokens,
            "prompt": model.prompt,
            "dtype": "float32",
            "versions": versions("torch", "transformers", "sentence-transformers"),
        }

    @torch.inference_mode()
    def __call__(self, sentences: Sequence[str]) -> NDArray[np.float32]:
        """Return embeddings, float32 [sentences, dim]. Equal sentences are computed once."""
        unique = list(dict.fromkeys(sentences))
        tokens = self._tokens(unique)
        rows: NDArray[np.float32] | None = None
        for index in batches([len(ids) for ids in tokens], self._at_once()):
            padded = self._model.tokenizer.pad(
                {"input_ids": [tokens[i] for i in index]}, return_tensors="pt"
            )
            batch = {name: tensor.to(self._device) for name, tensor in padded.items()}
            some = self._model.embed(batch).float().cpu().numpy()
            if rows is None:
                rows = np.empty((len(unique), some.shape[1]), np.float32)
            rows[index] = some
        if rows is None:
            return np.empty((0, self.dim), np.float32)
        place = {sentence: row for row, sentence in enumerate(unique)}
        return rows[[place[sentence] for sentence in sentences]]

    def _tokens(self, sentences: list[str]) -> list[list[int]]:
        texts = [self._model.prompt + sentence for sentence in sentences]
        encoded = self._model.tokenizer(
            texts,
            truncation=True,
            max_length=self._model.max_tokens,
            return_attention_mask=False,
            return_token_type_ids=False,
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _at_once(self) -> int:
        return TOKENS_AT_ONCE["cpu" if self._device.type == "cpu" else "cuda"]


def batches(lengths: Sequence[int], tokens_at_once: int) -> Iterator[list[int]]:
    """Yield batches of sentence indices, grouped by similar length, the longest sentences first.

    lengths: tokens of each sentence. A batch, padded to its longest sentence, has at most
    `tokens_at_once` tokens, unless it is a single sentence.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    start = 0
    while start < len(order):
        size = max(1, tokens_at_once // max(1, lengths[order[start]]))
        yield order[start : start + size]
        start += size

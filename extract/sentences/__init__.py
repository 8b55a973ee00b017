"""Sentence encoders: captions to embeddings.

    encoder = create_encoder("minilm")
    encoder(["a car burns"])  # float32 [sentences, dim]

What has a name stands in `table.py`; how each is loaded, in `pooled.py` (BERT and what of it is
the sentence) and `shipped.py` (models that say so themselves).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .table import ENCODERS, EncoderCard, find_encoder

if TYPE_CHECKING:
    import torch

    from .encoder import SentenceEncoder

__all__ = ["ENCODERS", "EncoderCard", "create_encoder", "find_encoder"]


def create_encoder(
    name: str, *, device: str | torch.device = "cpu", offline: bool = False
) -> SentenceEncoder:
    """Load a sentence encoder, ready to be called; see `table.find_encoder` for names.

    Raises UsageError for a name that does not exist and for a model that cannot be loaded.
    """
    card = find_encoder(name)
    from vad.device import choose_device

    from .encoder import SentenceEncoder

    if isinstance(device, str):
        device = choose_device(device)
    module = "shipped" if card.pooling == "as-shipped" else "pooled"
    load = import_module(f".{module}", __package__).load
    return SentenceEncoder(card, load(card, offline=offline), device)

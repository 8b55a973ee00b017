"""Sentence encoders, which turn captions into embeddings.

    encoder = create_encoder("minilm")
    encoder(["a car burns"])  # float32 [sentences, dim]

`table.py` lists the encoders that have a short name, `models.py` loads them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .table import ENCODERS, EncoderCard, find_encoder

if TYPE_CHECKING:
    import torch

    from .encoder import SentenceEncoder

__all__ = ["ENCODERS", "EncoderCard", "create_encoder", "find_encoder"]


def create_encoder(
    name: str, *, device: str | torch.device = "cpu", offline: bool = False
) -> SentenceEncoder:
    """Load a sentence encoder; `table.find_encoder` describes the names.

    Raises UsageError if there is no such encoder or its model cannot be loaded.
    """
    card = find_encoder(name)
    from vad.device import choose_device

    from .encoder import SentenceEncoder
    from .models import load_bert, load_shipped

    if isinstance(device, str):
        device = choose_device(device)
    load = load_shipped if card.pooling == "as-shipped" else load_bert
    return SentenceEncoder(card, load(card, offline=offline), device)

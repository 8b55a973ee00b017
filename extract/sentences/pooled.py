"""BERT as a sentence encoder: SimCSE (Gao et al., EMNLP 2021).

The published folders hold a plain BERT, and say nothing of pooling: sentence-transformers would
take the mean of the tokens, which is another embedding. The supervised models were trained with
the pooler (CLS, dense, tanh) and are used with it; the unsupervised ones with CLS itself.
"""

from __future__ import annotations

from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from ..weights.pretrained import from_pretrained, record_of
from .encoder import TextModel
from .table import EncoderCard


def load(card: EncoderCard, *, offline: bool) -> TextModel:
    """The model and its tokenizer; embeddings equal transformers' own to 1e-5."""
    with_pooler = card.pooling == "pooler"
    model = from_pretrained(
        AutoModel,
        card.model,
        offline=offline,
        output_loading_info=True,
        add_pooling_layer=with_pooler,
    )
    tokenizer = from_pretrained(AutoTokenizer, card.model, offline=offline)

    def embed(batch: dict[str, Tensor]) -> Tensor:
        output = model(**batch)
        chosen: Tensor = output.pooler_output if with_pooler else output.last_hidden_state[:, 0]
        return chosen

    return TextModel(
        tokenizer,
        model,
        embed,
        max_tokens=min(tokenizer.model_max_length, model.config.max_position_embeddings),
        record={
            "weights": record_of(card.model, model.config) | {"licence": card.licence},
            "pooling": card.pooling,
            "normalised": False,
        },
    )

"""The table of sentence encoders that have a short name, readable without importing torch.

minilm                       the embedded encoder simcse, simcse:FOLDER        by name on the
Hugging Face hub, or from a local folder sentence-transformers/...    any sentence-transformers
model, by name or as a folder
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from vad.errors import UsageError

# Which output is the sentence embedding: BERT's pooler output (CLS, dense, tanh), its CLS token, or
# the output of the modules that the model is shipped with.
Pooling = Literal["pooler", "cls", "as-shipped"]

BERT_BASE = 109_482_240  # parameters


@dataclass(frozen=True, slots=True)
class EncoderCard:
    """The facts about a sentence encoder that are known before it is loaded."""

    name: str  # also the default name of the array in the store
    model: str  # name on the hub or folder; empty: a package ships the model
    pooling: Pooling
    licence: str = ""
    says: str = ""
    n_parameters: int | None = None


_CARDS = (
    EncoderCard(
        "minilm",
        "",
        "as-shipped",
        "Apache-2.0",
        "all-MiniLM-L6-v2, 384-d, mean of the tokens, length 1: needs no network (wsvad[offline])",
    ),
    EncoderCard(
        "simcse",
        "princeton-nlp/sup-simcse-bert-base-uncased",
        "pooler",
        "MIT",
        "supervised SimCSE, 768-d, pooler output, not normalised: TEVAD's",
        BERT_BASE,
    ),
    EncoderCard(
        "simcse-unsup",
        "princeton-nlp/unsup-simcse-bert-base-uncased",
        "cls",
        "MIT",
        "unsupervised SimCSE, 768-d, the CLS token",
        BERT_BASE,
    ),
)

ENCODERS: dict[str, EncoderCard] = {card.name: card for card in _CARDS}


def find_encoder(name: str) -> EncoderCard:
    """Return the card for NAME, NAME:MODEL, a folder or a name on the Hugging Face hub.

    Raises UsageError, which lists the encoders, for anything else.
    """
    known, colon, model = name.partition(":")
    if known in ENCODERS and (model or not colon):
        card = ENCODERS[known]
        if model and not card.model:
            raise UsageError(f"{known} comes from its package and takes no {model!r}")
        return replace(card, model=model) if model else card
    if Path(name).is_dir() or re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        called = re.sub(r"[^\w.-]+", "-", Path(name).resolve().name).strip("-.").lower()
        return EncoderCard(called or "encoder", name, "as-shipped")
    raise UsageError(
        f"no sentence encoder named {name!r}; there are: {', '.join(ENCODERS)}",
        hint="or give a folder, or a name like sentence-transformers/all-mpnet-base-v2",
    )

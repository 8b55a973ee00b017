"""TimeSformer (Bertasius et al. 2021), from transformers: the CLS token after the last
LayerNorm.

Weights are a name on the Hugging Face hub, a local folder in its format (config.json with
safetensors or pytorch_model.bin), an original checkpoint (.pyth), or random:SEED. The number of
frames and the frame size are those that the weights were trained on: 8 frames are every second
frame of a clip, 16 are all. Files are read here and not by `from_pretrained`, which fills missing
tensors with random numbers.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import EntryNotFoundError, StrictDataclassError
from torch import nn
from torch.nn import functional as F
from transformers import TimesformerConfig, TimesformerModel
from transformers.models.timesformer.modeling_timesformer import TimesformerSelfAttention

from vad.checkpoints import first_line
from vad.errors import UsageError
from vad.grid import CLIP_FRAMES

from ..recipes import Recipe
from ..weights.checkpoint import (
    UNKNOWN_LICENCE,
    State,
    fill_randomly,
    load_strictly,
    random_seed,
    read_checkpoint,
)
from .network import Network
from .table import BACKBONES

CARD = BACKBONES["timesformer"]
CONFIG = "config.json"
TENSORS = ("model.safetensors", "pytorch_model.bin")  # in order of preference
HEAD_DIM = 64  # width of an attention head in every published TimeSformer


class FusedAttention(nn.Module):
    """The self-attention of transformers' TimeSformer, computed by torch's fused kernel."""

    def __init__(self, qkv: nn.Linear, n_heads: int) -> None:
        super().__init__()
        self.qkv = qkv
        self.n_heads = n_heads

    def forward(self, tokens: torch.Tensor, _attentions: bool = False) -> tuple[torch.Tensor]:
        """Attend over tokens: [sequences, tokens, dim] -> the same shape, in a tuple as the caller
        expects.
        """
        sequences, n_tokens, dim = tokens.shape
        qkv = self.qkv(tokens).reshape(sequences, n_tokens, 3, self.n_heads, dim // self.n_heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return (mixed.transpose(1, 2).reshape(sequences, n_tokens, dim),)


class ClipToken(nn.Module):
    """TimeSformer as a network from views to features."""

    def __init__(self, model: TimesformerModel) -> None:
        super().__init__()
        self.model = model
        for name, module in list(model.named_modules()):
            if isinstance(module, TimesformerSelfAttention):
                model.set_submodule(name, FusedAttention(module.qkv, module.num_heads))

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Return features: normalised RGB [views, frames, height, width, 3] -> [views, dim]."""
        tokens: torch.Tensor = self.model(views.permute(0, 1, 4, 2, 3)).last_hidden_state
        return tokens[:, 0]


def load(weights: str, recipe: Recipe, *, offline: bool = False) -> Network:
    """Load TimeSformer with weights from the hub, a folder, an original file or random:SEED."""
    seed = random_seed(weights)
    record: dict[str, Any]
    if seed is not None:
        model = TimesformerModel(TimesformerConfig())
        record = fill_randomly(model, seed)
    else:
        path, config = _find(weights, offline)
        checkpoint = read_checkpoint(path)
        state = to_our_names(checkpoint.state, weights)
        model = TimesformerModel(config or config_of(state, weights))
        load_strictly(model, state, weights)
        known = CARD.known(weights)
        record = checkpoint.record | {"licence": known.licence if known else UNKNOWN_LICENCE}
    config = model.config
    return Network(
        ClipToken(model).eval().requires_grad_(False),
        dim=config.hidden_size,
        recipe=_adapt(recipe, config, weights),
        weights={"name": weights, **record},
        layout=f"{config.num_frames} frames of {config.image_size} px",
        cpu_views=1,
        gpu_views=16,
        libraries=("torch", "transformers"),
    )


def _adapt(recipe: Recipe, config: TimesformerConfig, weights: str) -> Recipe:
    """Return the recipe with the frames and the frame size that the weights need. Raises UsageError
    if a clip cannot supply them.
    """
    n, size = config.num_frames, config.image_size
    if not isinstance(size, int):
        raise UsageError(f"{weights} wants pictures of {size} px, which are not square")
    if n > CLIP_FRAMES or CLIP_FRAMES % n:
        raise UsageError(
            f"{weights} wants {n} frames, which cannot be spread evenly over a clip of "
            f"{CLIP_FRAMES}",
            hint="take one made for 8 or 16",
        )
    frames = tuple(range(0, CLIP_FRAMES, CLIP_FRAMES // n))
    return replace(recipe, frames=frames, resize_px=size, crop_px=size)


def _find(weights: str, offline: bool) -> tuple[Path, TimesformerConfig | None]:
    """Return the file of tensors, and the configuration; None if it must be derived from the
    tensors' shapes. Raises UsageError if there are no such weights.
    """
    path = Path(weights)
    if path.is_dir():
        tensors = next((path / name for name in TENSORS if (path / name).is_file()), None)
        if tensors is None or not (path / CONFIG).is_file():
            raise UsageError(f"{path} must hold {CONFIG} and {' or '.join(TENSORS)}")
        return tensors, _read_config(path / CONFIG)
    if path.is_file():
        return path, None
    if re.fullmatch(r"[\w-]+/[\w.-]+", weights) and not path.suffix:
        config = _from_hub(weights, (CONFIG,), offline)
        return _from_hub(weights, TENSORS, offline), _read_config(config)
    raise UsageError(
        f"no weights at {weights}",
        hint=f"give a file, a folder or a name like {CARD.weights[0].name}",
    )


def _read_config(path: Path) -> TimesformerConfig:
    try:
        config = TimesformerConfig.from_json_file(path)
    except (OSError, ValueError, TypeError, StrictDataclassError) as error:
        raise UsageError(f"{path} is not a configuration: {first_line(error)}") from error
    if config.model_type != "timesformer" or config.attention_type != "divided_space_time":
        raise UsageError(f"{path} is not of a TimeSformer with divided space-time attention")
    return config


def _from_hub(repository: str, names: tuple[str, ...], offline: bool) -> Path:
    """Return the first of these files that the repository has, from the cache or the hub. Raises
    UsageError if it has none.
    """
    from huggingface_hub import hf_hub_download

    reason = ""
    for name in names:
        try:
            return Path(hf_hub_download(repository, name, local_files_only=offline))
        except (EntryNotFoundError, OSError) as error:  # no such file, or no connection
            reason = first_line(error)
    raise UsageError(
        f"{repository} is not in the cache of the Hugging Face hub and "
        + ("no connection may be opened" if offline else f"could not be fetched: {reason}"),
        hint=f"download https://huggingface.co/{repository} elsewhere and give the folder",
    )


# --- names of the published files

_ORIGINAL = {
    "cls_token": "embeddings.cls_token",
    "pos_embed": "embeddings.position_embeddings",
    "time_embed": "embeddings.time_embeddings",
    "patch_embed.proj": "embeddings.patch_embeddings.projection",
    "norm": "layernorm",
    "norm1": "layernorm_before",
    "attn.qkv": "attention.attention.qkv",
    "attn.proj": "attention.output.dense",
    "temporal_norm1": "temporal_layernorm",
    "temporal_attn.qkv": "temporal_attention.attention.qkv",
    "temporal_attn.proj": "temporal_attention.output.dense",
    "temporal_fc": "temporal_dense",
    "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_CLASSIFIERS = ("classifier.", "head.")


def to_our_names(state: State, source: str) -> State:
    """Return the trunk of a state dict under the names of transformers' TimesformerModel.

    Raises UsageError if the names are of no known TimeSformer.
    """
    state = {re.sub(r"^(timesformer|model)\.", "", name): value for name, value in state.items()}
    if "cls_token" in state:
        state = {_from_original(name): value for name, value in state.items()}
    if "embeddings.cls_token" not in state:
        raise UsageError(
            f"{source} is no TimeSformer in a known naming: it has {', '.join(list(state)[:5])}",
            hint="known are those of transformers and of the original code",
        )
    return {name: value for name, value in state.items() if not name.startswith(_CLASSIFIERS)}


def _from_original(name: str) -> str:
    part = re.fullmatch(r"(blocks\.(\d+)\.)?(.+?)(\.weight|\.bias)?", name)
    if part is None or part[3] not in _ORIGINAL:
        return name
    place = f"encoder.layer.{part[2]}." if part[1] else ""
    return f"{place}{_ORIGINAL[part[3]]}{part[4] or ''}"


def config_of(state: State, source: str) -> TimesformerConfig:
    """Return the configuration that follows from the shapes of a checkpoint's tensors. Raises
    UsageError if tensors are missing.
    """
    try:
        time = state["embeddings.time_embeddings"]
        position = state["embeddings.position_embeddings"]
        projection = state["embeddings.patch_embeddings.projection.weight"]
        wide = state["encoder.layer.0.intermediate.dense.weight"]
    except KeyError as error:
        raise UsageError(f"{source} is no TimeSformer with divided attention: no {error}") from None
    layers = {name.split(".")[2] for name in state if name.startswith("encoder.layer.")}
    dim, patch_px = projection.shape[0], projection.shape[-1]
    return TimesformerConfig(
        num_frames=time.shape[1],
        image_size=math.isqrt(position.shape[1] - 1) * patch_px,
        patch_size=patch_px,
        hidden_size=dim,
        num_hidden_layers=len(layers),
        num_attention_heads=dim // HEAD_DIM,
        intermediate_size=wide.shape[0],
    )

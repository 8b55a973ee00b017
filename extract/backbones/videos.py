"""Video encoders of transformers: VideoMAE, V-JEPA 2, X-CLIP and others.

The network sees as many frames as it was made for: the 16 of a snippet, every second of them (8),
or a window that begins with the snippet and reaches beyond it, as windows of captions do (V-JEPA 2:
64). A row of features is the mean of the tokens (VideoMAE, V-JEPA 2) or the video embedding
(X-CLIP). Sizes, filter and normalisation are those of the processor beside the weights.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vad.errors import UsageError
from vad.grid import CLIP_FRAMES
from vad.pretrained import record_of

from ..recipes import Recipe
from ..weights.checkpoint import UNKNOWN_LICENCE, fill_randomly, random_seed
from .images import Family, _of_transformers, adapted, load_model, load_processor
from .network import Network
from .table import BACKBONES

FAMILIES = {
    "videomae": Family("VideoMAEModel", "VideoMAEConfig", "VideoMAEImageProcessor"),
    "vjepa2": Family("VJEPA2Model", "VJEPA2Config", "VJEPA2VideoProcessor"),
    "xclip": Family("XCLIPModel", "XCLIPConfig", "VideoMAEImageProcessor"),
}
OTHERS = Family("AutoModel", "AutoConfig", "AutoVideoProcessor")
RANDOM: dict[str, tuple[str, dict[str, Any]]] = {
    "videomae-base": ("videomae", {}),
    "vjepa2-large": ("vjepa2", {}),
    "xclip-base32": ("xclip", {"vision_config": {"num_frames": 8, "patch_size": 32}}),
}


class ClipEncoder(nn.Module):
    """Normalised RGB [views, frames, height, width, 3] -> [views, dim]."""

    def __init__(self, model: Any, kind: str) -> None:
        super().__init__()
        self.model, self.kind = model, kind

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Return the features of every view."""
        pixels = views.permute(0, 1, 4, 2, 3).contiguous()
        if self.kind == "xclip":
            found = self.model.get_video_features(pixel_values=pixels)
            embedded: torch.Tensor = getattr(found, "pooler_output", found)
            return embedded
        if self.kind == "vjepa2":
            output = self.model(pixel_values_videos=pixels, skip_predictor=True)
        else:
            output = self.model(pixel_values=pixels)
        tokens: torch.Tensor = output.last_hidden_state
        return tokens.mean(1)


def load(weights: str, recipe: Recipe, *, offline: bool = False, backbone: str = "") -> Network:
    """Load a video encoder from the hub, a folder, or random:SEED for a known backbone.

    Raises UsageError if the model or its processor cannot be loaded, or wants a number of frames
    that a snippet cannot give.
    """
    seed = random_seed(weights)
    record: dict[str, Any]
    if seed is not None:
        if backbone not in RANDOM:
            raise UsageError(
                f"random weights need a known network, and {backbone} is any",
                hint=f"use --backbone {next(iter(RANDOM))}",
            )
        name, sizes = RANDOM[backbone]
        family = FAMILIES[name]
        model = _of_transformers(family.model)(_of_transformers(family.config)(**sizes)).eval()
        record = fill_randomly(model, seed)
        processor: Any = _of_transformers(family.processor)()
    else:
        family, model, config = load_model(weights, FAMILIES, OTHERS, offline=offline)
        processor = load_processor(
            weights, "video" if family.processor.endswith("VideoProcessor") else "image",
            offline=offline,
        )  # fmt: skip
        known = BACKBONES[backbone].known(weights) if backbone in BACKBONES else None
        record = record_of(weights, config)
        record["licence"] = known.licence if known else UNKNOWN_LICENCE
    kind = model.config.model_type
    recipe = replace(adapted(recipe, processor, family), frames=_frames(model.config, weights))
    module = ClipEncoder(model, kind).eval().requires_grad_(False)
    with torch.inference_mode():
        dim = module(torch.zeros(1, len(recipe.frames), *recipe.crop_size, 3)).shape[1]
    side = recipe.crop_size
    return Network(
        module,
        dim=dim,
        recipe=recipe,
        weights={"name": Path(weights).name if Path(weights).is_dir() else weights, **record},
        layout=f"{kind} {dim}-d, {len(recipe.frames)} frames of {side[0]}x{side[1]} px",
        cpu_views=1,
        gpu_views=max(1, 8 * CLIP_FRAMES // recipe.window),
        libraries=("torch", "transformers"),
    )


def _frames(config: Any, weights: str) -> tuple[int, ...]:
    """Return the frames that a network sees, counted from the first of a snippet. Raises UsageError
    if it was made for fewer than 16, and these cannot be spread evenly over a snippet.
    """
    wanted = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    if wanted is None and hasattr(config, "vision_config"):
        wanted = getattr(config.vision_config, "num_frames", None)
    wanted = wanted or CLIP_FRAMES
    if wanted < CLIP_FRAMES and CLIP_FRAMES % wanted:
        raise UsageError(
            f"{weights} wants {wanted} frames, which cannot be spread evenly over the "
            f"{CLIP_FRAMES} of a snippet",
            hint="take one made for 8, 16 or more",
        )
    return tuple(range(0, max(CLIP_FRAMES, wanted), max(1, CLIP_FRAMES // wanted)))

"""Image encoders of transformers, frame by frame: CLIP, SigLIP, DINO and others.

A row of features is the mean of the image embeddings of the frames that the recipe takes, and,
beside it, the patch tokens pooled to cells:

    visual   [dim]            mean over frames of the image embedding, not normalised
    places   [49, width]      mean over frames of the patch tokens, pooled to 7 x 7 cells

Sizes, filter and normalisation are those of the image processor beside the weights; the pixels
equal those that transformers' own processor makes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from vad.errors import UsageError
from vad.pretrained import from_pretrained, record_of
from vad.store.metadata import Cells

from ..recipes import Filter, Recipe
from ..weights.checkpoint import UNKNOWN_LICENCE, fill_randomly, random_seed
from .network import Columns, Network
from .table import BACKBONES

GRID = 7  # rows and columns of cells
FILTERS: dict[int, Filter] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers


@dataclass(frozen=True)
class Family:
    """How transformers names the parts of one kind of encoder."""

    model: str  # class of the network
    config: str  # class of its configuration
    processor: str  # class of its image or video processor
    embedding: str = "pooler_output"  # field of the output with the embedding
    n_first: int = 1  # tokens before those of the patches


FAMILIES = {
    "clip": Family(
        "CLIPVisionModelWithProjection", "CLIPVisionConfig", "CLIPImageProcessor", "image_embeds"
    ),
    "siglip": Family("SiglipVisionModel", "SiglipVisionConfig", "SiglipImageProcessor", n_first=0),
    "dinov2": Family("Dinov2Model", "Dinov2Config", "BitImageProcessor"),
    "dinov3_vit": Family("DINOv3ViTModel", "DINOv3ViTConfig", "DINOv3ViTImageProcessor"),
}
OTHERS = Family("AutoModel", "AutoConfig", "AutoImageProcessor")
# the configurations of known backbones, which random weights need
RANDOM: dict[str, tuple[str, dict[str, Any]]] = {
    "clip-b16": ("clip", {"patch_size": 16, "projection_dim": 512}),
    "clip-b32": ("clip", {"patch_size": 32, "projection_dim": 512}),
    "clip-l14": (
        "clip",
        {"patch_size": 14, "projection_dim": 768, "hidden_size": 1024, "intermediate_size": 4096}
        | {"num_hidden_layers": 24, "num_attention_heads": 16},
    ),
    "siglip2-base": ("siglip", {}),
    "dinov2-base": ("dinov2", {"image_size": 224}),
    "dinov3-base": (
        "dinov3_vit",
        {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
        | {"num_register_tokens": 4},
    ),
}


class FramesEncoder(nn.Module):
    """Normalised RGB [views, frames, height, width, 3] -> [views, dim + 49 width]."""

    def __init__(self, model: nn.Module, family: Family, n_first: int, side: int) -> None:
        """n_first: tokens before those of the patches. side: rows and columns of patches."""
        super().__init__()
        self.model, self.family, self.n_first, self.side = model, family, n_first, side
        self.has_places = True  # False: without the cells

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Return the features of every view."""
        n_views, n_frames = views.shape[:2]
        output = self.model(pixel_values=views.flatten(0, 1).permute(0, 3, 1, 2).contiguous())
        embedded = getattr(output, self.family.embedding)
        visual: torch.Tensor = embedded.unflatten(0, (n_views, n_frames)).mean(1)
        if not self.has_places:
            return visual
        tokens = output.last_hidden_state[:, self.n_first :]
        tokens = tokens.unflatten(0, (n_views, n_frames)).mean(1)
        cells = F.adaptive_avg_pool2d(
            tokens.transpose(1, 2).unflatten(2, (self.side, self.side)), (GRID, GRID)
        )
        return torch.cat([visual, cells.flatten(2).transpose(1, 2).flatten(1)], 1)


def load(weights: str, recipe: Recipe, *, offline: bool = False, backbone: str = "") -> Network:
    """Load an image encoder from the hub, a folder, or random:SEED for a known backbone.

    Raises UsageError if the model or its processor cannot be loaded, or makes no features.
    """
    seed = random_seed(weights)
    if seed is not None:
        family, model, record = _random(backbone, seed)
        processor: Any = _of_transformers(family.processor)()
    else:
        family, model, config = load_model(weights, FAMILIES, OTHERS, offline=offline)
        processor = load_processor(weights, "image", offline=offline)
        known = BACKBONES[backbone].known(weights) if backbone in BACKBONES else None
        record = record_of(weights, config)
        record["licence"] = known.licence if known else UNKNOWN_LICENCE
    recipe = adapted(recipe, processor, family)
    config = model.config
    n_first = family.n_first + (getattr(config, "num_register_tokens", 0) or 0)
    height, width_px = recipe.crop_size
    with torch.inference_mode():
        probe = model(pixel_values=torch.zeros(1, 3, height, width_px))
    embedded = getattr(probe, family.embedding, None)
    if embedded is None or embedded.ndim != 2:
        raise UsageError(f"{weights} is no encoder of images: it gives no embedding of a picture")
    dim, (_, n_tokens, width) = embedded.shape[1], probe.last_hidden_state.shape
    side = round((n_tokens - n_first) ** 0.5)
    module = FramesEncoder(model, family, n_first, side).eval().requires_grad_(False)
    end = dim + GRID * GRID * width
    return Network(
        module,
        dim=end,
        recipe=recipe,
        weights={"name": Path(weights).name if Path(weights).is_dir() else weights, **record},
        layout=f"{config.model_type} {dim}-d, {height}x{width_px} px",
        cpu_views=1,
        gpu_views=16,
        arrays=(
            Columns("visual", 0, dim, (1, dim)),
            Columns("places", dim, end, (GRID * GRID, width)),
        ),
        cells=Cells((GRID, GRID)),
        libraries=("torch", "transformers"),
    )


def without_places(network: Network) -> Network:
    """Return the network without its array of cells, for several crops of a frame."""
    if isinstance(network.module, FramesEncoder):
        network.module.has_places = False
    visual = network.arrays[0]
    return replace(network, dim=visual.stop, arrays=(), cells=None)


def _random(backbone: str, seed: int) -> tuple[Family, Any, dict[str, Any]]:
    if backbone not in RANDOM:
        raise UsageError(
            f"random weights need a known network, and {backbone} is any",
            hint=f"use --backbone {next(iter(RANDOM))}",
        )
    name, sizes = RANDOM[backbone]
    family = FAMILIES[name]
    model = _of_transformers(family.model)(_of_transformers(family.config)(**sizes))
    return family, model, fill_randomly(model, seed)


def load_model(
    weights: str, families: dict[str, Family], others: Family, *, offline: bool
) -> tuple[Family, Any, Any]:
    """Return the family, the model and the configuration of a folder or a name on the hub.

    Raises UsageError if it cannot be loaded.
    """
    config = from_pretrained(_of_transformers("AutoConfig"), weights, offline=offline)
    name = config.model_type.removesuffix("_vision_model")
    family = families.get(name, others)
    kind = _of_transformers(family.model)
    model, _ = from_pretrained_whole(kind, weights, offline=offline)
    return family, model, config


def from_pretrained_whole(kind: Any, weights: str, *, offline: bool) -> tuple[Any, Any]:
    """Return a model all of whose weights are in its file."""
    model = from_pretrained(kind, weights, offline=offline, output_loading_info=True)
    return model.eval(), model.config


def load_processor(weights: str, what: str, *, offline: bool) -> Any:
    """Return the image or video processor beside the weights. Raises UsageError without one."""
    kind = "AutoImageProcessor" if what == "image" else "AutoVideoProcessor"
    try:
        return from_pretrained(_of_transformers(kind), weights, offline=offline)
    except UsageError as error:
        raise UsageError(
            f"{weights} has no {what} processor, which says how frames are prepared: "
            f"{error}".partition("; ")[0],
            hint="put its preprocessor_config.json beside the weights",
        ) from error


def adapted(recipe: Recipe, processor: Any, family: Family) -> Recipe:
    """Return the recipe with sizes, filter and normalisation of a processor.

    Raises UsageError if the processor does what a recipe cannot say.
    """
    size, crop = _sides(processor.size), _sides(getattr(processor, "crop_size", None))
    if not (processor.do_resize and processor.do_rescale and processor.do_normalize) or not size:
        raise UsageError(f"{type(processor).__name__} prepares pictures in an unknown way")
    crops = crop if getattr(processor, "do_center_crop", False) and crop else None
    filter_ = FILTERS.get(int(processor.resample))
    if filter_ is None or (isinstance(size, int) and crops is None):
        raise UsageError(f"{type(processor).__name__} resizes pictures in an unknown way")
    if family.processor == "DINOv3ViTImageProcessor":
        filter_ = "bilinear-float"  # it rescales before it resizes
    crop_px = size if crops is None else crops
    mean, std = (tuple(map(float, v)) for v in (processor.image_mean, processor.image_std))
    whole = isinstance(recipe.resize_px, tuple)  # asked for the whole frame
    crop_size = (crop_px, crop_px) if isinstance(crop_px, int) else crop_px
    return replace(
        recipe,
        resize_px=crop_size if whole else size,
        crop_px=crop_px,
        filter=filter_,
        scale=float(processor.rescale_factor),
        mean=mean,
        std=std,
    )


def _sides(size: Any) -> int | tuple[int, int] | None:
    """Return a processor's size: of the short side, or height and width; None without one."""
    given = dict(size) if size else {}
    if short := given.get("shortest_edge"):
        return int(short)
    if given.get("height") and given.get("width"):
        return int(given["height"]), int(given["width"])
    return None


def _of_transformers(name: str) -> Any:
    import transformers

    return getattr(transformers, name)

"""Backbones: from uint8 clips to features, exactly as in the published recipes.

    backbone = create_backbone("i3d", weights="random:0")
    backbone(clips)  # uint8 [clips, window, height, width, 3] -> float32 [clips, crops, dim]

`table.py` lists the backbones; each is one row there and one module in this package.
"""

from __future__ import annotations

import logging
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from vad.errors import UsageError
from vad.grid import CLIP_FRAMES

from ..recipes import find_recipe
from .table import BACKBONES, BackboneCard, KnownWeights, find_backbone

if TYPE_CHECKING:
    import torch

    from ..recipes import Recipe
    from .backbone import Backbone
    from .network import Load, Network, Places

__all__ = [
    "BACKBONES",
    "BackboneCard",
    "KnownWeights",
    "create_backbone",
    "find_backbone",
    "named_weights",
]


log = logging.getLogger("vad")

ENCODERS = (".images", ".videos")  # modules that any encoder of transformers goes through


def create_backbone(
    name: str,
    *,
    weights: str | None = None,
    recipe: str | None = None,
    crops: str | None = None,
    device: str | torch.device = "cpu",
    precision: str = "fp32",
    batch: int | None = None,
    places: Places = "full",
    pool: str | None = None,
    offline: bool = False,
) -> Backbone:
    """Load a backbone with its weights on a device.

    weights: a known name, a file or random:SEED; for i3d also LAYOUT:FILE, where LAYOUT is the
    known name of the network that the file is for. recipe: a preset that fits the backbone. crops:
    ten, five, center or whole. None takes the default of the table or of the recipe. precision:
    fp32, bf16, fp16 or auto. batch: clips per forward pass; None takes what suits the device.
    places: what is stored of each cell of the picture. pool: which frames of a clip an image
    encoder sees, in place of a recipe.
    offline: open no connection; if a file is missing, the error says how to get it. Raises
    UsageError for unknown names and for weights that do not fit.
    """
    name, weights = named_weights(name, weights)
    card = find_backbone(name)
    if weights is None and not card.weights:
        raise UsageError(f"--backbone {name} needs weights", hint=f"write {name}:NAME_OR_FOLDER")
    preset = find_recipe(recipe or pool or card.recipes[0])
    if preset.name not in card.recipes:
        raise UsageError(
            f"the recipe {preset.name!r} is not made for {name}; "
            f"there are: {', '.join(card.recipes)}"
        )
    crops = crops or preset.crops
    preset.crop_names(crops)  # raises for a wrong name, before the slow load
    from vad.device import choose_device

    from .backbone import Backbone
    from .network import with_places

    if isinstance(device, str):
        device = choose_device(device)
    load: Load = import_module(card.module, __package__).load
    if card.module in ENCODERS:
        load = partial(import_module(card.module, __package__).load, backbone=name)
    taken = preset.taking(crops)
    network = _load_network(load, card, weights or card.weights[0].name, taken, offline=offline)
    if card.module == ".images" and len(preset.crop_names(crops)) > 1:
        from .images import without_places

        network = without_places(network)
    network = with_places(network, places)
    if (window := network.recipe.window) > CLIP_FRAMES:
        log.info("%s looks at %d frames, from the first of each snippet on", name, window)
    return Backbone(name, network, crops=crops, device=device, precision=precision, batch=batch)


def named_weights(name: str, weights: str | None) -> tuple[str, str | None]:
    """Return the backbone and its weights: `image:NAME` is the backbone image with these weights.

    Raises UsageError if the weights are given twice.
    """
    short, colon, inside = name.partition(":")
    if not colon or short not in BACKBONES or BACKBONES[short].weights:
        return name, weights
    if weights not in (None, inside):
        raise UsageError(f"--backbone {name} names its weights, and so does --weights {weights}")
    return short, inside


def _load_network(
    load: Load, card: BackboneCard, weights: str, recipe: Recipe, *, offline: bool
) -> Network:
    """Load the network. If its weights cannot be downloaded, the error suggests a backbone that
    needs no download.
    """
    try:
        return load(weights, recipe, offline=offline)
    except UsageError as error:
        known = card.known(weights)
        if known is None or not known.is_download:
            raise
        shipped = next(
            c.name for c in BACKBONES.values() if c.weights and not c.weights[0].is_download
        )
        hint = f"or use --backbone {shipped}, which needs no download"
        raise UsageError(str(error), hint=hint) from error

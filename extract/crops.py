"""Resize frames and cut crops out of them, exactly as a recipe says.

The frames stay 8-bit until the last step: they are resized once, crops are views of the resized
frames, and only the crops about to enter the network become floating point, in a buffer of the
caller's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from vad.errors import VideoError

from .recipes import MIRRORED, Recipe

LONGEST = 16  # times the short side; a longer strip would fill the memory once resized


@dataclass(frozen=True, slots=True)
class Crop:
    """A square cut out of the resized frame; `left_px` counts in the frame as it is."""

    name: str
    top_px: int
    left_px: int
    mirrored: bool


def resized_size(height_px: int, width_px: int, recipe: Recipe) -> tuple[int, int]:
    """Height and width after the recipe's resize.

    The long side is cut to whole pixels, as torchvision and PIL users do: 240x320 -> 256x341.
    Raises VideoError("too-large") for a strip longer than 16 times its short side.
    """
    if not isinstance(recipe.resize_px, int):
        return recipe.resize_px
    short, long = sorted((height_px, width_px))
    if long > LONGEST * short:
        raise VideoError(
            "too-large",
            f"its pictures are {width_px}x{height_px} px, longer than {LONGEST} times their "
            "short side",
        )
    long = recipe.resize_px * long // short
    return (recipe.resize_px, long) if height_px <= width_px else (long, recipe.resize_px)


def resize(frames: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Resize frames by the recipe's rule and filter.

    uint8 [frames, height, width, 3] -> [frames, height, width, 3], uint8 or, for the filter
    `bilinear-plain`, float32 in 0..255. Bilinear is within one grey level of PIL's.
    """
    size = resized_size(frames.shape[1], frames.shape[2], recipe)
    if size == tuple(frames.shape[1:3]):
        return frames
    if recipe.filter == "lanczos":
        return _resize_by_pil(frames, size)
    pixels = frames.permute(0, 3, 1, 2)  # channels last in memory: no copy
    if recipe.filter == "bilinear-plain":
        resized = F.interpolate(pixels.float(), size, mode="bilinear", align_corners=False)
    elif pixels.device.type == "cpu":
        resized = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    else:  # 8-bit interpolation exists on the CPU alone
        shrinks = size[0] < frames.shape[1] or size[1] < frames.shape[2]  # else nothing to filter
        resized = F.interpolate(pixels.float(), size, mode="bilinear", antialias=shrinks)
        resized = resized.round_().to(torch.uint8)
    return resized.permute(0, 2, 3, 1)


def _resize_by_pil(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    height, width = size
    resized = [
        np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))
        for frame in frames.cpu().numpy()
    ]
    return torch.from_numpy(np.stack(resized)).to(frames.device)


def crop_boxes(recipe: Recipe, crops: str, height_px: int, width_px: int) -> list[Crop]:
    """Where the crops of a set lie in a resized frame, in the order of the features.

    A mirrored crop is cut out of the mirrored frame: its "top-left" shows what is at the top
    right of the frame, mirrored.
    """
    bottom, right = height_px - recipe.crop_px, width_px - recipe.crop_px
    half = round if recipe.center == "round" else int
    places = {
        "top-left": (0, 0),
        "top-right": (0, right),
        "bottom-left": (bottom, 0),
        "bottom-right": (bottom, right),
        "center": (half(bottom / 2), half(right / 2)),
        "whole": (0, 0),
    }
    boxes = []
    for name in recipe.crop_names(crops):
        mirrored = name.endswith(MIRRORED)
        top, left = places[name.removesuffix(MIRRORED)]
        boxes.append(Crop(name, top, right - left if mirrored else left, mirrored))
    return boxes


def cut(frames: torch.Tensor, crop: Crop, out: torch.Tensor) -> None:
    """Write one crop of every frame, still in 0..255, into `out`.

    frames [..., height, width, 3] -> out [..., crop, crop, 3], any floating type
    """
    size = out.shape[-2]
    rows = slice(crop.top_px, crop.top_px + size)
    columns = slice(crop.left_px, crop.left_px + size)
    view = frames[..., rows, columns, :]
    # rows of bytes are put together first: converting them where they lie takes half as long again
    out.copy_(view.flip(-2) if crop.mirrored else view.contiguous())


def normalise(pixels: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """(scale x - mean) / std in place, in one pass over floating point pixels.

    pixels [..., 3], RGB.
    """
    shift = pixels.new_tensor(-recipe.mean / recipe.std)
    return torch.add(shift, pixels, alpha=recipe.scale / recipe.std, out=pixels)

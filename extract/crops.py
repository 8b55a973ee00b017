"""Resize frames and cut crops out of them, exactly as a recipe says.

Frames stay 8-bit until the last step. They are resized once, and crops are views of the resized
frames. Only the crops that are about to enter the network are converted to floating point, in a
buffer that the caller provides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from vad.errors import VideoError

from .recipes import MIRRORED, Recipe

LONGEST = 16  # largest ratio of long to short side; a longer frame would, resized, fill the memory


@dataclass(frozen=True, slots=True)
class Crop:
    """The place of a rectangle that is cut out of a resized frame. `left_px` is counted in the
    unmirrored frame, also for a mirrored crop.
    """

    name: str
    top_px: int
    left_px: int
    mirrored: bool


def resized_size(height_px: int, width_px: int, recipe: Recipe) -> tuple[int, int]:
    """Return the height and width of a frame after the recipe's resize, in pixels.

    The long side is rounded down to whole pixels, as torchvision and PIL users do: 240x320 ->
    256x341. Raises VideoError("too-large") if the long side is more than 16 times the short side.
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

    frames: uint8 [frames, height, width, 3]. Returns the same layout with the new height and width:
    uint8 or, for filters that compute in floats, float32 in 0..255. Bilinear results are within one
    grey level of PIL's.
    """
    size = resized_size(frames.shape[1], frames.shape[2], recipe)
    if size == tuple(frames.shape[1:3]):
        return frames
    if recipe.filter == "lanczos":
        return _resize_by_pil(frames, size)
    pixels = frames.permute(0, 3, 1, 2)  # a view whose channels lie last in memory
    mode = "bicubic" if recipe.filter == "bicubic" else "bilinear"
    if recipe.filter == "bilinear-plain":
        resized = F.interpolate(pixels.float(), size, mode="bilinear", align_corners=False)
    elif recipe.filter == "bilinear-float":
        resized = F.interpolate(pixels.float(), size, mode="bilinear", antialias=True)
    elif pixels.device.type == "cpu":
        resized = F.interpolate(pixels, size, mode=mode, antialias=True)
    else:  # torch interpolates 8-bit images on the CPU only
        shrinks = size[0] < frames.shape[1] or size[1] < frames.shape[2]  # else no antialias
        antialias = shrinks or mode == "bicubic"
        resized = F.interpolate(pixels.float(), size, mode=mode, antialias=antialias)
        resized = resized.round_().clamp_(0, 255).to(torch.uint8)
    return resized.permute(0, 2, 3, 1)


def _resize_by_pil(frames: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    height, width = size
    resized = [
        np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS))
        for frame in frames.cpu().numpy()
    ]
    return torch.from_numpy(np.stack(resized)).to(frames.device)


def crop_boxes(recipe: Recipe, crops: str, height_px: int, width_px: int) -> list[Crop]:
    """Return the crops of a crop set for a resized frame of this size, in the order of the
    features.

    A mirrored crop is cut out of the mirrored frame: the mirrored "top-left" shows the top right
    corner of the frame, mirrored.
    """
    height, width = recipe.crop_size
    bottom, right = height_px - height, width_px - width
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
    """Write one crop of every frame into `out`, with values still in 0..255.

    frames: [..., height, width, 3]. out: [..., crop height, crop width, 3], of any floating type.
    """
    height, width = out.shape[-3:-1]
    rows = slice(crop.top_px, crop.top_px + height)
    columns = slice(crop.left_px, crop.left_px + width)
    view = frames[..., rows, columns, :]
    # contiguous() first: converting the strided view to floating point takes 1.5 times as long
    out.copy_(view.flip(-2) if crop.mirrored else view.contiguous())


def normalise(pixels: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Return (scale x - mean) / std of floating point pixels, computed in place in one pass.

    pixels: [..., 3], RGB.
    """
    if isinstance(recipe.mean, tuple) or isinstance(recipe.std, tuple):
        means, deviations = pixels.new_tensor(recipe.mean), pixels.new_tensor(recipe.std)
        scale = recipe.scale / deviations
        return torch.addcmul(-means / deviations, pixels, scale, out=pixels)
    mean, std = recipe.norm
    return torch.add(pixels.new_tensor(-mean / std), pixels, alpha=recipe.scale / std, out=pixels)

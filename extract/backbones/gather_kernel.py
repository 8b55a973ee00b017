"""`planar.gather` as one Triton kernel, which reads and writes every value once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl

from ..crops import Crop
from ..recipes import Recipe

PIXELS_A_BLOCK = 128


@triton.jit  # type: ignore[untyped-decorator]  # Triton ships no types
def _gather(  # type: ignore[no-untyped-def]  # kernel arguments have no types
    frames,
    firsts,  # [crops, 3]: first row, first column, and 1 or -1 for the step to the next column
    out,
    n_frames,
    height,
    width,
    n_pixels,  # pixels of a view: time x side x side
    scale,
    shift,
    n_crops: tl.constexpr,
    side: tl.constexpr,
    taps: tl.constexpr,
    step: tl.constexpr,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    view = tl.program_id(1).to(tl.int64)
    crop = (view % n_crops).to(tl.int32)
    pixel = tl.program_id(0) * block + tl.arange(0, block)
    row = tl.load(firsts + 3 * crop) + pixel // side % side
    column = tl.load(firsts + 3 * crop + 1) + pixel % side * tl.load(firsts + 3 * crop + 2)
    channel = tl.arange(0, channels)
    frame = (pixel // (side * side) * step - taps // 2)[:, None] + (channel // 3)[None, :]
    inside = (frame >= 0) & (frame < n_frames) & (channel < 3 * taps)[None, :]
    inside &= (pixel < n_pixels)[:, None]
    place = (view // n_crops * n_frames + frame) * height + row[:, None]
    place = (place * width + column[:, None]) * 3 + (channel % 3)[None, :]
    value = tl.load(frames + place, mask=inside, other=0).to(tl.float32) * scale + shift
    value = tl.where(inside, value, 0.0).to(out.dtype.element_ty)
    to = (view * n_pixels + pixel[:, None]) * channels + channel[None, :]
    tl.store(out + to, value, mask=(pixel < n_pixels)[:, None])


def gather(
    frames: torch.Tensor,
    crops: Sequence[Crop],
    recipe: Recipe,
    taps: int,
    step: int,
    out: torch.Tensor,
) -> None:
    """Do what `planar.gather` does, for arrays that are contiguous and on the same GPU.

    frames: uint8 [clips, frames, height, width, 3]; out: [clips, crops, time, side, side, 16].
    """
    n_clips, n_frames, height, width, _ = frames.shape
    mean, std = recipe.norm
    side = recipe.crop_size[1]  # the recipes of I3D-ResNet50 cut squares
    firsts = [
        (crop.top_px, crop.left_px + side - 1, -1)
        if crop.mirrored
        else (crop.top_px, crop.left_px, 1)
        for crop in crops
    ]
    n_pixels = out.shape[2] * side**2
    grid = (triton.cdiv(n_pixels, PIXELS_A_BLOCK), n_clips * len(crops))
    with torch.cuda.device(frames.device):
        _gather[grid](
            frames,
            torch.tensor(firsts, dtype=torch.int32, device=frames.device),
            out,
            n_frames,
            height,
            width,
            n_pixels,
            recipe.scale / std,
            -mean / std,
            n_crops=len(crops),
            side=side,
            taps=taps,
            step=step,
            channels=out.shape[-1],
            block=PIXELS_A_BLOCK,
        )


def try_out() -> None:
    """Compile and run the kernel once. Raises Triton's error if that fails."""
    frames = torch.zeros(1, 1, 1, 1, 3, dtype=torch.uint8, device="cuda")
    out = torch.empty(1, 1, 1, 1, 1, 16, device="cuda")
    gather(frames, [Crop("center", 0, 0, False)], Recipe("one pixel", crop_px=1), 1, 1, out)

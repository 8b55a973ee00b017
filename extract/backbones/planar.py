"""I3D-ResNet50 with two-dimensional convolutions in place of three-dimensional ones, for GPUs.

Except for the first, no kernel of this network spans both space and time. So maps `[views, time,
rows, columns, channels]` are viewed as images without a copy: as `views x time` images of `rows x
columns` for a kernel over space, and as `views` images of `time x (rows x columns)` for a kernel
over time. cuDNN has far faster kernels for channels-last images than for volumes, and computes
bias, ReLU and the addition of the shortcut in the same kernel.

The first kernel (5x7x7) becomes a kernel over space as well: the five frames that it covers are
stacked as channels. `gather` makes this input from resized frames in one step: crops, mirroring,
normalisation and the five frames of each time step.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import nn
from torch.nn import functional as F

from ..crops import Crop
from ..recipes import Recipe

if TYPE_CHECKING:
    from .i3d import I3D

log = logging.getLogger("vad")

Gather = Callable[[torch.Tensor, Sequence[Crop], Recipe, int, int, torch.Tensor], None]

CHANNELS = 16  # five frames of three colours, padded: tensor cores need multiples of eight


class PlanarConv(nn.Module):
    """A folded convolution over space alone or over time alone, followed by ReLU."""

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.over_time = conv.kernel_size[0] > 1
        kernel = conv.weight.detach()
        flat = kernel[..., 0] if self.over_time else kernel[:, :, 0]  # [out, in, rows, columns]
        self.weight = _constant(flat.contiguous(memory_format=torch.channels_last))
        self.bias = _constant(conv.bias.detach())
        padding = cast(tuple[int, ...], conv.padding)
        self.stride = [1, 1] if self.over_time else [int(step) for step in conv.stride[1:]]
        self.padding = [padding[0], 0] if self.over_time else list(padding[1:])

    def forward(self, maps: torch.Tensor, shortcut: torch.Tensor | None = None) -> torch.Tensor:
        """Return relu(convolution + shortcut).

        maps: [views, time, rows, columns, in] -> [views, time, rows, columns, out]
        """
        pictures = self._as_pictures(maps)
        added = None if shortcut is None else self._as_pictures(shortcut)
        out = conv_relu(pictures, self.weight, self.bias, self.stride, self.padding, added)
        out = out.permute(0, 2, 3, 1)
        size = maps.shape[2:4] if self.over_time else maps.shape[:2]
        return cast(torch.Tensor, out.unflatten(2 if self.over_time else 0, size))

    def _as_pictures(self, maps: torch.Tensor) -> torch.Tensor:
        flat = maps.flatten(2, 3) if self.over_time else maps.flatten(0, 1)
        return flat.permute(0, 3, 1, 2)


def conv_relu(
    pictures: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    stride: list[int],
    padding: list[int],
    added: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return relu(conv2d(pictures) + added), in one kernel on a GPU. pictures: [n, in, rows,
    columns].
    """
    if not pictures.is_cuda:
        out = F.conv2d(pictures, weight, bias, stride, padding)
        return (out if added is None else out.add_(added)).relu_()
    if added is None:
        return torch.cudnn_convolution_relu(pictures, weight, bias, stride, padding, [1, 1], 1)
    return torch.cudnn_convolution_add_relu(
        pictures, weight, added, 1.0, bias, stride, padding, [1, 1], 1
    )


class PlanarBlock(nn.Module):
    """A bottleneck block. Its last convolution also adds the shortcut and the shortcut's bias."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        branch, shortcut = cast(nn.Module, block.branch2), block.branch1_conv
        self.a, self.b, self.c = (
            PlanarConv(cast(nn.Conv3d, conv))
            for conv in (branch.conv_a, branch.conv_b, branch.conv_c)
        )
        self.shortcut: nn.Parameter | None = None
        if isinstance(shortcut, nn.Conv3d):
            assert shortcut.bias is not None
            self.step = int(shortcut.stride[1])
            self.shortcut = _constant(shortcut.weight.detach().flatten(1))  # [out, in]
            self.c.bias = _constant(self.c.bias + shortcut.bias)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Run the block: [views, time, rows, columns, in] -> [views, time, rows, columns, out]."""
        beside = maps
        if self.shortcut is not None:
            beside = F.linear(maps[:, :, :: self.step, :: self.step].contiguous(), self.shortcut)
        return cast(torch.Tensor, self.c(self.b(self.a(maps)), beside))


class PlanarStem(nn.Module):
    """The first convolution, on gathered frames, with its ReLU and pooling."""

    def __init__(self, conv: nn.Conv3d, pool: nn.Module) -> None:
        super().__init__()
        assert conv.bias is not None
        kernel = conv.weight.detach().transpose(1, 2).flatten(1, 2)  # [out, frame x colour, ...]
        kernel = F.pad(kernel, (0, 0, 0, 0, 0, CHANNELS - kernel.shape[1]))
        self.weight = _constant(kernel.contiguous(memory_format=torch.channels_last))
        self.bias = _constant(conv.bias.detach())
        self.stride = [int(step) for step in conv.stride[1:]]
        self.padding = list(cast(tuple[int, ...], conv.padding)[1:])
        self.pool = PlanarPool(pool)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Run the stem: gathered frames [views, time, height, width, 16] -> [views, time, rows,
        columns, 64].
        """
        pictures = frames.flatten(0, 1).permute(0, 3, 1, 2)
        maps = conv_relu(pictures, self.weight, self.bias, self.stride, self.padding)
        return cast(
            torch.Tensor, self.pool(maps.permute(0, 2, 3, 1).unflatten(0, frames.shape[:2]))
        )


class PlanarPool(nn.Module):
    """A max pooling over volumes: an element-wise maximum over time, then pooling of images."""

    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        (self.steps, *kernel), (step, *stride), (before, *padding) = (
            _three(getattr(pool, name)) for name in ("kernel_size", "stride", "padding")
        )
        assert step == self.steps
        assert before == 0
        self.sizes = (kernel, stride, padding)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Pool [views, time, rows, columns, channels] over time, rows and columns."""
        most = maps[:, :: self.steps]
        for step in range(1, self.steps):
            most = torch.maximum(most, maps[:, step :: self.steps])
        kernel, stride, padding = self.sizes
        if kernel == [1, 1]:
            return most
        pictures = most.flatten(0, 1).permute(0, 3, 1, 2)
        pooled = F.max_pool2d(pictures, kernel, stride, padding)
        return cast(torch.Tensor, pooled.permute(0, 2, 3, 1).unflatten(0, most.shape[:2]))


class PlanarI3D(nn.Module):
    """Computes the features of `I3D` from gathered frames; the I3D's batch-norms must be folded."""

    def __init__(self, network: I3D) -> None:
        super().__init__()
        stem = network.blocks[0]
        self.taps, self.step = int(stem.conv.kernel_size[0]), int(stem.conv.stride[0])
        self.stem = PlanarStem(stem.conv, stem.pool)
        self.steps = nn.ModuleList()
        for number, block in list(enumerate(network.blocks))[1:]:
            if not hasattr(block, "res_blocks"):  # the pooling behind the first stage
                self.steps.append(PlanarPool(block))
                continue
            for i, res_block in enumerate(block.res_blocks):
                self.steps.append(PlanarBlock(res_block))
                if (place := f"{number}_{i}") in network.nonlocals:
                    self.steps.append(ChannelsFirst(network.nonlocals[place]))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Compute features: gathered frames [views, time, height, width, 16], see `gather` ->
        [views, 2048].
        """
        maps = self.stem(frames)
        for step in self.steps:
            maps = step(maps)
        return cast(torch.Tensor, maps.mean((1, 2, 3), dtype=torch.float32))

    def room(self, n_clips: int, n_crops: int, recipe: Recipe) -> tuple[int, ...]:
        """Return the shape of the array that `gather` fills for this number of clips and crops."""
        n_steps = -(-len(recipe.frames) // self.step)
        return (n_clips, n_crops, n_steps, *recipe.crop_size, CHANNELS)

    def gather(
        self, frames: torch.Tensor, crops: Sequence[Crop], recipe: Recipe, out: torch.Tensor
    ) -> None:
        """Write the network's input to `out`, whose shape is that of `room`; see the function
        `gather` for the arguments.
        """
        gather(frames, crops, recipe, self.taps, self.step, out)

    def of_views(self, views: torch.Tensor) -> torch.Tensor:
        """Return features [views, 2048] of normalised RGB [views, frames, height, width, 3]."""
        return cast(torch.Tensor, self(side_by_side(views, self.taps, self.step)))


class ChannelsFirst(nn.Module):
    """Applies a module with channels first, [views, channels, time, rows, columns], to maps with
    channels last, which the planar modules use.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        volumes = self.module(maps.permute(0, 4, 1, 2, 3))
        return cast(torch.Tensor, volumes.permute(0, 2, 3, 4, 1).contiguous())


def gather(
    frames: torch.Tensor,
    crops: Sequence[Crop],
    recipe: Recipe,
    taps: int,
    step: int,
    out: torch.Tensor,
) -> None:
    """Write normalised crops of clips to `out`, in the layout that a planar network reads.

    frames: uint8 [clips, frames, height, width, 3], resized. out: [clips, crops, time, side, side,
    16], of any floating type. Channel 3 k + c of time t is colour c of frame `step t + k - taps //
    2`. It is zero if there is no such frame (like the padding of the three-dimensional
    convolution), and so are the channels after the last colour.
    """
    if frames.is_cuda and (kernel := _kernel()):
        kernel(frames, crops, recipe, taps, step, out)
        return
    height, width = recipe.crop_size
    for place, crop in enumerate(crops):
        rows = slice(crop.top_px, crop.top_px + height)
        columns = slice(crop.left_px, crop.left_px + width)
        view = frames[:, :, rows, columns]
        view = view.flip(-2) if crop.mirrored else view
        mean, std = recipe.norm
        pixels = (view.float() * recipe.scale - mean) / std
        out[:, place] = side_by_side(pixels, taps, step)


def side_by_side(pixels: torch.Tensor, taps: int, step: int) -> torch.Tensor:
    """Return the frames that a temporal convolution of kernel size `taps` and stride `step` sees at
    each of its time steps, concatenated as channels, frame by frame.

    pixels: normalised RGB [views, frames, height, width, 3]. Returns [views, time, height, width,
    16]. Frames before the first or after the last are zero, as are the channels behind the last
    colour.
    """
    padded = F.pad(pixels, (0,) * 6 + (taps // 2, taps // 2))
    seen = padded.unfold(1, taps, step).transpose(-1, -2).flatten(-2)  # [..., taps x 3]
    return F.pad(seen, (0, CHANNELS - seen.shape[-1]))


@functools.cache
def _kernel() -> Gather | None:
    """Return `gather` as one GPU kernel, or None, after a warning, if Triton is missing or
    fails.
    """
    try:
        from .gather_kernel import gather, try_out

        try_out()
    except (ImportError, RuntimeError, OSError) as error:
        log.warning("crops are cut by PyTorch, which is slower: Triton fails (%s)", error)
        return None
    return gather


def _constant(values: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(values, requires_grad=False)


def _three(size: int | tuple[int, ...]) -> list[int]:
    return [size] * 3 if isinstance(size, int) else [int(one) for one in size]

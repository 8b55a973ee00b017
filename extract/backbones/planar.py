"""I3D-ResNet50 as planar convolutions: what a GPU runs in place of three-dimensional ones.

No kernel of this network but the first spans space and time at once, so maps `[views, time, rows,
columns, channels]` can be read as pictures without a copy: as `views x time` pictures of `rows x
columns` for a kernel over space, and as `views` pictures of `time x (rows x columns)` for one over
time. Libraries have far faster kernels for pictures whose channels lie last than for volumes. Bias,
ReLU and the addition of the shortcut are part of the convolution on a GPU.

The first kernel (5x7x7) becomes one over space, too: the five frames that it sees lie side by side
as channels, see `Gather`.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import nn
from torch.nn import functional as F

from .i3d import I3D, STAGES

STEM_TAPS, STEM_STEP = 5, 2  # frames that the first convolution sees, and steps by
STEM_CHANNELS = 16  # five frames of three colours, and zeros: tensor cores want multiples of eight


class PlanarConv(nn.Module):
    """A folded convolution over space alone or over time alone, then a ReLU if `relu`."""

    def __init__(self, conv: nn.Conv3d, *, relu: bool) -> None:
        super().__init__()
        taps, *spatial = conv.kernel_size
        self.relu, self.over_time = relu, taps > 1
        kernel = conv.weight.detach()
        self.weight = nn.Parameter(
            (kernel[..., 0] if self.over_time else kernel[:, :, 0]).contiguous(
                memory_format=torch.channels_last
            ),
            requires_grad=False,
        )
        self.bias = nn.Parameter(cast(torch.Tensor, conv.bias).detach(), requires_grad=False)
        along = slice(0, 1) if self.over_time else slice(1, 3)
        self.stride = [int(step) for step in conv.stride[along]]
        self.padding = [int(pad) for pad in cast(tuple[int, ...], conv.padding)[along]]
        if self.over_time:
            assert spatial == [1, 1] and self.stride == [1]
            self.stride, self.padding = [1, 1], [*self.padding, 0]

    def forward(self, maps: torch.Tensor, shortcut: torch.Tensor | None = None) -> torch.Tensor:
        """[views, time, rows, columns, in] -> [views, time, rows, columns, out]."""
        views, time, rows = maps.shape[:3]
        pictures = self._as_pictures(maps)
        other = None if shortcut is None else self._as_pictures(shortcut)
        out = self._convolved(pictures, other).permute(0, 2, 3, 1)
        if self.over_time:
            return out.unflatten(2, (rows, -1))
        return out.unflatten(0, (views, time))

    def _as_pictures(self, maps: torch.Tensor) -> torch.Tensor:
        flat = maps.flatten(2, 3) if self.over_time else maps.flatten(0, 1)
        return flat.permute(0, 3, 1, 2)

    def _convolved(self, pictures: torch.Tensor, shortcut: torch.Tensor | None) -> torch.Tensor:
        sizes = (self.stride, self.padding, [1, 1], 1)
        if pictures.is_cuda and self.relu:
            if shortcut is None:
                return torch.cudnn_convolution_relu(pictures, self.weight, self.bias, *sizes)
            return torch.cudnn_convolution_add_relu(
                pictures, self.weight, shortcut, 1.0, self.bias, *sizes
            )
        out = F.conv2d(pictures, self.weight, self.bias, self.stride, self.padding)
        out = out if shortcut is None else out.add_(shortcut)
        return out.relu_() if self.relu else out


class PlanarBlock(nn.Module):
    """A bottleneck block; the last convolution adds the shortcut."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        branch = block.branch2
        self.a = PlanarConv(branch.conv_a, relu=True)
        self.b = PlanarConv(branch.conv_b, relu=True)
        self.c = PlanarConv(branch.conv_c, relu=True)
        shortcut = block.branch1_conv
        self.shortcut = None if shortcut is None else PlanarConv(shortcut, relu=False)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        shortcut = maps if self.shortcut is None else self.shortcut(maps)
        return cast(torch.Tensor, self.c(self.b(self.a(maps)), shortcut))


class PlanarStem(nn.Module):
    """The first convolution over gathered frames, its ReLU and its pooling."""

    def __init__(self, stem: nn.Module) -> None:
        super().__init__()
        conv = stem.conv
        kernel = conv.weight.detach().permute(0, 2, 1, 3, 4).flatten(1, 2)  # [out, tap x colour, ...]
        kernel = F.pad(kernel, (0, 0, 0, 0, 0, STEM_CHANNELS - kernel.shape[1]))
        self.weight = nn.Parameter(kernel.contiguous(memory_format=torch.channels_last), False)
        self.bias = nn.Parameter(conv.bias.detach(), requires_grad=False)
        self.pool = stem.pool

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """[views, time, height, width, 16] -> [views, time / 2, rows, columns, 64]."""
        pictures = frames.flatten(0, 1).permute(0, 3, 1, 2)
        if pictures.is_cuda:
            maps = torch.cudnn_convolution_relu(
                pictures, self.weight, self.bias, [2, 2], [3, 3], [1, 1], 1
            )
        else:
            maps = F.conv2d(pictures, self.weight, self.bias, 2, 3).relu_()
        maps = maps.unflatten(0, frames.shape[:2]).permute(0, 2, 1, 3, 4)
        return cast(torch.Tensor, self.pool(maps).permute(0, 2, 3, 4, 1))


class PlanarI3D(nn.Module):
    """Gathered frames [views, time, height, width, 16] -> [views, 2048]."""

    def __init__(self, network: I3D) -> None:
        super().__init__()
        self.stem = PlanarStem(network.blocks[0])
        self.stages = nn.ModuleList(
            nn.ModuleList(PlanarBlock(block) for block in stage.res_blocks)
            if number in STAGES
            else stage
            for number, stage in list(enumerate(network.blocks))[1:]
        )

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        x = self.stem(frames)
        for stage in self.stages:
            if isinstance(stage, nn.ModuleList):
                for block in stage:
                    x = block(x)
            else:
                x = stage(x.permute(0, 4, 1, 2, 3)).permute(0, 2, 3, 4, 1)
        return x.float().mean((1, 2, 3))


def stem_input(views: torch.Tensor) -> torch.Tensor:
    """Normalised RGB [views, frames, height, width, 3] -> [views, time, height, width, 16].

    Channel 3 k + c of time t is colour c of frame 2 t + k - 2: zero beyond either end.
    """
    padded = F.pad(views, (0,) * 6 + (STEM_TAPS // 2,) * 2)
    windows = padded.unfold(1, STEM_TAPS, STEM_STEP)  # [views, time, height, width, 3, 5]
    channels = windows.transpose(-1, -2).flatten(-2)
    return F.pad(channels, (0, STEM_CHANNELS - channels.shape[-1]))

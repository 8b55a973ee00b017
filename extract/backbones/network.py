"""What a backbone module hands over: a network ready to run, and how it came to be."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vad.errors import InternalError

from ..recipes import Recipe


@dataclass(frozen=True)
class Network:
    """A network with its weights in it.

    `module` maps normalised RGB, float32 [views, frames, crop, crop, 3], to [views, dim]: a view
    is one crop of one clip.
    """

    module: nn.Module
    dim: int
    recipe: Recipe  # the one asked for, its frames and sizes set to what the weights were made for
    weights: dict[str, Any]  # record for the provenance: name, sha256, licence
    layout: str  # which of the variants of its architecture
    cpu_views: int  # views that run best at once
    gpu_views: int
    libraries: tuple[str, ...] = field(default=("torch",))  # whose versions change the numbers


class Load(Protocol):
    """What a module of this folder offers."""

    def __call__(self, weights: str, recipe: Recipe, *, offline: bool) -> Network: ...


def fold(module: nn.Module, pairs: Iterable[tuple[str, str]]) -> None:
    """Make `module` fast, not other: batch-norms into the convolutions, kernels channels-last.

    pairs: dotted names of (convolution, batch-norm) inside `module`, which is changed. The
    folding is done in double precision; features change by 1e-6 of their size.
    """
    module.eval().requires_grad_(False)
    for conv_name, norm_name in pairs:
        conv, norm = module.get_submodule(conv_name), module.get_submodule(norm_name)
        if not isinstance(conv, (nn.Conv2d, nn.Conv3d)) or not isinstance(norm, _BatchNorm):
            raise InternalError(f"{conv_name} and {norm_name} are no convolution and batch-norm")
        module.set_submodule(conv_name, fuse_conv_bn_eval(conv.double(), norm.double()).float())
        module.set_submodule(norm_name, nn.Identity())
    for kernel in module.parameters():
        if kernel.ndim in (4, 5):
            layout = torch.channels_last if kernel.ndim == 4 else torch.channels_last_3d
            kernel.data = kernel.data.contiguous(memory_format=layout)


class TimeConv(nn.Module):
    """A convolution over time alone (3x1x1), or over nothing (1x1x1), as matrix products.

    On a CPU torch has no fast way for these: I3D-ResNet50 takes 0.7 of the time with them so, on
    one thread of an AVX2 machine. What a kernel would see before the first and after the last
    time step is left out, not multiplied by zero.
    """

    def __init__(self, conv: nn.Conv3d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.out_channels = conv.out_channels
        self.step = int(conv.stride[1])  # between rows, and between columns
        kernel = conv.weight.detach().flatten(2).permute(2, 1, 0)
        self.taps = nn.Parameter(kernel.contiguous(), requires_grad=False)  # [time, in, out]
        self.bias = conv.bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[views, in, time, rows, columns] -> [views, out, time, rows, columns]."""
        pixels = x.permute(0, 2, 3, 4, 1)[:, :, :: self.step, :: self.step].contiguous()
        out = pixels.new_empty(*pixels.shape[:-1], self.taps.shape[2])
        middle, n_steps = len(self.taps) // 2, pixels.shape[1]
        torch.addmm(self.bias, pixels.flatten(0, 3), self.taps[middle], out=out.flatten(0, 3))
        for tap, kernel in enumerate(self.taps):
            shift = tap - middle
            if shift == 0 or abs(shift) >= n_steps:
                continue
            target = slice(max(0, -shift), n_steps - max(0, shift))
            seen = slice(max(0, shift), n_steps - max(0, -shift))
            for one, into in zip(pixels, out, strict=True):
                into[target].flatten(0, 2).addmm_(one[seen].flatten(0, 2), kernel)
        return out.permute(0, 4, 1, 2, 3)


def for_cpu(module: nn.Module) -> nn.Module:
    """`module`, changed: a folded network whose convolutions over time run well on a CPU.

    Features change by 1e-6 of their size at most.
    """
    for name, conv in list(module.named_modules()):
        if not isinstance(conv, nn.Conv3d) or conv.bias is None:
            continue
        n_taps, rows, columns = conv.kernel_size
        plain = conv.stride[0] == 1 and tuple(conv.padding) == (n_taps // 2, 0, 0)
        if plain and rows == columns == 1:
            module.set_submodule(name, TimeConv(conv))
    return module

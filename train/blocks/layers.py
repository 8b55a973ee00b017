"""Layers over time that know which snippets are padding, and the head and start they share.

All work on channels-first rows `x [rows, channels, snippets]` (a row is one crop of one video) and
take `mask`, bool [rows, snippets], false at padding, or None. Padding is kept at 0 between the
layers and out of every statistic, so that a padded row gives what it would give alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vad.filtering import OF_4, OF_8

DRAWN = 2**18  # values that dropout draws at once
WIDE = 128  # channels; below, more goes into sums than products save


def conv(
    inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, bias: bool = True
) -> nn.Conv1d:
    """A convolution over time that keeps the length."""
    padding = dilation * (kernel // 2)
    return TimeConv(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=bias)


class TimeConv(nn.Conv1d):
    """A convolution over time that, where it is wide, trains on a CPU as matrix products.

    With three taps it takes half of the arithmetic or less. Between such layers channels lie side
    by side in memory, as they do in the features.
    """

    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        wide = min(self.in_channels, self.out_channels) >= WIDE
        if not (self.training and wide and x.device.type == "cpu"):
            return cast(Tensor, super()._conv_forward(x, weight, bias))
        if self.kernel_size == (1,):
            return F.linear(x.transpose(1, 2), weight[:, :, 0], bias).transpose(1, 2)
        if self.kernel_size == (3,):
            out = filtered(x, weight, int(self.dilation[0]))
            return out if bias is None else out + bias[:, None]
        return cast(Tensor, super()._conv_forward(x, weight, bias))


def filtered(x: Tensor, taps: Tensor, dilation: int) -> Tensor:
    """A convolution of three taps that keeps the length, by minimal filtering (`vad.filtering`).

    x [rows, in, snippets], taps [out, in, 3] -> [rows, out, snippets]
    """
    n_rows, width, length = x.shape
    way = min(OF_8, OF_4, key=lambda way: way.n_inputs * -(-length // (way.n_outputs * dilation)))
    inputs, kernels, back = (x.new_tensor(matrix) for matrix in way)
    step = way.n_outputs * dilation  # snippets that `n_inputs` products give
    n_steps = -(-length // step)
    after = (n_steps + 1) * step - length - dilation
    padded = F.pad(x.transpose(1, 2), (0, 0, dilation, after))
    blocks = padded.view(n_rows, n_steps + 1, way.n_outputs, -1).permute(2, 0, 1, 3)
    seen = torch.cat([blocks[:, :, :-1], blocks[: way.n_inputs - way.n_outputs, :, 1:]])
    factors = (inputs @ seen.flatten(1)).view(way.n_inputs, -1, width)
    products = torch.bmm(factors, torch.einsum("jk,oik->jio", kernels, taps))
    out = (back @ products.flatten(1)).view(way.n_outputs, n_rows, n_steps, -1)
    by_time = out.permute(1, 2, 0, 3).reshape(n_rows, n_steps * step, -1)
    return by_time[:, :length].transpose(1, 2)


def blank(x: Tensor, mask: Tensor | None) -> Tensor:
    """x with 0 at padding."""
    return x if mask is None else x * mask[:, None]


def mean_over_time(x: Tensor, mask: Tensor | None) -> Tensor:
    """x [rows, dim, snippets], 0 at padding -> [rows, dim]."""
    return x.mean(-1) if mask is None else x.sum(-1) / mask.sum(1)[:, None]


class Masked:
    """A layer that looks along time, and is told the mask for it."""


class BatchNorm(Masked, nn.BatchNorm1d):
    """Batch normalisation over the true snippets of all rows."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x.transpose(1, 2)
        if mask is None:
            normal = super().forward(x.flatten(0, 1)).view(x.shape)
            if normal.requires_grad:  # torch is slow on the gradient of a slice of channels
                normal.register_hook(torch.Tensor.contiguous)
            return normal.transpose(1, 2)
        normal = torch.zeros_like(x)
        normal[mask] = super().forward(x[mask])
        return normal.transpose(1, 2)


class GroupNorm(Masked, nn.GroupNorm):
    """Normalisation of each row over groups of channels and over its true snippets.

    8 groups, or the most that divide both 8 and the channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__(math.gcd(8, width), width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if mask is None:
            return super().forward(x)
        groups = x.unflatten(1, (self.num_groups, -1))  # [rows, groups, channels, snippets]
        true = mask[:, None, None]
        count = groups.shape[2] * mask.sum(1)[:, None, None, None]
        centred = (groups - (groups * true).sum((2, 3), keepdim=True) / count) * true
        variance = centred.square().sum((2, 3), keepdim=True) / count
        normal: Tensor = (centred / (variance + self.eps).sqrt()).flatten(1, 2)
        return normal * self.weight[:, None] + self.bias[:, None]


class Dropout(nn.Dropout):
    """Dropout that is drawn in large pieces on a CPU, where torch draws value by value.

    It keeps a value where `torch.rand(x.shape, dtype=torch.float64) < 1 - p` for the same seed, as
    torch does, except with Intel's library; `torch.rand` asks its generator for 64 bits a value and
    reads 53 of them as a share of 1.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu":
            return super().forward(x)
        share = 1 - self.p
        keep = torch.empty(x.shape, dtype=x.dtype)
        for part in keep.view(-1).split(DRAWN):
            bits = torch.empty(part.shape, dtype=torch.int64).random_(-(2**63), None)
            part.copy_(bits.bitwise_and_(2**53 - 1) < math.ceil(share * 2**53))
        return x * keep.div_(share)


class Layers(nn.Sequential):
    """Layers in a row that keep padding at 0."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self:
            x = blank(layer(x, mask) if isinstance(layer, Masked) else layer(x), mask)
        return x


def score_head(x: Tensor, layers: Sequence[nn.Module], dropout: nn.Module) -> Tensor:
    """The head most of these networks share: linear, ReLU, dropout, ..., linear, sigmoid.

    x [..., dim] -> [...]
    """
    *hidden, last = layers
    for layer in hidden:
        x = dropout(torch.relu(layer(x)))
    return torch.sigmoid(last(x)).squeeze(-1)


def xavier(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases for every convolution and linear layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

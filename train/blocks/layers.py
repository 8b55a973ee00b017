"""Layers over time that know which snippets are padding, and the head and start they share.

All work on channels-first rows `x [rows, channels, snippets]` (a row is one crop of one video) and
take `mask`, bool [rows, snippets], false at padding, or None. Padding is kept at 0 between the
layers and out of every statistic, so that a padded row gives what it would give alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv(
    inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, bias: bool = True
) -> nn.Conv1d:
    """A convolution over time that keeps the length."""
    padding = dilation * (kernel // 2)
    return nn.Conv1d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=bias)


def blank(x: Tensor, mask: Tensor | None) -> Tensor:
    """x with 0 at padding.

    x [rows, channels, snippets], mask bool [rows, snippets].
    """
    return x if mask is None else x * mask[:, None]


def mean_over_time(x: Tensor, mask: Tensor | None) -> Tensor:
    """x [rows, dim, snippets], 0 at padding -> [rows, dim]."""
    return x.mean(-1) if mask is None else x.sum(-1) / mask.sum(1)[:, None]


class Masked:
    """A layer that looks along time, and is told the mask for it."""


class BatchNorm(Masked, nn.BatchNorm1d):
    """Batch normalisation over the true snippets of all rows."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [rows, channels, snippets] -> the same shape.

        mask, bool [rows, snippets], is false at padding.
        """
        x = x.transpose(1, 2)
        if mask is None:
            return super().forward(x.flatten(0, 1)).view(x.shape).transpose(1, 2)
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
        """x [rows, channels, snippets] -> the same shape.

        mask, bool [rows, snippets], is false at padding.
        """
        if mask is None:
            return super().forward(x)
        groups = x.unflatten(1, (self.num_groups, -1))  # [rows, groups, channels, snippets]
        true = mask[:, None, None]
        count = groups.shape[2] * mask.sum(1)[:, None, None, None]
        centred = (groups - (groups * true).sum((2, 3), keepdim=True) / count) * true
        variance = centred.square().sum((2, 3), keepdim=True) / count
        normal: Tensor = (centred / (variance + self.eps).sqrt()).flatten(1, 2)
        return normal * self.weight[:, None] + self.bias[:, None]


class Layers(nn.Sequential):
    """Layers in a row that keep padding at 0."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [rows, channels, snippets] -> the same shape.

        mask, bool [rows, snippets], is false at padding.
        """
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

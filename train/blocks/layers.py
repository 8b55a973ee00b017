"""Layers over time that respect padding, a shared score head, and a shared initialisation.

All layers take channels-first rows `x [rows, channels, snippets]` (a row is one crop of one video)
and `mask`, a bool tensor [rows, snippets] that is false at padding, or None. Padding is set to 0
after each layer and left out of all statistics, so that a row has the same output with and without
padding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


def conv(
    inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, bias: bool = True
) -> nn.Conv1d:
    """Return a convolution over time that keeps the number of snippets."""
    padding = dilation * (kernel // 2)
    return nn.Conv1d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=bias)


def blank(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return x [rows, channels, snippets] with 0 at padding.

    mask, bool [rows, snippets], is false at padding.
    """
    return x if mask is None else x * mask[:, None]


def mean_over_time(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over snippets without padding, [rows, dim], of x [rows, dim, snippets].

    x must be 0 at padding.
    """
    return x.mean(-1) if mask is None else x.sum(-1) / mask.sum(1)[:, None]


class Masked:
    """Base class of layers whose `forward` takes the mask as second argument."""


class BatchNorm(Masked, nn.BatchNorm1d):
    """Batch normalisation with statistics over the snippets of all rows, without padding."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a tensor of the shape of x, [rows, channels, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        x = x.transpose(1, 2)
        if mask is None:
            return super().forward(x.flatten(0, 1)).view(x.shape).transpose(1, 2)
        normal = torch.zeros_like(x)
        normal[mask] = super().forward(x[mask])
        return normal.transpose(1, 2)


class GroupNorm(Masked, nn.GroupNorm):
    """Group normalisation of each row, with statistics over its snippets without padding.

    There are 8 groups, or the most that divide both 8 and the number of channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__(math.gcd(8, width), width)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return a tensor of the shape of x, [rows, channels, snippets].

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
    """A sequence of layers that sets padding to 0 after each of them."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the output of the last layer, [rows, channels, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        for layer in self:
            x = blank(layer(x, mask) if isinstance(layer, Masked) else layer(x), mask)
        return x


def score_head(x: Tensor, layers: Sequence[nn.Module], dropout: nn.Module) -> Tensor:
    """Return scores [...] in [0, 1] for x [..., dim]: linear, ReLU, dropout, ..., linear, sigmoid.

    Most of the detectors share this head.
    """
    *hidden, last = layers
    for layer in hidden:
        x = dropout(torch.relu(layer(x)))
    return torch.sigmoid(last(x)).squeeze(-1)


def xavier(module: nn.Module) -> None:
    """Set Xavier-uniform weights and zero biases in every convolution and linear layer."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

"""Parts that several published networks share.

All work on channels-first rows `x [rows, channels, snippets]` (a row is one crop of one video) and
take `mask`, bool [rows, snippets], false at padding, or None. Padding is kept at 0 between the
layers and out of every statistic, so that a padded row gives what it would give alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


def conv(
    inputs: int, outputs: int, kernel: int = 1, dilation: int = 1, bias: bool = True
) -> nn.Conv1d:
    """A convolution over time that keeps the length."""
    padding = dilation * (kernel // 2)
    return nn.Conv1d(inputs, outputs, kernel, padding=padding, dilation=dilation, bias=bias)


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
        if mask is None:
            return super().forward(x)
        x = x.transpose(1, 2)
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


class Layers(nn.Sequential):
    """Layers in a row that keep padding at 0."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self:
            x = layer(x, mask) if isinstance(layer, Masked) else layer(x)
        return blank(x, mask)


def conv_relu_norm(inputs: int, outputs: int, **sizes: Any) -> Layers:
    """RTFM's order: the normalisation comes after the ReLU."""
    return Layers(conv(inputs, outputs, **sizes), nn.ReLU(), BatchNorm(outputs))


def conv_norm_relu(inputs: int, outputs: int, **sizes: Any) -> Layers:
    """S3R's order, and normalisation by groups."""
    return Layers(conv(inputs, outputs, **sizes), GroupNorm(outputs), nn.ReLU())


class NonLocalNames(NamedTuple):
    """What a code base calls the four layers of its non-local block; they name the weights."""

    query: str
    key: str
    value: str
    out: str


RTFM_NAMES = NonLocalNames("theta", "phi", "g", "W")


class NonLocal(nn.Module):
    """Non-local block: every snippet gathers from all, `x + out(query keyᵀ value / snippets)`.

    No softmax: the affinity is divided by the number of snippets. The last normalisation starts
    at 0, so that a new block is the identity (Wang et al., CVPR 2018).
    """

    def __init__(self, width: int, names: NonLocalNames) -> None:
        super().__init__()
        self.names = names
        inner = max(1, width // 2)
        norm = BatchNorm(width)
        nn.init.zeros_(norm.weight)
        for name in names[:3]:
            self.add_module(name, conv(width, inner))
        self.add_module(names.out, Layers(conv(inner, width), norm))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        query, key, value = (blank(self.get_submodule(name)(x), mask) for name in self.names[:3])
        affinity = query.transpose(1, 2) @ key
        counts = x.shape[-1] if mask is None else mask.sum(1)[:, None, None]
        gathered = value @ (affinity / counts).transpose(1, 2)
        gathered = self.get_submodule(self.names.out)(gathered, mask)
        return torch.add(x, gathered)


class TemporalNetwork(Masked, nn.Module):
    """MTN, RTFM's multi-scale temporal network: what changes, near and far, added to the input.

        x ─┬─ dilation 1 ─┐
           ├─ dilation 2 ─┤
           ├─ dilation 4 ─┼─ concat, 4 width ─ conv ─ + x
           └─ 1x1, non-local ─┘

    x [rows, dim, snippets] -> the same shape. (Tian et al., ICCV 2021, figure 2; published width
    512 at dim 2048.)
    """

    def __init__(
        self,
        dim: int,
        width: int,
        *,
        block: Callable[..., Layers] = conv_relu_norm,
        names: NonLocalNames = RTFM_NAMES,
    ) -> None:
        super().__init__()
        self.conv_1 = block(dim, width, kernel=3, dilation=1)
        self.conv_2 = block(dim, width, kernel=3, dilation=2)
        self.conv_3 = block(dim, width, kernel=3, dilation=4)
        self.conv_4 = Layers(conv(dim, width, bias=False), nn.ReLU())
        self.non_local = NonLocal(width, names)
        self.conv_5 = block(4 * width, dim, kernel=3, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        near = [layer(x, mask) for layer in (self.conv_1, self.conv_2, self.conv_3)]
        far = self.non_local(self.conv_4(x, mask), mask)
        changes: Tensor = self.conv_5(torch.cat([*near, far], 1), mask)
        return changes + x


def score_head(x: Tensor, layers: Sequence[nn.Linear], dropout: nn.Module) -> Tensor:
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

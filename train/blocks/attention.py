"""The transformer of UR-DMU and BN-WVAD: attention by similarity and by distance in time.

All blocks take rows `x [rows, snippets, width]` (a row is one crop of one video) and `mask`, a bool
tensor [rows, snippets] that is false at padding, or None.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .layers import blank, conv

HEADS = 4
REACH = 80  # snippets; at this distance the weight exp(-80 / e) is 2e-13
BLOCK = 512  # snippets that attend at once


def by_nearness(values: Tensor, mask: Tensor | None) -> Tensor:
    """Return weighted sums over neighbours in time, of the shape of values.

    values is [rows, heads, snippets, width]. Snippet i receives snippet j with weight `exp(-|i - j|
    / e)`, divided by the sum of the weights over all i: normalised by *columns*, as in the released
    code. Beyond `REACH` the weight vanishes in float32 and is left out, so memory does not grow
    with the square of the length.
    """
    if mask is not None:
        values = values * mask[:, None, :, None]
    true = values.new_ones(1, 1, values.shape[2], 1) if mask is None else mask[:, None, :, None]
    sums = _near_sums(true.to(values)).clamp(min=torch.finfo(values.dtype).tiny)
    gathered = _near_sums(values / sums)
    return gathered if mask is None else gathered * mask[:, None, :, None]


def _near_sums(values: Tensor) -> Tensor:
    """Return for every snippet i the sum of `exp(-|i - j| / e)` values[j] over the snippets j."""
    parts, length = [], values.shape[2]
    at = torch.arange(length, device=values.device)
    for start, stop in blocks_of(length):
        near = slice(max(0, start - REACH), min(stop + REACH, length))
        weights = (-(at[start:stop, None] - at[near]).abs() / math.e).exp().to(values)
        parts.append(weights @ values[:, :, near])
    return torch.cat(parts, 2)


def blocks_of(length: int) -> list[tuple[int, int]]:
    """Return the [start, stop) of blocks of snippets that attend at once, to limit memory.

    In an exported graph, whose number of snippets is not known, there is one block.
    """
    if torch.compiler.is_compiling():
        return [(0, length)]
    return [(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


class DistanceAttention(nn.Module):
    """Two attentions side by side: softmax attention, and fixed weights by distance in time."""

    def __init__(self, width: int, p_drop: float) -> None:
        super().__init__()
        inner = HEADS * max(1, width // HEADS)
        # query, key, value, and the value for distance in time
        self.to_qkv = nn.Linear(width, 4 * inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(2 * inner, width), nn.Dropout(p_drop))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return a tensor of the shape of x, [rows, snippets, width].

        mask, bool [rows, snippets], is false at padding.
        """
        parts = self.to_qkv(x).chunk(4, dim=-1)
        query, key, alike, near = (p.unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in parts)
        seen = None if mask is None else mask[:, None, None]
        by_likeness = scaled_dot_product_attention(query, key, alike, attn_mask=seen)
        joined = torch.cat([by_likeness, by_nearness(near, mask)], -1).transpose(1, 2).flatten(2)
        out: Tensor = self.to_out(joined)
        return out


class FeedForward(nn.Module):
    """Two linear layers, applied to each snippet separately."""

    def __init__(self, width: int, p_drop: float) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(width, width),
            nn.GELU(),
            nn.Dropout(p_drop),
            nn.Linear(width, width),
            nn.Dropout(p_drop),
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return a tensor of the shape of x, [rows, snippets, width].

        mask is not used.
        """
        out: Tensor = self.net(x)
        return out


class PreNorm(nn.Module):
    """A residual sub-layer with layer normalisation before it."""

    def __init__(self, width: int, sublayer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = sublayer

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return a tensor of the shape of x, [rows, snippets, width].

        mask, bool [rows, snippets], is false at padding.
        """
        added: Tensor = self.fn(self.norm(x), mask) + x
        return added if mask is None else added * mask[..., None]


class Transformer(nn.Module):
    """Two transformer layers, each with attention and feed-forward."""

    def __init__(self, width: int, p_drop: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    PreNorm(width, DistanceAttention(width, p_drop)),
                    PreNorm(width, FeedForward(width, p_drop)),
                ]
            )
            for _ in range(2)
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Return a tensor of the shape of x, [rows, snippets, width].

        mask, bool [rows, snippets], is false at padding.
        """
        for layer in self.layers:
            for sublayer in layer.children():
                x = sublayer(x, mask)
        return x


class Embedding(nn.Module):
    """A convolution over three snippets that maps features to the width of the transformer.

    x [rows, dim, snippets] -> [rows, snippets, width]
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.conv_1 = nn.Sequential(conv(dim, width, 3), nn.ReLU())

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return blank(self.conv_1(x), mask).transpose(1, 2)

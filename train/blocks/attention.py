"""The transformer of UR-DMU and BN-WVAD: every snippet attends by likeness and by nearness.

All work on rows `x [rows, snippets, width]` and `mask`, bool [rows, snippets] or None.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from .layers import blank, conv

HEADS = 4


def nearness(snippets: int, mask: Tensor | None, like: Tensor) -> Tensor:
    """`exp(-|i - j| / e)` between snippets, each *column* divided by its sum, as released.

    -> [1, 1, snippets, snippets], or one matrix a row where there is padding.
    """
    at = torch.arange(snippets, device=like.device)
    near = (-(at[:, None] - at).abs() / math.e).exp().to(like)[None]
    if mask is not None:
        near = near * mask[:, :, None] * mask[:, None, :]
    sums = near.sum(1, keepdim=True).clamp(min=torch.finfo(near.dtype).tiny)
    return (near / sums)[:, None]


class DistanceAttention(nn.Module):
    """Two readings side by side: by softmax of likeness, and by nearness in time."""

    def __init__(self, width: int, p_drop: float) -> None:
        super().__init__()
        inner = HEADS * max(1, width // HEADS)
        self.to_qkv = nn.Linear(width, 4 * inner, bias=False)  # query, key, value, value for near
        self.to_out = nn.Sequential(nn.Linear(2 * inner, width), nn.Dropout(p_drop))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        parts = self.to_qkv(x).chunk(4, dim=-1)
        query, key, alike, near = (p.unflatten(-1, (HEADS, -1)).transpose(1, 2) for p in parts)
        seen = None if mask is None else mask[:, None, None]
        by_likeness = scaled_dot_product_attention(query, key, alike, attn_mask=seen)
        by_nearness = nearness(x.shape[1], mask, x) @ near
        joined = torch.cat([by_likeness, by_nearness], -1).transpose(1, 2).flatten(2)
        out: Tensor = self.to_out(joined)
        return out


class FeedForward(nn.Module):
    """Two linear layers, a snippet at a time."""

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
        out: Tensor = self.net(x)
        return out


class PreNorm(nn.Module):
    """A sub-layer on normalised input, added to the input."""

    def __init__(self, width: int, sublayer: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = sublayer

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        added: Tensor = self.fn(self.norm(x), mask) + x
        return added if mask is None else added * mask[..., None]


class Transformer(nn.Module):
    """Two layers of attention and feed-forward."""

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
        for layer in self.layers:
            for sublayer in layer.children():
                x = sublayer(x, mask)
        return x


class Embedding(nn.Module):
    """Features to the transformer's width, from a snippet and its neighbours.

    x [rows, dim, snippets] -> [rows, snippets, width]
    """

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.conv_1 = nn.Sequential(conv(dim, width, 3), nn.ReLU())

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return blank(self.conv_1(x), mask).transpose(1, 2)

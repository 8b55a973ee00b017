"""MTN, the multi-scale temporal network of RTFM, and its non-local block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .layers import BatchNorm, GroupNorm, Layers, Masked, blank, conv


def conv_relu_norm(inputs: int, outputs: int, **sizes: Any) -> Layers:
    """Return convolution, ReLU and batch normalisation, in the order of RTFM."""
    return Layers(conv(inputs, outputs, **sizes), nn.ReLU(), BatchNorm(outputs))


def conv_norm_relu(inputs: int, outputs: int, **sizes: Any) -> Layers:
    """Return convolution, group normalisation and ReLU, in the order of S3R."""
    return Layers(conv(inputs, outputs, **sizes), GroupNorm(outputs), nn.ReLU())


class NonLocalNames(NamedTuple):
    """The names of the four layers of the non-local block in a code base, used in its weights
    files.
    """

    query: str
    key: str
    value: str
    out: str


RTFM_NAMES = NonLocalNames("theta", "phi", "g", "W")


class NonLocal(nn.Module):
    """A non-local block: `x + out(query keyᵀ value / snippets)` over all snippets.

    There is no softmax; the affinity is divided by the number of snippets. The products are
    therefore computed in the order whose memory does not grow with the square of the length. The
    last normalisation starts at 0, so that a new block is the identity (Wang et al., CVPR 2018).
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
        """Return a tensor of the shape of x, [rows, channels, snippets].

        mask, bool [rows, snippets], is false at padding.
        """
        query, key, value = (blank(self.get_submodule(name)(x), mask) for name in self.names[:3])
        counts = x.shape[-1] if mask is None else mask.sum(1)[:, None, None]
        gathered = (value @ key.transpose(1, 2) / counts) @ query
        gathered = self.get_submodule(self.names.out)(gathered, mask)
        return torch.add(x, gathered)


class TemporalNetwork(Masked, nn.Module):
    """MTN, RTFM's multi-scale temporal network: a residual block over near and far snippets.

        x ─┬─ dilation 1 ─┐
           ├─ dilation 2 ─┤
           ├─ dilation 4 ─┼─ concat, 4 width ─ conv ─ + x
           └─ 1x1, non-local ─┘

    x [rows, dim, snippets] -> the same shape (Tian et al., ICCV 2021, figure 2). The published
    width is 512 for dim 2048.
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

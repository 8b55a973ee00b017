"""The first layers of a network on overlapping crops, with each pixel computed only once.

Ten crops hold three times the pixels of the frame and its mirror image, and the first convolution
is a third of the work of I3D-ResNet50. Crops whose first pixels have the same parity share its
values, except at their edges, where each crop sees zero padding instead of the frame's pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import nn

from .cpu import HalvingConv
from .passes import Corner


class SharedStem(nn.Module):
    """A strided convolution, a max pooling and a ReLU on square crops of one clip.

    The values equal those of each crop computed by itself, up to the order of summation. conv,
    pool: the layers, square in space; the product of their strides divides the side of a crop.
    """

    def __init__(self, conv: nn.Conv3d | HalvingConv, pool: nn.MaxPool3d) -> None:
        super().__init__()
        self.conv, self.pool = conv, pool
        plain = conv.plain if isinstance(conv, HalvingConv) else conv
        self._conv, self._pool = _Sizes(plain), _Sizes(pool)
        # Output i of both layers together depends on `kernel` pixels from `stride i - before` on.
        stride = self._conv.stride * self._pool.stride
        before = self._conv.before + self._conv.stride * self._pool.before
        kernel = self._conv.kernel + self._conv.stride * (self._pool.kernel - 1)
        self._n_first = -(-before // stride)  # outputs at the start that see padding
        self._edge_px = -(-(stride * (self._n_first - 1) - before + kernel) // stride) * stride
        n_in_edge = self._pool.n_outputs(self._conv.n_outputs(self._edge_px))
        self._n_last = n_in_edge - self._n_first  # outputs at the end that see padding

    def forward(self, pixels: torch.Tensor, corners: Sequence[Corner], side: int) -> torch.Tensor:
        """Return the maps of square crops, whose first pixels are `corners` and whose side is
        `side` pixels.

        Normalised RGB [frames, height, width, 3] -> [crops, channels, time, rows, columns].
        """
        clip = pixels.permute(3, 0, 1, 2)[None]
        maps = {}
        for alike in self._sharing(corners):
            tops, lefts = zip(*alike, strict=True)
            top, left = min(tops), min(lefts)
            box = clip[..., top : max(tops) + side, left : max(lefts) + side]
            shared = self.conv(box)
            for corner in alike:
                maps[corner] = self._crop(shared, box, (corner[0] - top, corner[1] - left), side)
        return torch.cat([maps[corner] for corner in corners]).relu_()  # ReLU last: fewer values

    def _sharing(self, corners: Sequence[Corner]) -> list[list[Corner]]:
        """Group the corners whose position modulo the convolution's stride is equal."""
        groups: dict[tuple[int, ...], list[Corner]] = defaultdict(list)
        for corner in corners:
            groups[tuple(place % self._conv.stride for place in corner)].append(corner)
        return list(groups.values())

    def _crop(
        self, shared: torch.Tensor, box: torch.Tensor, corner: Corner, side: int
    ) -> torch.Tensor:
        """Return the pooled map of one crop: shared values, with recomputed edges that lie inside
        the box.
        """
        n_steps = self._conv.n_outputs(side)
        seen, crop = shared, box
        for axis, first in zip((-2, -1), corner, strict=True):
            seen = seen.narrow(axis, first // self._conv.stride, n_steps)
            crop = crop.narrow(axis, first, side)
        out: torch.Tensor = self.pool(seen)
        for axis, first in zip((-2, -1), corner, strict=True):
            if first > 0:
                edge = self._pooled(crop.narrow(axis, 0, self._edge_px))
                out.narrow(axis, 0, self._n_first).copy_(edge.narrow(axis, 0, self._n_first))
            if first + side < box.shape[axis] and self._n_last:
                edge = self._pooled(crop.narrow(axis, side - self._edge_px, self._edge_px))
                own = edge.narrow(axis, self._n_first, self._n_last)
                out.narrow(axis, out.shape[axis] - self._n_last, self._n_last).copy_(own)
        return out

    def _pooled(self, pixels: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.pool(self.conv(pixels))
        return pooled


class _Sizes:
    """Kernel, stride and padding of a layer in space, the same for rows and columns."""

    def __init__(self, layer: nn.Conv3d | nn.MaxPool3d) -> None:
        self.kernel, self.stride, self.before = (
            size if isinstance(size, int) else int(size[1])
            for size in (layer.kernel_size, layer.stride, layer.padding)
        )

    def n_outputs(self, n_inputs: int) -> int:
        return (n_inputs + 2 * self.before - self.kernel) // self.stride + 1

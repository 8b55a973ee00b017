"""I3D-ResNet50, the network behind the published 2048-d features.

The same tensors are published under three sets of names, and run with two stride layouts that give
different features:

    layout            16 frames keep     trained on
    fair-32x2         2 time steps       32 frames, every 2nd   (video-nonlocal-net, Tushar-N)
    pytorchvideo-8x8  8 time steps        8 frames, every 8th   (pytorchvideo's model hub)

So the layout belongs to the weights. It follows from the names of the tensors: pytorchvideo's names
mean `pytorchvideo-8x8`, all others `fair-32x2`. For a file converted from one naming to the other,
write `LAYOUT:FILE`. The feature is the mean over time and space after the last stage. Papers:
Carreira and Zisserman 2017; Wang et al. 2018 (the inflated ResNet50, non-local blocks).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ..recipes import Recipe
from ..weights.checkpoint import (
    UNKNOWN_LICENCE,
    fill_randomly,
    load_strictly,
    random_seed,
    read_checkpoint,
)
from ..weights.downloads import fetch
from .i3d_names import to_our_names
from .network import Network, fold
from .table import BACKBONES

with warnings.catch_warnings():  # a dependency of pytorchvideo compiles with deprecated calls
    warnings.simplefilter("ignore")
    from pytorchvideo.layers.nonlocal_net import create_nonlocal
    from pytorchvideo.models.resnet import create_resnet

DIM = 2048
CARD = BACKBONES["i3d"]
TEMPORAL, POINTWISE = (3, 1, 1), (1, 1, 1)  # kernels of the first convolution of a block
STAGES = {1: "res2", 3: "res3", 4: "res4", 5: "res5"}  # module of `blocks`: its name in papers
NONLOCAL = {"3_1": 512, "3_3": 512, "4_1": 1024, "4_3": 1024, "4_5": 1024}  # after block: width


class I3D(nn.Module):
    """The trunk of pytorchvideo's ResNet50 as I3D, in one of its layouts."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        fair = layout != "pytorchvideo-8x8"
        self.blocks = create_resnet(
            stem_conv_kernel_size=(5, 7, 7),
            stem_conv_stride=(2, 2, 2) if fair else (1, 2, 2),
            stage1_pool=nn.MaxPool3d,
            stage_conv_a_kernel_size=(
                TEMPORAL,
                [TEMPORAL, POINTWISE],
                [TEMPORAL, POINTWISE],
                [POINTWISE, TEMPORAL],
            ),
            head=None,
        ).blocks
        if fair:
            self.blocks[0].pool = nn.MaxPool3d((2, 3, 3), (2, 2, 2))
        self.nonlocals = nn.ModuleDict()
        if layout == "fair-32x2-nonlocal":
            for place, dim in NONLOCAL.items():
                self.nonlocals[place] = create_nonlocal(
                    dim_in=dim, dim_inner=dim // 2, pool_size=(1, 2, 2)
                )
        for module in self.modules():
            if isinstance(module, nn.ReLU):
                module.inplace = True
            if hasattr(module, "branch_fusion"):
                module.branch_fusion = _add  # type: ignore[assignment]  # a plain attribute

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        """Return features: normalised RGB [views, frames, height, width, 3] -> [views, 2048]."""
        x = views.permute(0, 4, 1, 2, 3)
        for number, block in enumerate(self.blocks):
            if number not in STAGES:
                x = block(x)
                continue
            for i, res_block in enumerate(block.res_blocks):
                x = res_block(x)
                place = f"{number}_{i}"
                if place in self.nonlocals:
                    x = self.nonlocals[place](x)
        return x.mean((2, 3, 4))


def _add(shortcut: torch.Tensor, branch: torch.Tensor) -> torch.Tensor:
    return branch.add_(shortcut)  # in place: a new tensor would double the time


def load(weights: str, recipe: Recipe, *, offline: bool = False) -> Network:
    """Load I3D-ResNet50 with known weights, a published file or random:SEED."""
    layout, source = _split(weights)
    seed = random_seed(source)
    record: dict[str, Any]
    if seed is not None:
        layout = layout or CARD.weights[0].name
        module = I3D(layout)
        record = fill_randomly(module, seed)
    else:
        known = CARD.known(source)
        path = fetch(known, offline=offline) if known else Path(source)
        checkpoint = read_checkpoint(path)
        named, state = to_our_names(checkpoint.state, source)
        layout = layout or named
        module = I3D(layout)
        load_strictly(module, state, source)
        licence = known.licence if known else UNKNOWN_LICENCE
        record = checkpoint.record | {"licence": licence}
    fold(module, list(_conv_norm_pairs(module)))
    return Network(
        module,
        dim=DIM,
        recipe=recipe,
        weights={"name": weights, **record},
        layout=layout,
        cpu_views=5,
        gpu_views=160,
        libraries=("torch", "pytorchvideo"),
        for_gpu=_planar,
    )


def _planar(module: nn.Module) -> nn.Module:
    from .planar import PlanarI3D

    return PlanarI3D(cast(I3D, module))


def _split(weights: str) -> tuple[str | None, str]:
    """Split `LAYOUT:FILE` into the layout and the source of the tensors. The layout is None if it
    is not given.
    """
    head, _, rest = weights.partition(":")
    if CARD.known(head) is None:
        return None, weights
    return head, rest or head


def _conv_norm_pairs(module: nn.Module) -> Iterator[tuple[str, str]]:
    modules = dict(module.named_modules())
    for name in modules:
        parent, _, last = name.rpartition(".")
        norm = (
            f"{parent}.norm" if last == "conv_out" else f"{parent}.{last.replace('conv', 'norm')}"
        )
        if "conv" in last and norm in modules:
            yield name, norm

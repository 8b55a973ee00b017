"""Backbones that cost nothing, to measure everything except the model."""

from __future__ import annotations

import time

import torch
from torch import nn

from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.backbones.network import Compile, Network
from vad.stages.extract.recipes import Recipe, find_recipe


def _as_it_is(module: nn.Module, _: Compile) -> nn.Module:
    return module


class _Means(nn.Module):
    """Returns mean colours: [views, frames, height, width, 3] -> [views, 3], after `sleep_s`
    seconds.
    """

    def __init__(self, sleep_s: float) -> None:
        super().__init__()
        self.sleep_s = sleep_s

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        time.sleep(self.sleep_s)
        return pixels.mean(dim=(1, 2, 3))


def null_backbone(sleep_s: float = 0.0) -> Backbone:
    """Return the real `Backbone`, recipe and provenance around a network that costs nothing."""
    recipe = Recipe("null", resize_px=(32, 32), crop_px=32, crops="whole", filter="bilinear-plain")
    network = Network(
        module=_Means(sleep_s),
        dim=3,
        recipe=recipe,
        weights={"name": "null", "random": True},
        layout="null",
        cpu_views=8,
        gpu_views=8,
        for_cpu=_as_it_is,
    )
    cpu = torch.device("cpu")
    return Backbone("null", network, crops="whole", device=cpu, precision="fp32")


class _Ready(nn.Module):
    """Returns the same features for every view: [views, ...] -> [views, dim]."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.features = torch.rand(1, dim, generator=torch.Generator().manual_seed(0))

    def forward(self, views: torch.Tensor) -> torch.Tensor:
        return self.features.expand(len(views), -1)


def instant_i3d() -> Backbone:
    """Return a backbone with I3D's input and output (ten crops, 2048-d), without the network."""
    network = Network(
        module=_Ready(2048),
        dim=2048,
        recipe=find_recipe("rtfm"),
        weights={"name": "instant", "random": True},
        layout="instant",
        cpu_views=5,
        gpu_views=80,
        for_cpu=_as_it_is,
    )
    return Backbone("i3d", network, crops="ten", device=torch.device("cpu"), precision="fp32")

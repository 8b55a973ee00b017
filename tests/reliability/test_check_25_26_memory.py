"""Checks 25 and 26: a model that the memory is too small for runs in smaller parts, and says so."""

import logging

import numpy as np
import pytest
import torch
from torch import nn

from vad.errors import UsageError
from vad.stages.extract.backbones import create_backbone
from vad.stages.extract.backbones.backbone import Backbone
from vad.stages.extract.backbones.network import Network
from vad.stages.extract.recipes import Recipe


class Hungry(nn.Module):
    """Mean colours of views; more of them at once than it has room for is too much."""

    def __init__(self, room):
        super().__init__()
        self.room, self.asked = room, []

    def forward(self, pixels):
        self.asked.append(len(pixels))
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("no room")
        return pixels.mean(dim=(1, 2, 3))


def ten_crops(module):
    recipe = Recipe("hungry", resize_px=(64, 64), crop_px=32, crops="ten", filter="bilinear-plain")
    network = Network(
        module, dim=3, recipe=recipe, weights={}, layout="", cpu_views=10, gpu_views=10
    )
    cpu = torch.device("cpu")
    return Backbone("hungry", network, crops="ten", device=cpu, precision="fp32")


@pytest.fixture
def clips():
    return np.random.default_rng(0).integers(0, 256, (1, 16, 64, 64, 3), np.uint8)


def test_check_25_a_pass_is_halved_until_it_fits_and_that_is_remembered(clips, caplog):
    free, short = Hungry(room=10), Hungry(room=3)
    with caplog.at_level(logging.WARNING, "vad"):
        features = ten_crops(short)(clips)
    assert short.asked == [10, 5, 2, 2, 2, 2, 2]  # ten views, then five, then two and two ...
    assert [record.message for record in caplog.records] == [
        "cpu is short of memory: 5 views at once",
        "cpu is short of memory: 2 views at once",
    ]
    assert np.abs(features - ten_crops(free)(clips)).max() <= 1e-6
    backbone = ten_crops(short)
    backbone(clips)
    short.asked.clear()
    backbone(clips)
    assert short.asked == [2, 2, 2, 2, 2]  # not tried again


def test_check_25_not_even_one_view_is_an_error_with_a_way_out(clips):
    with pytest.raises(UsageError, match="cpu has too little memory for one view of hungry"):
        ten_crops(Hungry(room=0))(clips)


@pytest.mark.gpu
def test_check_26_a_gpu_that_is_short_of_memory_gives_the_same_features(clips):
    device = torch.device("cuda")
    settings = {"weights": "random:0", "crops": "ten", "device": device, "precision": "fp32"}
    backbone = create_backbone("i3d", **settings)
    many = np.repeat(clips, backbone.n_clips, axis=0)
    whole = backbone(many)
    torch.cuda.empty_cache()
    share = 1.5 * torch.cuda.memory_allocated() / torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(share)
    try:
        short = backbone(many)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert backbone._pass.views_at_once < backbone.n_clips * 10
    assert np.abs(short - whole).max() <= 1e-5 * np.abs(whole).max()

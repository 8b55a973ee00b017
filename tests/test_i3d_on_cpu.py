"""I3D as a CPU runs it: other layers and other passes, the same features."""

from dataclasses import replace

import pytest
import torch

from vad.stages.extract.backbones.cpu import TimeConv, for_cpu
from vad.stages.extract.backbones.i3d import load
from vad.stages.extract.backbones.passes import CropPass, FramePass, Shape
from vad.stages.extract.recipes import RECIPES


@pytest.mark.parametrize(
    ("kernel", "stride", "n_steps"),
    [((1, 1, 1), 1, 2), ((1, 1, 1), 2, 3), ((3, 1, 1), 1, 1), ((3, 1, 1), 1, 2), ((3, 1, 1), 1, 5)],
)
def test_convolutions_over_time_are_those_of_torch(kernel, stride, n_steps):
    torch.manual_seed(0)
    padding = (kernel[0] // 2, 0, 0)
    conv = torch.nn.Conv3d(6, 4, kernel, (1, stride, stride), padding).requires_grad_(False)
    x = torch.randn(2, 6, n_steps, 5, 7)
    torch.testing.assert_close(TimeConv(conv)(x), conv(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layout", ["fair-32x2", "fair-32x2-nonlocal", "pytorchvideo-8x8"])
def test_i3d_for_cpus_has_the_features_of_i3d(layout):
    views = torch.randn(1, 16, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        network = load(f"{layout}:random:0", RECIPES["rtfm"]).module
        expected = network(views)
        fast = for_cpu(network)
        assert sum(isinstance(m, TimeConv) for m in fast.modules()) >= 30
        error = (fast(views) - expected).abs().max() / expected.abs().max()
    assert error <= 1e-5


@pytest.mark.parametrize("layout", ["fair-32x2", "pytorchvideo-8x8"])
@pytest.mark.parametrize("width", [340, 341])  # 116 and 117 columns between the corners
def test_the_stem_of_overlapping_crops_is_that_of_every_crop(layout, width):
    network = load(f"{layout}:random:0", RECIPES["rtfm"]).module
    pixels = torch.randn(4, 256, width, 3, generator=torch.Generator().manual_seed(0))
    corners = [(0, 0), (0, width - 224), (32, 0), (32, width - 224), (16, 58)]
    with torch.inference_mode():
        maps = network.stem(pixels, corners, 224)
        for one, (row, column) in zip(maps, corners, strict=True):
            crop = pixels[:, row : row + 224, column : column + 224]
            expected = network.blocks[0](crop.permute(3, 0, 1, 2)[None])[0]
            assert (one - expected).abs().max() <= 1e-6 * expected.abs().max()


@pytest.mark.parametrize("crops", ["ten", "five", "center"])
def test_frames_or_crops_as_pixels_give_the_same_features(crops):
    recipe = replace(RECIPES["rtfm"], resize_px=40, crop_px=32)
    network = load("fair-32x2:random:0", recipe).module
    clips = [torch.randint(0, 256, (16, 40, width, 3), dtype=torch.uint8) for width in (40, 53, 60)]
    shape = Shape("i3d", recipe, crops, 1, 2, torch.device("cpu"), torch.float32)

    def features(run, clip):
        parts = range(0, shape.n_crops, run.crops_at_once)
        return torch.cat([run([clip], slice(i, i + run.crops_at_once)) for i in parts], 1)

    with torch.inference_mode():
        for clip in clips:
            expected = features(CropPass(network, shape), clip)
            error = (features(FramePass(network, shape), clip) - expected).abs().max()
            assert error <= 1e-5 * expected.abs().max()

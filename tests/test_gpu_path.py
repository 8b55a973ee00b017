"""What a GPU runs: the same features as a CPU, by other kernels. Most of it is shown on a CPU."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from vad import extract
from vad.stages.extract.backbones import create_backbone, i3d
from vad.stages.extract.backbones.passes import CropPass, GatherPass, Shape
from vad.stages.extract.backbones.planar import CHANNELS, PlanarI3D, gather
from vad.stages.extract.crops import crop_boxes
from vad.stages.extract.recipes import find_recipe
from vad.store import FeatureStore

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
SMALL = {"crop_px": 48, "resize_px": (56, 64)}


def random_frames(*sizes, n_frames=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randint(0, 256, (n_frames, *size, 3), dtype=torch.uint8, generator=generator)
        for size in sizes
    ]


def passes(weights, recipe_name, crop_set, n_clips):
    """The same network behind the plain pass and behind the one of a GPU."""
    recipe = replace(find_recipe(recipe_name), **SMALL)
    network = i3d.load(weights, recipe)
    shape = Shape("i3d", recipe, crop_set, n_clips, n_clips * 10, CPU, torch.float32)
    with torch.inference_mode():
        return CropPass(network.module, shape), GatherPass(network.for_gpu(network.module), shape)


@pytest.mark.parametrize(
    ("weights", "recipe", "crop_set"),
    [
        ("random:0", "rtfm", "ten"),
        ("fair-32x2-nonlocal:random:1", "gowtham", "five"),
        ("pytorchvideo-8x8:random:2", "pytorchvideo", "center"),
    ],
)
def test_planar_convolutions_give_the_features_of_three_dimensional_ones(weights, recipe, crop_set):
    plain, planar = passes(weights, recipe, crop_set, 2)
    n_frames = len(plain.shape.recipe.frames)
    clips = random_frames((56, 64), (56, 80), n_frames=n_frames)  # of two sizes
    with torch.inference_mode():
        expected = plain(clips, slice(0, plain.shape.n_crops))
        features = planar(clips, slice(0, planar.shape.n_crops))
    assert features.shape == (2, plain.shape.n_crops, 2048)
    assert (features - expected).abs().max() <= 1e-5 * expected.abs().max()


class Room(nn.Module):
    """A network that gathers its input, and has room for a few views at once only."""

    def __init__(self, planar, room):
        super().__init__()
        self.planar, self.n_views = planar, room
        self.room, self.gather, self.of_views = planar.room, planar.gather, planar.of_views

    def forward(self, views):
        if len(views) > self.n_views:
            raise torch.OutOfMemoryError("no room")
        return self.planar(views)


@pytest.mark.parametrize("room", [7, 3])  # fewer than the ten crops of a clip
def test_a_batch_too_large_for_the_memory_is_done_in_parts(room):
    _, planar = passes("random:0", "rtfm", "ten", 2)
    tight = GatherPass(Room(planar._network, room), planar.shape)
    clips, crops = random_frames((56, 64)), slice(0, 10)  # one clip; the pass is made for two
    with torch.inference_mode():
        whole, parts = planar(clips, crops), tight(clips, crops)
    assert tight.views_at_once <= room
    assert parts.shape == (1, 10, 2048)
    assert (parts - whole).abs().max() <= 1e-5 * whole.abs().max()


def test_each_time_step_holds_the_frames_that_the_first_kernel_sees_side_by_side():
    recipe = replace(find_recipe("rtfm"), crop_px=1, mean=0.0, std=1.0)
    frames = torch.arange(16, dtype=torch.uint8).view(1, 16, 1, 1, 1).repeat(1, 1, 1, 1, 3)
    out = torch.empty(1, 1, 8, 1, 1, CHANNELS)
    gather(frames, crop_boxes(recipe, "center", 1, 1), recipe, 5, 2, out)
    steps = out[0, 0, :, 0, 0].tolist()
    seen = [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4], [2, 3, 4, 5, 6]]  # zeros before the first frame
    assert steps[:3] == [[float(f) for f in row for _ in "rgb"] + [0.0] for row in seen]
    assert steps[7] == [float(f) for f in (12, 13, 14, 15, 0) for _ in "rgb"] + [0.0]


KERNEL = """
import contextlib
from dataclasses import replace
import torch
from vad.stages.extract.backbones import gather_kernel, planar
from vad.stages.extract.crops import crop_boxes
from vad.stages.extract.recipes import find_recipe
torch.cuda.device = lambda device: contextlib.nullcontext()  # there is none
recipe = replace(find_recipe("gowtham"), crop_px=16)
frames = torch.randint(0, 256, (2, 16, 20, 25, 3), dtype=torch.uint8)
crops = crop_boxes(recipe, "ten", 20, 25)
plain, kernel = (torch.full((2, 10, 8, 16, 16, 16), 9.0) for _ in "ab")
planar.gather(frames, crops, recipe, 5, 2, plain)
gather_kernel.gather(frames, crops, recipe, 5, 2, kernel)
print((plain - kernel).abs().max().item())
"""


def test_the_kernel_of_a_gpu_gathers_what_pytorch_gathers(python):
    pytest.importorskip("triton", reason="torch is installed without Triton")
    environment = {**os.environ, "TRITON_INTERPRET": "1"}  # which runs kernels on the CPU
    done = python.run("-c", KERNEL, env=environment, check=True)
    assert float(done.stdout) <= 1e-6


def test_several_devices_give_the_same_store_as_one(tmp_path, make_video, vad):
    for index in range(4):
        make_video(f"videos/v{index}.mp4", 12 + index)
    (tmp_path / "videos" / "text.mp4").write_text("no video")
    one, several = (str(tmp_path / name) for name in ("one.zarr", "several.zarr"))
    extract(tmp_path / "videos", one, device="cpu", quiet=True)
    given = ("--store", several, "--device", "cpu,cpu", "--quiet")
    code, out, _ = vad("extract", tmp_path / "videos", *given)
    assert code == 3
    assert out.startswith("4 done, 0 skipped, 1 failed")
    stores = [FeatureStore.open(path) for path in (one, several)]
    assert stores[0].ids() == stores[1].ids() == ["v0", "v1", "v2", "v3"]
    for video in stores[0].ids():
        for name in stores[0].names(video):
            assert np.array_equal(*(store.read(video, name) for store in stores))


def test_a_device_that_is_not_there_is_told_with_the_reason(tmp_path, make_video, vad):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    make_video("videos/v.mp4", 16)
    for device in ("cuda", "cuda:all", "cuda:0,cuda:1"):
        code, _, err = vad("extract", tmp_path / "videos", "--device", device)
        assert code == 2
        assert "this machine shows 0 CUDA devices (" in err


@pytest.fixture
def benchmark(python):
    """Run benchmarks/gpu.py with the words of a command."""
    return lambda *words: python.run(ROOT / "benchmarks" / "gpu.py", *words, timeout=300)


def test_the_gpu_benchmark_says_in_one_line_that_there_is_no_gpu(benchmark, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    done = benchmark("--json", tmp_path / "gpu.json")
    assert done.returncode == 2
    assert done.stderr.startswith("gpu.py: --device cuda: this machine shows 0 CUDA devices")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "gpu.json").exists()


@pytest.mark.parametrize(
    "parts",
    [
        "efficientnet-lite0,train,score,memory",
        pytest.param("tests,i3d,timesformer", marks=pytest.mark.slow),
    ],
)
def test_every_part_of_the_gpu_benchmark_runs_without_one(benchmark, tmp_path, parts):
    out = tmp_path / "gpu.json"
    done = benchmark("--device", "cpu", "--tiny", "--parts", parts, "--json", out)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert list(found) == ["machine", *parts.split(",")]
    if "score" in found:
        assert found["train"]["apart"] == 0
        assert found["score"]["frames"] == 16
        assert found["efficientnet-lite0"]["fp32"]["cosine"] == pytest.approx(1)


# --- on a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["i3d", "timesformer", "efficientnet-lite0"])
def test_a_gpu_gives_the_features_of_a_cpu(name):
    random = np.random.default_rng(0)
    clips = random.integers(0, 256, (3, 16, 240, 320, 3), np.uint8)
    there = create_backbone(name, weights="random:0", crops="center", device="cuda")
    here = create_backbone(name, weights="random:0", crops="center")
    expected, features = here(clips), there(clips)
    assert np.abs(features - expected).max() <= 1e-3 * np.abs(expected).max()  # resizes differ
    again = there.submit(list(clips[:1])).result()
    assert np.array_equal(again, features[:1])  # whatever the company


@pytest.mark.gpu
def test_the_gather_kernel_on_a_gpu_equals_pytorch():
    recipe = find_recipe("rtfm")
    frames = torch.randint(0, 256, (2, 16, 256, 341, 3), dtype=torch.uint8)
    crops = crop_boxes(recipe, "ten", 256, 341)
    plain = torch.empty(2, 10, 8, 224, 224, CHANNELS)
    kernel = torch.empty_like(plain, device="cuda")
    gather(frames, crops, recipe, 5, 2, plain)
    gather(frames.cuda(), crops, recipe, 5, 2, kernel)
    assert (kernel.cpu() - plain).abs().max() <= 1e-5


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_is_faithful_on_a_gpu(precision):
    clips = np.random.default_rng(0).integers(0, 256, (2, 16, 240, 320, 3), np.uint8)
    exact = create_backbone("i3d", weights="random:0", device="cuda")(clips)
    half = create_backbone("i3d", weights="random:0", device="cuda", precision=precision)(clips)
    lengths = np.linalg.norm(half, axis=-1) * np.linalg.norm(exact, axis=-1)
    assert ((half * exact).sum(-1) / lengths).min() >= 0.999


def test_planar_i3d_is_what_a_gpu_is_given():
    network = i3d.load("random:0", find_recipe("rtfm"))
    assert isinstance(network.for_gpu(network.module), PlanarI3D)

"""I3D Inception: its features against a naive network, from both published namings, and what its
real weights see."""

import json
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch.nn import functional as F

import vad as vad_module
from vad.errors import UsageError
from vad.stages.extract.backbones import BACKBONES, create_backbone
from vad.stages.extract.backbones.engine import Compiled, compiled
from vad.stages.extract.backbones.inception import I3DInception, load, pad_same
from vad.stages.extract.recipes import RECIPES
from vad.stages.extract.weights.checkpoint import fill_randomly
from vad.stages.extract.weights.downloads import fetch
from vad.stages.train.detectors import create_detector
from vad.store import FeatureStore

State = dict[str, torch.Tensor]
RECIPE = RECIPES["i3d-inception"]
ENDS = ("Conv3d_2b_1x1", "Conv3d_2c_3x3")
BLOCKS = [f"Mixed_{block}" for block in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c")]
BRANCHES = {"b0": "0/Conv3d_0a_1x1", "b1a": "1/Conv3d_0a_1x1", "b1b": "1/Conv3d_0b_3x3"}
BRANCHES |= {"b2a": "2/Conv3d_0a_1x1", "b2b": "2/Conv3d_0b_3x3", "b3b": "3/Conv3d_0b_1x1"}


def views(*shape: int) -> torch.Tensor:
    """Return noise [1, frames, height, width, 3]."""
    return torch.randn(1, *shape, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def state() -> State:
    """Random tensors in the naming of piergiaj, with the classifier; scales of norms are 1, as the
    other naming has none."""
    network = I3DInception()
    fill_randomly(network, 4)
    found = {n: t for n, t in network.state_dict().items() if "num_batches" not in n}
    for name in found:
        if name.endswith("bn.weight"):
            found[name] = torch.ones_like(found[name])
    found["logits.conv3d.weight"] = torch.ones(400, 1024, 1, 1, 1)
    found["logits.conv3d.bias"] = torch.zeros(400)
    return found


def naive(state: State, x: torch.Tensor) -> torch.Tensor:
    """The network from a state dict, axis by axis: [1, 3, frames, height, width] -> [1, 1024]."""

    def padded(x: torch.Tensor, kernel: Any, stride: Any) -> torch.Tensor:
        for axis, (k, s) in enumerate(zip(kernel, stride, strict=True), start=2):
            size = x.shape[axis]
            rest = size % s or s
            total = max(k - rest, 0)
            for n, at_end in ((total // 2, False), (total - total // 2, True)):
                zeros = torch.zeros([n if a == axis else m for a, m in enumerate(x.shape)])
                x = torch.cat([x, zeros] if at_end else [zeros, x], axis)
        return x

    def unit(x: torch.Tensor, name: str, stride: int = 1) -> torch.Tensor:
        kernel = state[f"{name}.conv3d.weight"]
        y = F.conv3d(padded(x, kernel.shape[2:], (stride,) * 3), kernel, stride=stride)
        mean, var = state[f"{name}.bn.running_mean"], state[f"{name}.bn.running_var"]
        y = (y - mean[:, None, None, None]) / (var + 1e-3).sqrt()[:, None, None, None]
        scale, shift = state[f"{name}.bn.weight"], state[f"{name}.bn.bias"]
        return torch.relu(y * scale[:, None, None, None] + shift[:, None, None, None])

    def pool(x: torch.Tensor, kernel: Any, stride: Any) -> torch.Tensor:
        return F.max_pool3d(padded(x, kernel, stride), kernel, stride)

    x = pool(unit(x, "Conv3d_1a_7x7", 2), (1, 3, 3), (1, 2, 2))
    x = pool(unit(unit(x, ENDS[0]), ENDS[1]), (1, 3, 3), (1, 2, 2))
    for name in BLOCKS:
        if name == "Mixed_4b":
            x = pool(x, (3, 3, 3), (2, 2, 2))
        if name == "Mixed_5b":
            x = pool(x, (2, 2, 2), (2, 2, 2))
        branches = [
            unit(x, f"{name}.b0"),
            unit(unit(x, f"{name}.b1a"), f"{name}.b1b"),
            unit(unit(x, f"{name}.b2a"), f"{name}.b2b"),
            unit(pool(x, (3, 3, 3), (1, 1, 1)), f"{name}.b3b"),
        ]
        x = torch.cat(branches, 1)
    return x.mean((2, 3, 4))


def as_in_the_package(state: State) -> dict[str, Any]:
    """The nested arrays of the package's checkpoint."""
    nested: dict[str, Any] = {"params": {}, "batch_stats": {}}

    def put(path: str, value: torch.Tensor) -> None:
        *folders, last = path.split("/")
        inside = nested
        for folder in folders:
            inside = inside.setdefault(folder, {})
        inside[last] = value.numpy()

    for name in ("Conv3d_1a_7x7", *ENDS, *(f"{b}.{n}" for b in BLOCKS for n in BRANCHES)):
        block, _, branch = name.partition(".")
        unit = f"{block}/Branch_{BRANCHES[branch]}" if branch else block
        put(f"params/{unit}/Conv_0/kernel", state[f"{name}.conv3d.weight"].permute(2, 3, 4, 1, 0))
        put(f"params/{unit}/BatchNorm_0/bias", state[f"{name}.bn.bias"])
        for theirs, ours in (("mean", "running_mean"), ("var", "running_var")):
            put(f"batch_stats/{unit}/BatchNorm_0/{theirs}", state[f"{name}.bn.{ours}"][None, None])
    classifier = state["logits.conv3d.weight"].permute(2, 3, 4, 1, 0)
    put("params/Logits/Conv3d_0c_1x1/Conv_0/kernel", classifier)
    put("params/Logits/Conv3d_0c_1x1/Conv_0/bias", state["logits.conv3d.bias"])
    return nested


def write(path: Path, state: State) -> Path:
    if path.suffix == ".ckpt":
        path.write_bytes(pickle.dumps(as_in_the_package(state), protocol=4))
    else:
        torch.save(state, path)
    return path


# --- the network


@pytest.mark.parametrize("size", [(16, 64, 96), (13, 45, 70)], ids=["even", "odd"])
@pytest.mark.parametrize("name", ["rgb_imagenet.pt", "i3d-kinetics-400.ckpt"])
@torch.inference_mode()
def test_both_files_give_the_features_of_a_naive_network(tmp_path, state, name, size):
    network = load(str(write(tmp_path / name, state)), RECIPE).module
    seen = views(*size)
    expected = naive(state, seen.permute(0, 4, 1, 2, 3))
    assert expected.abs().max() > 0.01
    assert (network(seen) - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "width", "before"),
    [(8, 7, 2, 13, 2), (7, 7, 2, 13, 3), (8, 3, 2, 9, 0), (7, 3, 2, 9, 1), (4, 2, 2, 4, 0)],
)
def test_same_padding_puts_the_odd_zero_after(size, kernel, stride, width, before):
    padded = pad_same(torch.ones(1, 1, size, 1, 1), (kernel, 1, 1), (stride, 1, 1)).flatten()
    assert len(padded) == width
    assert padded.tolist() == [0] * before + [1] * size + [0] * (width - before - size)


@torch.inference_mode()
def test_the_engine_gives_the_features_of_pytorch(tmp_path, monkeypatch):
    monkeypatch.setenv("VAD_CACHE", str(tmp_path))
    monkeypatch.setenv("VAD_ENGINE", "openvino")
    network = load("random:0", RECIPE).module
    fast, seen = compiled(network, (1, 8, 32, 48, 3), 1), views(8, 32, 48)
    assert isinstance(fast, Compiled)
    expected = network(seen)
    assert (fast(seen) - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_a_clip_is_one_view_of_the_whole_picture():
    backbone = create_backbone("i3d-inception", weights="random:0")
    clip = np.random.default_rng(0).integers(0, 256, (1, 16, 60, 80, 3), np.uint8)
    features = backbone(clip)
    assert (features.shape, backbone.crops) == ((1, 1, 1024), ("whole",))
    assert np.isfinite(features).all()
    assert backbone.provenance["recipe"]["resize_px"] == [224, 288]  # height, width


def test_other_crops_are_those_of_the_published_features():
    backbone = create_backbone("i3d-inception", weights="random:0", crops="five")
    assert backbone.crops == ("center", "top-left", "top-right", "bottom-left", "bottom-right")
    assert backbone.provenance["recipe"]["crop_px"] == 224
    assert len(create_backbone("i3d-inception", weights="random:0", crops="ten").crops) == 10


# --- files


@pytest.mark.parametrize("name", ["a.pt", "a.ckpt"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Mixed_4c.b1b.bn.bias": None}, r"1 missing \(Mixed_4c.b1b.bn.bias\)"),
        ({"Mixed_3b.b0.bn.bias": torch.ones(7)}, r"b0.bn.bias \[7\] for \[64\]"),
        ({"Mixed_5c.b3b.bn.running_mean": torch.full((128,), torch.nan)}, "1 not finite"),
    ],
    ids=["missing", "shape", "nan"],
)
def test_what_does_not_fit_is_listed(tmp_path, state, name, change, message):
    path = write(tmp_path / name, state | {k: v for k, v in change.items() if v is not None})
    if None in change.values():
        if path.suffix == ".pt":
            torch.save({k: v for k, v in state.items() if k not in change}, path)
        else:
            nested = as_in_the_package(state)
            del nested["params"]["Mixed_4c"]["Branch_1"]["Conv3d_0b_3x3"]["BatchNorm_0"]
            path.write_bytes(pickle.dumps(nested, protocol=4))
    with pytest.raises(UsageError, match=message):
        load(str(path), RECIPE)


def test_a_file_of_another_network_is_told(tmp_path):
    torch.save({"conv1.weight": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(UsageError, match="no I3D Inception in a known naming: it has conv1.weight"):
        load(str(tmp_path / "a.pt"), RECIPE)


# --- the classes of a stored video


@pytest.fixture(scope="module")
def classified(tmp_path_factory, state, small_run):
    """A folder with weights, whose classifier gives class 7 nearly all, and a store of a video."""
    folder = tmp_path_factory.mktemp("classes")
    bias = torch.zeros(400)
    bias[7], bias[3] = 10.0, 5.0
    known = {"logits.conv3d.weight": torch.zeros(400, 1024, 1, 1, 1), "logits.conv3d.bias": bias}
    file = write(folder / "rgb_imagenet.pt", state | known)
    write(folder / "other.pt", state)
    torch.save({n: t for n, t in state.items() if "logits" not in n}, folder / "headless.pt")
    shutil.copy(small_run / "videos" / "v0.mp4", folder / "a.mp4")
    settings = {"backbone": "i3d-inception", "workers": 1, "quiet": True}
    vad_module.extract(folder / "a.mp4", folder / "s.zarr", weights=str(file), **settings)
    return folder


def test_inspect_names_the_classes_of_a_stored_video(vad, classified):
    code, out, err = vad("inspect", classified / "s.zarr", "--classes", "a", "--json")
    assert code == 0, err
    first, second = json.loads(out)[:2]
    names = [first["name"], second["name"]]
    assert names == ["arranging flowers", "applauding"]  # the eighth and the fourth
    chance = float(np.exp(10) / (np.exp(10) + np.exp(5) + 398))
    assert first["chance"] == pytest.approx(chance, abs=1e-5)
    assert (first["highest"], first["at_s"]) == (pytest.approx(chance, abs=1e-5), 0.0)
    assert "0.98  arranging flowers" in vad("inspect", classified / "s.zarr", "--classes", "a")[1]


def test_the_provenance_of_a_rectangular_view_is_read_back(classified):
    made = FeatureStore.open(classified / "s.zarr").provenance("visual/i3d-inception")
    assert (made.recipe.crop_px, made.recipe.crop_size) == ((224, 288), (224, 288))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--classes", "b"], "no video 'b' in"),
        (["--classes", "a", "--weights", "other.pt"], "made with other weights than other.pt"),
        (["--classes", "a", "--weights", "headless.pt"], "has no classifier of the 400 classes"),
        (["--classes", "a", "--weights", "random:0"], "random numbers, they know no classes"),
    ],
)
def test_classes_that_cannot_be_named_are_told(vad, classified, monkeypatch, args, message):
    monkeypatch.chdir(classified)
    code, _, err = vad("inspect", "s.zarr", *args)
    assert code == 2
    assert message in err


# --- the real weights


def test_the_real_weights_see_a_weight_lifter(vad, data, tmp_path, monkeypatch):
    weights = BACKBONES["i3d-inception"].weights[0]
    try:
        fetch(weights)
    except UsageError as error:
        pytest.skip(f"the weights of i3d-inception cannot be had: {error}")
    monkeypatch.chdir(tmp_path)
    with av.open(str(data / "decoder" / "dancing.mp4")) as container:  # shows a weight lifter
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open("lift.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=20, options={"crf": "18"})
        stream.height, stream.width = frames[0].shape[:2]
        for pixels in frames[160:192]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    code, _, err = vad("extract", "lift.mp4", "--backbone", "i3d-inception", "--quiet")
    assert code == 0, err
    features = FeatureStore.open("features.zarr").read("lift", "visual/i3d-inception")
    assert features.shape == (2, 1, 1024)
    code, out, err = vad("inspect", "features.zarr", "--classes", "lift", "--json")
    assert code == 0, err
    likely = {seen["name"]: seen["chance"] for seen in json.loads(out)}
    lifting = ("clean and jerk", "snatch weight lifting", "deadlifting")
    assert sum(likely.get(name, 0) for name in lifting) > 0.9


# --- published detectors that read such features


@pytest.fixture(scope="module", params=["urdmu", "pel4vad", "bnwvad"])
def published(request, tmp_path_factory):
    """A file of random weights as the authors save them, a bare state dict, and the detector."""
    torch.manual_seed(0)
    detector = create_detector(request.param, visual_dim=1024).eval()
    state = detector.state_dict()
    n_parameters = {"urdmu": (34, 6_492_929), "pel4vad": (20, 1_209_149), "bnwvad": (40, 5_791_905)}
    found = len(state), sum(parameter.numel() for parameter in detector.parameters())
    assert found == n_parameters[request.param]  # those of the published files
    path = tmp_path_factory.mktemp("weights") / f"{request.param}.pkl"
    torch.save(state, path)
    return path, detector


@pytest.fixture(scope="module")
def seen(tmp_path_factory, write_video):
    """A video, and the features that detectors read of it, [snippets, crops, dim]."""
    video = tmp_path_factory.mktemp("seen") / "new.mp4"
    write_video(video, 40)
    backbone = create_backbone(
        "i3d-inception", weights="random:0", recipe="deepmil", crops="center"
    )
    with av.open(str(video)) as container:
        frames = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
    features = backbone(frames[:32].reshape(2, 16, *frames.shape[1:]))  # deepmil drops the tail
    return video, torch.from_numpy(features.astype(np.float16).astype(np.float32))


def test_published_weights_score_raw_videos(vad, published, seen, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, detector = published
    given = ["--backbone", "i3d-inception", "--backbone-weights", "random:0", "--crops", "center"]
    code, out, err = vad("import", "detector", file, "--out", "runs/published", *given)
    assert code == 0, err
    assert "visual/i3d-inception: not proven equal to the features that the weights" in out
    video, stored = seen
    code, _, err = vad("score", video, "--detector", "runs/published", "--format", "npy", "--quiet")
    assert code == 0, err
    scored = np.load(next(Path("scores").rglob("*.npy")))
    with torch.inference_mode():
        expected = detector(stored.transpose(0, 1)[None]).scores[0].numpy()
    assert len(scored) == 40
    np.testing.assert_allclose(scored[[0, 31]], expected, atol=2e-3)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["--backbone", "efficientnet-lite0"], "read visual features of 1024 values, visual/eff.*"),
        (["--backbone", "i3d-inception", "--crops", "nine"], "crops: 'nine'|nine"),
        (["--backbone", "i3d-inception", "--store", "s"], "of a store or of a backbone, not of"),
    ],
    ids=["width", "crops", "both"],
)
def test_an_import_that_cannot_be_is_told_in_a_line(vad, tmp_path, given, message):
    detector = create_detector("pel4vad", visual_dim=1024)
    torch.save(detector.state_dict(), tmp_path / "w.pkl")
    out = tmp_path / "run"
    given = [*given, "--backbone-weights", "random:0"]
    code, _, err = vad("import", "detector", tmp_path / "w.pkl", "--out", out, *given)
    assert code == 2
    assert re.search(message, err)
    assert not out.exists()

"""Weights: every published naming gives the features of the public code, and nothing else loads."""

import hashlib
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F
from transformers import TimesformerConfig, TimesformerModel

from vad.errors import UsageError
from vad.stages.extract.backbones.i3d import load as load_i3d
from vad.stages.extract.backbones.i3d_names import to_our_names
from vad.stages.extract.backbones.timesformer import load as load_timesformer
from vad.stages.extract.recipes import RECIPES
from vad.stages.extract.weights.checkpoint import fill_randomly, read_checkpoint

State = dict[str, torch.Tensor]
RTFM, TIMESFORMER = RECIPES["rtfm"], RECIPES["timesformer"]
VIEWS = torch.randn(1, 16, 64, 64, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def assert_same(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert expected.abs().max() > 0.01
    assert float((got - expected).abs().max() / expected.abs().max()) <= 1e-5


# --- I3D: the names of the three public codes, written out, and the network of the second


def blocks_of_i3d() -> Iterator[tuple[int, int, int, int, int]]:
    """(stage, block, width in, inner width, kernel in time of the first convolution)"""
    width = 64
    temporal = {1: (3, 3, 3), 2: (3, 1, 3, 1), 3: (3, 1, 3, 1, 3, 1), 4: (1, 3, 1)}
    for stage, kernels in temporal.items():
        for block, kernel in enumerate(kernels):
            inner = 32 << stage
            yield stage, block, width, inner, kernel
            width = 4 * inner


def shapes_of_i3d(*, nonlocal_blocks: bool) -> dict[tuple[str, str], tuple[int, ...]]:
    """Shape of every layer under its (Tushar-N name, Caffe2 name)."""
    shapes: dict[tuple[str, str], tuple[int, ...]] = {
        ("conv1", "conv1"): (64, 3, 5, 7, 7),
        ("bn1", "res_conv1_bn"): (64,),
    }
    for stage, block, width, inner, kernel in blocks_of_i3d():
        here, there = f"layer{stage}.{block}", f"res{stage + 1}_{block}_branch"
        convs = [(inner, width, kernel, 1, 1), (inner, inner, 1, 3, 3), (4 * inner, inner, 1, 1, 1)]
        for number, letter, shape in zip("123", "abc", convs, strict=True):
            shapes[f"{here}.conv{number}", f"{there}2{letter}"] = shape
            shapes[f"{here}.bn{number}", f"{there}2{letter}_bn"] = shape[:1]
        if block == 0:
            shapes[f"{here}.downsample.0", f"{there}1"] = (4 * inner, width, 1, 1, 1)
            shapes[f"{here}.downsample.1", f"{there}1_bn"] = (4 * inner,)
        if nonlocal_blocks and (stage, block) in {(2, 1), (2, 3), (3, 1), (3, 3), (3, 5)}:
            here, there = f"{here}.nl", f"nonlocal_conv{stage + 1}_{block}"
            for part in ("theta", "phi", "g"):
                shapes[f"{here}.{part}", f"{there}_{part}"] = (2 * inner, 4 * inner, 1, 1, 1)
            shapes[f"{here}.out", f"{there}_out"] = (4 * inner, 2 * inner, 1, 1, 1)
            shapes[f"{here}.bn", f"{there}_bn"] = (4 * inner,)
    return shapes


def random_i3d(*, nonlocal_blocks: bool) -> tuple[State, State]:
    """The same random tensors under the names of Tushar-N and of Caffe2, with the classifier."""
    generator = torch.Generator().manual_seed(3)

    def normal(shape: tuple[int, ...], std: float) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * std

    tushar = {"fc.weight": normal((400, 2048), 0.01), "fc.bias": torch.zeros(400)}
    caffe2 = {"pred_w": tushar["fc.weight"], "pred_b": tushar["fc.bias"]}
    for (here, there), shape in shapes_of_i3d(nonlocal_blocks=nonlocal_blocks).items():
        if len(shape) == 1:
            four = {
                ("weight", "s"): normal(shape, 0.1).abs() + 0.4,
                ("bias", "b"): normal(shape, 0.1),
                ("running_mean", "rm"): normal(shape, 0.1),
                ("running_var", "riv"): normal(shape, 0.1).abs() + 0.8,
            }
        else:
            fan_in = int(np.prod(shape[1:]))
            four = {("weight", "w"): normal(shape, (2 / fan_in) ** 0.5)}
            if ".nl." in here:
                four["bias", "b"] = normal(shape[:1], 0.1)
        for (long, short), value in four.items():
            tushar[f"{here}.{long}"] = caffe2[f"{there}_{short}"] = value
    return tushar, caffe2


def tushar_i3d(state: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """I3D-ResNet50 as video-nonlocal-net and Tushar-N run it, straight from a state dict.

    [views, 3, frames, height, width] -> [views, 2048]
    """

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    def conv(x: torch.Tensor, name: str, stride: tuple[int, int, int] = (1, 1, 1)) -> torch.Tensor:
        kernel = state[f"{name}.weight"]
        bias = state.get(f"{name}.bias")
        return F.conv3d(x, kernel, bias, stride, [size // 2 for size in kernel.shape[2:]])

    def nonlocal_block(x: torch.Tensor, name: str) -> torch.Tensor:
        small = F.max_pool3d(x, (1, 2, 2))
        theta, phi, g = (
            conv(a, f"{name}.{part}").flatten(2)
            for a, part in ((x, "theta"), (small, "phi"), (small, "g"))
        )
        weights = (theta.transpose(1, 2) @ phi / theta.shape[1] ** 0.5).softmax(2)
        mixed = (g @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return x + norm(conv(mixed, f"{name}.out"), f"{name}.bn")

    x = F.relu(norm(conv(x, "conv1", (2, 2, 2)), "bn1"))
    x = F.max_pool3d(x, (2, 3, 3), (2, 2, 2))
    for stage, n_blocks in enumerate((3, 4, 6, 3), start=1):
        for i in range(n_blocks):
            name = f"layer{stage}.{i}"
            step = (1, 2, 2) if stage > 1 and i == 0 else (1, 1, 1)
            y = F.relu(norm(conv(x, f"{name}.conv1"), f"{name}.bn1"))
            y = F.relu(norm(conv(y, f"{name}.conv2", step), f"{name}.bn2"))
            y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            if i == 0:
                x = norm(conv(x, f"{name}.downsample.0", step), f"{name}.downsample.1")
            x = F.relu(x + y)
            if f"{name}.nl.theta.weight" in state:
                x = nonlocal_block(x, f"{name}.nl")
        if stage == 1:
            x = F.max_pool3d(x, (2, 1, 1))
    return x.mean((2, 3, 4))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "nonlocal"])
def fair(request: pytest.FixtureRequest) -> tuple[State, State, torch.Tensor]:
    """Random tensors in both FAIR namings, and the features they must give."""
    torch.set_num_threads(1)
    tushar, caffe2 = random_i3d(nonlocal_blocks=request.param)
    assert len(tushar) == (327 if request.param else 267)  # as the published files
    with torch.inference_mode():
        return tushar, caffe2, tushar_i3d(tushar, VIEWS.permute(0, 4, 1, 2, 3))


def write(path: Path, state: State) -> Path:
    """As each project publishes: the container and what stands around the weights."""
    if path.suffix == ".pkl":
        blobs: dict[str, Any] = {name: value.numpy() for name, value in state.items()}
        blobs |= {"conv1_w_momentum": np.ones((64, 3, 5, 7, 7), np.float32)}
        blobs |= {"lr": np.ones(1, np.float32), "model_iter": np.ones(1, np.int64)}
        path.write_bytes(pickle.dumps({"blobs": blobs}, protocol=2))
    elif path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    elif path.suffix == ".pyth":
        settings = SimpleNamespace(model="an object of the trainer")
        torch.save({"epoch": 196, "cfg": settings, "model_state": state}, path)
    else:
        torch.save({f"module.{name}": value for name, value in state.items()}, path)
    return path


def test_tushar_i3d_gives_its_published_features(
    tmp_path: Path, fair: tuple[State, State, torch.Tensor]
) -> None:
    tushar, _, expected = fair
    path = write(tmp_path / "i3d_r50_kinetics.pth", tushar)
    network = load_i3d(str(path), RTFM)
    assert network.layout == ("fair-32x2" if len(tushar) == 267 else "fair-32x2-nonlocal")
    assert network.weights["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    with torch.inference_mode():
        assert_same(network.module(VIEWS), expected)


def test_names_of_caffe2_stand_for_the_same_tensors(fair: tuple[State, State, Any]) -> None:
    tushar, caffe2 = (to_our_names(state, "") for state in fair[:2])
    assert tushar[0] == caffe2[0]
    assert tushar[1].keys() == caffe2[1].keys()
    assert all(tushar[1][name] is caffe2[1][name] for name in tushar[1])


def test_caffe2_i3d_gives_its_published_features(tmp_path: Path) -> None:
    tushar, caffe2 = random_i3d(nonlocal_blocks=False)
    path = write(tmp_path / "i3d_baseline_32x2_IN_pretrain_400k.pkl", caffe2)
    with torch.inference_mode():
        expected = tushar_i3d(tushar, VIEWS.permute(0, 4, 1, 2, 3))
        assert_same(load_i3d(str(path), RTFM).module(VIEWS), expected)


def test_pytorchvideo_i3d_gives_its_published_features(tmp_path: Path) -> None:
    from pytorchvideo.models import hub  # after vad, which silences what it imports

    public = hub.i3d_r50(pretrained=False).eval()
    fill_randomly(public, 1)
    path = write(tmp_path / "I3D_8x8_R50.pyth", public.state_dict())
    network = load_i3d(str(path), RTFM)
    assert network.layout == "pytorchvideo-8x8"
    with torch.inference_mode():
        x = VIEWS.permute(0, 4, 1, 2, 3)
        for block in public.blocks[:-1]:
            x = block(x)
        assert_same(network.module(VIEWS), x.mean((2, 3, 4)))


def test_the_layout_can_be_told_for_converted_files(tmp_path: Path) -> None:
    tushar, _ = random_i3d(nonlocal_blocks=False)
    path = write(tmp_path / "i3d.safetensors", to_our_names(tushar, "")[1])
    with torch.inference_mode():
        expected = tushar_i3d(tushar, VIEWS.permute(0, 4, 1, 2, 3))
        assert_same(load_i3d(f"fair-32x2:{path}", RTFM).module(VIEWS), expected)


# --- TimeSformer


def original_names(state: State) -> State:
    """transformers' names of a small TimeSformer turned into those of the original code."""
    inside = {
        "attention.attention.qkv": "attn.qkv",
        "attention.output.dense": "attn.proj",
        "temporal_attention.attention.qkv": "temporal_attn.qkv",
        "temporal_attention.output.dense": "temporal_attn.proj",
        "temporal_dense": "temporal_fc",
        "temporal_layernorm": "temporal_norm1",
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "intermediate.dense": "mlp.fc1",
        "output.dense": "mlp.fc2",
    }
    outside = {
        "embeddings.cls_token": "cls_token",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.time_embeddings": "time_embed",
        "embeddings.patch_embeddings.projection.weight": "patch_embed.proj.weight",
        "embeddings.patch_embeddings.projection.bias": "patch_embed.proj.bias",
        "layernorm.weight": "norm.weight",
        "layernorm.bias": "norm.bias",
    }
    named = {outside[name]: value for name, value in state.items() if name in outside}
    for name, value in state.items():
        if name.startswith("encoder.layer."):
            number, _, layer = name.removeprefix("encoder.layer.").partition(".")
            layer, _, parameter = layer.rpartition(".")
            named[f"blocks.{number}.{inside[layer]}.{parameter}"] = value
    assert len(named) == len(state)
    return named


@pytest.mark.parametrize("form", ["safetensors", "bin", "original", "original in DDP"])
def test_timesformer_gives_its_published_features(tmp_path: Path, form: str) -> None:
    config = TimesformerConfig(
        image_size=32,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    public = TimesformerModel(config)
    public.train(False)
    fill_randomly(public, 5)
    state = public.state_dict()
    classifier = {"weight": torch.zeros(400, 128), "bias": torch.zeros(400)}
    if form.startswith("original"):
        state = original_names(state) | {f"head.{k}": v for k, v in classifier.items()}
        state = {f"model.{name}": value for name, value in state.items()}
        where = write(tmp_path / ("a.pyth" if form == "original" else "a.pth"), state)
    else:
        where = tmp_path
        config.save_pretrained(where)
        state = {f"timesformer.{name}": value for name, value in state.items()}
        state |= {f"classifier.{k}": v for k, v in classifier.items()}
        if form == "safetensors":
            save_file(state, where / "model.safetensors")
        else:
            torch.save(state, where / "pytorch_model.bin")
    views = VIEWS[:, ::2, :32, :32]
    with torch.inference_mode():
        expected = public(views.permute(0, 1, 4, 2, 3)).last_hidden_state[:, 0]
        network = load_timesformer(str(where), TIMESFORMER, offline=True)
        assert_same(network.module(views), expected)


def test_a_timesformer_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="no connection may be opened; download https://hugg"):
        load_timesformer("nobody/has-this", TIMESFORMER, offline=True)
    with pytest.raises(UsageError, match="must hold config.json and model.safetensors or"):
        load_timesformer(str(tmp_path), TIMESFORMER)
    with pytest.raises(UsageError, match="no weights at gone.pyth"):
        load_timesformer("gone.pyth", TIMESFORMER)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "config.json is not a configuration: Expecting property"),
        ('{"hidden_size": "wide"}', "config.json is not a configuration: .*hidden_size"),
        ('{"model_type": "bert"}', "config.json is not of a TimeSformer"),
        ('{"attention_type": "space_only"}', "not of a TimeSformer with divided space-time"),
        ("{}", "no TimeSformer in a known naming: it has a; known are"),
    ],
)
def test_a_folder_of_something_else_is_told(tmp_path: Path, config: str, message: str) -> None:
    torch.save({"a": torch.ones(1)}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(config)
    with pytest.raises(UsageError, match=message):
        load_timesformer(str(tmp_path), TIMESFORMER)


# --- what does not fit


def small(**changes: torch.Tensor) -> State:
    """A state with the names of pytorchvideo that fits nothing."""
    return {"blocks.0.conv.weight": torch.ones(64, 3, 5, 7, 7), **changes}


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (
            {"a": torch.ones(1), "b": torch.ones(1)},
            "no I3D-ResNet50 in a known .*: it has a, b",
        ),
        (small(), "264 missing .blocks.0.norm.weight, .*, ..."),
        (small(**{"blocks.9.x": torch.ones(1)}), "1 not known .blocks.9.x"),
        (
            {"blocks.0.conv.weight": torch.ones(64, 3, 1, 7, 7)},  # of the slow pathway
            r"1 of another shape .blocks.0.conv.weight \[64, 3, 1, 7, 7\] for \[64, 3, 5, 7, 7\]",
        ),
        ({"blocks.0.conv.weight": torch.full((64, 3, 5, 7, 7), torch.nan)}, "1 not finite"),
    ],
    ids=["other names", "missing", "too many", "other shape", "not a number"],
)
def test_what_does_not_fit_is_listed(tmp_path: Path, state: State, message: str) -> None:
    path = tmp_path / "weights.pth"
    torch.save(state, path)
    with pytest.raises(UsageError, match=message):
        load_i3d(str(path), RTFM)


@pytest.mark.parametrize("name", ["a.pth", "a.pkl", "a.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut"])
def test_a_file_of_something_else_is_told(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UsageError, match=name):
        read_checkpoint(path)


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


@pytest.mark.parametrize("name", ["a.pth", "a.pkl", "old.pth"])
def test_no_file_runs_code(tmp_path: Path, name: str) -> None:
    proof, path = tmp_path / "it ran", tmp_path / name
    content = {"blobs": {"conv1_w": Evil(proof)}, "model_state": {"a": Evil(proof)}}
    if name == "a.pth":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UsageError):
        load_i3d(str(path), RTFM)
    assert not proof.exists()
    pickle.loads(pickle.dumps(Evil(proof)))  # noqa: S301  it would have
    assert proof.exists()

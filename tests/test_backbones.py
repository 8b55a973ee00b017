"""Backbones: the table, the interface, and each network against the public code it stands for."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from transformers import TimesformerConfig, TimesformerModel

from vad.errors import UsageError
from vad.stages.extract.backbones import BACKBONES, create_backbone
from vad.stages.extract.backbones.backbone import faithful_half
from vad.stages.extract.backbones.efficientnet import (
    EfficientNetLite0,
    SamePadConv2d,
    clip_feature,
    load_network,
)
from vad.stages.extract.backbones.efficientnet import load as load_lite0
from vad.stages.extract.backbones.i3d import I3D
from vad.stages.extract.backbones.timesformer import ClipToken
from vad.stages.extract.recipes import RECIPES
from vad.stages.extract.weights.checkpoint import fill_randomly

RTFM = RECIPES["rtfm"]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def some_clips(n: int, height: int = 240, width: int = 320) -> NDArray[np.uint8]:
    """uint8 [n, 16, height, width, 3]: blurred noise that drifts."""
    noise = np.random.default_rng(0).integers(0, 256, (n, 16, 15, 20, 3), np.uint8)
    return noise.repeat(height // 15, 2).repeat(width // 20, 3)


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got - expected).abs().max() / expected.abs().max())


# --- the table and the door


def test_the_table_needs_no_torch() -> None:
    code = (
        "import sys; from vad.stages.extract.backbones.table import BACKBONES; "
        "from vad.stages.extract.recipes import RECIPES; "
        "print(len(BACKBONES), [m for m in ('torch', 'transformers', 'av') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "16 []"


@pytest.mark.parametrize("card", BACKBONES.values(), ids=str)
def test_every_row_of_the_table_is_whole(card: Any) -> None:
    assert all(recipe in RECIPES for recipe in card.recipes)
    assert all(weights.licence and weights.source for weights in card.weights)


def test_sizes_are_those_of_the_networks() -> None:
    """28,043,472 parameters of I3D with the classifier of Kinetics' 400 classes, and so on."""
    classifier = 400 * 2048 + 400
    for weights in BACKBONES["i3d"].weights:
        network = I3D(weights.name)
        n_parameters = sum(p.numel() for p in network.parameters()) + classifier
        assert weights.n_parameters == n_parameters
    lite0 = BACKBONES["efficientnet-lite0"].weights[0]
    assert lite0.n_parameters == sum(p.numel() for p in EfficientNetLite0().parameters())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "i3b"}, "no backbone named 'i3b'.*i3d, timesformer.*did you mean 'i3d'"),
        ({"recipe": "rtmf"}, "no recipe named 'rtmf'"),
        ({"recipe": "timesformer"}, "'timesformer' is not made for efficientnet-lite0"),
        ({"device": "gpu"}, "no device named 'gpu'; use auto, cpu"),
        ({"crops": "nine"}, "no crop set named 'nine'; there are: ten, five, center"),
        ({"precision": "fp8"}, "no precision named 'fp8'; there are: auto, fp32, bf16, fp16"),
        ({"weights": "random:x"}, "random:SEED with a whole number, not 'random:x'"),
        ({"weights": "no/such/file.pth"}, "no weights at no/such/file.pth"),
    ],
)
def test_what_does_not_exist_is_told(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        create_backbone(**{"name": "efficientnet-lite0", **arguments})


# --- the interface, on the embedded backbone


def test_clips_become_features() -> None:
    backbone = create_backbone("efficientnet-lite0", weights="random:0", crops="five")
    features = backbone(some_clips(1))
    assert (backbone.name, backbone.dim) == ("efficientnet-lite0", 1504)
    assert backbone.crops == ("top-left", "top-right", "bottom-left", "bottom-right", "center")
    assert features.shape == (1, 5, 1504)
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    center = create_backbone("efficientnet-lite0", weights="random:0", crops="center")
    np.testing.assert_allclose(center(some_clips(1))[:, 0], features[:, 4], rtol=1e-4, atol=1e-5)


def test_clips_may_be_read_only_tensors_or_none() -> None:
    backbone = create_backbone("efficientnet-lite0", weights="random:0")
    clips = some_clips(1)
    expected = backbone(clips)
    np.testing.assert_array_equal(backbone(torch.from_numpy(clips)), expected)
    clips.setflags(write=False)
    np.testing.assert_array_equal(backbone(clips), expected)
    assert backbone(clips[:0]).shape == (0, 1, 1504)


@pytest.mark.parametrize(
    "clips",
    [
        np.zeros((1, 16, 32, 32, 3), np.float32),
        np.zeros((1, 15, 32, 32, 3), np.uint8),
        np.zeros((16, 32, 32, 3), np.uint8),
        np.zeros((1, 16, 3, 32, 32), np.uint8),
    ],
    ids=["floats", "15 frames", "no clips", "channels first"],
)
def test_wrong_clips_are_told(clips: NDArray[Any]) -> None:
    backbone = create_backbone("efficientnet-lite0", weights="random:0")
    with pytest.raises(UsageError, match=r"clips are uint8 \[clips, 16, height, width, 3\], got"):
        backbone(clips)


def test_provenance_says_what_the_numbers_depend_on() -> None:
    packaged = create_backbone("efficientnet-lite0").provenance
    assert packaged == json.loads(json.dumps(packaged))
    assert packaged["backbone"] == "efficientnet-lite0"
    assert packaged["weights"]["name"] == "imagenet"
    assert packaged["weights"]["sha256"].startswith("57934424")  # as the file's own name says
    assert packaged["recipe"] == RECIPES["efficientnet-lite0"].taking("whole").record()
    assert packaged["crops"] == ["whole"]
    assert packaged["precision"] == {"asked": "fp32", "used": "fp32"}
    assert packaged["versions"]["torch"].startswith("2.")
    random = create_backbone("efficientnet-lite0", weights="random:7").provenance
    assert random["weights"] == {"name": "random:7", "random": True, "seed": 7}


def test_random_weights_are_the_same_every_time() -> None:
    views = torch.randn(1, 2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    one, same, other = (load_lite0(f"random:{seed}", RTFM).module for seed in (1, 1, 2))
    with torch.inference_mode():
        assert torch.equal(one(views), same(views))
        assert relative_error(other(views), one(views)) > 0.1


class Lifts(nn.Module):
    """x + offset - offset: what is left of x shows how finely a type counts near the offset."""

    def __init__(self, offset: float) -> None:
        super().__init__()
        self.offset = offset

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.offset) - self.offset


@pytest.mark.parametrize(
    ("offset", "used"),
    [
        (0, "bf16"),
        (8, "fp16"),  # there bf16 counts in steps of 1/16: a cosine of 0.9995; fp16 in 1/128
        (4096, "fp32"),  # there fp16 counts in steps of 4
    ],
)
def test_half_precision_only_where_it_points_the_same_way(offset: float, used: str) -> None:
    probe = torch.rand(2, 500, generator=torch.Generator().manual_seed(0))
    network = Lifts(offset)
    chosen, record = faithful_half(network, probe)
    assert record["used"] == used
    assert (chosen is network) == (used == "fp32")
    assert ("cosine" in record) == (used != "fp32")


def test_auto_is_fp32_on_a_cpu() -> None:
    backbone = create_backbone("efficientnet-lite0", weights="random:0", precision="auto")
    assert backbone.provenance["precision"] == {"asked": "auto", "used": "fp32"}


# --- EfficientNet-Lite0


@pytest.mark.parametrize(("photograph", "label"), [("china", "palace"), ("flower", "daisy")])
def test_lite0_names_what_a_photograph_shows(photograph: str, label: str) -> None:
    from sklearn.datasets import load_sample_image
    from torchvision.models import EfficientNet_B0_Weights
    from torchvision.transforms import CenterCrop, Resize

    image = Image.fromarray(load_sample_image(f"{photograph}.jpg"))
    clip = np.broadcast_to(np.asarray(image), (1, 16, image.height, image.width, 3))
    backbone = create_backbone("efficientnet-lite0")
    net, _ = load_network("imagenet", offline=True)
    middle = CenterCrop(224)(Resize(224)(image))
    pixels = torch.from_numpy(np.array(middle)).float()[None]
    head, _ = net.maps((pixels.permute(0, 3, 1, 2) - 127) / 128)
    names = EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"]
    assert names[int(net._fc(head.mean((2, 3))).argmax())] == label
    assert np.abs(backbone(clip)).max() < 1e-5  # nothing moves


def test_a_clip_feature_is_how_the_clip_changes_and_moves() -> None:
    pooled = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [2.0, 8.0]]])  # 3 frames of 2 numbers
    middle = torch.tensor([0.0, 0.0, 3.0, 4.0, 4.0, 4.0]).reshape(1, 3, 1, 1, 2)  # 2 places
    changes, moves = [1.5, 1.5], [np.std([0, 3, 4]) / 2 + np.std([0, 4, 4]) / 2]
    moves_most = [2.0]  # (3 + 1) / 2 and (4 + 0) / 2
    expected = torch.tensor([[*changes, *moves, *moves_most]], dtype=torch.float32)
    torch.testing.assert_close(clip_feature(pooled, middle), expected)


def test_same_padding_puts_the_odd_zero_after() -> None:
    """Stride 2 over an even size: the first window starts at the first pixel, not before it."""
    conv = SamePadConv2d(1, 1, 3, 2, bias=False)
    nn.init.ones_(conv.weight)
    row = torch.tensor([[[[1.0, 2.0, 4.0, 8.0]]]])
    assert conv(row).tolist() == [[[[1 + 2 + 4, 4 + 8]]]]
    assert conv(row[..., :3]).tolist() == [[[[1 + 2, 2 + 4]]]]  # odd size: a zero on both sides


def test_folding_keeps_the_features_of_lite0() -> None:
    plain = EfficientNetLite0().eval()
    fill_randomly(plain, 0)
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        folded = load_lite0("random:0", RTFM).module
        assert isinstance(folded, EfficientNetLite0)
        for one, other in zip(folded.maps(images), plain.maps(images), strict=True):
            assert relative_error(one, other) <= 1e-5


# --- I3D and TimeSformer (test_weights.py compares them, folded, with the public code)


def test_i3d_is_the_rtfm_recipe_at_2048() -> None:
    backbone = create_backbone("i3d", weights="random:0", crops="center")
    features = backbone(some_clips(1))
    assert features.shape == (1, 1, 2048)
    assert np.isfinite(features).all()
    assert (features > 0).any()
    assert backbone.provenance["layout"] == "fair-32x2"
    assert backbone.provenance["recipe"]["name"] == "rtfm"
    assert backbone.recipe.tail == "loop"


def small_timesformer(n_frames: int = 8) -> TimesformerModel:
    config = TimesformerConfig(
        num_frames=n_frames,
        image_size=32,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
    )
    model = TimesformerModel(config)
    model.train(False)
    fill_randomly(model, 0)
    return model


def test_fused_attention_gives_the_features_of_transformers() -> None:
    views = torch.randn(3, 8, 32, 32, 3)
    model = small_timesformer()
    with torch.inference_mode():
        expected = model(views.permute(0, 1, 4, 2, 3)).last_hidden_state[:, 0]
        assert relative_error(ClipToken(model)(views), expected) <= 1e-5


@pytest.mark.parametrize(
    ("n_frames", "frames"), [(8, list(range(0, 16, 2))), (16, list(range(16)))]
)
def test_timesformer_takes_the_frames_its_weights_know(
    tmp_path: Path, n_frames: int, frames: list[int]
) -> None:
    small_timesformer(n_frames).save_pretrained(tmp_path)
    backbone = create_backbone("timesformer", weights=str(tmp_path), offline=True)
    assert backbone.provenance["recipe"]["frames"] == frames
    assert backbone.provenance["recipe"]["crop_px"] == 32
    assert backbone(some_clips(2)).shape == (2, 1, 128)


def test_timesformer_of_more_frames_than_a_clip_is_refused(tmp_path: Path) -> None:
    small_timesformer(96).save_pretrained(tmp_path)
    with pytest.raises(UsageError, match="wants 96 frames.*over a clip of 16; take one made for 8"):
        create_backbone("timesformer", weights=str(tmp_path))

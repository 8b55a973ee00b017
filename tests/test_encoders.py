"""Image and video encoders of transformers: tiny ones, loaded as those of the hub are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from numpy.typing import NDArray

import vad
from vad.errors import UsageError
from vad.stages.extract.backbones import BACKBONES, create_backbone
from vad.stages.extract.backbones.images import FAMILIES, RANDOM
from vad.stages.extract.decoders.pool import Clips, DecoderPool
from vad.stages.extract.settings import ExtractSettings
from vad.store import FeatureStore

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
PICTURE: dict[str, Any] = {"image_size": 56, "patch_size": 8}


def image_model(kind: str) -> tuple[Any, Any]:
    """A tiny model of a family, and a processor of the family's own kind for its size."""
    torch.manual_seed(0)
    config: Any
    if kind == "clip":
        config = hf.CLIPVisionConfig(**SMALL, **PICTURE, projection_dim=24)
        short: Any = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}}
        return hf.CLIPVisionModelWithProjection(config), hf.CLIPImageProcessor(**short)
    size: Any = {"size": {"height": 56, "width": 56}}
    if kind == "siglip":
        config = hf.SiglipVisionConfig(**SMALL, **PICTURE)
        return hf.SiglipVisionModel(config), hf.SiglipImageProcessor(**size)
    if kind == "dinov2":
        config = hf.Dinov2Config(**SMALL, **PICTURE)
        short = {"size": {"shortest_edge": 64}, "crop_size": {"height": 56, "width": 56}}
        return hf.Dinov2Model(config), hf.BitImageProcessor(**short)
    config = hf.DINOv3ViTConfig(**SMALL, **PICTURE, num_register_tokens=4)
    return hf.DINOv3ViTModel(config), hf.DINOv3ViTImageProcessor(**size)


def save(folder: Path, model: Any, processor: Any) -> Path:
    model.eval().save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)
    return folder


def smooth_frames(n: int) -> NDArray[np.uint8]:
    """Return smooth frames [n, 90, 120, 3], all different."""
    small = torch.rand(1, 3, 16, 9, 12, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(small, (n, 90, 120), mode="trilinear")
    frames: NDArray[np.uint8] = (255 * smooth[0].permute(1, 2, 3, 0)).byte().numpy()
    return frames


@pytest.fixture(scope="module")
def clip() -> NDArray[np.uint8]:
    """A clip of 16 smooth frames, 120 x 90 pixels."""
    return smooth_frames(16)


@pytest.mark.parametrize("pool", ["mean16", "middle", "every-second"])
@pytest.mark.parametrize("kind", ["clip", "siglip", "dinov2", "dinov3"])
def test_features_of_pictures_are_those_of_transformers_own_pipeline(
    tmp_path: Path, clip: NDArray[np.uint8], kind: str, pool: str
) -> None:
    model, processor = image_model(kind)
    folder = save(tmp_path / "tiny", model, processor)
    backbone = create_backbone(f"image:{folder}", pool=pool)
    taken = {"mean16": range(16), "middle": [8], "every-second": range(0, 16, 2)}[pool]
    frames = [torch.from_numpy(clip[i]).permute(2, 0, 1) for i in taken]
    pixels = processor(frames, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        output = model(pixels)
    wanted = output.image_embeds if kind == "clip" else output.pooler_output
    rows = backbone(clip[None])
    arrays = backbone.arrays_of(rows, 25.0, "float32")
    visual = arrays["visual/image"]
    np.testing.assert_allclose(visual[0, 0], wanted.mean(0), atol=1e-6)
    assert visual.shape == (1, 1, wanted.shape[1])
    n_first = {"clip": 1, "siglip": 0, "dinov2": 1, "dinov3": 5}[kind]
    cells = output.last_hidden_state[:, n_first:].mean(0)  # 7 x 7 patches: a cell is one of them
    np.testing.assert_allclose(arrays["places/image"][0], cells, atol=1e-5)


def test_image_encoders_are_compiled_for_a_cpu(
    tmp_path: Path, clip: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(tmp_path / "tiny", *image_model("clip"))
    expected = create_backbone(f"image:{folder}", pool="middle")(clip[None])
    monkeypatch.setenv("VAD_ENGINE", "openvino")
    monkeypatch.setenv("VAD_CACHE", str(tmp_path / "cache"))
    backbone = create_backbone(f"image:{folder}", pool="middle")
    assert backbone.provenance["engine"] == "openvino"
    np.testing.assert_allclose(backbone(clip[None]), expected, atol=1e-4)


def test_several_crops_have_no_cells(tmp_path: Path, clip: NDArray[np.uint8]) -> None:
    folder = save(tmp_path / "tiny", *image_model("clip"))
    backbone = create_backbone(f"image:{folder}", crops="ten")
    assert backbone.arrays == ("visual/image",)
    rows = backbone(clip[None])
    assert rows.shape == (1, 10, 24)
    alone = create_backbone("image", weights=str(folder))(clip[None])
    np.testing.assert_allclose(rows[0, 0], alone[0, 0, :24], atol=1e-5)  # the centre comes first


@pytest.mark.parametrize("kind", ["videomae", "xclip", "vjepa2"])
def test_features_of_videos_are_those_of_transformers_own_models(
    tmp_path: Path, clip: NDArray[np.uint8], kind: str
) -> None:
    torch.manual_seed(0)
    picture: dict[str, Any] = {"image_size": 32, "patch_size": 8}
    short: Any = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    processor: Any = hf.VideoMAEImageProcessor(**short)
    model: Any
    if kind == "videomae":
        model = hf.VideoMAEModel(hf.VideoMAEConfig(**SMALL, **picture, num_frames=16))
    elif kind == "xclip":
        vision: dict[str, Any] = {**SMALL, **picture, "num_frames": 8, "mit_hidden_size": 32}
        vision |= {"mit_intermediate_size": 64, "mit_num_attention_heads": 2}
        text: dict[str, Any] = {**SMALL, "vocab_size": 100}
        model = hf.XCLIPModel(
            hf.XCLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
        )
    else:
        sizes: dict[str, Any] = {
            "crop_size": 32,
            "patch_size": 8,
            "frames_per_clip": 64,
            "mlp_ratio": 2.0,
        }
        small = {k: v for k, v in SMALL.items() if k != "intermediate_size"}
        predictor: dict[str, Any] = {"pred_hidden_size": 32, "pred_num_hidden_layers": 1}
        predictor |= {"pred_num_attention_heads": 2}
        model = hf.VJEPA2Model(hf.VJEPA2Config(**small, **sizes, **predictor))
        processor = hf.VJEPA2VideoProcessor(
            size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}
        )
    folder = save(tmp_path / "tiny", model, processor)
    backbone = create_backbone(f"video:{folder}")
    if kind == "vjepa2":  # made for 64 frames: four snippets
        clip = smooth_frames(64)
        assert backbone.provenance["window"] == 64
        with pytest.raises(UsageError, match=r"clips, 64, height, width, 3.*clips, 16, 90, 120"):
            backbone(clip[None, :16])
    assert backbone.recipe.window == len(clip)
    taken = range(0, 16, 2) if kind == "xclip" else range(len(clip))
    frames = [torch.from_numpy(clip[i]).permute(2, 0, 1) for i in taken]
    with torch.no_grad():
        if kind == "vjepa2":
            given = processor(videos=[torch.stack(frames)], return_tensors="pt")
            wanted = model(**given, skip_predictor=True).last_hidden_state.mean(1)
        else:
            pixels = processor(frames, return_tensors="pt")["pixel_values"]
            pixels = pixels.view(1, len(frames), 3, 32, 32)
            if kind == "xclip":
                found = model.get_video_features(pixel_values=pixels)
                wanted = getattr(found, "pooler_output", found)
            else:
                wanted = model(pixel_values=pixels).last_hidden_state.mean(1)
    np.testing.assert_allclose(backbone(clip[None])[0, 0], wanted[0], atol=1e-5)


@pytest.fixture
def vad_command(vad: Any) -> Any:  # `vad` is the module here
    return vad


def small_vjepa2(folder: Path, n_frames: int) -> Path:
    small = {k: v for k, v in SMALL.items() if k != "intermediate_size"}
    sizes: dict[str, Any] = {"crop_size": 32, "patch_size": 16, "frames_per_clip": n_frames}
    predictor: dict[str, Any] = {"pred_hidden_size": 32, "pred_num_hidden_layers": 1}
    config = hf.VJEPA2Config(**small, **sizes, **predictor, pred_num_attention_heads=2)
    processor: Any = hf.VJEPA2VideoProcessor(
        size={"shortest_edge": 36}, crop_size={"height": 32, "width": 32}
    )
    return save(folder, hf.VJEPA2Model(config), processor)


def test_a_network_for_more_frames_looks_at_a_window_from_the_start_of_each_snippet(
    tmp_path: Path, make_video: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = small_vjepa2(tmp_path / "tiny", 32)
    video = make_video("street.mp4", 56)  # 4 snippets: windows 0-32, 16-48, 32-56, 48-56
    store = tmp_path / "features.zarr"
    with caplog.at_level("INFO", logger="vad"):
        vad.extract(video, store, backbone=f"video:{folder}", quiet=True)
    assert "video looks at 32 frames, from the first of each snippet on" in caplog.text
    opened = FeatureStore.open(store)
    rows = opened.read("street", "visual/video")
    with DecoderPool(1, clips_per_block=1, tail="repeat-last") as pool:
        events = [event for event in pool.decode([video]) if isinstance(event, Clips)]
    frames = np.concatenate([event.frames for event in events])
    assert len(frames) == 56
    backbone = create_backbone(f"video:{folder}")
    filled = np.concatenate([frames, np.repeat(frames[-1:], 32, axis=0)])  # by the tail policy
    windows = np.stack([filled[start : start + 32] for start in (0, 16, 32, 48)])
    np.testing.assert_allclose(rows, backbone(windows), atol=2e-3)  # stored as float16
    with pytest.raises(UsageError, match=r"looks at 32 frames, dilation is 9: .* keep 280 frames"):
        vad.extract(
            video,
            tmp_path / "x.zarr",
            backbone=f"video:{folder}",
            dilation=9,
            stride=144,
            quiet=True,
        )


def test_numbers_of_frames_that_no_snippet_gives_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="wants 12 frames, which cannot be spread evenly over the"):
        create_backbone(f"video:{small_vjepa2(tmp_path / 'tiny', 12)}")


def test_models_tell_the_window_of_every_network(vad_command: Any) -> None:
    code, out, _ = vad_command("models")
    assert code == 0
    lines = [" ".join(line.split()) for line in out.splitlines()]
    for name, window in (
        ("vjepa2-large", "width 1024-d window 64 frames"),
        ("xclip-base32", "width 512-d window 16 frames"),
        ("video", "width any window any"),
        ("git", "window 64 frames"),
    ):
        assert any(line.startswith(f"{name} {window} ") for line in lines), name


def test_missing_files_are_told_in_one_line(tmp_path: Path) -> None:
    model, _ = image_model("clip")
    folder = save(tmp_path / "tiny", model, None)
    with pytest.raises(UsageError, match="tiny has no image processor, which says how frames") as e:
        create_backbone(f"image:{folder}")
    assert "\n" not in str(e.value)
    with pytest.raises(UsageError, match="cannot be loaded"):
        create_backbone("clip-b16", offline=True)
    with pytest.raises(UsageError, match=r"--backbone image needs weights; write image:NAME"):
        create_backbone("image")
    with pytest.raises(UsageError, match="'mean16' is not made for i3d"):
        create_backbone("i3d", weights="random:0", pool="mean16")
    with pytest.raises(UsageError, match="names its weights, and so does --weights b"):
        ExtractSettings(backbone="image:a", weights="b")
    assert ExtractSettings(backbone="image:a/b") == ExtractSettings(backbone="image", weights="a/b")


@pytest.mark.parametrize("name", RANDOM)
def test_random_networks_have_no_empty_tensor_which_no_engine_compiles(name: str) -> None:
    family, sizes = RANDOM[name]
    row = FAMILIES[family]
    with torch.device("meta"):
        model = getattr(hf, row.model)(getattr(hf, row.config)(**sizes))
    assert all(tensor.numel() for tensor in model.state_dict().values())
    if name == "dinov3-base":  # of the others a part is left out, or has another size of picture
        (published,) = BACKBONES[name].weights
        assert sum(p.numel() for p in model.parameters()) == published.n_parameters


def test_random_weights_are_marked(clip: NDArray[np.uint8]) -> None:
    backbone = create_backbone("clip-b32", weights="random:0", pool="middle", places="none")
    assert backbone.provenance["weights"]["random"] is True
    assert backbone(clip[None]).shape[-1] >= 512
    assert backbone.arrays == ("visual/clip-b32",)


def test_every_encoder_tells_its_licence_and_its_size() -> None:
    for name in ("clip-b16", "siglip2-base", "dinov3-base", "vjepa2-large"):
        (weights,) = BACKBONES[name].weights
        assert weights.licence
        assert weights.n_parameters

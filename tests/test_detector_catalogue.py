"""Names and shapes of published weights: at the published sizes, a detector has exactly these.

Written out by hand from the released classes; the number of entries and of parameters is the check.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from vad.stages.train.detectors import Detector, create_detector
from vad.stages.train.detectors.settings import UCF_CRIME, XD_VIOLENCE
from vad.stages.train.weights import from_published

Shapes = dict[str, tuple[int, ...]]


def under(prefix: str, shapes: Shapes) -> Shapes:
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def layer(name: str, *weight: int) -> Shapes:
    """A convolution or linear layer with its bias."""
    return {f"{name}.weight": weight, f"{name}.bias": weight[:1]}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def batch_norm(name: str, width: int) -> Shapes:
    running: Shapes = {f"{name}.running_mean": (width,), f"{name}.running_var": (width,)}
    return norm(name, width) | running | {f"{name}.num_batches_tracked": ()}


def temporal_network(dim: int, width: int) -> Shapes:
    half = width // 2
    shapes: Shapes = {}
    for branch in ("conv_1", "conv_2", "conv_3"):
        shapes |= layer(f"{branch}.0", width, dim, 3) | batch_norm(f"{branch}.2", width)
    shapes["conv_4.0.weight"] = (width, dim, 1)
    shapes["conv_5.0.weight"] = (dim, 4 * width, 3)
    shapes |= batch_norm("conv_5.2", dim)
    for name in ("g", "theta", "phi"):
        shapes |= layer(f"non_local.{name}", half, width, 1)
    shapes |= layer("non_local.W.0", width, half, 1) | batch_norm("non_local.W.1", width)
    return shapes


def head(dim: int) -> Shapes:
    return layer("fc1", 512, dim) | layer("fc2", 128, 512) | layer("fc3", 1, 128)


def rtfm(dim: int = 2048) -> Shapes:
    return under("Aggregate", temporal_network(dim, 512)) | head(dim)


def mgfn() -> Shapes:
    shapes = layer("to_tokens", 64, 2048, 3) | layer("to_mag", 64, 1, 3)
    shapes |= norm("to_logits.0", 1024) | layer("fc", 1, 1024)
    for stage, (width, depth) in enumerate([(64, 3), (128, 3), (1024, 2)]):
        for index in range(depth):
            prefix = f"stages.{stage}.0.layers.{index}"
            shapes |= under(prefix, mgfn_layer(width, width // 64, glance=stage == 0))
    for stage, width, wider in [(0, 64, 128), (1, 128, 1024)]:
        prefix = f"stages.{stage}.1"
        shapes |= {f"{prefix}.0.g": (1, width, 1), f"{prefix}.0.b": (1, width, 1)}
        shapes |= layer(f"{prefix}.1", wider, width, 1)
    return shapes


def mgfn_layer(width: int, heads: int, *, glance: bool) -> Shapes:
    gain: Shapes = {"g": (1, width, 1), "b": (1, width, 1)}
    shapes = layer("0", width, width, 3) | layer("1.to_out", width, width, 1)
    shapes |= layer("2.1", 4 * width, width, 1) | layer("2.4", width, 4 * width, 1)
    shapes |= under("2.0", gain)
    if glance:
        return shapes | under("1.norm", gain) | {"1.to_qkv.weight": (3 * width, width, 1)}
    shapes |= batch_norm("1.norm", width) | {"1.to_v.weight": (width, width, 1)}
    return shapes | layer("1.rel_pos", heads, 1, 5)


def s3r() -> Shapes:
    shapes: Shapes = {}
    for branch in ("video_embedding.0", "macro_embedding.0"):
        shapes |= under(branch, s3r_network())
    for name in ("query_embedding", "cache_embedding"):
        shapes |= layer(f"en_normal.en_normal_module.{name}", 512, 2048)
    shapes |= layer("en_normal.en_normal_module.value_embedding", 2048, 2048)
    gate = "de_normal.channel_attention.channel_gate.mlp"
    shapes |= layer(f"{gate}.1", 128, 2048) | layer(f"{gate}.3", 2048, 128)
    for name in ("video_projection", "macro_projection"):
        shapes |= layer(f"{name}.0", 2048, 2048, 3) | norm(f"{name}.1", 2048)
    for name in ("video_classifier", "macro_classifier.mlp"):
        shapes |= layer(f"{name}.0", 512, 2048) | layer(f"{name}.3", 128, 512)
        shapes |= layer(f"{name}.6", 1, 128)
    return shapes


def s3r_network() -> Shapes:
    shapes: Shapes = {"conv_4.0.weight": (512, 2048, 1), "conv_5.0.weight": (2048, 2048, 3)}
    for branch in ("conv_1", "conv_2", "conv_3"):
        shapes |= layer(f"{branch}.0", 512, 2048, 3) | norm(f"{branch}.1", 512)
    for name in ("value", "query", "key"):
        shapes |= layer(f"non_local.{name}", 256, 512, 1)
    shapes |= layer("non_local.alter.0", 512, 256, 1) | batch_norm("non_local.alter.1", 512)
    return shapes | norm("conv_5.1", 2048)


def tevad(dim: int, fused_dim: int) -> Shapes:
    """Without the layers of the fusion."""
    shapes = under("Aggregate", temporal_network(dim, dim // 4))
    return shapes | under("Aggregate_text", temporal_network(768, 192)) | head(fused_dim)


def etevad_network(dim: int) -> Shapes:
    width = dim // 4
    shapes = layer("pdc_block.fuse", width, 3 * width, 1)
    for name in ("conv_d1", "conv_d2", "conv_d3"):
        shapes |= layer(f"pdc_block.{name}", width, dim, 3)
    shapes["se_module.fc1.weight"] = (width // 16, width)
    shapes["se_module.fc2.weight"] = (width, width // 16)
    shapes["conv_4.0.weight"] = (width, dim, 1)
    shapes |= under("transformer_block.transformer.layers.0", transformer_layer(width, 1024))
    shapes["conv_5.0.weight"] = (dim, dim, 3)
    return shapes | batch_norm("conv_5.2", dim)


def transformer_layer(width: int, inner: int) -> Shapes:
    shapes: Shapes = {"self_attn.in_proj_weight": (3 * width, width)}
    shapes |= {"self_attn.in_proj_bias": (3 * width,)} | layer("self_attn.out_proj", width, width)
    shapes |= layer("linear1", inner, width) | layer("linear2", width, inner)
    return shapes | norm("norm1", width) | norm("norm2", width)


def etevad() -> Shapes:
    shapes = under("Aggregate", etevad_network(2048))
    return shapes | under("Aggregate_text", etevad_network(768)) | head(2816)


def saa() -> Shapes:
    shapes = under("aggregate", temporal_network(1024, 256)) | under("classifier", head(1024))
    shapes |= layer("attn.attention.0", 512, 1024, 3) | layer("attn.attention.3", 512, 512, 3)
    return shapes | layer("attn.attention.5", 1, 512, 1)


def sultani() -> Shapes:
    return layer("fc1", 512, 4096) | layer("fc2", 32, 512) | layer("fc3", 1, 32)


def transformer() -> Shapes:
    """Of UR-DMU and BN-WVAD, with the embedding before it."""
    shapes = layer("embedding.conv_1.0", 512, 1024, 3)
    for index in (0, 1):
        attention, feed = (f"selfatt.layers.{index}.{part}" for part in (0, 1))
        shapes |= norm(f"{attention}.norm", 512) | norm(f"{feed}.norm", 512)
        shapes |= {f"{attention}.fn.to_qkv.weight": (2048, 512)}
        shapes |= layer(f"{attention}.fn.to_out.0", 512, 1024)
        shapes |= layer(f"{feed}.fn.net.0", 512, 512) | layer(f"{feed}.fn.net.3", 512, 512)
    return shapes


def urdmu() -> Shapes:
    shapes = transformer() | layer("cls_head.mlp.0", 128, 1024) | layer("cls_head.mlp.2", 1, 128)
    shapes |= {f"{memory}.memory_block": (60, 512) for memory in ("Amemory", "Nmemory")}
    return shapes | layer("encoder_mu.0", 512, 512) | layer("encoder_var.0", 512, 512)


def bnwvad() -> Shapes:
    shapes = layer("conv1", 32, 512, 1) | layer("conv2", 16, 32, 1) | layer("conv3", 1, 16, 1)
    shapes |= batch_norm("bn1", 32) | batch_norm("bn2", 16)
    return transformer() | under("normal_head", shapes)


def pel4vad(t_step: int) -> Shapes:
    attention: Shapes = {"self_attn.alpha": (), "loc_adj.w": (1,), "loc_adj.b": (1,)}
    for name in "qkv":
        attention |= layer(f"self_attn.{name}", 128, 1024)
    attention |= layer("self_attn.o", 1024, 128) | norm("norm", 1024)
    attention |= layer("linear1", 512, 1024, 1) | layer("linear2", 300, 512, 1)
    shapes = under("self_attention", attention) | layer("classifier", 1, 300, t_step)
    return shapes | {"logit_scale": ()}


def vadclip_visual(layers: int) -> Shapes:
    shapes: Shapes = {"disAdj.sigma": (1,), "frame_position_embeddings.weight": (256, 512)}
    for index in range(layers):
        block = f"temporal.resblocks.{index}"
        shapes |= {f"{block}.attn.in_proj_weight": (1536, 512)}
        shapes |= {f"{block}.attn.in_proj_bias": (1536,)}
        shapes |= layer(f"{block}.attn.out_proj", 512, 512)
        shapes |= norm(f"{block}.ln_1", 512) | norm(f"{block}.ln_2", 512)
        shapes |= layer(f"{block}.mlp.c_fc", 2048, 512) | layer(f"{block}.mlp.c_proj", 512, 2048)
    for name in ("gc1", "gc3"):
        shapes |= {f"{name}.weight": (512, 256)} | layer(f"{name}.residual", 256, 512, 5)
    shapes |= {f"{name}.weight": (256, 256) for name in ("gc2", "gc4")}
    for name in ("mlp1", "mlp2"):
        shapes |= layer(f"{name}.c_fc", 2048, 512) | layer(f"{name}.c_proj", 512, 2048)
    return shapes | layer("linear", 512, 512) | layer("classifier", 1, 512)


def vadclip(layers: int) -> Shapes:
    return vadclip_visual(layers) | {"text_prompt_embeddings.weight": (77, 512)}


def dsanet(layers: int, adapted: int) -> Shapes:
    shapes = vadclip_visual(layers)
    for index in range(adapted + 1):
        shapes[f"clip_adapter.text_adapter.{index}.fc.0.weight"] = (512, 512)
    refiner: Shapes = {"video_prototypes": (16, 512)}
    refiner |= layer("bottleneck.c_fc", 2048, 512) | layer("bottleneck.c_proj", 512, 2048)
    for block in ("dnp_extractor.0", *(f"decoder.{index}" for index in range(8))):
        refiner |= norm(f"{block}.norm1", 512) | norm(f"{block}.norm2", 512)
        refiner |= layer(f"{block}.attn.q", 512, 512) | layer(f"{block}.attn.kv", 1024, 512)
        refiner |= layer(f"{block}.attn.proj", 512, 512)
        refiner |= layer(f"{block}.mlp.fc1", 2048, 512) | layer(f"{block}.mlp.fc2", 512, 2048)
        if block.startswith("decoder"):
            refiner[f"{block}.attn.learn_scale"] = (8, 1, 1)
    return shapes | under("video_anomaly_refiner", refiner)


OF_XD: dict[str, Any] = {"classes": XD_VIOLENCE, "layers": 1, "window": 64}
XD_VADCLIP = {"visual_dim": 512, "settings": OF_XD | {"score": "words", "distance": 1e-4}}
XD_DSANET = {
    "visual_dim": 512,
    "settings": OF_XD | {"adapted": 1, "share": 0.6, "temperature": 1.0, "contrast": 5.0},
}
OF_UCF = {"visual_dim": 512, "settings": {"classes": UCF_CRIME}}


def pel4vad_sizes(**settings: Any) -> dict[str, Any]:
    return {"visual_dim": 1024, "settings": settings}


def tevad_sizes(dim: int, fusion: str) -> dict[str, Any]:
    return {"visual_dim": dim, "text_dim": 768, "settings": {"fusion": fusion}}


CATALOGUE: dict[str, tuple[str, Mapping[str, Any], Shapes, int, int]] = {
    # weights: detector, what it is made with, shapes, entries, parameters
    "RTFM": ("rtfm", {"visual_dim": 2048}, rtfm(), 47, 24_718_849),
    "RTFM on 1024-d XD-Violence": ("rtfm", {"visual_dim": 1024}, rtfm(1024), 47, 12_658_177),
    "MGFN": ("mgfn", {"visual_dim": 2048}, mgfn(), 145, 28_652_773),
    "S3R": ("s3r", {"visual_dim": 2048}, s3r(), 88, 81_436_802),
    "TEVAD concat": ("tevad", tevad_sizes(2048, "concat"), tevad(2048, 2816), 88, 28_433_953),
    "TEVAD add": (
        "tevad",
        tevad_sizes(2048, "add"),
        tevad(2048, 768) | layer("fc0", 768, 2048),
        90,
        28_959_009,
    ),
    "TEVAD add, XD-Violence": (
        "tevad",
        tevad_sizes(1024, "add"),
        tevad(1024, 768) | layer("fc0", 768, 1024),
        90,
        10_472_353,
    ),
    "E-TEVAD": ("etevad", tevad_sizes(2048, "concat"), etevad(), 64, 31_409_857),
    "SAA": ("saa", {"visual_dim": 1024, "settings": {"width": 256}}, saa(), 53, 8_855_170),
    "TimeSformer MIL": ("mil", {"visual_dim": 768}, head(768), 6, 459_521),
    "Sultani": ("sultani", {"visual_dim": 4096}, sultani(), 6, 2_114_113),
    "UR-DMU": ("urdmu", {"visual_dim": 1024}, urdmu(), 34, 6_492_929),
    "BN-WVAD": ("bnwvad", {"visual_dim": 1024}, bnwvad(), 40, 5_791_905),
    "PEL4VAD UCF-Crime": ("pel4vad", pel4vad_sizes(), pel4vad(9), 20, 1_209_149),
    "PEL4VAD XD-Violence": (
        "pel4vad",
        pel4vad_sizes(norm=False, t_step=3, window=9),
        pel4vad(3),
        20,
        1_207_349,
    ),
    "VadCLIP UCF-Crime": ("vadclip", OF_UCF, vadclip(2), 47, 12_642_306),
    "VadCLIP XD-Violence": ("vadclip", XD_VADCLIP, vadclip(1), 35, 9_489_922),
    "DSANet UCF-Crime": ("dsanet", OF_UCF, dsanet(2, 3), 189, 44_130_882),
    "DSANet XD-Violence": ("dsanet", XD_DSANET, dsanet(1, 1), 175, 40_454_210),
}


def make(name: str, sizes: Mapping[str, Any]) -> Detector:
    with torch.device("meta"):  # shapes without memory
        return create_detector(name, **sizes)


@pytest.mark.parametrize("weights", CATALOGUE)
def test_names_and_shapes_are_the_published_ones(weights: str) -> None:
    name, sizes, shapes, n_entries, n_parameters = CATALOGUE[weights]
    detector = make(name, sizes)
    assert {key: tuple(value.shape) for key, value in detector.state_dict().items()} == shapes
    assert len(shapes) == n_entries
    assert sum(weight.numel() for weight in detector.parameters()) == n_parameters


@pytest.mark.parametrize("weights", CATALOGUE)
def test_published_weights_are_recognised(weights: str) -> None:
    name, sizes, shapes, _, _ = CATALOGUE[weights]
    with torch.device("meta"):
        detector = from_published(
            {key: torch.empty(shape) for key, shape in shapes.items()},
            settings=sizes.get("settings"),
        )
    expected = make(name, sizes)
    assert type(detector) is type(expected)
    assert detector.settings == expected.settings
    assert (detector.visual_dim, detector.text_dim) == (expected.visual_dim, expected.text_dim)

"""Golden vectors: figures of the released networks and losses, run with weights and inputs that
a formula gives. Every network here must give the same."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vad.stages.train.detectors import Detector, Output, create_detector
from vad.stages.train.detectors.pel4vad import PEL4VAD

NORMAL_FIRST = torch.tensor([0.0, 0.0, 1.0, 1.0])


def features(videos: int, crops: int, snippets: int, dim: int) -> Tensor:
    """(1 + 0.8 sin(1.1t + 0.5b)) (0.6 + 0.4 sin(0.37c + 0.9t + 1.7p + 2.3b)), all from 0."""
    b, p, t, c = np.ogrid[:videos, :crops, :snippets, :dim]
    length = 1 + 0.8 * np.sin(1.1 * t + 0.5 * b)
    return torch.from_numpy(length * (0.6 + 0.4 * np.sin(0.37 * c + 0.9 * t + 1.7 * p + 2.3 * b)))


def fill(module: nn.Module) -> float:
    """Give every weight a value that depends on its place alone; returns the sum of all floats."""
    total = 0.0
    for j, (name, entry) in enumerate(sorted(module.state_dict().items())):
        if entry.is_floating_point():
            entry.copy_(_values(name, j, entry.shape).view_as(entry))
            total += entry.sum(dtype=torch.float64).item()
        else:
            entry.zero_()
    return total


def _values(name: str, j: int, shape: torch.Size) -> Tensor:
    """offset + scale w, with w = 2 frac(43758.5453 sin(12.9898 (i + 1) + 78.233 (j + 1))) - 1."""
    size = shape.numel()
    if name.endswith("running_var"):
        offset, scale = 1.0, 0.5
    elif not shape:
        offset, scale = 0.2, 0.0
    elif name.endswith(".b") and len(shape) == 3:
        offset, scale = 0.0, 0.1
    elif len(shape) >= 2 and not name.endswith(".g"):
        offset, scale = 0.0, 1.4 * math.sqrt(3 / (size / shape[0]))
    else:
        offset, scale = (1.0, 0.2) if name.endswith((".g", "weight")) else (0.0, 0.1)
    v = torch.arange(1, size + 1, dtype=torch.float64)
    v.mul_(12.9898).add_(78.233 * (j + 1)).sin_().mul_(43758.5453)  # in place: up to 12 million
    return v.sub_(v.floor()).mul_(2 * scale).add_(offset - scale)


def published(name: str, total: float, **sizes: Any) -> Detector:
    """The network at its published size, filled; `total` is the sum of all its floats."""
    with torch.device("meta"):  # weights that are filled need no random start
        detector = create_detector(name, **sizes)
    assert fill(detector.to_empty(device="cpu").eval()) == near(total, 1e-7)
    return detector


def near(value: float | list[float], rel: float = 1e-4) -> object:
    return pytest.approx(value, rel=rel)


def test_rtfm() -> None:
    detector = published("rtfm", 8234.113083, visual_dim=2048)
    with torch.no_grad():
        output = detector((0.05 * features(4, 10, 32, 2048)).float())
        terms = detector.loss(output, NORMAL_FIRST, form="published")
    scores = output.scores
    assert scores[0, :4].tolist() == near([0.558582, 0.564423, 0.567941, 0.574410])
    assert scores[-1, -1].item() == near(0.547653)
    assert scores.mean().item() == near(0.570530)
    assert output.magnitudes[0, :4].tolist() == near([6.145375, 7.661511, 7.573943, 6.795938])
    assert output.magnitudes.mean().item() == near(6.949300)
    assert (terms["classification"] + 1e-4 * terms["magnitude"]).item() == near(1.7031841)
    assert 8e-3 * terms["sparsity"].item() == near(0.0365142)
    assert 8e-4 * terms["smoothness"].item() == near(1.58788e-6)
    assert terms["total"].item() == near(1.7396998)


def test_mgfn() -> None:
    detector = published("mgfn", 9038.197073, visual_dim=2048)
    with torch.no_grad():
        output = detector(features(4, 10, 32, 2048).float())
        terms = detector.loss(output, NORMAL_FIRST, form="published")
    scores = output.scores
    assert scores[0, :4].tolist() == near([0.668952, 0.725244, 0.902774, 0.958589])
    assert scores[-1, -1].item() == near(0.723969)
    assert scores.mean().item() == near(0.873698)
    assert terms["apart"].item() == near(32390.3066)
    # Differences of norms near 800: in float32 the released code is itself 2e-4 from float64.
    assert terms["near_normal"].item() == near(17.414364, 3e-4)
    assert terms["near_abnormal"].item() == near(4.729813, 3e-4)
    contrast = 1e-3 * (1e-3 * terms["apart"] + terms["near_abnormal"] + terms["near_normal"])
    assert (terms["classification"] + contrast).item() == near(0.942157)
    assert 8e-3 * terms["sparsity"].item() == near(0.0561621)
    assert 8e-4 * terms["smoothness"].item() == near(0.3835590e-3)
    assert terms["total"].item() == near(0.9987026)


def test_s3r() -> None:
    detector = published("s3r", 13203.068019, visual_dim=2048)
    visual = features(4, 10, 32, 2048).float()
    dictionaries = (0.5 * features(4, 1, 6, 2048)[:, 0]).float()  # one for every video
    outputs = []
    with torch.no_grad():
        for video, dictionary in zip(visual, dictionaries, strict=True):
            detector.register_buffer("dictionary", dictionary)
            outputs.append(detector(video[None]))
        output = join(outputs)
        terms = detector.loss(output, NORMAL_FIRST, form="published")
    scores = output.scores
    assert scores[0, :4].tolist() == near([0.310150, 0.184668, 0.200833, 0.296210])
    assert scores[-1, -1].item() == near(0.345310)
    assert scores.mean().item() == near(0.242656)
    normal = output.parts["normal_scores"]
    assert normal.tolist() == near([0.505193, 0.402941, 0.331481, 0.290731])
    assert output.magnitudes[0, 0].item() == near(29.79269)
    assert output.magnitudes.mean().item() == near(30.198553)
    assert (terms["classification"] + 1e-4 * terms["magnitude"]).item() == near(2.1546640)
    assert 8e-3 * terms["sparsity"].item() == near(0.0157544)
    assert 8e-4 * terms["smoothness"].item() == near(5.124344e-4)
    assert terms["macro"].item() == near(0.4913841)
    assert terms["total"].item() == near(2.6623149)


@pytest.mark.parametrize(
    ("fusion", "total", "scores", "mean", "classified", "sparse", "smooth", "loss"),
    [
        (
            "concat",
            11373.124627,
            [0.498393, 0.480543, 0.483364, 0.493339],
            0.492147,
            1.6912256,
            0.0315002,
            2.20135e-6,
            1.7227280,
        ),
        (
            "add",
            11328.548753,
            [0.429653, 0.376043, 0.380982, 0.384520],
            0.383459,
            1.7245476,
            0.0245536,
            9.16035e-6,
            1.7491103,
        ),
    ],
)
def test_tevad(
    fusion: str,
    total: float,
    scores: list[float],
    mean: float,
    classified: float,
    sparse: float,
    smooth: float,
    loss: float,
) -> None:
    detector = published("tevad", total, visual_dim=2048, text_dim=768, settings={"fusion": fusion})
    visual, text = 0.05 * features(4, 10, 32, 2048), 0.05 * features(4, 1, 32, 768)[:, 0]
    with torch.no_grad():
        output = detector(visual.float(), text.float())
        terms = detector.loss(output, NORMAL_FIRST, form="published")
    assert output.scores[0, :4].tolist() == near(scores)
    assert output.scores.mean().item() == near(mean)
    if fusion == "concat":
        assert output.magnitudes.mean().item() == near(8.175367)
    assert (terms["classification"] + 1e-4 * terms["magnitude"]).item() == near(classified)
    assert 8e-3 * terms["sparsity"].item() == near(sparse)
    assert 8e-4 * terms["smoothness"].item() == near(smooth)
    assert terms["total"].item() == near(loss)


def test_mil() -> None:
    detector = published("mil", -99.928982, visual_dim=768)
    with torch.no_grad():
        output = detector(features(4, 1, 16, 768).float())
        terms = detector.loss(output, torch.tensor([0.0, 1.0, 0.0, 1.0]), form="published")
    assert output.scores[0, :4].tolist() == near([0.366774, 0.279915, 0.396907, 0.505384])
    assert output.scores.mean().item() == near(0.451234)
    videos = output.scores.topk(3).values.mean(1)
    assert videos.tolist() == near([0.528117, 0.568106, 0.562878, 0.557468])
    assert terms["ranking"].item() == near(0.982710)
    assert terms["focal"].item() == near(0.102180)
    assert terms["smoothness"].item() == near(0.006282)
    assert terms["total"].item() == near(0.993556)


def test_sultani() -> None:
    detector = published("sultani", -35.328685, visual_dim=4096)
    visual = features(4, 1, 32, 4096)
    visual *= 8 / visual.norm(dim=-1, keepdim=True)
    with torch.no_grad():
        output = detector(visual.float())
        terms = detector.loss(output, NORMAL_FIRST, form="published")
    assert output.scores[0, :4].tolist() == near([0.388871, 0.374115, 0.370478, 0.410786])
    assert output.scores.mean().item() == near(0.411866)
    assert (terms["total"] - 1e-3 * terms["decay"]).item() == near(2.0009837)


def test_urdmu() -> None:
    detector = published("urdmu", 2348.821576, visual_dim=1024)
    with torch.no_grad():
        output = detector((0.5 * features(4, 1, 200, 1024)).float())
        terms = detector.loss(output, NORMAL_FIRST, form="published")
    scores = output.scores
    assert scores[0, :4].tolist() == near([0.514589, 0.530348, 0.641209, 0.810270])
    assert scores[-1, -1].item() == near(0.921616)
    assert scores.mean().item() == near(0.760309)
    assert terms["classification"].item() == near(1.05091)
    assert terms["a_abnormal"].item() == near(0.497918)
    assert terms["n_abnormal"].item() == near(0.879714)
    assert terms["n_normal"].item() == near(0.522454)
    assert terms["a_normal"].item() == near(0.912413)
    assert terms["triplet"].item() == near(0.8143717)
    assert terms["divergence"].item() == near(16.5461140)
    assert terms["distance"].item() == near(98.8918152)
    assert terms["total"].item() == near(1.4400321)


def test_bnwvad() -> None:
    detector = published("bnwvad", 2160.266609, visual_dim=1024)
    with torch.no_grad():
        output = detector((0.5 * features(4, 1, 200, 1024)).float())
        terms = detector.loss(output, NORMAL_FIRST, form="published")
    normal = output.parts["normal_scores"][:, 0]
    assert normal[0, :4].tolist() == near([0.734876, 0.847346, 0.780690, 0.681106])
    assert normal[:2].mean().item() == near(0.707701)
    distances = output.parts["first"][:, 0] + output.parts["second"][:, 0]
    anomaly = output.scores / (1 - output.scores)
    torch.testing.assert_close(anomaly, distances * normal, rtol=1e-3, atol=1e-3)
    assert terms["normal"].item() == near(10.1637354)
    assert (5 * terms["first"] + 20 * terms["second"]).item() == near(26.1364136)
    assert terms["total"].item() == near(36.3001480)


def test_pel4vad() -> None:
    detector = published("pel4vad", 1205.689466, visual_dim=1024)
    visual = 0.5 * features(4, 1, 200, 1024)
    visual[1, :, 150:], visual[3, :, 37:] = 0, 0  # padding, which the released network sees
    labels, categories = torch.tensor([0.0, 1.0, 0.0, 1.0]), torch.tensor([0, 3, 0, 5])
    sentences = features(4, 1, 2, 512)[:, 0].float()
    assert isinstance(detector, PEL4VAD)
    with torch.no_grad():
        output = detector(visual.float())
        assert output.scores[0, :4].tolist() == near([0.681953, 0.588429, 0.771528, 0.737643])
        assert output.scores.mean().item() == near(0.532154)
        output = replace(output, lengths=torch.tensor([200, 150, 200, 37]))
        terms = detector.loss(output, labels, form="published")
        prompt = detector.prompt_term(output, sentences, categories, "published")
    assert terms["classification"].item() == near(0.8829920)
    assert prompt.item() == near(0.8683577)
    assert (terms["total"] + prompt).item() == near(1.7513497)


def join(outputs: list[Output]) -> Output:
    """One batch of what was computed video by video."""
    parts = {name: torch.cat([o.parts[name] for o in outputs]) for name in outputs[0].parts}
    scores, magnitudes, lengths = (
        torch.cat([getattr(o, name) for o in outputs])
        for name in ("scores", "magnitudes", "lengths")
    )
    return Output(scores, magnitudes, lengths, parts)

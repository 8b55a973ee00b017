"""VadCLIP and DSANet: golden vectors of the released networks, the text tower, and classes."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vad.errors import UsageError
from vad.labels import Label
from vad.stages.extract.records import unseen_record
from vad.stages.infer.evaluation.run import evaluate
from vad.stages.infer.evaluation.tables import metrics_table
from vad.stages.infer.scores_file import read_scores
from vad.stages.train.blocks.clip import TextTower, openai_names, tower_names
from vad.stages.train.data import _classes_of
from vad.stages.train.detectors import Output, create_detector
from vad.stages.train.detectors.dsanet import DSANet
from vad.stages.train.detectors.settings import UCF_CRIME
from vad.stages.train.detectors.vadclip import (
    ClassDetector,
    VadCLIP,
    class_entropy,
    top_class_means,
)
from vad.stages.train.fit import class_members
from vad.stages.train.run import Run
from vad.stages.train.training import train
from vad.stages.train.weights import from_published, import_detector
from vad.store import FeatureStore, Provenance

from .test_detector_golden import _values, features, fill, near

LENGTHS = [256, 100, 37, 16]
WIDTH = {"vadclip": 64, "dsanet": 512}  # of the tiny CLIP of each sheet
BLOCKS = {"vadclip": 2, "dsanet": 4}
MEMBERS = {"UCF": [[0], [7], [8], [13]], "XD": [[0], [1], [2, 6], [5]]}
OWN_SUMS = {
    ("vadclip", "UCF"): 2075.523760,
    ("vadclip", "XD"): 992.002632,
    ("dsanet", "UCF"): 11386.274438,
    ("dsanet", "XD"): 10042.866247,
}
TOWER_SUMS = {"vadclip": 418.418703, "dsanet": 4607.074719}


def tower_shapes(width: int, n_blocks: int, vocabulary: int = 49_408) -> dict[str, tuple[int, ...]]:
    """Names of OpenAI's text tower and their shapes, written out by hand."""
    shapes: dict[str, tuple[int, ...]] = {
        "token_embedding.weight": (vocabulary, width),
        "positional_embedding": (77, width),
        "ln_final.weight": (width,),
        "ln_final.bias": (width,),
        "text_projection": (width, 512),
    }
    for block in range(n_blocks):
        prefix = f"transformer.resblocks.{block}"
        for name, outputs, inputs in [
            ("attn.in_proj_", 3 * width, width),
            ("attn.out_proj.", width, width),
            ("mlp.c_fc.", 4 * width, width),
            ("mlp.c_proj.", width, 4 * width),
        ]:
            shapes[f"{prefix}.{name}weight"] = (outputs, inputs)
            shapes[f"{prefix}.{name}bias"] = (outputs,)
        for name in ("ln_1", "ln_2"):
            shapes[f"{prefix}.{name}.weight"] = shapes[f"{prefix}.{name}.bias"] = (width,)
    return shapes


@cache
def tower_weights(name: str) -> dict[str, Tensor]:
    shapes = sorted(tower_shapes(WIDTH[name], BLOCKS[name]).items())
    filled = {
        key: _values(key, j, torch.Size(shape)).view(shape).float()
        for j, (key, shape) in enumerate(shapes)
    }
    total = sum(weight.sum(dtype=torch.float64).item() for weight in filled.values())
    assert total == near(TOWER_SUMS[name], 1e-7)
    return filled


def state(name: str, data: str) -> dict[str, Tensor]:
    """A published file: own weights, filled, and a tiny CLIP."""
    settings: dict[str, Any] = {"text_width": WIDTH[name]}
    if data == "XD":
        settings |= {"layers": 1, "window": 64} | ({"adapted": 1} if name == "dsanet" else {})
    detector = create_detector(name, visual_dim=512, settings=settings)
    assert fill(detector) == near(OWN_SUMS[name, data], 1e-7)
    weights = detector.state_dict()
    weights["classifier.weight"] *= 0.002
    return weights | {f"clipmodel.{key}": weight for key, weight in tower_weights(name).items()}


@dataclass(frozen=True)
class Ran:
    """A detector of published weights, its output on four videos, and its loss."""

    detector: ClassDetector
    output: Output
    terms: dict[str, Tensor]

    def part(self, name: str) -> Tensor:
        """One crop of a part of the output: [videos, snippets, ...]."""
        return self.output.parts[name][:, 0]

    def first(self, name: str) -> list[float]:
        values: list[float] = self.part(name).flatten()[:4].tolist()
        return values

    def mean(self, name: str) -> float:
        return self.part(name).mean().item()

    @property
    def text(self) -> Tensor:
        return self.output.parts["text"]

    def score(self, n_snippets: int) -> Output:
        """The output for one video, through the path of the released test."""
        output: Output = self.detector((0.2 * features(1, 1, n_snippets, 512)).float())
        return output


@cache
def ran(name: str, data: str) -> Ran:
    detector = from_published(state(name, data))
    assert isinstance(detector, ClassDetector)
    visual = (0.2 * features(4, 1, 256, 512)).float()
    for video, length in zip(visual, LENGTHS, strict=True):
        video[:, length:] = 0
    members = torch.zeros(4, len(detector.classes))
    for row, own in zip(members, MEMBERS[data], strict=True):
        row[own] = 1
    with torch.no_grad():
        output = detector(visual, lengths=torch.tensor(LENGTHS))
        terms = detector.loss(output, torch.tensor([0.0, 1, 1, 1]), "published", members)
    return Ran(detector, output, terms)


def row(name: str, data: str, title: str, found: Callable[[Ran], Any], wanted: list[float]) -> Any:
    return pytest.param(name, data, found, wanted, id=f"{name} {data}: {title}")


def rows_of_vadclip(data: str, figures: dict[str, list[float]]) -> list[Any]:
    found: dict[str, Callable[[Ran], Any]] = {
        "V first": lambda r: r.first("features"),
        "V mean": lambda r: [r.mean("features")],
        "text row 0": lambda r: r.text[0, :4].tolist(),
        "text row 1": lambda r: r.text[1, :4].tolist(),
        "norms of text rows": lambda r: r.text[:4].norm(dim=1).tolist(),
        "logits1 first": lambda r: r.first("logits"),
        "logits1 of each video": lambda r: r.part("logits")[:, 0].tolist(),
        "logits1 mean": lambda r: [r.mean("logits")],
        "logits2 of video 0 at 0": lambda r: r.part("class_logits")[0, 0, :4].tolist(),
        "logits2 of video 1 at 5": lambda r: r.part("class_logits")[1, 5, :4].tolist(),
        "logits2 mean": lambda r: [r.mean("class_logits")],
        "CLAS2": lambda r: [r.terms["classification"].item()],
        "CLASM": lambda r: [r.terms["contrast"].item()],
        "prompt term": lambda r: [weight_of_distance(r) * r.terms["distance"].item()],
        "total": lambda r: [r.terms["total"].item()],
        "p1 of 300 snippets": lambda r: ends(first_branch(r, 300)),
        "p2 of 300 snippets": lambda r: ends(1 - shares(r, 300)[:, 0]),
        "softmax of 300 snippets": lambda r: shares(r, 300)[0, :3].tolist(),
        "p1 of 256 snippets": lambda r: ends(first_branch(r, 256)),
        "p2 of 256 snippets": lambda r: ends(1 - shares(r, 256)[:, 0]),
    }
    return [row("vadclip", data, title, found[title], wanted) for title, wanted in figures.items()]


def weight_of_distance(r: Ran) -> float:
    assert isinstance(r.detector, VadCLIP)
    return r.detector.settings.distance


def first_branch(r: Ran, n: int) -> Tensor:
    return torch.sigmoid(r.score(n).parts["logits"][0, 0, :n])


def shares(r: Ran, n: int) -> Tensor:
    kinds = r.score(n).kinds
    assert kinds is not None
    return kinds[0]


def ends(values: Tensor) -> list[float]:
    """The first four, the last, and the mean."""
    return [*values[:4].tolist(), values[-1].item(), values.mean().item()]


def rows_of_dsanet(data: str, figures: dict[str, list[float]]) -> list[Any]:
    found: dict[str, Callable[[Ran], Any]] = {
        "text row 0": lambda r: r.text[0, :4].tolist(),
        "text row 1": lambda r: r.text[1, :4].tolist(),
        "logits1 first": lambda r: r.first("logits"),
        "logits1 mean": lambda r: [r.mean("logits")],
        "logits1 of each video": lambda r: r.part("logits")[:, 0].tolist(),
        "logits2 of video 0 at 0": lambda r: r.part("class_logits")[0, 0, :4].tolist(),
        "logits2 of video 1 at 5": lambda r: r.part("class_logits")[1, 5, :4].tolist(),
        "logits2 mean": lambda r: [r.mean("class_logits")],
        "logits3": lambda r: head(vectors(r)[0]),
        "logits4": lambda r: head(vectors(r)[1]),
        "reconstruction": lambda r: head(rebuilt(r)),
        "L1, L2, L3": lambda r: [
            r.terms[term].item() for term in ("classification", "contrast", "distance")
        ],
        "event, background": lambda r: [r.terms[t].item() for t in ("event", "background")],
        "consistency, gather": lambda r: [r.terms[t].item() for t in ("consistency", "gather")],
        "total": lambda r: [r.terms["total"].item()],
        "1 - normal share of 47 snippets": lambda r: (1 - shares(r, 47)[:4, 0]).tolist(),
        "shares of 47 snippets": lambda r: shares(r, 47)[0, :3].tolist(),
    }
    return [row("dsanet", data, title, found[title], wanted) for title, wanted in figures.items()]


def head(values: Tensor) -> list[float]:
    return [*values.flatten()[:4].tolist(), values.mean().item()]


def vectors(r: Ran) -> tuple[Tensor, Tensor]:
    assert isinstance(r.detector, DSANet)
    scores = torch.sigmoid(r.part("logits"))
    every = torch.ones_like(scores, dtype=torch.bool)
    return r.detector.vector_logits(r.part("features"), scores, every, r.text)


def rebuilt(r: Ran) -> Tensor:
    assert isinstance(r.detector, DSANet)
    scores = torch.sigmoid(r.part("logits"))
    every = torch.ones_like(scores, dtype=torch.bool)
    return r.detector.rebuild(r.part("features"), scores, every)[0]


GOLDEN = [
    *rows_of_vadclip(
        "UCF",
        {
            "V first": [-46.190025, -7.134338, 26.690378, 12.496050],
            "V mean": [-4.344453],
            "text row 0": [-0.041848, -0.873247, 0.477266, 0.254346],
            "text row 1": [0.024260, -0.921888, 0.573832, 0.288362],
            "norms of text rows": [11.409878, 11.360708, 11.398670, 11.399065],
            "logits1 first": [-0.490386, -0.620474, -0.738151, -0.805904],
            "logits1 of each video": [-0.490386, -0.393224, -0.328426, -0.226879],
            "logits1 mean": [-0.626385],
            "logits2 of video 0 at 0": [-1.275571, -1.345030, -1.207179, -1.304039],
            "logits2 of video 1 at 5": [-1.339156, -1.354474, -1.282762, -1.353308],
            "logits2 mean": [-1.423378],
            "CLAS2": [0.8003412],
            "CLASM": [2.6320581],
            "prompt term": [0.09589113],
            "total": [3.5282905],
            "p1 of 300 snippets": [0.379803, 0.349674, 0.323409, 0.308764, 0.369328, 0.340039],
            "p2 of 300 snippets": [0.932108, 0.931945, 0.932155, 0.932459, 0.933154, 0.933339],
            "softmax of 300 snippets": [0.067892, 0.063336, 0.072698],
            "p1 of 256 snippets": [0.379803, 0.349674, 0.323409, 0.308764, 0.432546, 0.338800],
            "p2 of 256 snippets": [0.932108, 0.931945, 0.932155, 0.932459, 0.929316, 0.933213],
        },
    ),
    *rows_of_vadclip(
        "XD",
        {
            "V first": [-26.166170, 9.896154, 23.895464, -1.171274],
            "V mean": [-4.240565],
            "text row 0": [-0.692018, -0.052125, 0.641428, 0.241365],
            "text row 1": [-0.786190, -0.009815, 0.676905, 0.205197],
            "norms of text rows": [11.330637, 11.184772, 11.329107, 11.336762],
            "logits1 first": [-0.103846, -0.129147, -0.149996, -0.164375],
            "logits1 of each video": [-0.103846, -0.084942, -0.101709, -0.124250],
            "logits1 mean": [-0.233789],
            "logits2 of video 0 at 0": [-1.028451, -0.855545, -0.850460, -0.884371],
            "logits2 of video 1 at 5": [-0.833403, -0.669807, -0.640673, -0.693446],
            "logits2 mean": [-0.842415],
            "CLAS2": [0.7251065],
            "CLASM": [1.9423416],
            "prompt term": [0.00009328],
            "total": [2.6675413],
            "p1 of 300 snippets": [0.474062, 0.467758, 0.462571, 0.458999, 0.454239, 0.439305],
            "p2 of 300 snippets": [0.877290, 0.877200, 0.877722, 0.878057, 0.872113, 0.868862],
            "softmax of 300 snippets": [0.122710, 0.145873, 0.146616],
            "p1 of 256 snippets": [0.474062, 0.467758, 0.462571, 0.458999, 0.474589, 0.438667],
            "p2 of 256 snippets": [0.877290, 0.877200, 0.877722, 0.878057, 0.859797, 0.868055],
        },
    ),
    *rows_of_dsanet(
        "UCF",
        {
            "text row 0": [-0.000362, -0.000288, 0.059456, 0.010140],
            "text row 1": [0.034300, -0.000193, 0.099954, 0.045090],
            "logits1 first": [0.106007, 0.121258, 0.129280, 0.146137],
            "logits1 mean": [0.269767],
            "logits1 of each video": [0.106007, 0.026005, 0.092300, 0.051786],
            "logits2 of video 0 at 0": [5.007656, 5.109480, 4.851136, 4.802876],
            "logits2 of video 1 at 5": [5.281590, 5.192772, 5.056043, 5.001646],
            "logits2 mean": [4.925024],
            "logits3": [-0.540380, 0.147062, -0.429570, -0.737849, -0.243550],
            "logits4": [-0.495838, 0.154903, -0.389206, -0.757253, -0.278955],
            "reconstruction": [-3.503431, 0.685089, -3.859114, 0.198535, 0.075156],
            "L1, L2, L3": [0.6577464, 2.5528882, 0.7734528],
            "event, background": [2.6878452, 2.8254092],
            "consistency, gather": [0.0070691, 0.9746593],
            "total": [10.7343578],
            "1 - normal share of 47 snippets": [
                0.506046,
                0.506932,
                0.506964,
                0.507790,
            ],
            "shares of 47 snippets": [0.493954, 0.039447, 0.037523],
        },
    ),
    *rows_of_dsanet(
        "XD",
        {
            "text row 0": [0.030482, 0.063468, 0.132024, 0.208518],
            "text row 1": [0.060431, 0.047073, 0.048039, 0.178702],
            "logits1 first": [0.061823, 0.070137, 0.070366, 0.061706],
            "logits1 mean": [0.039958],
            "logits1 of each video": [0.061823, 0.035303, -0.007571, 0.027613],
            "logits2 of video 0 at 0": [6.471313, 6.359997, 6.385286, 6.362784],
            "logits2 of video 1 at 5": [5.583939, 5.575844, 5.483245, 5.432295],
            "logits2 mean": [6.011710],
            "logits3": [0.255997, -0.012383, -0.513686, -0.245150, -0.152495],
            "logits4": [0.234917, -0.027792, -0.516564, -0.278502, -0.140823],
            "reconstruction": [3.100332, -6.592163, -7.011309, -10.565144, -0.181129],
            "L1, L2, L3": [0.6823444, 1.9724309, 0.8176911],
            "event, background": [1.9565331, 1.7679996],
            "consistency, gather": [0.0004578, 0.9604912],
            "total": [16.0476723],
            "1 - normal share of 47 snippets": [
                0.518810,
                0.519535,
                0.519194,
                0.516787,
            ],
            "shares of 47 snippets": [0.481190, 0.081668, 0.084689],
        },
    ),
]


@pytest.mark.parametrize(("name", "data", "found", "wanted"), GOLDEN)
def test_the_released_network_gives_the_same(
    name: str, data: str, found: Callable[[Ran], list[float]], wanted: list[float]
) -> None:
    with torch.no_grad():
        assert found(ran(name, data)) == pytest.approx(wanted, rel=1e-4, abs=2e-6)


@pytest.mark.parametrize("data", ["UCF", "XD"])
def test_vadclip_scores_by_the_branch_that_its_authors_took(data: str) -> None:
    """p1 for UCF-Crime, p2 for XD-Violence, as in the sheet's rows of 300 snippets."""
    with torch.no_grad():
        scores = ran("vadclip", data).score(300).scores[0, :2].tolist()
    assert scores == near([0.379803, 0.349674] if data == "UCF" else [0.877290, 0.877200])


# --- the text tower


def tiny_clip(folder: Path) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    torch.manual_seed(3)
    config = CLIPTextConfig(
        hidden_size=128, intermediate_size=512, num_attention_heads=2, num_hidden_layers=2,
        projection_dim=32, vocab_size=49_408,
    )  # fmt: skip
    model = CLIPTextModelWithProjection(config).eval()
    model.save_pretrained(folder)
    return model


def test_the_text_tower_computes_what_transformers_computes(tmp_path: Path) -> None:
    model = tiny_clip(tmp_path)
    tower = TextTower(model.state_dict())
    tokens = torch.tensor([[49406, 320, 1125, 539, 49407], [49406, 2368, 49407, 49407, 49407]])
    with torch.no_grad():
        wanted = model(tokens).text_embeds
        read = tower.encode(tower.tokens_to_vectors(tokens), torch.tensor([4, 2]))
        torch.testing.assert_close(tower.project(read), wanted, rtol=0, atol=1e-6)


def test_a_text_tower_is_read_under_either_names(tmp_path: Path) -> None:
    theirs = tiny_clip(tmp_path).state_dict()
    own = openai_names(theirs)
    assert set(own) == set(tower_names(2))
    assert own["transformer.resblocks.1.attn.in_proj_weight"].shape == (384, 128)
    assert torch.equal(own["text_projection"], theirs["text_projection.weight"].T)
    again = openai_names({**own, "visual.proj": torch.zeros(1)})  # OpenAI's own names stay
    assert set(again) == set(own)
    with pytest.raises(UsageError, match=r"lacks ln_final\.bias; give the whole CLIP"):
        TextTower({name: w for name, w in own.items() if name != "ln_final.bias"})


def test_an_imported_run_keeps_the_class_vectors_and_leaves_clip_out(tmp_path: Path) -> None:
    weights = state("vadclip", "UCF")
    torch.save({"model_state_dict": weights, "epoch": 3}, tmp_path / "vadclip.pth")
    import_detector(tmp_path / "vadclip.pth", tmp_path / "run")
    run = Run.open(tmp_path / "run")
    detector = run.only.detector
    assert isinstance(detector, ClassDetector)
    assert detector.classes == tuple(UCF_CRIME.split(","))
    assert (tmp_path / "run/members/0/detector.safetensors").stat().st_size < 60e6
    visual = (0.2 * features(1, 1, 300, 512)).float()
    scores = run.score(visual[0].transpose(0, 1).numpy())
    assert scores[:2].tolist() == near([0.379803, 0.349674])


def test_gradients_reach_the_learnt_vectors_and_not_the_tower() -> None:
    detector = create_detector("vadclip", visual_dim=512, settings={"text_width": 64})
    assert isinstance(detector, ClassDetector)
    with pytest.raises(UsageError, match="token vectors of 512 values, these weights 64"):
        detector.attach(TextTower(tower_weights("dsanet")), [[5967], [7678]])
    with pytest.raises(UsageError, match=r"'anomaly' has 56 tokens, 1 to 55 fit"):
        detector.attach(TextTower(tower_weights("vadclip")), [[5967], [7678] * 56])
    detector.attach(TextTower(tower_weights("vadclip")), [[5967], [7678]])
    output = detector((0.2 * features(2, 1, 20, 512)).float())
    detector.loss(output, torch.tensor([0.0, 1.0]))["total"].backward()
    gradient = detector.get_parameter("text_prompt_embeddings.weight").grad
    assert gradient is not None
    used = gradient.abs().sum(1) > 0  # slots 1..10 and 12..21; the others hold tokens or follow
    assert used.nonzero().flatten().tolist() == [*range(1, 11), *range(12, 22)]
    assert not any("tower" in name for name, _ in detector.named_parameters())
    assert not any("tower" in name for name in detector.state_dict())
    with torch.no_grad():
        before = detector.text()
        detector.finish()
    assert before is not None
    assert torch.equal(detector.get_buffer("class_vectors"), before)


# --- classes


def test_categories_are_the_classes_of_videos() -> None:
    members = class_members(["fire", "fire+fight", "", "flood"], ("normal", "fight", "fire"))
    assert members is not None
    assert members.tolist() == [[0, 0, 1], [0, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert class_members(["fire"], ()) is None


def test_classes_are_the_categories_of_abnormal_training_videos() -> None:
    labels = [
        Label("a", 1, "fire+fight"),
        Label("b", 0, "street"),
        Label("c", 1),
        Label("d", 1, "fire"),
    ]
    assert _classes_of(labels) == "normal,fight,fire"
    assert _classes_of([Label("c", 1), Label("b", 0)]) is None
    for wrong in ("normal", "fire, big"):
        with pytest.raises(UsageError, match=f"the category '{wrong}' of an abnormal video cannot"):
            _classes_of([Label("a", 1, wrong)])


def test_the_class_terms_by_hand() -> None:
    logits = torch.tensor([[[0.0, 4.0], [2.0, -1.0], [-2.0, 9.0]]])  # 2 of 3 snippets are true
    means = top_class_means(logits, torch.tensor([1]), torch.tensor([2]))
    assert means.tolist() == [[2.0, 4.0]]  # the classes choose different snippets
    assert top_class_means(logits, torch.tensor([5]), torch.tensor([2])).tolist() == [[1.0, 1.5]]
    three = torch.tensor([[0.0, 1.0, 2.0]])
    shares = np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum()
    named = class_entropy(three, torch.tensor([[0.0, 1.0, 0.0]])).item()
    assert named == pytest.approx(-np.log(shares[1]))
    both = class_entropy(three, torch.tensor([[0.0, 1.0, 1.0]])).item()
    assert both == pytest.approx(-np.log(shares[1:]).mean())
    unknown = class_entropy(three, torch.zeros(1, 3)).item()  # any but the normal one
    assert unknown == pytest.approx(-np.log(shares[1] + shares[2]))
    smooth = class_entropy(three, torch.tensor([[1.0, 0.0, 0.0]]), smooth=0.1).item()
    assert smooth == pytest.approx(-(0.9 * np.log(shares[0]) + 0.1 * np.log(shares).mean()))


@pytest.mark.parametrize("name", ["vadclip", "dsanet"])
def test_the_published_loss_refuses_a_video_of_unknown_class(name: str) -> None:
    settings = {"text_width": 0, "classes": "normal, fire, fight"}
    detector = create_detector(name, visual_dim=8, settings=settings)
    output = detector(torch.rand(2, 1, 5, 8))
    labels = torch.tensor([0.0, 1.0])
    with pytest.raises(UsageError, match="needs the class of every abnormal video"):
        detector.loss(output, labels, "published")
    known = torch.tensor([[0.0, 0, 0], [0, 1, 1]])
    published = detector.loss(output, labels, "published", known)
    assert published["total"].isfinite()
    assert detector.loss(output, labels, "paper")["contrast"] != published["contrast"]
    with pytest.raises(UsageError, match=r"categories are 2 rows of 3 classes, got \[2, 2\]"):
        detector.loss(output, labels, "paper", torch.zeros(2, 2))
    with pytest.raises(UsageError, match="the normal class and at least one other are needed"):
        create_detector(name, visual_dim=8, settings={"classes": "normal"})


@pytest.mark.parametrize("name", ["vadclip", "dsanet"])
def test_class_shares_sum_to_one_and_are_nothing_at_padding(name: str) -> None:
    detector = create_detector(
        name, visual_dim=8, settings={"text_width": 0, "classes": "normal,a,b", "length": 4}
    ).eval()
    kinds = detector(torch.rand(2, 3, 11, 8), lengths=torch.tensor([11, 6])).kinds
    assert kinds is not None
    assert kinds.shape == (2, 11, 3)
    torch.testing.assert_close(kinds.sum(-1)[0], torch.ones(11))
    assert kinds[1, 6:].abs().sum() == 0


# --- training


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """Twelve videos of 6 snippets: normal, fighting and abuse, each in a direction of its own."""
    store = FeatureStore.create(tmp_path_factory.mktemp("classes") / "features.zarr")
    random = np.random.default_rng(0)
    lines, events = ["video,label,category,split,source"], ["video,start_frame,end_frame"]
    for index in range(12):
        kind = index % 3
        rows = random.normal(size=(6, 1, 32)).astype(np.float32)
        rows[2:4, :, kind] += 6 * (kind > 0)
        record = unseen_record(Path(f"v{index}"), 96, 25.0, "repeat-last", decoder="none")
        record = dataclasses.replace(record, width=320, height=240)
        draft = store.draft(f"v{index}")
        draft.append("visual/clip-b16", rows)
        draft.commit(
            record, np.arange(96) / 25, {"visual/clip-b16": Provenance.of({"backbone": "x"})}
        )
        name, split = ["normal", "fighting", "abuse"][kind], ["train", "test"][index > 8]
        lines.append(f"v{index},{min(kind, 1)},{name},{split},{'yard' if index > 5 else index}")
        if kind:
            events.append(f"v{index},32,64")
    (store.path.parent / "labels.csv").write_text("\n".join(lines))
    (store.path.parent / "segments.csv").write_text("\n".join(events))
    return store


@pytest.mark.parametrize("name", ["vadclip", "dsanet"])
def test_training_with_a_text_tower_leaves_a_run_that_needs_none(
    store: FeatureStore, tmp_path: Path, name: str
) -> None:
    tiny_clip(tmp_path / "clip")
    run = train(
        store.path,
        store.path.parent / "labels.csv",
        tmp_path / "run",
        quiet=True,
        detector=name,
        tower=str(tmp_path / "clip"),
        scale="none",
        epochs=2,
        validation=0,
        length=8,
    )
    shutil.rmtree(tmp_path / "clip")
    again = Run.open(run.path)
    assert again.card.members[0].settings["classes"] == "normal,abuse,fighting"
    assert again.card.members[0].settings["text_width"] == 128
    visual = torch.from_numpy(store.read("v1", "visual/clip-b16")).transpose(0, 1)[None].float()
    with torch.no_grad():
        kinds, before = again.only.detector(visual).kinds, run.only.detector(visual).kinds
    assert kinds.shape == (1, 6, 3)
    torch.testing.assert_close(kinds, before)


def test_a_tower_that_does_not_fit_is_told(
    store: FeatureStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tiny_clip(tmp_path / "clip")
    given: dict[str, Any] = {"detector": "vadclip", "quiet": True, "tower": str(tmp_path / "clip")}
    labels = store.path.parent / "labels.csv"
    with pytest.raises(UsageError, match="vectors of 32 values, the features have 24; train on im"):
        train(store.path, labels, tmp_path / "a", components=24, **given)
    with pytest.raises(UsageError, match="clip has no tokenizer, which reads words"):
        train(store.path, labels, tmp_path / "b", scale="none", classes="normal,flood", **given)
    assert "no class is called 'abuse' or 'fighting': videos of this category count" in caplog.text
    given["tower"] = str(tmp_path / "nothing")
    with pytest.raises(UsageError, match="nothing cannot be loaded"):
        train(store.path, labels, tmp_path / "c", **given)


def test_a_run_that_tells_classes_is_measured_by_them(store: FeatureStore, tmp_path: Path) -> None:
    folder = store.path.parent
    settings: dict[str, Any] = {"detector": "vadclip", "scale": "none", "validation": 0}
    train(
        store.path, folder / "labels.csv", tmp_path / "run", quiet=True,
        epochs=40, lr=1e-3, **settings,
    )  # fmt: skip
    found = evaluate(tmp_path / "run", folder / "segments.csv", store=store.path)
    classes = found.figures.classes
    assert classes is not None
    assert classes.accuracy == 1.0
    assert classes.aucs["fighting"] == 1.0
    assert found.figures.hard_normals is not None  # v9 is of the yard, as abnormal videos are
    written: Any = found.to_dict()
    assert written["classes"]["map_clean"].keys() == {
        *(f"iou_0.{i}" for i in range(1, 6)),
        "average",
    }
    shown = metrics_table([found.metrics])
    for words in ("kinds told: mAP of events as published", "mean AUC", "sources of abnormal ones"):
        assert words in shown
    fight = next(s for s in found.scores if s.video == "v10")
    lower = dataclasses.replace(fight, threshold=0.0)
    (event,) = lower.events
    assert event.kind == "fighting"
    assert event.kind_share is not None
    assert 0.5 < event.kind_share <= 1
    (path,) = lower.save(tmp_path / "scores", ["json"])
    again = read_scores(path)
    assert again.kinds is not None
    assert fight.kinds is not None
    assert again.kinds.names == ("normal", "abuse", "fighting")
    np.testing.assert_allclose(again.kinds.shares, fight.kinds.shares, atol=1e-4)
    assert again.events[0].kind == "fighting"
    assert "fighting" in repr(again)

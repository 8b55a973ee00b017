"""What every detector promises, whatever its network."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from vad.errors import UsageError
from vad.stages.train.detectors import DETECTORS, Detector, create_detector
from vad.stages.train.weights import from_published

DIM, TEXT_DIM = 16, 8
NAMES = sorted(set(DETECTORS) - {"normality"})  # it has no loss: see test_ensemble.py
# Where the published network is large at any feature width.
SMALL = {name: {"width": 8} for name in ("mgfn", "s3r", "urdmu", "bnwvad")}
# without a text tower, which test_class_detectors.py gives them; a chunk is shorter than a bag
SMALL |= {name: {"text_width": 0, "length": 16} for name in ("vadclip", "dsanet")}


def make(name: str, visual_dim: int = DIM, text_dim: int = TEXT_DIM) -> Detector:
    """A small detector with weights off their start, where some blocks are idle or all alike."""
    torch.manual_seed(0)
    arrays = {"dictionary": torch.rand(5, visual_dim), "prompts": torch.rand(2, 512)}
    detector = create_detector(
        name,
        visual_dim=visual_dim,
        text_dim=text_dim,
        settings=SMALL.get(name),
        arrays={array: arrays[array] for array in DETECTORS[name].arrays},
    )
    with torch.no_grad():
        for weight in detector.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    return detector


def bags(videos: int, crops: int, snippets: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(videos + crops + snippets)
    visual = torch.rand(videos, crops, snippets, DIM, generator=generator)
    return visual, torch.rand(videos, snippets, TEXT_DIM, generator=generator)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads only wait for one another in networks this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=NAMES)
def detector(request: pytest.FixtureRequest) -> Detector:
    return make(request.param)


@pytest.mark.parametrize(("crops", "snippets"), [(1, 1), (1, 2), (5, 7), (10, 33)])
def test_any_crop_count_and_any_number_of_snippets(
    detector: Detector, crops: int, snippets: int
) -> None:
    output = detector.eval()(*bags(2, crops, snippets))
    assert output.scores.shape == output.magnitudes.shape == (2, snippets)
    assert 0 <= output.scores.min() <= output.scores.max() <= 1
    terms = detector.loss(output, torch.tensor([1.0, 0.0]))
    assert all(term.ndim == 0 and bool(term.isfinite()) for term in terms.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("visual_dim", "text_dim"), [(1, 1), (7, 3)])
def test_any_feature_width(name: str, visual_dim: int, text_dim: int) -> None:
    detector = make(name, visual_dim, text_dim).train()
    visual, text = bags(2, 5, 4)
    output = detector(visual[..., :visual_dim], text[..., :text_dim])
    total = detector.loss(output, torch.tensor([0.0, 1.0]))["total"]
    assert bool(total.isfinite())
    assert output.scores.shape == (2, 4)


def test_eval_mode_is_deterministic_and_videos_do_not_see_each_other(detector: Detector) -> None:
    visual, text = bags(3, 2, 9)
    detector.eval()
    scores = detector(visual, text).scores
    assert torch.equal(scores, detector(visual, text).scores)
    torch.testing.assert_close(scores[1:2], detector(visual[1:2], text[1:2]).scores)


def test_padding_changes_nothing(detector: Detector) -> None:
    visual, text = bags(2, 2, 9)
    visual[0, :, 4:], text[0, 4:] = 99.0, 99.0  # whatever lies there
    detector.eval()
    output = detector(visual, text, torch.tensor([4, 9]))
    alone = detector(visual[:1, :, :4], text[:1, :4])
    torch.testing.assert_close(output.scores[:1, :4], alone.scores)
    assert output.scores[0, 4:].tolist() == [0.0] * 5
    labels = torch.tensor([1.0])
    trimmed = detector(visual[:1], text[:1], torch.tensor([4]))
    padded, short = detector.loss(trimmed, labels), detector.loss(alone, labels)
    for name, term in short.items():
        torch.testing.assert_close(padded[name], term, msg=name)


def test_loss_does_not_depend_on_the_order_of_the_videos(detector: Detector) -> None:
    visual, text = (x.double() for x in bags(4, 2, 9))  # ties are not decided by rounding
    labels, order = torch.tensor([0.0, 1.0, 1.0, 0.0]), torch.tensor([2, 0, 3, 1])
    detector.double().eval()
    terms = detector.loss(detector(visual, text), labels)
    shuffled = detector.loss(detector(visual[order], text[order]), labels[order])
    for name, term in terms.items():
        torch.testing.assert_close(shuffled[name], term, msg=name)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_a_batch_of_one_class_gives_the_terms_that_exist(detector: Detector, label: float) -> None:
    detector.train()
    terms = detector.loss(detector(*bags(3, 2, 9)), torch.full((3,), label))
    assert len(terms) > 1
    assert all(bool(term.isfinite()) for term in terms.values())


def test_every_weight_that_learns_gets_a_gradient(detector: Detector) -> None:
    detector.train()
    terms = detector.loss(detector(*bags(4, 2, 40)), torch.tensor([0.0, 0.0, 1.0, 1.0]))
    torch.autograd.backward(terms["total"])
    for name, weight in detector.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None, name
            assert bool(weight.grad.isfinite().all()), name


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([1.0, 1.0, 0.0, 0.0], "first half of a batch, all normal"),
        ([0.0, 0.0, 0.0, 1.0], "1 of them abnormal"),
        ([0.0, 0.0, 1.0], "got 3 videos"),
    ],
)
def test_the_published_form_takes_normal_videos_first(
    detector: Detector, labels: list[float], words: str
) -> None:
    output = detector.eval()(*bags(len(labels), 2, 9))
    if detector.published_batch == "any":
        detector.loss(output, torch.tensor(labels), form="published")
        return
    if detector.published_batch is None:
        words = "published no training code"
    with pytest.raises(UsageError, match=words):
        detector.loss(output, torch.tensor(labels), form="published")


def test_a_state_dict_comes_back(detector: Detector) -> None:
    visual, text = bags(1, 2, 9)
    weights = {f"module.{name}": value for name, value in detector.state_dict().items()}
    again = from_published({"epoch": 3, "model_state_dict": weights})
    assert type(again) is type(detector)
    assert not again.training
    assert torch.equal(again(visual, text).scores, detector.eval()(visual, text).scores)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: create_detector("rtmf", visual_dim=8), "did you mean 'rtfm'"),
        (lambda: create_detector("rtfm", visual_dim=0), "visual_dim must be at least 1"),
        (lambda: create_detector("rtfm", visual_dim=8, settings={"kk": 3}), "no setting 'kk'"),
        (lambda: create_detector("rtfm", visual_dim=8, settings={"k": 0}), "0 is below 1"),
        (lambda: make("rtfm")(torch.rand(2, 9, DIM)), r"\[videos, crops, snippets, 16\]"),
        (lambda: make("rtfm")(torch.rand(2, 1, 9, DIM + 1)), r"got \[2, 1, 9, 17\]"),
        (lambda: make("rtfm")(bags(2, 1, 9)[0], lengths=torch.tensor([3, 10])), "between 1 and 9"),
        (lambda: from_published({"a.weight": torch.rand(2)}), "weights of no known detector"),
        (lambda: from_published({"a.weight": 3}), "a state_dict maps names to tensors"),
        (
            lambda: from_published({**make("rtfm").state_dict(), "fc9": torch.rand(1)}),
            "look like weights of rtfm, but.*fc9",
        ),
    ],
)
def test_mistakes_are_named(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(UsageError, match=f"(?s){words}"):
        call()


def test_labels_must_be_zeros_and_ones() -> None:
    detector = make("rtfm").eval()
    with pytest.raises(UsageError, match=r"labels are 2 values of 0 or 1, one a video, got \[0.0"):
        detector.loss(detector(*bags(2, 1, 9)), torch.tensor([0.0, 2.0]))


def test_the_table_is_read_without_torch() -> None:
    code = "import sys, vad.stages.train.detectors.table; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_gradients_of_rtfm_in_float32_are_those_of_float64() -> None:
    """At a width where torch picks its fast convolutions; 1e-5 of the size of each gradient."""
    torch.manual_seed(0)
    visual, labels = torch.rand(4, 2, 32, 256), torch.tensor([0.0, 0.0, 1.0, 1.0])
    detector = create_detector("rtfm", visual_dim=256, settings={"width": 128, "dropout": 0.0})
    gradients = []
    for network, dtype in ((copy.deepcopy(detector).double(), torch.float64), (detector, None)):
        output = network.train()(visual.to(dtype))
        torch.autograd.backward(network.loss(output, labels)["total"])
        gradients.append({n: w.grad for n, w in network.named_parameters() if w.grad is not None})
    for name, exact in gradients[0].items():
        off = (gradients[1][name] - exact).norm()
        assert off <= 1e-5 * exact.norm() + 1e-12, name

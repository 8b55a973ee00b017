"""What single detectors do besides what all of them do."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vad.device import choose_device
from vad.errors import UsageError
from vad.stages.train.blocks.attention import by_nearness
from vad.stages.train.blocks.layers import BatchNorm
from vad.stages.train.blocks.temporal import TemporalNetwork
from vad.stages.train.detectors import Detector, create_detector
from vad.stages.train.detectors.pel4vad import PEL4VAD
from vad.stages.train.detectors.saa import SAA
from vad.stages.train.detectors.table import DETECTORS
from vad.stages.train.detectors.tevad import TEVAD
from vad.stages.train.weights import from_published

DIM, TEXT_DIM = 16, 8


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads only wait for one another in networks this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(name: str, arrays: Any = None, **settings: Any) -> Detector:
    torch.manual_seed(0)
    return create_detector(
        name, visual_dim=DIM, text_dim=TEXT_DIM, settings=settings, arrays=arrays
    ).eval()


def bags() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    visual = torch.rand(2, 3, 9, DIM, generator=generator)
    return visual, torch.rand(2, 9, TEXT_DIM, generator=generator)


@pytest.mark.parametrize(
    ("fusion", "reads_visual", "reads_text"),
    [
        ("concat", True, True),
        ("add", True, True),
        ("product", True, True),
        ("add_up", True, True),
        ("text", False, True),
        ("visual", True, False),
    ],
)
@pytest.mark.parametrize("name", ["tevad", "etevad"])
def test_fusion(name: str, fusion: str, reads_visual: bool, reads_text: bool) -> None:
    detector = make(name, fusion=fusion)
    visual, text = bags()
    scores = detector(visual, text).scores
    assert torch.equal(scores, detector(visual * 0, text).scores) != reads_visual
    assert torch.equal(scores, detector(visual, text * 0).scores) != reads_text
    again = from_published(detector.state_dict(), settings={"fusion": fusion})
    assert torch.equal(scores, again(visual, text).scores)


def test_fusion_by_hand() -> None:
    visual, text = torch.full((1, 1, 1, DIM), 2.0), torch.full((1, 1, 1, TEXT_DIM), 3.0)
    for fusion, value in [("add", 3.0 + 5.0), ("product", 3.0 * 5.0)]:
        detector = make("tevad", fusion=fusion)
        assert isinstance(detector, TEVAD)
        torch.nn.init.constant_(detector.fc0.weight, 4 / (2 * DIM))  # 2 in every channel -> 4
        torch.nn.init.ones_(detector.fc0.bias)
        torch.testing.assert_close(detector.fuse(visual, text), torch.full_like(text, value))


def test_the_text_of_a_video_is_needed() -> None:
    with pytest.raises(UsageError, match="reads text features besides the visual ones"):
        create_detector("tevad", visual_dim=DIM)
    with pytest.raises(UsageError, match=r"reads text features \[2, 9, 8\], got none"):
        make("tevad")(bags()[0])


def test_s3r_keeps_its_dictionary_with_its_weights() -> None:
    visual, _ = bags()
    trained = make("s3r", {"dictionary": np.eye(5, DIM)}, width=8)
    again = make("s3r", width=8)
    with pytest.raises(UsageError, match="needs its dictionary"):
        again(visual)
    again.load_state_dict(trained.state_dict())
    assert torch.equal(again(visual).scores, trained(visual).scores)
    loaded = from_published(trained.state_dict())
    assert torch.equal(loaded(visual).scores, trained(visual).scores)


def test_published_s3r_is_given_its_dictionary() -> None:
    visual, _ = bags()
    dictionary = np.eye(5, DIM)
    trained = make("s3r", {"dictionary": dictionary}, width=8)
    weights = {n: w for n, w in trained.state_dict().items() if n != "dictionary"}
    loaded = from_published(weights, arrays={"dictionary": dictionary})
    assert torch.equal(loaded(visual).scores, trained(visual).scores)


def test_what_the_shapes_do_not_tell_is_asked_for() -> None:
    visual, _ = bags()
    trained = make("pel4vad", t_step=3, window=5, norm=False)
    with pytest.raises(UsageError, match="do not tell the setting window nor norm"):
        from_published(trained.state_dict())
    loaded = from_published(trained.state_dict(), settings={"window": 5, "norm": False})
    assert torch.equal(loaded(visual).scores, trained(visual).scores)


def test_mgfn_weights_under_their_later_names() -> None:
    visual, _ = bags()
    trained = make("mgfn", width=4)
    renamed = {n.replace("to_logits.0.", "to_logits."): w for n, w in trained.state_dict().items()}
    assert torch.equal(from_published(renamed)(visual).scores, trained(visual).scores)


def test_prompts_join_the_loss_by_the_categories_of_videos() -> None:
    labels = torch.tensor([0.0, 1.0])
    plain, many = make("pel4vad"), make("pel4vad", {"prompts": torch.rand(4, 512)})
    output = plain(bags()[0])
    assert "prompt" not in plain.loss(output, labels)
    with pytest.raises(UsageError, match="prompts of 4 classes the loss needs the videos' cat"):
        many.loss(output, labels)
    assert isinstance(many, PEL4VAD)
    terms = [many.loss(output, labels, categories=torch.tensor([0, c])) for c in (2, 3)]
    assert terms[0]["prompt"] != terms[1]["prompt"]


@pytest.mark.parametrize(
    ("name", "array"), [("s3r", {"dictionary": [[1.0]]}), ("rtfm", {"dictionary": [[1.0]]})]
)
def test_arrays_that_do_not_fit_are_refused(name: str, array: Any) -> None:
    with pytest.raises(UsageError, match="dictionary"):
        make(name, array)


def test_saa_branches_can_be_switched_off() -> None:
    labels = torch.tensor([0.0, 1.0])
    detector = make("saa", scores=False, suppressed="false")
    terms = detector.loss(detector(bags()[0]), labels)
    assert {"attended", "suppressed_attended"} <= terms.keys()
    assert not {"scores", "suppressed"} & terms.keys()


def test_saa_counts_its_training_steps_with_its_weights() -> None:
    detector = make("saa").train()
    for _ in range(3):
        detector(bags()[0])
    again = make("saa")
    again.load_state_dict(detector.state_dict())
    again(bags()[0])  # scoring does not count
    assert isinstance(again, SAA)
    assert again.n_steps == 3


def test_a_new_non_local_block_is_idle() -> None:
    torch.manual_seed(0)
    network = TemporalNetwork(DIM, 8)
    x = torch.rand(2, 8, 9)
    assert torch.equal(network.non_local.eval()(x), x)


def test_batch_statistics_do_not_count_padding() -> None:
    norm = BatchNorm(1)
    x = torch.tensor([[[1.0, 3.0]], [[5.0, 99.0]]])  # the last is padding
    y = norm(x, torch.tensor([[True, True], [True, False]]))
    assert norm.running_mean is not None
    assert norm.running_mean.item() == pytest.approx(0.1 * 3)  # momentum times the mean of 1, 3, 5
    assert y[1, 0, 1] == 0
    assert y[0, 0, 1].item() == pytest.approx(0, abs=1e-6)  # 3 is the mean


@pytest.mark.parametrize("snippets", [1, 5, 700, 1500])
def test_what_is_near_is_gathered_by_columns_that_sum_to_one(snippets: int) -> None:
    """Written out: the whole matrix, also of videos longer than a block; padding is nothing."""
    torch.manual_seed(0)
    values = torch.randn(2, 3, snippets, 4)
    mask = torch.ones(2, snippets, dtype=torch.bool)
    mask[1, snippets // 2 + 1 :] = False
    at = torch.arange(snippets)
    near = (-(at[:, None] - at).abs() / math.e).exp()[None] * mask[:, :, None] * mask[:, None]
    expected = near / near.sum(1, keepdim=True).clamp(min=1e-30)
    torch.testing.assert_close(by_nearness(values, mask), expected[:, None] @ values)
    torch.testing.assert_close(by_nearness(values[:1], None), (expected[:1, None] @ values[:1]))


LONG = """
import resource, sys, torch
from vad.stages.train.detectors import create_detector
name, length, text = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) or None
arrays = {"dictionary": torch.randn(20, 16).numpy()} if name == "s3r" else {}
detector = create_detector(name, visual_dim=16, text_dim=text, arrays=arrays).eval()
torch.set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with torch.inference_mode():
    streams = torch.randn(1, 1, length, 16), torch.randn(1, length, text) if text else None
    assert detector(*streams).scores.isfinite().all()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_memory_grows_with_the_length_and_not_with_its_square(name: str) -> None:
    """10,000 snippets, an hour and a half: one matrix of all pairs would be 400 MB."""
    text = TEXT_DIM if DETECTORS[name].text else 0
    command = [sys.executable, "-c", LONG, name, "10000", str(text)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) <= 1_000_000  # KiB; MGFN's widest map is 10,000 times 4,096 numbers


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", ["rtfm", "mgfn", "tevad", "urdmu", "pel4vad", "bnwvad", "saa"])
def test_a_gpu_gives_the_same(name: str) -> None:
    detector, (visual, text) = make(name), bags()
    labels, lengths = torch.tensor([0.0, 1.0]), torch.tensor([9, 4])
    output = detector(visual, text, lengths)
    total = detector.loss(output, labels)["total"]
    device = choose_device("cuda")  # whose convolutions do not round to TF32
    there = detector.to(device)(visual.to(device), text.to(device), lengths)
    torch.testing.assert_close(there.scores.cpu(), output.scores, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(
        detector.loss(there, labels)["total"].cpu(), total, rtol=1e-2, atol=1e-3
    )

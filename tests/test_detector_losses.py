"""Selection and loss terms, against figures worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vad.stages.train.detectors import Output, create_detector
from vad.stages.train.detectors.bnwvad import BNWVAD
from vad.stages.train.detectors.mgfn import contrast, mirrored_contrast
from vad.stages.train.losses import (
    abnormal_regularity,
    class_magnitude,
    flattened_regularity,
    focal,
    magnitude_squared,
    pairs_hinge,
    weighted,
)
from vad.stages.train.selection import magnitude, top_k


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


def test_plain_top_k_mil() -> None:
    detector = create_detector("topk", visual_dim=1, settings={"k": 2})
    logit = math.log(3)  # of a score of 3/4, and of 1/4 where it is negative
    bags = tensor(logit, logit, -logit, 0, -logit, 0).reshape(2, 1, 3, 1)
    labels = tensor(1, 0)
    assert detector.loss(detector(bags), labels)["total"].item() == pytest.approx(math.log(2))
    torch.nn.init.ones_(detector.get_parameter("score.weight"))
    output = detector(bags)
    torch.testing.assert_close(output.scores, tensor(0.75, 0.75, 0.25, 0.5, 0.25, 0.5).view(2, 3))
    expected = (-math.log(0.75) - math.log(1 - 0.5)) / 2  # the two highest: 3/4, and 1/2
    assert detector.loss(output, labels)["total"].item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("values", "k", "length", "index", "weight"),
    [
        ([1, 5, 3, 4], 2, 4, [1, 3], [1 / 2, 1 / 2]),  # best first
        ([1, 5, 3, 9], 2, 3, [1, 2], [1 / 2, 1 / 2]),  # the fourth is padding
        ([1, 5], 3, 2, [1, 0], [1 / 2, 1 / 2]),  # fewer snippets than k: all of them
        ([0, 0, 7], 3, 1, [0], [1]),  # one snippet
    ],
)
def test_the_k_largest_true_snippets_are_selected(
    values: list[float], k: int, length: int, index: list[int], weight: list[float]
) -> None:
    selection = top_k(tensor(*values)[None], k, torch.tensor([length]))
    assert selection.index.tolist() == [index]
    assert selection.weight.tolist() == [weight]


def test_a_short_video_is_not_padded_by_a_long_one() -> None:
    values = torch.tensor([[3.0, 1.0, 9.0, 9.0], [1.0, 2.0, 3.0, 6.0]])
    selection = top_k(values, torch.tensor([3, 2]), torch.tensor([2, 4]))
    assert selection.mean(values).tolist() == [2.0, 4.5]  # (3 + 1) / 2 and (6 + 3) / 2
    features = values[:, None, :, None]  # one crop, one dimension
    assert selection.mean(features).flatten().tolist() == [2.0, 4.5]


def test_candidates_are_dropped_at_random_but_k_different_ones_are_found() -> None:
    torch.manual_seed(0)
    values, lengths = torch.arange(20.0)[None] + 1, torch.tensor([20])
    seen = [top_k(values, 3, lengths, p_drop=0.7).index[0].tolist() for _ in range(20)]
    assert all(len(set(index)) == 3 for index in seen)
    assert len({tuple(index) for index in seen}) > 10


def test_the_magnitude_is_the_mean_of_the_crops_norms() -> None:
    two_crops = torch.tensor([[[[3.0, 4.0]], [[0.0, 1.0]]]])  # of length 5 and 1
    assert magnitude(two_crops).tolist() == [[3.0]]


def test_every_abnormal_video_is_set_against_every_normal_one() -> None:
    value = pairs_hinge(tensor(0.9, 0.4), tensor(0.1), margin=1.0)
    assert value is not None
    assert value.item() == pytest.approx((0.2 + 0.7) / 2)
    assert pairs_hinge(tensor(0.9), tensor(), margin=1.0) is None


def test_the_magnitude_of_each_video_by_itself() -> None:
    value = class_magnitude(tensor(3, 12), tensor(2), margin=10.0)
    assert value.item() == pytest.approx((7 + 0 + 2) / 3)  # the second is long enough


@pytest.mark.parametrize(
    ("abnormal", "normal", "value"),
    [
        ([3, 4], [0, 2], 49),  # (|10 - 5| + 2)²
        ([0, 12], [0, 2], 16),  # beyond the margin it grows again: (|10 - 12| + 2)²
    ],
)
def test_the_released_magnitude_term(
    abnormal: list[float], normal: list[float], value: float
) -> None:
    term = magnitude_squared(tensor(*abnormal)[None, None], tensor(*normal)[None, None], 10.0)
    assert term.item() == pytest.approx(value)


def test_smoothness_and_sparsity_video_by_video() -> None:
    scores = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.5, 9.0], [9.0, 0.0, 9.0]])
    lengths, labels = torch.tensor([3, 2, 3]), tensor(1, 1, 0)
    terms = abnormal_regularity(scores, lengths, labels)
    assert terms["smoothness"] == pytest.approx((2 + 0.25) / 2)
    assert terms["sparsity"] == pytest.approx((1 + 0.5) / 2)
    assert set(abnormal_regularity(scores, lengths, tensor(0, 0, 0)).values()) == {None}


def test_released_smoothness_goes_over_the_border_of_two_videos() -> None:
    scores = torch.tensor([[0.5, 0.5], [0.0, 1.0], [0.0, 1.0]])
    terms = flattened_regularity(scores, tensor(0, 1, 1))
    assert terms["smoothness"].item() == 3  # 0 1 | 0 1: the step down between them counts
    assert terms["sparsity"].item() == pytest.approx(math.sqrt(2))


@pytest.mark.parametrize(
    ("score", "label", "value"),
    [(0.5, 1, 0.25 * 0.25 * math.log(2)), (0.5, 0, 0.75 * 0.25 * math.log(2)), (1.0, 1, 0.0)],
)
def test_focal(score: float, label: float, value: float) -> None:
    assert focal(tensor(score), tensor(label)).item() == pytest.approx(value, abs=1e-9)


def test_the_total_is_weighted_and_leaves_out_what_is_not_there() -> None:
    terms = weighted({"a": torch.tensor(2.0), "b": torch.tensor(3.0), "c": None}, {"b": 10.0})
    assert {name: term.item() for name, term in terms.items()} == {"a": 2, "b": 3, "total": 32}


def test_mgfn_contrasts_different_videos() -> None:
    abnormal, normal = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    terms = contrast(abnormal, normal, margin=10.0)
    assert terms["apart"] == pytest.approx((5**2 + 10**2) / 2)
    assert terms["near_normal"] == pytest.approx(5**2)
    assert terms["near_abnormal"] is None  # there is only one


def test_released_mgfn_contrasts_crops_of_the_same_video() -> None:
    crops = torch.tensor([[[1.0], [4.0]]])  # one video, two crops
    terms = mirrored_contrast(crops, crops + 2, margin=10.0)
    assert terms["near_normal"] == pytest.approx(3**2, rel=1e-5)
    assert terms["apart"] == pytest.approx((10 - 2) ** 2, rel=1e-5)


def test_bnwvad_pairs_the_farthest_of_both_classes() -> None:
    detector = create_detector("bnwvad", visual_dim=4, settings={"width": 4})
    assert isinstance(detector, BNWVAD)
    normal = [[4.0, 0.0, 1.0, 1.0, 1.0], [6.0, 5.0, 0.0, 0.0, 0.0]]
    abnormal = [[1.0, 5.0, 2.5, 6.0, 3.0], [1.0, 1.0, 1.0, 2.0, 1.0]]
    labels = torch.tensor([False, False, True, True])
    value = detector._triplet(torch.tensor(normal + abnormal), torch.full((4,), 5), labels)
    # abnormal: the 4 farthest of 10, and 1 of 5 in either: 5, 2.5, 6, 3 and 2
    # normal, dealt one by one: 4, 6, 1, 5, 1
    losses = [0, 1 + 6 - 2.5, 0, 1 + 5 - 3, 0]
    assert value == pytest.approx(sum(losses) / 5)


ATTENTION = [0.9, 0.5, 0.1, 0.3]  # low up to 0.1 + 0.2 (0.9 - 0.1) = 0.26: the third
CLASSES = [0.8, 0.6, 0.4, 0.2]  # attended: 0.72 0.3 0.04 0.06


@pytest.mark.parametrize(
    ("label", "n_steps", "expected"),
    [
        (
            1.0,
            0,
            {
                "scores": -math.log(0.8),
                "attended": -math.log(0.72),
                "suppressed": -math.log(0.4),
                "suppressed_attended": -math.log(0.04),
                "guide_abnormal": (0.01 + 0.01 + 0.09 + 0.01) / 4,
                "norm": (0.9 + 0.5 + 0.1 + 0.3) / 4,
                "smoothness": (0.04 + 0.04 + 0.04) / 4 + (0.42**2 + 0.26**2 + 0.02**2) / 4,
                "sparsity": 2.0 / 4 + 1.12 / 4,
            },
        ),
        (1.0, 401, {"guide_abnormal": (0.01 + 0.25 + 0.01 + 0.09) / 4}),  # towards 1 1 0 0
        (0.0, 0, {"guide_normal": (0.81 + 0.25 + 0.01 + 0.09) / 4, "attended": -math.log(0.28)}),
    ],
)
def test_saa_by_hand(label: float, n_steps: int, expected: dict[str, float]) -> None:
    detector = create_detector("saa", visual_dim=4).eval()
    detector.get_buffer("aggregate.conv_1.2.num_batches_tracked").fill_(n_steps)
    parts = {"attention": tensor(*ATTENTION)[None, None], "classes": tensor(*CLASSES)[None, None]}
    output = Output(tensor(*CLASSES)[None], tensor(*CLASSES)[None], torch.tensor([4]), parts)
    terms = detector.loss(output, tensor(label))
    for name, value in expected.items():
        assert terms[name].item() == pytest.approx(value, rel=1e-5), name
    if len(expected) == 8:
        weights = [0.8, 0.8, 0.2, 0.2, 1.0, 0.8, 0.01, 0.01]
        total = sum(
            weight * value for weight, value in zip(weights, expected.values(), strict=True)
        )
        assert terms["total"].item() == pytest.approx(total, rel=1e-5)

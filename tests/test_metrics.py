"""Figures worked by hand, and scikit-learn or the plain definition as second witness."""

import json
from dataclasses import asdict
from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray
from sklearn import metrics as sk

from vad.errors import UsageError
from vad.stages.train.metrics import (
    Bools,
    Floats,
    best_threshold,
    confusion,
    decision,
    evaluate,
    peak_scores,
    ranking,
    validate,
)
from vad.stages.train.metrics.figures import Confusion, Counts, Ranking


def bools(values: ArrayLike) -> Bools:
    return np.array(values, bool)


def random_set(
    seed: int, n_videos: int = 12, levels: int | None = None
) -> tuple[list[Bools], list[Floats], NDArray[np.int64]]:
    """Videos of 20 to 90 frames; `levels` makes the scores tie."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n_videos) % 2
    truth, scores = [], []
    for label in labels:
        n_frames = int(rng.integers(20, 90))
        one = np.zeros(n_frames, bool)
        one[5 : 5 + 10 * label] = True
        score = np.clip(0.3 * one + rng.uniform(0, 0.8, n_frames), 0, 1)
        truth.append(one)
        scores.append(np.round(score * levels) / levels if levels else score)
    return truth, scores, labels


@pytest.mark.parametrize(
    ("truth", "scores", "auc", "ap", "pr_auc"),
    [
        # separable: precision is 1 until the last anomalous frame
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], 1.0, 1.0, 1.0),
        # a tie counts half; one step from recall 0 to 1 at precision 1/2, or the slope (1 + 1/2)/2
        ([0, 1], [0.5, 0.5], 0.5, 0.5, 0.75),
        # beats one of two; precision is 0 at recall 0, then 1/2 at recall 1: a slope of area 1/4
        ([0, 0, 1], [0.1, 0.9, 0.5], 0.5, 0.5, 0.25),
        # order 1 0 1 0: pairs won 3 of 4; AP 1/2 * 1 + 1/2 * 2/3; slope from (1/2, 1/2) to (1, 2/3)
        ([1, 0, 1, 0], [0.9, 0.7, 0.5, 0.1], 0.75, 5 / 6, 1 / 2 + (1 / 2 + 2 / 3) / 4),
        # wrong way round
        ([1, 0], [0.1, 0.9], 0.0, 0.5, 0.25),
    ],
)
def test_ranking_by_hand(
    truth: list[Any], scores: list[Any], auc: float, ap: float, pr_auc: float
) -> None:
    figures = ranking(bools(truth), np.array(scores))
    assert asdict(figures) == pytest.approx({"auc": auc, "ap": ap, "pr_auc": pr_auc})


@pytest.mark.parametrize("truth", [[0, 0, 0], [1, 1, 1]])
def test_one_class_cannot_be_ranked(truth: list[Any]) -> None:
    assert ranking(bools(truth), np.array([0.1, 0.5, 0.9])) == Ranking(None, None, None)


@pytest.mark.parametrize("levels", [None, 4])
def test_auc_is_the_chance_to_outscore_a_normal_frame(levels: int | None) -> None:
    truth, scores, labels = random_set(1, levels=levels)
    truth_, scores_ = np.concatenate(truth), np.concatenate(scores)
    wins = [(a > n) + (a == n) / 2 for a, n in product(scores_[truth_], scores_[~truth_])]
    figures = evaluate(truth, scores, labels).frame
    assert figures.auc == pytest.approx(np.mean(wins), abs=1e-12)


@pytest.mark.parametrize("levels", [None, 4])
def test_ap_is_the_sum_of_precision_times_gained_recall(levels: int | None) -> None:
    truth, scores, labels = random_set(2, levels=levels)
    truth_, scores_ = np.concatenate(truth), np.concatenate(scores)
    expected, recall_before = 0.0, 0.0
    for level in np.unique(scores_)[::-1]:
        flagged = scores_ >= level
        recall = (flagged & truth_).sum() / truth_.sum()
        expected += (recall - recall_before) * (flagged & truth_).sum() / flagged.sum()
        recall_before = recall
    figures = evaluate(truth, scores, labels).frame
    assert figures.ap == pytest.approx(expected, abs=1e-12)
    if levels:  # ties are where the two conventions part
        assert figures.pr_auc is not None
        assert figures.pr_auc > expected + 0.01


def test_decision_by_hand() -> None:
    #                tp tp fn fp tn tn tn tn
    truth = bools([1, 1, 1, 0, 0, 0, 0, 0])
    flagged = bools([1, 1, 0, 1, 0, 0, 0, 0])
    figures = decision(truth, flagged)
    assert figures.confusion == Confusion(tn=4, fp=1, fn=1, tp=2)
    assert figures.accuracy == 6 / 8
    assert figures.precision == 2 / 3
    assert figures.recall == 2 / 3
    assert figures.f1 == 4 / 6
    assert figures.macro_f1 == pytest.approx((4 / 6 + 8 / 10) / 2)


@pytest.mark.parametrize("threshold", [0.5, 0.25, 0.71])
def test_decisions_agree_with_scikit_learn(threshold: float) -> None:
    truth, scores, labels = random_set(3, levels=8)
    truth_, scores_ = np.concatenate(truth), np.concatenate(scores)
    flagged = scores_ >= threshold
    figures = evaluate(truth, scores, labels, threshold=threshold).at_threshold
    witness = {
        "f1": sk.f1_score(truth_, flagged),
        "macro_f1": sk.f1_score(truth_, flagged, average="macro"),
        "accuracy": sk.accuracy_score(truth_, flagged),
        "precision": sk.precision_score(truth_, flagged),
        "recall": sk.recall_score(truth_, flagged),
    }
    assert figures is not None
    assert {name: asdict(figures)[name] for name in witness} == pytest.approx(witness, abs=1e-12)
    tn, fp, fn, tp = sk.confusion_matrix(truth_, flagged).ravel()
    assert figures.confusion == Confusion(tn=tn, fp=fp, fn=fn, tp=tp)


def test_a_small_test_set_by_hand() -> None:
    truth = [bools([0, 0, 0, 0]), bools([0, 1, 1, 0]), bools([0, 0])]
    scores = [[0.1, 0.6, 0.1, 0.1], [0.3, 0.9, 0.5, 0.2], [0.0, 0.2]]
    times_s = [np.arange(len(one) + 1) / 2 for one in truth]  # two frames a second
    figures = evaluate(truth, scores, [0, 1, 0], threshold=0.7, times_s=times_s)
    assert figures.counts == Counts(
        n_videos=3, n_abnormal_videos=1, n_frames=10, n_anomalous_frames=2
    )
    assert figures.frame.auc == 15 / 16  # of 2 x 8 pairs, only 0.5 loses to 0.6
    assert figures.abnormal_only.auc == 1.0  # within its own video nothing is in the way
    assert figures.oracle.auc == 7 / 8  # 6 of 8 are beaten, 2 tie
    assert figures.oracle.ap == 1 / 2  # all four of the video, two of them right
    # at 0.5 the threshold itself is flagged: 0.6 (wrong), 0.9 and 0.5 (right)
    assert figures.at_half.confusion == Confusion(7, 1, 0, 2)
    assert figures.at_half.false_alarm_rate == 1 / 6  # of the six frames of normal videos
    assert figures.at_threshold is not None
    assert figures.at_threshold.confusion == Confusion(8, 0, 1, 1)
    assert figures.at_threshold.false_alarm_rate == 0
    assert figures.at_threshold.threshold == 0.7
    # videos score 0.6, 0.9 and 0.2
    assert figures.video.auc == 1.0
    assert figures.video.at_half.confusion == Confusion(1, 1, 0, 1)
    assert figures.video.at_half.false_alarm_rate == 1 / 2
    assert figures.video.at_threshold is not None
    assert figures.video.at_threshold.accuracy == 1.0
    assert figures.undefined == {}


def test_video_scores_replace_the_highest_frame_scores() -> None:
    truth, scores, labels = [bools([0, 0]), bools([1, 0])], [[0.9, 0.1], [0.8, 0.2]], [0, 1]
    assert peak_scores(scores).tolist() == [0.9, 0.8]
    assert evaluate(truth, scores, labels).video.auc == 0.0
    assert evaluate(truth, scores, labels, video_scores=[0.2, 0.7]).video.auc == 1.0


@pytest.mark.parametrize(
    ("truth", "scores", "labels", "undefined"),
    [
        (  # nothing anomalous: no ranking, no recall, quiet as it should be
            [[0, 0], [0]],
            [[0.1, 0.2], [0.3]],
            [0, 0],
            {
                *("frame.auc", "abnormal_only.ap", "oracle.pr_auc", "video.auc"),
                *("at_0.5.recall", "at_0.5.precision", "at_0.5.f1", "at_0.5.macro_f1"),
            },
        ),
        (  # abnormal videos only: no false-alarm rate, no ranking of videos
            [[0, 1], [1]],
            [[0.1, 0.9], [0.6]],
            [1, 1],
            {"at_0.5.false_alarm_rate", "video.auc", "video.at_0.5.false_alarm_rate"},
        ),
        (  # nothing reaches 0.5: recall is 0, precision is unknown
            [[0, 1], [0]],
            [[0.1, 0.2], [0.0]],
            [1, 0],
            {"at_0.5.precision", "video.at_0.5.precision"},
        ),
    ],
)
def test_what_has_no_value_is_none_and_explained(
    truth: list[Any], scores: list[Any], labels: list[int], undefined: set[str]
) -> None:
    figures = evaluate(truth, scores, labels)
    assert undefined <= figures.undefined.keys()
    values = {path: value for path, value, *_ in figures.rows()}
    for path in undefined:
        assert values[path] is None
        assert len(figures.undefined[path].split()) >= 3
    json.dumps(figures.to_dict(), allow_nan=False)


def test_recall_of_a_silent_detector_is_zero_not_unknown() -> None:
    at_half = evaluate([bools([0, 1])], [[0.1, 0.2]], [1]).at_half
    assert (at_half.recall, at_half.f1, at_half.precision) == (0.0, 0.0, None)


def test_without_a_threshold_only_half_is_judged() -> None:
    figures = evaluate([bools([0, 1])], [[0.1, 0.9]], [1])
    assert figures.at_threshold is None
    assert figures.undefined["at_threshold"] == "no threshold was given"


@pytest.mark.parametrize(
    ("truth", "scores", "labels", "message"),
    [
        ([[0, 1]], [[0.5]], [1], "video 0 has truth for 2 frames and scores for 1"),
        ([[0], [0]], [[0.1], [np.nan]], [0, 0], "scores of video 1: 1 are not finite"),
        (
            [[0], [1]],
            [[0.1], [3.5]],
            [0, 1],
            r"scores of video 1 reach from 3.5 to 3.5; .*\[0, 1\]",
        ),
        ([[0]], [[-0.1]], [0], "from -0.1"),
        ([[0], [0, 1]], [[0.1], [0.1, 0.2]], [0, 0], "video 1 is labelled normal, but 1 of its"),
        ([[0]], [[0.1]], [0, 1], "truth of 1 videos, scores of 1 and labels of 2"),
        ([[0, 2]], [[0.1, 0.1]], [1], "truth of video 0: only 0 and 1"),
        ([[0]], [[[0.1]]], [0], "scores of video 0: one axis"),
        ([[]], [[]], [0], "scores of video 0: one axis of at least 1"),
        ([], [], [], "no video"),
    ],
)
def test_wrong_input_is_refused_by_index(
    truth: list[Any], scores: list[Any], labels: list[int], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        validate(truth, scores, labels)


def test_wrong_thresholds_and_video_scores_are_refused() -> None:
    one = ([bools([0, 1])], [[0.1, 0.9]], [1])
    with pytest.raises(UsageError, match=r"threshold is 1\.5"):
        evaluate(*one, threshold=1.5)
    with pytest.raises(UsageError, match="2 video scores for 1 videos"):
        evaluate(*one, video_scores=[0.1, 0.2])


@pytest.mark.parametrize(
    ("labels", "scores", "threshold"),
    [
        # separable by anything from 0.3 to 0.7: the middle of the means, 0.2 and 0.75
        ([0, 0, 1, 1], [0.1, 0.3, 0.7, 0.8], 0.475),
        # never reaches 0.5, and the middle of the means misses a video: the middle of the gap
        ([0, 0, 1, 1], [0.01, 0.02, 0.04, 0.12], 0.03),
        ([0, 1, 0, 1], [0.2, 0.4, 0.6, 0.8], 0.7),  # J = 1/2 at 0.3 and at 0.7: fewer alarms
        # J 3/4 at 0.2, and 2/3 at 0.4375, which is in the middle of the means, 0.175 and 0.7:
        # on seven videos that is no difference (error 0.33)
        ([0, 0, 0, 1, 0, 1, 1], [0.1, 0.1, 0.1, 0.3, 0.4, 0.9, 0.9], 0.4375),
        # the same 20 times over: now it is one (error 0.05)
        ([0, 0, 0, 1, 0, 1, 1] * 20, [0.1, 0.1, 0.1, 0.3, 0.4, 0.9, 0.9] * 20, 0.2),
        # J 2/3 anywhere from 0.2 to 0.6: the middle of the means, 0.4 and 0.75, is in it
        ([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.9, 0.6, 0.7, 0.95], 0.575),
        ([1, 0], [0.2, 0.6], 0.5),  # worse than chance: nothing is known
        ([1, 0], [0.4, 0.4], 0.5),  # knows nothing
    ],
)
def test_best_threshold_by_hand(labels: list[int], scores: list[Any], threshold: float) -> None:
    assert best_threshold(labels, scores) == pytest.approx(threshold)


def test_best_threshold_does_not_depend_on_the_share_of_abnormal_videos() -> None:
    normal, abnormal = np.tile([0.1, 0.5, 0.3], 40), np.tile([0.4, 0.9, 0.6], 40)

    def chosen(n_normal: int) -> float:
        scores = np.concatenate([abnormal, np.tile(normal, n_normal)])
        return best_threshold([1] * 120 + [0] * 120 * n_normal, scores)

    assert chosen(1) == chosen(7) == pytest.approx(0.55)  # J 2/3, and 1/3 between the means


@pytest.mark.parametrize("labels", [[1, 1], [0, 0]])
def test_best_threshold_needs_both_labels(labels: list[int]) -> None:
    with pytest.raises(UsageError, match="cannot be chosen on"):
        best_threshold(labels, [0.1, 0.2])


def test_a_video_is_flagged_exactly_when_one_of_its_frames_is() -> None:
    truth, scores, labels = random_set(4)
    threshold = best_threshold(labels, peak_scores(scores))
    figures = evaluate(truth, scores, labels, threshold=threshold).video.at_threshold
    flagged = bools([(one >= threshold).any() for one in scores])
    assert figures is not None
    assert figures.confusion == confusion(labels.astype(bool), flagged)

"""Metrics of classes: mAP of events as published and clean, accuracy, AUC, hard normal videos."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vad.stages.train.metrics import evaluate
from vad.stages.train.metrics.classes import (
    Proposal,
    average_precision,
    class_figures,
    mean_ap,
    propose,
)
from vad.stages.train.metrics.figures import ClassFigures

NAMES = ("normal", *(f"kind{index}" for index in range(13)))
Shares = NDArray[np.float64]


def test_the_published_map_is_that_of_the_released_code() -> None:
    """Six videos of XD-Violence's seven classes: the figures of the released code."""
    shares = []
    for video, n_frames in enumerate([320, 160, 480, 160, 256, 96]):
        t, c = np.arange(n_frames // 16)[:, None], np.arange(7)[None]
        z = 3 * np.sin(0.35 * t + 1.3 * c + 0.7 * video) + 0.5 * c * np.cos(0.11 * t + video)
        e = np.exp(z)
        shares.append(np.repeat(e / e.sum(1, keepdims=True), 16, axis=0))
    truth = [
        [(0, 0, 320)],
        [(1, 16, 96)],
        [(2, 32, 160), (6, 200, 400)],
        [(3, 0, 160)],
        [(4, 64, 200)],
        [(5, 10, 80)],
    ]
    found = mean_ap(shares, truth, form="published")
    percent = [100 * value for value in found.values() if value is not None]
    assert percent == pytest.approx([8.4694, 4.8980, 2.8571, 2.8571, 2.8571], abs=5e-5)
    assert np.mean(percent) == pytest.approx(4.3878, abs=5e-5)


def perfect() -> ClassFigures:
    """One video of each of 13 kinds, and two normal ones; 0.9 within events, 0.01 elsewhere."""
    shares: list[Shares] = []
    truth: list[list[tuple[int, int, int]]] = []
    for kind in range(15):
        own = np.full((200, 14), 0.01)
        if kind < 13:
            own[40:120, 1 + kind] = 0.9
        shares.append(own)
        truth.append([(1 + kind, 40, 120)] if kind < 13 else [])
    kinds = [{f"kind{kind}"} if kind < 13 else set() for kind in range(15)]
    return class_figures(shares, NAMES, truth, kinds)


def test_perfect_scores_reach_93_percent_as_published_and_100_in_the_clean_form() -> None:
    found = perfect()
    assert list(found.map_clean.values()) == [1.0] * 6
    # a class without a proposal makes the released figure 0, so the normal class fires once
    assert set(found.map_published.values()) == {0.0}
    shares = [np.full((200, 14), 0.01) for _ in range(15)]
    for kind in range(13):
        shares[kind][40:120, 1 + kind] = 0.9
        shares[kind][120:140, 0] = 0.9
    truth = [[(1 + kind, 40, 120)] if kind < 13 else [] for kind in range(15)]
    published = mean_ap(shares, truth, form="published")
    assert [round(100 * (value or 0), 3) for value in published.values()] == [92.857] * 5
    assert set(mean_ap(shares, truth, form="clean").values()) == {1.0}


def test_whole_normal_videos_are_events_of_xd_violence_alone() -> None:
    shares = [np.full((64, 2), 0.1), np.full((64, 2), 0.1)]
    shares[0][:63, 0], shares[1][16:32, 1] = 0.9, 0.9  # all but one frame of the normal video
    shares[1][40:50, 0] = 0.5
    truth = [[], [(1, 16, 32)]]
    kinds: list[set[str]] = [set(), {"fire"}]
    own, xd = (
        class_figures(shares, ("normal", "fire"), truth, kinds, normal_events=whole).map_published
        for whole in (False, True)
    )
    assert own["average"] == pytest.approx(0.5)  # the normal class has no event: AP 0
    assert xd["average"] == pytest.approx(1.0)


def test_accuracy_and_auc_of_kinds_by_hand() -> None:
    found = perfect()
    assert found.accuracy == 1.0
    assert found.mean_auc == 1.0
    names = ("normal", "fire", "fight")
    fire, fight = np.zeros((32, 3)), np.zeros((32, 3))
    fire[:16, 1], fight[:, 1] = 0.8, 0.5  # the fight is taken for a fire
    fight[:2, 2] = 0.6  # its highest two frames speak for it
    found = class_figures([fire, fight], names, [[(1, 0, 16)], [(2, 0, 32)]], [{"fire"}, {"fight"}])
    assert found.accuracy == 1.0
    assert found.aucs["fire"] == pytest.approx(1.0)
    # 2 of 32 frames are above, 30 tie with the 32 of the other video
    assert found.aucs["fight"] == pytest.approx((2 * 32 + 30 * 32 / 2) / (32 * 32))
    fight[:2, 2] = 0.4
    assert class_figures([fight], names, [[(2, 0, 32)]], [{"fight"}]).accuracy == 0.0


def test_proposals_are_runs_of_two_frames_or_more_above_the_threshold_of_the_video() -> None:
    values = np.array([0.2, 0.2, 0.9, 1.0, 0.2, 1.0, 0.2, 0.53, 0.53])[:, None]
    (first, second) = propose([values], 0)  # threshold 1 - 0.6 * 0.8 = 0.52; frame 5 is alone
    assert (first.start, first.stop) == (2, 4)
    assert first.score == pytest.approx(1.0 + 0.7 * 1.0)
    assert (second.start, second.stop) == (7, 9)
    assert propose([np.full((9, 1), 0.5)], 0) == []  # nothing is above a constant


def test_a_proposal_takes_the_free_event_that_it_overlaps_most() -> None:
    proposals = [Proposal(0, 0, 10, 0.9), Proposal(0, 30, 40, 0.8), Proposal(0, 1, 10, 0.7)]
    events = [(0, 0, 10), (0, 5, 15), (1, 30, 40)]
    # right, wrong (of another video), right: the second event, IoU 5 / 14
    assert average_precision(proposals, events, 0.3) == pytest.approx((1 + 2 / 3) / 3)
    assert average_precision(proposals, events, 0.5) == pytest.approx(1 / 3)
    assert average_precision(proposals, [], 0.1) == 0


def test_hard_normals_are_set_against_abnormal_videos_alone() -> None:
    truth = [np.array([0, 1], bool), np.zeros(2, bool), np.zeros(2, bool)]
    scores = [np.array([0.1, 0.5]), np.array([0.9, 0.9]), np.array([0.0, 0.0])]
    figures = evaluate(truth, scores, [1, 0, 0], hard=[0, 1, 0], n_bootstrap=10)
    assert figures.hard_normals is not None
    assert figures.hard_normals.auc == pytest.approx(1 / 3)
    assert figures.frame.auc == pytest.approx(3 / 5)
    none = evaluate(truth, scores, [1, 0, 0], hard=[0, 0, 0], n_bootstrap=10)
    assert none.hard_normals is None
    assert "hard_normals" not in none.to_dict()

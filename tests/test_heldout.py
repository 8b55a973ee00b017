"""How often normal footage reaches a score, and thresholds by rates and by recall."""

import numpy as np
import pytest

from vad.errors import UsageError
from vad.labels import Label
from vad.stages.infer.settings import parse_rate
from vad.stages.train.heldout import NormalFootage, held_out, normal_footage

SNIPPET_S = 0.5


def footage(*videos):
    scores = {str(i): np.array(video, float) for i, video in enumerate(videos)}
    return normal_footage(scores, {name: len(z) * SNIPPET_S for name, z in scores.items()})


def test_alarms_that_lie_at_most_a_second_apart_are_one():
    near = footage([0, 5, 0, 0, 5, 0, 0, 0, 5, 0])  # gaps of 1.0 and 1.5 seconds
    assert near.seconds == 5
    assert near.once_in_s(5) == 5 / 2
    assert near.once_in_s(3) == 5 / 2  # what is lower is reached at least as often
    assert near.once_in_s(5.1) is None


def test_a_lower_score_is_never_said_to_be_rarer():
    random = np.random.default_rng(0)
    found = footage(*random.normal(size=(10, 400)))
    often = [found.once_in_s(level) for level in np.linspace(-4, found.levels[-1], 99)]
    assert (np.diff(often) >= 0).all()
    assert len(found.levels) <= 200


def test_the_threshold_of_a_rate_holds_on_other_footage():
    random = np.random.default_rng(1)
    known, other = random.normal(size=(2, 1, 7200))  # an hour each
    level = footage(*known).level_of(12 / 3600)
    assert footage(*known).once_in_s(level) == pytest.approx(300, rel=0.1)
    assert 4 <= 3600 / footage(*other).once_in_s(level) <= 36


def test_a_rate_that_the_footage_cannot_tell_is_refused_with_the_rarest():
    hour = footage(np.random.default_rng(2).normal(size=7200))
    with pytest.raises(UsageError, match="36 seconds .* no rate below 100/h"):
        NormalFootage((0.0, 1.0), (2, 1), 36.0).level_of(parse_rate("1/h"))
    with pytest.raises(UsageError, match=r"60 minutes .* no rate below 1/h"):
        hour.level_of(parse_rate("1/day"))
    assert hour.level_of(parse_rate("1/h")) == hour.levels[-1]


@pytest.mark.parametrize("n_snippets", [99, 120, 1234, 5625])
def test_the_rarest_rate_that_is_told_is_granted(n_snippets):
    found = footage(np.random.default_rng(3).normal(size=n_snippets))
    assert found.level_of(1 / found.seconds) == found.levels[-1]


@pytest.mark.parametrize(
    ("words", "per_hour"), [("2/h", 2), ("1/day", 1 / 24), ("0.5 / min", 30), ("7/week", 1 / 24)]
)
def test_rates_are_read_as_people_write_them(words, per_hour):
    assert parse_rate(words) * 3600 == pytest.approx(per_hour)


@pytest.mark.parametrize("words", ["2", "2/fortnight", "-1/h", "nan/h", "inf/h", "0/h", "h", ""])
def test_other_words_for_a_rate_are_refused(words):
    with pytest.raises(UsageError, match="--false-alarms"):
        parse_rate(words)


def test_recall_counts_the_held_out_abnormal_videos():
    labels = [Label(f"v{i}", i % 2) for i in range(20)]
    scores = {f"v{i}": np.array([0.0, i]) for i in range(20)}
    found = held_out(scores, labels, dict.fromkeys(scores, 1.0))
    assert found.peaks == (1, 3, 5, 7, 9, 11, 13, 15, 17, 19)
    assert found.level_of_recall(0.9) == 3
    assert found.level_of_recall(0.5) == 11
    with pytest.raises(UsageError, match=r"10 held-out abnormal videos promise no recall above"):
        found.level_of_recall(0.95)


@pytest.mark.parametrize(
    "wrong",
    [
        {"levels": ()},
        {"levels": (2.0, 1.0)},
        {"alarms": (1, 2)},
        {"alarms": (1, -1)},
        {"seconds": 0.0},
        {"seconds": float("nan")},
    ],
)
def test_footage_in_a_card_is_checked(wrong):
    with pytest.raises(ValueError, match="levels|alarms|seconds"):
        NormalFootage(**{"levels": (1.0, 2.0), "alarms": (2, 1), "seconds": 3.0, **wrong})

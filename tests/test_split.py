"""Training, validation and test videos."""

from collections import Counter

import pytest

from vad.datasets import read_dataset
from vad.errors import UsageError
from vad.labels import Label
from vad.stages.train.split import Split, split_videos

FORTY = [Label(f"n{i}", 0, "normal") for i in range(20)]
FORTY += [Label(f"a{i}", 1, "fight" if i < 10 else "fire") for i in range(20)]


def names(labels):
    return {label.video for label in labels}


def test_validation_is_stratified_by_category():
    split = split_videos(FORTY, validation=0.2, seed=0)
    assert Counter(x.category for x in split.validation) == {"normal": 4, "fight": 2, "fire": 2}
    assert names(split.train) | names(split.validation) == names(FORTY)
    assert not names(split.train) & names(split.validation)
    assert split.test == []


def test_a_seed_draws_the_same_videos_and_another_seed_others():
    first, again, other = (split_videos(FORTY, validation=0.2, seed=s) for s in (0, 0, 1))
    assert first == again
    assert names(first.validation) != names(other.validation)


@pytest.mark.parametrize(
    ("normal", "abnormal", "select", "doubt"),
    [
        (5, 5, "validation", ""),
        (0, 0, "validation", ""),  # nobody chooses: the last epoch
        (
            *(1, 20, "validation"),
            "only 1 normal and 20 abnormal videos choose epoch and threshold, close to chance: "
            "label more, raise --validation, or set it to 0 for the last epoch",
        ),
        (
            *(5, 4, "test"),
            "only 5 normal and 4 abnormal videos choose epoch and threshold, close to chance: "
            "label more",
        ),
    ],
)
def test_few_judges_are_told(normal, abnormal, select, doubt):
    selection_videos = FORTY[:normal] + FORTY[20 : 20 + abnormal]
    parts = {"validation": ([], selection_videos, []), "test": ([], [], selection_videos)}
    assert Split(*parts[select], select).doubt == doubt


def test_videos_of_one_source_stay_together():
    labels = [Label(f"{s}-{i}", i % 2, source=f"s{s}") for s in range(10) for i in range(4)]
    split = split_videos(labels, validation=0.2, seed=0)
    assert len(split.validation) == 8
    assert not {x.source for x in split.train} & {x.source for x in split.validation}


def test_a_small_set_still_validates_both_classes():
    labels = [Label(f"n{i}", 0) for i in range(4)] + [Label(f"a{i}", 1) for i in range(6)]
    split = split_videos(labels, validation=0.1, seed=0)
    assert sorted(x.label for x in split.validation) == [0, 1]


def test_the_split_column_is_followed():
    labels = [Label("a", 1, split="train"), Label("b", 0, split="train")]
    labels += [Label("c", 1, split="validation"), Label("d", 0, split="val")]
    labels += [Label("e", 1, split="test")]
    split = split_videos(labels, validation=0.5, seed=0)
    parts = (split.train, split.validation, split.test)
    assert [names(p) for p in parts] == [{"a", "b"}, {"c", "d"}, {"e"}]


def test_a_fold_is_held_out():
    labels = [Label(f"{f}{i}", i % 2, fold=str(f)) for f in range(3) for i in range(6)]
    split = split_videos(labels, validation=0.2, seed=0, fold="1")
    assert names(split.test) == {f"1{i}" for i in range(6)}
    with pytest.raises(UsageError, match="no fold '7' in the labels; there are: 0, 1, 2"):
        split_videos(labels, validation=0.2, seed=0, fold="7")


def test_one_class_alone_is_refused():
    with pytest.raises(UsageError, match="training has no abnormal video among 20; label more"):
        split_videos(FORTY[:20], validation=0, seed=0)


def test_an_unknown_split_is_told_with_its_video_and_file():
    labels = [Label("a", 1, split="train"), Label("b", 0, split="Train")]
    told = "^labels.csv: the split of 'b' is 'Train'; write train, validation or test"
    with pytest.raises(UsageError, match=told):
        split_videos(labels, validation=0, seed=0, where="labels.csv")


def test_ucf_crime_at_ten_percent_is_split_as_in_the_comparison_report(data):
    labels = read_dataset("ucf-crime", data / "ucf-crime").labels
    split = split_videos(labels, validation=0.1, seed=42)
    assert Counter(x.label for x in split.validation) == {1: 81, 0: 80}
    assert Counter(x.label for x in split.train) == {1: 729, 0: 720}
    # a tenth of 48, 45, 41, 47, 87, 29, 45, 127, 145, 27, 29, 95 and 45, rounded half to even
    kinds = Counter(x.category for x in split.validation if x.label)
    assert [n for _, n in sorted(kinds.items())] == [5, 4, 4, 5, 9, 3, 4, 13, 14, 3, 3, 10, 4]
    assert len(split.test) == 290


def test_many_small_kinds_still_give_their_share_together():
    # as XD-Violence: 20 combinations of kinds with 2 videos each would all round 0.4 down to none
    labels = [Label(f"a{i}", 1, f"kind {i // 2}") for i in range(40)]
    labels += [Label(f"n{i}", 0, "normal") for i in range(40)]
    split = split_videos(labels, validation=0.2, seed=0)
    assert Counter(x.label for x in split.validation) == {1: 8, 0: 8}
    assert max(Counter(x.category for x in split.validation if x.label).values()) == 1


def test_the_test_videos_choose_only_when_asked_and_then_all_others_train():
    labels = [*FORTY, Label("t0", 0, split="test"), Label("t1", 1, split="test")]
    split = split_videos(labels, validation=0.2, seed=0)
    assert names(split.selection_videos) == names(split.validation)
    split = split_videos(labels, validation=0.2, seed=0, select="test")
    assert names(split.selection_videos) == {"t0", "t1"}
    assert (len(split.train), split.validation) == (40, [])
    with pytest.raises(UsageError, match="test has no normal video among 0"):
        split_videos(FORTY, validation=0.2, seed=0, select="test")


def test_a_test_video_that_is_not_stored_stays_on_the_list():
    labels = [Label(f"n{i}", 0) for i in range(5)] + [Label(f"a{i}", 1) for i in range(5)]
    labels += [Label("t", 1, split="test")]
    stored = names(labels) - {"n0", "t"}
    split = split_videos(labels, validation=0.2, seed=0, stored=stored)
    assert names(split.train) | names(split.validation) == stored
    assert names(split.test) == {"t"}

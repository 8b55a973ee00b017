"""Labels, segments and frame truth."""

import logging

import numpy as np
import pytest

from vad.errors import UsageError
from vad.labels import Label, Segment, frame_truth, match, read_labels, read_segments


def csv(tmp_path, text):
    path = tmp_path / "file.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_columns_are_read_by_name_and_others_are_ignored(tmp_path):
    path = csv(tmp_path, "\ufeffvideo, label,frames,category,fold\na,1,900,fight,2\nb,0,90,,\n")
    assert read_labels(path) == [Label("a", 1, "fight", "", "2"), Label("b", 0)]


def test_segments_are_half_open_intervals_of_frames(tmp_path):
    path = csv(tmp_path, "video,start_frame,end_frame\na,2,4\na,6,99\n")
    truth = frame_truth("a", 8, read_segments(path))
    assert truth.tolist() == [False, False, True, True, False, False, True, True]
    assert not frame_truth("b", 8, read_segments(path)).any()


def test_a_segment_behind_the_last_frame_is_reported(caplog):
    with caplog.at_level(logging.WARNING, logger="vad"):
        assert not frame_truth("a", 8, [Segment("a", 8, 9)]).any()
    assert "begins after the last of 8 frames" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "name,label\na,1\n",
            r"has no column 'video' \(it has: name, label\); the first line must",
        ),
        ("", r"has no column 'video' \(it has: none\)"),
        ("video,label\n", "labels no video"),
        ("video,label\na,1\nb,yes\n", "line 3: label is 'yes'; write 0"),
        ("video,label\na,1\na,0\n", "line 3: 'a' is labelled twice"),
        ("video,label\na,1,2\n", "line 2: more values than columns"),
    ],
)
def test_a_wrong_labels_file_is_refused_with_its_line(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        read_labels(csv(tmp_path, text))


@pytest.mark.parametrize("row", ["a,4,4", "a,-1,4", "a,9,4"])
def test_an_interval_that_is_none_is_refused(tmp_path, row):
    with pytest.raises(UsageError, match="line 2: .* is no interval"):
        read_segments(csv(tmp_path, f"video,start_frame,end_frame\n{row}\n"))


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match="no file"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"video,label\n\xff\xfe\x00,1\n")
    with pytest.raises(UsageError, match="is UTF-16 or no text; save it as UTF-8"):
        read_labels(tmp_path / "binary.csv")


def test_names_are_matched_whole_or_by_a_unique_last_part(caplog):
    ids = ["cam1/a", "cam2/a", "cam2/b", "c"]
    with caplog.at_level(logging.WARNING, logger="vad"):
        matched = match([Label("b", 1), Label("c", 0), Label("gone", 0)], ids, where="labels.csv")
    assert [label.video for label in matched] == ["cam2/b", "c"]
    assert "1 videos are not in the store: 'gone'" in caplog.text
    with pytest.raises(UsageError, match="'a' could be 'cam1/a' or 'cam2/a'"):
        match([Label("a", 1)], ids, where="labels.csv")


def test_labels_of_no_stored_video_are_refused():
    with pytest.raises(UsageError, match=r"labels.csv names no stored video .*'x'.*holds 'c'"):
        match([Label("x", 1)], ["c"], where="labels.csv")


# --- labels that are no file


def test_labels_may_be_a_mapping_or_a_data_frame():
    pandas = pytest.importorskip("pandas")
    expected = [Label("a", 0), Label("b", 1)]
    assert read_labels({"a": 0, "b": 1}) == expected
    assert read_labels({"a": False, "b": np.float64(1)}) == expected
    frame = pandas.DataFrame({"video": ["a", "b"], "label": [0, 1]})
    assert read_labels(frame) == expected
    more = frame.assign(split=["train", None], fold=[2, 3])
    assert read_labels(more) == [Label("a", 0, "", "train", "2"), Label("b", 1, "", "", "3")]


def test_mistakes_in_labels_that_are_no_file_are_one_clear_line():
    pandas = pytest.importorskip("pandas")
    for source, message in (
        ({"a": 0, "b": None}, "the labels, 'b': there is no label; write 0 .normal. or 1"),
        ({"a": 0, "b": "yes"}, "the labels, 'b': label is 'yes'; write 0"),
        ({}, "the labels labels no video"),
        (pandas.DataFrame({"name": ["a"], "label": [1]}), "no column 'video' .they have: name, la"),
        (pandas.DataFrame({"video": ["a", "a"], "label": [1, 1]}), "row 1: 'a' is labelled twice"),
        (pandas.DataFrame({"video": ["a", "b"], "label": [1, None]}), "row 1: there is no label"),
    ):
        with pytest.raises(UsageError, match=message):
            read_labels(source)

"""Scores of a video: what they hold, and that a file of them gives them back."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from vad.errors import InternalError, UsageError
from vad.stages.infer.scores import EVENT_COLUMNS, exact
from vad.stages.infer.scores_file import read_scores
from vad.stages.infer.settings import EventRule, Propagation
from vad.stages.infer.times import timecode
from vad.stages.infer.where import Where

SNIPPETS = [0.1, 0.7, 0.4]  # of 40 frames, ten a second: one event, 1.6 to 3.2 s


def test_frames_peak_and_events(make_scores):
    scores = make_scores(SNIPPETS, n_frames=40)
    assert scores.frames.shape == (40,)
    assert scores.frames[[0, 15, 16, 31, 32, 39]] == pytest.approx([0.1, 0.1, 0.7, 0.7, 0.4, 0.4])
    assert (scores.peak, scores.peak_s) == (pytest.approx(0.7), 1.6)
    (event,) = scores.events
    assert (event.start_frame, event.end_frame, event.start_s, event.end_s) == (16, 32, 1.6, 3.2)
    assert event.caption == ""


def test_another_threshold_is_another_reading_of_the_same_scores(make_scores):
    scores = make_scores(SNIPPETS, n_frames=40)
    assert scores.events[0].end_frame == 32
    lower = dataclasses.replace(scores, threshold=0.4)
    assert [(e.start_frame, e.end_frame) for e in lower.events] == [(16, 40)]
    assert scores.events[0].end_frame == 32


def test_scores_that_are_high_for_too_short_a_time_are_told(make_scores):
    scores = make_scores(SNIPPETS, rule=EventRule(min_event=1.7))
    told = "; reaches the threshold, but never for 1.7 s (--min-event)"
    assert told in scores.summary
    for other in ({"rule": EventRule(min_event=1.6)}, {"threshold": 0.71}):
        assert "--min-event" not in dataclasses.replace(scores, **other).summary


def test_an_event_has_the_caption_of_its_peak(make_scores):
    captions = ["a street", "two men are fighting", "a street again"]
    scores = make_scores(SNIPPETS, n_frames=40, captions=captions)
    assert scores.events[0].caption == "two men are fighting"
    assert scores.caption_at(39) == "a street again"


def test_lengths_that_do_not_fit_are_our_fault(make_scores):
    with pytest.raises(InternalError, match=r"video: 3 scores and 100 times for 100 frames in 7"):
        make_scores(SNIPPETS, n_frames=100)
    with pytest.raises(InternalError, match=r"1 captions, 3 snippets"):
        make_scores(SNIPPETS, n_frames=40, captions=["one"])


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"captions": tuple("abcdef" * 5)},
        {"propagation": Propagation(propagation="gaussian", sigma=0.5)},
        {"rule": EventRule(low=0.2, merge_gap=0), "threshold_from": "given"},
        {"provenance": {"detector": {"name": "rtfm"}}},
        {"where": Where(np.eye(30, dtype=np.float32).reshape(30, 5, 6), (0.0, 0.0, 160.0, 96.5))},
    ],
    ids=str,
)
def test_a_json_file_gives_the_same_scores_back(make_scores, tmp_path, settings):
    rng = np.random.default_rng(0)
    scores = make_scores(rng.random(30), n_frames=471, **settings)
    (path,) = scores.save(tmp_path, ["json"])
    again = read_scores(path)
    assert again.to_dict() == scores.to_dict()
    assert np.array_equal(again.snippets, scores.snippets)  # to the last bit
    assert np.array_equal(again.frames, scores.frames)
    assert again.events == scores.events
    assert len(scores.events) > 2


def test_numbers_in_files_are_exactly_those_of_the_arrays():
    for value in np.random.default_rng(1).random(1000, np.float32):
        assert np.float32(exact(value)) == value
    assert json.dumps(exact(np.float32(0.1))) == "0.1"


def test_scores_show_their_events_when_printed_and_their_curve_in_a_notebook(make_scores):
    captions = ["a street", "<b>fire</b>\x1b", "a street"]
    scores = make_scores(SNIPPETS, n_frames=40, captions=captions)
    assert repr(scores).splitlines() == [
        "video: 1 event, highest 0.700 at 00:00:01.600 (threshold 0.500)",
        r"  1  00:00:01.600 to 00:00:03.200  peak 0.700  <b>fire</b>\x1b",
    ]
    assert repr(make_scores([0.9, 0.1] * 7, rule=EventRule(merge_gap=0))).endswith("\n  and 2 more")
    page = scores._repr_html_()
    assert "<svg" in page
    assert "&lt;b&gt;fire" in page
    assert "<b>fire" not in page


@pytest.mark.parametrize(
    ("rows", "n", "columns"),
    [
        ("frames", 40, ["frame", "seconds", "score"]),
        ("snippets", 3, ["snippet", "start_frame", "end_frame", "start_s", "end_s", "score"]),
        ("events", 1, list(EVENT_COLUMNS)),
    ],
)
def test_scores_as_tables(make_scores, rows, n, columns):
    pytest.importorskip("pandas", reason="pip install pandas")
    table = make_scores(SNIPPETS, n_frames=40).to_dataframe(rows)
    assert (len(table), list(table.columns)) == (n, columns)
    calm = make_scores([0.1]).to_dataframe("events")
    assert (len(calm), list(calm.columns)) == (0, list(EVENT_COLUMNS))


def test_a_table_without_pandas_says_what_to_install(make_scores, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="tables need the package pandas; pip install pandas"):
        make_scores(SNIPPETS, n_frames=40).to_dataframe()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file .*scores.json"),
        ("[", "cannot be read"),
        ("[]", "does not hold scores of schema vad.scores/1; give a file that vad score"),
        ('{"schema": "vad.scores/9"}', "does not hold scores of schema"),
        (
            '{"schema": "vad.scores/1"}',
            "is damaged, or of another version of vad: video is missing",
        ),
    ],
)
def test_a_file_that_holds_no_scores_is_refused(tmp_path, content, message):
    path = tmp_path / "scores.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=message):
        read_scores(path)


WRONG: list[object] = [None, True, -1, 10**15, 1e300, float("nan"), "", "x", [], {}, [[]], {"a": 1}]


def test_whatever_is_changed_in_a_file_of_scores_is_read_or_ends_in_one_line(make_scores, tmp_path):
    where = Where(np.full((3, 2, 2), 0.25), (0.0, 0.0, 160.0, 96.0))
    scores = make_scores(SNIPPETS, n_frames=40, captions=["a", "b", "c"], where=where)
    record = dataclasses.replace(scores.record, source_mtime_ns=1_764_000_000_000_000_000)
    scores = dataclasses.replace(scores, record=record)
    document = json.loads(json.dumps(scores.to_dict()))
    holders = [document, document["propagation"], document["rule"]]
    holders += [document["snippets"][1], document["frames"][1], document["where"]]
    places = [(holder, name) for holder in holders for name in holder]
    path, refusals = tmp_path / "scores.json", []
    for holder, name in places:
        was = holder[name]
        for holder[name] in WRONG:
            path.write_text(json.dumps(document))
            try:
                again = read_scores(path)
                assert len(again.frames) == len(again.rows()) == again.record.n_frames
                assert len(repr(again).splitlines()) <= 7
            except UsageError as error:
                refusals.append(str(error))
        holder[name] = was
    assert len(refusals) > len(places) * len(WRONG) / 2
    assert all(len(text.splitlines()) == 1 for text in refusals)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"schema": "vad.scores/1", "video": NaN}'])
def test_a_strange_file_is_refused_in_a_line(tmp_path, content):
    path = tmp_path / "scores.json"
    path.write_text(content)
    with pytest.raises(UsageError):
        read_scores(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="is a folder, not a file"):
        read_scores(tmp_path / "folder")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00.000"),
        (59.9996, "00:01:00.000"),
        (3661.5, "01:01:01.500"),
        (360000, "100:00:00.000"),
    ],
)
def test_timecodes(seconds, text):
    assert timecode(seconds) == text

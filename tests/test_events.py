"""Frames of scores, and the events made of them, worked out by hand; the same by the script of
the report.
"""

import dataclasses
import json
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from vad.errors import UsageError
from vad.grid import ClipGrid
from vad.stages.infer.events import edges_us, find_events, lower_level, propagate
from vad.stages.infer.pages import resource
from vad.stages.infer.settings import EventRule, Propagation

DIGITS = np.arange(10) / 10  # a score is drawn by its first decimal: 7 is 0.7
NO_RULES = EventRule(min_event=0, merge_gap=0)


def events(drawn, *, threshold=0.5, fps=2, **rule):
    """Frames [start, end) of the events of scores drawn as digits, two frames a second."""
    scores = np.array([DIGITS[int(d)] for d in drawn], np.float32)
    times = np.arange(len(drawn)) / fps
    found = find_events(
        scores,
        times,
        len(drawn) / fps,
        threshold=threshold,
        rule=dataclasses.replace(NO_RULES, **rule),
    )
    return [(event.start_frame, event.end_frame) for event in found]


@pytest.mark.parametrize(
    ("drawn", "rule", "expected"),
    [
        ("0000000000", {}, []),
        ("0007700000", {}, [(3, 5)]),
        ("7777777777", {}, [(0, 10)]),
        ("0000000007", {}, [(9, 10)]),
        ("0050000000", {}, [(2, 3)]),  # the threshold itself is enough
        ("0700700000", {}, [(1, 2), (4, 5)]),
        # two frames between them are 1 s
        ("0700700000", {"merge_gap": 0.99}, [(1, 2), (4, 5)]),
        ("0700700000", {"merge_gap": 1.0}, [(1, 5)]),
        ("0707000700", {"merge_gap": 1.0}, [(1, 4), (7, 8)]),
        # a frame lasts 0.5 s
        ("0700770000", {"min_event": 0.5}, [(1, 2), (4, 6)]),
        ("0700770000", {"min_event": 0.51}, [(4, 6)]),
        ("0707000000", {"min_event": 1.5, "merge_gap": 0.5}, [(1, 4)]),  # first merged
        # hysteresis: it begins and ends at 0.3, but needs a 0.5 inside
        ("0033730300", {"low": 0.3}, [(2, 6)]),
        ("0033330000", {"low": 0.3}, []),
        ("0373737300", {"low": 0.3}, [(1, 8)]),
        # padding
        ("0000700000", {"pad_before": 1.0}, [(2, 5)]),
        ("0000700000", {"pad_after": 1.0}, [(4, 7)]),
        ("0000700000", {"pad_after": 0.75}, [(4, 7)]),  # a frame shown in part is shown
        ("0700000070", {"pad_before": 3, "pad_after": 3}, [(0, 10)]),  # to the ends; they met
        ("0700007000", {"pad_before": 1.0, "pad_after": 1.0}, [(0, 9)]),  # they touch: one
        ("0700000700", {"pad_before": 1.0, "pad_after": 1.0}, [(0, 4), (5, 10)]),
        ("0700000000", {"pad_after": 1.0, "min_event": 1.0}, []),  # padding makes none longer
    ],
)
def test_events_follow_the_rules(drawn, rule, expected):
    assert events(drawn, **rule) == expected


def test_an_event_says_when_how_sure_and_where_its_peak_is():
    scores = np.array([0.1, 0.6, 0.9, 0.6, 0.1], np.float32)
    times = np.array([0.0, 0.5, 2.0, 2.5, 4.0])  # of a recording that skipped frames
    (event,) = find_events(scores, times, 4.5, threshold=0.5, rule=NO_RULES)
    assert (event.start_frame, event.end_frame) == (1, 4)
    assert (event.start_s, event.end_s, event.duration_s) == (0.5, 4.0, 3.5)
    assert (event.peak_frame, event.peak_s) == (2, 2.0)
    assert event.peak == pytest.approx(0.9)
    assert event.mean == pytest.approx(0.7)


def test_the_last_event_lasts_until_the_video_ends():
    scores, times = np.array([0.0, 0.9], np.float32), np.array([0.0, 0.1])
    (event,) = find_events(scores, times, 0.35, threshold=0.5, rule=NO_RULES)
    assert event.end_s == 0.35


def test_by_default_half_a_second_is_the_least_and_a_second_joins():
    assert events("7700000777", fps=10, min_event=0.5, merge_gap=1.0) == [(0, 10)]
    assert EventRule() == EventRule(
        low=None, min_event=0.5, merge_gap=1.0, pad_before=0, pad_after=0
    )


def test_chances_below_the_threshold_belong_to_an_event_if_they_have_a_third_of_its_evidence():
    threshold = 8 / 9  # odds of 8; a third of the evidence are odds of 2
    assert lower_level(threshold, 0.5) == pytest.approx(2 / 3)
    scores, times = np.array([0.6, 0.7, 0.9, 0.7, 0.6], np.float32), np.arange(5) / 2
    (event,) = find_events(scores, times, 2.5, threshold=threshold, prior=0.5, rule=NO_RULES)
    assert (event.start_frame, event.end_frame) == (1, 4)
    # with another prior all chances move, and the event stays
    odds = scores / (1 - scores) / 99
    rare = {"threshold": 8 / 107, "prior": 0.01}
    (same,) = find_events(odds / (1 + odds), times, 2.5, **rare, rule=NO_RULES)
    assert (same.start_frame, same.end_frame) == (1, 4)


@pytest.mark.parametrize(("threshold", "prior"), [(0.5, None), (0.4, 0.5), (0.5, 0.5), (1.0, 0.5)])
def test_no_frame_below_the_threshold_counts_where_its_evidence_is_not_known(threshold, prior):
    assert lower_level(threshold, prior) == threshold


def test_a_low_above_the_threshold_is_refused():
    with pytest.raises(UsageError, match=r"--low 0.8 is above the threshold 0.5"):
        events("0070", low=0.8)


SNIPPETS = np.array([0.0, 1.0, 0.5], np.float32)  # of 40 frames: 16, 16 and 8


def frames(**settings):
    return propagate(SNIPPETS, 40, Propagation(**settings), grid=ClipGrid(), fps=10)


def test_hold_gives_frames_the_score_of_their_snippet():
    assert frames().tolist() == [0.0] * 16 + [1.0] * 16 + [0.5] * 8


def test_linear_joins_the_middles_of_the_snippets():
    found = frames(propagation="linear")
    # the middles are at 7.5, 23.5 and (frames 32 to 39) 35.5
    assert found[:8].tolist() == [0.0] * 8
    assert found[[11, 15, 19]] == pytest.approx([3.5 / 16, 7.5 / 16, 11.5 / 16])
    assert found[29] == pytest.approx(1 - 0.5 * 5.5 / 12)
    assert found[36:].tolist() == [0.5] * 4


def test_gaussian_smooths_and_keeps_the_level():
    found = frames(propagation="gaussian", sigma=0.4)
    assert found[0] < 0.001  # four standard deviations from the step
    assert found[15] + found[16] == pytest.approx(1.0, abs=0.01)  # the step is halved
    assert np.all(np.diff(found[8:22]) > 0)
    assert found.min() >= 0
    assert found.max() <= 1
    level = np.full(3, 0.7, np.float32)
    wide = Propagation(propagation="gaussian", sigma=100.0)  # far wider than the video
    assert propagate(level, 40, wide, grid=ClipGrid(), fps=10) == pytest.approx(0.7)


def test_smoothing_far_beyond_a_long_video_takes_no_minute():
    n_frames = 200_000
    scores = np.random.default_rng(0).random(n_frames // 16)
    wide = Propagation(propagation="gaussian", sigma=1e300)
    started = time.monotonic()
    found = propagate(scores, n_frames, wide, grid=ClipGrid(), fps=25.0)
    assert time.monotonic() - started < 20
    assert found == pytest.approx(np.full(n_frames, scores.mean()), abs=1e-5)


@pytest.mark.parametrize("propagation", ["hold", "linear", "gaussian"])
@pytest.mark.parametrize(("n_frames", "n_snippets"), [(1, 1), (16, 1), (17, 2)])
def test_every_rule_takes_the_shortest_videos(propagation, n_frames, n_snippets):
    scores = np.full(n_snippets, 0.25, np.float32)
    how = Propagation(propagation=propagation)
    found = propagate(scores, n_frames, how, grid=ClipGrid(), fps=30)
    assert found.tolist() == [0.25] * n_frames


# --- the rule of the report's script

ASK_NODE = """
const findEvents = new Function(process.argv[1] + "; return findEvents;")();
const cases = JSON.parse(require("fs").readFileSync(0, "utf-8"));
console.log(JSON.stringify(cases.map(({ scores, edges, threshold, prior, rule }) =>
  findEvents(Float32Array.from(scores), Float64Array.from(edges), threshold, prior, rule))));
"""


def node():
    """Node.js as it is installed, or as Playwright brings it."""
    if found := shutil.which("node"):
        return found
    playwright = pytest.importorskip("playwright", reason="no Node.js; pip install playwright")
    return Path(playwright.__file__).parent / "driver" / "node"


def drawn_case(random):
    """A video that is held, noisy or flat, of an even or an uneven rate, and a rule."""
    n_frames = int(random.integers(1, 400))
    levels = np.round(random.random(n_frames // 16 + 1), int(random.choice([1, 1, 3, 8])))
    scores = np.repeat(levels, 16)[:n_frames]
    if random.random() < 0.4:
        scores = np.clip(scores + random.normal(0, 0.1, n_frames), 0, 1)
    scores = scores.astype(np.float32)
    fps = random.choice([10, 25, 30000 / 1001, 24, 7.3])
    times = np.arange(n_frames) / fps
    if random.random() < 0.3:
        times = np.cumsum(random.choice([0, 0.1, 1 / 3, 2], n_frames))
        times -= times[0]
    seconds = [0.0, 0.1, 0.5, 1.0, 16 / fps, 1 / 3, 0.0000005, 2.5, 30.0]
    rule = EventRule(
        low=None,
        min_event=float(random.choice(seconds)),
        merge_gap=float(random.choice(seconds)),
        pad_before=float(random.choice(seconds)),
        pad_after=float(random.choice(seconds)),
    )
    threshold = float(
        random.choice([0.0, 0.3, 0.5, 0.7, 0.7, 0.9, 1.0, *scores[:4], random.random()])
    )
    if random.random() < 0.4:
        rule = dataclasses.replace(rule, low=float(threshold * random.random()))
    prior = random.choice([None, 0.5, 0.05, float(random.uniform(0.001, 0.999))])
    return scores, times, float(times[-1] + random.choice([0, 0.04])), threshold, prior, rule


def test_the_script_of_the_report_finds_the_same_events():
    random = np.random.default_rng(0)
    cases = [drawn_case(random) for _ in range(600)]
    asked = [
        {
            "scores": [float(str(score)) for score in scores],  # as the page has them
            "edges": edges_us(times, duration_s).tolist(),
            "threshold": threshold,
            "prior": prior,
            "rule": dataclasses.asdict(rule),
        }
        for scores, times, duration_s, threshold, prior, rule in cases
    ]
    answer = subprocess.run(
        [node(), "-e", ASK_NODE, str(resource("events.js"))],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=True,
    )
    n_events = []
    for case, found in zip(cases, json.loads(answer.stdout), strict=True):
        scores, times, duration_s, threshold, prior, rule = case
        expected = find_events(
            scores, times, duration_s, threshold=threshold, prior=prior, rule=rule
        )
        n_events.append(len(expected))
        assert [
            (e["startFrame"], e["endFrame"], e["start"], e["end"], e["peakFrame"], e["peakTime"])
            for e in found
        ] == [
            (e.start_frame, e.end_frame, e.start_s, e.end_s, e.peak_frame, e.peak_s)
            for e in expected
        ]
        assert [e["peak"] for e in found] == [e.peak for e in expected]
        assert [e["mean"] for e in found] == pytest.approx([e.mean for e in expected])
    assert n_events.count(0) < 200  # the cases have events
    assert max(n_events) > 5

"""What a picture shows, read off its pixels."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.stages.infer.evaluation.plots import (
    plot_categories,
    plot_confusion,
    plot_curve,
    plot_pr,
    plot_roc,
    plot_score_distribution,
    plot_thresholds,
    plot_training,
)
from vad.stages.infer.times import clock
from vad.stages.train.metrics.figures import Confusion, SweepRow

TIMES_S = np.arange(1000) / 10  # 0 to 100 s
TRUTH = TIMES_S >= 60
SCORES = np.where(TRUTH, 0.8, 0.1)
HISTORY = [{"epoch": e, "loss": 1 / e, "validation auc": 1 - 0.5 / e} for e in range(1, 6)]

SWEEP = [
    SweepRow(threshold=t, precision=t, recall=1 - t, f1=0.5, false_alarm_rate=None, youden=None)
    for t in (0.2, 0.5, 0.8)
]
KINDS: dict[str, dict[str, float | None]] = {
    "rtfm": {"fight": 0.8, "fire": 0.4},
    "mgfn": {"fight": 0.6, "fire": None},
}

Draw = Callable[[Path], None]
PICTURES: dict[str, Draw] = {
    "curve": lambda path: plot_curve(path, TIMES_S, SCORES, title="a", threshold=0.5),
    "roc": lambda path: plot_roc(path, TRUTH, {"rtfm": SCORES}),
    "pr": lambda path: plot_pr(path, TRUTH, {"rtfm": SCORES}),
    "distribution": lambda path: plot_score_distribution(path, TRUTH, SCORES, threshold=0.5),
    "confusion": lambda path: plot_confusion(path, Confusion(tn=5, fp=1, fn=0, tp=2)),
    "thresholds": lambda path: plot_thresholds(path, SWEEP, threshold=0.5),
    "categories": lambda path: plot_categories(path, KINDS),
    "training": lambda path: plot_training(path, HISTORY, chosen_epoch=3),
}


def pixels(path: Path) -> NDArray[Any]:
    return np.asarray(imread(path)[..., :3])


def columns_that_differ(one: Path, other: Path, rows: slice) -> NDArray[Any]:
    return np.flatnonzero((pixels(one) != pixels(other)).any(2)[rows].any(0))


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_is_a_whole_png_1200_px_wide_and_the_same_every_time(
    name: str, tmp_path: Path
) -> None:
    one, two = tmp_path / "new" / "one.png", tmp_path / "two.png"
    for path in (one, two):
        PICTURES[name](path)
    assert one.read_bytes() == two.read_bytes()
    assert pixels(one).shape[1] == 1200
    assert pixels(one).std() > 0.05  # something is drawn
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["one.png"]


def test_truth_is_shaded_at_its_time(tmp_path: Path) -> None:
    plain, shaded, whole = (tmp_path / f"{name}.png" for name in ("plain", "shaded", "whole"))
    for path, truth in ((plain, []), (shaded, [(60.0, 80.0)]), (whole, [(0.0, 100.0)])):
        plot_curve(path, TIMES_S, SCORES, title="a", truth=truth)
    upper = slice(60, 100)  # rows inside the axes, above the curve and the legend
    axes = columns_that_differ(plain, whole, upper)
    found = columns_that_differ(plain, shaded, upper)
    start, stop = (found[[0, -1]] - axes[0]) / (axes[-1] - axes[0])
    assert start == pytest.approx(0.6, abs=0.005)
    assert stop == pytest.approx(0.8, abs=0.005)


def test_one_high_frame_in_a_long_video_is_seen(tmp_path: Path) -> None:
    scores = np.zeros(300_000)
    plot_curve(tmp_path / "quiet.png", np.arange(300_000) / 25, scores, title="a")
    scores[123_457] = 1.0
    plot_curve(tmp_path / "peak.png", np.arange(300_000) / 25, scores, title="a")
    assert len(columns_that_differ(tmp_path / "quiet.png", tmp_path / "peak.png", slice(60, 100)))


@pytest.mark.parametrize(
    "name",
    [
        "costs $5 or \\unknown{5$",  # not a formula, and a wrong one would raise
        "folder/" + "very_long_name_" * 40 + ".mp4",
        "two\nlines\tand\x07a bell",
        "监控 камера <img src=x>",  # a font without the glyphs warns, and warnings are errors here
        "_hidden",  # a label that starts so is left out of legends
        "",
    ],
)
def test_any_name_can_be_drawn(name: str, tmp_path: Path) -> None:
    plot_curve(tmp_path / "curve.png", TIMES_S, SCORES, title=name)
    plot_roc(tmp_path / "roc.png", TRUTH, {name: SCORES}, title=name)
    plot_training(tmp_path / "training.png", [{"epoch": 1, f"auc {name}": 0.5}], title=name)


def test_as_many_curves_as_runs_are_drawn(tmp_path: Path) -> None:
    runs = {f"run {n}": np.where(TRUTH, 0.5, n / 25) for n in range(22)}
    plot_pr(tmp_path / "pr.png", TRUTH, runs)
    del runs["run 21"]
    plot_pr(tmp_path / "fewer.png", TRUTH, runs)
    assert len(columns_that_differ(tmp_path / "pr.png", tmp_path / "fewer.png", slice(None)))


def test_a_longer_bar_is_a_higher_figure(tmp_path: Path) -> None:
    low, high = tmp_path / "low.png", tmp_path / "high.png"
    for path, auc in ((low, 0.25), (high, 0.75)):
        plot_categories(path, {"rtfm": {"fight": auc}})
    blue = np.array([0x00, 0x72, 0xB2]) / 255
    widths = [int((np.abs(pixels(path) - blue).max(2) < 0.01).any(0).sum()) for path in (low, high)]
    assert widths[1] / widths[0] == pytest.approx(3, rel=0.02)


@pytest.mark.parametrize("n_frames", [1, 2, 3])
def test_a_video_of_few_frames_has_a_curve(n_frames: int, tmp_path: Path) -> None:
    times_s, scores = TIMES_S[:n_frames], np.ones(n_frames)
    plot_curve(tmp_path / "curve.png", times_s, scores, title="short", threshold=0.5)
    assert (tmp_path / "curve.png").exists()


def test_figures_without_a_value_leave_a_gap(tmp_path: Path) -> None:
    plot_training(tmp_path / "t.png", [{"epoch": 1, "auc": None}, {"epoch": 2, "auc": 0.5}])
    assert (tmp_path / "t.png").exists()


@pytest.mark.parametrize("truth", [TRUTH & False, TRUTH | True])
def test_a_distribution_needs_no_second_class(truth: NDArray[Any], tmp_path: Path) -> None:
    plot_score_distribution(tmp_path / "d.png", truth, np.zeros(1000))
    assert (tmp_path / "d.png").exists()


def test_what_cannot_be_drawn_says_why_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    with pytest.raises(UsageError, match="all 1000 frames are normal: a curve needs some of both"):
        plot_roc(path, TRUTH & False, {"rtfm": SCORES})
    with pytest.raises(UsageError, match="all 1000 frames are anomalous"):
        plot_pr(path, TRUTH | True, {"rtfm": SCORES})
    with pytest.raises(UsageError, match="a time for every score, got 3 and 2"):
        plot_curve(path, np.arange(3.0), np.ones(2), title="a")
    with pytest.raises(UsageError, match="history is empty"):
        plot_training(path, [])
    with pytest.raises(UsageError, match="sweep of thresholds is empty"):
        plot_thresholds(path, [])
    with pytest.raises(UsageError, match="no kinds of anomaly"):
        plot_categories(path, {"rtfm": {}})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("time_s", "step_s", "text"),
    [
        (0, 1, "0:00"),
        (5, 5, "0:05"),
        (61.04, 1, "1:01"),
        (59.96, 1, "1:00"),  # rounds as a whole: never 0:60
        (59.96, 0.5, "1:00.0"),
        (0.3, 0.1, "0:00.3"),
        (3599, 60, "59:59"),
        (3600 + 2 * 60 + 3, 60, "1:02:03"),
        (36000, 3600, "10:00:00"),
    ],
)
def test_timecode(time_s: float, step_s: float, text: str) -> None:
    assert clock(time_s, step_s) == text

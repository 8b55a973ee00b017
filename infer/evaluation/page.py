"""The evaluation page: one HTML file with metrics, plots and all videos; it needs no other files.

Its content security policy allows only the page's own style and pictures, so the name of a video
cannot add anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.labels import Label, intervals_of

from ..curves import step_path, steps, tick_step
from ..pages import resource, write_page
from ..scores import VideoScores
from ..times import clock
from .plots import SERIES
from .result import Evaluation
from .tables import tables

WIDTH, HEIGHT = 1000, 90  # of a curve, in SVG units
MARGIN = 2  # free space above and below a curve
MOST_STEPS = 500  # most steps of a curve


def write_evaluation(
    path: Path,
    evaluations: Sequence[Evaluation],
    plots: Sequence[Path],
) -> Path:
    """Write the page of one result, or of several for comparison, and return its path.

    plots are PNG files that are embedded in the page.
    """
    write_page(
        path,
        "evaluation.html",
        style=resource("evaluation.css"),
        title=" and ".join(dict.fromkeys(e.name for e in evaluations)),
        results=[evaluation.metrics for evaluation in evaluations],
        tables=tables([evaluation.metrics for evaluation in evaluations]),
        plots=plots,
        colors=list(islice(cycle(SERIES), len(evaluations))),
        videos=_videos(evaluations),
        width=WIDTH,
        height=HEIGHT,
    )
    return path


@dataclass(frozen=True)
class Curve:
    """The scores of a video by one run, as SVG."""

    path: str
    limit: float  # y of the threshold, from the top
    peak: float


@dataclass(frozen=True)
class Video:
    """A video with its truth, and the scores of every run."""

    label: Label
    truth: list[tuple[float, float]]  # x and width of every anomalous interval
    # time marks below the curve: position in percent of the width, and text
    times: list[tuple[float, str]]
    curves: list[Curve]


def _videos(evaluations: Sequence[Evaluation]) -> Iterator[Video]:
    """Yield the videos, the abnormal ones first, each class sorted by name."""
    first = evaluations[0]
    scores = [{s.video: s for s in evaluation.scores} for evaluation in evaluations]
    order = sorted(
        range(len(first.labels)), key=lambda i: (-first.labels[i].label, first.labels[i].video)
    )
    clocks = first.times_s
    for index in order:
        label, times_s = first.labels[index], clocks[index]
        length_s = float(times_s[-1]) or 1.0
        step_s = tick_step(length_s, 10)
        yield Video(
            label=label,
            truth=[
                (times_s[a] / length_s * WIDTH, (times_s[b] - times_s[a]) / length_s * WIDTH)
                for a, b in intervals_of(first.truth[index])
            ],
            times=[
                (time_s / length_s * 100, clock(time_s, step_s))
                for time_s in np.arange(0, length_s * 0.98, step_s)
            ],
            curves=[_curve(of_run[label.video], times_s) for of_run in scores],
        )


def _curve(scores: VideoScores, times_s: NDArray[np.float64]) -> Curve:
    """Return the curve of a video.

    times_s [frames + 1] are the presentation times of the frames, and the end of the last one.
    """
    starts, values = steps(scores.frames, MOST_STEPS)
    x = times_s[np.append(starts, len(scores.frames))] / (float(times_s[-1]) or 1.0) * WIDTH
    *y, limit = (_from_top(value) for value in (*values, scores.threshold))
    return Curve(step_path(x, np.array(y)), limit, scores.peak)


def _from_top(score: float) -> float:
    return HEIGHT - MARGIN - score * (HEIGHT - 2 * MARGIN)

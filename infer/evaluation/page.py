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
from scipy.stats import binomtest

from vad.labels import Label, intervals_of
from vad.stages.train.metrics import Figures
from vad.stages.train.metrics.figures import Confusion

from ..curves import step_path, steps, tick_step
from ..pages import resource, write_page
from ..scores import VideoScores
from ..times import clock
from .metrics import Metrics
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
        style=resource("page.css") + "\n" + resource("evaluation.css"),
        title=" and ".join(dict.fromkeys(e.name for e in evaluations)),
        results=[evaluation.metrics for evaluation in evaluations],
        verdicts=[Verdict.of(evaluation.metrics) for evaluation in evaluations],
        places={label.video: number for number, label in enumerate(_order(evaluations[0]), 1)},
        tables=tables([evaluation.metrics for evaluation in evaluations]),
        plots=plots,
        colors=list(islice(cycle(SERIES), len(evaluations))),
        videos=_videos(evaluations),
        width=WIDTH,
        height=HEIGHT,
    )
    return path


@dataclass(frozen=True)
class Share:
    """A share, with its 95 % interval."""

    value: float
    low: float
    high: float

    @staticmethod
    def of_videos(n: int, n_videos: int) -> Share:
        """Return the share of the videos that were flagged, with Wilson's interval (1927)."""
        interval = binomtest(n, n_videos).proportion_ci(method="wilson")
        return Share(n / n_videos, interval.low, interval.high)

    @staticmethod
    def of_pairs(figures: Figures, name: str) -> Share | None:
        """Return the AUC `name`, with its interval by bootstrap; None if it is not defined.

        An AUC is the share of the pairs of an anomalous and a normal frame that are ranked right.
        """
        auc, interval = figures.value(f"{name}/auc"), figures.intervals.get(f"{name}.auc")
        return Share(auc, *interval) if auc is not None and interval else None

    @property
    def range(self) -> str:
        """Return the interval as text: `38 to 96 %`."""
        return f"{100 * self.low:.0f} to {100 * self.high:.0f} %"

    def against(self, other: float) -> str:
        """Return "above", "below" or "near" another share, by the interval."""
        return "above" if self.low > other else "below" if self.high < other else "near"


@dataclass(frozen=True)
class Verdict:
    """What a result means, for the sentences at the beginning of the page.

    A share is None if there are no videos or frames to count.
    """

    name: str
    n_found: int  # of the abnormal videos
    n_raised: int  # of the normal videos
    n_abnormal: int
    n_normal: int
    found: Share | None
    raised: Share | None
    pairs: Share | None  # of all videos
    pairs_within: Share | None  # of abnormal videos only
    oracle: float | None  # share of the pairs of all videos ranked right by the label of the video

    @staticmethod
    def of(result: Metrics) -> Verdict:
        """Return the verdict on a result."""
        figures = result.figures
        counts, at_threshold = figures.counts, figures.video.at_threshold
        n_abnormal, n_normal = (
            counts.n_abnormal_videos,
            counts.n_videos - counts.n_abnormal_videos,
        )
        confusion = (
            at_threshold.confusion if at_threshold else Confusion(n_normal, 0, n_abnormal, 0)
        )
        return Verdict(
            name=result.name,
            n_found=confusion.tp,
            n_raised=confusion.fp,
            n_abnormal=n_abnormal,
            n_normal=n_normal,
            found=Share.of_videos(confusion.tp, n_abnormal) if n_abnormal else None,
            raised=Share.of_videos(confusion.fp, n_normal) if n_normal else None,
            pairs=Share.of_pairs(figures, "frame"),
            pairs_within=Share.of_pairs(figures, "abnormal_only"),
            oracle=figures.oracle.auc,
        )


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


def _order(evaluation: Evaluation) -> list[Label]:
    """Return the labelled videos, the abnormal ones first, each class sorted by name."""
    return sorted(evaluation.labels, key=lambda label: (-label.label, label.video))


def _videos(evaluations: Sequence[Evaluation]) -> Iterator[Video]:
    """Yield the videos in the order of the page."""
    first = evaluations[0]
    scores = [{s.video: s for s in evaluation.scores} for evaluation in evaluations]
    index_of = {label.video: index for index, label in enumerate(first.labels)}
    clocks = first.times_s
    for label in _order(first):
        index = index_of[label.video]
        times_s = clocks[index]
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

"""The result of an evaluation: scores, truth and metrics of a run's test videos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vad.labels import Label, Segment, intervals_of
from vad.stages.train.detectors.settings import XD_VIOLENCE
from vad.stages.train.metrics import Figures, ranking
from vad.stages.train.metrics import evaluate as figures_of
from vad.stages.train.metrics.classes import Truth, class_figures
from vad.stages.train.metrics.figures import ClassFigures
from vad.stages.train.run import Run
from vad.terminal import plain

from ..pages import render
from ..scores import VideoScores, dataframe
from ..times import timecode
from .metrics import Metrics, Moment, VideoResult
from .tables import tables

if TYPE_CHECKING:
    from pandas import DataFrame

N_WORST = 10  # false alarms, and misses, that are listed

Bools = NDArray[np.bool_]


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Scores, truth and metrics of the videos of a split. Printing it shows the main metrics."""

    runs: list[Run]  # one run, or those of a k-fold set
    split: str
    labels: list[Label]
    scores: list[VideoScores]
    truth: list[Bools]  # [frames] of every video, True if anomalous
    truth_from: str  # path of the file
    loss: float | None = None  # mean loss over these videos; see `heldout_loss`
    segments: Sequence[Segment] = ()  # annotations; empty if the truth is an array without kinds

    @property
    def name(self) -> str:
        """Return the name for tables and plots."""
        first, last = self.runs[0].name, self.runs[-1].name
        names = first if first == last else f"{first} to {last}"  # folds of one seed share a name
        return first if len(self.runs) == 1 else f"{names}, {len(self.runs)} folds"

    @property
    def path(self) -> Path:
        """Return the folder of the run, or of the first run of a set."""
        return self.runs[0].path

    @property
    def selected_on(self) -> str:
        """Return the videos on which epoch and threshold were chosen.

        For several runs this is "test" if any of them was selected on test videos.
        """
        chosen = {run.card.selection.on for run in self.runs}
        return "test" if "test" in chosen else " or ".join(sorted(chosen))

    @property
    def stamp(self) -> str:
        """Return a warning that must be shown beside the metrics, or "" if there is none."""
        if self.selected_on == "test":
            return "selected on test"
        return f"measured on {self.split} videos" if self.split != "test" else ""

    @property
    def times_s(self) -> list[NDArray[np.float64]]:
        """Return the presentation times and the end of the last frame in seconds, [frames + 1] per
        video.
        """
        return [
            np.append(s.times, max(s.record.duration_s, float(s.times[-1]))) for s in self.scores
        ]

    @cached_property
    def figures(self) -> Figures:
        """Return all metrics, such as `figures.frame.auc` and `figures.at_threshold.recall`."""
        return figures_of(
            self.truth,
            [s.frames for s in self.scores],
            np.array([label.label for label in self.labels]),
            threshold=[s.threshold for s in self.scores],
            events=[[(e.start_frame, e.end_frame) for e in s.events] for s in self.scores],
            times_s=self.times_s,
            categories=[label.category for label in self.labels],
            hard=self._hard(),
            classes=self._classes(),
        )

    def _hard(self) -> list[bool]:
        """Return True for every normal video of a source that abnormal videos have, tested ones or
        those of the training.
        """
        trained = (x for run in self.runs for own in run.card.videos.values() for x in own)
        sources = {x.source for x in (*self.labels, *trained) if x.label and x.source}
        return [not x.label and x.source in sources for x in self.labels]

    def _classes(self) -> ClassFigures | None:
        """Return the metrics of classes; None if the scores have no kinds, or not the same ones."""
        told = [s.kinds for s in self.scores if s.kinds is not None]
        if len(told) < len(self.scores) or len({kinds.names for kinds in told}) > 1:
            return None
        names = told[0].names
        shares = [
            s.record.grid.spread(kinds.shares, s.record.n_frames)
            for s, kinds in zip(self.scores, told, strict=True)
        ]
        return class_figures(
            shares,
            names,
            [self._events_of(x, t, names) for x, t in zip(self.labels, self.truth, strict=True)],
            [set(x.category.split("+")) if x.label else set() for x in self.labels],
            normal_events=",".join(names) == XD_VIOLENCE,
        )

    def _events_of(self, label: Label, truth: Bools, names: Sequence[str]) -> list[Truth]:
        """Return the true events of a video whose kinds are among `names`."""
        marked = [s for s in self.segments if s.video == label.video] or [
            Segment(label.video, start, stop) for start, stop in intervals_of(truth)
        ]
        return [
            (names.index(kind), s.start_frame, min(s.end_frame, len(truth)))
            for s in marked
            for kind in (s.category or label.category).split("+")
            if kind in names[1:] and s.start_frame < len(truth)
        ]

    @cached_property
    def metrics(self) -> Metrics:
        """Return the content of `metrics.json`: everything except scores and truth of single
        frames.
        """
        at_threshold = self.figures.at_threshold
        return Metrics(
            run=str(self.path),
            runs=[str(run.path) for run in self.runs],
            name=self.name,
            detector=self.runs[0].card.detector,
            split=self.split,
            truth=self.truth_from,
            selected_on=self.selected_on,
            stamp=self.stamp,
            threshold=at_threshold.threshold if at_threshold else [],
            loss=self.loss,
            training={
                str(run.path): {"epoch": run.card.selection.epoch, **run.card.selection.figures}
                for run in self.runs
            },
            figures=self.figures,
            false_alarms=self._false_alarms(),
            misses=self._misses(),
            videos=self._videos(),
        )

    def to_dict(self) -> dict[str, object]:
        """Return the content of `metrics.json` as plain values, by the schema `vad.metrics/1`."""
        return self.metrics.to_dict()

    def to_dataframe(self) -> DataFrame:
        """Return a pandas table of the metrics: name, value, and low and high of the 95 % interval.

        Raises UsageError if pandas is not installed.
        """
        rows = list(self.figures.rows())
        names = "figure", "value", "low", "high"
        return dataframe(dict(zip(names, zip(*rows, strict=True), strict=True)))

    def __repr__(self) -> str:
        f = self.figures
        stamp = f"; {self.stamp.upper()}" if self.stamp else ""
        lines = [
            f"Evaluation of {plain(self.name)} on {f.counts.n_videos} {self.split} videos, "
            f"{f.counts.n_abnormal_videos} of them abnormal{stamp}",
            f"  frames           AUC {_shown(f.frame.auc)}  AP {_shown(f.frame.ap)}  "
            f"(oracle AUC {_shown(f.oracle.auc)})",
            f"  of abnormal ones AUC {_shown(f.abnormal_only.auc)}  "
            f"AP {_shown(f.abnormal_only.ap)}",
            f"  whole videos     AUC {_shown(f.video.auc)}  AP {_shown(f.video.ap)}",
        ]
        if f.at_threshold:
            at = f.at_threshold
            lines.append(
                f"  at the threshold recall {_shown(at.recall)}  precision {_shown(at.precision)}  "
                f"false alarms {_shown(at.false_alarm_rate)}"
            )
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return render(
            "evaluation-table.html", results=[self.metrics], tables=tables([self.metrics])
        )

    def _false_alarms(self) -> list[Moment]:
        """Return the predicted events without any anomalous frame, highest scores first."""
        found = [
            _moment(label, e.start_s, e.end_s, e.peak)
            for label, s, t in zip(self.labels, self.scores, self.truth, strict=True)
            for e in s.events
            if not t[e.start_frame : e.end_frame].any()
        ]
        return sorted(found, key=lambda m: (-m.peak, -m.duration_s))[:N_WORST]

    def _misses(self) -> list[Moment]:
        """Return the anomalous intervals that no predicted event overlaps, longest first."""
        found = []
        for label, s, t, clock in zip(
            self.labels, self.scores, self.truth, self.times_s, strict=True
        ):
            for start, end in intervals_of(t):
                if not any(e.start_frame < end and e.end_frame > start for e in s.events):
                    peak = float(s.frames[start:end].max())
                    found.append(_moment(label, float(clock[start]), float(clock[end]), peak))
        return sorted(found, key=lambda m: (-m.duration_s, m.peak))[:N_WORST]

    def _videos(self) -> list[VideoResult]:
        return [
            VideoResult(
                video=s.video,
                label=label.label,
                category=label.category,
                run=s.detector,
                n_frames=len(t),
                n_anomalous_frames=int(t.sum()),
                peak=round(s.peak, 6),
                auc=ranking(t, s.frames.astype(np.float64)).auc,
            )
            for s, t, label in zip(self.scores, self.truth, self.labels, strict=True)
        ]


def _moment(label: Label, start_s: float, end_s: float, peak: float) -> Moment:
    return Moment(
        video=label.video,
        category=label.category,
        start_s=round(start_s, 3),
        end_s=round(end_s, 3),
        duration_s=round(end_s - start_s, 3),
        start_timecode=timecode(start_s),
        end_timecode=timecode(end_s),
        peak=round(peak, 6),
    )


def _shown(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.4f}"

"""The figures of an evaluation: what `vad.stages.train.metrics.evaluate` computes, by name.

A figure that has no value (0 / 0, or a ranking of one class only) is None; `Figures.undefined` says
why. `Figures.to_dict` gives the members of `metrics.json`, in which the threshold 0.5 is `at_0.5`
and an overlap is `iou_0.5`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

Interval = tuple[float, float]  # low and high end

WHY_UNDEFINED = {
    **dict.fromkeys(("auc", "ap", "pr_auc"), "needs both classes, and there is only one"),
    "abnormal_only_auc": "needs both classes, and there is only one",
    "precision": "nothing reaches the threshold",
    "recall": "nothing is anomalous",
    "f1": "nothing is anomalous and nothing is flagged",
    "macro_f1": "one of the two classes neither occurs nor is predicted",
    "false_alarm_rate": "there is no normal video",
    "at_threshold": "no threshold was given",
    "youden": "needs both classes, and there is only one",
    "events": "no threshold was given",
    "detected": "there is no event",
    **dict.fromkeys(
        ("delay_mean_s", "delay_median_s"), "no event was found, or no times are known"
    ),
    "false_alarms_per_hour": "there is no normal video, or no times are known",
}


@dataclass(frozen=True)
class Ranking:
    """How well scores rank, whatever the threshold."""

    auc: float | None  # area under the ROC curve; a tie counts half
    ap: float | None  # average precision, the step-wise sum
    pr_auc: float | None  # trapezoid under the precision-recall curve


@dataclass(frozen=True)
class Confusion:
    """Counts of frames or videos: true and false negatives and positives."""

    tn: int
    fp: int
    fn: int
    tp: int


@dataclass(frozen=True)
class Decision:
    """How good flags are."""

    f1: float | None
    macro_f1: float | None
    accuracy: float | None
    precision: float | None
    recall: float | None
    confusion: Confusion


@dataclass(frozen=True)
class DecisionAt(Decision):
    """How good the flags of a threshold are."""

    false_alarm_rate: float | None  # share flagged of the frames of normal videos
    threshold: float | list[float]  # several where the runs of a set have their own


@dataclass(frozen=True)
class VideoFigures(Ranking):
    """Figures of whole videos, each with the highest score of its frames."""

    at_half: DecisionAt
    at_threshold: DecisionAt | None


@dataclass(frozen=True)
class Overlap:
    """How many events match, one to one, at a temporal intersection over union."""

    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class EventFigures:
    """Figures of events: true ones and those that were predicted at the threshold."""

    n_events: int
    n_predicted: int
    iou: Mapping[float, Overlap]  # by the intersection over union that a match needs
    detected: float | None  # share of the events with an alarm in them
    delay_mean_s: float | None  # from the start of detected events to their first alarm
    delay_median_s: float | None
    false_alarms_per_hour: float | None  # of normal video


@dataclass(frozen=True)
class CategoryFigures:
    """Figures of the abnormal videos of one kind of anomaly."""

    n_videos: int
    n_frames: int
    n_anomalous_frames: int
    auc: float | None  # beside all normal videos
    abnormal_only_auc: float | None  # of their own frames
    recall: float | None = None  # of anomalous frames, at the threshold
    video_recall: float | None = None  # share of the videos that are flagged


@dataclass(frozen=True)
class Counts:
    """What the figures were measured on."""

    n_videos: int
    n_abnormal_videos: int
    n_frames: int
    n_anomalous_frames: int


@dataclass(frozen=True)
class SweepRow:
    """What one threshold gives on all frames."""

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    false_alarm_rate: float | None  # share flagged of the frames of normal videos
    youden: float | None  # recall - share flagged of all normal frames (Youden, 1950)


@dataclass(frozen=True)
class Figures:
    """Every figure of one test set."""

    frame: Ranking  # of all frames
    abnormal_only: Ranking  # of the frames of abnormal videos
    oracle: Ranking  # of the video's label as the score of all its frames
    at_half: DecisionAt  # of frames, at threshold 0.5
    at_threshold: DecisionAt | None  # of frames, at the threshold given
    video: VideoFigures
    events: EventFigures | None
    counts: Counts
    youden: SweepRow | None  # the best threshold in hindsight
    categories: Mapping[str, CategoryFigures] | None  # by kind of anomaly; None if not asked for
    intervals: Mapping[str, Interval | None] = field(repr=False)  # of 95 %, by path: "frame.auc"
    sweep: list[SweepRow] = field(repr=False)  # of thresholds spread over the scores

    @property
    def undefined(self) -> dict[str, str]:
        """The path of every figure that is None, such as `at_0.5.recall`, with the reason."""
        return _undefined(self._measured())

    def to_dict(self) -> dict[str, object]:
        """Every figure as plain values, ready for JSON."""
        return self._measured() | {
            "intervals": dict(self.intervals),
            "sweep": [asdict(row) for row in self.sweep],
            "undefined": self.undefined,
        }

    def rows(self) -> Iterator[tuple[str, float | None, float | None, float | None]]:
        """Each figure: its path (`video.at_0.5.f1`), value and the ends of its interval."""
        for path, value in _leaves(self._measured()):
            low, high = self.intervals.get(path) or (None, None)
            yield path, value, low, high

    def value(self, path: str) -> float | None:
        """The figure at a path of `metrics.json`, such as `video/at_0.5/f1`; None if undefined."""
        found: object = self._measured()
        for name in path.split("/"):
            found = found.get(name) if isinstance(found, dict) else None
        return float(found) if isinstance(found, int | float) else None

    def _measured(self) -> dict[str, object]:
        values = asdict(self)
        for name in ("intervals", "sweep"):
            del values[name]
        if self.events:
            overlaps = values["events"].pop("iou")
            values["events"] |= {f"iou_{iou}": overlap for iou, overlap in overlaps.items()}
        if self.categories is None:
            del values["categories"]
        elif self.at_threshold is None:
            for found in values["categories"].values():
                del found["recall"], found["video_recall"]
        for at in (values, values["video"]):
            at["at_0.5"] = at.pop("at_half")
        return values


def _leaves(figures: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, float | None]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        elif value is None or isinstance(value, int | float):
            yield prefix + name, value


def _undefined(figures: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    reasons: dict[str, str] = {}
    for name, value in figures.items():
        if value is None:
            reasons[prefix + name] = WHY_UNDEFINED[name]
        elif isinstance(value, dict):
            reasons |= _undefined(value, f"{prefix}{name}.")
    return reasons

"""The metrics of an evaluation as dataclasses: the result of `vad.stages.train.metrics.evaluate`.

A metric without a value (0 / 0, or a ranking with one class only) is None; `Figures.undefined`
gives the reason. `Figures.to_dict` returns the content of `metrics.json`, where the metrics at
threshold 0.5 are named `at_0.5` and those at an IoU of 0.5 `iou_0.5`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field

Interval = tuple[float, float]  # lower and upper bound

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
    **dict.fromkeys(("accuracy", "mean_auc"), "no abnormal video is of a class that the run knows"),
    **dict.fromkeys(
        ("average", *(f"iou_{iou}" for iou in (0.1, 0.2, 0.3, 0.4, 0.5))),
        "no event is of a class that the run knows",
    ),
}
NOT_OF_CLASS = "needs frames of this kind and others"


@dataclass(frozen=True)
class Ranking:
    """Metrics of how well scores rank frames or videos, for all thresholds."""

    auc: float | None  # area under the ROC curve; a tie counts half
    ap: float | None  # average precision, the step-wise sum
    pr_auc: float | None  # trapezoid under the precision-recall curve


@dataclass(frozen=True)
class Confusion:
    """Numbers of true and false negatives and positives, of frames or videos."""

    tn: int
    fp: int
    fn: int
    tp: int


@dataclass(frozen=True)
class Decision:
    """Metrics of binary decisions (flagged or not), of frames or videos."""

    f1: float | None
    macro_f1: float | None
    accuracy: float | None
    precision: float | None
    recall: float | None
    confusion: Confusion


@dataclass(frozen=True)
class DecisionAt(Decision):
    """Metrics of the decisions at a threshold."""

    # share of flagged frames (or videos) among those of normal videos
    false_alarm_rate: float | None
    threshold: float | list[float]  # a list if videos have different thresholds


@dataclass(frozen=True)
class VideoFigures(Ranking):
    """Metrics of whole videos. The score of a video is the highest score of its frames."""

    at_half: DecisionAt
    at_threshold: DecisionAt | None


@dataclass(frozen=True)
class Overlap:
    """Precision, recall and F1 of events, matched one to one at a minimum temporal IoU."""

    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class EventFigures:
    """Metrics of the true events and of those predicted at the threshold."""

    n_events: int
    n_predicted: int
    iou: Mapping[float, Overlap]  # by the minimum IoU of a match
    detected: float | None  # share of the true events in which at least one frame is flagged
    # seconds from the start of a detected event to its first flagged frame
    delay_mean_s: float | None
    delay_median_s: float | None
    false_alarms_per_hour: float | None  # per hour of normal video


@dataclass(frozen=True)
class CategoryFigures:
    """Metrics of the abnormal videos of one category."""

    n_videos: int
    n_frames: int
    n_anomalous_frames: int
    auc: float | None  # of these videos together with all normal videos
    abnormal_only_auc: float | None  # of these videos alone
    recall: float | None = None  # share of the anomalous frames flagged at the threshold
    video_recall: float | None = None  # share of the videos flagged at the threshold


@dataclass(frozen=True)
class ClassFigures:
    """Metrics of the classes that a run tells apart; see `classes`. All are 0 to 1, not percent."""

    # mean average precision of events by IoU, such as "iou_0.1", and the mean over IoUs, "average"
    map_published: Mapping[str, float | None]
    map_clean: Mapping[str, float | None]
    accuracy: float | None  # of the kinds of abnormal videos
    mean_auc: float | None
    aucs: Mapping[str, float | None]  # by kind


@dataclass(frozen=True)
class Counts:
    """Sizes of the test set."""

    n_videos: int
    n_abnormal_videos: int
    n_frames: int
    n_anomalous_frames: int


@dataclass(frozen=True)
class SweepRow:
    """The metrics of all frames at one threshold."""

    threshold: float
    precision: float | None
    recall: float | None
    f1: float | None
    false_alarm_rate: float | None  # share of flagged frames among those of normal videos
    youden: float | None  # recall - share of all normal frames that are flagged (Youden, 1950)


@dataclass(frozen=True)
class Figures:
    """All metrics of one test set."""

    frame: Ranking  # of all frames
    abnormal_only: Ranking  # of the frames of abnormal videos
    oracle: Ranking  # of the label of the video as the score of all its frames
    at_half: DecisionAt  # of frames, at threshold 0.5
    at_threshold: DecisionAt | None  # of frames, at the given threshold
    video: VideoFigures
    events: EventFigures | None
    counts: Counts
    youden: SweepRow | None  # the threshold with the highest Youden index on the test set itself
    # of abnormal videos and the normal ones of their sources; None if the sources are not known
    hard_normals: Ranking | None
    classes: ClassFigures | None  # None if the run does not tell classes apart
    # by category; None if no categories were given
    categories: Mapping[str, CategoryFigures] | None
    # 95 %, by path such as "frame.auc"
    intervals: Mapping[str, Interval | None] = field(repr=False)
    sweep: list[SweepRow] = field(repr=False)  # at thresholds spread over the scores

    @property
    def undefined(self) -> dict[str, str]:
        """Return the reason for every metric that is None, by path such as `at_0.5.recall`."""
        return _undefined(self._measured())

    def to_dict(self) -> dict[str, object]:
        """Return all metrics as plain values, ready for JSON."""
        return self._measured() | {
            "intervals": dict(self.intervals),
            "sweep": [asdict(row) for row in self.sweep],
            "undefined": self.undefined,
        }

    def rows(self) -> Iterator[tuple[str, float | None, float | None, float | None]]:
        """Yield for every metric its path (`video.at_0.5.f1`), value and 95 % interval (low, high).

        The bounds are None if the metric has no interval.
        """
        for path, value in _leaves(self._measured()):
            low, high = self.intervals.get(path) or (None, None)
            yield path, value, low, high

    def value(self, path: str) -> float | None:
        """Return the metric at a path of `metrics.json`, such as `video/at_0.5/f1`; None if
        undefined.
        """
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
        for name in ("hard_normals", "classes"):
            if values[name] is None:
                del values[name]
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
            reasons[prefix + name] = WHY_UNDEFINED.get(name, NOT_OF_CLASS)
        elif isinstance(value, dict):
            reasons |= _undefined(value, f"{prefix}{name}.")
    return reasons

"""The content of `metrics.json`, which an evaluation writes; schema `vad.metrics/1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from vad.stages.train.metrics import Figures
from vad.version import VERSION

SCHEMA = "vad.metrics/1"


@dataclass(frozen=True)
class Moment:
    """A false alarm or a miss: its video, its time in seconds and as timecodes, its highest
    score.
    """

    video: str
    category: str
    start_s: float
    end_s: float
    duration_s: float
    start_timecode: str
    end_timecode: str
    peak: float  # highest score in this interval


@dataclass(frozen=True)
class VideoResult:
    """The result of one video of an evaluation."""

    video: str
    label: int  # 0 normal, 1 abnormal
    category: str
    run: str  # name of the run that scored the video
    n_frames: int
    n_anomalous_frames: int
    peak: float
    auc: float | None  # over the frames of this video; None if they are all of one class


@dataclass(frozen=True)
class Metrics:
    """The metrics of a run, or of a k-fold set of runs, with the data that they were measured
    on.
    """

    run: str  # folder of the run; of the first one if there are several
    runs: list[str]
    name: str  # name in tables and plots
    detector: str
    split: str
    truth: str  # path of the file
    selected_on: str  # the videos on which epoch and threshold were chosen
    # warning to show beside the metrics, such as "selected on test"; empty if there is none
    stamp: str
    threshold: float | list[float]
    loss: float | None  # mean loss over these videos
    # by run: chosen epoch, and metrics of that epoch
    training: Mapping[str, Mapping[str, float | None]]
    figures: Figures
    false_alarms: list[Moment]  # highest scores first
    misses: list[Moment]  # longest first
    videos: list[VideoResult]

    def to_dict(self) -> dict[str, object]:
        """Return the content of `metrics.json` as plain values."""
        return {
            "schema": SCHEMA,
            "generator": f"vad {VERSION}",
            "run": self.run,
            "runs": self.runs,
            "name": self.name,
            "detector": self.detector,
            "split": self.split,
            "truth": self.truth,
            "selected_on": self.selected_on,
            "stamp": self.stamp,
            "threshold": self.threshold,
            "loss": self.loss,
            "training": {run: dict(found) for run, found in self.training.items()},
            **self.figures.to_dict(),
            "worst": {
                "false_alarms": [asdict(moment) for moment in self.false_alarms],
                "misses": [asdict(moment) for moment in self.misses],
            },
            "videos": [asdict(video) for video in self.videos],
        }

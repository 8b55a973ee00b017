"""What an evaluation writes to `metrics.json`, schema `vad.metrics/1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from vad.stages.train.metrics import Figures
from vad.version import VERSION

SCHEMA = "vad.metrics/1"


@dataclass(frozen=True)
class Moment:
    """A mistake: where in which video, in seconds and as timecodes."""

    video: str
    category: str
    start_s: float
    end_s: float
    duration_s: float
    start_timecode: str
    end_timecode: str
    peak: float  # the highest score in it


@dataclass(frozen=True)
class VideoResult:
    """One video of an evaluation."""

    video: str
    label: int  # 0 normal, 1 abnormal
    category: str
    run: str  # that scored it
    n_frames: int
    n_anomalous_frames: int
    peak: float
    auc: float | None  # of its own frames


@dataclass(frozen=True)
class Metrics:
    """The figures of a run, or of a k-fold set of runs, and all that they were measured on."""

    run: str  # its folder; of several runs the first one
    runs: list[str]
    name: str  # what tables and plots call it
    detector: str
    split: str
    truth: str  # the file
    selected_on: str  # the videos that chose epoch and threshold
    stamp: str  # what must be said beside every figure; empty for an honest one
    threshold: float | list[float]
    loss: float | None  # of these videos
    training: Mapping[str, Mapping[str, float | None]]  # of every run: epoch, figures of training
    figures: Figures
    false_alarms: list[Moment]  # the worst first
    misses: list[Moment]  # the longest first
    videos: list[VideoResult]

    def to_dict(self) -> dict[str, object]:
        """Plain values in the shape of `metrics.json`."""
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

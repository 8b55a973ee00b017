"""The scores, the truth and the figures of the test videos of a run, as one object."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.labels import Label, intervals_of
from vad.stages.train.metrics import evaluate as figures_of
from vad.stages.train.metrics import ranking
from vad.stages.train.run import Run
from vad.version import VERSION

from ..scores import VideoScores
from ..times import timecode

SCHEMA = "vad.metrics/1"
N_WORST = 10  # false alarms and misses that are listed

Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Evaluation:
    """Scores, truth and figures of the videos of a split."""

    runs: list[Run]  # one, or those of a k-fold set
    split: str
    labels: list[Label]
    scores: list[VideoScores]
    truth: list[Bools]  # [frames] a video
    truth_from: str  # the file
    loss: float | None = None  # of these videos; see `heldout_loss`

    @property
    def name(self) -> str:
        """What tables and plots call it."""
        first, last = self.runs[0].name, self.runs[-1].name
        return first if len(self.runs) == 1 else f"{first} to {last}, {len(self.runs)} folds"

    @property
    def path(self) -> Path:
        return self.runs[0].path

    @property
    def selected_on(self) -> str:
        """The videos that chose epoch and threshold; for several runs, the least honest."""
        chosen = {run.card["selection"]["on"] for run in self.runs}
        return "test" if "test" in chosen else " or ".join(sorted(chosen))

    @property
    def stamp(self) -> str:
        """What must be said beside every figure; empty for an honest one."""
        if self.selected_on == "test":
            return "selected on test"
        return f"measured on {self.split} videos" if self.split != "test" else ""

    @property
    def times_s(self) -> list[NDArray[np.float64]]:
        """When every frame of a video is shown, and when its last one ends: [frames + 1] each."""
        return [
            np.append(s.times, max(s.record.duration_s, float(s.times[-1]))) for s in self.scores
        ]

    @cached_property
    def figures(self) -> dict[str, Any]:
        """Every figure, as `vad.stages.train.metrics.evaluate` names them."""
        thresholds = [s.threshold for s in self.scores]
        return figures_of(
            self.truth,
            [s.frames for s in self.scores],
            np.array([label.label for label in self.labels]),
            threshold=thresholds,
            events=[[(e.start_frame, e.end_frame) for e in s.events] for s in self.scores],
            times_s=self.times_s,
            categories=[label.category for label in self.labels],
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the frames, by the schema `vad.metrics/1`."""
        card = self.runs[0].card
        return {
            "schema": SCHEMA,
            "generator": f"vad {VERSION}",
            "run": str(self.path),
            "runs": [str(run.path) for run in self.runs],
            "name": self.name,
            "detector": card["detector"]["name"],
            "split": self.split,
            "truth": self.truth_from,
            "selected_on": self.selected_on,
            "stamp": self.stamp,
            "threshold": self.figures["at_threshold"]["threshold"],
            "loss": self.loss,
            "training": {
                str(run.path): {"epoch": run.card["selection"].get("epoch")}
                | run.card["selection"]["figures"]
                for run in self.runs
            },
            **self.figures,
            "worst": {"false_alarms": self.false_alarms(), "misses": self.misses()},
            "videos": self._videos(),
        }

    def false_alarms(self) -> list[dict[str, Any]]:
        """Predicted events in which nothing is anomalous, those of the highest scores first."""
        found = [
            _moment(label, e.start_s, e.end_s, e.peak)
            for label, s, t in zip(self.labels, self.scores, self.truth, strict=True)
            for e in s.events
            if not t[e.start_frame : e.end_frame].any()
        ]
        return sorted(found, key=lambda m: (-m["peak"], -m["duration_s"]))[:N_WORST]

    def misses(self) -> list[dict[str, Any]]:
        """Anomalous stretches without a predicted event in them, the longest first."""
        found = []
        for label, s, t, clock in zip(
            self.labels, self.scores, self.truth, self.times_s, strict=True
        ):
            for start, end in intervals_of(t):
                if not any(e.start_frame < end and e.end_frame > start for e in s.events):
                    peak = float(s.frames[start:end].max())
                    found.append(_moment(label, float(clock[start]), float(clock[end]), peak))
        return sorted(found, key=lambda m: (-m["duration_s"], m["peak"]))[:N_WORST]

    def _videos(self) -> list[dict[str, Any]]:
        return [
            {
                "video": s.video,
                "label": label.label,
                "category": label.category,
                "run": s.detector,
                "n_frames": len(t),
                "n_anomalous_frames": int(t.sum()),
                "peak": round(s.peak, 6),
                "auc": ranking(t, s.frames.astype(np.float64))["auc"],
            }
            for s, t, label in zip(self.scores, self.truth, self.labels, strict=True)
        ]


def _moment(label: Label, start_s: float, end_s: float, peak: float) -> dict[str, Any]:
    return {
        "video": label.video,
        "category": label.category,
        "start_s": round(start_s, 3),
        "end_s": round(end_s, 3),
        "duration_s": round(end_s - start_s, 3),
        "start_timecode": timecode(start_s),
        "end_timecode": timecode(end_s),
        "peak": round(peak, 6),
    }

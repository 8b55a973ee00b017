"""Runs against the frame truth of their test videos.

One run, the runs of a k-fold set pooled into one result, or several runs side by side. What the
figures were measured on is checked first: every video of the list is stored, none of them was
trained on, and each has a truth that fits it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError
from vad.labels import Label, intervals_of, match, read_labels, read_segments
from vad.stages.train.fit import heldout_loss
from vad.stages.train.metrics import evaluate as figures_of
from vad.stages.train.metrics import ranking
from vad.stages.train.run import Run
from vad.store import FeatureStore, VideoRecord
from vad.version import VERSION

from .exhibits import save as save
from .scores import VideoScores, timecode
from .scoring import score_stored
from .truth import truth_of_file, truth_of_segments

log = logging.getLogger("vad")

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


def evaluate(
    run_path: str | Path,
    segments: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    store: str | Path | None = None,
    labels: str | Path | None = None,
    split: str = "test",
    device: str = "auto",
) -> Evaluation:
    """Measure a run on the videos that its card lists for a split.

    store defaults to the one trained on; `labels` replaces the card's list by the videos of that
    file (with that split, where the file has the column). Frame truth is built from the segments
    and the frames that the store holds, or is the array in the file `truth`, which is checked.

    Raises UsageError for wrong input, naming the video: one that is not stored, is listed twice,
    was trained on, or whose truth does not fit it.
    """
    run = Run.open(run_path, device)
    opened = FeatureStore.open(store or run.card["features"]["store"])
    chosen = _labels(run, opened, labels, split)
    records = list(opened.each(opened.record, [label.video for label in chosen]))
    _check_contents(run, opened, chosen, records)
    if truth is None and segments is None:
        raise UsageError("no frame truth", hint="give --segments CSV or --truth NPY")
    marked = segments and match(read_segments(segments), opened.ids(), where=segments)
    if truth is not None:
        frames = truth_of_file(chosen, records, truth, marked or None)
    else:
        frames = truth_of_segments(chosen, records, marked or [], str(segments))
    scores = list(score_stored(opened, run, [label.video for label in chosen]))
    loss = heldout_loss(run, opened, chosen)
    return Evaluation([run], split, chosen, scores, frames, str(truth or segments), loss)


def pool(folds: Sequence[Evaluation]) -> Evaluation:
    """The runs of a k-fold set as one result: every video scored by the run that held it out.

    Raises UsageError unless the runs differ in nothing but the fold, and share no test video.
    """
    first = folds[0]
    seen: dict[str, str] = {}
    for fold in folds:
        card = fold.runs[0].card
        if card["training"].get("fold") is None:
            raise UsageError(f"{fold.path} holds out no fold", hint="train with --fold")
        if _apart_from_fold(card) != _apart_from_fold(first.runs[0].card):
            raise UsageError(f"{fold.path} was trained with other settings than {first.path}")
        for label in fold.labels:
            if (other := seen.setdefault(label.video, str(fold.path))) != str(fold.path):
                raise UsageError(f"{label.video!r} is tested by {other} and by {fold.path}")
    return Evaluation(
        [run for fold in folds for run in fold.runs],
        first.split,
        [label for fold in folds for label in fold.labels],
        [scores for fold in folds for scores in fold.scores],
        [truth for fold in folds for truth in fold.truth],
        first.truth_from,
        _mean_loss(folds),
    )


def _mean_loss(folds: Sequence[Evaluation]) -> float | None:
    losses = [(fold.loss, len(fold.labels)) for fold in folds if fold.loss is not None]
    if len(losses) < len(folds):
        return None
    values, n_videos = zip(*losses, strict=True)
    return float(np.average(values, weights=n_videos))


def check_comparable(evaluations: Sequence[Evaluation]) -> None:
    """UsageError, naming the first video, unless all were measured on the same videos and truth."""
    first = evaluations[0]
    known = {label.video: t for label, t in zip(first.labels, first.truth, strict=True)}
    for other in evaluations[1:]:
        theirs = {label.video: t for label, t in zip(other.labels, other.truth, strict=True)}
        if only := sorted(known.keys() ^ theirs.keys()):
            holder = first if only[0] in known else other
            raise UsageError(
                f"{first.path} and {other.path} have other test videos: {only[0]!r} is only in "
                f"{holder.path}",
                hint="evaluate them one by one, or, if they are the folds of one set, with --pool",
            )
        for video, truth in known.items():
            if not np.array_equal(truth, theirs[video]):
                raise UsageError(f"{first.path} and {other.path} have another truth for {video!r}")


def _labels(run: Run, store: FeatureStore, labels: str | Path | None, split: str) -> list[Label]:
    """The videos to measure on, by their ids in the store."""
    if labels is None:
        listed = run.card["data"].get(split)
        if not listed:
            raise UsageError(
                f"{run.path} lists no video for the split {split!r}",
                hint="give the videos with --labels, or another --split",
            )
        every, where = [Label(**entry) for entry in listed], f"the {split} videos of {run.path}"
    else:
        every, where = read_labels(labels), str(labels)
        if any(label.split for label in every):
            every = [label for label in every if label.split == split]
        if not every:
            raise UsageError(f"{labels} has no video of the split {split!r}")
    found = match(every, store.ids(), where=where, missing="refuse")
    for part in ("train", "validation"):
        trained = {entry["video"] for entry in run.card["data"].get(part, [])}
        if split != part and (both := [x.video for x in found if x.video in trained]):
            raise UsageError(
                f"{where}: {both[0]!r} is a {part} video of {run.path}: no figure of it is honest",
                hint=f"leave it out, or say so: --split {part}",
            )
    return found


def _check_contents(
    run: Run, store: FeatureStore, chosen: Sequence[Label], records: Sequence[VideoRecord]
) -> None:
    """Warn of files that are the same by content under two names; official sets have some."""
    known: dict[str, str] = {}
    for part in ("train", "validation"):
        for entry in run.card["data"].get(part, []):
            if entry["video"] in store:
                content = store.record(entry["video"]).source_sha256
                known[content] = f"the {part} video {entry['video']!r}"
    for label, record in zip(chosen, records, strict=True):
        other = known.setdefault(record.source_sha256, f"{label.video!r}")
        if record.source_sha256 and repr(label.video) not in other:
            log.warning("%r has the content of %s", label.video, other)


def _apart_from_fold(card: dict[str, Any]) -> tuple[Any, ...]:
    training = {n: v for n, v in card["training"].items() if n not in ("fold", "device")}
    made = {n: v for n, v in card["detector"].items() if not n.endswith("_dim")}
    return training, made["name"], made["settings"], card["features"]["provenance"]


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

"""A run against the frame truth of its test videos: figures, plots and the scores themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import vad
from vad.errors import UsageError
from vad.files import write_json
from vad.labels import Label, Segment, frame_truth, match, read_labels, read_segments
from vad.store import FeatureStore, key_of
from vad.train.checkpoint import Run
from vad.train.history import read_history
from vad.train.metrics import evaluate as figures_of

from . import plots
from .scores import VideoScores
from .scoring import score_stored

SCHEMA = "vad.metrics/1"


@dataclass(frozen=True)
class Evaluation:
    """Scores, truth and figures of the videos of one run's split."""

    run: Run
    split: str
    labels: list[Label]
    scores: list[VideoScores]
    truth: list[NDArray[np.bool_]]  # [frames] a video
    figures: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the frames, by the schema `vad.metrics/1`."""
        return {
            "schema": SCHEMA,
            "generator": f"vad {vad.__version__}",
            "run": str(self.run.path),
            "detector": self.run.card["detector"]["name"],
            "split": self.split,
            "selected_on": self.run.card["selection"]["on"],
            "threshold": self.run.threshold,
            **self.figures,
            "videos": [
                {
                    "video": s.video,
                    "label": label.label,
                    "n_frames": len(t),
                    "n_anomalous_frames": int(t.sum()),
                    "peak": round(s.peak, 6),
                }
                for s, t, label in zip(self.scores, self.truth, self.labels, strict=True)
            ],
        }


def evaluate(
    run_path: str | Path,
    segments: str | Path,
    *,
    store: str | Path | None = None,
    labels: str | Path | None = None,
    split: str = "test",
    device: str = "auto",
) -> Evaluation:
    """Measure a run on the videos that its card lists for a split.

    store defaults to the one trained on; `labels` replaces the card's list by the videos of that
    file (with that split, where the file has the column). Frame truth is built from the segments
    and the frames that the store holds. Raises UsageError for wrong input.
    """
    run = Run.open(run_path, device)
    opened = FeatureStore.open(store or run.card["features"]["store"])
    chosen = _labels(run, opened, labels, split)
    marked = match(read_segments(segments), opened.ids(), where=segments)
    frames = {x.video: opened.record(x.video).n_frames for x in chosen}
    truth = [_truth(label, frames[label.video], marked, segments) for label in chosen]
    scores = list(score_stored(opened, run, [label.video for label in chosen]))
    figures = figures_of(
        truth,
        [s.frames for s in scores],
        np.array([label.label for label in chosen]),
        threshold=run.threshold,
    )
    return Evaluation(run, split, chosen, scores, truth, figures)


def save(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write `metrics.json` and the plots; the paths written."""
    run, figures = evaluation.run, evaluation.figures
    path = folder / "metrics.json"
    write_json(path, evaluation.to_dict())
    truth = np.concatenate(evaluation.truth)
    scores = np.concatenate([s.frames for s in evaluation.scores])
    history = read_history(run.path / "history.csv")
    paths = {n: folder / f"{n}.png" for n in ("roc", "pr", "scores", "confusion", "training")}
    if truth.any() and not truth.all():
        plots.plot_roc(paths["roc"], truth, {run.name: scores})
        plots.plot_pr(paths["pr"], truth, {run.name: scores})
    plots.plot_score_distribution(paths["scores"], truth, scores, threshold=run.threshold)
    plots.plot_confusion(paths["confusion"], figures["at_threshold"]["confusion"])
    if history:
        epoch = run.card["selection"]["epoch"]
        plots.plot_training(paths["training"], history, chosen_epoch=epoch)
    curves = [
        _save_curve(folder / "videos", s, t)
        for s, t in zip(evaluation.scores, evaluation.truth, strict=True)
    ]
    return [path, *(p for p in paths.values() if p.exists()), *curves]


def _save_curve(folder: Path, scores: VideoScores, truth: NDArray[np.bool_]) -> Path:
    path = folder / f"{key_of(scores.video)}.png"
    ends = np.append(scores.times, scores.record.duration_s)
    edges = np.flatnonzero(np.diff(truth, prepend=False, append=False))
    shaded = [(ends[a], ends[b]) for a, b in edges.reshape(-1, 2)]
    plots.plot_curve(
        path,
        scores.times,
        scores.frames,
        title=scores.video,
        threshold=scores.threshold,
        truth=shaded,
    )
    return path


def _labels(run: Run, store: FeatureStore, labels: str | Path | None, split: str) -> list[Label]:
    if labels is None:
        listed = run.card["data"].get(split)
        if not listed:
            raise UsageError(
                f"{run.path} lists no video for the split {split!r}",
                hint="give the videos with --labels, or another --split",
            )
        return match([Label(**entry) for entry in listed], store.ids(), where=run.path)
    every = match(read_labels(labels), store.ids(), where=labels)
    if any(label.split for label in every):
        every = [label for label in every if label.split == split]
    if not every:
        raise UsageError(f"{labels} has no video of the split {split!r}")
    return every


def _truth(
    label: Label, n_frames: int, segments: Sequence[Segment], where: str | Path
) -> NDArray[np.bool_]:
    truth = frame_truth(label.video, n_frames, segments)
    if truth.any() != bool(label.label):
        has = "no segment" if label.label else "segments"
        word = "abnormal" if label.label else "normal"
        raise UsageError(f"{where} has {has} of {label.video!r}, which is labelled {word}")
    return truth

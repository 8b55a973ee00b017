"""Write the files of an evaluation: metrics as JSON, plots, and a page that shows everything."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.files import write_json
from vad.labels import intervals_of
from vad.stages.train.history import read_history
from vad.store import key_of

from ..scores import VideoScores
from . import plots
from .page import write_evaluation
from .result import Evaluation

# PNG files of score curves, of the videos with the worst mistakes; the page shows all videos
MOST_CURVES = 20


def save(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write `metrics.json`, the plots and `evaluation.html` of one result, and return the paths."""
    metrics = folder / "metrics.json"
    write_json(metrics, evaluation.to_dict())
    drawn = _joint_plots([evaluation], folder) + _own_plots(evaluation, folder)
    page = write_evaluation(folder / "evaluation.html", [evaluation], drawn)
    worst = _worst_first(evaluation)[:MOST_CURVES]
    curves = [
        _save_curve(folder / "videos", evaluation.scores[i], evaluation.truth[i]) for i in worst
    ]
    return [metrics, page, *drawn, *curves]


def save_comparison(evaluations: Sequence[Evaluation], folder: Path) -> list[Path]:
    """Write `metrics.json` (a list), plots and a page that compare several results.

    Returns the paths.
    """
    metrics = folder / "metrics.json"
    write_json(metrics, [evaluation.to_dict() for evaluation in evaluations])
    drawn = _joint_plots(evaluations, folder)
    page = write_evaluation(folder / "evaluation.html", evaluations, drawn)
    return [metrics, page, *drawn]


def names_of(evaluations: Sequence[Evaluation]) -> tuple[list[str], str]:
    """Return the names of results in plots, and a note for the titles of these plots.

    If two results have the same name, paths are used instead. A result with a stamp (a warning such
    as "selected on test") gets a star, which the note explains.
    """
    names = [evaluation.name for evaluation in evaluations]
    if len(set(names)) < len(names):
        names = [str(evaluation.path) for evaluation in evaluations]
    stamps = [evaluation.stamp for evaluation in evaluations]
    said = ", ".join(dict.fromkeys(filter(None, stamps)))
    starred = [f"{n}*" if s else n for n, s in zip(names, stamps, strict=True)]
    return starred, f"  (* {said})" if said else ""


def _joint_plots(evaluations: Sequence[Evaluation], folder: Path) -> list[Path]:
    """Draw ROC, precision-recall and category plots, with a curve or bar for every result.

    Returns the paths. A plot that the truth or the categories do not allow is left out.
    """
    names, note = names_of(evaluations)
    truth = np.concatenate(evaluations[0].truth)
    order = [label.video for label in evaluations[0].labels]
    scores = {}
    for name, evaluation in zip(names, evaluations, strict=True):
        by_video = {s.video: s.frames for s in evaluation.scores}
        scores[name] = np.concatenate([by_video[video] for video in order])
    drawn = []
    if truth.any() and not truth.all():
        plots.plot_roc(folder / "roc.png", truth, scores, title=f"ROC, all frames{note}")
        title = f"Precision and recall, all frames{note}"
        plots.plot_pr(folder / "pr.png", truth, scores, title=title)
        drawn += [folder / "roc.png", folder / "pr.png"]
    kinds = {
        name: {kind: found.auc for kind, found in (evaluation.figures.categories or {}).items()}
        for name, evaluation in zip(names, evaluations, strict=True)
    }
    if any(len(found) > 1 for found in kinds.values()):
        title = f"AUC by kind of anomaly, with all normal videos{note}"
        plots.plot_categories(folder / "categories.png", kinds, title=title)
        drawn.append(folder / "categories.png")
    return drawn


def _own_plots(evaluation: Evaluation, folder: Path) -> list[Path]:
    """Draw the plots of a single result: thresholds, scores, confusion and training.

    Returns the paths.
    """
    truth = np.concatenate(evaluation.truth)
    scores = np.concatenate([s.frames for s in evaluation.scores])
    result = evaluation.metrics
    threshold = result.threshold if isinstance(result.threshold, float) else None
    stamp = f" ({evaluation.stamp})" if evaluation.stamp else ""
    paths = {n: folder / f"{n}.png" for n in ("thresholds", "scores", "confusion", "training")}
    plots.plot_thresholds(
        paths["thresholds"],
        result.figures.sweep,
        threshold=threshold,
        title=f"What every threshold would give{stamp}",
    )
    plots.plot_score_distribution(
        paths["scores"],
        truth,
        scores,
        threshold=threshold,
        title=f"Scores of normal and anomalous frames{stamp}",
    )
    if result.figures.at_threshold:
        counts = result.figures.at_threshold.confusion
        plots.plot_confusion(paths["confusion"], counts, title=f"Frames by truth and flag{stamp}")
    run = evaluation.runs[0]
    history = read_history(run.path / "history.csv") if len(evaluation.runs) == 1 else []
    if history:
        epoch = run.card.selection.epoch
        plots.plot_training(paths["training"], history, chosen_epoch=epoch)
    return [path for name, path in paths.items() if name != "training" or history]


def _worst_first(evaluation: Evaluation) -> list[int]:
    """Return the indices of the videos: first those with listed mistakes, then the others."""
    result = evaluation.metrics
    wrong = {moment.video for moment in result.false_alarms + result.misses}
    index = range(len(evaluation.labels))
    return sorted(index, key=lambda i: evaluation.labels[i].video not in wrong)


def _save_curve(folder: Path, scores: VideoScores, truth: NDArray[np.bool_]) -> Path:
    path = folder / f"{key_of(scores.video)}.png"
    ends = np.append(scores.times, scores.record.duration_s)
    plots.plot_curve(
        path,
        scores.times,
        scores.frames,
        title=scores.video,
        threshold=scores.threshold,
        truth=[(ends[start], ends[end]) for start, end in intervals_of(truth)],
    )
    return path

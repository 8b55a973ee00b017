"""Measure runs against the frame truth of their test videos.

This is one run, the runs of a k-fold set pooled into one result, or several runs compared. The
videos are checked first: each must be stored, must not have been trained on, and needs a fitting
truth.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vad.errors import UsageError
from vad.labels import Label, Labels, match, name_of, read_labels, read_segments
from vad.stages.train.card import Card, Member
from vad.stages.train.fit import heldout_loss
from vad.stages.train.rates import tell_other_rates
from vad.stages.train.run import Run
from vad.stages.train.settings import TrainSettings
from vad.store import FeatureStore, VideoRecord
from vad.store.backends import refuse_connection

from ..scoring import score_stored
from .result import Evaluation
from .truth import truth_of_file, truth_of_segments

log = logging.getLogger("vad")


def evaluate(
    run_path: str | Path,
    segments: str | Path | None = None,
    *,
    truth: str | Path | None = None,
    store: str | Path | None = None,
    labels: Labels | None = None,
    split: str = "test",
    device: str = "auto",
    offline: bool = False,
) -> Evaluation:
    """Measure a run on the videos that its card lists for a split.

    The default store is that of the training. `labels` replaces the videos of the card; if it has a
    `split` column, only the videos of `split` are used. The frame truth is built from the
    annotations in `segments` and the stored number of frames, or read from the array in the file
    `truth`. offline: open no network connection.

    Raises UsageError if the input is wrong. The message names the video that is not stored, is
    listed twice, was trained on, or has a truth that does not fit.
    """
    run = Run.open(run_path, device)
    place = run.find_store(store)
    refuse_connection(place, offline=offline)
    opened = FeatureStore.open(place)
    chosen = _labels(run, opened, labels, split)
    records = list(opened.map(opened.record, [label.video for label in chosen]))
    _check_contents(run, opened, chosen, records)
    if truth is None and segments is None:
        raise UsageError("no frame truth", hint="give --segments CSV or --truth NPY")
    marked = segments and match(read_segments(segments), opened.ids(), where=segments)
    if truth is not None:
        frames = truth_of_file(chosen, records, truth, marked or None)
    else:
        frames = truth_of_segments(chosen, records, marked or [], str(segments))
    scores = list(score_stored(opened, run, [label.video for label in chosen]))
    tell_other_rates({s.video: s.other_rate for s in scores if s.other_rate}, len(scores))
    loss = heldout_loss(run, opened, chosen)
    told = tuple(marked or ())
    abnormal = [label.category for label in chosen if label.label]
    _tell_unknown_kinds(run, [*abnormal, *(segment.category for segment in told)])
    return Evaluation([run], split, chosen, scores, frames, str(truth or segments), loss, told)


def by_seed(evaluations: Iterable[Evaluation]) -> dict[int, list[Evaluation]]:
    """Return evaluations by the seed of their run: the folds of a k-fold set for each seed."""
    found: dict[int, list[Evaluation]] = {}
    for evaluation in evaluations:
        training = evaluation.runs[0].card.training
        found.setdefault(training.seed if training else 0, []).append(evaluation)
    return found


def pool(folds: Sequence[Evaluation]) -> Evaluation:
    """Pool the runs of a k-fold set: one result, each video scored by the run that held it out.

    Raises UsageError if the runs differ in more than the fold, or if they share a test video.
    """
    first = folds[0]
    seen: dict[str, str] = {}
    for fold in folds:
        card = fold.runs[0].card
        if card.training is None or card.training.fold is None:
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
        [segment for fold in folds for segment in fold.segments],
    )


def _mean_loss(folds: Sequence[Evaluation]) -> float | None:
    losses = [(fold.loss, len(fold.labels)) for fold in folds if fold.loss is not None]
    if len(losses) < len(folds):
        return None
    values, n_videos = zip(*losses, strict=True)
    return float(np.average(values, weights=n_videos))


def check_comparable(evaluations: Sequence[Evaluation]) -> None:
    """Raise UsageError unless all results have the same videos and the same truth.

    The message names the first video that differs.
    """
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
            if len(truth) != len(theirs[video]):
                raise UsageError(
                    f"{video!r} has {len(truth)} frames in the store of {first.path}, "
                    f"{len(theirs[video])} in that of {other.path}",
                    hint="vad import features FILES --frames CSV gives both stores its real length",
                )
            if not np.array_equal(truth, theirs[video]):
                raise UsageError(
                    f"{first.path} and {other.path} have different truth for {video!r}"
                )


def _labels(run: Run, store: FeatureStore, labels: Labels | None, split: str) -> list[Label]:
    """Return the labelled videos to measure on, with their ids in the store.

    Raises UsageError if there are none, or if one of them is a training or validation video of the
    run and `split` does not ask for these.
    """
    if labels is None:
        listed = run.card.videos.get(split)
        if not listed:
            raise UsageError(
                f"{run.path} lists no video for the split {split!r}",
                hint="give the videos with --labels, or another --split",
            )
        every, where = list(listed), f"the {split} videos of {run.path}"
    else:
        every, where = read_labels(labels), name_of(labels)
        if any(label.split for label in every):
            every = [label for label in every if label.split == split]
        else:
            n_abnormal = sum(label.label for label in every)
            log.info(
                "%s has no split column: all its videos are measured, %d abnormal, %d normal",
                *(where, n_abnormal, len(every) - n_abnormal),
            )
        if not every:
            raise UsageError(f"{where} has no video of the split {split!r}")
    found = match(every, store.ids(), where=where, missing="refuse")
    for part in ("train", "validation"):
        trained = {label.video for label in run.card.videos.get(part, ())}
        if split != part and (both := [x.video for x in found if x.video in trained]):
            raise UsageError(
                f"{where}: {both[0]!r} is a {part} video of {run.path}: no figure of it is honest",
                hint=f"leave it out, or say so: --split {part}",
            )
    return found


def _check_contents(
    run: Run, store: FeatureStore, chosen: Sequence[Label], records: Sequence[VideoRecord]
) -> None:
    """Warn of two videos with the same file content, which occur in official data sets."""
    known: dict[str, str] = {}
    for part in ("train", "validation"):
        for label in run.card.videos.get(part, ()):
            if label.video in store:
                content = store.record(label.video).source_sha256
                known[content] = f"the {part} video {label.video!r}"
    for label, record in zip(chosen, records, strict=True):
        other = known.setdefault(record.source_sha256, f"{label.video!r}")
        if record.source_sha256 and repr(label.video) not in other:
            log.warning("%r has the content of %s", label.video, other)


def _tell_unknown_kinds(run: Run, categories: Iterable[str]) -> None:
    """Log the kinds in categories of abnormal videos that a run which tells kinds does not know."""
    named = {kind for category in categories for kind in category.split("+") if kind}
    if run.kinds and (unknown := sorted(named.difference(run.kinds))):
        log.warning(
            "%s tells %s, and not %s: figures of kinds leave these out",
            *(run.path, ", ".join(run.kinds), ", ".join(unknown)),
        )


def _apart_from_fold(card: Card) -> tuple[TrainSettings | None, list[Member]]:
    """Return how a run was trained, without what may differ between folds.

    Members that cross-fitting chose and weighted may differ.
    """
    training = card.training and replace(card.training, fold=None, device="")
    if card.calibration is not None:
        return training, []
    return training, [replace(member, visual_dim=1, text_dim=None) for member in card.members]

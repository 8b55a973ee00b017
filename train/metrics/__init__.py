"""Measure how good scores are: from frame truth and frame scores, compute metrics.

Conventions
    truth       one bool array [frames] per video, True where a frame is anomalous
    scores      one float array [frames] per video, in [0, 1], higher is more anomalous
    labels      [videos], 1 for an abnormal video, 0 for a normal one
    threshold   a score is flagged if it is >= the threshold, for frames and videos alike
    The score of a video is the highest of its frames, unless `video_scores` are given.
    Frame metrics pool the frames of all videos (micro), as in all published protocols.
    A metric without a value (0 / 0, or a ranking with one class only) is None.

Metrics
    auc               area under the ROC curve, a tie counts half (Fawcett, 2006)
    ap                average precision, the step-wise sum: VadCLIP's and TEVAD's "AP"
    pr_auc            trapezoid under the precision-recall curve: RTFM's, MGFN's and UR-DMU's
                      "PR-AUC" or "AP". It interpolates over ties, which favours saturated scores
    accuracy, precision, recall, f1, macro_f1     at a threshold
    false_alarm_rate  share of the frames (or videos) of normal videos that are flagged
                      (PEL4VAD's "FAR")
    oracle            auc, ap and pr_auc if every frame had the label of its video as its score.
                      A detector near it separates videos, but does not locate events in them
    events            precision and recall at a temporal IoU; `detected`: share of the events with
                      a flagged frame; `delay`: from the start of such an event to that frame;
                      false alarms per hour of normal video
    categories        for the abnormal videos of a category: auc together with all normal videos,
                      auc of their own frames, recall of frames, share of videos flagged
    hard_normals      frame metrics of abnormal videos and normal ones of the same sources: high
                      only if a detector does not merely know the scene
    classes           of the kinds that a run tells apart: see `classes.py`
    intervals         95 % confidence intervals, by the bootstrap over videos
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from vad.errors import UsageError
from vad.labels import intervals_of

from .bootstrap import N, decision_intervals, draw, ranking_intervals
from .events import Events, event_figures
from .figures import (
    CategoryFigures,
    ClassFigures,
    Counts,
    DecisionAt,
    Interval,
    Ranking,
    VideoFigures,
)
from .figures import Figures as Figures
from .frames import confusion as confusion
from .frames import decision as decision
from .frames import ranking as ranking
from .frames import sweep as sweep
from .inputs import Bools as Bools
from .inputs import Floats as Floats
from .inputs import Pool as Pool
from .inputs import bools, floats, ratio
from .inputs import peak_scores as peak_scores
from .inputs import validate as validate
from .threshold import best_threshold as best_threshold

HALF = 0.5  # the threshold at which most papers report F1 and accuracy


def evaluate(
    truth: Sequence[ArrayLike],
    scores: Sequence[ArrayLike],
    labels: ArrayLike,
    *,
    threshold: float | Sequence[float] | None = None,
    video_scores: ArrayLike | None = None,
    events: Sequence[Events] | None = None,
    times_s: Sequence[Floats] | None = None,
    categories: Sequence[str] | None = None,
    hard: ArrayLike | None = None,
    classes: ClassFigures | None = None,
    n_bootstrap: int = N,
) -> Figures:
    """Compute all metrics of one test set.

    truth and scores have an array [frames] per video; labels is [videos]. `threshold` should be
    chosen on validation videos; it is one value, or one per video if different runs scored them.
    Without it, metrics at a threshold are None. `video_scores` [videos] are the highest frame
    scores by default. `events` are the predicted events of every video, by default the intervals of
    flagged frames. `times_s` has an array [frames + 1] per video: the time in seconds at which each
    frame is shown, and the end of the last one. `categories` has one string per video; several
    categories of a video are joined by `+`. `hard` [videos] is 1 for normal videos of a source
    that abnormal videos have. `classes` are the metrics of `class_figures`.

    Raises UsageError if the input is wrong (see `validate`).
    """
    truths, values, is_abnormal = validate(truth, scores, labels)
    levels = _thresholds(threshold, len(truths))
    peaks = peak_scores(values)
    if video_scores is not None:
        peaks = floats(video_scores, "scores of the videos")
    if len(peaks) != len(truths):
        raise UsageError(f"{len(peaks)} video scores for {len(truths)} videos")
    pool = Pool.of(truths, values)
    of_abnormal = pool.of_videos(is_abnormal)
    in_abnormal = is_abnormal[pool.video]
    halves = np.full(len(truths), HALF)
    rows, best = sweep(pool, in_abnormal)
    found = None
    if levels is not None:
        flagged = [intervals_of(v >= level) for v, level in zip(values, levels, strict=True)]
        true = [intervals_of(one) for one in truths]
        predicted = flagged if events is None else events
        found = event_figures(true, predicted, is_abnormal, times_s)
    of_videos = ranking(is_abnormal, peaks)
    return Figures(
        frame=ranking(pool.truth, pool.scores, pool.n_frames),
        abnormal_only=ranking(of_abnormal.truth, of_abnormal.scores, of_abnormal.n_frames),
        oracle=ranking(pool.truth, in_abnormal.astype(np.float64), pool.n_frames),
        at_half=_at(halves, pool, is_abnormal),
        at_threshold=None if levels is None else _at(levels, pool, is_abnormal),
        video=VideoFigures(
            auc=of_videos.auc,
            ap=of_videos.ap,
            pr_auc=of_videos.pr_auc,
            at_half=_videos_at(halves, peaks, is_abnormal),
            at_threshold=None if levels is None else _videos_at(levels, peaks, is_abnormal),
        ),
        events=found,
        counts=Counts(
            n_videos=len(truths),
            n_abnormal_videos=int(is_abnormal.sum()),
            n_frames=int(pool.n_frames.sum()),
            n_anomalous_frames=int(pool.n_frames[pool.truth].sum()),
        ),
        youden=best,
        hard_normals=_hard_normals(pool, hard, is_abnormal),
        classes=classes,
        categories=None
        if categories is None
        else _categories(categories, pool, peaks, is_abnormal, levels),
        intervals=_intervals(pool, peaks, is_abnormal, levels, n_bootstrap),
        sweep=rows,
    )


def _hard_normals(pool: Pool, hard: ArrayLike | None, is_abnormal: Bools) -> Ranking | None:
    """Return the metrics of abnormal videos and hard normal ones; None if no video is hard."""
    if hard is None or not (is_hard := bools(hard, "hard")).any():
        return None
    chosen = pool.of_videos(is_abnormal | is_hard)
    return ranking(chosen.truth, chosen.scores, chosen.n_frames)


def _thresholds(threshold: float | Sequence[float] | None, n_videos: int) -> Floats | None:
    if threshold is None:
        return None
    levels = np.broadcast_to(np.asarray(threshold, np.float64), (n_videos,))
    if not ((levels >= 0) & (levels <= 1)).all():
        raise UsageError(f"the threshold is {np.max(levels):g}; it must lie in [0, 1]")
    return levels


def _at(levels: Floats, pool: Pool, is_abnormal: Bools) -> DecisionAt:
    """Return the frame metrics at thresholds `levels` [videos], one per video."""
    flagged = pool.scores >= levels[pool.video]
    in_normal = ~is_abnormal[pool.video]
    n_false = int(pool.n_frames[flagged & in_normal].sum())
    return DecisionAt(
        **vars(decision(pool.truth, flagged, pool.n_frames)),
        false_alarm_rate=ratio(n_false, int(pool.n_frames[in_normal].sum())),
        threshold=_one(levels),
    )


def _videos_at(levels: Floats, peaks: Floats, is_abnormal: Bools) -> DecisionAt:
    """Return the metrics of whole videos, flagged if `peaks` >= `levels`, both [videos]."""
    flagged = peaks >= levels
    return DecisionAt(
        **vars(decision(is_abnormal, flagged)),
        false_alarm_rate=ratio(int(flagged[~is_abnormal].sum()), int((~is_abnormal).sum())),
        threshold=_one(levels),
    )


def _one(levels: Floats) -> float | list[float]:
    different = list(dict.fromkeys(map(float, levels)))
    return different[0] if len(different) == 1 else different


def _categories(
    categories: Sequence[str], pool: Pool, peaks: Floats, is_abnormal: Bools, levels: Floats | None
) -> dict[str, CategoryFigures]:
    """Return the metrics of every category; a video of several categories counts for each of them.

    Raises UsageError if the number of categories is not the number of videos.
    """
    if len(categories) != len(is_abnormal):
        raise UsageError(f"{len(categories)} categories for {len(is_abnormal)} videos")
    kinds = [
        set(c.split("+")) if a else set() for c, a in zip(categories, is_abnormal, strict=True)
    ]
    found: dict[str, CategoryFigures] = {}
    for kind in sorted(set().union(*kinds) - {""}):
        members = np.array([kind in one for one in kinds])
        own, beside = pool.of_videos(members), pool.of_videos(members | ~is_abnormal)
        n_anomalous = int(own.n_frames[own.truth].sum())
        recall = video_recall = None
        if levels is not None:
            hit = own.truth & (own.scores >= levels[own.video])
            recall = ratio(int(own.n_frames[hit].sum()), n_anomalous)
            video_recall = ratio(int((peaks >= levels)[members].sum()), int(members.sum()))
        found[kind] = CategoryFigures(
            n_videos=int(members.sum()),
            n_frames=int(own.n_frames.sum()),
            n_anomalous_frames=n_anomalous,
            auc=ranking(beside.truth, beside.scores, beside.n_frames).auc,
            abnormal_only_auc=ranking(own.truth, own.scores, own.n_frames).auc,
            recall=recall,
            video_recall=video_recall,
        )
    return found


def _intervals(
    pool: Pool, peaks: Floats, is_abnormal: Bools, levels: Floats | None, n: int
) -> dict[str, Interval | None]:
    counts = draw(is_abnormal, n, np.random.default_rng(0))
    each = np.arange(len(peaks))
    videos = Pool(is_abnormal, peaks, np.ones(len(peaks), np.int64), each)
    groups = {
        "frame": ranking_intervals(pool, counts),
        "abnormal_only": ranking_intervals(pool.of_videos(is_abnormal), counts),
        "video": ranking_intervals(videos, counts),
    }
    if levels is not None:
        cell = 2 * pool.truth + (pool.scores >= levels[pool.video])  # tn, fp, fn, tp
        confusions = np.zeros((len(peaks), 4), np.int64)
        np.add.at(confusions, (pool.video, cell.astype(np.int64)), pool.n_frames)
        groups["at_threshold"] = decision_intervals(confusions, is_abnormal, counts)
    return {f"{g}.{name}": value for g, found in groups.items() for name, value in found.items()}

"""How a person's verdicts on events change the bags of a training.

A reviewed event is a bag of its own: a dismissed one is normal, a confirmed one is abnormal.
Dismissed events are also cut out of the bags of abnormal videos, whose label holds for the rest. A
normal video with a confirmed event is abnormal. Videos without a label take part with their
reviewed events only.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from vad.errors import UsageError
from vad.labels import Label, Review, intervals_of, match, read_reviews
from vad.store import FeatureStore

from .bags import Bag, whole
from .split import Split

log = logging.getLogger("vad")


def reviews_for(path: str | Path | None, store: FeatureStore, split: Split) -> list[Review]:
    """Read the reviews of a file that a training may use; [] without a file.

    Reviews of videos that choose the epoch and the threshold are left out, with a line in the log.
    Raises UsageError, which names the video, if one of a test video is among them: its scores would
    no longer tell how the run does on videos that it has not seen.
    """
    if path is None or not (every := read_reviews(path)):
        return []
    reviews = match(every, store.ids(), where=path)
    test = {label.video for label in split.test}
    if seen := [review.video for review in reviews if review.video in test]:
        raise UsageError(
            f"{path}: {seen[0]!r} is a test video, and training from its reviews would spoil the "
            "test",
            hint="delete its lines, or make it a training video",
        )
    choosing = {label.video for label in split.selection_videos}
    used = [review for review in reviews if review.video not in choosing]
    if left := len(reviews) - len(used):
        log.info("%s: %d reviews of videos that validate are not trained on", path, left)
    for review in used:
        n_frames = store.record(review.video).n_frames
        if review.end_frame > n_frames:
            raise UsageError(
                f"{path}: {review.video!r} has {n_frames} frames, but a review ends at "
                f"{review.end_frame}",
                hint="review the video as it is now",
            )
    return used


def count_verdicts(reviews: Sequence[Review]) -> Mapping[str, int]:
    """Return the number of reviews of each verdict: {"confirmed": n, "dismissed": m}."""
    return dict(Counter(review.verdict for review in reviews))


def relabelled(
    store: FeatureStore, labels: Sequence[Label], reviews: Sequence[Review]
) -> list[Label]:
    """Return the labels of training videos as the reviews correct them.

    A normal video with a confirmed event becomes abnormal, and an abnormal video that consists of
    dismissed events becomes normal. Raises UsageError if a class loses its last video by this.
    """
    confirmed = {review.video for review in reviews if review.label == 1}
    corrected = []
    for label in labels:
        value = label.label
        if value == 0 and label.video in confirmed:
            log.warning("%s: labelled normal, but an event is confirmed: abnormal", label.video)
            value = 1
        elif value == 1 and not _kept(store, label.video, reviews):
            value = 0
        corrected.append(replace(label, label=value))
    for value, word in ((0, "normal"), (1, "abnormal")):
        if value in {x.label for x in labels} - {x.label for x in corrected}:
            raise UsageError(
                f"no {word} training video is left: the reviews contradict every such label",
                hint=f"label more {word} videos",
            )
    return corrected


def reviewed_bags(
    store: FeatureStore, labels: Sequence[Label], reviews: Sequence[Review]
) -> list[Bag]:
    """Return the bags of labelled videos, see `relabelled`, followed by one of each review."""
    dismissed = {review.video for review in reviews if review.label == 0}
    bags = [
        replace(bag, rows=_kept(store, bag.video, reviews))
        if bag.label == 1 and bag.video in dismissed
        else bag
        for bag in whole(labels)
    ]
    kinds = {label.video: label.category for label in labels if label.label == 1}
    of_reviews = [
        Bag(x.video, x.label, (_snippets(store, x),), kinds.get(x.video, "") if x.label else "")
        for x in reviews
    ]
    return bags + of_reviews


def _snippets(store: FeatureStore, review: Review) -> tuple[int, int]:
    """Return the range [start, stop) of snippets that a review touches."""
    record = store.record(review.video)
    return record.grid.snippets_in(review.start_frame, review.end_frame, record.n_frames)


def _kept(
    store: FeatureStore, video: str, reviews: Sequence[Review]
) -> tuple[tuple[int, int], ...]:
    """Return the ranges of snippets of a video that no dismissed event touches."""
    record = store.record(video)
    kept = np.ones(record.grid.n_snippets(record.n_frames), np.bool_)
    for review in reviews:
        if review.video == video and review.label == 0:
            start, stop = _snippets(store, review)
            kept[start:stop] = False
    return tuple(intervals_of(kept))

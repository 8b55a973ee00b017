"""Metrics of classes: does a run tell what kind of anomaly it is, and when?

    map_published, map_clean   mean average precision of events of every class, at IoUs 0.1 to 0.5
    accuracy                   share of abnormal videos whose kind is rightly named
    mean_auc                   mean over kinds of the AUC of a kind's frames against all others

The event metric is VadCLIP's, which later papers of CLIP features share. Its published form has
faults: the normal class counts as a class. In UCF-Crime its truth has another name, so its
precision is 0 and perfect scores reach 13/14; in XD-Violence whole normal videos are events of it.
And one class without a proposal makes the whole value 0. The clean form averages over the kinds of
anomaly that the truth has. In both, a class fires relative to its own range in each video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vad.labels import intervals_of

from .figures import ClassFigures
from .frames import ranking
from .inputs import Bools, Floats

IOUS = (0.1, 0.2, 0.3, 0.4, 0.5)
RANGE = 0.6  # a frame fires if it is less than this share of the range below the highest value
TOP_FRAMES = 16  # the mean over one in so many frames is the confidence of a class in a video
CONFIDENCE = 0.7  # its weight in the score of a proposal
LEAST_FRAMES = 2  # of a proposal

Truth = tuple[int, int, int]  # class, first frame, one after the last


@dataclass(frozen=True)
class Proposal:
    """Frames [start, stop) of a video that a class is proposed for."""

    video: int
    start: int
    stop: int
    score: float


def class_figures(
    shares: Sequence[NDArray[np.floating]],
    names: Sequence[str],
    truth: Sequence[Sequence[Truth]],
    kinds: Sequence[set[str]],
    *,
    normal_events: bool = False,
) -> ClassFigures:
    """Compute all metrics of classes.

    shares has an array [frames, classes] per video, the normal class first, whose `names` are
    given; truth has the events of every video; kinds are the classes of every video, empty for
    normal ones. normal_events: in the published form, a normal video is an event of the normal
    class, as in XD-Violence.
    """
    whole = [
        [*events, *([(0, 0, len(s))] if normal_events and not own else [])]
        for events, own, s in zip(truth, kinds, shares, strict=True)
    ]
    right = [
        names[1 + int(video_shares(s)[1:].argmax())] in own
        for s, own in zip(shares, kinds, strict=True)
        if own & set(names[1:])
    ]
    aucs = _aucs(shares, truth, names)
    found = [auc for auc in aucs.values() if auc is not None]
    return ClassFigures(
        map_published=_averaged(mean_ap(shares, whole, form="published")),
        map_clean=_averaged(mean_ap(shares, truth, form="clean")),
        accuracy=float(np.mean(right)) if right else None,
        mean_auc=float(np.mean(found)) if found else None,
        aucs=aucs,
    )


def video_shares(shares: NDArray[np.floating]) -> Floats:
    """Return the share of every class in a video, [classes]: the mean over its highest frames, one
    in `TOP_FRAMES`; shares is [frames, classes].
    """
    k = max(1, len(shares) // TOP_FRAMES)
    top = np.partition(shares, len(shares) - k, axis=0)[len(shares) - k :]
    return np.asarray(top.mean(0, dtype=np.float64))


def mean_ap(
    shares: Sequence[NDArray[np.floating]], truth: Sequence[Sequence[Truth]], *, form: str
) -> dict[float, float | None]:
    """Return the mean over classes of the average precision of events, 0 to 1, by IoU.

    shares has an array [frames, classes] per video, truth the events of every video. The form
    "published" counts all classes, and is 0 if one has no proposal; "clean" counts the abnormal
    classes that have events, and is None if there are none.
    """
    n_classes = shares[0].shape[1]
    events = {
        c: [(v, a, b) for v, own in enumerate(truth) for k, a, b in own if k == c]
        for c in range(n_classes)
    }
    counted = range(n_classes) if form == "published" else [c for c in events if c and events[c]]
    proposals = {c: propose(shares, c) for c in counted}
    if not counted:
        return dict.fromkeys(IOUS)
    if form == "published" and not all(proposals.values()):
        return dict.fromkeys(IOUS, 0.0)
    return {
        iou: float(np.mean([average_precision(proposals[c], events[c], iou) for c in counted]))
        for iou in IOUS
    }


def propose(shares: Sequence[NDArray[np.floating]], index: int) -> list[Proposal]:
    """Return the proposals of a class in all videos, highest scores first.

    shares: of every video, [frames, classes]; index: of the class.

    These are the runs of frames above the threshold of each video; being disjoint, none suppresses
    another.
    """
    found = []
    for video, every in enumerate(shares):
        values = np.asarray(every[:, index], np.float64)
        high, low = values.max(), values.min()
        confidence = float(video_shares(values[:, None])[0])
        for start, stop in intervals_of(values > high - RANGE * (high - low)):
            if stop - start >= LEAST_FRAMES:
                score = float(values[start:stop].max()) + CONFIDENCE * confidence
                found.append(Proposal(video, start, stop, score))
    return sorted(found, key=lambda p: -p.score)


def average_precision(
    proposals: Sequence[Proposal], events: Sequence[tuple[int, int, int]], iou: float
) -> float:
    """Return the sum of the precision at every true positive, divided by the number of events.

    events are (video, start, stop). A proposal takes the free event of the highest IoU, if that is
    at least `iou`. Without events the result is 0.
    """
    free = set(range(len(events)))
    n_right, total = 0, 0.0
    for rank, proposal in enumerate(proposals, start=1):
        overlaps = {
            i: _iou((proposal.start, proposal.stop), events[i][1:])
            for i in free
            if events[i][0] == proposal.video
        }
        best = max(overlaps, key=lambda i: (overlaps[i], -i), default=None)
        if best is not None and overlaps[best] >= iou:
            free.remove(best)
            n_right += 1
            total += n_right / rank
    return total / len(events) if events else 0.0


def _iou(one: tuple[int, int], other: tuple[int, int]) -> float:
    common = min(one[1], other[1]) - max(one[0], other[0])
    if common <= 0:
        return 0.0
    return common / (max(one[1], other[1]) - min(one[0], other[0]))


def _averaged(by_iou: Mapping[float, float | None]) -> dict[str, float | None]:
    values = [value for value in by_iou.values() if value is not None]
    named = {f"iou_{iou}": value for iou, value in by_iou.items()}
    return {**named, "average": float(np.mean(values)) if values else None}


def _aucs(
    shares: Sequence[NDArray[np.floating]], truth: Sequence[Sequence[Truth]], names: Sequence[str]
) -> dict[str, float | None]:
    """Return for every kind the AUC of its share, for the frames of its events against others."""
    every = np.concatenate(shares)
    found = {}
    for index, name in enumerate(names[1:], start=1):
        inside: list[Bools] = []
        for own, events in zip(shares, truth, strict=True):
            marked = np.zeros(len(own), bool)
            for kind, start, stop in events:
                if kind == index:
                    marked[start:stop] = True
            inside.append(marked)
        found[name] = ranking(np.concatenate(inside), every[:, index].astype(np.float64)).auc
    return found

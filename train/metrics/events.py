"""Metrics of events: whether they were detected, how exactly, and how soon.

An event is an interval `[start, end)` of frames. Two events match if their temporal intersection
over union (IoU) reaches a limit. Matches are one to one; pairs with a larger IoU are matched first.

    truth      ......####......####..
    predicted  ....####...#....####..      IoU of the first pair 2/6, of the second 1
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .figures import EventFigures, Overlap
from .inputs import Bools, Floats, ratio

IOUS = (0.1, 0.3, 0.5)

Events = Sequence[tuple[int, int]]  # events of one video, as frames [start, end)


def n_matches(true: Events, predicted: Events, iou: float) -> int:
    """Count the pairs of a true and a predicted event of one video whose IoU is at least `iou`."""
    if not true or not predicted:
        return 0
    a, b = np.array(true), np.array(predicted)
    shared = np.minimum(a[:, None, 1], b[:, 1]) - np.maximum(a[:, None, 0], b[:, 0])
    union = (a[:, 1] - a[:, 0])[:, None] + (b[:, 1] - b[:, 0]) - shared
    overlap = np.where(shared > 0, shared / union, 0.0)
    free_true, free_predicted = set(range(len(a))), set(range(len(b)))
    for index in np.argsort(-overlap, axis=None, kind="stable"):
        i, j = divmod(int(index), len(b))
        if overlap[i, j] < iou:
            break
        if i in free_true and j in free_predicted:
            free_true.remove(i)
            free_predicted.remove(j)
    return len(a) - len(free_true)


def first_alarms(true: Events, predicted: Events) -> list[int | None]:
    """Return the first flagged frame of every true event of one video; None for a missed event.

    If a predicted event begins before the true one, this is the first frame of the true one.
    """
    return [
        min((max(start, a) for a, b in predicted if a < end and b > start), default=None)
        for start, end in true
    ]


def event_figures(
    true: Sequence[Events],
    predicted: Sequence[Events],
    is_abnormal: Bools,
    times_s: Sequence[Floats] | None,
) -> EventFigures:
    """Compute the metrics of the events of all videos together.

    true and predicted have the events of every video; is_abnormal is [videos]. times_s has an array
    [frames + 1] per video: the time in seconds at which each frame is shown, and the end of the
    last one. Without times_s, delays and false alarms per hour are None.
    """
    n_true, n_predicted = sum(map(len, true)), sum(map(len, predicted))
    alarms = [first_alarms(t, p) for t, p in zip(true, predicted, strict=True)]
    n_detected = sum(frame is not None for one in alarms for frame in one)
    delays: list[float] = []
    normal = np.flatnonzero(~is_abnormal).tolist()
    hours = 0.0
    if times_s is not None:
        for clock, events, found in zip(times_s, true, alarms, strict=True):
            pairs = zip(events, found, strict=True)
            delays += [
                clock[frame] - clock[start] for (start, _), frame in pairs if frame is not None
            ]
        hours = sum(times_s[i][-1] - times_s[i][0] for i in normal) / 3600
    return EventFigures(
        n_events=n_true,
        n_predicted=n_predicted,
        iou={iou: _overlap(true, predicted, iou) for iou in IOUS},
        detected=ratio(n_detected, n_true),
        delay_mean_s=float(np.mean(delays)) if delays else None,
        delay_median_s=float(np.median(delays)) if delays else None,
        false_alarms_per_hour=ratio(sum(len(predicted[i]) for i in normal), float(hours)),
    )


def _overlap(true: Sequence[Events], predicted: Sequence[Events], iou: float) -> Overlap:
    n_true, n_predicted = sum(map(len, true)), sum(map(len, predicted))
    n = sum(n_matches(t, p, iou) for t, p in zip(true, predicted, strict=True))
    return Overlap(
        precision=ratio(n, n_predicted),
        recall=ratio(n, n_true),
        f1=ratio(2 * n, n_true + n_predicted),
    )

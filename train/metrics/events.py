"""Figures of events: were they found, how exactly, and how soon.

An event is an interval `[start, end)` of frames. Two match if their temporal intersection over
union (IoU) is at least a limit; matches are one to one, the best overlap first.

    truth      ......####......####..
    predicted  ....####...#....####..      IoU of the first pair 2/6, of the last 1
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .inputs import Bools, Figures, Floats, ratio

IOUS = (0.1, 0.3, 0.5)

Events = Sequence[tuple[int, int]]


def n_matches(true: Events, predicted: Events, iou: float) -> int:
    """Count the pairs of a true and a predicted event of one video that match."""
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
    """Give every true event the first predicted frame in it; None where it was missed.

    An alarm that is on when the event begins counts from the beginning.
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
) -> Figures:
    """Everything about the events of all videos together; see the package for the names.

    true and predicted: the events of every video; times_s [frames + 1] a video, when every frame
    is shown and when the last one ends, or None where not known
    """
    n_true, n_predicted = sum(map(len, true)), sum(map(len, predicted))
    figures: Figures = {"n_events": n_true, "n_predicted": n_predicted}
    for iou in IOUS:
        n = sum(n_matches(t, p, iou) for t, p in zip(true, predicted, strict=True))
        figures[f"iou_{iou}"] = {
            "precision": ratio(n, n_predicted),
            "recall": ratio(n, n_true),
            "f1": ratio(2 * n, n_true + n_predicted),
        }
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
    n_false = sum(len(predicted[i]) for i in normal)
    return figures | {
        "detected": ratio(n_detected, n_true),
        "delay_mean_s": float(np.mean(delays)) if delays else None,
        "delay_median_s": float(np.median(delays)) if delays else None,
        "false_alarms_per_hour": ratio(n_false, float(hours)),
    }

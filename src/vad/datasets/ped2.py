"""UCSD Ped2 (Mahadevan et al., CVPR 2010) in the weakly supervised split of TEVAD (CVPRW 2023).

28 videos: six abnormal videos of the original test set and four normal ones are for training, all
others for testing. The lists and the truth are contained in this module, so no file is needed.
"""

from __future__ import annotations

from ..labels import Label, Segment
from .annotated import Annotated, Given
from .intervals import half_open

# first and last anomalous frame, counted from 1, as in UCSDped2.m
EVENTS = {
    "Test001": (61, 180),
    "Test002": (95, 180),
    "Test003": (1, 146),
    "Test004": (31, 180),
    "Test005": (1, 129),
    "Test006": (1, 159),
    "Test007": (46, 180),
    "Test008": (1, 180),
    "Test009": (1, 120),
    "Test010": (1, 150),
    "Test011": (1, 180),
    "Test012": (88, 180),
}
NORMAL = [f"Train{number:03d}" for number in range(1, 17)]
TRAIN = {
    *("Test002", "Test006", "Test009", "Test010", "Test011", "Test012"),
    *("Train007", "Train008", "Train014", "Train015"),
}


def read(given: Given) -> Annotated:
    """Return the labels, the split and the anomalous frames of all 28 videos.

    `given` is not used, because this module contains the data.
    """
    labels = [
        Label(
            video,
            int(video in EVENTS),
            "anomaly" if video in EVENTS else "normal",
            "train" if video in TRAIN else "test",
        )
        for video in (*EVENTS, *NORMAL)
    ]
    segments = [
        Segment(video, *half_open(first, last, "one-based", where=video), "anomaly")
        for video, (first, last) in EVENTS.items()
    ]
    return Annotated(labels, segments)

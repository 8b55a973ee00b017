"""MSAD (NeurIPS 2024): 720 videos, 55 types of anomaly in 14 scenarios.

    .../MSAD-I3D-abnormal-testing/Assault_5_i3d.npy     abnormal, of the kind Assault

The folder in a list says whether a video is normal. The truth is one array of all test frames in
the order of the test list, which `vad evaluate --truth` reads; there are no segments.
"""

from __future__ import annotations

import re

from ..errors import UsageError
from ..labels import Label
from .annotated import Annotated, Given
from .lists import Listed, read_list

KIND = re.compile(r"(.+?)_\d+")


def read(given: Given) -> Annotated:
    """Return labels from the folders and the names in the lists."""
    labels = [_label(video, "train") for video in given.list_of("train", read_list)]
    labels += [_label(video, "test") for video in given.list_of("test", read_list)]
    return Annotated(labels, [])


def _label(video: Listed, split: str) -> Label:
    folder = video.folder.rpartition("/")[2].lower()
    if "normal" not in folder:
        raise UsageError(
            f"{video.name!r} lies in the folder {folder!r}, which names neither normal nor "
            "abnormal videos",
            hint="use the lists of MSAD-I3D",
        )
    if "abnormal" not in folder:
        return Label(video.name, 0, "normal", split)
    kind = KIND.fullmatch(video.name)
    if kind is None:
        raise UsageError(f"{video.name!r} is no name of an abnormal MSAD video: CLASS_NUMBER")
    return Label(video.name, 1, kind[1].lower(), split)

"""ShanghaiTech Campus in the weakly supervised split of Zhong et al. (CVPR 2019): 437 videos.

The truth is one mask per video that has anomalous frames, as `01_0014.npy` in a folder or `01_0014`
in one `.npz`. If a list has no labels, videos with a mask count as abnormal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..labels import Label, Segment, intervals_of
from .annotated import Annotated, Given
from .lists import Listed, read_list, video_name

Masks = dict[str, NDArray[np.bool_]]


def read(given: Given) -> Annotated:
    """Return labels from the lists, or from the masks if the lists have none; segments from the
    masks.
    """
    masks = dict(_masks(given.require("annotations")))
    labels = [_label(v, "train", masks) for v in given.list_of("train", read_list)]
    labels += [_label(v, "test", masks) for v in given.list_of("test", read_list)]
    segments = [
        Segment(label.video, start, end, label.category)
        for label in labels
        if label.video in masks
        for start, end in intervals_of(masks[label.video])
    ]
    return Annotated(labels, segments)


def _label(video: Listed, split: str, masks: Masks) -> Label:
    if video.label not in ("", "0", "1"):
        raise UsageError(f"{video.name!r} is labelled {video.label!r}; 0 or 1 is needed")
    abnormal = video.name in masks and masks[video.name].any()
    label = int(video.label) if video.label else int(abnormal)
    if label != abnormal:
        has = "no anomalous frame" if label else "anomalous frames"
        raise UsageError(f"{video.name!r} is labelled {label}, but its mask has {has}")
    return Label(video.name, label, "anomaly" if label else "normal", split)


def _masks(path: Path) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    try:
        if path.is_dir():
            for file in sorted(path.glob("*.npy")):
                yield video_name(file.name), np.load(file, allow_pickle=False).astype(bool)
        else:
            with np.load(path, allow_pickle=False) as masks:
                for name in masks:
                    yield video_name(name), masks[name].astype(bool)
    except (OSError, ValueError) as error:
        raise UsageError(f"the masks {path} cannot be read: {error}") from None

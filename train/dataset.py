"""A torch Dataset of a feature store, for a training loop of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from vad.errors import UsageError
from vad.labels import Labels, match, name_of, read_labels
from vad.store import FeatureStore

from .bags import load_bags, whole
from .streams import choose_streams


class BagItem(TypedDict, total=False):
    """One video of a `BagDataset`. The default collation of a DataLoader stacks the tensors."""

    visual: Tensor  # float32 [crops, segments, dim], 0 at padding
    text: Tensor  # float32 [1, segments, dim], 0 at padding
    mask: Tensor  # bool [segments], False at padding
    label: float  # 1 for abnormal videos, 0 for normal ones
    video: str  # id in the store
    category: str  # kind of anomaly; "" if it is not known


class BagDataset(Dataset[BagItem]):
    """Labelled videos of a store, each pooled to the same number of segments.

    The segments are packed into a memory-mapped file beside the store, which trainings share.
    """

    def __init__(
        self,
        store: str | Path,
        labels: Labels,
        *,
        split: str = "train",
        visual: str | None = None,
        text: str | None = None,
        segments: int = 32,
    ) -> None:
        """Pack the videos of a split, or all if the labels have no splits.

        labels: as for `vad.train`. visual, text: arrays of the store, such as "i3d"; by default the
        only visual one, or the only text one if there is no visual one. segments: number of means
        that a video is pooled to; a shorter video keeps its snippets and is padded with zeros.

        Raises UsageError if a video is not stored, if the split has none, or if the arrays of the
        videos do not fit together.
        """
        opened = FeatureStore.open(store)
        names = choose_streams(opened, {"visual": visual, "text": text})
        every = read_labels(labels)
        chosen = [x for x in every if x.split == split] if any(x.split for x in every) else every
        if not chosen:
            raise UsageError(f"{name_of(labels)} has no video of the split {split!r}")
        stored = opened.having(*names.values())
        chosen = match(chosen, stored, where=name_of(labels), missing="refuse")
        self._bags = load_bags(opened, names, whole(chosen), segments, stretch=False, quiet=True)
        self._segments = segments
        self.videos = [label.video for label in chosen]

    @property
    def labels(self) -> NDArray[np.float32]:
        """Return the labels [videos], such as a sampler needs."""
        return self._bags.labels

    @property
    def dims(self) -> dict[str, int]:
        """Return the feature width of each kind of input: "visual", "text"."""
        return self._bags.widths

    def __len__(self) -> int:
        return len(self.videos)

    def __getitem__(self, index: int) -> BagItem:
        """Return the video at an index. Raises IndexError if there is none."""
        index = range(len(self))[index]
        item = BagItem(
            mask=torch.arange(self._segments) < int(self._bags.lengths[index]),
            label=float(self._bags.labels[index]),
            video=self.videos[index],
            category=str(self._bags.categories[index]),
        )
        streams = self._bags.streams
        if "visual" in streams:
            item["visual"] = torch.from_numpy(np.array(streams["visual"][index]))
        if "text" in streams:
            item["text"] = torch.from_numpy(np.array(streams["text"][index]))
        return item

"""Bags for training: every video as the same number of segments.

Epochs do not read the store: the segment means of all labelled videos are packed once into a
memory-mapped file beside it, named by what is in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vad.files import committed
from vad.labels import Label
from vad.progress import meter
from vad.store import FeatureStore

MOST_ROWS = 20_000  # that statistics are taken of


def segment_mean(features: NDArray[np.floating], n_segments: int) -> NDArray[np.float32]:
    """Means of `n_segments` stretches of nearly equal length; a stretch of none is one snippet.

    features [snippets, ...] -> [n_segments, ...]. The rule of RTFM, MGFN, TEVAD, UR-DMU and others:
    edges linspace(0, snippets, n_segments + 1) cut to whole numbers; where two edges coincide, the
    segment is the snippet there.
    """
    edges = np.linspace(0, len(features), n_segments + 1).astype(np.int64)
    # reduceat gives the single row where an edge equals the next one: the rule itself
    sums = np.add.reduceat(features.astype(np.float32), edges[:-1], axis=0)
    counts = np.maximum(np.diff(edges), 1).reshape(-1, *[1] * (features.ndim - 1))
    return np.asarray(sums / counts, np.float32)


@dataclass(frozen=True)
class Bags:
    """Videos as bags of segments, with their labels."""

    visual: NDArray[np.float32]  # [videos, crops, segments, dim], perhaps memory-mapped
    lengths: NDArray[np.int64]  # [videos], segments before the padding
    labels: NDArray[np.float32]  # [videos], 1 abnormal

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
        """Some of the bags on a device: visual [videos, crops, segments, dim], lengths, labels."""
        longest = int(self.lengths[index].max())
        parts = (self.visual[index][:, :, :longest], self.lengths[index], self.labels[index])
        visual, lengths, labels = (torch.from_numpy(part).to(device) for part in parts)
        return visual, lengths, labels

    def rows(self) -> NDArray[np.float32]:
        """Segments of all videos and crops, [rows, dim], without the padding.

        Of large sets it is every n-th, so that statistics of them fit in memory.
        """
        _, crops, _, dim = self.visual.shape
        step = -(-int(self.lengths.sum()) * crops // MOST_ROWS)
        bags = zip(self.visual, self.lengths, strict=True)
        return np.concatenate([bag[:, :length].reshape(-1, dim)[::step] for bag, length in bags])

    def split(self, n: int) -> tuple[Bags, Bags | None]:
        """The first `n` bags, and the others if there are any."""
        first, rest = (
            Bags(self.visual[part], self.lengths[part], self.labels[part])
            for part in (slice(n), slice(n, None))
        )
        return first, rest if len(rest) else None


def load_bags(
    store: FeatureStore,
    name: str,
    labels: Sequence[Label],
    n_segments: int,
    *,
    stretch: bool,
    quiet: bool,
) -> Bags:
    """The bags of labelled videos, in their order, packed now or before.

    A video of fewer snippets than segments keeps its snippets and is padded, or, with `stretch`,
    has them repeated as published training does.
    """
    key = hashlib.sha256(f"{name} {n_segments} {stretch}".encode())
    for label in labels:
        key.update(f"{label.video} {store.attributes(label.video, name)['sha256']}".encode())
    path = store.path / ".cache" / f"bags-{key.hexdigest()[:24]}.npy"
    if not path.exists():
        _pack(path, store, name, labels, n_segments, stretch=stretch, quiet=quiet)
    visual = np.load(path, mmap_mode="r")
    snippets = [store.attributes(label.video, name)["shape"][0] for label in labels]
    lengths = np.full(len(labels), n_segments) if stretch else np.minimum(snippets, n_segments)
    return Bags(visual, lengths, np.array([label.label for label in labels], np.float32))


def _pack(
    path: Path,
    store: FeatureStore,
    name: str,
    labels: Sequence[Label],
    n_segments: int,
    *,
    stretch: bool,
    quiet: bool,
) -> None:
    _, crops, dim = store.attributes(labels[0].video, name)["shape"]
    shape = (len(labels), crops, n_segments, dim)
    with committed(path) as part, meter("pack", len(labels), unit="videos", quiet=quiet) as done:
        packed = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
        for row, label in enumerate(labels):
            features = store.read(label.video, name)
            if stretch or len(features) > n_segments:
                features = segment_mean(features, n_segments)
            packed[row, :, : len(features)] = features.transpose(1, 0, 2)
            done.advance()
        packed.flush()

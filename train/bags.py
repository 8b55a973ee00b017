"""Bags for training: every video as the same number of segments.

Epochs do not read the store: the segment means of all labelled videos are packed once into a
memory-mapped file, named by what is in it: beside the store, or, where that is no folder, in the
user's cache.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vad.errors import UsageError
from vad.files import committed, matches_checksum, note_checksum
from vad.labels import Label
from vad.progress import Meter, meter
from vad.store import FeatureStore

from .streams import Names, read_each, shapes_of

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

    streams: Mapping[str, NDArray[np.float32]]  # [videos, crops, segments, dim] by kind, on disk
    lengths: NDArray[np.int64]  # [videos], segments before the padding
    labels: NDArray[np.float32]  # [videos], 1 abnormal

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def widths(self) -> dict[str, int]:
        """Feature width of every stream."""
        return {kind: stream.shape[-1] for kind, stream in self.streams.items()}

    def take(
        self,
        index: NDArray[np.int64],
        device: torch.device,
        n_crops: int | None = None,
        random: np.random.Generator | None = None,
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Some of the bags on a device: streams [videos, crops, segments, dim], lengths, labels.

        With `n_crops`, only so many of the crops, drawn by `random`, the same for all the videos.
        """
        longest = int(self.lengths[index].max())
        streams = {}
        for kind, stream in self.streams.items():
            crops = np.arange(stream.shape[1])
            if n_crops is not None and random is not None:
                crops = random.permutation(crops)[:n_crops]
            part = stream[index[:, None], crops, :longest]
            streams[kind] = torch.from_numpy(part).to(device)
        lengths, labels = (torch.from_numpy(x[index]) for x in (self.lengths, self.labels))
        return streams, lengths.to(device), labels.to(device)

    def rows(self, kind: str) -> NDArray[np.float32]:
        """Segments of all videos and crops of one stream, [rows, dim], without the padding.

        Of large sets it is every n-th, so that statistics of them fit in memory.
        """
        stream = self.streams[kind]
        _, crops, _, dim = stream.shape
        step = -(-int(self.lengths.sum()) * crops // MOST_ROWS)
        bags = zip(stream, self.lengths, strict=True)
        return np.concatenate([bag[:, :length].reshape(-1, dim)[::step] for bag, length in bags])

    def split(self, n: int) -> tuple[Bags, Bags | None]:
        """The first `n` bags, and the others if there are any."""
        first, rest = (
            Bags(
                {kind: stream[part] for kind, stream in self.streams.items()},
                self.lengths[part],
                self.labels[part],
            )
            for part in (slice(n), slice(n, None))
        )
        return first, rest if len(rest) else None


def load_bags(
    store: FeatureStore,
    names: Names,
    labels: Sequence[Label],
    n_segments: int,
    *,
    stretch: bool,
    quiet: bool,
) -> Bags:
    """The bags of labelled videos, in their order, packed now or before.

    A video of fewer snippets than segments keeps its snippets and is padded, or, with `stretch`,
    has them repeated as published training does. Raises UsageError, naming a video, where the
    streams of a video differ in snippets, or a stream has another shape than in the first video.
    """
    videos = [label.video for label in labels]
    shapes = _same_shapes(store, names, videos)
    lengths = _lengths(shapes, n_segments, stretch=stretch)
    streams = {}
    for kind, name in names.items():
        key = _key(store, name, videos, n_segments, stretch=stretch)
        path = store.backend.cache / f"bags-{key[:24]}.npy"
        shape = (len(labels), shapes[0][kind][1], n_segments, shapes[0][kind][2])
        if not _is_packed(path, shape):
            with (
                committed(path) as part,
                meter("pack", len(labels), unit="videos", quiet=quiet) as m,
            ):
                packed = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
                _fill(packed, store, {kind: name}, labels, m, stretch=stretch)
                packed.flush()
            note_checksum(path)
            if key != _key(store, name, videos, n_segments, stretch=stretch):
                path.unlink()
                raise UsageError(f"{store.backend} changed while it was read", hint="run it again")
        streams[kind] = np.load(path, mmap_mode="r")
    return Bags(streams, lengths, np.array([label.label for label in labels], np.float32))


def _key(
    store: FeatureStore, name: str, videos: Sequence[str], n_segments: int, *, stretch: bool
) -> str:
    """What packed bags depend on: the checksums of the arrays, and how they are pooled."""
    key = hashlib.sha256(f"checked {name} {n_segments} {stretch}".encode())
    checksums = store.each(lambda video: store.info(video, name).sha256, videos)
    for video, sha256 in zip(videos, checksums, strict=True):
        key.update(f"{video} {sha256}".encode())
    return key.hexdigest()


def _is_packed(path: Path, shape: tuple[int, ...]) -> bool:
    """Whether there are bags of that shape, and they are those that were packed."""
    if not matches_checksum(path):
        return False
    try:
        packed = np.load(path, mmap_mode="r")
    except (ValueError, EOFError):
        return False
    return bool(packed.shape == shape and packed.dtype == np.float32)


def _same_shapes(
    store: FeatureStore, names: Names, videos: Sequence[str]
) -> list[dict[str, tuple[int, int, int]]]:
    shapes = list(store.each(lambda video: shapes_of(store, names, video), videos))
    for video, shape in zip(videos, shapes, strict=True):
        for kind, name in names.items():
            (_, *first), (_, *other) = shapes[0][kind], shape[kind]
            if first != other:
                raise UsageError(
                    f"{name} of {videos[0]!r} and {video!r} in {store.backend} have different "
                    f"crops and width: {first} and {other}",
                    hint="extract them again into one new store",
                )
    return shapes


def bags_in_memory(
    store: FeatureStore, names: Names, labels: Sequence[Label], n_segments: int, *, stretch: bool
) -> Bags:
    """The same for a few videos, without a packed file."""
    shapes = _same_shapes(store, names, [label.video for label in labels])
    lengths = _lengths(shapes, n_segments, stretch=stretch)
    streams = {}
    with meter("pool", len(labels), unit="videos", quiet=True) as done:
        for kind, name in names.items():
            _, crops, dim = shapes[0][kind]
            streams[kind] = np.zeros((len(labels), crops, n_segments, dim), np.float32)
            _fill(streams[kind], store, {kind: name}, labels, done, stretch=stretch)
    return Bags(streams, lengths, np.array([label.label for label in labels], np.float32))


def _lengths(
    shapes: Sequence[Mapping[str, tuple[int, int, int]]], n_segments: int, *, stretch: bool
) -> NDArray[np.int64]:
    """Segments of every video before its padding."""
    snippets = np.array([next(iter(shape.values()))[0] for shape in shapes], np.int64)
    return np.full_like(snippets, n_segments) if stretch else np.minimum(snippets, n_segments)


def _fill(
    packed: NDArray[np.float32],
    store: FeatureStore,
    names: Names,
    labels: Sequence[Label],
    done: Meter,
    *,
    stretch: bool,
) -> None:
    """Fill the bags of one stream, [videos, crops, segments, dim], which are 0 before."""
    n_segments = packed.shape[2]
    every = read_each(store, names, [label.video for label in labels])
    for row, streams in enumerate(every):
        (features,) = streams.values()
        if stretch or len(features) > n_segments:
            features = segment_mean(features, n_segments)
        packed[row, :, : len(features)] = features.transpose(1, 0, 2)
        done.advance()

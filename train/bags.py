"""Bags for training: every video becomes one array with the same number of segments.

The training loop does not read the feature store in every epoch. The segment means of all labelled
videos are written once to a memory-mapped `.npy` file whose name is a checksum of its content. The
file lies beside the store, or in the user's cache if the store is no local folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vad.errors import UsageError
from vad.files import committed, matches_checksum, note_checksum
from vad.grid import align_text, segment_edges
from vad.labels import Label
from vad.store import ARRAYS_AT_ONCE, FeatureStore
from vad.terminal import Meter, meter

from .streams import Names, shapes_of

MOST_ROWS = 20_000  # most rows [rows, dim] of features that a scaling is computed from, roughly


def segment_mean(features: NDArray[np.floating], n_segments: int) -> NDArray[np.float32]:
    """Return the means of `n_segments` stretches of snippets of nearly equal length.

    features is [snippets, ...]; the result is [n_segments, ...]. As in RTFM, MGFN, TEVAD and
    UR-DMU, the borders are linspace(0, snippets, n_segments + 1), rounded down. If two borders are
    equal, the segment between them would be empty; its value is then the snippet at that index.
    """
    edges = segment_edges(len(features), n_segments)
    counts = np.maximum(np.diff(edges), 1)
    means = np.empty((n_segments, *features.shape[1:]), np.float32)
    for segment, (start, count) in enumerate(zip(edges, counts, strict=False)):  # one edge more
        rows = _to_float32(features[start : start + count])
        np.add.reduce(rows, axis=0, out=means[segment, ...])
    means /= counts.astype(np.float32).reshape(-1, *[1] * (features.ndim - 1))
    return means


def _to_float32(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return an array as float32; torch converts float16 more than ten times as fast as NumPy."""
    if rows.dtype == np.float16 and rows.flags.writeable:
        return np.asarray(torch.from_numpy(rows).float().numpy())
    return rows.astype(np.float32)


@dataclass(frozen=True)
class Bag:
    """Snippets of one video under one label."""

    video: str
    label: int  # 0 normal, 1 abnormal
    rows: tuple[tuple[int, int], ...] | None = None  # ranges [start, stop) of them; None: all
    category: str = ""  # kind of anomaly; empty if it is not known

    def __len__(self) -> int:
        """Return the number of snippets, if only some of the video are in the bag."""
        return sum(stop - start for start, stop in self.rows or ())

    def of(self, features: NDArray[np.generic]) -> NDArray[Any]:
        """Return the bag's rows of features [snippets, ...]."""
        if self.rows is None:
            return features
        return np.concatenate([features[start:stop] for start, stop in self.rows])


def whole(labels: Iterable[Label]) -> list[Bag]:
    """Return a bag of every labelled video, with all its snippets."""
    return [Bag(label.video, label.label, category=label.category) for label in labels]


@dataclass(frozen=True)
class Bags:
    """Videos as bags of segments, with their labels."""

    # [videos, crops, segments, dim] by kind ("visual", "text"), memory-mapped
    streams: Mapping[str, NDArray[np.float32]]
    lengths: NDArray[np.int64]  # [videos], number of segments without padding
    labels: NDArray[np.float32]  # [videos], 1 for abnormal videos
    categories: NDArray[np.str_]  # [videos], "" if not known; several are joined by "+"

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def widths(self) -> dict[str, int]:
        """Return the feature width of every stream, by kind ("visual", "text")."""
        return {kind: stream.shape[-1] for kind, stream in self.streams.items()}

    def take(
        self,
        index: NDArray[np.int64],
        device: torch.device,
        n_crops: int | None = None,
        random: np.random.Generator | None = None,
    ) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Load the bags at `index` to a device, and return streams by kind, lengths and labels.

        A stream is [videos, crops, segments, dim], cut to the longest of the chosen bags; lengths
        and labels are [videos]. If `n_crops` and `random` are given, only `n_crops` crops are
        returned; they are drawn once and are the same for all the videos.
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
        """Return the segments of all videos and crops of one stream, [rows, dim], without padding.

        Of a large training set only every n-th segment is returned, about `MOST_ROWS` in all, so
        that statistics of them fit in memory.
        """
        stream = self.streams[kind]
        _, crops, _, dim = stream.shape
        step = -(-int(self.lengths.sum()) * crops // MOST_ROWS)
        bags = zip(stream, self.lengths, strict=True)
        return np.concatenate([bag[:, :length].reshape(-1, dim)[::step] for bag, length in bags])

    def of(
        self,
        index: NDArray[np.int64],
        columns: Mapping[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]],
    ) -> Bags:
        """Return the bags at `index` [n], with those columns of each stream that a function
        returns.
        """
        return Bags(
            {kind: columns[kind](stream)[index] for kind, stream in self.streams.items()},
            self.lengths[index],
            self.labels[index],
            self.categories[index],
        )

    def split(self, n: int) -> tuple[Bags, Bags | None]:
        """Return the first `n` bags, and the remaining ones, or None if none remain."""
        first, rest = (
            Bags(
                {kind: stream[part] for kind, stream in self.streams.items()},
                self.lengths[part],
                self.labels[part],
                self.categories[part],
            )
            for part in (slice(n), slice(n, None))
        )
        return first, rest if len(rest) else None


def load_bags(
    store: FeatureStore,
    names: Names,
    bags: Sequence[Bag],
    n_segments: int,
    *,
    stretch: bool,
    quiet: bool,
) -> Bags:
    """Return the features of bags, in the order of `bags`.

    They are packed into a file first, unless an earlier call has packed the same ones. A bag with
    fewer snippets than segments keeps its snippets and is padded; with `stretch` its snippets
    are repeated instead, as the published training scripts do. Raises UsageError, with the name of
    the video, if the streams of a video have different numbers of snippets, or if a stream has
    other crops or another width than in the first video. Raises UsageError as well if the store
    changes meanwhile.
    """
    shapes = _same_shapes(store, names, bags)
    lengths = _lengths(shapes, n_segments, stretch=stretch)
    streams = {}
    for kind, name in names.items():
        key = _key(store, name, bags, lengths, n_segments, stretch=stretch)
        path = store.backend.cache / f"bags-{key[:24]}.npy"
        shape = (len(bags), shapes[0][kind][1], n_segments, shapes[0][kind][2])
        if not _is_packed(path, shape):
            with (
                committed(path) as part,
                meter("pack", len(bags), unit="videos", quiet=quiet) as m,
            ):
                packed = np.lib.format.open_memmap(part, mode="w+", dtype=np.float32, shape=shape)
                _fill(packed, store, name, bags, lengths, m, stretch=stretch)
                packed.flush()
            note_checksum(path)
            if key != _key(store, name, bags, lengths, n_segments, stretch=stretch):
                path.unlink()
                raise UsageError(f"{store.backend} changed while it was read", hint="run it again")
        streams[kind] = np.load(path, mmap_mode="r")
    return _labelled(streams, lengths, bags)


def _key(
    store: FeatureStore,
    name: str,
    bags: Sequence[Bag],
    lengths: NDArray[np.int64],
    n_segments: int,
    *,
    stretch: bool,
) -> str:
    """Return a checksum of what the packed bags depend on: the stored arrays and the way of
    pooling. lengths: [videos].
    """
    key = hashlib.sha256(f"checked {name} {n_segments} {stretch}".encode())
    checksums = store.map(lambda bag: store.info(bag.video, name).sha256, bags)
    for bag, length, sha256 in zip(bags, lengths, checksums, strict=True):
        key.update(f"{bag.video} {bag.rows or ''} {length} {sha256}".encode())
    return key.hexdigest()


def _is_packed(path: Path, shape: tuple[int, ...]) -> bool:
    """Return True if `path` holds bags of this shape and matches the checksum noted for it."""
    if not matches_checksum(path):
        return False
    try:
        packed = np.load(path, mmap_mode="r")
    except (ValueError, EOFError):
        return False
    return bool(packed.shape == shape and packed.dtype == np.float32)


def _same_shapes(
    store: FeatureStore, names: Names, bags: Sequence[Bag]
) -> list[dict[str, tuple[int, int, int]]]:
    """Return (rows, crops, dim) of every stream of every bag, by kind.

    Raises UsageError if crops or dim differ between bags.
    """
    shapes = list(store.map(lambda bag: _shapes_of(store, names, bag), bags))
    for bag, shape in zip(bags, shapes, strict=True):
        for kind, name in names.items():
            (_, *first), (_, *other) = shapes[0][kind], shape[kind]
            if first != other:
                raise UsageError(
                    f"{name} of {bags[0].video!r} and {bag.video!r} in {store.backend} have "
                    f"different crops and width: {first} and {other}",
                    hint="extract them again into one new store",
                )
    return shapes


def _shapes_of(store: FeatureStore, names: Names, bag: Bag) -> dict[str, tuple[int, int, int]]:
    shapes = shapes_of(store, names, bag.video)
    if bag.rows is None:
        return shapes
    return {kind: (len(bag), crops, dim) for kind, (_, crops, dim) in shapes.items()}


def bags_in_memory(
    store: FeatureStore, names: Names, bags: Sequence[Bag], n_segments: int, *, stretch: bool
) -> Bags:
    """Return the same as `load_bags`, held in memory; for a few bags at a time."""
    shapes = _same_shapes(store, names, bags)
    lengths = _lengths(shapes, n_segments, stretch=stretch)
    streams = {}
    with meter("pool", len(bags), unit="videos", quiet=True) as done:
        for kind, name in names.items():
            _, crops, dim = shapes[0][kind]
            streams[kind] = np.zeros((len(bags), crops, n_segments, dim), np.float32)
            _fill(streams[kind], store, name, bags, lengths, done, stretch=stretch)
    return _labelled(streams, lengths, bags)


def _labelled(
    streams: Mapping[str, NDArray[np.float32]], lengths: NDArray[np.int64], bags: Sequence[Bag]
) -> Bags:
    known = np.array([bag.label for bag in bags], np.float32)
    return Bags(streams, lengths, known, np.array([bag.category for bag in bags], np.str_))


def _lengths(
    shapes: Sequence[Mapping[str, tuple[int, int, int]]], n_segments: int, *, stretch: bool
) -> NDArray[np.int64]:
    """Return the number of segments of every bag without padding, [bags]."""
    snippets = np.array([next(iter(shape.values()))[0] for shape in shapes], np.int64)
    return np.full_like(snippets, n_segments) if stretch else np.minimum(snippets, n_segments)


def _fill(
    packed: NDArray[np.float32],
    store: FeatureStore,
    name: str,
    bags: Sequence[Bag],
    lengths: NDArray[np.int64],
    done: Meter,
    *,
    stretch: bool,
) -> None:
    """Write the bags of one array into `packed`, [videos, crops, segments, dim], which holds
    zeros. lengths: [videos], number of segments of each bag.

    Text that has other rows than the video has snippets is pooled by itself, as in TEVAD; where
    rows are not pooled, it is cut or filled.
    """
    _, n_crops, n_segments, dim = packed.shape
    every = store.map(lambda bag: store.read(bag.video, name), bags, at_once=ARRAYS_AT_ONCE)
    for row, (bag, array) in enumerate(zip(bags, every, strict=True)):
        features, length = array.reshape(-1, n_crops, dim), int(lengths[row])
        if bag.rows is not None:
            record = store.record(bag.video)
            features = bag.of(align_text(features, record.grid.n_snippets(record.n_frames)))
        if stretch or length == n_segments:
            features = segment_mean(features, n_segments)
        elif name.startswith("text/"):
            features = align_text(features, length)
        packed[row, :, :length] = features.transpose(1, 0, 2)
        done.advance()

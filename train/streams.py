"""Streams: the stored feature arrays that a detector reads, and how they become its input.

A stream is `visual/<name>` [snippets, crops, dim] or `text/<name>` [snippets, dim]; text is treated
as one crop. Detectors with two inputs (TEVAD) receive visual and text features separately. All
other detectors have one input: visual features, text features, or both concatenated, with the text
repeated for every crop.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vad.errors import UsageError
from vad.grid import align_text
from vad.store import ARRAYS_AT_ONCE, FeatureStore
from vad.store.metadata import rows_fit

from .card import Stream

# kind of stream ("visual", "text") -> name of the array, in the order of KINDS
Names = Mapping[str, str]
KINDS = ("visual", "text")
# this share of the mean deviation is added, so nearly constant features stay small
SPREAD_FLOOR = 0.1
CLIP = 5.0  # standard deviations; limits the influence of outliers


def choose_streams(
    store: FeatureStore, given: Mapping[str, str | None], *, needed: Iterable[str] = ()
) -> dict[str, str]:
    """Return the names of the arrays to read by kind, such as {"visual": "visual/i3d"}.

    given: array names that the user chose, by kind, without the prefix "visual/" or "text/".
    needed: kinds that the detector requires. If neither names a kind, the only visual array is
    chosen, or the only text array if the store has no visual one. Raises UsageError if an array is
    not in the store, or if no name is given and there are several arrays of a kind.
    """
    wanted = {kind for kind in KINDS if given.get(kind)} | set(needed)
    stored = {name.split("/")[0] for name in store.all_names()}
    if not wanted:
        wanted = {"text" if "text" in stored and "visual" not in stored else "visual"}
    if "text" in wanted and "text" not in stored:
        raise UsageError(
            f"{store.backend} holds no text features",
            hint=f"make some first: vad caption {store.backend}",
        )
    return {kind: store.resolve(kind, given.get(kind)) for kind in KINDS if kind in wanted}


def shapes_of(store: FeatureStore, names: Names, video: str) -> dict[str, tuple[int, int, int]]:
    """Return (rows, crops, dim) of every stream of a video, by kind.

    Imported text can have a few rows more or less than the video has snippets. Raises UsageError if
    the streams differ otherwise.
    """
    shapes = {}
    infos = {kind: store.info(video, name) for kind, name in names.items()}
    for kind, info in infos.items():
        n_rows, *crops, dim = info.shape
        shapes[kind] = (n_rows, crops[0] if crops else 1, dim)
    n_snippets = next(iter(shapes.values()))[0]
    if not all(rows_fit(names[kind], infos[kind], n_snippets) for kind in names):
        counts = ", ".join(f"{names[kind]} has {shapes[kind][0]}" for kind in names)
        raise UsageError(
            f"the streams of {video!r} in {store.backend} differ in snippets: {counts}",
            hint="make the one that is wrong again; row i of every array speaks of snippet i",
        )
    return shapes


def stored_streams(store: FeatureStore, names: Names, video: str) -> tuple[Stream, ...]:
    """Return the entries of a card that describe the features: names, widths, crops and provenance.

    Widths and crops are those of `video`.
    """
    shapes = shapes_of(store, names, video)
    return tuple(
        Stream(
            name,
            dim=shapes[kind][2],
            crops=shapes[kind][1] if kind == "visual" else None,
            provenance=store.provenance(name),
        )
        for kind, name in names.items()
    )


def read_streams(store: FeatureStore, names: Names, video: str) -> dict[str, NDArray[Any]]:
    """Read the streams of a video, each [snippets, crops, dim], by kind.

    Imported text is cut or filled to the snippets of the video, as in TEVAD. Raises UsageError if
    the streams have different numbers of snippets otherwise.
    """
    shapes = shapes_of(store, names, video)
    streams = {k: store.read(video, name).reshape(shapes[k]) for k, name in names.items()}
    if "text" in streams:
        record = store.record(video)
        n_snippets = record.grid.n_snippets(record.n_frames)
        streams["text"] = align_text(streams["text"], n_snippets)
    return streams


def read_arrays(
    store: FeatureStore, streams: Iterable[Stream], video: str
) -> dict[str, NDArray[Any]]:
    """Read the arrays of a video that streams name, each [snippets, crops, dim], by name."""
    names = {stream.name: stream.name for stream in streams}
    return read_streams(store, names, video)


def read_each(
    store: FeatureStore, names: Names, videos: Iterable[str]
) -> Iterator[dict[str, NDArray[Any]]]:
    """Yield the result of `read_streams` for each of several videos, in order.

    If the store is remote, the next videos are read while the current one is used.
    """
    return store.map(
        lambda video: read_streams(store, names, video), videos, at_once=ARRAYS_AT_ONCE
    )


@dataclass(frozen=True)
class Scaling:
    """A feature scaling: clip((x - shift) / scale) @ basis. Without tensors it changes nothing."""

    shift: Tensor | None = None  # [dim]
    scale: Tensor | None = None  # [dim]
    basis: Tensor | None = None  # [dim, components]

    @classmethod
    def standardise(cls, rows: NDArray[np.float32]) -> Scaling:
        """Return a scaling to mean 0 and standard deviation about 1.

        rows [rows, dim] are feature vectors of the training bags.
        """
        mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
        floor = SPREAD_FLOOR * deviation.mean() + 1e-6
        return cls(_tensor(mean), _tensor(deviation + floor))

    def with_components(self, rows: NDArray[np.float32], n: int) -> Scaling:
        """Return this scaling followed by a projection on the first n principal components.

        The components are scaled to a mean square of 1. rows [rows, dim] are feature vectors of the
        training bags; n is reduced to the number of rows or features if it is larger. The
        projection helps on small data sets: a few videos do not show which of a thousand single
        features matter, but they do for directions in which many features vary together.
        """
        scaled = self(torch.from_numpy(rows)).double()
        n = min(n, *scaled.shape)
        _, values, axes = torch.linalg.svd(scaled - scaled.mean(0), full_matrices=False)
        size = values[:n].square().sum().div(n * len(rows)).sqrt().clamp_min(1e-6)
        return Scaling(self.shift, self.scale, (axes[:n].T / size).float())

    @property
    def dim(self) -> int | None:
        """Return the number of components, or None if the scaling does not change the feature
        width.
        """
        return None if self.basis is None else self.basis.shape[1]

    @property
    def features_dim(self) -> int | None:
        """Return the feature width that the scaling expects, or None if it changes nothing."""
        return None if self.shift is None else self.shift.shape[0]

    @property
    def device(self) -> torch.device | None:
        """Return the device of the tensors, or None if there are none."""
        return None if self.shift is None else self.shift.device

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Scaling:
        """Return the scaling with these tensors.

        "shift" and "scale" are [dim], "basis" is [dim, components]; each may be missing.
        """
        return cls(tensors.get("shift"), tensors.get("scale"), tensors.get("basis"))

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are not None by name, for the weights file.

        "shift" and "scale" are [dim], "basis" is [dim, components].
        """
        named = {"shift": self.shift, "scale": self.scale, "basis": self.basis}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def to(self, device: torch.device) -> Scaling:
        """Return a copy on a device."""
        return Scaling.from_tensors({n: t.to(device) for n, t in self.tensors().items()})

    def __call__(self, features: Tensor) -> Tensor:
        """Return features [..., dim], scaled: [..., dim] or [..., components]."""
        if self.shift is None or self.scale is None:
            return features
        scaled = ((features - self.shift) / self.scale).clamp(-CLIP, CLIP)
        return scaled if self.basis is None else scaled @ self.basis


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


@dataclass(frozen=True)
class Inputs:
    """Scales streams and combines them to the input of `Detector.forward`. It is saved with the
    run.
    """

    scalings: Mapping[str, Scaling]
    # True for detectors with separate visual and text inputs; False: concatenate
    apart: bool = False

    def __call__(self, streams: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """Scale and combine streams by kind, and return the visual and the text input.

        A stream is [videos, crops, snippets, dim], and so is the visual input. The text input is
        [videos, snippets, dim] if streams are kept apart; else it is None, and text is part of the
        visual input.
        """
        scaled = {kind: self.scalings[kind](stream) for kind, stream in streams.items()}
        if self.apart:
            return scaled["visual"], scaled["text"][:, 0]
        first, *others = scaled.values()
        beside = [other.expand(*first.shape[:3], -1) for other in others]
        return torch.cat([first, *beside], -1), None

    def of_arrays(self, streams: Mapping[str, NDArray[Any]]) -> tuple[Tensor, Tensor | None]:
        """Return the visual and the text input for one video.

        streams are stored arrays [snippets, crops, dim], by kind; see `__call__` for the result.
        """
        return self(
            {
                kind: torch.from_numpy(stream.astype(np.float32))
                .to(self.scalings[kind].device)
                .transpose(0, 1)[None]
                for kind, stream in streams.items()
            }
        )

    def dims(self, widths: Mapping[str, int]) -> tuple[int, int | None]:
        """Return the visual and the text width of the detector's input.

        widths are the feature widths of the streams, by kind.
        """
        scaled = {kind: self.scalings[kind].dim or width for kind, width in widths.items()}
        if self.apart:
            return scaled["visual"], scaled["text"]
        return sum(scaled.values()), None

    def to(self, device: torch.device) -> Inputs:
        """Return a copy on a device."""
        return Inputs({kind: s.to(device) for kind, s in self.scalings.items()}, self.apart)

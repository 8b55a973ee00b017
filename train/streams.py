"""Streams: the stored arrays that a detector reads, and how they become its input.

A stream is `visual/<name>` [snippets, crops, dim] or `text/<name>` [snippets, dim]; text counts as
one crop. Detectors of two streams (TEVAD) are given them apart. All others read one: either kind,
or both side by side, with the text repeated for every crop.
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
from vad.store import ARRAYS_AT_ONCE, FeatureStore

from .card import Stream

Names = Mapping[str, str]  # kind of stream -> name of its array, in the order of KINDS
KINDS = ("visual", "text")
SPREAD_FLOOR = 0.1  # of the mean deviation, so that features that hardly vary stay small
CLIP = 5.0  # deviations: one wild snippet shall not rule the others


def choose_streams(
    store: FeatureStore, given: Mapping[str, str | None], *, needed: Iterable[str] = ()
) -> dict[str, str]:
    """Names of the arrays to read, such as {"visual": "visual/i3d"}.

    given: what the user names of each kind, without the kind; needed: the kinds that the detector
    cannot do without. By default the only visual array, or, in a store without any, the only text.
    Raises UsageError where an array is not stored, and where there are several to choose from.
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
    """(snippets, crops, dim) of every stream of a video; UsageError if the snippets differ."""
    shapes = {}
    for kind, name in names.items():
        n_snippets, *crops, dim = store.info(video, name).shape
        shapes[kind] = (n_snippets, crops[0] if crops else 1, dim)
    if len({shape[0] for shape in shapes.values()}) > 1:
        counts = ", ".join(f"{names[kind]} has {shapes[kind][0]}" for kind in names)
        raise UsageError(
            f"the streams of {video!r} in {store.backend} differ in snippets: {counts}",
            hint="make the one that is wrong again; row i of every array speaks of snippet i",
        )
    return shapes


def stored_streams(store: FeatureStore, names: Names, video: str) -> tuple[Stream, ...]:
    """What a card says of features: how wide they are, as one video has them, and how made."""
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
    """The streams of a video, each [snippets, crops, dim]; UsageError if the snippets differ."""
    shapes = shapes_of(store, names, video)
    return {kind: store.read(video, name).reshape(shapes[kind]) for kind, name in names.items()}


def read_each(
    store: FeatureStore, names: Names, videos: Iterable[str]
) -> Iterator[dict[str, NDArray[Any]]]:
    """`read_streams` of several videos, one after the other; a far store is read ahead."""
    return store.each(
        lambda video: read_streams(store, names, video), videos, at_once=ARRAYS_AT_ONCE
    )


@dataclass(frozen=True)
class Scaling:
    """clip((x - shift) / scale) @ basis. Without tensors, features stay as they are."""

    shift: Tensor | None = None  # [dim]
    scale: Tensor | None = None  # [dim]
    basis: Tensor | None = None  # [dim, components]

    @classmethod
    def standardise(cls, rows: NDArray[np.float32]) -> Scaling:
        """To mean 0 and deviation about 1; rows [rows, dim] of the training bags."""
        mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
        floor = SPREAD_FLOOR * deviation.mean() + 1e-6
        return cls(_tensor(mean), _tensor(deviation + floor))

    def with_components(self, rows: NDArray[np.float32], n: int) -> Scaling:
        """After standardising, only the n principal components, their mean square brought to 1.

        rows [rows, dim] of the training bags. n is at most what the rows span. A few videos cannot
        tell which of a thousand features matter; they can for the directions that vary together.
        """
        scaled = self(torch.from_numpy(rows)).double()
        n = min(n, *scaled.shape)
        _, values, axes = torch.linalg.svd(scaled - scaled.mean(0), full_matrices=False)
        size = values[:n].square().sum().div(n * len(rows)).sqrt().clamp_min(1e-6)
        return Scaling(self.shift, self.scale, (axes[:n].T / size).float())

    @property
    def dim(self) -> int | None:
        """Width of the scaled features, where it differs from that of the features."""
        return None if self.basis is None else self.basis.shape[1]

    @property
    def features_dim(self) -> int | None:
        """Width of the features that it scales; None where it scales none."""
        return None if self.shift is None else self.shift.shape[0]

    @property
    def device(self) -> torch.device | None:
        """Where its tensors are; None without any."""
        return None if self.shift is None else self.shift.device

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Scaling:
        """The scaling that `tensors` describes.

        shift and scale [dim], basis [dim, components]; each may be missing.
        """
        return cls(tensors.get("shift"), tensors.get("scale"), tensors.get("basis"))

    def tensors(self) -> dict[str, Tensor]:
        """What to store.

        shift and scale [dim], basis [dim, components], as far as there are.
        """
        named = {"shift": self.shift, "scale": self.scale, "basis": self.basis}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def to(self, device: torch.device) -> Scaling:
        """The same on a device."""
        return Scaling.from_tensors({n: t.to(device) for n, t in self.tensors().items()})

    def __call__(self, features: Tensor) -> Tensor:
        """features [..., dim], scaled."""
        if self.shift is None or self.scale is None:
            return features
        scaled = ((features - self.shift) / self.scale).clamp(-CLIP, CLIP)
        return scaled if self.basis is None else scaled @ self.basis


def _tensor(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))


@dataclass(frozen=True)
class Inputs:
    """From streams to what `Detector.forward` takes. Kept with the run."""

    scalings: Mapping[str, Scaling]
    apart: bool = False  # two streams, rather than all side by side in one

    def __call__(self, streams: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """streams [videos, crops, snippets, dim] by kind -> visual like them, and text.

        text is [videos, snippets, dim] where streams are kept apart, None elsewhere.
        """
        scaled = {kind: self.scalings[kind](stream) for kind, stream in streams.items()}
        if self.apart:
            return scaled["visual"], scaled["text"][:, 0]
        first, *others = scaled.values()
        beside = [other.expand(*first.shape[:3], -1) for other in others]
        return torch.cat([first, *beside], -1), None

    def of_arrays(self, streams: Mapping[str, NDArray[Any]]) -> tuple[Tensor, Tensor | None]:
        """The same for one video as stored: [snippets, crops, dim] by kind."""
        return self(
            {
                kind: torch.from_numpy(stream.astype(np.float32))
                .to(self.scalings[kind].device)
                .transpose(0, 1)[None]
                for kind, stream in streams.items()
            }
        )

    def dims(self, widths: Mapping[str, int]) -> tuple[int, int | None]:
        """Widths that a detector is made for, visual and text, from those of the streams."""
        scaled = {kind: self.scalings[kind].dim or width for kind, width in widths.items()}
        if self.apart:
            return scaled["visual"], scaled["text"]
        return sum(scaled.values()), None

    def to(self, device: torch.device) -> Inputs:
        """The same on a device."""
        return Inputs({kind: s.to(device) for kind, s in self.scalings.items()}, self.apart)

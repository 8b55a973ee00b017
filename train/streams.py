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

from .scaling import Scaling

Names = Mapping[str, str]  # kind of stream -> name of its array, in the order of KINDS
KINDS = ("visual", "text")


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
            f"{store.place} holds no text features",
            hint=f"make some first: vad caption {store.place}",
        )
    return {kind: store.resolve(kind, given.get(kind)) for kind in KINDS if kind in wanted}


def shapes_of(store: FeatureStore, names: Names, video: str) -> dict[str, tuple[int, int, int]]:
    """(snippets, crops, dim) of every stream of a video; UsageError if the snippets differ."""
    shapes = {}
    for kind, name in names.items():
        n_snippets, *crops, dim = store.attributes(video, name)["shape"]
        shapes[kind] = (n_snippets, crops[0] if crops else 1, dim)
    if len({shape[0] for shape in shapes.values()}) > 1:
        counts = ", ".join(f"{names[kind]} has {shapes[kind][0]}" for kind in names)
        raise UsageError(
            f"the streams of {video!r} in {store.place} differ in snippets: {counts}",
            hint="make the one that is wrong again; row i of every array speaks of snippet i",
        )
    return shapes


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

"""The two kinds of sides in a comparison: an array of a store, or files of features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vad.errors import UsageError, VideoError
from vad.names import VideoNames, stem_of
from vad.store import FeatureStore, Provenance
from vad.store.backends.backend import parse_address

from ..layouts.checks import common_shape
from ..layouts.finding import find_files


@dataclass
class StoredSide:
    """A side of a comparison that is an array of a store."""

    store: FeatureStore
    array: str

    @property
    def name(self) -> str:
        return f"{self.store.backend} {self.array}"

    @cached_property
    def videos(self) -> list[str]:
        return self.store.having(self.array)

    @cached_property
    def provenance(self) -> Provenance | None:
        return self.store.provenance(self.array)

    @property
    def shape(self) -> tuple[int, int]:
        _, *crops, dim = self.store.info(self.videos[0], self.array).shape
        return (crops[0] if crops else 1), dim

    def read(self, video: str) -> NDArray[np.generic]:
        """Read the features of a video: [snippets, crops, dim]."""
        features = self.store.read(video, self.array)
        return features if features.ndim == 3 else features[:, None]

    def seconds(self, video: str, snippet: int) -> float | None:
        """Return when a snippet begins, in seconds."""
        times = self.store.times(video)
        return self.store.record(video).grid.seconds(snippet, times, 0.0)[0]


class FileSide:
    """A side of a comparison that consists of feature files, whose recipe is not known."""

    provenance = None

    def __init__(self, path: Path, layout: str, axes: str) -> None:
        self._found = find_files([path], layout)
        self.name = f"{path} ({self._found.layout.name})"
        self.videos = sorted(self._found.videos)
        # Keep the shapes only: a set can have more files than a process is allowed to open.
        shapes = {
            f"{video}, file {k}": array.shape
            for video in self.videos
            for k, array in enumerate(self._open(video))
        }
        self._axis, n_crops, dim = common_shape(shapes, axes)
        n_files = max(map(len, self._found.videos.values()))
        if lacking := [v for v, files in self._found.videos.items() if len(files) < n_files]:
            raise UsageError(f"{path}: {lacking[0]!r} has fewer files than the other videos")
        if self._found.layout.joins_dims:
            dim *= n_files
        elif self._axis is None:
            n_crops = n_files
        self.shape = (n_crops, dim)

    def _open(self, video: str) -> list[NDArray[np.generic]]:
        crops = self._found.videos[video]
        try:
            return [self._found.layout.open(crops[k]) for k in sorted(crops)]
        except VideoError as error:
            raise UsageError(str(error)) from error

    def read(self, video: str) -> NDArray[np.generic]:
        """Read the features of a video from its files: [snippets, crops, dim]. Raises UsageError if
        a file cannot be read.
        """
        arrays = self._open(video)
        if len({len(array) for array in arrays}) > 1:
            raise UsageError(f"the files of {video!r} in {self.name} differ in their rows")
        if self._found.layout.joins_dims:
            return np.concatenate(arrays, axis=-1)[:, None]
        if self._axis is None:
            return np.stack(arrays, axis=1)
        return np.moveaxis(arrays[0], self._axis, 1)

    def seconds(self, video: str, snippet: int) -> float | None:
        """Return None: files hold no times."""
        return None


Side = StoredSide | FileSide


def side_of(where: str | Path, name: str | None, layout: str, axes: str) -> Side:
    """Return the side at a path: the store there, or else the feature files. Raises UsageError if
    there are none.
    """
    path = parse_address(where)
    if isinstance(path, Path) and not FeatureStore.exists(path):
        return FileSide(path, layout, axes)
    store = FeatureStore.open(path)
    kinds = {name.split("/")[0] for name in store.all_names()}
    kind = "text" if kinds == {"text"} else "visual"
    if name and "/" in name:
        kind, _, name = name.partition("/")
    return StoredSide(store, store.resolve(kind, name))


def pairs_of(ours: list[str], theirs: list[str]) -> list[tuple[str, str]]:
    """Pair the videos of both sides: by equal ids, or by the last part of the id if it is
    unambiguous. If each side has one video only, these two are a pair.
    """
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]
    names, stored, found = VideoNames(theirs), set(theirs), []
    for video in ours:
        fits = [video] if video in stored else names.with_stem(stem_of(video))
        if len(fits) == 1:
            found.append((video, fits[0]))
    return found

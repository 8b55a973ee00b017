"""The feature store: the contract between extraction and everything after it.

    features.zarr/                zarr v3, one group for each video
      zarr.json                   attributes: schema
      <key>/                      key = the video id, percent-encoded (see `key_of`)
        zarr.json                 attributes: the `VideoRecord`
        times                     [frames] float64, presentation time of every frame in seconds
        visual/<name>             [snippets, crops, dim] float16 (or float32), zstd
        text/<name>               [snippets, dim]
        captions/<name>           [snippets] utf-8
      .scratch/                   videos that running processes are writing

A video appears whole or not at all: it is written as a draft, then published by the backend (see
`vad.store.backends`). So does an array that joins a video later. The attributes of every array
hold `provenance` (the settings that made it), `sha256` (of its bytes in C order, see `bytes_of`)
and, written last, `complete`. Every `zarr.json` of a video has a checksum (see `metadata`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

import numpy as np
import zarr
from numpy.typing import NDArray

from ..errors import InternalError, UsageError
from ..names import did_you_mean, key_of
from .arrays import digest_of
from .backends import Backend, backend_of
from .backends.folder import FolderBackend
from .draft import Draft
from .metadata import VideoRecord, differences

SCHEMA = 1
KINDS = ("visual", "text", "captions")  # of the arrays of a video
ARRAYS_AT_ONCE = 4  # read ahead from a bucket; each may be large

Item = TypeVar("Item")
Result = TypeVar("Result")


class FeatureStore:
    """The arrays and records of all videos. Use `open` or `create`."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @classmethod
    def open(cls, where: str | Path) -> FeatureStore:
        """Open the store in a folder or at an address such as `s3://bucket/features.zarr`.

        Raises UsageError if there is no store, or one of another schema.
        """
        backend = backend_of(where)
        try:
            schema = json.loads(backend.read("zarr.json"))["attributes"]["vad"]["schema"]
        except FileNotFoundError:
            raise UsageError(
                f"no feature store at {backend}",
                hint=f"make one: vad extract VIDEOS --store {backend}",
            ) from None
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"{backend} is not a feature store of vad") from None
        if schema != SCHEMA:
            raise UsageError(
                f"{backend} has schema {schema}, this vad reads schema {SCHEMA}",
                hint="use the version of vad that wrote it, or extract again",
            )
        return cls(backend)

    @classmethod
    def create(cls, where: str | Path) -> FeatureStore:
        """Open a store, or make an empty one if there is none."""
        backend = backend_of(where)
        if not cls.exists(where):
            if not backend.is_free():
                raise UsageError(
                    f"{backend} exists and is not a feature store", hint="choose another --store"
                )
            attributes = {"vad": {"schema": SCHEMA}}
            group = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
            backend.write("zarr.json", json.dumps(group, indent=2).encode())
        return cls.open(where)

    @staticmethod
    def exists(where: str | Path) -> bool:
        """Whether there is a store, or another zarr group."""
        return backend_of(where).exists("zarr.json")

    @property
    def path(self) -> Path:
        """The folder of the store. Raises UsageError for a store in a bucket."""
        if not isinstance(self.backend, FolderBackend):
            raise UsageError(f"{self.backend} is not a folder")
        return self.backend.path

    # --- reading

    def ids(self) -> list[str]:
        """Ids of the stored videos, sorted."""
        keys = self.backend.folders()
        long = [key for key in keys if "~" in key and len(key) > 160]
        named = dict(
            zip(long, self.each(lambda key: self._attributes(key)["id"], long), strict=True)
        )
        return sorted(named.get(key) or unquote(key) for key in keys)

    def __contains__(self, video_id: str) -> bool:
        return self.backend.exists(f"{key_of(video_id)}/zarr.json")

    def names(self, video_id: str) -> list[str]:
        """Names of the arrays of a video, such as `visual/i3d`, sorted."""
        try:
            found = self.backend.arrays(key_of(video_id))
        except FileNotFoundError:
            self._refuse(video_id)
        return [name for name in found if name.split("/")[0] in KINDS]

    def having(self, *names: str) -> list[str]:
        """Ids of the videos that have all these arrays, sorted."""
        ids = self.ids()
        found = zip(ids, self.each(self.names, ids), strict=True)
        return [video_id for video_id, have in found if set(names) <= set(have)]

    def all_names(self) -> list[str]:
        """Names of the arrays that any video has, sorted."""
        return sorted({name for names in self.each(self.names, self.ids()) for name in names})

    def record(self, video_id: str) -> VideoRecord:
        """The record of a video."""
        try:
            attributes = self._attributes(key_of(video_id))
        except FileNotFoundError:
            self._refuse(video_id)
        return VideoRecord.from_attributes(attributes)

    def times(self, video_id: str) -> NDArray[np.float64]:
        """Presentation time of every frame, [frames], seconds from the first one."""
        return np.asarray(self.read(video_id, "times"), np.float64)

    def read(self, video_id: str, name: str) -> NDArray[Any]:
        """One array as stored: `visual/...` [snippets, crops, dim], `text/...` [snippets, dim],
        `captions/...` [snippets] of str.

        In a bucket, the video may be replaced while it is read. Then the checksum does not match,
        and the array is read again. Raises UsageError if it does not match the second time either.
        """
        for _ in range(2):
            array = self._open(video_id, name)
            if not array.attrs.get("complete"):
                raise InternalError(f"{name} of {video_id!r} in {self.backend} was never completed")
            values = np.asarray(array[:])
            if self.backend.is_atomic or digest_of([values]) == array.attrs["sha256"]:
                return values
        raise UsageError(
            f"{name} of {video_id!r} in {self.backend} is not what was written",
            hint=f"vad verify {self.backend} --repair",
        )

    def attributes(self, video_id: str, name: str) -> dict[str, Any]:
        """`provenance`, `sha256`, `shape` and `dtype` of one array, without reading it."""
        if video_id not in self or (found := self._array_attributes(video_id, name)) is None:
            self._refuse(video_id, name)
        return found

    def each(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 0
    ) -> Iterator[Result]:
        """`map`, with several calls under way if the store is in a bucket; results in order."""
        return self.backend.each(function, items, at_once=at_once)

    def provenance(self, name: str) -> dict[str, Any] | None:
        """The settings that made an array, or None if no video has it.

        Raises UsageError if videos of the store were made with different settings.
        """
        first: tuple[str, dict[str, Any]] | None = None
        ids = self.ids()
        every = self.each(lambda video_id: self._array_attributes(video_id, name), ids)
        for video_id, attributes in zip(ids, every, strict=True):
            if attributes is None:
                continue
            found: dict[str, Any] = attributes["provenance"]
            if first is None:
                first = video_id, found
            elif differing := differences(first[1], found):
                raise UsageError(
                    f"{name} of {first[0]!r} and {video_id!r} in {self.backend} were made with "
                    f"different {', '.join(differing)}",
                    hint="extract them again into one new store",
                )
        return first[1] if first else None

    def resolve(self, kind: str, name: str | None) -> str:
        """The full name of an array of a kind (see `KINDS`); without `name`, of the only one.

        Raises UsageError if there is none, or several and no `name`.
        """
        found = [n for n in self.all_names() if n.startswith(f"{kind}/")]
        if name is None and len(found) == 1:
            return found[0]
        if name is not None and f"{kind}/{name}" in found:
            return f"{kind}/{name}"
        have = ", ".join(n.split("/", 1)[1] for n in found) or "none"
        if name is None and found:
            raise UsageError(
                f"{self.backend} holds several {kind} arrays: {have}", hint=f"choose with --{kind}"
            )
        wanted = f"{kind} array {name!r}" if name else f"{kind} array"
        raise UsageError(f"{self.backend} holds no {wanted}; it has: {have}")

    # --- writing

    def draft(self, video_id: str) -> Draft:
        """Start to write a video; nothing is visible before `Draft.commit`."""
        return Draft(self.backend, video_id)

    def sweep(self) -> None:
        """Remove the drafts of processes of this host that have died."""
        self.backend.sweep()

    def remove(self, video_id: str) -> None:
        """Remove a video from the store."""
        if video_id not in self:
            self._refuse(video_id)
        self.backend.remove(key_of(video_id))

    # --- internals

    def _refuse(self, video_id: str, name: str = "") -> NoReturn:
        """Raise UsageError: there is no such video, or no such array of it."""
        if name and video_id in self:
            have = ", ".join(self.names(video_id)) or "none"
            raise UsageError(
                f"{video_id!r} in {self.backend} has no array {name!r}; it has: {have}"
            )
        hint = did_you_mean(video_id, self.ids()) or f"see: vad inspect {self.backend}"
        raise UsageError(f"no video {video_id!r} in {self.backend}", hint=hint)

    def _open(self, video_id: str, name: str) -> zarr.Array[Any]:
        try:
            if video_id in self:
                return self.backend.open(f"{key_of(video_id)}/{name}")
        except FileNotFoundError:
            pass
        self._refuse(video_id, name)

    def _attributes(self, key: str) -> dict[str, Any]:
        attributes: dict[str, Any] = json.loads(self.backend.read(f"{key}/zarr.json"))["attributes"]
        return attributes

    def _array_attributes(self, video_id: str, name: str) -> dict[str, Any] | None:
        try:
            meta = json.loads(self.backend.read(f"{key_of(video_id)}/{name}/zarr.json"))
        except FileNotFoundError:
            return None
        return {**meta["attributes"], "shape": meta["shape"], "dtype": meta["data_type"]}

"""The feature store, which extraction writes and all later stages read.

    features.zarr/                zarr v3, one group for each video
      zarr.json                   attributes: schema
      <key>/                      key = the video id, percent-encoded (see `key_of`)
        zarr.json                 attributes: the `VideoRecord`
        times                     [frames] float64, presentation time of every frame in seconds
        visual/<name>             [snippets, crops, dim] float16 (or float32), zstd
        text/<name>               [snippets, dim]
        captions/<name>           [snippets] utf-8
      .scratch/                   videos that running processes are writing

A video appears only when complete: it is written as a draft, then published by the backend (see
`vad.store.backends`). The same holds for an array that is added to a video later. The attributes of
every array are `provenance` (the settings that made the array), `sha256` (of its bytes in C order,
see `bytes_of`), `crc32` (of each chunk file) and, written last, `complete`. Every `zarr.json` of a
video has a checksum (see `metadata`).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from ..documents import parse
from ..errors import UsageError, VadError, VideoError
from ..names import did_you_mean, key_of, shortened
from .backends import Backend, backend_of
from .backends.folder import FolderBackend
from .draft import Draft
from .metadata import ArrayInfo, Damage, Provenance, VideoRecord, differences, parse_document
from .reading import StoredVideo

SCHEMA = 1
KINDS = ("visual", "places", "peaks", "text", "captions")  # kinds of arrays of a video
SHOWN = 20  # videos in the table of a notebook
ARRAYS_AT_ONCE = 4  # arrays read ahead from a bucket; each can be large

log = logging.getLogger("vad")
_named: set[tuple[str, str]] = set()  # (store, folder) of foreign folders already named in the log

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Vad:
    schema: object


@dataclass(frozen=True)
class _StoreAttributes:
    vad: _Vad


class FeatureStore:
    """The arrays and records of all videos. Use `FeatureStore.open` or `FeatureStore.create`."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @classmethod
    def open(cls, where: str | Path) -> FeatureStore:
        """Open the store in a folder or at an address such as `s3://bucket/features.zarr`.

        Raises UsageError if there is no store, or one of another schema.
        """
        backend = backend_of(where)
        try:
            attributes = parse_document(backend.read("zarr.json")).attributes
            schema = parse(_StoreAttributes, attributes).vad.schema
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(
                f"no feature store at {backend}",
                hint=f"make one: vad extract VIDEOS --store {backend}",
            ) from None
        except (OSError, Damage, ValueError) as error:
            raise UsageError(f"{backend} is not a feature store of vad: {error}") from None
        if schema != SCHEMA:
            raise UsageError(
                f"{backend} has schema {schema}, this vad reads schema {SCHEMA}",
                hint="use the version of vad that wrote it, or extract again",
            )
        return cls(backend)

    @classmethod
    def create(cls, where: str | Path) -> FeatureStore:
        """Open a store, or make an empty one if there is none.

        Raises UsageError if something else exists there, or if it cannot be written.
        """
        backend = backend_of(where)
        if not cls.exists(where):
            if not backend.is_free():
                raise UsageError(
                    f"{backend} exists and is not a feature store", hint="choose another --store"
                )
            attributes = {"vad": {"schema": SCHEMA}}
            group = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
            try:
                backend.write("zarr.json", json.dumps(group, indent=2).encode())
            except OSError as error:
                raise UsageError(f"no store can be made at {backend}: {error.strerror}") from None
        return cls.open(where)

    @staticmethod
    def exists(where: str | Path) -> bool:
        """Return True if there is a store, or another zarr group."""
        return backend_of(where).exists("zarr.json")

    def __repr__(self) -> str:
        try:
            ids = self.ids()
        except (VadError, OSError) as error:
            return f"FeatureStore {self.backend}: {error}"
        lines = [f"FeatureStore {self.backend}: {len(ids)} videos {shortened(ids)}".rstrip()]
        return "\n".join(lines + [f"  {words}" for words in self._arrays_of(ids[:1])])

    def _repr_html_(self) -> str:
        """Return an HTML table of the first videos, which notebooks show."""
        ids = self.ids()
        rows = [("video", "frames", "seconds", "arrays")]
        for video_id in ids[:SHOWN]:
            try:
                record = self.record(video_id)
                arrays = ", ".join(self.names(video_id))
                rows.append((video_id, str(record.n_frames), f"{record.duration_s:.1f}", arrays))
            except VideoError as error:
                rows.append((video_id, "", "", str(error)))
        table = "".join(f"<tr><td>{'<td>'.join(map(escape, row))}</tr>" for row in rows)
        more = f"<p>and {len(ids) - SHOWN} more</p>" if len(ids) > SHOWN else ""
        return f"<p>{escape(str(self.backend))}</p><table>{table}</table>{more}"

    def _arrays_of(self, ids: Iterable[str]) -> Iterator[str]:
        """Yield a line about each array of the videos: its name, its shape and its dtype."""
        for video_id in ids:
            try:
                for name in self.names(video_id):
                    info = self.info(video_id, name)
                    size = " x ".join(("snippets", *map(str, info.shape[1:])))
                    yield f"{name} [{size}] {info.dtype}"
            except VadError as error:
                yield str(error)

    @property
    def path(self) -> Path:
        """Return the folder of the store. Raises UsageError for a store in a bucket."""
        if not isinstance(self.backend, FolderBackend):
            raise UsageError(f"{self.backend} is not a folder")
        return self.backend.path

    # --- reading

    def ids(self) -> list[str]:
        """Return the ids of the stored videos, sorted.

        Folders that contain no video are ignored and named once in the log.
        """
        ids, strangers = [], []
        for key, video_id in zip(
            keys := self.backend.videos(), self.map(self._id_of, keys), strict=True
        ):
            if video_id is None:
                strangers.append(key)
            else:
                ids.append(video_id)
        self._name_strangers(strangers)
        return sorted(ids)

    def __contains__(self, video_id: str) -> bool:
        return self.backend.exists(f"{key_of(video_id)}/zarr.json")

    def names(self, video_id: str) -> list[str]:
        """Return the names of a video's arrays, such as `visual/i3d`, sorted.

        Raises UsageError if there is no such video.
        """
        try:
            found = self.backend.arrays(key_of(video_id))
        except FileNotFoundError:
            raise self._absent(video_id) from None
        return [name for name in found if name.split("/")[0] in KINDS]

    def having(self, *names: str) -> list[str]:
        """Return the ids of the videos that have all these arrays, damaged or not, sorted."""
        ids = self.ids()
        found = zip(ids, self.map(self.names, ids), strict=True)
        return [video_id for video_id, have in found if set(names) <= set(have)]

    def intact(self, *names: str) -> list[str]:
        """Return the ids of the videos for which `is_intact` is true, sorted."""
        ids = self.ids()
        found = zip(ids, self.map(lambda video: self.is_intact(video, *names), ids), strict=True)
        return [video_id for video_id, is_intact in found if is_intact]

    def is_intact(self, video_id: str, *names: str) -> bool:
        """Return True if a video is stored with these arrays, and so need not be made again.

        Its metadata must be as written and every chunk present. Values are not read, unlike by `vad
        verify`.
        """
        return self._video(video_id).is_whole(*names)

    def all_names(self) -> list[str]:
        """Return the names of all arrays that at least one video has, sorted."""
        return sorted({name for names in self.map(self.names, self.ids()) for name in names})

    def record(self, video_id: str) -> VideoRecord:
        """Return the record of a video. Raises VideoError if it is damaged."""
        with self._errors(video_id):
            return self._video(video_id).record()

    def source_of(self, record: VideoRecord) -> Path:
        """Return the path of the file that a video was read from.

        Earlier versions stored paths relative to the working folder of that time. Such a path is
        tried relative to the working folder, then to the folder that contains the store.
        """
        path = Path(record.source)
        if isinstance(self.backend, FolderBackend) and not path.exists():
            beside = self.backend.path.parent / path
            return beside if beside.exists() else path
        return path

    def times(self, video_id: str) -> NDArray[np.float64]:
        """Return the presentation time of every frame, [frames], in seconds from the first one."""
        return np.asarray(self.read(video_id, "times"), np.float64)

    def read(self, video_id: str, name: str) -> NDArray[Any]:
        """Return one array: `visual/...` [snippets, crops, dim], `text/...` [snippets, dim],
        `captions/...` [snippets] of str.

        Raises VideoError if the array does not match its checksums. In a bucket, another process
        can replace the video during the reading; so the array is read once more before the error.
        """
        with self._errors(video_id, name):
            try:
                return self._video(video_id).values(name)
            except Damage:
                if self.backend.is_atomic:
                    raise
                return self._video(video_id).values(name)

    def info(self, video_id: str, name: str) -> ArrayInfo:
        """Return shape, type, provenance and checksum of an array. Raises VideoError if damaged."""
        with self._errors(video_id, name):
            return self._video(video_id).array(name)

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 0
    ) -> Iterator[Result]:
        """Map a function over items; yield the results in order.

        In a bucket, or with `at_once`, several calls run at the same time.
        """
        return self.backend.map(function, items, at_once=at_once)

    def provenance(self, name: str) -> Provenance | None:
        """Return how an array was made, or None if no undamaged video has it.

        Raises UsageError if videos of the store were made with different settings.
        """
        first: tuple[str, Provenance] | None = None
        ids = self.ids()
        every = self.map(lambda video_id: self._provenance_of(video_id, name), ids)
        for video_id, found in zip(ids, every, strict=True):
            if found is None:
                continue
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
        """Return the full name of an array of a kind (see `KINDS`); without `name`, of the only
        one.

        Raises UsageError if there is none, or if there are several and no `name` is given.
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
        """Begin to write a video; nothing is visible before `Draft.commit`."""
        return Draft(self.backend, video_id)

    def sweep(self) -> None:
        """Remove the drafts of processes of this host that have died."""
        self.backend.sweep()

    def remove(self, video_id: str) -> None:
        """Remove a video from the store. Raises UsageError if there is no such video."""
        if video_id not in self:
            raise self._absent(video_id)
        self.backend.remove(key_of(video_id))

    # --- internals

    def _video(self, video_id: str) -> StoredVideo:
        return StoredVideo(self.backend, key_of(video_id))

    @contextmanager
    def _errors(self, video_id: str, name: str = "") -> Iterator[None]:
        """Raise errors about one video, in place of Damage and FileNotFoundError, that name the
        video.
        """
        try:
            yield
        except FileNotFoundError:
            raise self._absent(video_id, name) from None
        except Damage as damage:
            raise self._damaged(video_id, f"{name}: {damage}" if name else str(damage)) from damage

    def _damaged(self, video_id: str, what: str) -> VideoError:
        return VideoError(
            "not-intact",
            f"{video_id!r} in {self.backend} is not what was written: {what}",
            hint=f"vad verify {self.backend} --repair",
        )

    def _absent(self, video_id: str, name: str = "") -> UsageError | VideoError:
        """Return the error that says that there is no such video, or no such array of the video."""
        if name and video_id in self:
            have = ", ".join(self.names(video_id)) or "none"
            return UsageError(
                f"{video_id!r} in {self.backend} has no array {name!r}; it has: {have}"
            )
        if key_of(video_id) in self.backend.folders():
            return self._damaged(video_id, "its zarr.json is missing")
        hint = did_you_mean(video_id, self.ids()) or f"see: vad inspect {self.backend}"
        return UsageError(f"no video {video_id!r} in {self.backend}", hint=hint)

    def _id_of(self, key: str) -> str | None:
        """Return the id of the video in a folder; None if the folder's name is not made by
        `key_of`.
        """
        if (
            "~" in key and len(key) > 160
        ):  # the key of a long id ends with a digest; only the record has the id
            try:
                return StoredVideo(self.backend, key).identity()[0]
            except (FileNotFoundError, Damage):
                return None
        return video_id if key_of(video_id := unquote(key)) == key else None

    def _name_strangers(self, keys: Iterable[str]) -> None:
        new = [key for key in keys if (str(self.backend), key) not in _named]
        _named.update((str(self.backend), key) for key in new)
        if new:
            log.warning(
                "%s: %d folders hold no video of vad and are left alone: %s; see: vad verify %s",
                *(self.backend, len(new), shortened(new), self.backend),
            )

    def _provenance_of(self, video_id: str, name: str) -> Provenance | None:
        try:
            return self._video(video_id).array(name).provenance
        except (FileNotFoundError, Damage):  # damage is reported when the array is read
            return None

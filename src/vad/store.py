"""The feature store: the contract between extraction and everything after it.

    features.zarr/                zarr v3, one group a video
      zarr.json                   attributes: schema
      <key>/                      key = the video id, percent-encoded (see `key_of`)
        zarr.json                 attributes: the `VideoRecord`
        times                     [frames] float64, presentation time of every frame in seconds
        visual/<name>             [snippets, crops, dim] float16 (or float32), zstd
        text/<name>               [snippets, dim]
        captions/<name>           [snippets] utf-8
      .scratch/                   drafts of running processes

A video appears whole or not at all: it is written as a draft and published by its place, a folder
or a bucket (see `vad.places`). An array that joins a video later appears in the same way. Every
array carries, in its own attributes, `provenance` (the settings that made it), `sha256` (of its
bytes in C order, see `bytes_of`) and, written last, `complete`; every `zarr.json` of a video is
sealed (see `vad.seal`).
"""

from __future__ import annotations

import difflib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

import numpy as np
import zarr
from numpy.typing import NDArray

from .column import Column, digest_of, is_text
from .errors import InternalError, UsageError, VideoError
from .files import located
from .grid import ClipGrid, Tail
from .keys import key_of as key_of
from .places import Place, place_of
from .places.folder import Folder
from .seal import seal

SCHEMA = 1
# Provenance that informs, but makes no two arrays differ. Half precision is only ever chosen where
# its features agree with those of full precision.
INFORMATION = {"vad", "versions", "precision", "assumed"}
KINDS = ("visual", "text", "captions")  # of the arrays of a video
ARRAYS_AT_ONCE = 4  # that are read ahead where reading takes time; each may be large

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """What a store says of a video besides its arrays."""

    source: str  # the path it was read from
    source_bytes: int
    source_mtime_ns: int
    source_sha256: str
    n_frames: int  # frames decoded, the length of every frame-level result
    fps: float
    duration_s: float
    width: int
    height: int
    container: str
    codec: str
    decoder: str  # name and version
    n_frames_declared: int | None
    n_bad_packets: int
    tail: Tail

    @property
    def grid(self) -> ClipGrid:
        return ClipGrid(self.tail)


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The provenance fields in which two arrays differ, each with both values."""
    names = sorted((ours.keys() | theirs.keys()) - INFORMATION)
    return {n: (ours.get(n), theirs.get(n)) for n in names if ours.get(n) != theirs.get(n)}


class FeatureStore:
    """Per-video arrays on the clip grid. Use `open` or `create`."""

    def __init__(self, place: Place) -> None:
        self.place = place

    @classmethod
    def open(cls, where: str | Path) -> FeatureStore:
        """Open a store in a folder or at an address such as `s3://bucket/features.zarr`.

        Raises UsageError if there is none, or one of another schema.
        """
        place = place_of(where)
        try:
            schema = json.loads(place.read("zarr.json"))["attributes"]["vad"]["schema"]
        except FileNotFoundError:
            raise UsageError(
                f"no feature store at {place}", hint=f"make one: vad extract VIDEOS --store {place}"
            ) from None
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"{place} is not a feature store of vad") from None
        if schema != SCHEMA:
            raise UsageError(
                f"{place} has schema {schema}, this vad reads schema {SCHEMA}",
                hint="use the version of vad that wrote it, or extract again",
            )
        return cls(place)

    @classmethod
    def create(cls, where: str | Path) -> FeatureStore:
        """Open a store, or make an empty one where there is none."""
        place = place_of(where)
        if not cls.exists(where):
            if not place.is_free():
                raise UsageError(
                    f"{place} exists and is not a feature store", hint="choose another --store"
                )
            attributes = {"vad": {"schema": SCHEMA}}
            group = {"attributes": attributes, "zarr_format": 3, "node_type": "group"}
            place.write("zarr.json", json.dumps(group, indent=2).encode())
        return cls.open(where)

    @staticmethod
    def exists(where: str | Path) -> bool:
        """Whether there is a store, or something that looks like one."""
        return place_of(where).exists("zarr.json")

    @property
    def path(self) -> Path:
        """The folder of a store that is one; UsageError for any other."""
        if not isinstance(self.place, Folder):
            raise UsageError(f"{self.place} is no folder")
        return self.place.path

    # --- reading

    def ids(self) -> list[str]:
        """Ids of the stored videos, sorted."""
        keys = self.place.folders()
        long = [key for key in keys if "~" in key and len(key) > 160]
        named = dict(
            zip(long, self.each(lambda key: self._attributes(key)["id"], long), strict=True)
        )
        return sorted(named.get(key) or unquote(key) for key in keys)

    def __contains__(self, video_id: str) -> bool:
        return self.place.exists(f"{key_of(video_id)}/zarr.json")

    def names(self, video_id: str) -> list[str]:
        """Names of the arrays of a video, such as `visual/i3d`, sorted."""
        try:
            found = self.place.arrays(key_of(video_id))
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
        """What is known of a video."""
        try:
            attributes = self._attributes(key_of(video_id))
        except FileNotFoundError:
            self._refuse(video_id)
        return VideoRecord(**{f.name: attributes[f.name] for f in fields(VideoRecord)})

    def times(self, video_id: str) -> NDArray[np.float64]:
        """Presentation time of every frame, [frames], seconds from the first one."""
        return np.asarray(self.read(video_id, "times"), np.float64)

    def read(self, video_id: str, name: str) -> NDArray[Any]:
        """One array as stored: `visual/...` [snippets, crops, dim], `text/...` [snippets, dim],
        `captions/...` [snippets] of str.

        Where a reader can meet a video that is just being replaced, the checksum tells, and it is
        read again. UsageError if it is wrong twice.
        """
        for _ in range(2):
            array = self._open(video_id, name)
            if not array.attrs.get("complete"):
                raise InternalError(f"{name} of {video_id!r} in {self.place} was never completed")
            values = np.asarray(array[:])
            if self.place.is_atomic or digest_of(values) == array.attrs["sha256"]:
                return values
        raise UsageError(
            f"{name} of {video_id!r} in {self.place} is not what was written",
            hint=f"vad verify {self.place} --repair",
        )

    def attributes(self, video_id: str, name: str) -> dict[str, Any]:
        """`provenance`, `sha256`, `shape` and `dtype` of one array, without reading it."""
        if video_id not in self or (found := self._array_attributes(video_id, name)) is None:
            self._refuse(video_id, name)
        return found

    def each(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 0
    ) -> Iterator[Result]:
        """`map`; of a store that is far away, several calls are under way together."""
        return self.place.each(function, items, at_once=at_once)

    def provenance(self, name: str) -> dict[str, Any] | None:
        """The settings that made an array in every video that has it; None if no video does.

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
                    f"{name} of {first[0]!r} and {video_id!r} in {self.place} were made with "
                    f"different {', '.join(differing)}",
                    hint="extract them again into one new store",
                )
        return first[1] if first else None

    def resolve(self, kind: str, name: str | None) -> str:
        """The full name of an array of a kind (see `KINDS`); without `name`, the only one."""
        found = [n for n in self.all_names() if n.startswith(f"{kind}/")]
        if name is None and len(found) == 1:
            return found[0]
        if name is not None and f"{kind}/{name}" in found:
            return f"{kind}/{name}"
        have = ", ".join(n.split("/", 1)[1] for n in found) or "none"
        if name is None and found:
            raise UsageError(
                f"{self.place} holds several {kind} arrays: {have}", hint=f"choose with --{kind}"
            )
        wanted = f"{kind} array {name!r}" if name else f"{kind} array"
        raise UsageError(f"{self.place} holds no {wanted}; it has: {have}")

    # --- writing

    def draft(self, video_id: str) -> Draft:
        """Begin to write a video; nothing is visible before `Draft.commit`."""
        return Draft(self, video_id, self.place.draft())

    def sweep(self) -> None:
        """Remove the drafts that dead processes of this host left behind."""
        self.place.sweep()

    def remove(self, video_id: str) -> None:
        """Take a video out of the store."""
        if video_id not in self:
            self._refuse(video_id)
        self.place.remove(key_of(video_id))

    # --- where things lie

    def _refuse(self, video_id: str, name: str = "") -> NoReturn:
        """Say that there is no such video, or no such array in it."""
        if name and video_id in self:
            have = ", ".join(self.names(video_id)) or "none"
            raise UsageError(f"{video_id!r} in {self.place} has no array {name!r}; it has: {have}")
        near = difflib.get_close_matches(video_id, self.ids(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"see: vad inspect {self.place}"
        raise UsageError(f"no video {video_id!r} in {self.place}", hint=hint)

    def _open(self, video_id: str, name: str) -> zarr.Array[Any]:
        try:
            if video_id in self:
                return self.place.open(f"{key_of(video_id)}/{name}")
        except FileNotFoundError:
            pass
        self._refuse(video_id, name)

    def _attributes(self, key: str) -> dict[str, Any]:
        attributes: dict[str, Any] = json.loads(self.place.read(f"{key}/zarr.json"))["attributes"]
        return attributes

    def _array_attributes(self, video_id: str, name: str) -> dict[str, Any] | None:
        try:
            meta = json.loads(self.place.read(f"{key_of(video_id)}/{name}/zarr.json"))
        except FileNotFoundError:
            return None
        return {**meta["attributes"], "shape": meta["shape"], "dtype": meta["data_type"]}


class Draft:
    """A video being written. `append` rows, then `commit`, or `discard`."""

    def __init__(self, store: FeatureStore, video_id: str, folder: Path) -> None:
        self.store, self.video_id, self.folder = store, video_id, folder
        self._columns: dict[str, Column] = {}

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Add rows, in order, to an array: `visual/...` [n, crops, dim], `text/...` [n, dim],
        `captions/...` [n] of str."""
        if not is_text(rows) and not np.isfinite(rows).all():
            raise VideoError(
                "not-finite",
                f"{name} is not finite in {rows.dtype}",
                hint="store with --dtype float32, or check the weights",
            )
        with located(self.store.place.disk):
            if name not in self._columns:
                self._columns[name] = Column(self.folder / name, rows)
            self._columns[name].append(rows)

    def commit(
        self,
        record: VideoRecord,
        times: NDArray[np.float64],
        provenance: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Make the video appear; new arrays join one that is stored from the same content."""
        try:
            with located(self.store.place.disk):
                self._close(record, times, provenance)
                self._publish(record)
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget the draft."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _close(
        self,
        record: VideoRecord,
        times: NDArray[np.float64],
        provenance: Mapping[str, Mapping[str, Any]],
    ) -> None:
        zarr.create_group(str(self.folder), attributes={"id": self.video_id, **asdict(record)})
        column = Column(self.folder / "times", times)
        column.append(times)
        column.close({})
        for name, written in self._columns.items():
            parent = self.folder / name.split("/")[0]
            if not (parent / "zarr.json").exists():
                zarr.create_group(str(parent))
            written.close(dict(provenance[name]))
        seal(self.folder)

    def _publish(self, record: VideoRecord) -> None:
        place, key = self.store.place, key_of(self.video_id)
        while True:
            try:
                place.publish(self.folder, key)
                return
            except FileExistsError:
                stored = self.store.record(self.video_id)
            same = (stored.source_sha256, stored.n_frames, stored.tail)
            if same == (record.source_sha256, record.n_frames, record.tail):
                for name in self._columns:
                    place.join(self.folder, key, name)
                return
            place.remove(key)

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

A video appears whole or not at all: it is written in `.scratch` and renamed in. An array that
joins a video later is renamed in the same way. Every array carries, in its own attributes,
`provenance` (the settings that made it), `sha256` (of its bytes in C order, see `bytes_of`) and,
written last, `complete`; every `zarr.json` of a video is sealed (see `vad.seal`).
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import itertools
import json
import os
import shutil
import socket
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import ZstdCodec

from .errors import InternalError, UsageError, VideoError
from .files import located
from .grid import ClipGrid, Tail
from .seal import seal

SCHEMA = 1
CHUNK_ROWS = 64  # snippets in a chunk: 2.6 MB of ten-crop 2048-d float16
# Provenance that informs, but makes no two arrays differ. Half precision is only ever chosen where
# its features agree with those of full precision.
INFORMATION = {"vad", "versions", "precision", "assumed"}
KINDS = ("visual", "text", "captions")  # of the arrays of a video

_drafts = itertools.count()


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


def key_of(video_id: str) -> str:
    """The folder name of a video id: plain ASCII, different for different ids."""
    key = quote(video_id, safe="")
    if key.startswith(".") or key == "zarr.json":
        key = f"%{ord(key[0]):02X}{key[1:]}"
    if len(key) > 200:  # file systems allow 255 bytes
        key = f"{key[:160]}~{hashlib.sha256(video_id.encode()).hexdigest()[:32]}"
    return key


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The provenance fields in which two arrays differ, each with both values."""
    names = sorted((ours.keys() | theirs.keys()) - INFORMATION)
    return {n: (ours.get(n), theirs.get(n)) for n in names if ours.get(n) != theirs.get(n)}


class FeatureStore:
    """A folder of per-video arrays on the clip grid. Use `open` or `create`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: str | Path) -> FeatureStore:
        """Open a store; UsageError if there is none, or one of another schema."""
        path = Path(path)
        try:
            attributes = json.loads((path / "zarr.json").read_text())["attributes"]
            schema = attributes["vad"]["schema"]
        except FileNotFoundError:
            raise UsageError(
                f"no feature store at {path}", hint=f"make one: vad extract VIDEOS --store {path}"
            ) from None
        except (OSError, ValueError, KeyError, TypeError):
            raise UsageError(f"{path} is not a feature store of vad") from None
        if schema != SCHEMA:
            raise UsageError(
                f"{path} has schema {schema}, this vad reads schema {SCHEMA}",
                hint="use the version of vad that wrote it, or extract again",
            )
        return cls(path)

    @classmethod
    def create(cls, path: str | Path) -> FeatureStore:
        """Open a store, or make an empty one where there is none."""
        path = Path(path)
        if not (path / "zarr.json").exists():
            if path.exists() and (not path.is_dir() or any(path.iterdir())):
                raise UsageError(
                    f"{path} exists and is not a feature store", hint="choose another --store"
                )
            zarr.create_group(str(path), attributes={"vad": {"schema": SCHEMA}}, overwrite=False)
        return cls.open(path)

    # --- reading

    def ids(self) -> list[str]:
        """Ids of the stored videos, sorted."""
        found = []
        for entry in os.scandir(self.path):
            if entry.is_dir() and not entry.name.startswith("."):
                long = "~" in entry.name and len(entry.name) > 160
                found.append(self._attributes(entry.name)["id"] if long else unquote(entry.name))
        return sorted(found)

    def __contains__(self, video_id: str) -> bool:
        return (self.path / key_of(video_id) / "zarr.json").exists()

    def names(self, video_id: str) -> list[str]:
        """Names of the arrays of a video, such as `visual/i3d`, sorted."""
        folder = self._folder(video_id)
        return sorted(
            f"{kind}/{entry.name}"
            for kind in KINDS
            if (folder / kind).is_dir()
            for entry in os.scandir(folder / kind)
            if entry.is_dir()
        )

    def record(self, video_id: str) -> VideoRecord:
        """What is known of a video."""
        self._folder(video_id)
        attributes = self._attributes(key_of(video_id))
        return VideoRecord(**{f.name: attributes[f.name] for f in fields(VideoRecord)})

    def times(self, video_id: str) -> NDArray[np.float64]:
        """Presentation time of every frame, [frames], seconds from the first one."""
        times = zarr.open_array(str(self._folder(video_id) / "times"), mode="r")[:]
        return np.asarray(times, np.float64)

    def read(self, video_id: str, name: str) -> NDArray[Any]:
        """One array as stored: `visual/...` [snippets, crops, dim], `text/...` [snippets, dim],
        `captions/...` [snippets] of str."""
        array = zarr.open_array(str(self._array(video_id, name)), mode="r")
        if not array.attrs.get("complete"):
            raise InternalError(f"{name} of {video_id!r} in {self.path} was never completed")
        return np.asarray(array[:])

    def attributes(self, video_id: str, name: str) -> dict[str, Any]:
        """`provenance`, `sha256`, `shape` and `dtype` of one array, without reading it."""
        meta = json.loads((self._array(video_id, name) / "zarr.json").read_text())
        return {**meta["attributes"], "shape": meta["shape"], "dtype": meta["data_type"]}

    def provenance(self, name: str) -> dict[str, Any] | None:
        """The settings that made an array in every video that has it; None if no video does.

        Raises UsageError if videos of the store were made with different settings.
        """
        first: tuple[str, dict[str, Any]] | None = None
        for video_id in self.ids():
            if name not in self.names(video_id):
                continue
            found: dict[str, Any] = self.attributes(video_id, name)["provenance"]
            if first is None:
                first = video_id, found
            elif differing := differences(first[1], found):
                raise UsageError(
                    f"{name} of {first[0]!r} and {video_id!r} in {self.path} were made with "
                    f"different {', '.join(differing)}",
                    hint="extract them again into one new store",
                )
        return first[1] if first else None

    def resolve(self, kind: str, name: str | None) -> str:
        """The full name of an array of a kind (see `KINDS`); without `name`, the only one."""
        found = sorted({n for i in self.ids() for n in self.names(i) if n.startswith(f"{kind}/")})
        if name is None and len(found) == 1:
            return found[0]
        if name is not None and f"{kind}/{name}" in found:
            return f"{kind}/{name}"
        have = ", ".join(n.split("/", 1)[1] for n in found) or "none"
        if name is None and found:
            raise UsageError(
                f"{self.path} holds several {kind} arrays: {have}", hint=f"choose with --{kind}"
            )
        wanted = f"{kind} array {name!r}" if name else f"{kind} array"
        raise UsageError(f"{self.path} holds no {wanted}; it has: {have}")

    # --- writing

    def draft(self, video_id: str) -> Draft:
        """Begin to write a video; nothing is visible before `Draft.commit`."""
        owner = f"{socket.gethostname()}-{os.getpid()}-{next(_drafts)}"
        return Draft(self, video_id, self.path / ".scratch" / owner)

    def sweep(self) -> None:
        """Remove the drafts that dead processes of this host left behind."""
        host = socket.gethostname()
        for left in (self.path / ".scratch").glob(f"{host}-*"):
            pid = left.name.removeprefix(f"{host}-").split("-")[0]
            if pid.isdigit() and int(pid) != os.getpid() and not _alive(int(pid)):
                shutil.rmtree(left, ignore_errors=True)

    def remove(self, video_id: str) -> None:
        """Take a video out of the store."""
        doomed = self.draft(video_id).folder
        doomed.parent.mkdir(exist_ok=True)
        self._folder(video_id).rename(doomed)
        shutil.rmtree(doomed)

    # --- where things lie

    def _folder(self, video_id: str) -> Path:
        if video_id not in self:
            near = difflib.get_close_matches(video_id, self.ids(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"see: vad inspect {self.path}"
            raise UsageError(f"no video {video_id!r} in {self.path}", hint=hint)
        return self.path / key_of(video_id)

    def _array(self, video_id: str, name: str) -> Path:
        path = self._folder(video_id) / name
        if not (path / "zarr.json").exists():
            have = ", ".join(self.names(video_id)) or "none"
            raise UsageError(f"{video_id!r} in {self.path} has no array {name!r}; it has: {have}")
        return path

    def _attributes(self, key: str) -> dict[str, Any]:
        meta = json.loads((self.path / key / "zarr.json").read_text())
        attributes: dict[str, Any] = meta["attributes"]
        return attributes


class Draft:
    """A video being written. `append` rows, then `commit`, or `discard`."""

    def __init__(self, store: FeatureStore, video_id: str, folder: Path) -> None:
        self.store, self.video_id, self.folder = store, video_id, folder
        self._columns: dict[str, _Column] = {}

    def append(self, name: str, rows: NDArray[Any]) -> None:
        """Add rows, in order, to an array: `visual/...` [n, crops, dim], `text/...` [n, dim],
        `captions/...` [n] of str."""
        if not _is_text(rows) and not np.isfinite(rows).all():
            raise VideoError(
                "not-finite",
                f"{name} is not finite in {rows.dtype}",
                hint="store with --dtype float32, or check the weights",
            )
        with located(self.store.path):
            if name not in self._columns:
                self._columns[name] = _Column(self.folder / name, rows)
            self._columns[name].append(rows)

    def commit(
        self,
        record: VideoRecord,
        times: NDArray[np.float64],
        provenance: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """Make the video appear; new arrays join one that is stored from the same content."""
        try:
            with located(self.store.path):
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
        column = _Column(self.folder / "times", times)
        column.append(times)
        column.close({})
        for name, written in self._columns.items():
            parent = self.folder / name.split("/")[0]
            if not (parent / "zarr.json").exists():
                zarr.create_group(str(parent))
            written.close(dict(provenance[name]))
        seal(self.folder)

    def _publish(self, record: VideoRecord) -> None:
        target = self.store.path / key_of(self.video_id)
        while True:
            try:
                self.folder.rename(target)  # fails on a stored video: a folder that is not empty
                return
            except OSError:
                if not target.exists():
                    raise
            stored = self.store.record(self.video_id)
            same = (stored.source_sha256, stored.n_frames, stored.tail)
            if same == (record.source_sha256, record.n_frames, record.tail):
                for name in self._columns:
                    self._join(target / name, name)
                return
            _move_away(target, self.folder)

    def _join(self, target: Path, name: str) -> None:
        target.parent.mkdir(exist_ok=True)
        if not (target.parent / "zarr.json").exists():
            shutil.copy(self.folder / name.split("/")[0] / "zarr.json", target.parent)
        if target.exists():
            _move_away(target, self.folder)
        (self.folder / name).rename(target)


class _Column:
    """One array being written: full chunks only, hashed on the way."""

    def __init__(self, path: Path, like: NDArray[Any]) -> None:
        shape = like.shape[1:]
        self._array = zarr.create_array(
            str(path),
            shape=(0, *shape),
            chunks=(CHUNK_ROWS if shape else 65536, *shape),
            dtype=str if _is_text(like) else like.dtype,
            compressors=ZstdCodec(level=1),
        )
        self._sha256 = hashlib.sha256()
        self._pending: list[NDArray[Any]] = []
        self._n_rows = 0

    def append(self, rows: NDArray[Any]) -> None:
        same_type = _is_text(rows) or rows.dtype == self._array.dtype
        if rows.shape[1:] != self._array.shape[1:] or not same_type:
            raise InternalError(
                f"rows {list(rows.shape)} {rows.dtype} do not continue "
                f"{list(self._array.shape)} {self._array.dtype}"
            )
        self._pending.append(rows)
        self._write(whole_chunks=True)

    def close(self, provenance: dict[str, Any]) -> None:
        self._write(whole_chunks=False)
        self._array.update_attributes(
            {"provenance": provenance, "sha256": self._sha256.hexdigest(), "complete": True}
        )

    def _write(self, *, whole_chunks: bool) -> None:
        n_pending = sum(map(len, self._pending))
        chunk = self._array.chunks[0]
        n = n_pending // chunk * chunk if whole_chunks else n_pending
        if n == 0:
            return
        rows = np.concatenate(self._pending)
        self._array.resize((self._n_rows + n, *self._array.shape[1:]))
        self._array[self._n_rows : self._n_rows + n] = rows[:n]
        self._sha256.update(bytes_of(rows[:n]))
        self._n_rows += n
        self._pending = [rows[n:]] if n < n_pending else []


def bytes_of(rows: NDArray[Any]) -> bytes:
    """What the checksum of an array is taken of: its bytes in C order; of captions, the lines of
    a utf-8 text."""
    if _is_text(rows):
        return "".join(f"{row}\n" for row in rows).encode()
    return np.ascontiguousarray(rows).tobytes()


def _is_text(rows: NDArray[Any]) -> bool:
    return rows.dtype.kind in "OTU"  # of objects, of variable and of fixed length


def _move_away(target: Path, scratch: Path) -> None:
    """Take a stored folder out of sight in one step, then delete it."""
    doomed = scratch.with_name(f"{scratch.name}-old")
    with contextlib.suppress(FileNotFoundError):  # another writer was faster
        target.rename(doomed)
        shutil.rmtree(doomed)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def walk(store: FeatureStore, name: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Every video that has an array, one at a time."""
    for video_id in store.ids():
        if name in store.names(video_id):
            yield video_id, store.read(video_id, name)

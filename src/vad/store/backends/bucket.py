"""A store in a bucket of an object store, through fsspec: `s3://`, `gs://`, `memory://`, ...

Object stores have neither folders nor renames, but each single object is written atomically. So a
video is visible to readers if its `zarr.json` exists, which is the last object written and the
first one deleted; the same holds for an array that is added to a video. Until then the object
`.writing/<video>/<process>` marks the video as unfinished. A killed process leaves objects that
readers do not see; the next process that writes the video replaces them.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import tempfile
import threading
import time
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from ...errors import UsageError, VadError
from ...names import key_of
from ...scratch import is_dead, new_scratch, owner, sweep
from .backend import user_cache
from .objects import Objects, storage_errors

UPLOAD_BYTES = 64 << 20  # uploaded, and in memory, at a time
WRITING = ".writing"
RUNS = ".runs"
BEAT_S = 20.0
LEASE_S = 120.0


class BucketBackend(Objects):
    """A store in a bucket; `Backend` describes the methods, `Objects` the errors."""

    is_atomic = False
    n_readers = 16

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.disk = Path(tempfile.gettempdir()) / f"vad-drafts-{os.getuid()}"

    @property
    def cache(self) -> Path:
        return user_cache()

    def is_free(self) -> bool:
        return not self._entries("")

    def folders(self, key: str = "") -> list[str]:
        entries = self._entries(key)
        names = (e["name"].rpartition("/")[2] for e in entries if e["type"] == "directory")
        found = sorted(name for name in names if not name.startswith("."))
        # The marks are listed after the folders: a video that was unfinished when the folders were
        # listed is either still marked, or has been finished since.
        unfinished = {mark.partition("/")[0] for mark in self.files(WRITING)}
        paths = {name: f"{key}/{name}".lstrip("/") for name in found}
        return [
            name
            for name, path in paths.items()
            if path.partition("/")[0] not in unfinished or self.exists(f"{path}/zarr.json")
        ]

    def videos(self) -> list[str]:
        return self.folders()

    def arrays(self, key: str) -> list[str]:
        files = self.files(key)
        if "zarr.json" not in files:
            raise FileNotFoundError(key)
        inner = (file for file in files if file.count("/") == 2)
        return [file.removesuffix("/zarr.json") for file in inner if file.endswith("/zarr.json")]

    def scratch(self) -> Path:
        self.disk.mkdir(mode=0o700, exist_ok=True)
        if self.disk.lstat().st_uid != os.getuid():
            raise UsageError(f"{self.disk} belongs to another user", hint="set TMPDIR")
        return new_scratch(self.disk)

    def sweep(self) -> None:
        sweep(self.disk)
        dead = [f"{RUNS}/{process}" for process in self.files(RUNS) if is_dead(process)]
        for mark in self.files(WRITING):
            key, _, process = mark.rpartition("/")
            if is_dead(process) and self._is_finished(
                key
            ):  # unfinished videos keep their mark until they are written again
                dead.append(f"{WRITING}/{mark}")
        self.delete(dead)

    def publish(self, folder: Path, key: str) -> None:
        there = self._below(key)
        if self._path(f"{key}/zarr.json") in there:
            raise FileExistsError(key)
        with self._writing(key):
            self._replace(folder, key, there)

    def join(self, folder: Path, key: str, name: str) -> None:
        group = f"{Path(name).parent}/zarr.json"
        with self._writing(key):
            if not self.exists(f"{key}/{group}"):
                self.write(f"{key}/{group}", (folder / group).read_bytes())
            self._replace(folder / name, f"{key}/{name}", self._below(f"{key}/{name}"))

    def remove(self, key: str) -> None:
        with self._writing(key):
            self.delete([f"{key}/zarr.json"])
            self._delete_all(self._below(key))

    def set_aside(self, key: str, shelf: str) -> str:
        taken = {name.partition("/")[0] for name in self.files(shelf)}
        names = (f"{key}~{number}" for number in itertools.count(1))
        target = f"{shelf}/{next(name for name in names if name not in taken)}"
        files = self.files(key)
        with storage_errors(self.address):
            self._fs.copy(
                [self._path(f"{key}/{file}") for file in files],
                [self._path(f"{target}/{file}") for file in files],
            )
        self.remove(key)
        return f"{self.address}/{target}"

    def claims(self) -> ObjectClaims:
        return ObjectClaims(self)

    def ledger(self, name: str) -> ObjectLedger:
        return ObjectLedger(self, f".{name}")

    def _is_finished(self, key: str) -> bool:
        """Return True if a video has its `zarr.json`, and one for every array that has chunks."""
        files = set(self.files(key))
        arrays = {"/".join(file.split("/")[:2]) for file in files if "/c/" in file} - {"times/c"}
        return "zarr.json" in files and all(f"{array}/zarr.json" in files for array in arrays)

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        """Mark a video as unfinished. The mark stays if the block fails or the process dies."""
        mark = f"{WRITING}/{key}/{owner()}-{secrets.token_hex(4)}"
        marks = [mark, *(f"{WRITING}/{key}/{left}" for left in self.files(f"{WRITING}/{key}"))]
        self.write(mark, b"")
        yield
        self.delete(marks)

    def _replace(self, folder: Path, key: str, there: list[str]) -> None:
        """Upload a finished folder in place of the objects `there`.

        Its `zarr.json` is the first object deleted and the last one written. Two processes that
        write the same content write the same objects, byte for byte.
        """
        last = self._path(f"{key}/zarr.json")
        self._delete_all([last] if last in there else [])
        files = {
            self._path(f"{key}/{path.relative_to(folder).as_posix()}"): path
            for path in folder.rglob("*")
            if path.is_file()
        }
        for batch in _batches({target: path for target, path in files.items() if target != last}):
            self._write_all({target: path.read_bytes() for target, path in batch.items()})
        self._delete_all([path for path in there if path not in files])
        self._write_all({last: files[last].read_bytes()})


def _batches(files: dict[str, Path]) -> Iterator[dict[str, Path]]:
    """Yield files by their target, in batches of at most UPLOAD_BYTES, or of one larger file."""
    batch: dict[str, Path] = {}
    n_bytes = 0
    for target, path in files.items():
        size = path.stat().st_size
        if batch and n_bytes + size > UPLOAD_BYTES:
            yield batch
            batch, n_bytes = {}, 0
        batch[target] = path
        n_bytes += size
    if batch:
        yield batch


class ObjectClaims:
    """The claims of this process on videos of a store in a bucket; see `Claims`.

        .runs/<process>         written again every BEAT_S seconds while the process lives
        .claims/<video>/0       names the process that has the video
        .claims/<video>/1       names the process that took the video over after the first one died

    A claim is an object that is created only if it does not exist, so exactly one process gets it;
    the highest number counts. Object stores do not release claims when a process dies. So a process
    counts as dead if its heartbeat in `.runs` is older than LEASE_S by the clock of the object
    store or, on this host, if the process does not exist. If it was only disconnected, its videos
    are computed twice, with the same result.
    """

    poll_s = 5.0  # each attempt takes a few requests per video

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._owner = f"{owner()}-{secrets.token_hex(4)}"
        self._mine: dict[
            str, list[str]
        ] = {}  # video -> keys of its claims, the last of which is ours
        self._beat()
        self._ahead_s = objects.modified_s(self._run(self._owner)) - time.time()
        self._ended = threading.Event()
        self._heart = threading.Thread(target=self._keep_beating, name="lease", daemon=True)
        self._heart.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._heart.join()
        with contextlib.suppress(VadError):  # claims that are not released expire
            for video_id in list(self._mine):
                self.release(video_id)
            self._objects.delete([self._run(self._owner)])

    def take(self, video_id: str) -> bool:
        """Claim a video. Return False if another living process has claimed it."""
        if video_id in self._mine:
            return True
        folder = f".claims/{key_of(video_id)}"
        numbers = sorted(map(int, self._objects.files(folder)))
        if numbers and self._is_held(f"{folder}/{numbers[-1]}"):
            return False
        numbers.append(numbers[-1] + 1 if numbers else 0)
        if not self._objects.create(f"{folder}/{numbers[-1]}", self._owner.encode()):
            return False
        self._mine[video_id] = [f"{folder}/{number}" for number in numbers]
        return True

    def release(self, video_id: str) -> None:
        """Release a claim."""
        for key in self._mine.pop(
            video_id, []
        ):  # our own is deleted last: until then, no other process gets one
            self._objects.delete([key])

    def _is_held(self, claim: str) -> bool:
        """Return True if the process that owns a claim is alive."""
        try:
            holder = self._objects.read(claim).decode()
            if is_dead(holder):
                return False
            heard_s = self._objects.modified_s(self._run(holder))
        except FileNotFoundError:  # the claim has just been released, or its process has ended
            return False
        return time.time() + self._ahead_s - heard_s < LEASE_S

    def _keep_beating(self) -> None:
        while not self._ended.wait(BEAT_S):
            with contextlib.suppress(VadError):  # the next heartbeat can succeed
                self._beat()

    def _beat(self) -> None:
        self._objects.write(self._run(self._owner), b"")

    def _run(self, process: str) -> str:
        return f"{RUNS}/{process}"


class ObjectLedger:
    """One object per video, for a store in a bucket; see `Ledger`.

    No two processes write the same object.
    """

    def __init__(self, objects: Objects, folder: str) -> None:
        self._objects, self._folder = objects, folder
        self.path = f"{objects}/{folder}/"

    def add(self, entry: dict[str, str]) -> None:
        self._objects.write(self._key(entry["video"]), json.dumps(entry).encode() + b"\n")

    def read(self) -> dict[str, dict[str, str]]:
        keys = [f"{self._folder}/{name}" for name in self._objects.files(self._folder)]
        found = [entry for entry in self._objects.map(self._read, keys) if entry]
        return {entry["video"]: entry for entry in found}

    def drop(self, videos: Container[str]) -> None:
        self._objects.delete(self._key(video) for video in self.read() if video in videos)

    def _key(self, video: str) -> str:
        return f"{self._folder}/{key_of(video)}.json"

    def _read(self, key: str) -> dict[str, str] | None:
        # another process has just deleted it, or it is damaged
        with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):
            entry = json.loads(self._objects.read(key))
            if isinstance(entry, dict) and "video" in entry:
                return entry
        return None

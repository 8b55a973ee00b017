"""A store in a bucket of an object store, through fsspec: `s3://`, `gs://`, `memory://`, ...

An object store has no folders and no renames; one object appears whole, and that is all. So a video
is there for readers from the moment its `zarr.json` is, which is the last object to come and the
first to go; likewise an array that joins a video. Until then `.writing/<video>/<process>` says that
what is there is unfinished. A process that is killed leaves objects that no reader sees, and the
next one that writes the video replaces them.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import secrets
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import zarr
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import FsspecStore

from ..errors import UsageError
from ..files import cache_folder
from .drafts import is_dead, new_draft, owner, sweep
from .leases import RUNS, Leases
from .objects import Objects
from .place import Item, Result
from .trouble import told

AT_ONCE = 32  # requests, of threads that wait for answers
UPLOAD_BYTES = 64 << 20  # in memory at a time
OPTIONS: dict[str, Any] = {"use_listings_cache": False}  # others write, too
S3_OPTIONS = {"max_concurrency": 1}  # for one object: else its size is asked for before it is read
WRITING = ".writing"


class Bucket:
    """See `Place`. Whatever goes wrong with the object store is a UsageError."""

    is_atomic = False
    n_readers = 16

    def __init__(self, address: str) -> None:
        self.address = address
        self.disk = Path(tempfile.gettempdir()) / f"vad-drafts-{os.getuid()}"
        self.cache = cache_folder() / "bags"
        with told(address):
            self._fs, self._root = _file_system(address)

    def __str__(self) -> str:
        return self.address

    # --- single objects

    def read(self, key: str) -> bytes:
        with told(self.address):
            return bytes(self._fs.cat_file(self._path(key)))

    def write(self, key: str, content: bytes) -> None:
        self._pipe({self._path(key): content})

    def create(self, key: str, content: bytes) -> bool:
        """Write an object if there is none of that key; False if there is one.

        Where an object store does not heed conditions, it is always True.
        """
        for _ in range(2):  # the one that was there may have gone since
            try:
                self._fs.pipe_file(self._path(key), content, mode="create")
            except Exception as error:  # libraries tell the one expected here in different ways
                if self.exists(key):
                    return False
                trouble = error
            else:
                return True
        with told(self.address):
            raise trouble

    def exists(self, key: str) -> bool:
        with told(self.address):
            return bool(self._fs.exists(self._path(key)))

    def modified_s(self, key: str) -> float:
        """When an object was written, by the clock of the object store. FileNotFoundError."""
        with told(self.address):
            moment: datetime = self._fs.modified(self._path(key))
            return moment.timestamp()

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; those that are not there do not matter."""
        self._delete([self._path(key) for key in keys])

    def files(self, key: str) -> list[str]:
        """The objects below a folder, relative to it, sorted."""
        folder = self._path(key)
        return sorted(path.removeprefix(f"{folder}/") for path in self._below(key))

    # --- videos and arrays

    def is_free(self) -> bool:
        return not self._entries("")

    def folders(self, key: str = "") -> list[str]:
        entries = self._entries(key)
        names = (e["name"].rpartition("/")[2] for e in entries if e["type"] == "directory")
        found = sorted(name for name in names if not name.startswith("."))
        # Asked for after the folders: what was unfinished then is on the list, or finished now.
        unfinished = {mark.partition("/")[0] for mark in self.files(WRITING)}
        paths = {name: f"{key}/{name}".lstrip("/") for name in found}
        return [
            name
            for name, path in paths.items()
            if path.partition("/")[0] not in unfinished or self.exists(f"{path}/zarr.json")
        ]

    def arrays(self, key: str) -> list[str]:
        files = self.files(key)
        if "zarr.json" not in files:
            raise FileNotFoundError(key)
        inner = (file for file in files if file.count("/") == 2)
        return [file.removesuffix("/zarr.json") for file in inner if file.endswith("/zarr.json")]

    def open(self, key: str) -> zarr.Array[Any]:
        return zarr.open_array(self._reader, path=key, mode="r", zarr_format=3)

    def draft(self) -> Path:
        self.disk.mkdir(mode=0o700, exist_ok=True)
        if self.disk.lstat().st_uid != os.getuid():
            raise UsageError(f"{self.disk} is somebody else's", hint="set TMPDIR")
        return new_draft(self.disk)

    def sweep(self) -> None:
        sweep(self.disk)
        dead = [f"{RUNS}/{process}" for process in self.files(RUNS) if is_dead(process)]
        for mark in self.files(WRITING):
            key, _, process = mark.rpartition("/")
            if is_dead(process) and self._is_finished(key):  # what is not will be written anew
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
            self._delete(self._below(key))

    def set_aside(self, key: str, shelf: str) -> str:
        taken = {name.partition("/")[0] for name in self.files(shelf)}
        names = (f"{key}~{number}" for number in itertools.count(1))
        target = f"{shelf}/{next(name for name in names if name not in taken)}"
        files = self.files(key)
        with told(self.address):
            self._fs.copy(
                [self._path(f"{key}/{file}") for file in files],
                [self._path(f"{target}/{file}") for file in files],
            )
        self.remove(key)
        return f"{self.address}/{target}"

    # --- several processes, several requests

    def each(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 0
    ) -> Iterator[Result]:
        at_once = at_once or AT_ONCE
        waiting: deque[Future[Result]] = deque()
        threads = ThreadPoolExecutor(at_once)
        try:
            for item in items:
                waiting.append(threads.submit(function, item))
                if len(waiting) >= at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)

    def claims(self) -> Leases:
        return Leases(self)

    def ledger(self, name: str) -> Objects:
        return Objects(self, f".{name}")

    # --- within

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}" if key else self._root

    def _entries(self, key: str) -> list[dict[str, Any]]:
        with told(self.address):
            try:
                return list(self._fs.ls(self._path(key), detail=True))
            except FileNotFoundError:
                return []

    def _below(self, key: str) -> list[str]:
        folder = self._path(key)
        with told(self.address):
            found = self._fs.find(folder)
        return [path for path in found if path != folder]  # named if it came to be just now

    def _is_finished(self, key: str) -> bool:
        """Whether a video has all that its objects are parts of."""
        files = set(self.files(key))
        arrays = {"/".join(file.split("/")[:2]) for file in files if "/c/" in file} - {"times/c"}
        return "zarr.json" in files and all(f"{array}/zarr.json" in files for array in arrays)

    def _pipe(self, contents: dict[str, bytes]) -> None:
        with told(self.address):
            try:
                self._fs.pipe(contents)
            except FileNotFoundError as error:
                raise UsageError(
                    f"there is no bucket for {self.address}", hint="make it, or correct its name"
                ) from error

    def _delete(self, paths: list[str]) -> None:
        with told(self.address):
            try:
                if paths:
                    self._fs.rm(paths)
            except FileNotFoundError:  # another process was faster with one of them
                for path in paths:
                    with contextlib.suppress(FileNotFoundError):
                        self._fs.rm([path])

    @contextmanager
    def _writing(self, key: str) -> Iterator[None]:
        """Mark a video as unfinished; the mark stays where this fails, or its process dies."""
        mark = f"{WRITING}/{key}/{owner()}-{secrets.token_hex(4)}"
        marks = [mark, *(f"{WRITING}/{key}/{left}" for left in self.files(f"{WRITING}/{key}"))]
        self.write(mark, b"")
        yield
        self.delete(marks)

    def _replace(self, folder: Path, key: str, there: list[str]) -> None:
        """Upload a finished folder in place of what is there.

        Its `zarr.json` is the first object to go and the last to come.
        What two processes write of the same content is the same, object by object.
        """
        last = self._path(f"{key}/zarr.json")
        self._delete([last] if last in there else [])
        files = {
            self._path(f"{key}/{path.relative_to(folder).as_posix()}"): path
            for path in folder.rglob("*")
            if path.is_file()
        }
        for some in _batches(files, but=last):
            self._pipe({target: path.read_bytes() for target, path in some.items()})
        self._delete([path for path in there if path not in files])
        self._pipe({last: files[last].read_bytes()})

    @cached_property
    def _reader(self) -> FsspecStore:
        with told(self.address):
            options = _options(self.address)
            reader = FsspecStore.from_url(self.address, storage_options=options)
            return _Reader(reader.fs, self.address, self._root)


def _file_system(address: str) -> tuple[Any, str]:
    """What fsspec has for an address, and the path there. Raises what it raises."""
    from fsspec import available_protocols, url_to_fs

    scheme = address.partition("://")[0]
    if scheme not in available_protocols():
        raise UsageError(f"{address}: fsspec knows no {scheme}://", hint="such as s3:// or gs://")
    for library in ("s3fs", "gcsfs", "fsspec"):  # what they log of a failure, they raise, too
        logging.getLogger(library).addHandler(logging.NullHandler())
    file_system, root = url_to_fs(address, **_options(address))
    return file_system, str(root)


def _options(address: str) -> dict[str, Any]:
    return OPTIONS | (S3_OPTIONS if address.startswith(("s3:", "s3a:")) else {})


class _Reader(FsspecStore):
    """Objects as zarr reads them, with errors that say what to do."""

    def __init__(self, fs: Any, address: str, root: str) -> None:
        super().__init__(fs, read_only=True, path=root)
        self.address = address

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        with told(self.address):
            return await super().get(key, prototype, byte_range)


def _batches(files: dict[str, Path], *, but: str) -> Iterator[dict[str, Path]]:
    """Files by their target, all but one, in parts that fit in memory."""
    part: dict[str, Path] = {}
    n_bytes = 0
    for target, path in files.items():
        if target == but:
            continue
        size = path.stat().st_size
        if part and n_bytes + size > UPLOAD_BYTES:
            yield part
            part, n_bytes = {}, 0
        part[target] = path
        n_bytes += size
    if part:
        yield part

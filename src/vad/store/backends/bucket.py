"""A store in a bucket of an object store, through fsspec: `s3://`, `gs://`, `memory://`, ...

Object stores have neither folders nor renames, but each single object is written atomically. So a
video is visible to readers if its `zarr.json` exists, which is the last object written and the
first one deleted; the same holds for an array that is added to a video. Until then the object
`.writing/<video>/<process>` marks the video as unfinished. A killed process leaves objects that
readers do not see; the next process that writes the video replaces them.
"""

from __future__ import annotations

import itertools
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...errors import UsageError
from ...scratch import is_dead, new_scratch, owner, sweep
from .backend import user_cache
from .claims import RUNS, ObjectClaims
from .ledgers import ObjectLedger
from .objects import Objects, storage_errors

UPLOAD_BYTES = 64 << 20  # uploaded, and in memory, at a time
WRITING = ".writing"


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

"""A store in a folder, on a local disk or on one that several machines share.

Videos are written in the folder `.scratch` of the store, so that one rename makes a video visible.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import zarr
from zarr.storage import LocalStore, StorePath

from ...documents import JSON
from ...errors import UsageError
from ...files import committed
from ...scratch import PART, new_scratch, sweep
from .backend import Item, Result, map_ahead, user_cache
from .claims import FileClaims
from .ledgers import FileLedger

MAX_BYTES = 16 * 2**20  # no zarr.json of a store is larger
ARRAYS_AHEAD = 2  # arrays read ahead while another one is used


class FolderBackend:
    """A store in a folder; `Backend` describes the methods."""

    is_atomic = True
    n_readers = min(8, os.cpu_count() or 1)  # hashing and decompression release the GIL

    def __init__(self, path: Path) -> None:
        self.path = self.disk = path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def cache(self) -> Path:
        beside = self.path / ".cache"
        writable = os.access(beside if beside.exists() else self.path, os.W_OK)
        return beside if writable else user_cache()

    @property
    def address(self) -> str:
        """Return the absolute path."""
        return str(self.path.resolve())

    def read(self, key: str) -> bytes:
        path = self.path / key
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for a writer
            raise OSError(errno.EINVAL, "not a file", str(path))
        if status.st_size > MAX_BYTES:
            raise OSError(errno.EFBIG, f"it has {status.st_size:,} bytes", str(path))
        return path.read_bytes()

    def write(self, key: str, content: bytes) -> None:
        with committed(self.path / key) as part:
            part.write_bytes(content)

    def exists(self, key: str) -> bool:
        return (self.path / key).exists()

    def is_free(self) -> bool:
        if not self.path.exists():
            return True
        return self.path.is_dir() and all(e.suffix == PART for e in self.path.iterdir())

    def folders(self, key: str = "") -> list[str]:
        entries = os.scandir(self.path / key)
        return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))

    def videos(self) -> list[str]:
        return [key for key in self.folders() if self.exists(f"{key}/zarr.json")]

    def arrays(self, key: str) -> list[str]:
        if not self.exists(f"{key}/zarr.json"):
            raise FileNotFoundError(key)
        kinds = (entry for entry in os.scandir(self.path / key) if entry.is_dir())
        return sorted(
            f"{kind.name}/{entry.name}"
            for kind in kinds
            if kind.name != "times"
            for entry in os.scandir(kind)
            if entry.is_dir() and Path(entry, "zarr.json").exists()
        )

    def open(self, key: str, document: dict[str, JSON]) -> zarr.Array[Any]:
        return zarr.Array.from_dict(
            StorePath(LocalStore(self.path / key, read_only=True)), document
        )

    def has_all(self, key: str, names: Iterable[str]) -> bool:
        try:
            return all((self.path / key / name).stat().st_size for name in names)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def scratch(self) -> Path:
        return new_scratch(self.path / ".scratch")

    def sweep(self) -> None:
        sweep(self.path / ".scratch")

    def publish(self, folder: Path, key: str) -> None:
        target = self.path / key
        try:
            folder.rename(target)  # fails if the video is stored, because its folder is not empty
        except OSError:
            if target.exists():
                raise FileExistsError(key) from None
            raise

    def join(self, folder: Path, key: str, name: str) -> None:
        target = self.path / key / name
        target.parent.mkdir(exist_ok=True)
        if not (target.parent / "zarr.json").exists():
            shutil.copy(folder / Path(name).parent / "zarr.json", target.parent)
        if target.exists():
            self.remove(f"{key}/{name}")
        (folder / name).rename(target)

    def remove(self, key: str) -> None:
        doomed = self.scratch()
        doomed.parent.mkdir(exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another process has removed it
            (self.path / key).rename(doomed)
            shutil.rmtree(doomed)

    def set_aside(self, key: str, shelf: str) -> str:
        folder = self.path / shelf
        folder.mkdir(exist_ok=True)
        numbered = (folder / f"{key}~{number}" for number in itertools.count(1))
        target = next(path for path in numbered if not path.exists())
        return str((self.path / key).rename(target))

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], *, at_once: int = 0
    ) -> Iterator[Result]:
        # A disk has no latency to hide; only decompressing and hashing large arrays takes time.
        return (
            map_ahead(function, items, min(at_once, ARRAYS_AHEAD))
            if at_once
            else map(function, items)
        )

    def claims(self) -> FileClaims:
        try:
            return FileClaims(self.path)
        except OSError as error:
            raise UsageError(f"{self.path} cannot be written: {error.strerror}") from None

    def ledger(self, name: str) -> FileLedger:
        return FileLedger(self.path / f"{name}.jsonl")
